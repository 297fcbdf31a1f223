/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What an operator is told, of what the rest of the module says. */

#include "fake_rpc.h"

#include "../../core/mem/mem.h"

#include "admit.h"
#include "admit_reservation.h"
#include "base_conf.h"
#include "base_history.h"
#include "base_stats.h"
#include "face_drain.h"
#include "face_metrics.h"
#include "face_rpc.h"
#include "http_breaker.h"
#include "http_room.h"
#include "http_endpoints.h"
#include "http_reload.h"
#include "job_index.h"
#include "job_number.h"
#include "outbox.h"
#include "outbox_resync.h"
#include "reg_alive.h"
#include "reg_classify.h"
#include "reg_usrloc.h"

struct cn_conf cn_conf;

/* -------- the rest of the module, as the test says -------- */

static struct
{
	bool outbox;
	bool in_memory;
	double rate;
	int64_t line_us;
	struct cn_endpoints endpoints;
	int given_back;
	struct cn_endpoint_stats endpoint;
	enum cn_breaker_state breaker;
	struct cn_index_row parked[1000];
	int parked_count;
	int64_t clock_us;
	int64_t reservation_us;
	struct cn_outbox_state state;
	struct cn_dead_letter letters[CN_OUTBOX_DEAD_MAX];
	int letter_count;
	struct cn_resync_progress progress;
	/* what was done */
	bool paused;
	int replays, looks, resyncs;
	char resync_aor[256];
	const char *wrong; /* with a file */
	unsigned reloads;
} the;

void cn_endpoints_take(struct cn_endpoints *list)
{
	*list = the.endpoints;
}

void cn_endpoints_give_back(const struct cn_endpoints *list)
{
	assert_int_equal(list->count, the.endpoints.count);
	the.given_back++;
}

int cn_reload_ask(struct cn_fault *fault)
{
	if(the.wrong == NULL) {
		the.reloads++;
		return 0;
	}
	snprintf(fault->text, sizeof(fault->text), "%s", the.wrong);
	return -1;
}

unsigned cn_reload_number(void)
{
	return the.reloads;
}

bool cn_outbox_exists(void)
{
	return the.outbox;
}

bool cn_usrloc_in_memory(void)
{
	return the.in_memory;
}

void cn_drain_add(rpc_t *rpc, void *reply)
{
	rpc->struct_add(reply, "s", "state", "off");
}

void cn_drain_command(rpc_t *rpc, void *ctx)
{
	rpc->add(ctx, "s", "drained");
}

int cn_alive_count(void)
{
	return 42;
}

/* Each AOR has two, but nobody. */
int cn_alive_contacts(const char *aor, struct cn_alive_contact *list, int max)
{
	if(strcmp(aor, "nobody@telecom.com") == 0)
		return 0;
	assert_true(max >= 2);
	list[0] = (struct cn_alive_contact){.uri = "sip:gzj@10.0.0.1:5060",
			.received = "sip:192.0.2.1:7000",
			.expires_s = 100,
			.heard_s = 7};
	list[1] = (struct cn_alive_contact){
			.uri = "sip:gzj@10.0.0.2:5060", .gone = true};
	return 2;
}

int cn_conf_capacity(void)
{
	return 8704;
}

double cn_admission_rate(void)
{
	return the.rate;
}

int64_t cn_admission_line_us(int64_t now_us)
{
	return the.line_us;
}

const char *cn_stats_counter_name(enum cn_counter counter)
{
	static const char *const names[] = {
#define CN_X(name, doc) #name,
			CN_COUNTERS(CN_X)
#undef CN_X
	};

	return names[counter];
}

const char *cn_stats_gauge_name(enum cn_gauge gauge)
{
	static const char *const names[] = {
#define CN_X(name, doc) #name,
			CN_GAUGES(CN_X)
#undef CN_X
	};

	return names[gauge];
}

unsigned long cn_stats_counter(enum cn_counter counter)
{
	return 100 + counter;
}

unsigned long cn_stats_cause_count(enum cn_cause cause)
{
	return 200 + cause;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return 300 + gauge;
}

double cn_stats_latency_ms(enum cn_latency latency, double percent)
{
	return 1000 * (latency + 1) + percent;
}

