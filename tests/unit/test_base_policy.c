/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_policy.h"

static void names_are_those_of_the_interface(void **state)
{
	static const char *const causes[] = {"none", "busy", "timeout", "connect",
			"tls", "http", "too_big", "bad_answer", "shutdown", "memory"};
	int i;

	assert_string_equal(cn_verdict_name(CN_ACCEPTED), "accepted");
	assert_string_equal(cn_verdict_name(CN_REJECTED), "rejected");
	assert_string_equal(cn_verdict_name(CN_UNAVAILABLE), "unavailable");
	assert_string_equal(cn_reason_name(CN_REASON_NONE), "");
	assert_string_equal(cn_reason_name(CN_REASON_NEW), "new");
	assert_string_equal(cn_reason_name(CN_REASON_RETURNED), "returned");
	assert_string_equal(cn_reason_name(CN_REASON_REBOOT), "reboot");
	assert_string_equal(cn_reason_name(CN_REASON_MOVED), "moved");
	assert_true(CN_CAUSE_COUNT >= sizeof(causes) / sizeof(causes[0]));
	for(i = 0; i < (int)(sizeof(causes) / sizeof(causes[0])); i++)
		assert_string_equal(cn_cause_name(i), causes[i]);
}

static void each_cause_has_a_line_for_people(void **state)
{
	int i, j;

	for(i = 0; i < CN_CAUSE_COUNT; i++) {
		assert_true(strlen(cn_cause_text(i)) > 10);
		assert_null(strpbrk(cn_cause_text(i), "\r\n\""));
		for(j = 0; j < i; j++)
			assert_string_not_equal(cn_cause_text(i), cn_cause_text(j));
	}
}

static enum cn_verdict expected_verdict(int status)
{
	if(status >= 200 && status <= 299)
		return CN_ACCEPTED;
	if(status == 408 || status == 409 || status == 425 || status == 429)
		return CN_UNAVAILABLE;
	return status >= 400 && status <= 499 ? CN_REJECTED : CN_UNAVAILABLE;
}

static void every_status_has_its_verdict(void **state)
{
	int status;

	for(status = 100; status <= 999; status++) {
		if(cn_policy_verdict(status) != expected_verdict(status))
			fail_msg("%d is %s", status,
					cn_verdict_name(cn_policy_verdict(status)));
	}
}

