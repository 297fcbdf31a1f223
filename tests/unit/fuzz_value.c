/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What devices send goes into the body: whatever it is, the body is JSON of the
 * template's structure, and what was valid UTF-8 is in it unchanged. */

#define _GNU_SOURCE /* memmem() */

#include <jansson.h>

#include "../../core/parser/msg_parser.h"

#include "events.h"
#include "fuzz.h"
#include "values.h"

#include "base_body.h"
#include "base_utf8.h"

const char *const fuzz_seeds[] = {
		"gzj\nTELECOM ncsip/1.0\nsip:gzj@172.16.163.3:7000\n<urn:uuid:1>",
		"\",\"x\":\"\n\\\n}]\n$v(0)",
		"\xe6\x91\x84\xe5\x83\x8f\n\xff\xfe\n\xc3\n", "\n\n\n", "", NULL};

const long fuzz_runs = 20000;

const char *const fuzz_words[] = {"\n", "\n\n", "\"", "\\", "\\u0000", "}", "]",
		",", ":", "\"c\":", "\x01", "\x7f", "\xc2\x80", "\xe2\x80\xa8",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "\xf0\x9f\x93",
		"\xef\xbf\xbd", "</script>", "%s", "$v(0)", NULL};

#define PARTS 4

/* Lines are the values. */
static void split(const uint8_t *data, size_t n, str *parts)
{
	const char *p = (const char *)data, *end = p + n, *next;
	int i;

	for(i = 0; i < PARTS; i++) {
		next = i < PARTS - 1 && p < end ? memchr(p, '\n', end - p) : NULL;
		parts[i].s = (char *)p;
		parts[i].len = (int)((next ? next : end) - p);
		p = next ? next + 1 : end;
	}
}

/* json is a string: before, the value as valid UTF-8, after. */
static void claim_is(const json_t *json, const char *before, const str *value,
		const char *after)
{
	char *clean = malloc(value->len * CN_UTF8_WORST + 1);
	int n = cn_utf8_repair(value, clean);
	size_t b = strlen(before), a = strlen(after);
	const char *s = json_string_value(json);

	if(s == NULL || json_string_length(json) != b + n + a
			|| memcmp(s, before, b) != 0 || memcmp(s + b, clean, n) != 0
			|| memcmp(s + b + n, after, a) != 0)
		abort();
	free(clean);
}

static void claim_is_or_null(const json_t *json, const str *value)
{
	if(value->len > 0)
		claim_is(json, "", value, "");
	else if(!json_is_null(json))
		abort();
}

static void claim_body(const str *body, const str *parts)
{
	json_t *json = json_loadb(
			body->s, body->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	json_t *contact = json_array_get(json_object_get(json, "c"), 0);

	if(json == NULL || json_object_size(json) != 4
			|| json_array_size(json_object_get(json, "c")) != 1
			|| json_object_size(contact) != 7
			|| json_integer_value(json_object_get(json, "n")) != 7)
		abort();
	claim_is(json_object_get(json, "a"), "", &parts[0], "");
	claim_is(json_object_get(json, "b"), "<", &parts[1], ">");
	claim_is(json_object_get(contact, "uri"), "", &parts[2], "");
	claim_is_or_null(json_object_get(contact, "instance"), &parts[3]);
	claim_is_or_null(json_object_get(contact, "path"), &parts[1]);
	claim_is_or_null(json_object_get(contact, "received"), &parts[0]);
	json_decref(json);
}

static void start(void)
{
	static bool started;

	if(started)
		return;
	started = true;
	values_start();
	if(cn_body_init("{\"a\": \"$v(0)\", \"b\": \"<$v(1)>\","
					" \"c\": \"$cms(contacts)\", \"n\": 7}")
			< 0)
		abort();
}

static long broken;

bool fuzz_was_worth_it(long runs)
{
	return broken > runs / 10;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct sip_msg msg;
	struct test_event event;
	struct cn_event *ev = make_event(&event);
	str parts[PARTS], body;

	start();
	split(data, n, parts);
	values_set(0, VALUE_STRING, parts[0], 0);
	values_set(1, VALUE_STRING, parts[1], 0);
	ev->contacts[0].uri = parts[2];
	ev->contacts[0].instance = parts[3];
	ev->contacts[0].path = parts[1];
	ev->contacts[0].received = parts[0];
	if(cn_body_render(&msg, ev, &body) < 0)
		abort();
	broken += memmem(body.s, body.len, "\xef\xbf\xbd", 3) != NULL;
	claim_body(&body, parts);
	return 0;
}