int cn_metrics_write(bool open_metrics, str *text)
{
	assert_false(open_metrics);
	text->s = pkg_malloc(5);
	if(text->s == NULL)
		return -1;
	text->len = 4;
	memcpy(text->s, "a\nb\n", 5);
	return 0;
}

void cn_stats_endpoint(int endpoint, struct cn_endpoint_stats *stats)
{
	*stats = the.endpoint;
	stats->attempts += endpoint;
}

enum cn_breaker_state cn_breaker_state(int endpoint)
{
	return endpoint == 7 ? CN_BREAKER_CLOSED : the.breaker;
}

int cn_room_number(int endpoint)
{
	return 20 + endpoint;
}

const char *cn_breaker_state_name(enum cn_breaker_state state)
{
	return state == CN_BREAKER_OPEN ? "open" : "closed";
}

int cn_index_list(struct cn_index_row *rows, int max)
{
	int n = the.parked_count < max ? the.parked_count : max;

	memcpy(rows, the.parked, n * sizeof(*rows));
	return n;
}

int cn_index_list_of(
		const str *key, unsigned hash, struct cn_index_row *rows, int max)
{
	assert_int_equal(hash, 4711);
	return cn_index_list(rows, max);
}

unsigned cn_classify_hash(const str *key)
{
	return 4711;
}

str cn_usrloc_key(const char *aor)
{
	return stub_str(strncmp(aor, "sip:", 4) == 0 ? aor + 4 : aor);
}

int cn_outbox_rows_of(unsigned hash)
{
	assert_int_equal(hash, 4711);
	return 5;
}

uint64_t cn_reservation_device(const str *key)
{
	return 12;
}

struct cn_reservation cn_reservation_of(uint64_t device)
{
	struct cn_reservation r = {.due_us = the.reservation_us};

	assert_int_equal(device, 12);
	return r;
}

char *get_valid_proto_name(unsigned short proto)
{
	return proto == 1 ? "udp" : "tcp";
}

int64_t cn_number_clock_us(void)
{
	return the.clock_us;
}

void cn_outbox_state(struct cn_outbox_state *state)
{
	*state = the.state;
}

int cn_outbox_dead_letters(struct cn_dead_letter *letters, int max)
{
	int n = the.letter_count < max ? the.letter_count : max;

	memcpy(letters, the.letters, n * sizeof(*letters));
	return n;
}

void cn_outbox_replay(void)
{
	the.replays++;
}

void cn_outbox_pause(bool paused)
{
	the.paused = paused;
}

void cn_outbox_look(void)
{
	the.looks++;
}

bool cn_resync_ask(const str *aor)
{
	if(the.progress.running)
		return false;
	the.resyncs++;
	snprintf(the.resync_aor, sizeof(the.resync_aor), "%.*s", aor ? aor->len : 3,
			aor ? aor->s : "all");
	return true;
}

void cn_resync_progress(struct cn_resync_progress *progress)
{
	*progress = the.progress;
}

/* -------- calls -------- */

static int call(const char *name, const char *parameter)
{
	return fake_rpc_call(cn_rpc_commands, name, parameter);
}

static int start(void **state)
{
	memset(&the, 0, sizeof(the));
	the.outbox = the.in_memory = true;
	the.clock_us = 5000000000;
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.node = "sip1";
	fake_rpc_fail_at(0);
	cn_limits_destroy();
	return cn_limits_init(&stub_limits);
}

static int end(void **state)
{
	assert_nothing_logged();
	return stub_pkg_blocks() == 0 ? 0 : -1;
}

