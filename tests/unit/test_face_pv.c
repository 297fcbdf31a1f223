/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <jansson.h>

#include "../../core/parser/msg_parser.h"
#include "../../core/pvapi.h"
#include "../../core/pvar.h"

#include "events.h"

#include "base_body.h"
#include "base_conf.h"
#include "admit.h"
#include "face_pv.h"
#include "outbox.h"
#include "base_stats.h"

struct cn_conf cn_conf;

static int queued, in_flight;

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return gauge == CN_GAUGE_queued		 ? queued
		   : gauge == CN_GAUGE_in_flight ? in_flight
										 : 0;
}

static bool draining;

bool cn_drain_is_on(void)
{
	return draining;
}

int cn_conf_capacity(void)
{
	return 1000;
}

const char *cn_key(void)
{
	return "0123456789abcdef";
}

const str *cn_secret(void)
{
	static str password = str_init("s3cret");

	return &password;
}

unsigned int cryptorand(void)
{
	return 1;
}

static bool outbox_exists, outbox_ready;

bool cn_outbox_exists(void)
{
	return outbox_exists;
}

void cn_outbox_state(struct cn_outbox_state *state)
{
	memset(state, 0, sizeof(*state));
	state->ready = outbox_ready;
}

static struct test_event event;
static struct sip_msg msg, other_msg;

static int start_engine(void **state)
{
	return pv_init_api() < 0
						   || register_pvars_mod("cms_notify", cn_pv_exports)
									  < 0
				   ? -1
				   : cn_job_init(10) < 0 || cn_admission_init(32, 1, 1000, 4000000) < 0 ? -1
																 : 0;
}

static int start(void **state)
{
	make_event(&event)->seq = 1795588330123456;
	cn_conf.node = "sip1";
	stub_limits.timeout_ms = 4000;
	memset(&msg, 0, sizeof(msg));
	memset(&other_msg, 0, sizeof(other_msg));
	msg.id = 7;
	msg.pid = other_msg.pid = 100;
	other_msg.id = 8;
	queued = in_flight = 0;
	cn_pv_set_event(NULL);
	cn_pv_set_verdict(NULL, NULL);
	stub_clear_log();
	return 0;
}

static pv_value_t value_for(struct sip_msg *m, const char *name)
{
	char text[64];
	pv_value_t value;
	pv_spec_t *spec;
	str s;
	int len;

	snprintf(text, sizeof(text), "$cms(%s)", name);
	s = stub_str(text);
	spec = pv_spec_lookup(&s, &len);
	if(spec == NULL)
		fail_msg("there is no %s", text);
	assert_int_equal(pv_get_spec_value(m, spec, &value), 0);
	return value;
}

static bool is_null(const char *name)
{
	return value_for(&msg, name).flags & PV_VAL_NULL;
}

static void assert_text(const char *name, const char *wanted)
{
	pv_value_t v = value_for(&msg, name);

	assert_true(v.flags & PV_VAL_STR);
	assert_false(v.flags & (PV_VAL_NULL | PV_TYPE_INT));
	assert_str(v.rs, wanted);
}

static long number(const char *name)
{
	pv_value_t v = value_for(&msg, name);

	assert_true(v.flags & PV_TYPE_INT);
	return v.ri;
}

static const char *const verdict_names[] = {"verdict", "status", "cause",
		"text", "body", "answer.text", "retry_after", "elapsed_ms"};
static const char *const event_names[] = {"event", "seq", "time", "aor",
		"username", "domain", "auth_user", "realm", "contacts", "live", "flaps", "source_ip", "source_port",
		"transport", "call_id", "cseq", "user_agent"};
#define COUNT(list) (int)(sizeof(list) / sizeof(list[0]))

static void assert_nothing_to_see(void)
{
	int i;

	for(i = 0; i < COUNT(verdict_names); i++)
		assert_true(is_null(verdict_names[i]));
	for(i = 0; i < COUNT(event_names); i++)
		assert_true(is_null(event_names[i]));
	assert_true(is_null("id"));
	assert_true(is_null("reason"));
}

static void without_an_event_all_are_null(void **state)
{
	assert_nothing_to_see();
	assert_text("node", "sip1");
	assert_text("password", "s3cret");
}

static void it_drains_or_not_as_a_number(void **state)
{
	assert_int_equal(number("draining"), 0);
	draining = true;
	assert_int_equal(number("draining"), 1);
	draining = false;
}

