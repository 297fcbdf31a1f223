/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>

#include "../../core/counters.h"

#include "stubs.h"

#include "base_stats.h"

#define PROCESSES 4

/* With Kamailio's own counters. */
static int start(void **state)
{
	stub_share_shm(true);
	return init_counters() < 0 || cn_stats_init(3) < 0
						   || counters_prefork_init(PROCESSES + 1) < 0
				   ? -1
				   : 0;
}

static int end(void **state)
{
	cn_stats_destroy();
	cn_stats_destroy(); /* twice is allowed */
	destroy_counters();
	if(stub_shm_blocks() == 0 && stub_pkg_blocks() == 0)
		return 0;
	print_error("%d blocks of shm, %d of pkg are left\n", stub_shm_blocks(),
			stub_pkg_blocks());
	return -1;
}

/* As an operator reads it. */
static long value(const char *name)
{
	str group = str_init("cms_notify"), var = stub_str(name);
	counter_handle_t handle;

	if(counter_lookup_str(&handle, &group, &var) < 0)
		fail_msg("there is no cms_notify.%s", name);
	return counter_get_val(handle);
}

static void each_counter_is_known_by_its_name(void **state)
{
	int i, j;

	for(i = 0; i < CN_COUNTER_COUNT; i++) {
		const char *name = cn_stats_counter_name(i);

		assert_int_equal(value(name), 0);
		for(j = 0; j <= i; j++)
			cn_stats_count(i);
		assert_int_equal(value(name), i + 1);
		assert_int_equal(cn_stats_counter(i), i + 1);
	}
	for(i = 0; i < CN_COUNTER_COUNT; i++)
		assert_int_equal(cn_stats_counter(i), i + 1);
}