static void status_shows_everything_at_a_glance(void **state)
{
	char path[64], value[16];
	int i;

	the.rate = 123.6;
	the.line_us = 2400000;
	strcpy(the.progress.aor, "gzj@telecom.com");
	the.progress.running = true;
	the.progress.percent = 40;
	the.progress.waiting = 5;
	the.progress.sent = 6;
	the.progress.refused = 7;
	the.progress.failed = 8;
	assert_int_equal(call("cms_notify.status", NULL), 0);
	assert_answer("0.version", CN_VERSION);
	assert_answer("0.node", "sip1");
	assert_answer("0.capacity", "8704");
	assert_answer("0.rate", "124");
	assert_answer("0.line_s", "2");
	for(i = 0; i < CN_COUNTER_COUNT; i++) {
		snprintf(path, sizeof(path), "0.%s", cn_stats_counter_name(i));
		snprintf(value, sizeof(value), "%d", 100 + i);
		assert_answer(path, value);
	}
	/* one for each cause but those that have a counter or gauge of the name */
	for(i = CN_CAUSE_none + 1; i < CN_CAUSE_COUNT; i++) {
		snprintf(path, sizeof(path), "0.%s", cn_cause_name(i));
		snprintf(value, sizeof(value), "%d",
				i == CN_CAUSE_busy	   ? 100 + CN_COUNTER_busy
				: i == CN_CAUSE_outbox ? 300 + CN_GAUGE_outbox
									   : 200 + i);
		assert_answer(path, value);
	}
	for(i = 0; i < CN_GAUGE_COUNT; i++) {
		snprintf(path, sizeof(path), "0.%s", cn_stats_gauge_name(i));
		snprintf(value, sizeof(value), "%d", 300 + i);
		assert_answer(path, value);
	}
	assert_answer("0.queue_ms.p50", "1050.000");
	assert_answer("0.http_ms.p95", "2095.000");
	assert_answer("0.total_ms.p99", "3099.000");
	assert_answer("0.limits.drain_timeout", "3000");
	assert_answer("0.limits.timeout", "0");
	assert_answer("0.drain.state", "off");
	assert_answer("0.resync.state", "running");
	assert_answer("0.resync.aor", "gzj@telecom.com");
	assert_answer("0.resync.percent", "40");
	assert_answer("0.resync.waiting", "5");
	assert_answer("0.resync.sent", "6");
	assert_answer("0.resync.refused", "7");
	assert_answer("0.resync.failed", "8");
}

static void how_many_are_alive_is_shown_where_it_is_known(void **state)
{
	assert_int_equal(call("cms_notify.status", NULL), 0);
	assert_null(fake_rpc_value("0.alive"));
	cn_conf.alive_timeout_s = 180;
	assert_int_equal(call("cms_notify.status", NULL), 0);
	assert_answer("0.alive", "42");
	cn_conf.alive_timeout_s = 0;
}

static void a_device_is_shown_with_its_contacts(void **state)
{
	assert_int_equal(call("cms_notify.device", "gzj@telecom.com"), 0);
	assert_answer("0.aor", "gzj@telecom.com");
	assert_answer("0.contacts.0.contact", "sip:gzj@10.0.0.1:5060");
	assert_answer("0.contacts.0.received", "sip:192.0.2.1:7000");
	assert_answer("0.contacts.0.state", "registered");
	assert_answer("0.contacts.0.expires_s", "100");
	assert_answer("0.contacts.0.heard_s", "7");
	assert_answer("0.contacts.1.state", "off line");
	assert_int_equal(call("cms_notify.device", "nobody@telecom.com"), 0);
	assert_answer("0.aor", "nobody@telecom.com");
	assert_null(fake_rpc_value("0.contacts.0.contact"));
	assert_null(fake_rpc_value("0.steps.0.step"));
	assert_null(fake_rpc_value("0.flaps"));
	assert_null(fake_rpc_value("0.reservation_s"));
	assert_int_equal(call("cms_notify.device", NULL), 400);
	fake_rpc_fail_at(1);
	assert_int_equal(call("cms_notify.device", "gzj@telecom.com"), 500);
	fake_rpc_fail_at(0);
}

static struct cn_step a_step(const char *key, enum cn_step_kind kind)
{
	struct cn_step step = {.kind = kind, .ip_len = 4, .port = 7000};
	str id = STR("5ed75fcb847f88d2ee1aa6c300000386"), s = stub_str(key);

	step.device = cn_history_device(&s);
	step.transport = 1;
	memcpy(step.ip, (unsigned char[]){192, 0, 2, 1}, 4);
	cn_step_set_id(&step, &id);
	return step;
}