static void it_is_known_whether_the_database_answers(void **state)
{
	outbox_exists = outbox_ready = true;
	assert_int_equal(number("outbox_ready"), 1);
	outbox_ready = false;
	assert_int_equal(number("outbox_ready"), 0);
	outbox_ready = true;
	outbox_exists = false;
	assert_int_equal(number("outbox_ready"), 0);
}

static void a_wrong_name_is_refused_when_the_script_is_read(void **state)
{
	static const char *const wrong[] = {
			"$cms(nothere)", "$cms(Verdict)", "$cms(verdict )", "$cms(verdic)"};
	int i, len;

	for(i = 0; i < COUNT(wrong); i++) {
		str s = stub_str(wrong[i]);

		assert_null(pv_spec_lookup(&s, &len));
	}
	assert_non_null(strstr(stub_log(), "$cms(nothere)"));
}

static struct cn_job *decided_job(const struct cn_outcome *outcome)
{
	str none = {NULL, 0},
		body = STR("{\"a body as long as an answer may be\"}");
	struct cn_job *job;

	assert_int_equal(cn_job_new(&event.ev, &body, &none, false, &job), CN_CAUSE_none);
	assert_true(cn_job_decide(job, outcome));
	return job;
}

static void a_verdict_is_seen_while_it_is_shown(void **state)
{
	struct cn_outcome o = {.verdict = CN_REJECTED,
			.cause = CN_CAUSE_none,
			.status = 403,
			.body = STR("{\"text\":\"refused\"}")};
	struct cn_job *job;

	event.ev.reason = CN_REASON_RETURNED;
	job = decided_job(&o);
	cn_job_waiter(job)->parked_us -= 1500000;
	cn_pv_set_verdict(job, cn_job_waiter(job));
	assert_text("verdict", "rejected");
	assert_text("cause", "none");
	assert_int_equal(number("status"), 403);
	assert_text("text", "refused");
	assert_text("body", "{\"text\":\"refused\"}");
	assert_text("answer.text", "refused");
	assert_true(is_null("answer.other"));
	assert_text("id", "4f0c0000000000000000000000000001");
	assert_text("reason", "returned");
	assert_in_range(number("elapsed_ms"), 1500, 60000);
	assert_true(is_null("aor"));
	cn_pv_set_verdict(NULL, NULL);
	assert_nothing_to_see();
	cn_job_free(job);
}

/* What the CMS said, where that was what decided; or else the cause. */
static void the_text_is_of_the_cms_or_of_the_cause(void **state)
{
	static const struct
	{
		enum cn_cause cause;
		const char *body;
		const char *text; /* NULL: that of the cause */
	} ends[] = {{CN_CAUSE_none, "{\"text\":\"no\\nway\"}", "no way"},
			{CN_CAUSE_http, "{\"text\":\"full\"}", "full"},
			{CN_CAUSE_http, "{\"text\":1}", NULL},
			{CN_CAUSE_http, "full", NULL}, {CN_CAUSE_none, "{}", NULL},
			{CN_CAUSE_none, "", NULL}, {CN_CAUSE_timeout, "", NULL},
			{CN_CAUSE_outbox, "{\"text\":\"full\"}", NULL}};
	size_t i;

	for(i = 0; i < COUNT(ends); i++) {
		struct cn_outcome o = {
				.verdict = CN_UNAVAILABLE, .cause = ends[i].cause};
		struct cn_job *job;

		o.body = stub_str(ends[i].body);
		job = decided_job(&o);
		cn_pv_set_verdict(job, cn_job_waiter(job));
		assert_text("text",
				ends[i].text ? ends[i].text : cn_cause_text(ends[i].cause));
		cn_pv_set_verdict(NULL, NULL);
		cn_job_free(job);
	}
}

static void each_request_waits_for_a_time_of_its_own(void **state)
{
	struct cn_outcome o = {.verdict = CN_ACCEPTED, .status = 200};
	struct cn_job *job = decided_job(&o);
	str none = {NULL, 0};
	struct cn_waiter *joined = cn_waiter_new(&event.ev, &none);

	cn_job_waiter(job)->parked_us -= 3000000;
	joined->parked_us -= 1000000;
	cn_pv_set_verdict(job, joined);
	assert_in_range(number("elapsed_ms"), 1000, 2999);
	assert_text("verdict", "accepted");
	assert_true(is_null("body"));
	cn_pv_set_verdict(NULL, NULL);
	cn_waiter_free(joined);
	cn_job_free(job);
}

