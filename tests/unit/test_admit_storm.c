/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "storm.h"

/* 1,000 POSTs a second, 50 at once */
#define STORM WITHIN(60, 50)
#define WITHIN(seconds, at_once)                                 \
	.devices = 100000, .within_us = seconds * (int64_t)SECOND, \
	.slots = at_once, .post_us = 50000

#define assert_lasted(s, seconds)                     \
	do {                                              \
		assert_int_equal((s).on_line, (s).devices);   \
		assert_in_range((s).lasted_us / SECOND, 0, seconds); \
	} while(0)

static void a_storm_keeps_the_cms_busy_and_sends_each_away_once(void **state)
{
	struct storm s = {STORM};

	run(&s);
	assert_lasted(s, 101);
	assert_in_range(s.p99_refusals, 0, 1);
	assert_in_range(s.most_refusals, 0, 3);
	assert_int_equal(s.in_vain, 0);
}

/* However it comes to that rate: as many at once as there are connections, or
 * one after the other. */
static void it_does_not_matter_how_the_cms_works(void **state)
{
	static const struct
	{
		int slots;
		int64_t post_us;
	} rows[] = {{POSTS, POSTS * 1000}, {1, 1000}};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct storm s = {STORM};

		s.slots = rows[i].slots;
		s.post_us = rows[i].post_us;
		begin_anew(1);
		run(&s);
		assert_lasted(s, 101);
		assert_in_range(s.p99_refusals, 0, 1);
		assert_int_equal(s.in_vain, 0);
	}
}

static void all_within_a_second(void **state)
{
	struct storm s = {STORM};

	s.within_us = SECOND;
	run(&s);
	assert_lasted(s, 105);
	assert_in_range(s.p99_refusals, 0, 4);
	assert_in_range(s.in_vain, 0, s.devices / 100);
	assert_in_range(s.wasted, 0, s.devices / 1000);
}

static void what_can_be_answered_in_time_is_not_turned_away(void **state)
{
	struct storm s = {STORM};

	s.devices = 2800;
	s.within_us = SECOND / 10;
	run(&s);
	/* so many before the first answer that it cannot be known */
	assert_in_range(s.p99_refusals, 0, 0);
	assert_in_range(s.in_vain, 0, 0);
	assert_lasted(s, 3);
}

/* Of 10 seconds at a fifth of the rate 8 are lost. */
static void a_cms_that_stumbles(void **state)
{
	struct storm s = {STORM, .slow_since_us = 20 * SECOND,
			.slow_until_us = 30 * SECOND, .factor = 5};

	run(&s);
	assert_lasted(s, 125);
	assert_in_range(s.p99_refusals, 0, 2);
	/* what was in the queue when that began */
	assert_in_range(s.in_vain, 0, 1500);
	assert_in_range(s.wasted, 0, 5 * POSTS);
}

static void a_cms_that_hangs_for_a_while(void **state)
{
	struct storm s = {STORM, .slow_since_us = 20 * SECOND,
			.slow_until_us = 30 * SECOND, .factor = 0};

	run(&s);
	assert_lasted(s, 115);
	assert_in_range(s.p99_refusals, 0, 2);
	assert_in_range(s.in_vain, 0, 4500);
}

/* 20 s at 1,000 a second, and 400 s at 200. */
static void a_cms_that_becomes_slow(void **state)
{
	struct storm s = {STORM, .slow_since_us = 20 * SECOND,
			.slow_until_us = INT64_MAX, .factor = 5};

	run(&s);
	assert_lasted(s, 430);
	assert_in_range(s.p50_refusals, 0, 3);
	assert_in_range(s.p99_refusals, 0, 8);
	assert_in_range(s.in_vain, 0, 1500);
}

/* Devices have been told to come back after minutes, and then it is fast. */
static void a_cms_that_has_to_warm_up(void **state)
{
	struct storm s = {
			STORM, .slow_until_us = 30 * SECOND, .factor = 5};

	run(&s);
	assert_lasted(s, 180);
	assert_in_range(s.p99_refusals, 0, 2);
	assert_int_equal(s.in_vain, 0);
}

/* Half of the deadline is what a POST needs; 32 a second. */
static void a_cms_that_needs_long_for_each(void **state)
{
	struct storm s = {.devices = 5000,
			.within_us = SECOND,
			.slots = 100,
			.post_us = 2 * SECOND};

	run(&s);
	assert_lasted(s, 185);
	assert_in_range(s.p99_refusals, 0, 7);
	assert_int_equal(s.wasted, 0);
}

static void who_ignores_retry_after_does_not_push_in(void **state)
{
	struct storm s = {STORM, .fleet = {.hasty = 5}};

	run(&s);
	assert_lasted(s, 104);
	assert_true(s.most_refusals > 10);
	assert_in_range(s.patient_most_refusals, 0, 3);
	assert_int_equal(s.in_vain, 0);
}

/* -------- devices that do not come when they are told to -------- */

#define AT_300_A_SECOND WITHIN(60, 15)
#define SLOWER .slow_since_us = 20 * SECOND, .slow_until_us = INT64_MAX, .factor = 3

/* A device that comes after 60 to 90 s comes so much after the moment that it was
 * given, at the most; where more come than the CMS takes, once or twice more. */
