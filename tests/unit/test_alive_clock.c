/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Since when the server listens, as two clocks say. */

#include "stubs.h"

#include "alive_clock.h"

#define S 1000000ll

static struct cn_alive_clock now;
static int64_t system_us, real_us;

/* So many seconds go by, and the system's clock shows more. */
static bool pass(double s, double more)
{
	real_us += (int64_t)(s * S);
	system_us += (int64_t)((s + more) * S);
	return cn_alive_clock_read(&now, system_us, real_us);
}

static int start(void **state)
{
	now = (struct cn_alive_clock){.still_us = 5 * S};
	system_us = 1700000000 * S;
	real_us = 5000 * S;
	return pass(0, 0) ? 0 : -1; /* from the start on */
}

static void it_has_listened_since_its_start(void **state)
{
	int i;

	for(i = 0; i < 1000; i++)
		assert_false(pass(0.25, 0));
	assert_int_equal(now.since_s, 1700000000);
	assert_int_equal(now.now_s, 1700000250);
}

static void a_clock_that_is_corrected_was_not_set(void **state)
{
	int i;

	for(i = 0; i < 10000; i++)
		assert_false(pass(0.25, i % 2 ? 0.01 : -0.05));
	assert_int_equal(now.since_s, 1700000000);
}

static void when_the_clock_was_set_it_begins_anew(void **state)
{
	assert_true(pass(0.25, 3600));
	assert_int_equal(now.since_s, 1700003600);
	assert_false(pass(0.25, 0));
	assert_true(pass(0.5, -7200));
	assert_int_equal(now.since_s, 1699996401);
	assert_int_equal(now.now_s, now.since_s);
}

static void so_it_does_when_it_has_stood_still(void **state)
{
	assert_false(pass(4.9, 0));
	assert_true(pass(5.1, 0));
	assert_int_equal(now.since_s, 1700000010);
	assert_false(pass(0.25, 0));
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(it_has_listened_since_its_start),
			TEST(a_clock_that_is_corrected_was_not_set),
			TEST(when_the_clock_was_set_it_begins_anew),
			TEST(so_it_does_when_it_has_stood_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
