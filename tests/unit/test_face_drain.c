/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fake_rpc.h"

#include <time.h>

#include "base_stats.h"
#include "face_drain.h"
#include "reg_usrloc.h"

static struct
{
	bool in_memory;
	unsigned long contacts;
	int parked;
	int64_t now_ms;
} the;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	assert_int_equal(clock, CLOCK_MONOTONIC);
	ts->tv_sec = the.now_ms / 1000;
	ts->tv_nsec = the.now_ms % 1000 * 1000000;
	return 0;
}

bool cn_usrloc_in_memory(void)
{
	return the.in_memory;
}

unsigned long cn_usrloc_contacts(void)
{
	return the.contacts;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	assert_int_equal(gauge, CN_GAUGE_parked);
	return the.parked;
}

/* -------- as cms_notify.status asks -------- */

static const char *const status_doc[] = {"", NULL};

static void status(rpc_t *rpc, void *ctx)
{
	void *reply;

	if(rpc->add(ctx, "{", &reply) >= 0)
		cn_drain_add(rpc, reply);
}

static rpc_export_t commands[] = {
		{"drain", cn_drain_command, (const char **)status_doc, 0},
		{"status", status, (const char **)status_doc, 0}, {0, 0, 0, 0}};

static void assert_shown(const char *name, const char *wanted)
{
	const char *shown = fake_rpc_value(name);

	if(wanted == NULL) {
		assert_null(shown);
		return;
	}
	assert_non_null(shown);
	assert_string_equal(shown, wanted);
}

/* @param left NULL: it is not shown, as nothing else is when it is off */
static void assert_state(const char *name, const char *left)
{
	bool off = strcmp(name, "off") == 0;

	assert_shown("0.state", name);
	assert_shown("0.left_s", left);
	assert_int_equal(fake_rpc_value("0.parked") == NULL, off);
	assert_int_equal(cn_drain_is_on(), !off);
}

static void assert_drain(
		const char *parameter, const char *name, const char *left)
{
	assert_int_equal(fake_rpc_call(commands, "drain", parameter), 0);
	assert_state(name, left);
}

static void assert_status(const char *name, const char *left)
{
	assert_int_equal(fake_rpc_call(commands, "status", NULL), 0);
	assert_state(name, left);
}

static int start(void **state)
{
	memset(&the, 0, sizeof(the));
	the.in_memory = true;
	the.contacts = 2718;
	the.parked = 3;
	the.now_ms = 5000000;
	fake_rpc_fail_at(0);
	stub_clear_log();
	return cn_drain_init();
}

static int end(void **state)
{
	cn_drain_destroy();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

/* -------- the tests -------- */

static void it_begins_and_ends_by_hand(void **state)
{
	assert_status("off", NULL);
	assert_drain(NULL, "draining", NULL);
	assert_logged("NOTICE", "draining: new devices are sent elsewhere");
	assert_shown("0.contacts", "2718");
	assert_shown("0.parked", "3");
	the.now_ms += 1000000000;
	assert_status("draining", NULL);
	assert_drain("off", "off", NULL);
	assert_logged("NOTICE", "new devices are taken again");
	assert_status("off", NULL);
}

static void it_is_done_when_nobody_is_left(void **state)
{
	assert_drain(NULL, "draining", NULL);
	the.contacts = 0;
	assert_status("draining", NULL);
	the.contacts = 1;
	the.parked = 0;
	assert_status("draining", NULL);
	the.contacts = 0;
	assert_status("done", NULL);
	assert_drain("60", "done", "60");
}

static void it_is_done_when_the_time_is_over(void **state)
{
	assert_drain("60", "draining", "60");
	the.now_ms += 1;
	assert_status("draining", "60");
	the.now_ms += 59000;
	assert_status("draining", "1");
	the.now_ms += 999;
	assert_status("done", "0");
	the.now_ms += 86400000;
	assert_status("done", "0");
}

static void another_time_takes_the_place_of_the_first(void **state)
{
	assert_drain("1", "draining", "1");
	the.now_ms += 2000;
	assert_drain("86400", "draining", "86400");
	assert_drain(NULL, "draining", NULL);
	the.now_ms += 90000000;
	assert_status("draining", NULL);
}

static void what_is_no_time_changes_nothing(void **state)
{
	static const char *const wrong[] = {"0", "-1", "86401", "4294967297", "1.5",
			"60s", "on", "OFF", "offf", ""};
	size_t i;

	for(i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(fake_rpc_call(commands, "drain", wrong[i]), 400);
		assert_string_equal(fake_rpc_fault(),
				"How many seconds at most: 1 to 86400; or: off");
		assert_status("off", NULL);
	}
	assert_drain("60", "draining", "60");
	assert_int_equal(fake_rpc_call(commands, "drain", "0"), 400);
	assert_status("draining", "60");
	assert_drain("off", "off", NULL);
}

/* Where the bindings are other servers' as well, nobody has to leave. */
static void without_bindings_in_memory_only_the_time_counts(void **state)
{
	the.in_memory = false;
	the.contacts = the.parked = 0;
	assert_int_equal(fake_rpc_call(commands, "drain", NULL), 400);
	assert_string_equal(fake_rpc_fault(),
			"How many seconds? usrloc has no bindings in memory (db_mode 3)");
	assert_status("off", NULL);
	assert_drain("10", "draining", "10");
	assert_shown("0.contacts", NULL);
	the.now_ms += 10000;
	assert_status("done", "0");
	assert_drain("off", "off", NULL);
}

static void without_room_for_the_answer_it_begins_all_the_same(void **state)
{
	fake_rpc_fail_at(1);
	assert_int_equal(fake_rpc_call(commands, "drain", "60"), 0);
	assert_true(cn_drain_is_on());
}

static void without_memory_there_is_no_start(void **state)
{
	cn_drain_destroy();
	stub_fail_at(1);
	assert_int_equal(cn_drain_init(), -1);
	stub_fail_at(0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(it_begins_and_ends_by_hand),
			TEST(it_is_done_when_nobody_is_left),
			TEST(it_is_done_when_the_time_is_over),
			TEST(another_time_takes_the_place_of_the_first),
			TEST(what_is_no_time_changes_nothing),
			TEST(without_bindings_in_memory_only_the_time_counts),
			TEST(without_room_for_the_answer_it_begins_all_the_same),
			TEST(without_memory_there_is_no_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
