/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <jansson.h>

#include "../../core/parser/msg_parser.h"

#include "events.h"
#include "values.h"

#include "base_answer.h"
#include "base_body.h"
#include "base_utf8.h"

/* A template is compiled once in the life of a process: each one gets a child
 * of its own, which hands back what it made. */
struct rendering
{
	int init;
	int err;
	bool contacts; /* call cn_body_contacts() instead */
	const char *template;
	struct cn_event *ev;
	int len;
	char body[CN_BODY_MAX + 1];
};

static struct rendering *made;
static struct test_event event;
static struct sip_msg msg;

static int start(void **state)
{
	if(made == NULL)
		made = stub_shared(sizeof(*made));
	memset(values, 0, sizeof(values));
	make_event(&event);
	stub_clear_log();
	return 0;
}

static void keep(const str *body)
{
	check(body->len >= 0 && body->len <= CN_BODY_MAX);
	memcpy(made->body, body->s, body->len);
	made->body[body->len] = '\0';
	made->len = body->len;
}

static void render_in_child(void *unused)
{
	str body = STR_NULL;

	values_start();
	made->init = cn_body_init(made->template);
	if(made->init < 0)
		return;
	if(made->contacts)
		made->err = cn_body_contacts(&event.ev, &body);
	else
		made->err = cn_body_render(&msg, &event.ev, &body);
	if(made->err == 0)
		keep(&body);
}

static void run_template(const char *template)
{
	made->template = template;
	made->init = made->err = -2;
	made->len = -1;
	stub_in_child(render_in_child, NULL);
}

