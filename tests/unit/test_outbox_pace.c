/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* When the outbox tries again: at all, and one device. */

#include "stubs.h"

#include "outbox_retry.h"
#include "outbox_pace.h"

#define T0 1000000000ll /* any moment */
#define NO_DICE 0		/* the longest pause */

/* -------- at all -------- */

/* Each test begins with a pace that is as new; the last failure of the test
 * before is in the past. */
static int64_t now;

static int start(void **state)
{
	now = now ? now + 1000000000 : T0;
	cn_pace_init(1);
	cn_pace_succeeded(); /* the window is one, again */
	return 0;
}

static bool fails(unsigned retry_after_s)
{
	now += 1000;
	return cn_pace_failed(now, retry_after_s, now, NO_DICE);
}

static void assert_pause_ms(int ms)
{
	if(ms == 0)
		assert_int_equal(cn_pace_due_us(), 0);
	else
		assert_int_equal(cn_pace_due_us() - now, ms * 1000ll);
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
		cn_pace_init(cases[i].most);
		for(j = 0; j < 6 && cases[i].windows[j]; j++) {
			assert_int_equal(cn_pace_window(), cases[i].windows[j]);
			cn_pace_succeeded();
		}
	}
	/* and is one as soon as one fails */
	fails(0);
	assert_int_equal(cn_pace_window(), 1);
}

static void a_single_failure_is_the_events(void **state)
{
	int i;

	for(i = 0; i < 10; i++) {
		assert_true(fails(0));
		assert_true(fails(0));
		assert_false(cn_pace_is_probing());
		assert_pause_ms(0);
		cn_pace_succeeded();
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
		assert_true(cn_pace_is_probing());
		assert_pause_ms(pauses_ms[i]);
		now = cn_pace_due_us();
	}
	cn_pace_succeeded();
	assert_false(cn_pace_is_probing());
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
		now = cn_pace_due_us() + 1;
		cn_pace_failed(now, 0, now, dice);
		assert_in_range(cn_pace_due_us() - now, 500000, 10000000);
	}
	assert_true(cn_pace_due_us() - now < 10000000);
}

static void what_left_before_the_last_failure_is_no_news(void **state)
{
	int64_t began = now;

	cn_pace_init(8);
	fails(0);
	fails(0);
	assert_false(cn_pace_failed(began, 0, now + 1, NO_DICE));
	assert_false(cn_pace_failed(now - 1, 0, now + 1, NO_DICE));
	assert_false(cn_pace_is_probing());
	/* at the moment of that failure is not before it */
	assert_false(cn_pace_failed(now, 0, now, NO_DICE));
	assert_true(cn_pace_is_probing());
	assert_pause_ms(500);
	assert_false(cn_pace_failed(began, 0, now, NO_DICE));
	assert_pause_ms(500); /* nor does it prolong the pause */
}

static void the_cms_says_when(void **state)
{
	int64_t began = now;

	assert_true(fails(7));
	assert_pause_ms(7000);
	/* the longer one counts; what is no news may say so, too */
	assert_false(cn_pace_failed(began, 9, now, NO_DICE));
	assert_pause_ms(9000);
	assert_false(cn_pace_failed(began, 8, now, NO_DICE));
	assert_pause_ms(9000);
	fails(0);
	fails(0);
	assert_true(cn_pace_is_probing());
	assert_int_equal(cn_pace_due_us() - now, 9000000 - 2000);
	fails(3600);
	assert_pause_ms(3600000);
	cn_pace_succeeded();
	assert_pause_ms(0);
}

static void an_answer_to_somebody_else_ends_the_pause(void **state)
{
	int i;

	cn_pace_init(8);
	for(i = 0; i < 3; i++)
		fails(0);
	cn_pace_answered(now - 1);
	cn_pace_answered(now);
	assert_true(cn_pace_is_probing());
	assert_pause_ms(500);
	cn_pace_answered(now + 1);
	assert_false(cn_pace_is_probing());
	assert_pause_ms(0);
	/* one at a time still: that the outbox may go is not known yet */
	assert_int_equal(cn_pace_window(), 1);
	assert_true(fails(0));
}

/* Where what asked for the pause was no news, too. */
static void no_pause_outlasts_an_answer(void **state)
{
	int64_t began = now;

	fails(0);
	cn_pace_succeeded();
	assert_false(cn_pace_failed(began, 3600, now + 5, NO_DICE));
	assert_int_equal(cn_pace_due_us(), now + 5 + 3600000000ll);
	cn_pace_answered(now + 5);
	assert_int_equal(cn_pace_due_us(), now + 5 + 3600000000ll);
	cn_pace_answered(now + 6);
	assert_pause_ms(0);
}

static void without_a_failure_an_answer_changes_nothing(void **state)
{
	cn_pace_init(8);
	cn_pace_succeeded();
	cn_pace_answered(now + 1);
	assert_int_equal(cn_pace_window(), 2);
	assert_pause_ms(0);
}

/* -------- one device -------- */

#define CHAIN 4096 /* hashes that differ by this much share a chain */

static int forget_all(void **state)
{
	stub_fail_at(0);
	cn_backoff_forget_all();
	return 0;
}