/* What waits, and what it did. */
static void a_device_is_shown_with_its_steps(void **state)
{
	struct cn_step step, end;
	uint64_t number;
	int i;

	assert_int_equal(cn_history_init(100, "secret"), 0);
	the.parked_count = 1;
	the.parked[0] = (struct cn_index_row){
			.id = "4f0c", .waiters = 2, .reason = CN_REASON_MOVED};
	the.reservation_us = cn_now_us() + 7900000;
	step = a_step("gzj@telecom.com", CN_STEP_REGISTER);
	step.cseq = 3;
	step.expires = 60;
	step.contacts = 1;
	number = cn_history_put(0, &step);
	assert_int_equal(call("cms_notify.device", "sip:gzj@telecom.com"), 0);
	assert_answer("0.parked.0.id", "4f0c");
	assert_answer("0.parked.0.reason", "moved");
	assert_answer("0.parked.0.state", "queued");
	assert_answer("0.parked.0.requests", "2");
	assert_answer("0.outbox", "5");
	assert_answer("0.reservation_s", "7");
	assert_answer("0.flaps", "0");
	assert_answer("0.flapping", "no");
	assert_answer("0.steps.0.step", "register");
	assert_answer("0.steps.0.times", "1");
	assert_answer("0.steps.0.verdict", "waiting");
	assert_answer("0.steps.0.source", "192.0.2.1");
	assert_answer("0.steps.0.port", "7000");
	assert_answer("0.steps.0.transport", "udp");
	assert_answer("0.steps.0.cseq", "3");
	assert_answer("0.steps.0.expires", "60");
	assert_answer("0.steps.0.contacts", "1");
	assert_null(fake_rpc_value("0.steps.0.reason"));

	end = step;
	end.reason = CN_REASON_MOVED;
	end.verdict = CN_STEP_VERDICT(CN_REJECTED);
	end.status = 403;
	end.elapsed_ms = 14;
	cn_step_set_text(&end, "no\x1b[2J", 6);
	cn_conf.flap_limit = 1;
	for(i = 0; i < 2; i++)
		cn_history_end(number, &end, true);
	the.reservation_us = cn_now_us() - 301000000;
	assert_int_equal(call("cms_notify.device", "gzj@telecom.com"), 0);
	assert_answer("0.steps.0.verdict", "rejected");
	assert_answer("0.steps.0.cause", "none");
	assert_answer("0.steps.0.status", "403");
	assert_answer("0.steps.0.ms", "14");
	assert_answer("0.steps.0.reason", "moved");
	assert_answer("0.steps.0.id", "5ed75fcb847f88d2ee1aa6c300000386");
	assert_answer("0.steps.0.text", "no\\x1b[2J");
	assert_answer("0.flaps", "2");
	assert_answer("0.flapping", "yes");
	assert_null(fake_rpc_value("0.reservation_s"));

	step = (struct cn_step){.device = step.device, .kind = CN_STEP_EXPIRED};
	cn_history_put(0, &step);
	step = a_step("gzj@telecom.com", CN_STEP_DELIVERED);
	step.ip_len = 0;
	step.status = 200;
	cn_history_put(0, &step);
	assert_int_equal(call("cms_notify.device", "gzj@telecom.com"), 0);
	assert_answer("0.steps.0.step", "delivered");
	assert_answer("0.steps.0.status", "200");
	assert_null(fake_rpc_value("0.steps.0.source"));
	assert_answer("0.steps.1.step", "expired");
	assert_null(fake_rpc_value("0.steps.1.id"));
	assert_null(fake_rpc_value("0.steps.1.cseq"));
	assert_answer("0.steps.2.step", "register");

	for(i = 1;; i++) { /* without room for it */
		fake_rpc_fail_at(i);
		(void)call("cms_notify.device", "gzj@telecom.com");
		if(!fake_rpc_has_failed())
			break;
	}
	fake_rpc_fail_at(0);
	assert_true(i > 10);
	cn_history_destroy();
}

static void no_name_is_too_long(void **state)
{
	char name[400];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(call("cms_notify.device", name), 400);
	name[255] = '\0';
	assert_int_equal(call("cms_notify.device", name), 0);
}

static void a_rate_without_end_is_shown_as_a_large_one(void **state)
{
	the.rate = 1e300;
	the.outbox = false;
	assert_int_equal(call("cms_notify.status", NULL), 0);
	assert_answer("0.rate", "4294967295");
	assert_null(fake_rpc_value("0.resync.state"));
}

