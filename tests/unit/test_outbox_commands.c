/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What other processes may give to the outbox process: what its database cannot
 * do in time is not given at all. */

#include "../../core/rand/cryptorand.h"

#include "events.h"

#include "base_conf.h"
#include "base_stats.h"
#include "job_number.h"
#include "job_ring.h"
#include "outbox.h"

#define JOBS 1100
#define TIMEOUT_US 1000000

struct cn_conf cn_conf;

static int64_t now_us = 1000000000;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	ts->tv_sec = now_us / 1000000;
	ts->tv_nsec = now_us % 1000000 * 1000;
	return 0;
}

unsigned int cryptorand(void)
{
	return 1;
}

int cn_conf_capacity(void)
{
	return JOBS;
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return 0;
}

/* -------- each test -------- */

static struct cn_job *jobs[JOBS];
static int job_count;

static int start(void **state)
{
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.outbox_db_url = "postgres://db/cms";
	cn_conf.outbox_max = 100;
	stub_limits.timeout_ms = TIMEOUT_US / 1000;
	job_count = 0;
	return cn_job_init(JOBS) < 0 || cn_number_init() < 0 || cn_outbox_init() < 0
				   ? -1
				   : 0;
}

static int end(void **state)
{
	int i;

	cn_outbox_destroy();
	for(i = 0; i < job_count; i++)
		cn_job_free(jobs[i]);
	cn_number_destroy();
	cn_job_destroy();
	stub_clear_log();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static struct cn_job *new_job(void)
{
	static const str body = {"{}", 2}, none;
	struct test_event t;
	struct cn_job *job;

	assert_int_equal(cn_job_new(make_event(&t), &body, &none, true, &job),
			CN_CAUSE_none);
	jobs[job_count++] = job;
	return job;
}

static int store(void)
{
	static const struct cn_outcome failure = {
			.verdict = CN_UNAVAILABLE, .cause = CN_CAUSE_connect};

	return cn_outbox_store(new_job(), &failure);
}

/* That is how long a transaction takes. */
static void transactions_take(int64_t us)
{
	int i;

	for(i = 0; i < 100; i++) {
		cn_outbox_db_begins();
		now_us += us;
		cn_outbox_db_answered(true);
	}
}

/* The outbox process has done one. */
static void one_is_done(void)
{
	cn_command_free(cn_ring_take(cn_outbox_ring()));
}

static void what_would_come_too_late_is_not_stored(void **state)
{
	int i;

	/* two transactions are as long as there is */
	transactions_take((TIMEOUT_US + CN_STORE_US) / 2 - 10000);
	for(i = 0; i < CN_BATCH_MAX; i++)
		assert_int_equal(store(), 0);
	/* the next one is in the third */
	assert_int_equal(store(), -1);
	one_is_done();
	assert_int_equal(store(), 0);
	assert_int_equal(store(), -1);
	/* what is faster takes more */
	transactions_take(1000);
	for(i = 0; i < CN_BATCH_MAX; i++)
		assert_int_equal(store(), 0);
}

static void where_nobody_waits_it_is_tried(void **state)
{
	transactions_take(10 * TIMEOUT_US);
	assert_int_equal(store(), 0);
	assert_int_equal(store(), -1);
	one_is_done();
	assert_int_equal(store(), 0);
}

static void a_database_that_is_silent_is_given_nothing(void **state)
{
	cn_outbox_db_begins();
	now_us += 900000;
	assert_int_equal(store(), 0);
	now_us += 200000;
	assert_int_equal(store(), -1);
	cn_outbox_db_answered(true);
	assert_int_equal(store(), 0);
	cn_outbox_db_answered(false);
	assert_int_equal(store(), -1);
}

/* -------- who must ask -------- */

#define TWO "000000000000000a 000000000000000b"

static void who_need_not_ask_does_not_ask_a_silent_database(void **state)
{
	struct cn_job *job = new_job();
	unsigned hash = cn_job_hash(job);

	assert_true(cn_outbox_must_be_asked(job)); /* nothing is known yet */
	cn_outbox_set_known();
	assert_false(cn_outbox_must_be_asked(job));
	cn_outbox_count_row(hash, cn_job_contacts(job), 1);
	assert_true(cn_outbox_must_be_asked(job));
	cn_outbox_db_begins();
	now_us += 110000;
	assert_false(cn_outbox_must_be_asked(job));
	assert_true(cn_outbox_may_go(job));
	/* one that no event of one contact makes needless */
	cn_outbox_count_row(hash, TWO, 1);
	assert_true(cn_outbox_must_be_asked(job));
	assert_false(cn_outbox_may_go(job));
	cn_outbox_count_row(hash, TWO, -1);
	assert_false(cn_outbox_must_be_asked(job));
	assert_true(cn_outbox_may_go(job));
	cn_outbox_db_answered(true);
	assert_true(cn_outbox_must_be_asked(job));
}

/* From when it is given until it has been done. */
static void what_is_to_be_stored_counts_as_a_row(void **state)
{
	struct cn_job *job = new_job();
	struct test_event t;

	cn_outbox_set_known();
	assert_false(cn_outbox_must_be_asked(job));
	assert_int_equal(store(), 0);
	assert_true(cn_outbox_must_be_asked(job));
	one_is_done();
	assert_false(cn_outbox_must_be_asked(job));
	assert_int_equal(cn_outbox_leave(make_event(&t)), 0);
	assert_int_equal(cn_outbox_leaves(), 1);
	assert_true(cn_outbox_must_be_asked(job));
	one_is_done();
	assert_int_equal(cn_outbox_leaves(), 0);
	assert_false(cn_outbox_must_be_asked(job));
	assert_int_equal(cn_outbox_ask(job), 0);
	assert_false(cn_outbox_must_be_asked(job));
	one_is_done();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_would_come_too_late_is_not_stored),
			TEST(where_nobody_waits_it_is_tried),
			TEST(a_database_that_is_silent_is_given_nothing),
			TEST(who_need_not_ask_does_not_ask_a_silent_database),
			TEST(what_is_to_be_stored_counts_as_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
