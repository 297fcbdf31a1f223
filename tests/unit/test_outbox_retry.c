/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* When the outbox tries again: at all, and one AOR. */

#include "stubs.h"

#include "outbox_retry.h"

#define T0 1000000000ll /* any moment */
#define NO_DICE 0		/* the longest pause */

/* -------- at all -------- */

/* Each test begins with a pace that is as new; the last failure of the test
 * before is in the past. */
static int64_t now;

static int start(void **state)
{
	now = now ? now + 1000000000 : T0;
	cn_retry_init(1);
	cn_retry_succeeded(); /* the window is one, again */
	return 0;
}

static bool fails(unsigned retry_after_s)
{
	now += 1000;
	return cn_retry_failed(now, retry_after_s, now, NO_DICE);
}

static void assert_pause_ms(int ms)
{
	if(ms == 0)
		assert_int_equal(cn_retry_due_us(), 0);
	else
		assert_int_equal(cn_retry_due_us() - now, ms * 1000ll);
}

static void the_window_grows_with_success(void **state)
{
	static const struct
	{
		int most, windows[6];
	} cases[] = {{1, {1, 1}}, {2, {1, 2, 2}}, {3, {1, 2, 3, 3}},
			{7, {1, 2, 4, 7, 7}}, {8, {1, 2, 4, 8, 8}}};
	size_t i;
	int j;

	for(i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fails(0);
		cn_retry_init(cases[i].most);
		for(j = 0; j < 6 && cases[i].windows[j]; j++) {
			assert_int_equal(cn_retry_window(), cases[i].windows[j]);
			cn_retry_succeeded();
		}
	}
	/* and is one as soon as one fails */
	fails(0);
	assert_int_equal(cn_retry_window(), 1);
}

static void a_single_failure_is_the_events(void **state)
{
	int i;

	for(i = 0; i < 10; i++) {
		assert_true(fails(0));
		assert_true(fails(0));
		assert_false(cn_retry_is_probing());
		assert_pause_ms(0);
		cn_retry_succeeded();
	}
}

static void failures_in_a_row_are_the_cms(void **state)
{
	static const int pauses_ms[] = {500, 1000, 2000, 4000, 8000, 10000, 10000};
	size_t i;

	assert_true(fails(0));
	assert_true(fails(0));
	for(i = 0; i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
		assert_false(fails(0));
		assert_true(cn_retry_is_probing());
		assert_pause_ms(pauses_ms[i]);
		now = cn_retry_due_us();
	}
	cn_retry_succeeded();
	assert_false(cn_retry_is_probing());
	assert_pause_ms(0);
	assert_true(fails(0)); /* counted anew */
}

static void the_dice_make_a_pause_shorter(void **state)
{
	unsigned dice;
	int i;

	for(i = 0; i < 4; i++)
		fails(0);
	for(dice = 0; dice < 5000; dice += 3) {
		now = cn_retry_due_us() + 1;
		cn_retry_failed(now, 0, now, dice);
		assert_in_range(cn_retry_due_us() - now, 500000, 10000000);
	}
	assert_true(cn_retry_due_us() - now < 10000000);
}

static void what_left_before_the_last_failure_is_no_news(void **state)
{
	int64_t began = now;

	cn_retry_init(8);
	fails(0);
	fails(0);
	assert_false(cn_retry_failed(began, 0, now + 1, NO_DICE));
	assert_false(cn_retry_failed(now - 1, 0, now + 1, NO_DICE));
	assert_false(cn_retry_is_probing());
	/* at the moment of that failure is not before it */
	assert_false(cn_retry_failed(now, 0, now, NO_DICE));
	assert_true(cn_retry_is_probing());
	assert_pause_ms(500);
	assert_false(cn_retry_failed(began, 0, now, NO_DICE));
	assert_pause_ms(500); /* nor does it prolong the pause */
}

static void the_cms_says_when(void **state)
{
	int64_t began = now;

	assert_true(fails(7));
	assert_pause_ms(7000);
	/* the longer one counts; what is no news may say so, too */
	assert_false(cn_retry_failed(began, 9, now, NO_DICE));
	assert_pause_ms(9000);
	assert_false(cn_retry_failed(began, 8, now, NO_DICE));
	assert_pause_ms(9000);
	fails(0);
	fails(0);
	assert_true(cn_retry_is_probing());
	assert_int_equal(cn_retry_due_us() - now, 9000000 - 2000);
	fails(3600);
	assert_pause_ms(3600000);
	cn_retry_succeeded();
	assert_pause_ms(0);
}

