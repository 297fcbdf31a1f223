/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What becomes of a REGISTER that the script gives to cms_notify(): with the
 * index and the jobs as they are, and a usrloc, a tm and a queue that the test
 * plays. */

#include "../../core/mem/mem.h"
#include "../../core/rand/cryptorand.h"

#include "events.h"

#include "admit.h"
#include "admit_reservation.h"
#include "admit_share.h"
#include "base_body.h"
#include "base_conf.h"
#include "base_history.h"
#include "base_stats.h"
#include "face_notify.h"
#include "face_pv.h"
#include "face_step.h"
#include "job_index.h"
#include "job_line.h"
#include "job_number.h"
#include "job_order.h"
#include "reg_answer.h"
#include "reg_classify.h"
#include "reg_park.h"
#include "reg_restart.h"

#define PARKED_MAX 128

struct cn_conf cn_conf;

static struct
{
	/* what the request is; what usrloc says of it */
	struct test_event event;
	enum cn_reason reason;
	int read_result, second_read_result;
	int reads;
	/* what tm says */
	bool absorbs, rewrites;
	enum cn_parked opened, parked;
	void (*meanwhile)(void); /* while it is being parked */
	/* what else says no */
	bool crowded;
	int render_result;
	/* what was done */
	int classified, described, parks, unparks, sent, renders;
	struct cn_job *last_sent;
	int failures;
	enum cn_cause failure;
	int too_many, too_large; /* answers */
	int restarts;			 /* bindings that gave way */
	struct cn_waiter *waiters[PARKED_MAX];
	str shown_user; /* $cms(...) while the body is made */
	char failed_user[32];
	char step[64];
	int lines; /* of the log */
} the;

static int counters[CN_COUNTER_COUNT], gauges[CN_GAUGE_COUNT],
		causes[CN_CAUSE_COUNT];

/* -------- what is played -------- */

unsigned int cryptorand(void)
{
	return 1;
}

int cn_classify_read(struct sip_msg *msg, const str *aor, struct cn_event *ev)
{
	if(the.read_result < 0)
		return -1;
	*ev = the.event.ev;
	ev->contacts = the.event.contacts;
	if(aor)
		ev->aor = *aor;
	if(the.reads++ > 0) { /* the credentials have been taken out */
		ev->auth_user = ev->realm = NO_STR;
		return the.second_read_result;
	}
	return 0;
}

/* -------- what is kept and said of it -------- */

static void note(const char *step, const char *why)
{
	snprintf(the.step, sizeof(the.step), "%s %s", step, why);
}

void cn_face_step_wait(struct sip_msg *msg, struct cn_event *ev, bool joins)
{
	note("wait", joins ? "joins" : "");
	ev->step = 7;
}

void cn_face_step_not_new(struct sip_msg *msg, const struct cn_event *ev)
{
	note("not new", "");
}

void cn_face_step_refuse(
		struct sip_msg *msg, const struct cn_event *ev, const char *why)
{
	note("refuse", why);
}

void cn_face_step_fail(
		struct sip_msg *msg, const struct cn_event *ev, enum cn_cause cause)
{
	note("fail", cn_cause_name(cause));
}

void cn_line_write(const struct cn_line *line)
{
	assert_int_equal(line->verdict, CN_UNAVAILABLE);
	assert_int_not_equal(line->cause, CN_CAUSE_none);
	the.lines++;
}

uint64_t cn_history_device(const str *key)
{
	return 12;
}

int cn_history_flaps(uint64_t device)
{
	assert_int_equal(device, 12);
	return 3;
}

void cn_request_describe(struct sip_msg *msg, struct cn_event *ev)
{
	assert_int_equal(ev->reason, the.reason);
	the.described++;
}

void cn_classify(struct udomain *table, struct cn_event *ev)
{
	int i;

	the.classified++;
	ev->reason = the.reason;
	for(i = 0; i < ev->contact_count; i++)
		ev->contacts[i].reason = the.reason;
}

void cn_restart_begin(const str *key, unsigned dialog, unsigned cseq)
{
	assert_str(*key, "gzj@telecom.com");
	assert_int_equal(dialog, cn_waiter_dialog(&the.event.ev.call_id));
	assert_int_equal(cseq, the.event.ev.cseq);
	the.restarts++;
}