/* What is older must not be told after it. */
static void what_a_late_answer_or_a_gateway_may_have_told_is_known(void **state)
{
	static const int known[] = {200, 204, 299, 409, 502, 504};
	static const int not_known[] = {0, 199, 300, 400, 408, 429, 500, 503};
	int i;

	for(i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_true(cn_policy_may_be_known(known[i]));
	for(i = 0; i < sizeof(not_known) / sizeof(not_known[0]); i++)
		assert_false(cn_policy_may_be_known(not_known[i]));
}

static void without_a_status_the_cms_was_unavailable(void **state)
{
	assert_int_equal(cn_policy_verdict(0), CN_UNAVAILABLE);
}

static void a_decision_is_not_asked_for_again(void **state)
{
	assert_false(cn_policy_moves_on(CN_CAUSE_none, 200));
	assert_false(cn_policy_moves_on(CN_CAUSE_none, 204));
	assert_false(cn_policy_moves_on(CN_CAUSE_none, 403));
	assert_false(cn_policy_moves_on(CN_CAUSE_none, 404));
}

static void a_conflict_is_in_the_hands_of_the_cms(void **state)
{
	assert_false(cn_policy_moves_on(CN_CAUSE_http, 409));
}

static void a_failed_attempt_moves_on(void **state)
{
	static const int statuses[] = {
			301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 504, 599};
	static const enum cn_cause causes[] = {CN_CAUSE_timeout, CN_CAUSE_connect,
			CN_CAUSE_tls, CN_CAUSE_too_big, CN_CAUSE_bad_answer};
	size_t i;

	for(i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		assert_true(cn_policy_moves_on(CN_CAUSE_http, statuses[i]));
	for(i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		assert_true(cn_policy_moves_on(causes[i], 0));
}

static enum cn_says expected_word(enum cn_cause cause, int status)
{
	switch(cause) {
		case CN_CAUSE_none:
			return CN_SAYS_WORKS;
		case CN_CAUSE_busy:
		case CN_CAUSE_shutdown:
		case CN_CAUSE_memory:
		case CN_CAUSE_outbox:
		case CN_CAUSE_bad_request:
			return CN_SAYS_NOTHING;
		case CN_CAUSE_http:
			if(status == 409 || status == 425)
				return CN_SAYS_OF_EVENT;
			/* fall through */
		default:
			return CN_SAYS_AWAY;
	}
}

/* With the cause that http_client gives each status. */
static void every_end_says_one_thing_of_the_cms(void **state)
{
	int status, cause;

	for(status = 100; status <= 999; status++) {
		cause = expected_verdict(status) == CN_UNAVAILABLE ? CN_CAUSE_http
														   : CN_CAUSE_none;
		if(cn_policy_says(cause, status) != expected_word(cause, status))
			fail_msg("%d says %d", status, cn_policy_says(cause, status));
		assert_int_equal(cn_policy_is_of_event(status),
				status == 409 || status == 425);
		assert_int_equal(cn_policy_moves_on(cause, status),
				cause == CN_CAUSE_http && status != 409);
	}
	for(cause = 0; cause < CN_CAUSE_COUNT; cause++) {
		assert_int_equal(cn_policy_says(cause, 0), expected_word(cause, 0));
		/* an answer that came only in part, or too much of it */
		if(cause != CN_CAUSE_http)
			assert_int_equal(
					cn_policy_says(cause, 425), expected_word(cause, 425));
	}
}

static void an_attempt_leaves_time_for_another_endpoint(void **state)
{
	assert_int_equal(cn_policy_attempt_ms(4000, 2000, false), 2000);
	assert_int_equal(cn_policy_attempt_ms(2001, 2000, false), 2000);
	assert_int_equal(cn_policy_attempt_ms(2000, 2000, false), 2000);
	assert_int_equal(cn_policy_attempt_ms(1999, 2000, false), 1999);
}

static void the_last_endpoint_may_use_all_that_is_left(void **state)
{
	assert_int_equal(cn_policy_attempt_ms(4000, 2000, true), 4000);
	assert_int_equal(cn_policy_attempt_ms(1, 2000, true), 1);
}

static void an_attempt_is_never_unlimited(void **state)
{
	assert_int_equal(cn_policy_attempt_ms(0, 2000, false), 1);
	assert_int_equal(cn_policy_attempt_ms(0, 2000, true), 1);
	assert_int_equal(cn_policy_attempt_ms(-1, 2000, false), 1);
	assert_int_equal(cn_policy_attempt_ms(-4000, 2000, true), 1);
}

#define SECOND 1000000

/* The least and the most that any dice give. */
struct span
{
	unsigned least, most;
};

static struct span retry_after(int64_t wait_us, unsigned cms)
{
	struct span span = {~0u, 0};
	uint64_t state = 1;
	int i;

	for(i = 0; i < 5000; i++) {
		unsigned s = cn_policy_retry_after(wait_us, cms, stub_random(&state));

		span.least = s < span.least ? s : span.least;
		span.most = s > span.most ? s : span.most;
	}
	return span;
}

static void retry_after_grows_with_the_wait(void **state)
{
	struct span before = retry_after(0, 0), now;
	int64_t seconds;

	for(seconds = 1; seconds <= 1000; seconds += 50) {
		now = retry_after(seconds * 1000000, 0);
		assert_int_equal(now.least, seconds);
		assert_int_equal(now.most, seconds + 1);
		assert_true(now.least >= before.least);
		assert_true(now.most >= before.most);
		before = now;
	}
	assert_true(now.least > retry_after(0, 0).most);
}

static void of_a_long_wait_half_is_told(void **state)
{
	int64_t us;

	assert_int_equal(cn_policy_ask_again_us(0), 0);
	for(us = SECOND; us < 3600 * (int64_t)SECOND; us += SECOND) {
		int64_t told = cn_policy_ask_again_us(us);

		assert_true(told <= us && told >= us / 2);
		assert_true(us <= 60 * SECOND ? told == us : told >= 60 * SECOND);
		assert_true(told >= cn_policy_ask_again_us(us - SECOND));
	}
	assert_int_equal(
			cn_policy_ask_again_us(1000 * (int64_t)SECOND) / SECOND, 500);
}

static void retry_after_is_spread_and_never_zero(void **state)
{
	int64_t us;

	for(us = -1000000; us <= 100000000; us += 999999) {
		struct span span = retry_after(us, 0);

		assert_true(span.least >= 1);
		assert_true(span.most > span.least);
		assert_true(span.most <= CN_RETRY_AFTER_MAX_S);
	}
}

static void retry_after_is_not_less_than_the_cms_asked_for(void **state)
{
	unsigned cms;

	for(cms = 1; cms < 3000; cms += 7) {
		struct span span = retry_after(500000, cms);

		assert_true(span.least >= cms);
		assert_true(span.most > span.least);
	}
	/* nor is a longer time of our own cut down to it */
	assert_true(retry_after(60000000, 1).least == retry_after(60000000, 0).least);
}

static void retry_after_has_a_limit(void **state)
{
	static const unsigned asked[] = {
			3599, 3600, 3601, 86400, INT32_MAX, UINT32_MAX};
	static const unsigned dice[] = {0, 1, 1799, 1800, 1801, UINT32_MAX};
	size_t i, j;

	for(i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		for(j = 0; j < sizeof(dice) / sizeof(dice[0]); j++) {
			unsigned s = cn_policy_retry_after(1, asked[i], dice[j]);

			assert_in_range(s, 3599, CN_RETRY_AFTER_MAX_S);
		}
	}
}

static void a_wait_without_end_is_cut(void **state)
{
	assert_int_equal(retry_after(INT64_MAX, 0).most, CN_RETRY_AFTER_MAX_S);
	assert_int_equal(retry_after(INT64_MIN, 0).least, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(names_are_those_of_the_interface),
			cmocka_unit_test(each_cause_has_a_line_for_people),
			cmocka_unit_test(every_status_has_its_verdict),
			cmocka_unit_test(
					what_a_late_answer_or_a_gateway_may_have_told_is_known),
			cmocka_unit_test(without_a_status_the_cms_was_unavailable),
			cmocka_unit_test(a_decision_is_not_asked_for_again),
			cmocka_unit_test(a_conflict_is_in_the_hands_of_the_cms),
			cmocka_unit_test(a_failed_attempt_moves_on),
			cmocka_unit_test(every_end_says_one_thing_of_the_cms),
			cmocka_unit_test(an_attempt_leaves_time_for_another_endpoint),
			cmocka_unit_test(the_last_endpoint_may_use_all_that_is_left),
			cmocka_unit_test(an_attempt_is_never_unlimited),
			cmocka_unit_test(retry_after_grows_with_the_wait),
			cmocka_unit_test(of_a_long_wait_half_is_told),
			cmocka_unit_test(retry_after_is_spread_and_never_zero),
			cmocka_unit_test(retry_after_is_not_less_than_the_cms_asked_for),
			cmocka_unit_test(retry_after_has_a_limit),
			cmocka_unit_test(a_wait_without_end_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
