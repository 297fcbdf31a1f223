/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_answer.h"
#include "http_batch.h"

#define A "00000000000000000000000000000001"
#define B "00000000000000000000000000000002"
#define C "00000000000000000000000000000003"
#define MAX_BYTES 200

static struct cn_http_batch_event events[3];

static int parsed;

bool __real_cn_answer_result(const str *element, struct cn_answer_result *result);
bool __wrap_cn_answer_result(const str *element, struct cn_answer_result *result);

bool __wrap_cn_answer_result(const str *element, struct cn_answer_result *result)
{
	parsed++;
	return __real_cn_answer_result(element, result);
}

static int start(void **state)
{
	parsed = 0;
	memset(events, 0, sizeof(events));
	events[0].id = STR(A);
	events[0].body = STR("{\"a\":1}");
	events[1].id = STR(B);
	events[1].body = STR("{\"b\":[2,3]}");
	events[2].id = STR(C);
	events[2].body = STR("{}");
	return 0;
}

/* -------- out -------- */

static void the_array_is_made_of_the_documents(void **state)
{
	str text;

	assert_int_equal(cn_http_batch_write(events, 1, &text), 0);
	assert_str(text, "[{\"a\":1}]");
	free(text.s);
	assert_int_equal(cn_http_batch_write(events, 3, &text), 0);
	assert_str(text, "[{\"a\":1},{\"b\":[2,3]},{}]");
	free(text.s);
}

static void its_length_is_known_before(void **state)
{
	int bytes = 0, i;
	str text;

	for(i = 0; i < 3; i++)
		bytes = CN_HTTP_BATCH_BYTES(bytes, events[i].body.len);
	assert_int_equal(cn_http_batch_write(events, 3, &text), 0);
	assert_in_range(text.len, bytes - 3, bytes);
	free(text.s);
}

static void without_memory_there_is_none(void **state)
{
	str text;

	stub_fail_at(1);
	assert_int_equal(cn_http_batch_write(events, 3, &text), -1);
	stub_fail_at(0);
}

static void the_key_of_one_is_its_id(void **state)
{
	char key[CN_HTTP_BATCH_KEY_SIZE];

	assert_str(cn_http_batch_key(events, 1, key), A);
}

static void the_key_of_several_is_of_all(void **state)
{
	char keys[4][CN_HTTP_BATCH_KEY_SIZE];
	str key = cn_http_batch_key(events, 3, keys[0]);

	assert_int_equal(key.len, 32 + 2 + 17);
	assert_memory_equal(key.s, A "-3-", 32 + 3);
	cn_http_batch_key(events, 3, keys[1]);
	assert_string_equal(keys[0], keys[1]);
	/* the first is the same, and so is the number */
	cn_http_batch_key(events, 2, keys[2]);
	events[1] = events[2];
	cn_http_batch_key(events, 2, keys[3]);
	assert_string_not_equal(keys[2], keys[3]);
	assert_memory_equal(keys[2], keys[3], 32 + 3);
}

static void a_long_id_does_not_overflow_the_key(void **state)
{
	char id[200], key[CN_HTTP_BATCH_KEY_SIZE];

	memset(id, 'x', sizeof(id));
	events[0].id = (str){id, sizeof(id)};
	assert_int_equal(
			cn_http_batch_key(events, 2, key).len, CN_HTTP_BATCH_KEY_SIZE - 1);
}

/* -------- in -------- */

#define R(id, rest) "{\"id\": \"" id "\", " rest "}"
#define OK(id) R(id, "\"status\": 200")

static int read_copy(const char *text, int count)
{
	static str copy;

	free(copy.s);
	copy = stub_exact(text, strlen(text));
	return cn_http_batch_read(&copy, events, count, MAX_BYTES);
}

static void claim(int i, enum cn_cause cause, long status, unsigned after)
{
	assert_int_equal(events[i].cause, cause);
	assert_int_equal(events[i].status, status);
	assert_int_equal(events[i].retry_after, after);
}