bool cn_park_absorbs(struct sip_msg *msg)
{
	return the.absorbs;
}

bool cn_park_rewrites(const struct sip_msg *msg)
{
	return the.rewrites;
}

void cn_answer_too_many(struct sip_msg *m)
{
	the.too_many++;
}

void cn_answer_too_large(struct sip_msg *m)
{
	the.too_large++;
}

enum cn_parked cn_park_open(struct sip_msg *msg)
{
	return the.opened;
}

enum cn_parked cn_park(struct sip_msg *msg, struct cn_waiter *waiter)
{
	if(the.meanwhile)
		the.meanwhile();
	if(the.parked == CN_PARKED)
		the.waiters[the.parks++ % PARKED_MAX] = waiter;
	return the.parked;
}

void cn_park_again(struct cn_waiter *waiter)
{
	assert_true(the.parks > the.unparks);
	if(the.meanwhile)
		the.meanwhile();
	the.waiters[(the.parks - 1) % PARKED_MAX] = waiter;
}

void cn_unpark(void)
{
	the.unparks++;
}

bool cn_admission_admits(uint64_t device, int queued, int64_t now_us)
{
	assert_int_equal(device, 4711);
	return !the.crowded;
}

uint64_t cn_reservation_device(const str *key)
{
	assert_str(*key, "gzj@telecom.com");
	return 4711;
}

int cn_body_render(struct sip_msg *msg, const struct cn_event *ev, str *body)
{
	assert_true(ev->id[0] && ev->time[0]); /* it has them by now */
	assert_int_equal(ev->flaps, 3);
	the.renders++;
	*body = STR("{}");
	return the.render_result;
}

static bool pv_shows;

void cn_pv_set_event(const struct cn_event *ev)
{
	assert_int_not_equal(pv_shows, ev != NULL);
	pv_shows = ev != NULL;
	if(ev)
		the.shown_user = ev->auth_user;
}

void cn_pv_set_failure(
		struct sip_msg *msg, enum cn_cause cause, const struct cn_event *ev)
{
	the.failures++;
	the.failure = cause;
	snprintf(the.failed_user, sizeof(the.failed_user), "%.*s",
			ev->auth_user.len, ev->auth_user.s ? ev->auth_user.s : "");
}

void cn_order_go(struct cn_job *job)
{
	the.sent++;
	the.last_sent = job;
}

static int news[CN_REASON_MOVED + 1];

void cn_stats_count(enum cn_counter counter)
{
	counters[counter]++;
}

void cn_stats_news(enum cn_reason reason)
{
	counters[CN_COUNTER_events]++;
	news[reason]++;
}

void cn_stats_cause(enum cn_cause cause)
{
	causes[cause]++;
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
	gauges[gauge] += by;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return gauges[gauge];
}

/* -------- each test -------- */

static struct sip_msg msg;
static struct cn_goal goal = {.route = 5};

static int notify(void)
{
	the.reads = 0;
	return cn_notify(&msg, NULL, &goal, NULL);
}

static int start(void **state)
{
	memset(&the, 0, sizeof(the));
	memset(counters, 0, sizeof(counters));
	memset(gauges, 0, sizeof(gauges));
	memset(news, 0, sizeof(news));
	memset(causes, 0, sizeof(causes));
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	stub_limits.timeout_ms = 4000;
	make_event(&the.event);
	the.event.ev.id[0] = the.event.ev.time[0] = '\0';
	the.reason = CN_REASON_NEW;
	the.opened = the.parked = CN_PARKED;
	goal.defers = false;
	memset(&msg, 0, sizeof(msg));
	return cn_job_init(100) < 0 || cn_number_init() < 0
						   || cn_index_init(100) < 0
						   || cn_share_init(300, "secret") < 0
				   ? -1
				   : 0;
}