static void without_room_for_the_answer_nothing_breaks(void **state)
{
	static const char *const commands[] = {"status", "endpoints", "parked",
			"outbox", "replay", "pause", "resume", "resync"};
	char name[64];
	size_t i;
	int n;

	the.endpoints.count = 1;
	the.endpoints.url[0] = "http://cms/";
	the.parked_count = the.letter_count = 2;
	the.state.ready = true;
	for(i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(name, sizeof(name), "cms_notify.%s", commands[i]);
		n = 0;
		do {
			fake_rpc_fail_at(++n);
			(void)call(name, NULL);
			assert_int_equal(stub_pkg_blocks(), 0);
		} while(fake_rpc_has_failed());
		assert_true(n > 1); /* it has answered something */
	}
	fake_rpc_fail_at(1);
	assert_int_equal(call("cms_notify.status", NULL), 500);
	fake_rpc_fail_at(1);
	assert_int_equal(call("cms_notify.endpoints", NULL), 500);
	fake_rpc_fail_at(2); /* the list of dead letters */
	assert_int_equal(call("cms_notify.outbox", NULL), 500);
}

static void endpoints_are_shown_without_what_may_be_secret(void **state)
{
	the.endpoints = (struct cn_endpoints){.count = 2, .slot = {7, 0}};
	the.endpoints.url[0] = "https://cms/register?key=secret";
	the.endpoints.url[1] = "http://spare/register";
	the.breaker = CN_BREAKER_OPEN;
	the.endpoint = (struct cn_endpoint_stats){.in_flight = 3,
			.attempts = 10,
			.failures = 4,
			.last_status = 503,
			.last_cause = CN_CAUSE_http,
			.last_ms = 12};
	assert_int_equal(call("cms_notify.endpoints", NULL), 0);
	assert_answer("0.endpoint", "1");
	assert_answer("0.url", "https://cms/register");
	assert_answer("0.state", "closed");
	assert_answer("0.attempts", "17");
	assert_answer("1.endpoint", "2");
	assert_answer("1.url", "http://spare/register");
	assert_answer("1.state", "open");
	assert_answer("1.in_flight", "3");
	assert_answer("1.limit", "20");
	assert_answer("1.attempts", "10");
	assert_answer("1.failures", "4");
	assert_answer("1.last_cause", "http");
	assert_answer("1.last_status", "503");
	assert_answer("1.last_ms", "12");
	assert_null(fake_rpc_value("2.endpoint"));
	assert_int_equal(the.given_back, 1);
}

static void who_waits_is_shown_and_since_when(void **state)
{
	int i;

	the.parked_count = 150;
	for(i = 0; i < the.parked_count; i++) {
		struct cn_index_row *row = &the.parked[i];

		snprintf(row->aor, sizeof(row->aor), "sip:%d@telecom.com", i);
		strcpy(row->id, "4f0c");
		row->parked_us = cn_now_us() - 1500000;
		row->waiters = 2;
		row->reason = CN_REASON_REBOOT;
		row->sent = i > 0;
		row->decided = i > 1;
	}
	assert_int_equal(call("cms_notify.parked", NULL), 0);
	assert_answer("0.aor", "sip:0@telecom.com");
	assert_answer("0.id", "4f0c");
	assert_answer("0.reason", "reboot");
	assert_answer("0.requests", "2");
	assert_true(atoi(fake_rpc_value("0.waiting_ms")) >= 1500);
	assert_answer("0.state", "queued");
	assert_answer("1.state", "in_flight");
	assert_answer("2.state", "decided");
	assert_non_null(fake_rpc_value("99.aor"));
	assert_null(fake_rpc_value("100.aor"));
	assert_int_equal(call("cms_notify.parked", "3"), 0);
	assert_non_null(fake_rpc_value("2.aor"));
	assert_null(fake_rpc_value("3.aor"));
	assert_int_equal(call("cms_notify.parked", "1000"), 0);
	assert_non_null(fake_rpc_value("149.aor"));
	assert_int_equal(call("cms_notify.parked", "0"), 400);
	assert_int_equal(call("cms_notify.parked", "1001"), 400);
	assert_int_equal(call("cms_notify.parked", "-1"), 400);
}

