/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "storm.h"

#include "admit.h"
#include "admit_reservation.h"
#include "base_policy.h"

static void take(int posts)
{
	while(posts-- > 0)
		cn_admission_began(1, POSTS, now);
}

/* Others wait, and the CMS answers so many, so far apart, each after us. */
static void answer(int n, int64_t apart_us, int64_t us)
{
	while(n-- > 0) {
		now += apart_us;
		cn_admission_ended(1, us, true, now);
		cn_admission_began(1, POSTS, now);
	}
}

static void nobody_waits(void)
{
	now += 1000;
	cn_admission_ended(1, 50000, false, now);
	cn_admission_began(1, POSTS, now);
}

static int most_admitted(uint64_t d)
{
	int queued = 0;

	while(queued < CAPACITY && cn_admission_admits(d, queued, now))
		queued++;
	return queued;
}

static void without_an_answer_nobody_is_turned_away(void **state)
{
	assert_true(cn_admission_admits(1, 0, now));
	assert_true(cn_admission_admits(1, CAPACITY, now));
	take(POSTS);
	assert_true(cn_admission_admits(1, CAPACITY, now));
}

static void but_not_for_long(void **state)
{
	take(POSTS);
	now += SECOND; /* at best 64 a second */
	assert_in_range(most_admitted(1), 64, 3 * 64);
}

static void the_queue_is_as_long_as_there_is_time(void **state)
{
	take(POSTS);
	answer(5000, 1000, 50000); /* 1,000 a second */
	assert_in_range(most_admitted(1), 2800, 3000);
	answer(2000, 5000, 250000); /* 200 */
	assert_in_range(most_admitted(1), 450, 600);
	answer(5000, 1000, 50000);
	assert_in_range(most_admitted(1), 2700, 3000);
}

static void a_free_connection_is_used_however_slow_the_cms_is(void **state)
{
	take(POSTS);
	answer(100, SECOND, 3 * SECOND);
	assert_false(cn_admission_admits(1, 0, now));
	cn_admission_ended(1, 3 * SECOND, true, now + SECOND);
	assert_true(cn_admission_admits(1, 0, now + SECOND));
	assert_false(cn_admission_admits(1, 1, now + SECOND));
}

static void what_has_been_is_no_reason_to_turn_a_crowd_away(void **state)
{
	take(POSTS);
	answer(500, 100000, 50000);
	assert_in_range(most_admitted(1), 0, 30);
	nobody_waits();
	assert_in_range(most_admitted(1), 2500, 4000);
}

/* The CMS, or the machine, may stop for a moment just as a queue begins. */
static void a_first_answer_that_is_late_is_no_reason(void **state)
{
	int64_t pause;

	for(pause = 1000; pause <= SECOND / 2; pause *= 2) {
		begin_anew(1);
		take(POSTS);
		answer(200, 500, 30000); /* some 2,000 a second */
		nobody_waits();
		cn_admission_ended(1, 30000, true, now);
		now += pause;
		cn_admission_ended(1, 30000, true, now);
		assert_in_range(most_admitted(1), 300, 10000);
	}
}

/* A POST ends, its events are sent again: none of them has left. */
static void what_is_sent_again_is_under_way(void **state)
{
	begin_anew(50);
	cn_admission_began(POSTS, POSTS, now);
	cn_admission_ended(0, 1000, false, now);
	assert_true(cn_admission_admits(1, 0, now));
	take(POSTS);
	now += 100 * (int64_t)SECOND; /* at best so many in that time */
	assert_false(cn_admission_admits(1, 0, now));
	cn_admission_ended(2 * POSTS, 1000, false, now);
	assert_true(cn_admission_admits(1, 0, now));
}

/* How much of the queue is open to a device, at 1,000 events a second. */
static void has_thirds(uint64_t d, int thirds)
{
	assert_false(cn_admission_admits(d, 1000 * thirds + 1, now));
	assert_true(cn_admission_admits(d, 1000 * thirds - 100, now));
}