/* A verdict for a job that is under way: all who wait get it. */
static int answer(struct cn_job *job)
{
	struct cn_outcome outcome = {.verdict = CN_ACCEPTED, .status = 200};
	struct cn_waiter *waiter;
	int n = 0;

	assert_true(cn_job_decide(job, &outcome));
	while((waiter = cn_index_next_waiter(job)) != NULL) {
		n++;
		cn_share_give_back(waiter->share);
		if(waiter->block != job)
			cn_waiter_free(waiter);
	}
	cn_job_release(job); /* the sending side */
	cn_job_release(job);
	return n;
}

static int end(void **state)
{
	int places = 0;

	assert_false(pv_shows);
	/* whatever happened, the address has its whole share again */
	while(cn_share_take(cn_share_of(&msg.rcv.src_ip)))
		places++;
	assert_int_equal(places, 75);
	cn_share_destroy();
	cn_index_destroy();
	cn_number_destroy();
	cn_job_destroy();
	stub_clear_log();
	if(stub_shm_blocks() == 0 && stub_pkg_blocks() == 0)
		return 0;
	print_error("%d blocks of shm, %d of pkg are left\n", stub_shm_blocks(),
			stub_pkg_blocks());
	return -1;
}

/* -------- new or not -------- */

static void a_new_registration_is_parked_and_sent(void **state)
{
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.parks, 1);
	assert_int_equal(the.sent, 1);
	assert_int_equal(the.waiters[0]->route, 5);
	assert_ptr_equal(the.waiters[0]->block, the.last_sent);
	assert_false(cn_job_defers(the.last_sent));
	assert_true(cn_job_seq(the.last_sent) > 0);
	assert_int_equal(counters[CN_COUNTER_events], 1);
	assert_int_equal(gauges[CN_GAUGE_parked], 1);
	assert_str(the.shown_user, "gzj");
	assert_int_equal(the.failures, 0);
	assert_string_equal(the.step, "wait ");
	assert_int_equal(the.waiters[0]->step, 7);
	assert_int_equal(answer(the.last_sent), 1);
}

static void what_the_script_asks_for_is_what_the_job_does(void **state)
{
	struct cn_goal kemi = {
			.route = -1, .callback = STR("on_verdict"), .defers = true};
	str aor = STR("sip:other@telecom.com");

	the.reads = 0;
	assert_int_equal(cn_notify(&msg, NULL, &kemi, &aor), CN_ENDS_SCRIPT);
	assert_true(cn_job_defers(the.last_sent));
	assert_str(*cn_job_aor(the.last_sent), "sip:other@telecom.com");
	assert_int_equal(the.waiters[0]->route, -1);
	assert_str(the.waiters[0]->callback, "on_verdict");
	answer(the.last_sent);
}

static void a_refresh_goes_on_and_costs_nothing(void **state)
{
	the.reason = CN_REASON_NONE;
	assert_int_equal(notify(), CN_NOT_NEW);
	assert_int_equal(the.parks + the.sent + the.renders + the.failures, 0);
	assert_int_equal(counters[CN_COUNTER_refreshes], 1);
	assert_string_equal(the.step, "not new ");
	assert_int_equal(the.lines, 0);
	assert_int_equal(the.classified, 1);
	assert_int_equal(the.described, 0);
}

static void a_restarted_device_finds_its_binding_out_of_the_way(void **state)
{
	the.event.ev.gives_way = true;
	the.reason = CN_REASON_NONE;
	assert_int_equal(notify(), CN_NOT_NEW);
	assert_int_equal(the.restarts, 1);
	/* parked, it is when it is resumed */
	the.reason = CN_REASON_REBOOT;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.restarts, 1);
	assert_true(the.waiters[0]->gives_way);
	answer(the.last_sent);
}

static void what_save_would_only_pretend_to_do_is_refused(void **state)
{
	the.event.ev.improper = true;
	the.event.ev.gives_way = true;
	the.reason = CN_REASON_NONE;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_bad_request);
	assert_int_equal(causes[CN_CAUSE_bad_request], 1);
	assert_memory_equal(the.step, "refuse nobody", 13);
	assert_int_equal(the.lines, 1);
	assert_int_equal(the.restarts + the.parks + the.sent, 0);
	assert_int_equal(counters[CN_COUNTER_refreshes], 0);
}