static void each_result_is_of_its_event(void **state)
{
	assert_int_equal(read_copy(" [" R(C, "\"status\": 503, \"retry_after\": 7")
							   "\n,\t" OK(A) " , " R(B, "\"status\": 403, "
							   "\"text\": \"no, ]}\\\" not\"") "]\r\n",
							 3),
			0);
	claim(0, CN_CAUSE_none, 200, 0);
	assert_str(events[0].answer, OK(A));
	claim(1, CN_CAUSE_none, 403, 0);
	assert_str(events[1].answer,
			R(B, "\"status\": 403, \"text\": \"no, ]}\\\" not\""));
	claim(2, CN_CAUSE_http, 503, 7);
	assert_str(events[2].answer, R(C, "\"status\": 503, \"retry_after\": 7"));
}

static void who_has_no_result_has_a_bad_answer(void **state)
{
	assert_int_equal(read_copy("[" OK(A) "," OK(C) "]", 3), 0);
	claim(0, CN_CAUSE_none, 200, 0);
	claim(1, CN_CAUSE_bad_answer, 0, 0);
	assert_int_equal(events[1].answer.len, 0);
	claim(2, CN_CAUSE_none, 200, 0);
	assert_int_equal(read_copy("[]", 3), 0);
	claim(0, CN_CAUSE_bad_answer, 0, 0);
	claim(2, CN_CAUSE_bad_answer, 0, 0);
}

static void of_two_results_none_is_believed(void **state)
{
	assert_int_equal(read_copy("[" OK(A) "," OK(B) "," OK(A) "]", 2), 0);
	claim(0, CN_CAUSE_bad_answer, 0, 0);
	assert_int_equal(events[0].answer.len, 0);
	claim(1, CN_CAUSE_none, 200, 0);
	assert_int_equal(read_copy("[" OK(A) "," OK(A) "," OK(A) "]", 2), 0);
	claim(0, CN_CAUSE_bad_answer, 0, 0);
	/* nor where one of them is of no use */
	assert_int_equal(
			read_copy("[" R(A, "\"status\": 1") "," OK(A) "]", 1), 0);
	claim(0, CN_CAUSE_bad_answer, 0, 0);
}

static void a_result_of_nobody_is_counted(void **state)
{
	static const char *const rows[] = {OK(C), "7", "null", "\"" A "\"",
			"{\"status\": 200}", "{\"id\": 7, \"status\": 200}",
			"{\"id\": \"\", \"status\": 200}", "[" OK(A) "]", "{}",
			"{\"id\": \"" A "\" \"status\": 200}",
			"{\"id\": \"" A "\", \"status\": 200, \"status\": 403}",
			"{\"id\": \"" A "\", \"id\": \"" A "\", \"status\": 200}",
			"{\"id\": \"" A "\", \"status\": 200,}",
			"{\"id\": \"" A "\", \"status\": 200} 7",
			"{\"id\": \"" A "\", \"status\": 0200}",
			"{\"id\": \"" A "\", \"status\": 200 \"\"}",
			"{\"id\": \"" A "\", \"status\": }", "{\"id\": \"" A "\",}",
			"{\"id\": \"" A "\t\", \"status\": 200}",
			"{\"id\": \"" A "\\u0000\", \"status\": 200}",
			"{\"id\": \"" A "\", \"status\": 200, \"text\": \"\xff\"}"};
	char text[1000];
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "[%s,%s]", rows[i], OK(B));
		if(read_copy(text, 2) != 1)
			fail_msg("%s", rows[i]);
		claim(0, CN_CAUSE_bad_answer, 0, 0);
		claim(1, CN_CAUSE_none, 200, 0);
	}
}