/* Until the moments that were given away have passed. */
static void the_second_third_is_for_those_that_were_sent_away(void **state)
{
	int64_t wait;
	int i;

	take(POSTS);
	answer(5000, 1000, 50000);
	for(i = 0; i < 4000; i++)
		wait = cn_admission_reserve(device(i), 2900, now);
	assert_in_range(wait / 1000, 5500, 6500);
	has_thirds(device(5000), 1);
	assert_false(cn_admission_admits(device(0), 1001, now));
	answer(1000, 1000, 50000); /* almost its turn */
	has_thirds(device(0), 2);
	assert_false(cn_admission_admits(device(3999), 1001, now));
	answer(6000, 1000, 50000); /* all had their turn */
	assert_in_range(most_admitted(device(3999)), 2800, 3000);
	assert_in_range(most_admitted(device(5000)), 2800, 3000);
}

static void all_want_to_come(void)
{
	int i;

	for(i = 10000; i < 13000; i++)
		cn_admission_reserve(device(i), 3000, now);
}

/* As most cameras do, which come after an interval of their own. */
static void who_comes_minutes_late_has_its_place(void **state)
{
	take(POSTS);
	answer(5000, 1000, 50000);
	cn_admission_reserve(device(1), 3000, now);
	answer(295000, 1000, 50000);
	all_want_to_come();
	has_thirds(device(1), 2);
	has_thirds(device(2), 1);
	answer(10000, 1000, 50000);
	all_want_to_come();
	has_thirds(device(1), 1);
}

/* All come late, and there is no room for all at once: when they come again, to
 * the moment that they are told now or not, they go before others. */
static void who_found_no_room_comes_before_others(void **state)
{
	int64_t wait;

	take(POSTS);
	answer(5000, 1000, 50000);
	cn_admission_reserve(device(1), 3000, now);
	answer(5000, 1000, 50000);
	assert_false(cn_admission_admits(device(1), 2999, now));
	all_want_to_come();
	wait = cn_admission_reserve(device(1), 2999, now);
	assert_in_range(wait, 3 * SECOND, 6 * SECOND);
	/* it keeps both, the moment and the right */
	assert_in_range(cn_admission_reserve(device(1), 3000, now),
			wait - SECOND / 2, wait);
	assert_false(cn_admission_admits(device(10000), 1001, now));
	has_thirds(device(1), 3);
	/* but not for ever */
	answer(306000, 1000, 50000);
	all_want_to_come();
	has_thirds(device(1), 1);
	cn_admission_reserve(device(1), 3000, now);
	assert_false(cn_admission_admits(device(1), 1001, now));
}

static void who_comes_early_keeps_its_moment(void **state)
{
	int64_t due, after;
	int i;

	take(POSTS);
	answer(5000, 1000, 50000);
	cn_admission_reserve(device(1), 4000, now);
	due = now + cn_admission_reserve(device(2), 4000, now);
	for(i = 0; i < 1000; i++) {
		answer(1, 1000, 50000);
		after = now + cn_admission_reserve(device(2), 4000, now);
		assert_in_range(due - after + SECOND / 2, 0, SECOND);
	}
	/* and took nobody's */
	after = now + cn_admission_reserve(device(3), 0, now);
	assert_in_range(after - due, 0, SECOND / 100);
}

static void who_finds_room_early_leaves_its_moment(void **state)
{
	int64_t line_us;

	take(POSTS);
	answer(5000, 1000, 50000);
	all_want_to_come();
	line_us = cn_admission_line_us(now);
	assert_true(cn_admission_admits(device(12999), 500, now));
	assert_in_range(line_us - cn_admission_line_us(now), 900, 1100);
	/* once */
	assert_true(cn_admission_admits(device(12999), 500, now));
	assert_in_range(line_us - cn_admission_line_us(now), 900, 1100);
	/* should the CMS not answer, it has waited */
	cn_admission_reserve(device(12999), 500, now);
	has_thirds(device(12999), 3);
}