static void a_retransmission_ends_without_a_second_look(void **state)
{
	the.absorbs = true;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.classified + the.parks + the.failures, 0);
	/* tm finds it out while it is parked */
	the.absorbs = false;
	the.parked = CN_ABSORBED;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.sent + the.failures, 0);
	assert_int_equal(gauges[CN_GAUGE_parked], 0);
	assert_int_equal(cn_job_count(), 0);
}

/* -------- one device, several requests -------- */

static void another_request_of_the_device_waits_for_the_same_verdict(
		void **state)
{
	struct cn_job *job;

	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	job = the.last_sent;
	the.event.ev.cseq++;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.sent, 1); /* no second POST */
	assert_string_equal(the.step, "wait joins");
	assert_int_equal(the.waiters[1]->step, 7);
	assert_int_equal(the.renders, 1);
	assert_int_equal(counters[CN_COUNTER_joined], 1);
	assert_int_equal(counters[CN_COUNTER_events], 1);
	assert_int_equal(the.waiters[1]->route, 5);
	/* the first may save its CSeq, also if it is the same */
	assert_true(the.waiters[1]->gives_way);
	assert_false(the.waiters[0]->gives_way);
	/* also one that usrloc would call a refresh */
	the.reason = CN_REASON_NONE;
	the.event.ev.cseq++;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(counters[CN_COUNTER_joined], 2);
	assert_int_equal(gauges[CN_GAUGE_parked], 3);
	assert_int_equal(answer(job), 3);
}

static void one_with_a_contact_more_waits_behind(void **state)
{
	struct cn_job *first, *second;

	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	first = the.last_sent;
	set_contact(&the.event.contacts[1], "sip:gzj@172.16.163.4:7000", "");
	the.event.ev.contact_count = 2;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.sent, 1); /* HELD: whoever releases it sends it */
	assert_int_equal(counters[CN_COUNTER_events], 2);
	second = the.waiters[1]->block;
	answer(first);
	assert_ptr_equal(
			cn_index_release(cn_job_key(second), cn_job_hash(second)), second);
	answer(second);
}

static void too_many_of_one_device_are_turned_away(void **state)
{
	struct cn_job *job;
	int n = 1;

	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	job = the.last_sent;
	while(notify() == CN_ENDS_SCRIPT)
		n++;
	assert_int_equal(n, 64);
	assert_int_equal(the.failure, CN_CAUSE_busy);
	assert_int_equal(the.unparks, 1);
	assert_int_equal(counters[CN_COUNTER_busy], 1);
	assert_string_equal(the.step, "fail busy");
	assert_int_equal(the.lines, 1);
	assert_int_equal(gauges[CN_GAUGE_parked], 64);
	assert_int_equal(answer(job), 64);
}

/* -------- who comes in between -------- */

/* A whole other registration of the same AOR. */
static void another_one_comes_and_goes(void)
{
	void (*before)(void) = the.meanwhile;
	enum cn_reason reason = the.reason;
	struct cn_event ev = the.event.ev;
	struct cn_contact contact = the.event.contacts[0];
	str body = STR("{}"), none = NO_STR;
	struct cn_job *job;

	the.meanwhile = NULL;
	contact.reason = CN_REASON_NEW;
	ev.reason = CN_REASON_NEW;
	ev.contacts = &contact;
	strcpy(ev.id, "4f0c");
	ev.seq = cn_number_next();
	assert_int_equal(cn_job_new(&ev, &body, &none, false, &job), CN_CAUSE_none);
	assert_int_equal(cn_index_enter(&ev, cn_job_waiter(job)), CN_ENTERED);
	answer(job);
	the.reason = reason;
	the.meanwhile = before;
}

static void once(void)
{
	the.meanwhile = NULL;
	another_one_comes_and_goes();
	the.reason = CN_REASON_NONE; /* it has saved the contact */
}

static void who_was_overtaken_looks_again(void **state)
{
	the.meanwhile = once;
	assert_int_equal(notify(), CN_NOT_NEW);
	assert_int_equal(the.classified, 2);
	assert_int_equal(the.unparks, 1);
	assert_int_equal(the.sent + the.failures, 0);
	assert_int_equal(gauges[CN_GAUGE_parked], 0);
	assert_int_equal(counters[CN_COUNTER_refreshes], 1);
}