static void retry_after_follows_load_and_cms(void **state)
{
	struct cn_outcome o = {
			.verdict = CN_UNAVAILABLE, .cause = CN_CAUSE_http, .status = 503};
	struct cn_job *job = decided_job(&o);
	long idle = 0, full = 0;
	int i;

	cn_admission_began(1, 32, 0); /* 32 at once, a second each */
	cn_admission_ended(1, 1000000, true, 1000000);
	cn_pv_set_verdict(job, cn_job_waiter(job));
	idle = number("retry_after");
	assert_in_range(idle, 1, 3600);
	for(i = 0; i < 200; i++) /* asked for once, read often */
		assert_int_equal(number("retry_after"), idle);
	queued = 900;
	event.ev.key = STR("another@telecom.com");
	cn_job_free(job);
	job = decided_job(&o);
	cn_pv_set_verdict(job, cn_job_waiter(job));
	full = number("retry_after");
	assert_true(full >= 900 / 32 - 1);
	assert_true(full > idle);
	cn_pv_set_verdict(NULL, NULL);
	cn_job_free(job);
	queued = in_flight = 0;
	o.retry_after = 120;
	job = decided_job(&o);
	cn_pv_set_verdict(job, cn_job_waiter(job));
	assert_in_range(number("retry_after"), 120, 3600);
	cn_pv_set_verdict(NULL, NULL);
	cn_job_free(job);
}

/* A script may show all it can for each registration. */
static void what_the_cms_has_decided_takes_no_moment(void **state)
{
	struct cn_outcome o = {.verdict = CN_ACCEPTED, .status = 200};
	struct cn_job *job = decided_job(&o);
	int64_t line = cn_admission_line_us(cn_now_us());
	int i;

	for(i = 0; i < 1000; i++) {
		cn_pv_set_verdict(job, cn_job_waiter(job));
		assert_in_range(number("retry_after"), 1, 2);
	}
	assert_true(cn_admission_line_us(cn_now_us()) <= line);
	cn_pv_set_verdict(NULL, NULL);
	cn_job_free(job);
}

static void a_failure_is_seen_by_its_message_alone(void **state)
{
	int i;

	cn_pv_set_failure(&msg, CN_CAUSE_busy, &event.ev);
	strcpy(event.ev.id, "gone");
	assert_text("verdict", "unavailable");
	assert_text("cause", "busy");
	assert_text("text", cn_cause_text(CN_CAUSE_busy));
	assert_text("id", "4f0c0000000000000000000000000001");
	assert_text("reason", "new");
	assert_int_equal(number("status"), 0);
	assert_int_equal(number("elapsed_ms"), 0);
	assert_in_range(number("retry_after"), 1, 3600);
	assert_true(is_null("body"));
	for(i = 0; i < COUNT(verdict_names); i++)
		assert_true(
				value_for(&other_msg, verdict_names[i]).flags & PV_VAL_NULL);
	assert_true(value_for(&other_msg, "id").flags & PV_VAL_NULL);
	msg.pid++;
	assert_nothing_to_see();
}

static void a_verdict_ends_what_was_left_of_a_failure(void **state)
{
	struct cn_outcome o = {.verdict = CN_ACCEPTED, .status = 200};
	struct cn_job *job = decided_job(&o);

	cn_pv_set_failure(&msg, CN_CAUSE_memory, &event.ev);
	cn_pv_set_verdict(job, cn_job_waiter(job));
	assert_text("verdict", "accepted");
	cn_pv_set_verdict(NULL, NULL);
	assert_nothing_to_see();
	cn_job_free(job);
}

static void a_failure_before_there_was_an_event(void **state)
{
	struct cn_event none;

	memset(&none, 0, sizeof(none));
	cn_pv_set_failure(&msg, CN_CAUSE_memory, &none);
	assert_text("cause", "memory");
	assert_text("id", "");
	assert_text("reason", "");
}

/* -------- the body of the published interface -------- */

static const char *const example =
		"{\"version\": 1, \"event\": \"register\","
		" \"id\": \"4f0c0000000000000000000000000001\","
		" \"seq\": 1795588330123456,"
		" \"time\": \"2026-11-23T06:32:10.123Z\", \"reason\": \"new\","
		" \"aor\": \"sip:gzj@telecom.com\", \"username\": \"gzj\","
		" \"domain\": \"telecom.com\", \"auth_user\": \"gzj\","
		" \"realm\": \"kedacom.com\", \"contacts\": ["
		" {\"uri\": \"sip:gzj@172.16.163.3:7000\", \"expires\": 3600,"
		" \"received\": \"sip:172.16.163.3:7000\", \"instance\": null,"
		" \"reg_id\": null, \"path\": null, \"reason\": \"new\"}],"
		" \"live\": 1, \"flaps\": 0,"
		" \"source\": {\"ip\": \"172.16.163.3\", \"port\": 7000,"
		" \"transport\": \"udp\"}, \"call_id\": \"5705@172.16.163.3\","
		" \"cseq\": 2, \"user_agent\": \"TELECOM ncsip/1.0\","
		" \"node\": \"sip1\"}";