static void a_status_is_a_number_from_200_to_599(void **state)
{
	static const struct
	{
		const char *text;
		enum cn_cause cause;
		long status;
	} rows[] = {{"\"status\": 200", CN_CAUSE_none, 200},
			{"\"status\": 200.0", CN_CAUSE_none, 200},
			{"\"status\": 2e2", CN_CAUSE_none, 200},
			{"\"status\": 299", CN_CAUSE_none, 299},
			{"\"status\": 302", CN_CAUSE_http, 302},
			{"\"status\": 404", CN_CAUSE_none, 404},
			{"\"status\": 409", CN_CAUSE_http, 409},
			{"\"status\": 429", CN_CAUSE_http, 429},
			{"\"status\": 599", CN_CAUSE_http, 599},
			{"\"status\": 600", CN_CAUSE_bad_answer, 0},
			{"\"status\": 199", CN_CAUSE_bad_answer, 0},
			{"\"status\": 200.5", CN_CAUSE_bad_answer, 0},
			{"\"status\": -200", CN_CAUSE_bad_answer, 0},
			{"\"status\": 1e300", CN_CAUSE_bad_answer, 0},
			{"\"status\": \"200\"", CN_CAUSE_bad_answer, 0},
			{"\"status\": true", CN_CAUSE_bad_answer, 0},
			{"\"status\": null", CN_CAUSE_bad_answer, 0},
			{"\"Status\": 200", CN_CAUSE_bad_answer, 0}};
	char text[200];
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "[{\"id\": \"%s\", %s}]", A, rows[i].text);
		assert_int_equal(read_copy(text, 1), 0);
		if(events[0].cause != rows[i].cause
				|| events[0].status != rows[i].status)
			fail_msg("%s: %s, %ld", rows[i].text, cn_cause_name(events[0].cause),
					events[0].status);
	}
}

static void a_pause_is_a_number_of_seconds(void **state)
{
	static const struct
	{
		const char *text;
		unsigned after;
	} rows[] = {{"0", 0}, {"-1", 0}, {"1", 1}, {"2.9", 2}, {"3599", 3599},
			{"3600", 3600}, {"1e9", 3600}, {"\"5\"", 0}, {"null", 0},
			{"[5]", 0}};
	char text[200];
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text),
				"[{\"id\":\"%s\",\"status\":503,\"retry_after\":%s}]", A,
				rows[i].text);
		assert_int_equal(read_copy(text, 1), 0);
		if(events[0].retry_after != rows[i].after)
			fail_msg("%s: %u", rows[i].text, events[0].retry_after);
	}
}

static void a_large_result_is_too_big_and_no_other(void **state)
{
	char text[1000];

	snprintf(text, sizeof(text), "[{\"id\":\"%s\",\"status\":200,\"x\":\"%*s\"},%s]",
			A, MAX_BYTES, "", OK(B));
	assert_int_equal(read_copy(text, 2), 0);
	claim(0, CN_CAUSE_too_big, 200, 0);
	claim(1, CN_CAUSE_none, 200, 0);
	/* to the byte */
	snprintf(text, sizeof(text), "[{\"id\":\"%s\",\"status\":200,\"x\":\"%*s\"}]", A,
			MAX_BYTES - 61, "");
	assert_int_equal(read_copy(text, 1), 0);
	assert_int_equal(events[0].answer.len, MAX_BYTES);
	claim(0, CN_CAUSE_none, 200, 0);
	snprintf(text, sizeof(text), "[{\"id\":\"%s\",\"status\":200,\"x\":\"%*s\"}]", A,
			MAX_BYTES - 60, "");
	assert_int_equal(read_copy(text, 1), 0);
	claim(0, CN_CAUSE_too_big, 200, 0);
}