static void once_in_vain(void)
{
	the.meanwhile = NULL;
	another_one_comes_and_goes();
}

static void who_was_overtaken_and_is_new_is_sent(void **state)
{
	the.meanwhile = once_in_vain;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.classified, 2);
	assert_int_equal(the.sent, 1);
	assert_int_equal(the.parks, 1); /* tm has not been asked for more */
	assert_int_equal(the.unparks, 0);
	answer(the.last_sent);
}

static void who_is_overtaken_each_time_is_busy(void **state)
{
	the.meanwhile = another_one_comes_and_goes;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_busy);
	assert_int_equal(the.classified, 8);
	assert_int_equal(the.parks, 1);
	assert_int_equal(the.unparks, 1);
	assert_int_equal(gauges[CN_GAUGE_parked], 0);
	assert_int_equal(cn_job_count(), 0);
}

/* -------- what cannot be -------- */

static void contacts_beyond_max_contacts_are_answered(void **state)
{
	struct cn_job *job;

	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	job = the.last_sent;
	set_contact(&the.event.contacts[0], "sip:gzj@172.16.163.4:7000", "");
	the.event.ev.room = 0;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.too_many, 1);
	assert_int_equal(the.unparks, 1);
	assert_int_equal(the.sent, 1);
	assert_int_equal(gauges[CN_GAUGE_parked], 1);
	answer(job);
}

static void a_large_request_is_answered_and_not_parked(void **state)
{
	msg.len = 16385;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.too_large, 1);
	assert_int_equal(the.parks, 0);
	msg.len = 16384;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.parks, 1);
	answer(the.last_sent);
	/* a refresh is not parked: save() may have it */
	msg.len = 16385;
	the.reason = CN_REASON_NONE;
	assert_int_equal(notify(), CN_NOT_NEW);
}

static void an_address_without_a_place_is_busy(void **state)
{
	unsigned share = cn_share_of(&msg.rcv.src_ip);
	int i;

	for(i = 0; i < 75; i++)
		assert_true(cn_share_take(share));
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_busy);
	assert_int_equal(the.renders + the.parks, 0);
	while(i-- > 0)
		cn_share_give_back(share);
}

static void where_there_is_no_room_it_is_busy(void **state)
{
	the.crowded = true;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_busy);
	assert_int_equal(counters[CN_COUNTER_busy], 1);
	assert_int_equal(causes[CN_CAUSE_busy], 0);
	assert_int_equal(the.renders + the.parks, 0); /* it has cost nothing */
	cn_job_destroy();
	assert_int_equal(cn_job_init(0), 0);
	the.crowded = false;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_busy);
	assert_int_equal(the.renders, 0);
}

static void a_body_that_cannot_be_made_is_memory(void **state)
{
	the.render_result = -1;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_memory);
	assert_int_equal(causes[CN_CAUSE_memory], 1);
	assert_int_equal(the.parks, 0);
	assert_logged("WARNING", "no memory for the body of an event");
	assert_string_equal(the.failed_user, "gzj");
}

static void what_cannot_be_read_is_memory(void **state)
{
	the.read_result = -1;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_memory);
}

static void what_cannot_be_parked_is_memory(void **state)
{
	the.parked = CN_NOT_PARKED;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_memory);
	assert_int_equal(cn_job_count(), 0);
	assert_int_equal(gauges[CN_GAUGE_parked], 0);
}

static void notify_without_memory(void)
{
	int sent = the.sent, result = notify();

	assert_int_equal(result, stub_has_failed() ? CN_FAILED : CN_ENDS_SCRIPT);
	if(result == CN_FAILED)
		assert_int_equal(the.failure, CN_CAUSE_memory);
	if(the.sent > sent)
		answer(the.last_sent);
}