static void fixed_intervals_are_no_reason_to_lose_a_place(void **state)
{
	static const struct
	{
		const char *what;
		struct storm storm;
		int seconds;  /* that it may last */
		int patient_late, fixed_late;
	} rows[] = {
			{"all of them", {STORM, .fleet = {.fixed = 100}}, 150, 0, 90},
			{"half of them", {STORM, .fleet = {.fixed = 50}}, 150, 3, 90},
			{"one in ten", {STORM, .fleet = {.fixed = 10}}, 150, 3, 90},
			{"all at a slow CMS",
					{AT_300_A_SECOND, .fleet = {.fixed = 100}}, 420, 0, 210},
			{"half of them there",
					{AT_300_A_SECOND, .fleet = {.fixed = 50}}, 420, 125, 225},
			{"all at one that becomes slow",
					{STORM, SLOWER, .fleet = {.fixed = 100}}, 310, 0, 272},
			{"half of them there",
					{STORM, SLOWER, .fleet = {.fixed = 50}}, 335, 130, 295},
			{"half of them, and all come at once",
					{WITHIN(1, 50), .fleet = {.fixed = 50}}, 185, 65,
					180},
	};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct storm s = rows[i].storm;

		begin_anew(1);
		run(&s);
		if(s.on_line < s.devices || s.lasted_us / SECOND >= rows[i].seconds
				|| s.patient_late_us / SECOND > rows[i].patient_late
				|| s.fixed_late_us / SECOND > rows[i].fixed_late
				|| s.wasted > s.devices / 1000)
			fail_msg("%s: %d on line in %ld s, late by %ld and %ld s, %d wasted",
					rows[i].what, s.on_line, (long)(s.lasted_us / SECOND),
					(long)(s.patient_late_us / SECOND),
					(long)(s.fixed_late_us / SECOND), s.wasted);
	}
}

static void who_never_comes_back_holds_nobody_up(void **state)
{
	struct storm fast = {STORM, .fleet = {.gone = 33}};
	struct storm slow = {AT_300_A_SECOND, .fleet = {.gone = 33}};
	struct storm mixed = {AT_300_A_SECOND, .fleet = {.gone = 33, .fixed = 33}};

	run(&fast);
	assert_int_equal(fast.on_line + fast.gone, fast.devices);
	assert_in_range(fast.lasted_us / SECOND, 0, 85);
	assert_in_range(fast.most_refusals, 0, 2);
	begin_anew(1);
	run(&slow);
	assert_in_range(slow.lasted_us / SECOND, 0, 255);
	assert_in_range(slow.patient_late_us / SECOND, 0, 3);
	begin_anew(1);
	run(&mixed);
	assert_in_range(mixed.lasted_us / SECOND, 0, 290);
	assert_in_range(mixed.fixed_late_us / SECOND, 0, 182);
}

/* -------- storms in batches of 50 -------- */

#define IN_A_MINUTE .devices = 100000, .within_us = 60 * SECOND, .batch = 50
#define IN_BETWEEN .slow_since_us = 20 * SECOND, .slow_until_us = 30 * SECOND

static void a_storm_has_what_batches_give(void **state)
{
	static const struct
	{
		const char *what;
		struct storm storm;
		int seconds;	  /* that it may last */
		int most_refusals;
		int in_vain;
	} rows[] = {
			{"1,000 POSTs a second",
					{IN_A_MINUTE, .slots = 50, .post_us = 50000}, 61, 0, 0},
			{"100 a second, slow ones",
					{IN_A_MINUTE, .slots = 64, .post_us = 640000}, 61, 0, 0},
			{"each event takes its time, too",
					{IN_A_MINUTE, .slots = 50, .post_us = 25000,
							.event_us = 25000},
					61, 0, 0},
			{"each event takes as long as a POST: 1,000 events a second",
					{IN_A_MINUTE, .slots = 1, .event_us = 1000}, 101, 5, 0},
			{"the same, four POSTs at once",
					{IN_A_MINUTE, .slots = 4, .event_us = 4000}, 101, 6, 0},
			{"for a while five times as slow",
					{IN_A_MINUTE, .slots = 50, .post_us = 50000, IN_BETWEEN,
							.factor = 5},
					61, 0, 0},
			/* what waits at the beginning, and what comes before that is known */
			{"for a while not at all",
					{IN_A_MINUTE, .slots = 50, .post_us = 50000, IN_BETWEEN}, 61,
					8, 9500},
	};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct storm s = rows[i].storm;

		begin_anew(s.batch);
		run(&s);
		if(s.on_line < s.devices || s.lasted_us / SECOND >= rows[i].seconds
				|| s.most_refusals > rows[i].most_refusals
				|| s.in_vain > rows[i].in_vain)
			fail_msg("%s: %d on line in %ld s, refused %d times, %d in vain",
					rows[i].what, s.on_line, (long)(s.lasted_us / SECOND),
					s.most_refusals, s.in_vain);
	}
}

static void a_batch_for_all_that_come_at_once(void **state)
{
	struct storm s = {.devices = 100000, .within_us = SECOND, .batch = 50,
			.slots = 50, .post_us = 50000};

	begin_anew(s.batch);
	run(&s);
	assert_lasted(s, 4);
	assert_in_range(s.most_refusals, 0, 2);
	assert_int_equal(s.in_vain, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_storm_keeps_the_cms_busy_and_sends_each_away_once),
			TEST(it_does_not_matter_how_the_cms_works),
			TEST(all_within_a_second),
			TEST(what_can_be_answered_in_time_is_not_turned_away),
			TEST(a_cms_that_stumbles),
			TEST(a_cms_that_hangs_for_a_while),
			TEST(a_cms_that_becomes_slow),
			TEST(a_cms_that_has_to_warm_up),
			TEST(a_cms_that_needs_long_for_each),
			TEST(who_ignores_retry_after_does_not_push_in),
			TEST(fixed_intervals_are_no_reason_to_lose_a_place),
			TEST(who_never_comes_back_holds_nobody_up),
			TEST(a_storm_has_what_batches_give),
			TEST(a_batch_for_all_that_come_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