static json_t *parse(const char *s, int len)
{
	json_error_t error;
	json_t *json =
			json_loadb(s, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

	if(json == NULL)
		fail_msg("no JSON: %s\n%.*s", error.text, len > 2000 ? 2000 : len, s);
	return json;
}

static void assert_json(const char *wanted)
{
	json_t *a = parse(made->body, made->len),
		   *b = parse(wanted, strlen(wanted));

	if(!json_equal(a, b))
		fail_msg("got %s\nwanted %s", made->body, wanted);
	json_decref(a);
	json_decref(b);
}

static void assert_renders(const char *template, const char *wanted)
{
	run_template(template);
	if(made->init != 0 || made->err != 0)
		fail_msg("%s: %d %d %s", template, made->init, made->err, stub_log());
	assert_json(wanted);
}

static void assert_refused(const char *template, const char *part)
{
	char *line;

	stub_clear_log();
	run_template(template);
	assert_int_equal(made->init, -1);
	/* Kamailio's engine may have complained, too */
	line = strstr(stub_log(), "ERROR: body: ");
	if(line == NULL || strstr(line, part) == NULL)
		fail_msg("wanted ...%s...; got: %s", part, stub_log());
	assert_null(strstr(line + 1, "ERROR: body: "));
	stub_clear_log();
}

/* -------- templates -------- */

static void what_holds_no_variable_stays(void **state)
{
	assert_renders("{}", "{}");
	assert_renders("[]", "[]");
	assert_renders("{\"a\": {}, \"b\": [], \"c\": [{}, [[]]]}",
			"{\"a\": {}, \"b\": [], \"c\": [{}, [[]]]}");
	assert_renders("[true, false, null, 0, -1, 4294967296, 1.5, 1e3, \"\"]",
			"[true, false, null, 0, -1, 4294967296, 1.5, 1000.0, \"\"]");
	assert_renders("{\"a\\n\\\"b\": \"c\\\\d\\te \\u00e9 \\ud83d\\udcf7\"}",
			"{\"a\\n\\\"b\": \"c\\\\d\\te \\u00e9 \\ud83d\\udcf7\"}");
	assert_nothing_logged();
}

static void the_order_of_the_fields_stays(void **state)
{
	run_template("{\"z\": 1, \"a\": \"$v(0)\", \"m\": [2, 3]}");
	values_set(0, VALUE_STRING, STR("x"), 0);
	run_template("{\"z\": 1, \"a\": \"$v(0)\", \"m\": [2, 3]}");
	assert_string_equal(made->body, "{\"z\":1,\"a\":\"x\",\"m\":[2,3]}");
}

static void a_name_is_no_place_for_a_variable(void **state)
{
	values_set(0, VALUE_STRING, STR("x"), 0);
	assert_renders("{\"$v(0)\": \"$v(0)\"}", "{\"$v(0)\": \"x\"}");
}

static void a_single_variable_keeps_its_type(void **state)
{
	values_set(0, VALUE_STRING, STR("text"), 0);
	values_set(1, VALUE_NUMBER, NO_STR, 7000);
	values_set(2, VALUE_NUMBER, NO_STR, -1);
	values_set(3, VALUE_CODE, STR("REGISTER"), 256);
	values_set(4, VALUE_NULL, NO_STR, 0);
	values_set(5, VALUE_FAILS, NO_STR, 0);
	values_set(6, VALUE_STRING, STR(""), 0);
	values_set(7, VALUE_STRING, NO_STR, 0);
	values_set(8, VALUE_STRING, STR("7000"), 0);
	assert_renders("[\"$v(0)\", \"$v(1)\", \"$v(2)\", \"$v(3)\", \"$v(4)\","
				   " \"$v(5)\", \"$v(6)\", \"$v(7)\", \"$v(8)\"]",
			"[\"text\", 7000, -1, \"REGISTER\", null, null, \"\", \"\","
			" \"7000\"]");
}

static void text_around_it_makes_a_string(void **state)
{
	values_set(0, VALUE_STRING, STR("text"), 0);
	values_set(1, VALUE_NUMBER, NO_STR, 7000);
	values_set(2, VALUE_NULL, NO_STR, 0);
	values_set(3, VALUE_FAILS, NO_STR, 0);
	values_set(4, VALUE_STRING, NO_STR, 0);
	assert_renders("[\" $v(1)\", \"$v(1) \", \"$v(0):$v(1)\", \"$v(1)$v(1)\","
				   " \"<$v(2)$v(3)>\", \"$v(2)$v(2)\", \"$v(4)$v(4)\"]",
			"[\" 7000\", \"7000 \", \"text:7000\", \"70007000\", \"<>\", \"\","
			" \"\"]");
}

static void an_empty_string_may_be_the_first_one(void **state)
{
	values_set(0, VALUE_STRING, NO_STR, 0);
	values_set(1, VALUE_NULL, NO_STR, 0);
	assert_renders("[\"$v(0)$v(0)\"]", "[\"\"]");
	assert_renders("[\"$v(1)$v(0)\"]", "[\"\"]");
	assert_renders("[\"$v(0)\"]", "[\"\"]");
}

static void two_dollars_are_one(void **state)
{
	values_set(0, VALUE_NUMBER, NO_STR, 5);
	assert_renders("[\"$$\", \"5$$\", \"$v(0)$$\", \"$$$v(0)\"]",
			"[\"$\", \"5$\", \"5$\", \"$5\"]");
}

static void a_template_may_be_deep(void **state)
{
	char template[4000];
	int i, n = 0;

	for(i = 0; i < 200; i++)
		n += sprintf(template + n, "%s", i & 1 ? "[" : "{\"name\":");
	n += sprintf(template + n, "\"$v(0)\"");
	for(i = 199; i >= 0; i--)
		n += sprintf(template + n, "%s", i & 1 ? "]" : "}");
	values_set(0, VALUE_STRING, STR("x"), 0);
	run_template(template);
	assert_int_equal(made->err, 0);
	json_decref(parse(made->body, made->len));
	*strchr(template, '$') = '?';
	strstr(template, "?v(0)")[0] = '$';
	strstr(template, "$v(0)")[1] = '!';
	assert_refused(template, "/name/0/name/0");
}

static void a_mistake_in_the_json_has_a_position(void **state)
{
	assert_refused("", "line 1");
	assert_refused("   ", "line 1");
	assert_refused("{\n  \"a\": 1,\n}", "line 3, column 1");
	assert_refused("{\"a\": 1} x", "line 1, column 10");
	assert_refused("{\"a\" 1}", "line 1");
	assert_refused("{\"a\": \"$v(0)}", "line 1");
	assert_refused("{'a': 1}", "line 1");
	assert_refused("{\"a\": $v(0)}", "line 1, column 7");
	assert_refused("\"$v(0)\"", "line 1");
	assert_refused("17", "line 1");
	assert_refused("{\"a\": 1, \"a\": 2}", "duplicate");
	assert_refused("{\"a\": \"\xff\"}", "byte 0xff");
	assert_refused("{\"a\": \"\\u0000\"}", "line 1");
	assert_refused("{\"a\": 99999999999999999999}", "line 1");
}

static void a_wrong_variable_has_a_place(void **state)
{
	assert_refused("{\"a\": {\"b\": [1, \"$nothere(x)\"]}}", "/a/b/1");
	assert_refused("{\"a\": \"$\"}", "/a");
	assert_refused("{\"a\": \"5 $ a day\"}", "/a");
	assert_refused("{\"a\": \"$v(99)\"}", "/a");
	assert_refused("{\"a\": \"$v(0\"}", "/a");
	assert_refused("{\"a\": \"$v(0)$nothere\"}", "/a");
	assert_refused("[\"$cms(contact)\"]", "/0");
}

/* -------- hostile values -------- */

static void assert_value(
		const char *s, int len, const char *wanted, int wanted_len)
{
	json_t *json, *part;

	values_set(0, VALUE_STRING, stub_exact(s, len), 0);
	run_template("{\"a\": \"$v(0)\", \"b\": \"<$v(0)>\", \"c\": 1}");
	assert_int_equal(made->err, 0);
	json = parse(made->body, made->len);
	assert_int_equal(json_object_size(json), 3);
	assert_int_equal(json_integer_value(json_object_get(json, "c")), 1);
	part = json_object_get(json, "a");
	assert_int_equal(json_string_length(part), wanted_len);
	assert_memory_equal(json_string_value(part), wanted, wanted_len);
	part = json_object_get(json, "b");
	assert_int_equal(json_string_length(part), wanted_len + 2);
	assert_memory_equal(json_string_value(part) + 1, wanted, wanted_len);
	json_decref(json);
	free(values[0].s.s);
}

#define VALUE(in, out) assert_value(in, sizeof(in) - 1, out, sizeof(out) - 1)
#define SAME(in) VALUE(in, in)

static void a_value_cannot_change_the_structure(void **state)
{
	SAME("\"");
	SAME("\",\"c\":2,\"x\":\"");
	SAME("\\\",\\\"c\\\":2}");
	SAME("\\");
	SAME("\\u0022");
	SAME("}]}");
	SAME("$v(1)");
	SAME("%s%n%d");
	SAME("\r\nContent-Length: 0\r\n\r\n");
	SAME("a\0b");
	SAME("\0");
	SAME("\x01\x02\x1f\x7f");
	SAME("\xe6\x91\x84\xe5\x83\x8f\xe5\xa4\xb4");
	SAME("\xe2\x80\xa8</script>");
}

static void broken_utf8_is_replaced(void **state)
{
	VALUE("\xff", "\xef\xbf\xbd");
	VALUE("caf\xe9", "caf\xef\xbf\xbd");
	VALUE("\xc3\"", "\xef\xbf\xbd\"");
	VALUE("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	VALUE("\xf0\x9f\x93", "\xef\xbf\xbd");
}

/* What the JSON library itself makes of the value. */
static char *written_by_the_library(const str *value)
{
	char *valid = malloc(value->len * CN_UTF8_WORST + 1), *text;
	json_t *json = json_stringn_nocheck(valid, cn_utf8_repair(value, valid));

	text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);
	check(text != NULL);
	json_decref(json);
	free(valid);
	return text;
}

static void check_written(const char *s, int len)
{
	str value = stub_exact(s, len), body;
	char *wanted = written_by_the_library(&value);

	values_set(0, VALUE_STRING, value, 0);
	check(cn_body_render(&msg, &event.ev, &body) == 0);
	check(body.len == (int)strlen(wanted) + 2);
	check(body.s[0] == '[' && body.s[body.len - 1] == ']');
	check(memcmp(body.s + 1, wanted, body.len - 2) == 0);
	free(wanted);
	free(value.s);
}

/* Of one kind of characters each, but now and then of any. */
static int random_value(uint64_t *seed, char *s, int size)
{
	static const char *const kinds[] = {"aZ09 ~!#[]^_{}:/<>;=", "\"\\/",
			"\x01\t\n\r\x1f ", "\x7f\x80\xc2\xa9", "\xe6\x91\x84\xef\xbf\xbd"};
	const char *kind = kinds[stub_random(seed) % 5];
	int len = stub_random(seed) % size, i;

	for(i = 0; i < len; i++)
		s[i] = stub_random(seed) % 32 ? kind[stub_random(seed) % strlen(kind)]
									  : (char)stub_random(seed);
	return len;
}

static void write_many(void *unused)
{
	uint64_t seed = 1;
	char s[64];
	int i, j, n;

	values_start();
	check(cn_body_init("[\"$v(0)\"]") == 0);
	for(n = 0; n < 40; n++) {
		for(i = 0; i < 256; i++) {
			memset(s, 'x', n + 1);
			s[n] = (char)i;
			check_written(s, n + 1);
			s[n + 1] = 'y';
			check_written(s, n + 2);
		}
		memset(s, 'x', n);
		check_written(s, n);
	}
	for(i = 0; i < 256; i++) {
		for(j = 0; j < 256; j++) {
			s[0] = (char)i;
			s[1] = (char)j;
			check_written(s, 2);
		}
	}
	for(i = 0; i < 50000; i++)
		check_written(s, random_value(&seed, s, sizeof(s)));
}

static void a_value_is_as_the_json_library_writes_it(void **state)
{
	stub_in_child(write_many, NULL);
}

static void write_numbers(void *unused)
{
	static const long numbers[] = {
			0, 1, -1, 9, 10, -10, 99, 100, 7000, INT32_MAX, INT32_MIN};
	char wanted[32];
	str body;
	size_t i;

	values_start();
	check(cn_body_init("[\"$v(0)\"]") == 0);
	for(i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		values_set(0, VALUE_BARE_NUMBER, NO_STR, numbers[i]);
		sprintf(wanted, "[%ld]", numbers[i]);
		check(cn_body_render(&msg, &event.ev, &body) == 0);
		check(body.len == (int)strlen(wanted));
		check(memcmp(body.s, wanted, body.len) == 0);
	}
}

static void a_number_is_written_as_it_is(void **state)
{
	stub_in_child(write_numbers, NULL);
}

/* -------- contacts -------- */

static void contacts_become_an_array(void **state)
{
	assert_renders("{\"c\": \"$cms(contacts)\"}",
			"{\"c\": [{\"uri\": \"sip:gzj@172.16.163.3:7000\","
			" \"expires\": 3600, \"received\": \"sip:172.16.163.3:7000\","
			" \"instance\": null, \"reg_id\": null, \"path\": null,"
			" \"reason\": \"new\"}]}");
}

static void each_field_of_a_contact_can_be_there(void **state)
{
	struct cn_contact *c = event.contacts;

	c[0].instance = STR("\"<urn:uuid:1>\"");
	c[0].path = STR("<sip:edge;lr>,<sip:core;lr>");
	c[0].received = STR("");
	c[0].has_reg_id = true;
	c[0].reg_id = UINT32_MAX;
	c[0].expires = 0;
	c[0].reason = CN_REASON_RETURNED;
	assert_renders("[\"$cms(contacts)\"]",
			"[[{\"uri\": \"sip:gzj@172.16.163.3:7000\", \"expires\": 0,"
			" \"received\": null, \"instance\": \"\\\"<urn:uuid:1>\\\"\","
			" \"reg_id\": 4294967295, \"path\": "
			"\"<sip:edge;lr>,<sip:core;lr>\","
			" \"reason\": \"returned\"}]]");
}

static void only_new_contacts_are_told(void **state)
{
	struct cn_contact *c = event.contacts;
	json_t *json, *list;
	int i;

	for(i = 0; i < 4; i++) {
		set_contact(&c[i], "sip:x", "");
		c[i].expires = i;
		c[i].reason = i & 1 ? CN_REASON_MOVED : CN_REASON_NONE;
	}
	event.ev.contact_count = 4;
	run_template("[\"$cms(contacts)\", \"$cms(contacts)\"]");
	json = parse(made->body, made->len);
	assert_int_equal(json_array_size(json), 2);
	list = json_array_get(json, 1);
	assert_true(json_equal(list, json_array_get(json, 0)));
	assert_int_equal(json_array_size(list), 2);
	for(i = 0; i < 2; i++)
		assert_int_equal(json_integer_value(json_object_get(
								 json_array_get(list, i), "expires")),
				2 * i + 1);
	json_decref(json);
	c[1].reason = c[3].reason = CN_REASON_NONE;
	assert_renders("[\"$cms(contacts)\"]", "[[]]");
	event.ev.contact_count = 0;
	assert_renders("[\"$cms(contacts)\"]", "[[]]");
}

static void a_contact_cannot_change_the_structure(void **state)
{
	struct cn_contact *c = event.contacts;

	c->uri = STR("sip:a\",\"expires\":9,\"x\":\"\xff\r\n");
	c->path = STR("]}");
	assert_renders("[\"$cms(contacts)\"]",
			"[[{\"uri\": \"sip:a\\\",\\\"expires\\\":9,\\\"x\\\":"
			"\\\"\\ufffd\\r\\n\", \"expires\": 3600,"
			" \"received\": \"sip:172.16.163.3:7000\", \"instance\": null,"
			" \"reg_id\": null, \"path\": \"]}\", \"reason\": \"new\"}]]");
}

static void the_contacts_alone(void **state)
{
	json_t *json;

	made->contacts = true;
	run_template("{}");
	made->contacts = false;
	assert_int_equal(made->err, 0);
	json = parse(made->body, made->len);
	assert_true(json_is_array(json));
	assert_int_equal(json_array_size(json), 1);
	json_decref(json);
}

/* -------- size -------- */

static char *as(int len)
{
	char *s = malloc(len + 1);

	assert_non_null(s);
	memset(s, 'a', len);
	s[len] = '\0';
	return s;
}

/* {"a":"..."} with so many characters. */
static void assert_length(int len)
{
	char *s = as(len);
	int wanted = len + 8;

	values_set(0, VALUE_STRING, (str){s, len}, 0);
	run_template("{\"a\": \"$v(0)\"}");
	if(wanted <= CN_BODY_MAX) {
		if(made->err != 0)
			fail_msg("%d bytes are not rendered", wanted);
		assert_int_equal(made->len, wanted);
		assert_int_equal(strspn(made->body + 6, "a"), len);
	} else {
		assert_int_equal(made->err, -1);
	}
	free(s);
}

static void a_body_grows_with_its_values(void **state)
{
	static const int lengths[] = {0, 1, 600, 680, 681, 682, 683, 690, 2030,
			2039, 2040, 2041, 2042, 2048, 4088, 4089, 20000, 60000, 65535,
			87000};
	size_t i;

	for(i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		assert_length(lengths[i]);
}

static void a_body_may_be_as_long_as_allowed(void **state)
{
	assert_length(100000);
	assert_length(CN_BODY_MAX - 8);
}

static void a_body_is_limited(void **state)
{
	assert_length(CN_BODY_MAX - 7);
	assert_length(CN_BODY_MAX);
	assert_length(CN_BODY_MAX * 2);
	assert_length(8000000);
}

/* In one process: what one event needed does not come back with the next. */
static void render_one_after_the_other(void *unused)
{
	static const int lengths[] = {10, 70000, 10, 3000, 500000, 0, 20};
	str body;
	size_t i;

	values_start();
	check(cn_body_init("{\"a\": \"$v(0)\", \"b\": \"<$v(0)>\","
					   " \"c\": \"$cms(contacts)\"}")
			== 0);
	for(i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char *s = malloc(lengths[i] + 1);
		json_t *json;
		int err;

		check(s != NULL);
		memset(s, '"', lengths[i]);
		values_set(0, VALUE_STRING, (str){s, lengths[i]}, 0);
		err = cn_body_render(&msg, &event.ev, &body);
		free(s);
		check((err < 0) == (lengths[i] > CN_BODY_MAX / 4));
		if(err < 0)
			continue;
		json = json_loadb(body.s, body.len, 0, NULL);
		check(json != NULL);
		check(json_string_length(json_object_get(json, "a"))
				== (size_t)lengths[i]);
		check(json_string_length(json_object_get(json, "b"))
				== (size_t)lengths[i] + 2);
		check(json_array_size(json_object_get(json, "c")) == 1);
		json_decref(json);
	}
}

static void one_event_leaves_nothing_to_the_next(void **state)
{
	stub_in_child(render_one_after_the_other, NULL);
}

/* -------- no memory -------- */

/* Strings of less than 16 bytes: libjansson 2.14 itself does not survive the
 * lack of memory while it reads a longer one. */
#define SHORT_FIELDS                                              \
	"\"a\": \"$v(0)\", \"b\": \"<$v(0)$v(1)>\", \"\\u00e9\": {}," \
	" \"d\": [1, 2.5, null, \"text\", \"$v(2)\"]"

static void fail_while_rendering(void *unused)
{
	str body, whole;
	char *wanted;
	int n = 0, err, failures = 0;
	char s[1500];

	memset(s, '"', sizeof(s));
	values_start();
	values_set(0, VALUE_STRING, (str){s, sizeof(s)}, 0);
	values_set(1, VALUE_NUMBER, NO_STR, 1);
	values_set(2, VALUE_NULL, NO_STR, 0);
	check(cn_body_init("{" SHORT_FIELDS ", \"c\": \"$cms(contacts)\"}") == 0);
	do {
		stub_fail_at(++n);
		err = cn_body_render(&msg, &event.ev, &body);
		check(err == 0 || stub_has_failed());
		failures += err < 0;
	} while(stub_has_failed());
	stub_fail_at(0);
	check(failures >= 5);
	check(cn_body_render(&msg, &event.ev, &whole) == 0);
	wanted = strndup(whole.s, whole.len);
	/* and once more, now that the buffers have grown */
	for(n = 1; n < 40; n++) {
		stub_fail_at(n);
		err = cn_body_render(&msg, &event.ev, &body);
		check(err == 0 || stub_has_failed());
		check(err < 0
				|| (body.len == (int)strlen(wanted)
						&& memcmp(body.s, wanted, body.len) == 0));
	}
	event.contacts->uri = STR("\"");
	stub_fail_at(1);
	err = cn_body_contacts(&event.ev, &body);
	check(err < 0 && stub_has_failed());
	stub_fail_at(0);
	check(cn_body_contacts(&event.ev, &body) == 0);
	free(wanted);
}

static void rendering_survives_any_lack_of_memory(void **state)
{
	json_set_alloc_funcs(stub_malloc, free);
	stub_in_child(fail_while_rendering, NULL);
}

struct attempt
{
	int fail_at;
	bool failed;
	int err;
};

static void fail_while_starting(void *arg)
{
	struct attempt *a = arg;

	values_start();
	stub_fail_at(a->fail_at);
	a->err = cn_body_init("{" SHORT_FIELDS "}");
	a->failed = stub_has_failed();
}

static void without_memory_it_does_not_start(void **state)
{
	struct attempt *a = stub_shared(sizeof(*a));

	json_set_alloc_funcs(stub_malloc, free);
	do {
		a->fail_at++;
		stub_in_child(fail_while_starting, a);
		if(a->failed != (a->err < 0))
			fail_msg("allocation number %d fails and nobody minds", a->fail_at);
		stub_clear_log();
	} while(a->failed);
	assert_true(a->fail_at > 30);
}

/* -------- the answer -------- */

static char line[300];

/* The line, 0-terminated. */
static const char *text_of_n(const char *answer, int len, int size)
{
	str s = stub_exact(answer, len);
	char *room = malloc(size > 0 ? size : 1); /* exactly, for ASan */
	int n = cn_answer_text(&s, room, size);

	assert_in_range(n, 0, size);
	memcpy(line, room, n);
	line[n] = '\0';
	free(room);
	free(s.s);
	return line;
}

static const char *text_of(const char *answer)
{
	return text_of_n(answer, strlen(answer), 256);
}

static void the_text_of_an_answer(void **state)
{
	assert_string_equal(text_of("{\"text\": \"refused\"}"), "refused");
	assert_string_equal(
			text_of(" \r\n{\"a\": [1], \"text\":\"no\\u00e9\", \"b\": 2}\n"),
			"no\xc3\xa9");
	assert_string_equal(text_of("{\"text\": \"\"}"), "");
	assert_string_equal(
			text_of("{\"text\": \"\\ud83d\\udcf7\"}"), "\xf0\x9f\x93\xb7");
}

static void an_answer_without_a_text(void **state)
{
	static const char *const none[] = {"", "{}", "[]", "null", "\"text\"", "17",
			"{\"Text\": \"x\"}", "{\"text\": null}", "{\"text\": 17}",
			"{\"text\": [\"x\"]}", "{\"text\": {\"text\": \"x\"}}",
			"[{\"text\": \"x\"}]", "{\"a\": {\"text\": \"x\"}}"};
	size_t i;

	for(i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_string_equal(text_of(none[i]), "");
}

static void an_answer_that_is_no_json(void **state)
{
	static const char *const garbage[] = {"OK", "{", "{\"text\"",
			"{\"text\":", "{\"text\": \"x\"", "{\"text\": \"x\"}}",
			"{\"text\": \"x\"} {}", "{\"text\": 'x'}", "{text: \"x\"}",
			"<html>{\"text\": \"x\"}</html>", "{\"text\": \"\\x\"}",
			"{\"text\": \"\\ud800\"}", "{\"text\": \"\xff\"}",
			"{\"text\": \"a\nb\"}", "{\"text\": \"\\u0000\"}",
			"\xff\xfe{\"text\": \"x\"}", "{\"text\": \"x\", \"n\": 1e999999}"};
	size_t i;

	for(i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
		assert_string_equal(text_of(garbage[i]), "");
	assert_string_equal(text_of_n("{\"text\": \"x\"}\0", 14, 256), "");
	assert_string_equal(text_of_n("\0\0\0\0", 4, 256), "");
	assert_nothing_logged();
}

static void an_answer_of_any_depth(void **state)
{
	int depth, n;

	for(depth = 10; depth <= 1000000; depth *= 10) {
		char *s = malloc(8 * depth + 100);

		n = sprintf(s, "{\"text\": \"x\", \"a\": ");
		memset(s + n, '[', depth);
		memset(s + n + depth, ']', depth);
		strcpy(s + n + 2 * depth, "}");
		text_of_n(s, strlen(s), 256);
		if(depth <= 100)
			assert_string_equal(line, "x");
		for(n = 0; n < depth; n++)
			memcpy(s + 5 * n, "{\"a\":", 5);
		text_of_n(s, 5 * depth, 256);
		assert_string_equal(line, "");
		free(s);
	}
}

static void a_text_is_one_line(void **state)
{
	assert_string_equal(
			text_of("{\"text\": \"a\\r\\nb\\tc\\u0001\\u001f\\u007fd\"}"),
			"a  b c   d");
	assert_string_equal(text_of("{\"text\": \"\\u001b[2J\\u0008\"}"), " [2J ");
	/* next line, the C1 controls, line and paragraph separator */
	assert_null(strpbrk(text_of("{\"text\": \"a\\u0085b\\u009bc\"}"), "\xc2"));
	assert_null(
			strstr(text_of("{\"text\": \"a\\u2028b\\u2029c\"}"), "\xe2\x80"));
	assert_string_equal(text_of("{\"text\": \"\\u00a0\\u2027\\u202a\"}"),
			"\xc2\xa0\xe2\x80\xa7\xe2\x80\xaa");
}

static void a_long_text_is_cut_between_characters(void **state)
{
	static const char *const characters[] = {
			"a", "\xc3\xa9", "\xe6\x91\x84", "\xf0\x9f\x93\xb7"};
	char answer[2000];
	int size, c, i, n;

	for(c = 0; c < 4; c++) {
		n = sprintf(answer, "{\"text\": \"");
		for(i = 0; i < 100; i++)
			n += sprintf(answer + n, "%s", characters[c]);
		sprintf(answer + n, "\"}");
		for(size = 0; size < 99 * (c + 1); size++) {
			text_of_n(answer, strlen(answer), size < 256 ? size : 256);
			assert_int_equal(strlen(line),
					(size < 256 ? size : 256) / (c + 1) * (c + 1));
			assert_memory_equal(line, answer + 10, strlen(line));
		}
	}
}

static void a_text_that_just_fits_is_not_cut(void **state)
{
	assert_string_equal(
			text_of_n("{\"text\": \"\xc3\xa9\"}", 14, 2), "\xc3\xa9");
	assert_string_equal(text_of_n("{\"text\": \"\xc3\xa9\"}", 14, 1), "");
	assert_string_equal(text_of_n("{\"text\": \"a\xc3\xa9\"}", 15, 2), "a");
	assert_string_equal(text_of_n("{\"text\": \"abc\"}", 15, 3), "abc");
}

static void read_an_answer(void)
{
	static const char answer[] =
			"{\"text\": \"refused\", \"a\": [1, {\"b\": \"c\"}]}";

	text_of(answer);
	assert_string_equal(line, stub_has_failed() ? "" : "refused");
}

static void reading_an_answer_survives_any_lack_of_memory(void **state)
{
	json_set_alloc_funcs(stub_malloc, free);
	assert_true(stub_each_allocation(read_an_answer) > 10);
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_holds_no_variable_stays),
			TEST(the_order_of_the_fields_stays),
			TEST(a_name_is_no_place_for_a_variable),
			TEST(a_single_variable_keeps_its_type),
			TEST(text_around_it_makes_a_string),
			TEST(an_empty_string_may_be_the_first_one),
			TEST(two_dollars_are_one),
			TEST(a_template_may_be_deep),
			TEST(a_mistake_in_the_json_has_a_position),
			TEST(a_wrong_variable_has_a_place),
			TEST(a_value_cannot_change_the_structure),
			TEST(broken_utf8_is_replaced),
			TEST(a_value_is_as_the_json_library_writes_it),
			TEST(a_number_is_written_as_it_is),
			TEST(contacts_become_an_array),
			TEST(each_field_of_a_contact_can_be_there),
			TEST(only_new_contacts_are_told),
			TEST(a_contact_cannot_change_the_structure),
			TEST(the_contacts_alone),
			TEST(a_body_grows_with_its_values),
			TEST(a_body_may_be_as_long_as_allowed),
			TEST(a_body_is_limited),
			TEST(one_event_leaves_nothing_to_the_next),
			TEST(rendering_survives_any_lack_of_memory),
			TEST(without_memory_it_does_not_start),
			TEST(the_text_of_an_answer),
			TEST(an_answer_without_a_text),
			TEST(an_answer_that_is_no_json),
			TEST(an_answer_of_any_depth),
			TEST(a_text_is_one_line),
			TEST(a_long_text_is_cut_between_characters),
			TEST(a_text_that_just_fits_is_not_cut),
			TEST(reading_an_answer_survives_any_lack_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