static void each_allocation_may_fail(void **state)
{
	struct cn_job *job;

	assert_int_equal(stub_each_allocation(notify_without_memory), 1);
	the.rewrites = true; /* what is kept of the first reading, too */
	assert_int_equal(stub_each_allocation(notify_without_memory), 2);
	the.rewrites = false;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	job = the.last_sent;
	stub_fail_at(1); /* who joins needs a block, too */
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_memory);
	stub_fail_at(0);
	assert_int_equal(answer(job), 1);
}

/* -------- Kamailio 6.1: making the transaction rewrites the message -------- */

static void what_was_rewritten_is_read_again(void **state)
{
	the.rewrites = true;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.reads, 2);
	/* who it is stays decided */
	assert_str(the.shown_user, "gzj");
	answer(the.last_sent);
}

static void a_refresh_needs_no_transaction(void **state)
{
	the.rewrites = true;
	the.opened = CN_NOT_PARKED;
	the.reason = CN_REASON_NONE;
	assert_int_equal(notify(), CN_NOT_NEW);
	assert_int_equal(the.reads, 1);
}

static void without_a_transaction_nothing_is_read_again(void **state)
{
	the.rewrites = true;
	the.opened = CN_ABSORBED;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	assert_int_equal(the.failures, 0);
	the.opened = CN_NOT_PARKED;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_memory);
	assert_int_equal(the.parks, 0);
}

static void one_that_cannot_be_read_again_fails_as_what_it_was(void **state)
{
	the.rewrites = true;
	the.second_read_result = -1;
	assert_int_equal(notify(), CN_FAILED);
	assert_int_equal(the.failure, CN_CAUSE_memory);
	assert_string_equal(the.failed_user, "gzj");
	assert_int_equal(the.parks, 0);
}

/* -------- cms_is_new() -------- */

static void is_new_only_looks(void **state)
{
	assert_true(cn_notify_is_new(&msg, NULL, NULL));
	the.reason = CN_REASON_NONE;
	assert_false(cn_notify_is_new(&msg, NULL, NULL));
	the.reason = CN_REASON_NEW;
	the.read_result = -1;
	assert_false(cn_notify_is_new(&msg, NULL, NULL));
	the.read_result = 0;
	assert_int_equal(notify(), CN_ENDS_SCRIPT);
	/* the CMS is being told already */
	assert_false(cn_notify_is_new(&msg, NULL, NULL));
	assert_int_equal(the.parks, 1);
	assert_int_equal(counters[CN_COUNTER_refreshes], 0);
	answer(the.last_sent);
}

static void a_script_that_is_wrong_gets_a_failure(void **state)
{
	assert_int_equal(cn_notify_refuse(&msg), CN_FAILED);
	assert_int_equal(the.failures, 1);
	assert_int_equal(the.failure, CN_CAUSE_none);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_new_registration_is_parked_and_sent),
			TEST(what_the_script_asks_for_is_what_the_job_does),
			TEST(a_refresh_goes_on_and_costs_nothing),
			TEST(a_restarted_device_finds_its_binding_out_of_the_way),
			TEST(what_save_would_only_pretend_to_do_is_refused),
			TEST(a_retransmission_ends_without_a_second_look),
			TEST(another_request_of_the_device_waits_for_the_same_verdict),
			TEST(one_with_a_contact_more_waits_behind),
			TEST(too_many_of_one_device_are_turned_away),
			TEST(who_was_overtaken_looks_again),
			TEST(who_was_overtaken_and_is_new_is_sent),
			TEST(who_is_overtaken_each_time_is_busy),
			TEST(where_there_is_no_room_it_is_busy),
			TEST(contacts_beyond_max_contacts_are_answered),
			TEST(a_large_request_is_answered_and_not_parked),
			TEST(an_address_without_a_place_is_busy),
			TEST(a_body_that_cannot_be_made_is_memory),
			TEST(what_cannot_be_read_is_memory),
			TEST(what_cannot_be_parked_is_memory),
			TEST(each_allocation_may_fail),
			TEST(what_was_rewritten_is_read_again),
			TEST(a_refresh_needs_no_transaction),
			TEST(without_a_transaction_nothing_is_read_again),
			TEST(one_that_cannot_be_read_again_fails_as_what_it_was),
			TEST(is_new_only_looks),
			TEST(a_script_that_is_wrong_gets_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