static void without_memory_there_is_a_fault(void **state)
{
	stub_fail_at(1);
	assert_int_equal(call("cms_notify.parked", NULL), 500);
	assert_string_equal(fake_rpc_fault(), "Out of memory, ask for fewer rows");
	stub_fail_at(1);
	assert_int_equal(call("cms_notify.outbox", NULL), 500);
	stub_fail_at(0);
}

/* -------- the outbox -------- */

static void without_an_outbox_its_commands_say_so(void **state)
{
	static const char *const commands[] = {"cms_notify.outbox",
			"cms_notify.replay", "cms_notify.pause", "cms_notify.resume",
			"cms_notify.resync"};
	size_t i;

	the.outbox = false;
	for(i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		assert_int_equal(call(commands[i], NULL), 400);
		assert_string_equal(
				fake_rpc_fault(), "There is no outbox, set outbox_db_url");
	}
	assert_int_equal(the.replays + the.looks + the.resyncs, 0);
}

static void what_waits_and_who_is_dead_is_shown(void **state)
{
	the.state = (struct cn_outbox_state){.ready = true,
			.waiting = 12,
			.dead = 2,
			.oldest_us = the.clock_us - 90500000,
			.next_try_us = cn_now_us() + 60000000};
	the.letter_count = 2;
	the.letters[0] = (struct cn_dead_letter){.id = "id-1",
			.aor = "gzj@telecom.com",
			.kind = CN_KIND_EXPIRE,
			.reason = CN_REASON_NONE,
			.created_us = the.clock_us - 7000000,
			.attempts = 3,
			.cause = CN_CAUSE_none,
			.status = 422};
	the.letters[1] = the.letters[0];
	the.letters[1].too_old = true;
	the.letters[1].created_us = the.clock_us + 7000000; /* another's clock */
	assert_int_equal(call("cms_notify.outbox", NULL), 0);
	assert_answer("0.state", "running");
	assert_answer("0.database", "ready");
	assert_answer("0.waiting", "12");
	assert_answer("0.dead", "2");
	assert_answer("0.oldest_s", "90");
	assert_in_range(atoi(fake_rpc_value("0.next_try_ms")), 30000, 60000);
	assert_answer("0.dead_letters.0.id", "id-1");
	assert_answer("0.dead_letters.0.aor", "gzj@telecom.com");
	assert_answer("0.dead_letters.0.event", "expire");
	assert_answer("0.dead_letters.0.age_s", "7");
	assert_answer("0.dead_letters.0.attempts", "3");
	assert_answer("0.dead_letters.0.cause", "none");
	assert_answer("0.dead_letters.0.status", "422");
	assert_answer("0.dead_letters.0.why", "refused");
	assert_answer("0.dead_letters.1.why", "too old");
	assert_answer("0.dead_letters.1.age_s", "0");
	assert_int_equal(call("cms_notify.outbox", "1"), 0);
	assert_null(fake_rpc_value("0.dead_letters.1.id"));
	assert_int_equal(call("cms_notify.outbox", "0"), 400);
	assert_int_equal(call("cms_notify.outbox", "101"), 400);
	assert_int_equal(call("cms_notify.outbox", "100"), 0);
}

static void nothing_waits_is_shown_as_nothing(void **state)
{
	the.state.paused = true;
	the.state.next_try_us = 1; /* long ago */
	assert_int_equal(call("cms_notify.outbox", NULL), 0);
	assert_answer("0.state", "paused");
	assert_answer("0.database", "away");
	assert_answer("0.oldest_s", "0");
	assert_answer("0.next_try_ms", "0");
	the.state.next_try_us = 0; /* at once */
	assert_int_equal(call("cms_notify.outbox", NULL), 0);
	assert_answer("0.next_try_ms", "0");
}

static void replay_needs_a_database_that_answers(void **state)
{
	the.state.dead = 4;
	assert_int_equal(call("cms_notify.replay", NULL), 500);
	assert_int_equal(the.replays, 0);
	the.state.ready = true;
	assert_int_equal(call("cms_notify.replay", NULL), 0);
	assert_int_equal(the.replays, 1);
	assert_answer("0.replayed", "4");
}

