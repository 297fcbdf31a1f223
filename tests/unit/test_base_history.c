/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <time.h>

#include "stubs.h"

#include "base_history.h"

#define SIZE 256
#define REFUSED (SIZE / 4 + 1)
#define HOUR 3600

static int64_t now_s; /* on the clock that can be set */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	static long us;

	us = (us + 1) % 1000000; /* no two moments are the same */
	ts->tv_sec = now_s;
	ts->tv_nsec = 1000 * us;
	return 0;
}

static struct cn_step steps[CN_HISTORY_SHOWN];

static int start(void **state)
{
	now_s = 1800000000;
	return cn_history_init(SIZE, "secret");
}

static int end(void **state)
{
	cn_history_destroy();
	cn_history_destroy(); /* twice is allowed */
	stub_clear_log();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static uint64_t device(int n)
{
	char name[64];
	str s = {name, snprintf(name, sizeof(name), "cam%d@telecom.com", n)};

	return cn_history_device(&s);
}

static uint64_t put(int n, enum cn_step_kind kind)
{
	struct cn_step step = {.device = device(n), .kind = kind};

	if(kind == CN_STEP_REGISTER)
		step.reason = CN_REASON_RETURNED;
	return cn_history_put(0, &step);
}

/* @return the flaps of the device's hour */
static unsigned refused_by_cms(int n)
{
	struct cn_step end = {.kind = CN_STEP_REGISTER,
			.reason = CN_REASON_RETURNED,
			.verdict = CN_STEP_VERDICT(CN_REJECTED)};

	return cn_history_end(put(n, CN_STEP_REGISTER), &end, false);
}

static uint64_t refuse(int n, const char *why)
{
	struct cn_step step = {.device = device(n), .kind = CN_STEP_SCRIPT};

	cn_step_set_text(&step, why, strlen(why));
	return cn_history_put(0, &step);
}

static unsigned accept(uint64_t number, int n)
{
	struct cn_step step = {.device = device(n), .kind = CN_STEP_REGISTER};

	step.verdict = CN_STEP_VERDICT(CN_ACCEPTED);
	step.reason = CN_REASON_RETURNED;
	step.status = 200;
	return cn_history_end(number, &step, true);
}

static unsigned registers(int n)
{
	return accept(put(n, CN_STEP_REGISTER), n);
}

static int count(int n)
{
	return cn_history_read(device(n), steps);
}

static bool has(int n, enum cn_step_kind kind)
{
	return count(n) > 0 && steps[0].kind == kind;
}

static void a_step_is_found_as_it_was(void **state)
{
	struct cn_step step = {.device = device(1),
			.kind = CN_STEP_REGISTER,
			.ip_len = 4,
			.port = 7000,
			.cseq = 5,
			.expires = 60,
			.contacts = 2};

	assert_int_equal(count(1), 0);
	assert_int_not_equal(cn_history_put(0, &step), 0);
	assert_int_equal(count(2), 0);
	assert_int_equal(count(1), 1);
	assert_int_equal(steps[0].time_us / 1000000, now_s);
	assert_int_equal(steps[0].kind, CN_STEP_REGISTER);
	assert_int_equal(steps[0].port, 7000);
	assert_int_equal(steps[0].cseq, 5);
	assert_int_equal(steps[0].expires, 60);
	assert_int_equal(steps[0].contacts, 2);
	assert_int_equal(steps[0].times, 1);
	assert_int_equal(steps[0].verdict, 0);
}

static void a_verdict_is_added_to_it(void **state)
{
	struct cn_step step = {
			.device = device(1), .kind = CN_STEP_REGISTER, .port = 7000};
	uint64_t number = cn_history_put(0, &step);
	str id = STR("5ed75fcb847f88d2ee1aa6c3000003fF");

	step.verdict = CN_STEP_VERDICT(CN_REJECTED);
	step.port = 0;
	step.elapsed_ms = 14;
	cn_step_set_id(&step, &id);
	cn_step_set_text(&step, "no", 2);
	assert_int_equal(cn_history_end(number, &step, false), 0);
	assert_int_equal(count(1), 1);
	assert_int_equal(steps[0].verdict, CN_STEP_VERDICT(CN_REJECTED));
	assert_int_equal(steps[0].elapsed_ms, 14);
	assert_int_equal(steps[0].port, 7000);
	assert_memory_equal(steps[0].id, "\x5e\xd7\x5f\xcb", 4);
	assert_int_equal(steps[0].id[15], 0xff);
	assert_string_equal(steps[0].text, "no");
	assert_int_equal(cn_history_end(0, &step, true), 0);
}

static void a_text_is_cut(void **state)
{
	char text[100];
	struct cn_step step;
	str id = STR("short");

	memset(text, 'x', sizeof(text));
	cn_step_set_text(&step, text, sizeof(text));
	assert_memory_equal(step.text, text, CN_STEP_TEXT);
	cn_step_set_text(&step, NULL, 0);
	assert_int_equal(step.text[0], 0);
	memset(step.id, 7, sizeof(step.id));
	cn_step_set_id(&step, &id); /* of another kind: none */
	assert_int_equal(step.id[0], 7);
}

static void like_steps_are_counted_in_one(void **state)
{
	int i;

	registers(1);
	for(i = 0; i < 1000; i++) {
		put(1, CN_STEP_REFRESH);
		put(1, CN_STEP_QUERY);
	}
	assert_int_equal(count(1), 3);
	assert_int_equal(steps[0].kind, CN_STEP_QUERY);
	assert_int_equal(steps[0].times, 1000);
	assert_int_equal(steps[1].kind, CN_STEP_REFRESH);
	assert_int_equal(steps[1].times, 1000);
	assert_int_equal(steps[2].kind, CN_STEP_REGISTER);
	/* unless they say something else */
	refuse(1, "wrong password");
	refuse(1, "flood");
	refuse(1, "flood");
	assert_int_equal(count(1), 5);
	assert_int_equal(steps[0].times, 2);
}

static void each_new_registration_is_a_step(void **state)
{
	int i;

	for(i = 0; i < 5; i++)
		registers(1);
	assert_int_equal(count(1), 5);
	/* one that waits is never taken for another one's */
	put(1, CN_STEP_JOINED);
	put(1, CN_STEP_JOINED);
	assert_int_equal(count(1), 7);
}

static void one_device_pushes_nobody_out(void **state)
{
	int i;

	registers(2);
	for(i = 0; i < 10 * SIZE; i++) {
		registers(1);
		put(1, CN_STEP_UNREGISTER);
		put(1, CN_STEP_EXPIRED);
	}
	assert_true(has(2, CN_STEP_REGISTER));
	assert_int_equal(count(1), CN_HISTORY_SHOWN);
	assert_int_equal(steps[0].kind, CN_STEP_EXPIRED);
	assert_true(steps[0].times > 9 * SIZE);
}

/* Nor with what shares a verdict, or is refused by the CMS. */
static void nobody_is_pushed_out_by_repeating(void **state)
{
	struct cn_step end = {.kind = CN_STEP_JOINED,
			.reason = CN_REASON_NEW,
			.verdict = CN_STEP_VERDICT(CN_REJECTED)};
	uint64_t number = 0;
	int i;

	registers(2);
	for(i = 0; i < 10 * SIZE; i++) {
		number = put(1, CN_STEP_JOINED);
		cn_history_end(number, &end, false);
		refused_by_cms(1);
	}
	assert_true(has(2, CN_STEP_REGISTER));
	/* in the next hour each is shown again */
	now_s += HOUR;
	assert_true(put(1, CN_STEP_JOINED) > number);
}

static void the_oldest_of_all_goes(void **state)
{
	int i;

	for(i = 0; i < 3 * SIZE; i++)
		put(i, CN_STEP_REFRESH);
	for(i = 0; i < 2 * SIZE; i++)
		assert_int_equal(count(i), 0);
	for(; i < 3 * SIZE; i++)
		assert_int_equal(count(i), 1);
}

static void a_verdict_comes_too_late(void **state)
{
	uint64_t number = put(1, CN_STEP_REGISTER);
	int i;

	for(i = 2; i < 2 + SIZE; i++)
		put(i, CN_STEP_REFRESH);
	assert_int_equal(accept(number, 1), 0);
	assert_int_equal(count(1), 0);
	for(i = 2; i < 2 + SIZE; i++)
		assert_true(has(i, CN_STEP_REFRESH));
}

static void it_turns_out_to_be_another_one(void **state)
{
	struct cn_step step = {.device = device(1), .kind = CN_STEP_REFRESH};
	uint64_t number = put(1, CN_STEP_REGISTER);

	assert_int_equal(cn_history_put(number, &step), number);
	assert_int_equal(count(1), 1);
	assert_int_equal(steps[0].kind, CN_STEP_REFRESH);
	assert_int_equal(steps[0].times, 1);
}

/* -------- strangers -------- */

static void strangers_push_no_device_out(void **state)
{
	int i;

	registers(1);
	for(i = 0; i < 100 * SIZE; i++)
		refuse(1000 + i, "unknown user");
	assert_true(has(1, CN_STEP_REGISTER));
	/* one in a second */
	assert_true(has(1000, CN_STEP_SCRIPT));
	assert_int_equal(count(1001), 0);
	/* but who is known is none */
	assert_int_not_equal(refuse(1, "wrong password"), 0);
	assert_true(has(1, CN_STEP_SCRIPT));
	now_s++;
	assert_int_not_equal(refuse(2, "wrong password"), 0);
	assert_true(has(2, CN_STEP_SCRIPT));
	/* and who is there is counted in each */
	assert_int_not_equal(refuse(2, "wrong password"), 0);
	assert_int_equal(count(2), 1);
	assert_int_equal(steps[0].times, 2);
}

static void it_takes_minutes_to_push_strangers_out(void **state)
{
	int i;

	refuse(1, "wrong password");
	for(i = 0; i < REFUSED - 1; i++) {
		now_s++;
		assert_true(has(1, CN_STEP_SCRIPT));
		refuse(1000 + i, "unknown user");
		refuse(9000 + i, "unknown user");
	}
	now_s++;
	refuse(3, "unknown user");
	assert_int_equal(count(1), 0);
}

/* -------- flapping -------- */

static void new_registrations_are_counted_for_an_hour(void **state)
{
	int i;

	assert_int_equal(cn_history_flaps(device(1)), 0);
	for(i = 1; i <= 30; i++) {
		assert_int_equal(registers(1), i);
		put(1, CN_STEP_REFRESH);
		assert_int_equal(cn_history_flaps(device(1)), i);
	}
	assert_int_equal(cn_history_flaps(device(2)), 0);
	now_s += HOUR - 1;
	assert_int_equal(registers(1), 31);
	now_s += 1;
	assert_int_equal(cn_history_flaps(device(1)), 0);
	assert_int_equal(registers(1), 1);
}

static void who_was_refused_does_not_flap(void **state)
{
	assert_int_equal(refused_by_cms(1), 0);
	assert_int_equal(cn_history_flaps(device(1)), 0);
}

static void their_number_has_an_end(void **state)
{
	unsigned i;

	for(i = 1; i <= UINT16_MAX; i++)
		assert_int_equal(registers(1), i);
	assert_int_equal(registers(1), UINT16_MAX);
}

/* -------- none, and no room -------- */

static void it_can_be_off(void **state)
{
	cn_history_destroy();
	assert_int_equal(cn_history_init(0, "secret"), 0);
	assert_int_equal(device(1), 0); /* nobody's name is read for it */
	assert_int_equal(put(1, CN_STEP_REFRESH), 0);
	assert_int_equal(registers(1), 0);
	assert_int_equal(count(1), 0);
	assert_int_equal(cn_history_flaps(device(1)), -1);
}

static void starts(void)
{
	if(cn_history_init(SIZE, "secret") < 0)
		assert_logged("ERROR", "history is ");
	cn_history_destroy();
	stub_clear_log();
}

static void without_room_it_says_so(void **state)
{
	cn_history_destroy();
	assert_int_equal(stub_each_allocation(starts), 2);
}

/* -------- many processes -------- */

#define PROCESSES 4

static struct barrier *together;

/* Each device has the kind of step that its number says. */
static enum cn_step_kind kind_of(int n)
{
	return n % 2 ? CN_STEP_REFRESH : CN_STEP_QUERY;
}

static void look(int n)
{
	int i;

	for(i = count(n) - 1; i >= 0; i--) {
		check(steps[i].device == device(n));
		check(steps[i].kind == kind_of(n));
	}
}

static void write_and_read(void *arg)
{
	uint64_t dice = (uintptr_t)arg;
	int i;

	stub_meet(together);
	for(i = 0; i < 20000; i++) {
		int n = stub_random(&dice) % (2 * SIZE);

		put(n, kind_of(n));
		look(stub_random(&dice) % (2 * SIZE));
	}
}

static void steps_are_whole_and_of_their_device(void **state)
{
	pid_t children[PROCESSES];
	uintptr_t i;

	cn_history_destroy();
	stub_share_shm(true);
	assert_int_equal(cn_history_init(SIZE, "secret"), 0);
	together = stub_barrier(PROCESSES);
	for(i = 0; i < PROCESSES; i++)
		children[i] = stub_fork(write_and_read, (void *)(i + 1));
	for(i = 0; i < PROCESSES; i++)
		stub_wait(children[i]);
	cn_history_destroy();
	stub_share_shm(false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_step_is_found_as_it_was),
			TEST(a_verdict_is_added_to_it),
			TEST(a_text_is_cut),
			TEST(like_steps_are_counted_in_one),
			TEST(each_new_registration_is_a_step),
			TEST(one_device_pushes_nobody_out),
			TEST(nobody_is_pushed_out_by_repeating),
			TEST(the_oldest_of_all_goes),
			TEST(a_verdict_comes_too_late),
			TEST(it_turns_out_to_be_another_one),
			TEST(strangers_push_no_device_out),
			TEST(it_takes_minutes_to_push_strangers_out),
			TEST(new_registrations_are_counted_for_an_hour),
			TEST(who_was_refused_does_not_flap),
			TEST(their_number_has_an_end),
			TEST(it_can_be_off),
			TEST(without_room_it_says_so),
			TEST(steps_are_whole_and_of_their_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