static void an_answer_to_somebody_else_ends_the_pause(void **state)
{
	int i;

	cn_retry_init(8);
	for(i = 0; i < 3; i++)
		fails(0);
	cn_retry_answered(now - 1);
	cn_retry_answered(now);
	assert_true(cn_retry_is_probing());
	assert_pause_ms(500);
	cn_retry_answered(now + 1);
	assert_false(cn_retry_is_probing());
	assert_pause_ms(0);
	/* one at a time still: that the outbox may go is not known yet */
	assert_int_equal(cn_retry_window(), 1);
	assert_true(fails(0));
}

/* Where what asked for the pause was no news, too. */
static void no_pause_outlasts_an_answer(void **state)
{
	int64_t began = now;

	fails(0);
	cn_retry_succeeded();
	assert_false(cn_retry_failed(began, 3600, now + 5, NO_DICE));
	assert_int_equal(cn_retry_due_us(), now + 5 + 3600000000ll);
	cn_retry_answered(now + 5);
	assert_int_equal(cn_retry_due_us(), now + 5 + 3600000000ll);
	cn_retry_answered(now + 6);
	assert_pause_ms(0);
}

static void without_a_failure_an_answer_changes_nothing(void **state)
{
	cn_retry_init(8);
	cn_retry_succeeded();
	cn_retry_answered(now + 1);
	assert_int_equal(cn_retry_window(), 2);
	assert_pause_ms(0);
}

/* -------- one AOR -------- */

static void an_aor_that_fails_is_held_back_longer_and_longer(void **state)
{
	int64_t ms = 1000;
	int i;

	for(i = 1; i < 40; i++) {
		assert_int_equal(
				cn_retry_aor_due_us(i, 0, T0, NO_DICE), T0 + ms * 1000);
		ms = ms * 2 < 300000 ? ms * 2 : 300000;
	}
	assert_int_equal(
			cn_retry_aor_due_us(INT32_MAX, 0, T0, NO_DICE), T0 + 300000000);
}

static void the_dice_hold_it_back_for_less(void **state)
{
	unsigned dice;

	for(dice = 0; dice < 3000; dice += 7)
		assert_in_range(
				cn_retry_aor_due_us(1, 0, T0, dice) - T0, 500000, 1000000);
	assert_int_equal(cn_retry_aor_due_us(1, 0, T0, 500) - T0, 500000);
}

static void not_before_the_cms_says(void **state)
{
	assert_int_equal(
			cn_retry_aor_due_us(1, 30, T0, NO_DICE), T0 + 30000000);
	assert_int_equal(cn_retry_aor_due_us(2, 1, T0, NO_DICE), T0 + 2000000);
	assert_int_equal(cn_retry_aor_due_us(1, CN_RETRY_AFTER_MAX_S, T0, NO_DICE),
			T0 + CN_RETRY_AFTER_MAX_S * 1000000LL);
	/* nor does it hold up others */
	assert_int_equal(cn_retry_due_us(), 0);
}

#define RETRY(f) cmocka_unit_test_setup(f, start)

static void as_it_begins(void **state)
{
	assert_int_equal(cn_retry_window(), 1);
	assert_int_equal(cn_retry_due_us(), 0);
	assert_false(cn_retry_is_probing());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(as_it_begins), /* first */
			RETRY(the_window_grows_with_success),
			RETRY(a_single_failure_is_the_events),
			RETRY(failures_in_a_row_are_the_cms),
			RETRY(the_dice_make_a_pause_shorter),
			RETRY(what_left_before_the_last_failure_is_no_news),
			RETRY(the_cms_says_when),
			RETRY(an_answer_to_somebody_else_ends_the_pause),
			RETRY(no_pause_outlasts_an_answer),
			RETRY(without_a_failure_an_answer_changes_nothing),
			RETRY(an_aor_that_fails_is_held_back_longer_and_longer),
			RETRY(the_dice_hold_it_back_for_less),
			RETRY(not_before_the_cms_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