static void of_results_that_are_alike_one_is_parsed(void **state)
{
	assert_int_equal(read_copy("[" OK(A) "," OK(B) ", " OK(C) "]", 3), 0);
	assert_int_equal(parsed, 1);
	claim(0, CN_CAUSE_none, 200, 0);
	claim(1, CN_CAUSE_none, 200, 0);
	claim(2, CN_CAUSE_none, 200, 0);
	assert_str(events[2].answer, OK(C));
	parsed = 0;
	assert_int_equal(read_copy("[" R(A, "\"status\":429,\"retry_after\":8") ","
							   R(B, "\"status\":429,\"retry_after\":8") ","
							   R(C, "\"status\":429,\"retry_after\":9") "]", 3),
			0);
	assert_int_equal(parsed, 2);
	claim(0, CN_CAUSE_http, 429, 8);
	claim(1, CN_CAUSE_http, 429, 8);
	claim(2, CN_CAUSE_http, 429, 9);
	/* what is no result is no model */
	assert_int_equal(read_copy("[\"" A "\",\"" B "\"]", 2), 2);
	claim(1, CN_CAUSE_bad_answer, 0, 0);
}

/* All are results of A, or none, whatever is said besides. */
static void another_ids_place_is_not_the_ids(void **state)
{
	static const char *const rows[][2] = {
			{"{\"x\":\"" A "\",\"id\":\"" A "\",\"status\":200}",
					"{\"x\":\"" B "\",\"id\":\"" A "\",\"status\":200}"},
			{"{\"id\":\"" A "\",\"x\":\"" A "\",\"status\":200}",
					"{\"id\":\"" A "\",\"x\":\"" B "\",\"status\":200}"},
			{"{\"x\":\"" A "\",\"id\":\"0000000000000000000000000000000\\u0031\","
			 "\"status\":200}",
					"{\"x\":\"" B
					"\",\"id\":\"0000000000000000000000000000000\\u0031\","
					"\"status\":200}"}};
	char text[1000];
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "[%s,%s]", rows[i][0], rows[i][1]);
		assert_int_equal(read_copy(text, 2), 0);
		claim(0, CN_CAUSE_bad_answer, 0, 0);
		claim(1, CN_CAUSE_bad_answer, 0, 0);
	}
}

static void what_is_no_array_has_no_result(void **state)
{
	static const char *const rows[] = {"", " ", "7", "{}", OK(A), "ok", "[", "]",
			"[" OK(A), "[" OK(A) ",", "[" OK(A) "]x", "[" OK(A) "][]",
			"[" OK(A) ",]", "[," OK(A) "]", "[,]", "[{]", "[[}]]]", "[\"]",
			"[\"\\\"]", "[\"\\", "<html>[" OK(A) "]", "[" OK(A) "}]",
			"\xef\xbb\xbf[" OK(A) "]"};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if(read_copy(rows[i], 2) != -1)
			fail_msg("%s", rows[i]);
		claim(0, CN_CAUSE_bad_answer, 0, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test_setup(the_array_is_made_of_the_documents, start),
			cmocka_unit_test_setup(its_length_is_known_before, start),
			cmocka_unit_test_setup(without_memory_there_is_none, start),
			cmocka_unit_test_setup(the_key_of_one_is_its_id, start),
			cmocka_unit_test_setup(the_key_of_several_is_of_all, start),
			cmocka_unit_test_setup(a_long_id_does_not_overflow_the_key, start),
			cmocka_unit_test_setup(each_result_is_of_its_event, start),
			cmocka_unit_test_setup(who_has_no_result_has_a_bad_answer, start),
			cmocka_unit_test_setup(of_two_results_none_is_believed, start),
			cmocka_unit_test_setup(a_result_of_nobody_is_counted, start),
			cmocka_unit_test_setup(a_status_is_a_number_from_200_to_599, start),
			cmocka_unit_test_setup(a_pause_is_a_number_of_seconds, start),
			cmocka_unit_test_setup(a_large_result_is_too_big_and_no_other, start),
			cmocka_unit_test_setup(of_results_that_are_alike_one_is_parsed, start),
			cmocka_unit_test_setup(another_ids_place_is_not_the_ids, start),
			cmocka_unit_test_setup(what_is_no_array_has_no_result, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