/* Each behind the other, as far apart as the CMS needs. */
static void moments_are_as_far_apart_as_the_cms_needs(void **state)
{
	int64_t wait, before = -1;
	int i;

	take(POSTS);
	answer(20000, 10000, 640000);
	for(i = 0; i < 1000; i++) {
		wait = cn_admission_reserve(device(i), 0, now);
		assert_true(wait > before);
		before = wait;
	}
	assert_in_range(wait / 1000, 9500, 10500);
	assert_in_range(cn_admission_rate(), 95, 105);
	assert_in_range(cn_admission_line_us(now) - wait, 9000, 11000);
	assert_int_equal(cn_admission_line_us(now + 20 * SECOND), 0);
}

static void an_absent_cms_does_not_make_the_line_longer(void **state)
{
	int64_t wait = 0;
	int i;

	take(POSTS);
	answer(5000, 1000, 50000);
	for(i = 0; i < 200; i++) { /* none answers */
		now += SECOND;
		cn_admission_ended(1, -1, true, now);
		cn_admission_began(1, POSTS, now);
	}
	for(i = 0; i < 1000; i++)
		wait = cn_admission_reserve(device(i), 0, now);
	assert_in_range(wait / 1000, 900, 1100);
}

static void the_shortest_and_the_longest(void **state)
{
	int64_t wait = 0;
	int i;

	assert_int_equal(cn_admission_reserve(device(1), 0, now), 0);
	take(POSTS);
	answer(200, 60 * (int64_t)SECOND, 60 * (int64_t)SECOND);
	for(i = 0; i < 5000; i++)
		wait = cn_admission_reserve(device(i), INT32_MAX, now);
	assert_int_equal(cn_policy_retry_after(wait, 0, 0), CN_RETRY_AFTER_MAX_S);
	assert_false(cn_admission_admits(device(1), INT32_MAX, now));
}

/* -------- what has no time left -------- */

static void a_post_needs_the_time_that_posts_need(void **state)
{
	assert_true(cn_admission_has_time(1));
	assert_false(cn_admission_has_time(0));
	assert_false(cn_admission_has_time(-1));
	take(POSTS);
	answer(1000, 1000, 300000);
	assert_false(cn_admission_has_time(200000));
	assert_true(cn_admission_has_time(400000));
	answer(1000, 1000, 3000);
	assert_true(cn_admission_has_time(200000));
}

static void two_processes_may_be_a_moment_apart(void **state)
{
	take(2);
	cn_admission_ended(1, 1000, true, now);
	cn_admission_ended(1, 1000, true, now - 500);
	take(POSTS);
	answer(5000, 1000, 50000);
	assert_in_range(most_admitted(1), 2700, 3000);
}

static void scenario(void)
{
	if(cn_admission_init(POSTS, 1, CAPACITY, TIMEOUT_US) == 0)
		cn_admission_admits(1, 0, now);
	cn_admission_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_admission_destroy();
	assert_int_equal(stub_each_allocation(scenario), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(without_an_answer_nobody_is_turned_away),
			TEST(but_not_for_long),
			TEST(the_queue_is_as_long_as_there_is_time),
			TEST(a_free_connection_is_used_however_slow_the_cms_is),
			TEST(what_has_been_is_no_reason_to_turn_a_crowd_away),
			TEST(a_first_answer_that_is_late_is_no_reason),
			TEST(what_is_sent_again_is_under_way),
			TEST(the_second_third_is_for_those_that_were_sent_away),
			TEST(who_comes_minutes_late_has_its_place),
			TEST(who_found_no_room_comes_before_others),
			TEST(who_comes_early_keeps_its_moment),
			TEST(who_finds_room_early_leaves_its_moment),
			TEST(moments_are_as_far_apart_as_the_cms_needs),
			TEST(an_absent_cms_does_not_make_the_line_longer),
			TEST(the_shortest_and_the_longest),
			TEST(a_post_needs_the_time_that_posts_need),
			TEST(two_processes_may_be_a_moment_apart),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
