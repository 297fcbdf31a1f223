/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The numbers of events: always higher, whoever takes them. */

#include "stubs.h"

#include "job_number.h"

static int start(void **state)
{
	stub_share_shm(false);
	return cn_number_init();
}

static int end(void **state)
{
	cn_number_destroy();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static void a_number_is_higher_than_all_before(void **state)
{
	int64_t before = 0, now = cn_number_clock_us(), seq;
	int i;

	for(i = 0; i < 100000; i++) {
		seq = cn_number_next();
		assert_true(seq > before);
		before = seq;
	}
	assert_int_equal(cn_number_last(), seq);
	assert_true(seq >= now);
	assert_in_range(cn_number_time_us(cn_now_us()) - now, 0, 60000000);
}

/* A clock that was stepped back, or another server's that is ahead. */
static void numbers_go_on_above_the_highest_that_is_known(void **state)
{
	int64_t far = cn_number_next() + 3600000000ll;

	cn_number_above(far);
	assert_int_equal(cn_number_next(), far + 1);
	cn_number_above(far - 1);
	assert_int_equal(cn_number_next(), far + 2);
	cn_number_above(0);
	assert_int_equal(cn_number_next(), far + 3);
}

static void the_main_process_gives_numbers_after_the_end(void **state)
{
	int64_t far = cn_number_next() + 3600000000ll;

	cn_number_above(far);
	cn_number_destroy();
	assert_true(cn_number_next() > far);
	assert_int_equal(cn_number_init(), 0);
}

#define RACERS 4
#define NUMBERS 20000

struct race
{
	struct barrier *barrier;
	int next_racer;
	int64_t numbers[RACERS][NUMBERS];
};

static void take_numbers(void *arg)
{
	struct race *race = arg;
	int me = __atomic_fetch_add(&race->next_racer, 1, __ATOMIC_SEQ_CST), i;

	stub_meet(race->barrier);
	for(i = 0; i < NUMBERS; i++) {
		race->numbers[me][i] = cn_number_next();
		check(i == 0 || race->numbers[me][i] > race->numbers[me][i - 1]);
	}
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void nobody_gets_the_number_of_another(void **state)
{
	struct race *race = stub_shared(sizeof(*race));
	int64_t *all = race->numbers[0];
	pid_t pids[RACERS];
	int i;

	cn_number_destroy();
	stub_share_shm(true);
	assert_int_equal(cn_number_init(), 0);
	race->barrier = stub_barrier(RACERS);
	for(i = 0; i < RACERS; i++)
		pids[i] = stub_fork(take_numbers, race);
	for(i = 0; i < RACERS; i++)
		stub_wait(pids[i]);
	qsort(all, RACERS * NUMBERS, sizeof(all[0]), compare);
	for(i = 1; i < RACERS * NUMBERS; i++)
		assert_true(all[i] > all[i - 1]);
}

static void start_without_memory(void)
{
	int err = cn_number_init();

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_number_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_number_destroy();
	assert_int_equal(stub_each_allocation(start_without_memory), 1);
	assert_int_equal(cn_number_init(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_number_is_higher_than_all_before),
			TEST(numbers_go_on_above_the_highest_that_is_known),
			TEST(the_main_process_gives_numbers_after_the_end),
			TEST(nobody_gets_the_number_of_another),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