static void the_names_are_those_of_the_interface(void **state)
{
	static const char *const names[] = {"events", "accepted", "rejected",
			"unavailable", "busy", "joined", "refreshes", "unasked", "timeout",
			"connect", "tls", "http", "too_big", "bad_answer", "shutdown", "memory",
			"deferred", "not_deferred", "delivered", "dead", "in_flight",
			"queued", "parked", "outbox"};
	size_t i;

	for(i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(value(names[i]), 0);
}

static void each_cause_has_a_counter_of_its_own(void **state)
{
	int i, j;

	for(i = 0; i < CN_CAUSE_COUNT; i++) {
		for(j = 0; j <= i; j++)
			cn_stats_cause(i);
	}
	for(i = 0; i < CN_CAUSE_COUNT; i++) {
		/* busy and not_deferred are counters of their own */
		if(i == CN_CAUSE_none || i == CN_CAUSE_busy || i == CN_CAUSE_outbox)
			continue;
		assert_int_equal(cn_stats_cause_count(i), i + 1);
		assert_int_equal(value(cn_cause_name(i)), i + 1);
	}
}

static void an_answer_and_busy_are_no_causes_to_be_counted(void **state)
{
	cn_stats_cause(CN_CAUSE_none);
	cn_stats_cause(CN_CAUSE_busy);
	assert_int_equal(cn_stats_cause_count(CN_CAUSE_none), 0);
	assert_int_equal(cn_stats_cause_count(CN_CAUSE_busy), 0);
	assert_int_equal(value("events"), 0);
}

static void two_causes_are_counted_by_another_name(void **state)
{
	cn_stats_count(CN_COUNTER_busy);
	assert_int_equal(cn_stats_cause_count(CN_CAUSE_busy), 1);
	cn_stats_count(CN_COUNTER_not_deferred);
	assert_int_equal(cn_stats_cause_count(CN_CAUSE_outbox), 1);
}

static void gauges_go_up_and_down(void **state)
{
	int i;

	for(i = 0; i < CN_GAUGE_COUNT; i++) {
		const char *name = cn_stats_gauge_name(i);

		cn_stats_gauge(i, 5);
		cn_stats_gauge(i, -2);
		assert_int_equal(cn_stats_gauge_value(i), 3);
		assert_int_equal(value(name), 3);
		cn_stats_gauge(i, -3);
		assert_int_equal(value(name), 0);
	}
}

#define TIMES 200000

struct crowd
{
	struct barrier *barrier;
	int next;
};

static void count_much(void *arg)
{
	struct crowd *crowd = arg;
	int i;

	process_no = 1 + __atomic_fetch_add(&crowd->next, 1, __ATOMIC_SEQ_CST);
	stub_meet(crowd->barrier);
	for(i = 0; i < TIMES; i++) {
		cn_stats_news(CN_REASON_NEW);
		cn_stats_stored(CN_STORED_DEAD, CN_KIND_EXPIRE);
		cn_stats_cause(CN_CAUSE_timeout);
		cn_stats_gauge(CN_GAUGE_parked, i & 1 ? -1 : 2);
		cn_stats_latency(CN_LATENCY_TOTAL, 5);
		cn_stats_attempt_begin(1);
		cn_stats_attempt_end(1, CN_CAUSE_http, 503, 1000);
	}
}

static void processes_lose_no_count(void **state)
{
	struct crowd *crowd = stub_shared(sizeof(*crowd));
	struct cn_endpoint_stats stats;
	struct cn_histogram_counts counts;
	pid_t pids[PROCESSES];
	int i;

	crowd->barrier = stub_barrier(PROCESSES);
	for(i = 0; i < PROCESSES; i++)
		pids[i] = stub_fork(count_much, crowd);
	for(i = 0; i < PROCESSES; i++)
		stub_wait(pids[i]);
	assert_int_equal(cn_stats_counter(CN_COUNTER_events), PROCESSES * TIMES);
	assert_int_equal(cn_stats_cause_count(CN_CAUSE_timeout), PROCESSES * TIMES);
	assert_int_equal(
			cn_stats_gauge_value(CN_GAUGE_parked), PROCESSES * TIMES / 2);
	cn_stats_endpoint(1, &stats);
	assert_int_equal(stats.attempts, PROCESSES * TIMES);
	assert_int_equal(stats.failures, PROCESSES * TIMES);
	assert_int_equal(stats.in_flight, 0);
	assert_int_equal(cn_stats_news_count(CN_REASON_NEW), PROCESSES * TIMES);
	assert_int_equal(cn_stats_stored_count(CN_STORED_DEAD, CN_KIND_EXPIRE),
			PROCESSES * TIMES);
	cn_stats_read_latency(CN_LATENCY_TOTAL, &counts);
	assert_int_equal(counts.all, PROCESSES * TIMES);
	assert_true(counts.sum_s == PROCESSES * TIMES * 5 / 1e6);
}

/* An operator sees the sum, Prometheus the parts. */
static void what_has_a_kind_is_counted_by_it_and_in_the_sum(void **state)
{
	static const enum cn_counter counters[] = {
			CN_COUNTER_deferred, CN_COUNTER_delivered, CN_COUNTER_dead};
	int i, kind;

	for(i = 0; i < CN_STORED_COUNT; i++) {
		for(kind = CN_KIND_REGISTER; kind <= CN_KIND_SNAPSHOT; kind++) {
			cn_stats_stored(i, kind);
			assert_int_equal(cn_stats_stored_count(i, kind), 1);
			assert_int_equal(cn_stats_counter(counters[i]), kind + 1);
		}
	}
	for(i = CN_REASON_NEW; i <= CN_REASON_MOVED; i++) {
		cn_stats_news(i);
		assert_int_equal(cn_stats_news_count(i), 1);
		assert_int_equal(cn_stats_counter(CN_COUNTER_events), i);
	}
}

/* -------- latencies -------- */

static void assert_within_an_eighth(double got_ms, int64_t wanted_us)
{
	double wanted = wanted_us / 1000.0;

	if(fabs(got_ms - wanted) > wanted / 8 + 1e-9)
		fail_msg("%f ms for %f ms", got_ms, wanted);
}

static void latencies_are_kept_apart(void **state)
{
	cn_stats_latency(CN_LATENCY_QUEUE, 1000);
	cn_stats_latency(CN_LATENCY_HTTP, 20000);
	cn_stats_latency(CN_LATENCY_TOTAL, 300000);
	assert_within_an_eighth(cn_stats_latency_ms(CN_LATENCY_QUEUE, 50), 1000);
	assert_within_an_eighth(cn_stats_latency_ms(CN_LATENCY_HTTP, 50), 20000);
	assert_within_an_eighth(cn_stats_latency_ms(CN_LATENCY_TOTAL, 50), 300000);
}

/* -------- endpoints -------- */

static void an_endpoint_tells_what_it_has_been_through(void **state)
{
	struct cn_endpoint_stats s;

	cn_stats_endpoint(2, &s);
	assert_int_equal(s.attempts + s.failures + s.in_flight + s.last_ms, 0);
	cn_stats_attempt_begin(2);
	cn_stats_attempt_begin(2);
	cn_stats_attempt_end(2, CN_CAUSE_none, 200, 12345);
	cn_stats_endpoint(2, &s);
	assert_int_equal(s.in_flight, 1);
	assert_int_equal(s.attempts, 2);
	assert_int_equal(s.failures, 0);
	assert_int_equal(s.last_status, 200);
	assert_int_equal(s.last_cause, CN_CAUSE_none);
	assert_int_equal(s.last_ms, 12);
	cn_stats_attempt_end(2, CN_CAUSE_timeout, 0, 2000000);
	cn_stats_endpoint(2, &s);
	assert_int_equal(s.in_flight, 0);
	assert_int_equal(s.failures, 1);
	assert_int_equal(s.last_status, 0);
	assert_int_equal(s.last_cause, CN_CAUSE_timeout);
	assert_int_equal(s.last_ms, 2000);
	cn_stats_endpoint(0, &s);
	assert_int_equal(s.attempts, 0);
	cn_stats_endpoint(1, &s);
	assert_int_equal(s.attempts, 0);
}

static void start_without_memory(void)
{
	int err;

	if(init_counters() < 0) {
		assert_true(stub_has_failed());
		return;
	}
	err = cn_stats_init(2);
	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_stats_destroy();
	destroy_counters();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_stats_destroy();
	destroy_counters();
	assert_true(stub_each_allocation(start_without_memory) > 20);
	assert_int_equal(start(NULL), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(each_counter_is_known_by_its_name),
			TEST(the_names_are_those_of_the_interface),
			TEST(each_cause_has_a_counter_of_its_own),
			TEST(an_answer_and_busy_are_no_causes_to_be_counted),
			TEST(two_causes_are_counted_by_another_name),
			TEST(gauges_go_up_and_down),
			TEST(processes_lose_no_count),
			TEST(what_has_a_kind_is_counted_by_it_and_in_the_sum),
			TEST(latencies_are_kept_apart),
			TEST(an_endpoint_tells_what_it_has_been_through),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