static void a_device_that_fails_is_held_back_longer_and_longer(void **state)
{
	int64_t ms = 1000;
	int i;

	assert_int_equal(cn_backoff_due_us("a@h", 1), 0);
	for(i = 0; i < 40; i++) {
		cn_backoff_hold("a@h", 1, 0, T0, NO_DICE);
		assert_int_equal(cn_backoff_due_us("a@h", 1), T0 + ms * 1000);
		ms = ms * 2 < 300000 ? ms * 2 : 300000;
	}
	cn_backoff_forget("a@h", 1);
	assert_int_equal(cn_backoff_due_us("a@h", 1), 0);
	cn_backoff_hold("a@h", 1, 0, T0, NO_DICE); /* from the beginning */
	assert_int_equal(cn_backoff_due_us("a@h", 1), T0 + 1000000);
}

static void the_dice_hold_it_back_for_less(void **state)
{
	unsigned dice;

	for(dice = 0; dice < 3000; dice += 7) {
		cn_backoff_hold("a@h", 1, 0, T0, dice);
		assert_in_range(cn_backoff_due_us("a@h", 1) - T0, 500000, 1000000);
		cn_backoff_forget("a@h", 1);
	}
	cn_backoff_hold("a@h", 1, 0, T0, 500);
	assert_int_equal(cn_backoff_due_us("a@h", 1) - T0, 500000);
}

static void devices_of_one_chain_are_told_apart(void **state)
{
	static const char *const names[] = {"a@h", "b@h", "a@hh", "a"};
	const char *p;
	int gone, i;

	for(gone = 0; gone < 4; gone++) {
		for(i = 0; i < 4; i++)
			cn_backoff_hold(names[i], 7u + i * CHAIN, 0, T0 + i, NO_DICE);
		cn_backoff_forget("c@h", 7);
		cn_backoff_forget(names[gone], 7u + gone * CHAIN);
		for(i = 0; i < 4; i++)
			assert_int_equal(cn_backoff_due_us(names[i], 7u + i * CHAIN),
					i == gone ? 0 : T0 + i + 1000000);
		cn_backoff_forget_all();
		for(i = 0; i < 4; i++)
			assert_int_equal(cn_backoff_due_us(names[i], 7u + i * CHAIN), 0);
	}
	/* its name is a copy */
	p = strdup("x@h");
	cn_backoff_hold(p, UINT32_MAX, 0, T0, NO_DICE);
	free((char *)p);
	assert_int_equal(cn_backoff_due_us("x@h", UINT32_MAX), T0 + 1000000);
}

static void all_chains_are_forgotten(void **state)
{
	unsigned i;

	for(i = 0; i < CHAIN; i++)
		cn_backoff_hold("a@h", i, 0, T0, NO_DICE);
	cn_backoff_forget_all();
	for(i = 0; i < CHAIN; i++)
		assert_int_equal(cn_backoff_due_us("a@h", i), 0);
}

static void not_before_the_cms_says(void **state)
{
	cn_backoff_hold("a@h", 1, 30, T0, NO_DICE);
	assert_int_equal(cn_backoff_due_us("a@h", 1), T0 + 30000000);
	cn_backoff_hold("b@h", 1, 1, T0, NO_DICE);
	cn_backoff_hold("b@h", 1, 1, T0, NO_DICE);
	assert_int_equal(cn_backoff_due_us("b@h", 1), T0 + 2000000);
	cn_backoff_hold("c@h", 1, CN_RETRY_AFTER_MAX_S, T0, NO_DICE);
	assert_int_equal(cn_backoff_due_us("c@h", 1),
			T0 + CN_RETRY_AFTER_MAX_S * 1000000LL);
}

static void without_memory_it_is_tried_too_early(void **state)
{
	cn_backoff_hold("b@h", 1, 0, T0, NO_DICE);
	stub_fail_at(1);
	cn_backoff_hold("a@h", 1, 0, T0, NO_DICE);
	assert_true(stub_has_failed());
	assert_int_equal(cn_backoff_due_us("a@h", 1), 0);
	assert_int_equal(cn_backoff_due_us("b@h", 1), T0 + 1000000);
	/* who is held back already needs no more */
	stub_fail_at(1);
	cn_backoff_hold("b@h", 1, 0, T0, NO_DICE);
	assert_false(stub_has_failed());
	assert_int_equal(cn_backoff_due_us("b@h", 1), T0 + 2000000);
}

#define PACE(f) cmocka_unit_test_setup(f, start)
#define BACKOFF(f) cmocka_unit_test_teardown(f, forget_all)

static void as_it_begins(void **state)
{
	assert_int_equal(cn_pace_window(), 1);
	assert_int_equal(cn_pace_due_us(), 0);
	assert_false(cn_pace_is_probing());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(as_it_begins), /* first */
			PACE(the_window_grows_with_success),
			PACE(a_single_failure_is_the_events),
			PACE(failures_in_a_row_are_the_cms),
			PACE(the_dice_make_a_pause_shorter),
			PACE(what_left_before_the_last_failure_is_no_news),
			PACE(the_cms_says_when),
			PACE(an_answer_to_somebody_else_ends_the_pause),
			PACE(no_pause_outlasts_an_answer),
			PACE(without_a_failure_an_answer_changes_nothing),
			BACKOFF(a_device_that_fails_is_held_back_longer_and_longer),
			BACKOFF(the_dice_hold_it_back_for_less),
			BACKOFF(devices_of_one_chain_are_told_apart),
			BACKOFF(all_chains_are_forgotten),
			BACKOFF(not_before_the_cms_says),
			BACKOFF(without_memory_it_is_tried_too_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
