/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The answer of a CMS to a batch, which may be anything: what is JSON is read as a
 * JSON library reads the whole of it, and whatever it is, no event has more than its
 * own result says. */

#include <jansson.h>

#include "fuzz.h"
#include "stubs.h"

#include "http_batch.h"

#define EVENTS 4
#define MAX_BYTES 100

static const char *const ids[EVENTS] = {"id-a", "id-b", "id-c", "id-d"};

const char *const fuzz_seeds[] = {
		"[{\"id\":\"id-a\",\"status\":200},{\"id\":\"id-b\",\"status\":403},"
		"{\"id\":\"id-c\",\"status\":503,\"retry_after\":7},{\"id\":\"id-d\","
		"\"status\":404,\"text\":\"no\"}]",
		" [ {\"id\": \"id-d\", \"status\": 409} ,\n{\"id\": \"id-a\", "
		"\"text\": \"a]b,c}d\\\"e\", \"status\": 200} ] ",
		"[{\"id\":\"id-b\",\"status\":200},{\"id\":\"id-b\",\"status\":200}]",
		"[{\"id\":\"id-c\",\"status\":2e2,\"a\":{\"b\":[1,[2],{}]}}]",
		"[{\"id\":\"id-a\",\"status\":200},{\"id\":\"id-b\",\"status\":200},"
		"{\"id\":\"id-c\",\"status\":200},{\"id\":\"id-d\",\"status\":200}]",
		"[{\"x\":\"id-a\",\"id\":\"id\\u002da\",\"status\":200},"
		"{\"x\":\"id-b\",\"id\":\"id\\u002da\",\"status\":200}]",
		"[{\"x\":\"id-a\",\"id\":\"id-a\",\"status\":200},"
		"{\"x\":\"id-b\",\"id\":\"id-a\",\"status\":200}]",
		"[]", "{\"id\": \"id-a\"}", "", NULL};

const long fuzz_runs = 150000;

const char *const fuzz_words[] = {"{", "}", "[", "]", "\"", ",", ":", "\\", "\\\"",
		"id-a", "id-b", "{\"id\":\"id-a\",\"status\":200}", "{\"id\":\"id-b\",\"status\":599}",
		",{\"id\":\"id-c\",\"status\":302}", "\"status\":", "\"id\":\"id-d\"",
		"\"retry_after\":", "3600", "1e999", "-0", "null", "0", "\t", "[[[[", "]]]]",
		"\\u0000", "\xed\xa0\x80", " ", "\n", "\"]\"", NULL};

static long results;

bool fuzz_was_worth_it(long runs)
{
	return results > runs / 50;
}

static bool is_id(const json_t *element, const char *id)
{
	const json_t *s = json_object_get(element, "id");

	return json_is_string(s) && json_string_length(s) == strlen(id)
		   && strcmp(json_string_value(s), id) == 0;
}

/* How often an id is in an array, the status of the last. */
static int find(const json_t *array, const char *id, double *status)
{
	const json_t *element;
	size_t i;
	int n = 0;

	json_array_foreach(array, i, element)
	{
		if(is_id(element, id)) {
			*status = json_number_value(json_object_get(element, "status"));
			n++;
		}
	}
	return n;
}

static bool is_inside(const str *answer, const str *element)
{
	return element->len >= 0 && element->s >= answer->s
		   && element->s + element->len <= answer->s + answer->len;
}

static void claim_event(const struct cn_http_batch_event *e, const str *answer)
{
	json_t *json;

	if(e->cause == CN_CAUSE_bad_answer) {
		if(e->status != 0 || e->answer.len != 0 || e->retry_after != 0)
			abort();
		return;
	}
	results++;
	if(e->status < 200 || e->status > 599 || !is_inside(answer, &e->answer)
			|| e->retry_after > CN_RETRY_AFTER_MAX_S)
		abort();
	if((e->answer.len > MAX_BYTES) != (e->cause == CN_CAUSE_too_big))
		abort();
	json = json_loadb(e->answer.s, e->answer.len, JSON_ALLOW_NUL, NULL);
	if(json == NULL || !is_id(json, e->id.s)
			|| json_number_value(json_object_get(json, "status")) != e->status)
		abort();
	json_decref(json);
}

/* Where the whole is JSON, nothing is missed. */
static void claim_as_the_library(
		const json_t *whole, const struct cn_http_batch_event *events, int unasked)
{
	int i, found = 0;

	if((unasked >= 0) != json_is_array(whole))
		abort();
	if(unasked < 0)
		return;
	for(i = 0; i < EVENTS; i++) {
		double status = 0;
		int n = find(whole, ids[i], &status);

		found += n;
		if(n == 1 && status >= 200 && status < 600 && status == (long)status) {
			if(events[i].status != (long)status)
				abort();
		} else if(events[i].cause != CN_CAUSE_bad_answer) {
			abort();
		}
	}
	if(unasked != (int)json_array_size(whole) - found)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str answer = stub_exact((const char *)data, (int)n);
	struct cn_http_batch_event events[EVENTS];
	json_t *whole;
	int unasked, i;

	memset(events, 0, sizeof(events));
	for(i = 0; i < EVENTS; i++)
		events[i].id = stub_str(ids[i]);
	unasked = cn_http_batch_read(&answer, events, EVENTS, MAX_BYTES);
	for(i = 0; i < EVENTS; i++) {
		if(unasked < 0 && events[i].cause != CN_CAUSE_bad_answer)
			abort();
		claim_event(&events[i], &answer);
	}
	whole = json_loadb(
			answer.s, answer.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	if(whole)
		claim_as_the_library(whole, events, unasked);
	json_decref(whole);
	free(answer.s);
	return 0;
}