struct rendering
{
	const char *template;
	int len;
	char body[65536];
};

static void render_in_child(void *arg)
{
	struct rendering *r = arg;
	str body;

	check(cn_body_init(r->template) == 0);
	cn_pv_set_event(&event.ev);
	check(cn_body_render(&msg, &event.ev, &body) == 0);
	cn_pv_set_event(NULL);
	check(body.len < (int)sizeof(r->body));
	memcpy(r->body, body.s, body.len);
	r->len = body.len;
}

static json_t *render(const char *template)
{
	struct rendering *r = stub_shared(sizeof(*r));
	json_t *json;

	r->template = template;
	stub_in_child(render_in_child, r);
	json = json_loadb(r->body, r->len, JSON_REJECT_DUPLICATES, NULL);
	if(json == NULL)
		fail_msg("no JSON: %s", r->body);
	return json;
}

static void assert_renders(const char *template, const char *wanted)
{
	json_t *a = render(template), *b = json_loads(wanted, 0, NULL);

	assert_non_null(b);
	if(!json_equal(a, b))
		fail_msg("got %s", json_dumps(a, 0));
	json_decref(a);
	json_decref(b);
}

static void the_default_body_is_the_published_one(void **state)
{
	assert_renders(NULL, example);
}

struct looking
{
	const char *template;
	bool has_id;
};

static void look_for_id(void *arg)
{
	struct looking *l = arg;

	check(cn_body_init(l->template) == 0);
	l->has_id = cn_body_has_id();
}

static void a_template_with_the_id_is_known(void **state)
{
	static const struct looking rows[] = {{NULL, true},
			{"{\"a\": [{\"b\": \"$cms(id)\"}]}", true},
			{"{\"a\": \"id $cms(id).\"}", true}, {"{}", false},
			{"{\"id\": \"$cms(seq)\"}", false},
			{"{\"id\": \"cms(id)\"}", false},
			{"{\"$cms(id)\": \"$cms(seq)\"}", false}};
	struct looking *l = stub_shared(sizeof(*l));
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		l->template = rows[i].template;
		stub_in_child(look_for_id, l);
		if(l->has_id != rows[i].has_id)
			fail_msg("%s", rows[i].template);
	}
}

static void what_is_not_there_is_null(void **state)
{
	struct cn_event *ev = &event.ev;
	json_t *json;

	ev->auth_user = ev->realm = ev->user_agent = (str){NULL, 0};
	ev->live = ev->flaps = -1;
	json = render(NULL);
	assert_true(json_is_null(json_object_get(json, "live")));
	assert_true(json_is_null(json_object_get(json, "flaps")));
	assert_true(json_is_null(json_object_get(json, "auth_user")));
	assert_true(json_is_null(json_object_get(json, "realm")));
	assert_true(json_is_null(json_object_get(json, "user_agent")));
	assert_int_equal(json_object_size(json), 19);
	json_decref(json);
}

static void numbers_are_unsigned(void **state)
{
	static const struct
	{
		unsigned n;
		const char *body;
	} rows[] = {{0, "[0]"}, {INT32_MAX, "[2147483647]"},
			{0x80000000u, "[2147483648]"}, {UINT32_MAX, "[4294967295]"}};
	int i;

	for(i = 0; i < COUNT(rows); i++) {
		event.ev.cseq = rows[i].n;
		assert_renders("[\"$cms(cseq)\"]", rows[i].body);
	}
}

/* Higher than what fits into an int of Kamailio. */
static void the_number_is_seen_in_full(void **state)
{
	cn_pv_set_event(&event.ev);
	assert_str(value_for(&msg, "seq").rs, "1795588330123456");
	cn_pv_set_event(NULL);
	assert_renders("[\"$cms(seq)\"]", "[1795588330123456]");
	assert_renders("[\"no. $cms(seq)\"]", "[\"no. 1795588330123456\"]");
	event.ev.seq = INT64_MAX;
	assert_renders("[\"$cms(seq)\"]", "[9223372036854775807]");
}

