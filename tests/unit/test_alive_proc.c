/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* When the alive process looks at which slot, on a clock of our own: how late a
 * lost connection or a silent device is noticed, and what that takes. */

#include <sys/time.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/pt.h"

#include "stubs.h"
#include "steps.h"

#include "alive_proc.h"
#include "base_conf.h"
#include "base_stop.h"
#include "base_wait.h"
#include "outbox.h"
#include "reg_alive.h"

#define S 1000000ll
#define SLOTS 1024
#define TIMEOUT 180
#define EPOCH_S 1700000000

struct cn_conf cn_conf;

static int64_t now_us, ahead_us, end_us;

/* -------- slots -------- */

static struct slot
{
	bool called, connected;
	int64_t heard_us; /* when the first was heard of all that are there */
	int64_t looked_us, longest_us; /* between two looks */
	int looks;
	bool told;
	int late_s;
} slot_of[SLOTS];
static int look_us;		  /* what a look takes */
static int64_t looking_us; /* all of them */
static time_t since_s;
static int waiting; /* rows */

bool cn_alive_is_called(int slot)
{
	bool called = slot_of[slot].called;

	slot_of[slot].called = false;
	return called;
}

int cn_alive_slots(void)
{
	return SLOTS;
}

static time_t system_s(int64_t us)
{
	return EPOCH_S + (us + ahead_us) / S;
}

bool cn_alive_look(int slot, struct cn_alive_look *look)
{
	struct slot *s = &slot_of[slot];
	int64_t since_us = now_us - s->looked_us;

	now_us += look_us;
	looking_us += look_us;
	look->read_clock(look);
	assert_int_equal(look->now_s, system_s(now_us));
	since_s = look->since_s;
	if(s->looks++ > 0 && since_us > s->longest_us)
		s->longest_us = since_us;
	s->looked_us = now_us;
	look->connected = s->connected;
	look->due_s = s->told ? 0 : system_s(s->heard_us) + TIMEOUT + 1;
	if(look->due_s == 0 || look->due_s > look->now_s)
		return true;
	if(look->room <= 0)
		return false;
	look->room--;
	waiting++;
	s->late_s = (int)(look->now_s - look->due_s);
	s->told = true;
	look->due_s = 0;
	return true;
}

static int counts, count_us; /* what one takes */

void cn_alive_count_again(void)
{
	counts++;
	now_us += count_us;
}

/* -------- the rest of the module, and the core -------- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	ts->tv_sec = now_us / S;
	ts->tv_nsec = now_us % S * 1000;
	return 0;
}

int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
	int64_t us = EPOCH_S * S + now_us + ahead_us;

	tv->tv_sec = us / S;
	tv->tv_usec = us % S;
	return 0;
}

void cn_outbox_state(struct cn_outbox_state *state)
{
	memset(state, 0, sizeof(*state));
	state->waiting = waiting;
}

int cn_outbox_leaves(void)
{
	return 0;
}

int cn_stop_init(void)
{
	return 0;
}

int cn_stop_fd(void)
{
	return 0;
}

bool cn_stop_asked(void)
{
	return now_us >= end_us;
}

int cn_wait_new(void)
{
	return 0;
}

int cn_wait_add(int set, int fd)
{
	return 0;
}

void cn_wait(int set, int timeout_ms)
{
	now_us += timeout_ms * 1000;
}

cfg_group_t *cfg_group;
cfg_block_t **cfg_global, *cfg_local;
int cfg_block_size, cfg_ginst_count;
gen_lock_t *cfg_global_lock;
cfg_child_cb_t **cfg_child_cb_first, **cfg_child_cb_last, *cfg_child_cb;

void cfg_move_handle(
		cfg_group_t *group, cfg_group_inst_t *from, cfg_group_inst_t *to)
{
	abort();
}

int cfg_child_init(void)
{
	return 0;
}

int fork_process(int child_id, char *desc, int make_sock)
{
	abort();
}

/* -------- each test -------- */

