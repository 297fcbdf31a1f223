/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "http_room.h"

#define PROCESSES 3
#define POSTS 10
#define ALL (PROCESSES * POSTS)

#define SLOTS 8

static int start(void **state)
{
	if(cn_room_init(SLOTS, PROCESSES, 1, POSTS) < 0)
		return -1;
	cn_room_set_up(0);
	return 0;
}

static int end(void **state)
{
	cn_room_destroy();
	cn_room_destroy(); /* twice is allowed */
	return stub_shm_blocks();
}

/* -------- POSTs of this process -------- */

static void begin(int slot, int posts)
{
	while(posts-- > 0)
		cn_room_began(slot);
}

static void finish(int slot, int posts)
{
	while(posts-- > 0)
		cn_room_ended(slot, NULL);
}

/* From this process: it is told how many there are. */
static int as_many_as_there_is_room(int slot)
{
	int posts = 0;

	while(posts < ALL && cn_room_is_free(slot)) {
		cn_room_began(slot);
		posts++;
	}
	finish(slot, posts);
	return posts;
}

/* A CMS that serves one at a time, with as many under way as may be. */
static void play(int slot, int answers)
{
	struct cn_concurrency_answer answer = {.events = 1, .waiting = true};

	while(answers-- > 0) {
		answer.ended_us += 1000;
		answer.began_us = answer.ended_us - 1000 * cn_room_number(slot);
		cn_room_began(slot);
		cn_room_ended(slot, &answer);
	}
}

/* -------- tests -------- */

static void each_process_has_its_share(void **state)
{
	int i;

	assert_int_equal(cn_room_number(5), ALL);
	for(i = 0; i < PROCESSES; i++) {
		cn_room_set_up(i);
		assert_int_equal(cn_room_share(5), POSTS);
		assert_int_equal(as_many_as_there_is_room(5), POSTS);
	}
}

static void the_number_follows_the_answers(void **state)
{
	int sum = 0, i;

	play(5, 100000);
	assert_in_range(cn_room_number(5), PROCESSES, PROCESSES + 3);
	for(i = 0; i < PROCESSES; i++) {
		cn_room_set_up(i);
		assert_in_range(as_many_as_there_is_room(5), 1, 2);
		sum += as_many_as_there_is_room(5);
	}
	assert_int_equal(sum, cn_room_number(5));
	assert_int_equal(cn_room_number(3), ALL);
	cn_room_reset(5);
	assert_int_equal(cn_room_number(5), ALL);
}

static int least_of(int least)
{
	cn_room_destroy();
	if(cn_room_init(SLOTS, PROCESSES, least, POSTS) < 0)
		return -1;
	cn_room_set_up(0);
	play(5, 10000);
	return cn_room_number(5);
}

static void no_fewer_than_the_least(void **state)
{
	assert_in_range(least_of(4), 4 * PROCESSES, 4 * PROCESSES + 3);
	assert_int_equal(least_of(POSTS), ALL);
	assert_int_equal(least_of(POSTS + 1), ALL);
}

static void each_endpoint_has_its_own(void **state)
{
	begin(5, POSTS);
	assert_false(cn_room_is_free(5));
	assert_true(cn_room_is_free(3));
	cn_room_set_up(1);
	assert_true(cn_room_is_free(5));
	cn_room_set_up(0);
	finish(5, 1);
	assert_true(cn_room_is_free(5));
}

/* It has been taken, and goes where it can. */
static void who_moves_on_goes_beyond(void **state)
{
	begin(5, POSTS + 3);
	finish(5, 3);
	assert_false(cn_room_is_free(5));
	finish(5, 1);
	assert_true(cn_room_is_free(5));
	finish(5, POSTS - 1);
}

static void start_without_memory(void)
{
	int err = cn_room_init(2, 1, 1, 1);

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_room_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_room_destroy();
	assert_int_equal(stub_each_allocation(start_without_memory), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(each_process_has_its_share),
			TEST(the_number_follows_the_answers),
			TEST(no_fewer_than_the_least),
			TEST(each_endpoint_has_its_own),
			TEST(who_moves_on_goes_beyond),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