static void a_deferred_event_is_seen_as_such(void **state)
{
	struct cn_outcome o = {.verdict = CN_DEFERRED,
			.cause = CN_CAUSE_http,
			.status = 503};
	struct cn_job *job = decided_job(&o);

	cn_pv_set_verdict(job, cn_job_waiter(job));
	assert_text("verdict", "deferred");
	assert_text("cause", "http");
	assert_int_equal(number("status"), 503);
	assert_text("reason", "new");
	cn_pv_set_verdict(NULL, NULL);
	cn_job_free(job);
}

static void a_template_of_ones_own(void **state)
{
	assert_renders(
			"{\"DeviceID\": \"$cms(username)\", \"Ip\": \"$cms(source_ip)\","
			" \"Port\": \"$cms(source_port)\","
			" \"Where\": \"$cms(source_ip):$cms(source_port)\","
			" \"Seq\": \"<$cms(cseq)>\"}",
			"{\"DeviceID\": \"gzj\", \"Ip\": \"172.16.163.3\", \"Port\": 7000,"
			" \"Where\": \"172.16.163.3:7000\", \"Seq\": \"<2>\"}");
}

static void contacts_inside_a_longer_string_are_text(void **state)
{
	json_t *json = render("[\"<$cms(contacts)|$cms(contacts)>\"]"), *inner;
	const char *s = json_string_value(json_array_get(json, 0));
	const char *bar = strchr(s, '|');

	assert_non_null(bar);
	assert_int_equal(s[0], '<');
	inner = json_loadb(s + 1, bar - s - 1, 0, NULL);
	assert_int_equal(json_array_size(inner), 1);
	json_decref(inner);
	inner = json_loadb(bar + 1, strlen(bar) - 2, 0, NULL);
	assert_int_equal(json_array_size(inner), 1);
	json_decref(inner);
	json_decref(json);
}

static void contacts_of_another_spelling(void **state)
{
	json_t *json = render("{\"a\": \"x\", \"c\": \"$(cms(contacts))\"}"),
		   *inner;
	const char *s = json_string_value(json_object_get(json, "c"));

	assert_non_null(s);
	inner = json_loads(s, 0, NULL);
	assert_int_equal(json_array_size(inner), 1);
	json_decref(inner);
	json_decref(json);
}

static void many_contacts_grow_the_buffer_they_are_in(void **state)
{
	enum
	{
		MANY = 150
	};
	static struct cn_contact contacts[MANY];
	json_t *json, *inner;
	int i;

	for(i = 0; i < MANY; i++)
		set_contact(&contacts[i], "sip:\"\\\x01\xff", "<urn:uuid:1>");
	event.ev.contacts = contacts;
	event.ev.contact_count = MANY;
	json = render("[\"$cms(contacts)\", \"$(cms(contacts))\"]");
	assert_int_equal(json_array_size(json_array_get(json, 0)), MANY);
	inner = json_loads(json_string_value(json_array_get(json, 1)), 0, NULL);
	assert_true(json_equal(inner, json_array_get(json, 0)));
	json_decref(inner);
	json_decref(json);
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(without_an_event_all_are_null),
			TEST(it_drains_or_not_as_a_number),
			TEST(it_is_known_whether_the_database_answers),
			TEST(a_wrong_name_is_refused_when_the_script_is_read),
			TEST(a_verdict_is_seen_while_it_is_shown),
			TEST(the_text_is_of_the_cms_or_of_the_cause),
			TEST(each_request_waits_for_a_time_of_its_own),
			TEST(retry_after_follows_load_and_cms),
			TEST(what_the_cms_has_decided_takes_no_moment),
			TEST(a_failure_is_seen_by_its_message_alone),
			TEST(a_verdict_ends_what_was_left_of_a_failure),
			TEST(a_failure_before_there_was_an_event),
			TEST(the_default_body_is_the_published_one),
			TEST(a_template_with_the_id_is_known),
			TEST(what_is_not_there_is_null),
			TEST(numbers_are_unsigned),
			TEST(the_number_is_seen_in_full),
			TEST(a_deferred_event_is_seen_as_such),
			TEST(a_template_of_ones_own),
			TEST(contacts_inside_a_longer_string_are_text),
			TEST(contacts_of_another_spelling),
			TEST(many_contacts_grow_the_buffer_they_are_in),
	};

	return cmocka_run_group_tests(tests, start_engine, NULL);
}
