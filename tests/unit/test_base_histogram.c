/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>

#include "stubs.h"

#include "base_histogram.h"

#define MOST_US ((1ll << CN_HISTOGRAM_BITS) - 1)

static struct cn_histogram histogram;

static int start(void **state)
{
	memset(&histogram, 0, sizeof(histogram));
	return 0;
}

static void add(int64_t us)
{
	cn_histogram_add(&histogram, us);
}

static double at(double percent)
{
	return cn_histogram_percentile_us(&histogram, percent);
}

static void assert_within_an_eighth(double got, double wanted)
{
	if(fabs(got - wanted) > wanted / 8 + 1e-9)
		fail_msg("%f us for %f us", got, wanted);
}

static void without_a_measurement_there_is_nothing(void **state)
{
	static const double percents[] = {0, 50, 95, 99, 100};
	struct cn_histogram_counts counts;
	size_t i;

	for(i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		assert_true(at(percents[i]) == 0);
	cn_histogram_read(&histogram, &counts);
	assert_int_equal(counts.all, 0);
	assert_true(counts.sum_s == 0);
}

static void one(int64_t us)
{
	start(NULL);
	add(us);
	assert_within_an_eighth(at(0), us);
	assert_within_an_eighth(at(50), us);
	assert_within_an_eighth(at(100), us);
}

static void each_is_known_within_an_eighth(void **state)
{
	uint64_t dice = 1;
	int bit, i;

	for(i = 0; i < 40; i++)
		one(i);
	for(bit = 4; bit < CN_HISTOGRAM_BITS; bit++) {
		one((1ll << bit) - 1);
		one(1ll << bit);
		one((1ll << bit) + 1);
		one((1ll << bit) + (stub_random(&dice) & ((1ll << bit) - 1)));
		one((1ll << bit) + (1ll << (bit - 3)) - 1);
		one((1ll << bit) + (1ll << (bit - 3)));
	}
	one(MOST_US);
}

static void what_is_out_of_range_counts_as_its_border(void **state)
{
	add(-1);
	add(INT64_MIN);
	assert_true(at(100) == 0);
	add(INT64_MAX);
	add(MOST_US + 1);
	add(1ll << 60);
	assert_within_an_eighth(at(100), MOST_US);
	assert_true(at(40) == 0);
}

static void percentiles_are_those_of_the_values(void **state)
{
	int i;

	for(i = 1; i <= 1000; i++)
		add(i * 1000);
	assert_within_an_eighth(at(0), 1000);
	assert_within_an_eighth(at(50), 500000);
	assert_within_an_eighth(at(95), 950000);
	assert_within_an_eighth(at(99), 990000);
	assert_within_an_eighth(at(100), 1000000);
}

static void one_slow_answer_shows_where_it_should(void **state)
{
	int i;

	for(i = 0; i < 99; i++)
		add(1000);
	add(4000000);
	assert_within_an_eighth(at(50), 1000);
	assert_within_an_eighth(at(99), 1000);
	assert_within_an_eighth(at(99.5), 4000000);
	assert_within_an_eighth(at(100), 4000000);
}

/* A border of Prometheus divides exactly: nothing is guessed. */
static void what_is_below_a_power_of_two_is_counted_below_it(void **state)
{
	struct cn_histogram_counts counts;
	int bits, n = 0;

	for(bits = 0; bits < CN_HISTOGRAM_BITS; bits++) {
		add((1ll << bits) - 1);
		add(1ll << bits);
	}
	cn_histogram_read(&histogram, &counts);
	/* 0, 1; 1, 2; 3, 4; 7, 8 ... */
	for(bits = 0; bits < CN_HISTOGRAM_BITS; bits++, n += 2)
		assert_int_equal(counts.below[bits], bits == 1 ? 3 : n + 1);
	assert_int_equal(counts.all, n);
}

static void the_sum_is_that_of_the_values(void **state)
{
	struct cn_histogram_counts counts;

	add(250000);
	add(500000);
	add(-7);
	cn_histogram_read(&histogram, &counts);
	assert_true(counts.sum_s == 0.75);
	assert_int_equal(counts.all, 3);
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(without_a_measurement_there_is_nothing),
			TEST(each_is_known_within_an_eighth),
			TEST(what_is_out_of_range_counts_as_its_border),
			TEST(percentiles_are_those_of_the_values),
			TEST(one_slow_answer_shows_where_it_should),
			TEST(what_is_below_a_power_of_two_is_counted_below_it),
			TEST(the_sum_is_that_of_the_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