static void it_is_paused_until_it_is_resumed(void **state)
{
	assert_int_equal(call("cms_notify.pause", NULL), 0);
	assert_true(the.paused);
	assert_answer("0.state", "paused");
	assert_int_equal(call("cms_notify.resume", NULL), 0);
	assert_false(the.paused);
	assert_answer("0.state", "running");
}

/* -------- resync -------- */

static void all_or_one_is_told_again(void **state)
{
	assert_int_equal(call("cms_notify.resync", NULL), 0);
	assert_string_equal(the.resync_aor, "all");
	assert_int_equal(the.looks, 1); /* the outbox process is woken */
	assert_answer("0.state", "started");
	assert_int_equal(call("cms_notify.resync", ""), 0);
	assert_string_equal(the.resync_aor, "all");
	assert_int_equal(call("cms_notify.resync", "gzj@telecom.com"), 0);
	assert_string_equal(the.resync_aor, "gzj@telecom.com");
}

static void one_that_runs_is_shown_and_goes_on(void **state)
{
	the.progress.running = true;
	the.progress.sent = 17;
	assert_int_equal(call("cms_notify.resync", NULL), 0);
	assert_answer("0.state", "running");
	assert_answer("0.sent", "17");
	assert_int_equal(the.resyncs, 0);
}

static void what_cannot_be_told_again_is_a_fault(void **state)
{
	char aor[CN_RESYNC_AOR_MAX + 1];

	memset(aor, 'a', sizeof(aor));
	aor[CN_RESYNC_AOR_MAX] = '\0';
	assert_int_equal(call("cms_notify.resync", aor), 400);
	aor[CN_RESYNC_AOR_MAX - 1] = '\0';
	assert_int_equal(call("cms_notify.resync", aor), 0);
	the.in_memory = false;
	assert_int_equal(call("cms_notify.resync", NULL), 400);
	assert_int_equal(the.resyncs, 1);
}

static void draining_is_a_command(void **state)
{
	assert_int_equal(call("cms_notify.drain", NULL), 0);
	assert_answer("0", "drained");
}

/* -------- metrics -------- */

static void metrics_are_one_text(void **state)
{
	assert_int_equal(call("cms_notify.metrics", NULL), 0);
	assert_answer("0", "a\nb\n");
	assert_int_equal(stub_pkg_blocks(), 0);
	stub_fail_at(1);
	assert_int_equal(call("cms_notify.metrics", NULL), 500);
	stub_fail_at(0);
}

/* -------- files -------- */

static void files_are_read_again(void **state)
{
	assert_int_equal(call("cms_notify.reload", NULL), 0);
	assert_answer("0.reloads", "1");
}

static void what_is_wrong_with_a_file_is_the_fault(void **state)
{
	the.wrong = "tls_ca: 100%s wrong";
	assert_int_equal(call("cms_notify.reload", NULL), 400);
	assert_string_equal(fake_rpc_fault(), the.wrong);
	assert_int_equal(the.reloads, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(status_shows_everything_at_a_glance),
			TEST(how_many_are_alive_is_shown_where_it_is_known),
			TEST(a_device_is_shown_with_its_contacts),
			TEST(a_device_is_shown_with_its_steps),
			TEST(no_name_is_too_long),
			TEST(a_rate_without_end_is_shown_as_a_large_one),
			TEST(without_room_for_the_answer_nothing_breaks),
			TEST(endpoints_are_shown_without_what_may_be_secret),
			TEST(who_waits_is_shown_and_since_when),
			TEST(without_memory_there_is_a_fault),
			TEST(without_an_outbox_its_commands_say_so),
			TEST(what_waits_and_who_is_dead_is_shown),
			TEST(nothing_waits_is_shown_as_nothing),
			TEST(replay_needs_a_database_that_answers),
			TEST(it_is_paused_until_it_is_resumed),
			TEST(all_or_one_is_told_again),
			TEST(one_that_runs_is_shown_and_goes_on),
			TEST(what_cannot_be_told_again_is_a_fault),
			TEST(draining_is_a_command),
			TEST(metrics_are_one_text),
			TEST(files_are_read_again),
			TEST(what_is_wrong_with_a_file_is_the_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