static int start(void **state)
{
	static cfg_block_t *none;
	int i;

	cfg_global = &none;
	cn_conf.alive_timeout_s = TIMEOUT;
	cn_conf.outbox_max = 100000;
	now_us = 5000 * S;
	ahead_us = looking_us = waiting = 0;
	look_us = 10;
	counts = count_us = 0;
	memset(slot_of, 0, sizeof(slot_of));
	for(i = 0; i < SLOTS; i++)
		slot_of[i].heard_us = now_us;
	return step_alive_start();
}

static int end(void **state)
{
	stub_clear_log();
	return 0;
}

static void run_for(int64_t us)
{
	end_us = now_us + us;
	step_alive();
}

/* -------- connections -------- */

static void a_lost_connection_is_noticed_within_a_second(void **state)
{
	int i;

	for(i = 0; i < SLOTS; i++)
		slot_of[i].connected = i % 3 == 0;
	look_us = 50; /* 17 ms for all of them */
	run_for(60 * S);
	for(i = 0; i < SLOTS; i++) {
		if(slot_of[i].connected)
			assert_true(slot_of[i].looks > 50
						&& slot_of[i].longest_us < 1 * S);
		else
			assert_int_equal(slot_of[i].looks, 1);
	}
}

/* From when it was registered on. */
static void a_new_connection_is_looked_after_at_once(void **state)
{
	struct slot *s = &slot_of[7];
	int64_t saved_us;

	run_for(10 * S);
	assert_int_equal(s->looks, 1);
	saved_us = now_us;
	s->connected = s->called = true;
	run_for(S / 2);
	assert_int_equal(s->looks, 2);
	assert_true(s->looked_us - saved_us < S / 2);
	run_for(10 * S);
	assert_true(s->looks > 10);
}

static void looking_takes_at_most_a_twentieth_of_the_time(void **state)
{
	int i;

	for(i = 0; i < SLOTS; i++)
		slot_of[i].connected = true;
	look_us = 1000; /* a second for all of them */
	run_for(600 * S);
	assert_in_range(looking_us, 600 * S / 30, 600 * S / 18);
}

static void counting_takes_little_of_the_time(void **state)
{
	run_for(100 * S);
	assert_in_range(counts, 60, 101);
	counts = 0;
	count_us = S / 2;
	run_for(2500 * S);
	assert_in_range(counts, 9, 11);
}

/* -------- silence -------- */

static void who_is_silent_is_told_soon_and_others_are_left_alone(void **state)
{
	int i, j;

	for(j = 0; j < 60; j++) {
		for(i = j % 6; i < SLOTS; i += 6) {
			if(i >= 10)
				slot_of[i].heard_us = now_us;
		}
		run_for(10 * S);
	}
	for(i = 0; i < SLOTS; i++) {
		assert_int_equal(slot_of[i].told, i < 10);
		assert_in_range(slot_of[i].late_s, 0, 1);
		assert_in_range(slot_of[i].looks, 3, 6);
	}
}

static void who_finds_no_room_is_the_first_of_the_next_round(void **state)
{
	int i, n = 0;

	waiting = cn_conf.outbox_max;
	run_for((TIMEOUT + 5) * S);
	waiting = 0;
	run_for(S / 2);
	for(i = 0; i < SLOTS; i++)
		n += slot_of[i].told;
	assert_int_equal(n, SLOTS);
	/* half of the outbox is not for this */
	start(NULL);
	waiting = cn_conf.outbox_max / 2 - 5;
	run_for((TIMEOUT + 5) * S);
	for(i = 0, n = 0; i < SLOTS; i++)
		n += slot_of[i].told;
	assert_int_equal(n, 5);
}

static void when_the_clock_was_set_all_are_looked_at_anew(void **state)
{
	run_for(100 * S);
	assert_int_equal(since_s, EPOCH_S + 5000);
	ahead_us = 3600 * S;
	run_for(S);
	assert_int_equal(slot_of[0].looks, 2);
	assert_int_equal(since_s, system_s(5100 * S));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_lost_connection_is_noticed_within_a_second),
			TEST(a_new_connection_is_looked_after_at_once),
			TEST(looking_takes_at_most_a_twentieth_of_the_time),
			TEST(counting_takes_little_of_the_time),
			TEST(who_is_silent_is_told_soon_and_others_are_left_alone),
			TEST(who_finds_no_room_is_the_first_of_the_next_round),
			TEST(when_the_clock_was_set_all_are_looked_at_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
