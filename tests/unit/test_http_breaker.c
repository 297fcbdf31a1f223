/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <pthread.h>
#include <sched.h>

#include "stubs.h"

#include "http_breaker.h"
#include "base_conf.h"

struct cn_conf cn_conf;

#define FAILURES 3
#define COOLDOWN_US 2000000
#define TIMEOUT_US 4000000
#define T0 1000000000ll /* any moment */

static int start(void **state)
{
	stub_clear_log();
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	stub_limits.breaker_failures = FAILURES;
	stub_limits.breaker_cooldown_ms = COOLDOWN_US / 1000;
	stub_limits.timeout_ms = TIMEOUT_US / 1000;
	return cn_breaker_init(2);
}

static int end(void **state)
{
	cn_breaker_destroy();
	return stub_shm_blocks();
}

static void fails(int64_t now, enum cn_breaker_edge edge)
{
	assert_int_equal(cn_breaker_report(0, CN_CAUSE_timeout, 0, now), edge);
}

static void works(int64_t now, enum cn_breaker_edge edge)
{
	assert_int_equal(cn_breaker_report(0, CN_CAUSE_none, 200, now), edge);
}

/* Open it at T0. */
static void open_it(void)
{
	int i;

	for(i = 1; i < FAILURES; i++)
		fails(T0 - i, CN_BREAKER_SAME);
	fails(T0, CN_BREAKER_WENT);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
}

/* Asking whether one would pass changes nothing: asked twice. */
static void assert_passes(int64_t now, bool passes)
{
	enum cn_breaker_state state = cn_breaker_state(0);

	assert_int_equal(cn_breaker_would_pass(0, now), passes);
	assert_int_equal(cn_breaker_would_pass(0, now), passes);
	assert_int_equal(cn_breaker_state(0), state);
	assert_int_equal(cn_breaker_pass(0, now), passes);
}

static void as_long_as_it_is_closed_all_pass(void **state)
{
	int i;

	assert_int_equal(cn_breaker_state(0), CN_BREAKER_CLOSED);
	for(i = 0; i < 1000; i++)
		assert_passes(T0, true);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_CLOSED);
	works(T0, CN_BREAKER_SAME);
}

static void failures_in_a_row_open_it(void **state)
{
	int i;

	for(i = 0; i < 10; i++) {
		fails(T0, CN_BREAKER_SAME);
		fails(T0, CN_BREAKER_SAME);
		assert_passes(T0, true);
		works(T0, CN_BREAKER_SAME);
	}
	open_it();
	assert_passes(T0, false);
}

static void one_failure_is_enough_where_so_configured(void **state)
{
	stub_limits.breaker_failures = 1;
	fails(T0, CN_BREAKER_WENT);
	assert_passes(T0, false);
}

static void an_open_one_lets_nothing_pass_until_it_has_cooled_down(void **state)
{
	open_it();
	assert_passes(T0, false);
	assert_passes(T0 + COOLDOWN_US - 1, false);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
	assert_passes(T0 + COOLDOWN_US, true);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_HALF);
}

static void one_finds_out_and_the_others_wait(void **state)
{
	int64_t now = T0 + COOLDOWN_US;

	open_it();
	assert_passes(now, true);
	assert_passes(now, false);
	assert_passes(now + COOLDOWN_US, false);
	works(now + COOLDOWN_US, CN_BREAKER_BACK);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_CLOSED);
	assert_passes(now + COOLDOWN_US, true);
	assert_passes(now + COOLDOWN_US, true);
	works(now + COOLDOWN_US, CN_BREAKER_SAME);
	/* and what was counted before is forgotten */
	fails(now, CN_BREAKER_SAME);
	assert_passes(now, true);
}

static void who_finds_out_that_it_is_still_away_says_no_news(void **state)
{
	int64_t now = T0 + COOLDOWN_US;
	int i;

	open_it();
	for(i = 0; i < 100; i++) {
		assert_passes(now, true);
		fails(now + 1000, CN_BREAKER_SAME);
		assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
		/* it cools down from then on */
		assert_passes(now + COOLDOWN_US, false);
		now += 1000 + COOLDOWN_US;
	}
	assert_passes(now, true);
	works(now, CN_BREAKER_BACK);
}

static void who_never_comes_back_does_not_block_it(void **state)
{
	int64_t now = T0 + COOLDOWN_US;
	int i;

	open_it();
	for(i = 0; i < 100; i++) {
		assert_passes(now, true);
		assert_passes(now + TIMEOUT_US, false);
		now += TIMEOUT_US + 1;
	}
	/* nor does it when it does come, long after */
	assert_passes(now, true);
	fails(now + 1, CN_BREAKER_SAME);
	assert_passes(now + 1 + COOLDOWN_US, true);
	works(now, CN_BREAKER_BACK);
}

/* They left before it opened. */
static void late_failures_do_not_keep_it_open(void **state)
{
	open_it();
	fails(T0 + 1, CN_BREAKER_SAME);
	fails(T0 + COOLDOWN_US - 1, CN_BREAKER_SAME);
	assert_passes(T0 + COOLDOWN_US, true);
}

static void a_late_success_closes_it(void **state)
{
	open_it();
	works(T0 + 1, CN_BREAKER_BACK);
	works(T0 + 1, CN_BREAKER_SAME);
	assert_passes(T0 + 1, true);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_CLOSED);
}

/* Out of memory: our own fault. */
static void what_was_not_sent_is_no_failure(void **state)
{
	int i;

	for(i = 0; i < 3 * FAILURES; i++)
		assert_int_equal(
				cn_breaker_report(0, CN_CAUSE_memory, 0, T0), CN_BREAKER_SAME);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_CLOSED);
	fails(T0, CN_BREAKER_SAME);
	fails(T0, CN_BREAKER_SAME);
	cn_breaker_report(0, CN_CAUSE_memory, 0, T0);
	/* nor does it interrupt a row of them */
	fails(T0, CN_BREAKER_WENT);
	cn_breaker_report(0, CN_CAUSE_memory, 0, T0 + 1);
	assert_passes(T0 + COOLDOWN_US, true);
	/* who was to find out has not: another one is to, after a while */
	assert_int_equal(cn_breaker_report(0, CN_CAUSE_memory, 0, T0 + COOLDOWN_US),
			CN_BREAKER_SAME);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
	assert_int_equal(cn_breaker_cause(0), CN_CAUSE_timeout);
	assert_passes(T0 + 2 * COOLDOWN_US - 1, false);
	assert_passes(T0 + 2 * COOLDOWN_US, true);
	works(T0 + 2 * COOLDOWN_US, CN_BREAKER_BACK);
}

static void each_endpoint_has_its_own(void **state)
{
	open_it();
	assert_int_equal(cn_breaker_state(1), CN_BREAKER_CLOSED);
	assert_true(cn_breaker_pass(1, T0));
	assert_int_equal(cn_breaker_report(1, CN_CAUSE_none, 200, T0), CN_BREAKER_SAME);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
	assert_int_equal(cn_breaker_report(1, CN_CAUSE_tls, 0, T0), CN_BREAKER_SAME);
	assert_int_equal(cn_breaker_cause(1), CN_CAUSE_tls);
	assert_int_equal(cn_breaker_cause(0), CN_CAUSE_timeout);
}

static void it_tells_why_it_opened(void **state)
{
	assert_int_equal(cn_breaker_cause(0), CN_CAUSE_connect);
	assert_int_equal(cn_breaker_cause(1), CN_CAUSE_connect);
	open_it();
	assert_int_equal(cn_breaker_cause(0), CN_CAUSE_timeout);
	assert_true(cn_breaker_pass(0, T0 + COOLDOWN_US));
	cn_breaker_report(0, CN_CAUSE_http, 503, T0 + COOLDOWN_US);
	assert_int_equal(cn_breaker_cause(0), CN_CAUSE_http);
}

static void times_far_apart_are_no_trouble(void **state)
{
	stub_limits.breaker_cooldown_ms = 600000;
	stub_limits.timeout_ms = INT32_MAX;
	open_it();
	assert_passes(T0 + 600000000ll - 1, false);
	assert_passes(T0 + 600000000ll, true);
	assert_passes(T0 + 600000000ll + INT32_MAX * 1000ll, false);
	assert_passes(T0 + 600000000ll + INT32_MAX * 1000ll + 1, true);
}

static void the_next_one_is_the_first_that_passes(void **state)
{
	const int endpoints[] = {0, 1};

	assert_int_equal(cn_breaker_next(endpoints, 2, 0, T0), 0);
	assert_int_equal(cn_breaker_next(endpoints, 2, 2, T0), 2);
	open_it();
	assert_int_equal(cn_breaker_next(endpoints, 2, 0, T0), 1);
	assert_int_equal(cn_breaker_next(endpoints, 1, 0, T0), 1);
	assert_int_equal(cn_breaker_next(endpoints, 2, 0, T0 + COOLDOWN_US), 0);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
}

static void states_have_names(void **state)
{
	assert_string_equal(cn_breaker_state_name(CN_BREAKER_CLOSED), "closed");
	assert_string_equal(cn_breaker_state_name(CN_BREAKER_OPEN), "open");
	assert_string_equal(cn_breaker_state_name(CN_BREAKER_HALF), "half-open");
}

/* -------- start -------- */

static void start_without_memory(void)
{
	int err = cn_breaker_init(2);

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_breaker_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_breaker_destroy();
	assert_int_equal(stub_each_allocation(start_without_memory), 1);
	cn_breaker_destroy(); /* twice is allowed */
	assert_int_equal(cn_breaker_init(1), 0);
}

/* -------- many at once -------- */

#define RACERS 4
#define ROUNDS 500

static struct
{
	int met;
	int passed, went, back;
} race;

static int add(int *p, bool one)
{
	return __atomic_add_fetch(p, one, __ATOMIC_SEQ_CST);
}

/* All go on at once: awake, or they would come one after the other.
 * @return is this the last that has come? */
static bool meet(void)
{
	int n = add(&race.met, true), all = (n + RACERS - 1) / RACERS * RACERS;
	int i;

	for(i = 0; __atomic_load_n(&race.met, __ATOMIC_SEQ_CST) < all; i++) {
		if(i % 1000 == 999)
			sched_yield();
	}
	return n == all;
}

/* What a round is to have come to. */
static void meet_and_check(const int *p, int wanted)
{
	meet();
	check(__atomic_load_n(p, __ATOMIC_SEQ_CST) == wanted);
	meet();
}

/* In each round it opens, cools down, lets one pass and closes; or, each other
 * time, the one that has passed does not come back. */
static void *go_round(void *unused)
{
	int64_t now = T0;
	int i, j;

	for(i = 0; i < ROUNDS; i++) {
		for(j = 0; j < FAILURES; j++)
			add(&race.went, cn_breaker_report(0, CN_CAUSE_connect, 0, now)
									== CN_BREAKER_WENT);
		meet_and_check(&race.went, i + 1);
		now += COOLDOWN_US;
		add(&race.passed, cn_breaker_pass(0, now));
		meet();
		if(i % 2) {
			now += TIMEOUT_US + 1;
			add(&race.passed, cn_breaker_pass(0, now));
		}
		meet_and_check(&race.passed, i + 1 + (i + 1) / 2);
		add(&race.back,
				cn_breaker_report(0, CN_CAUSE_none, 200, now) == CN_BREAKER_BACK);
		meet_and_check(&race.back, i + 1);
		now++;
	}
	return NULL;
}

/* Whoever passes while it closes leaves it closed: nobody is to find out. */
static void *pass_while_it_closes(void *unused)
{
	int64_t now = T0;
	int i, j;

	for(i = 0; i < ROUNDS; i++) {
		if(meet()) {
			for(j = 0; j < FAILURES; j++)
				cn_breaker_report(0, CN_CAUSE_connect, 0, now);
			check(cn_breaker_state(0) == CN_BREAKER_OPEN);
		}
		now += COOLDOWN_US;
		if(meet()) {
			cn_breaker_report(0, CN_CAUSE_none, 200, now);
		} else {
			for(j = 0; j < 5; j++)
				add(&race.passed, cn_breaker_pass(0, now));
		}
		meet();
		check(cn_breaker_state(0) == CN_BREAKER_CLOSED);
		check(cn_breaker_pass(0, now));
	}
	return NULL;
}

static void run_race(void *(*racer)(void *unused))
{
	pthread_t threads[RACERS];
	int i;

	memset(&race, 0, sizeof(race));
	for(i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, racer, NULL), 0);
	for(i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void an_edge_is_told_to_one_and_one_finds_out(void **state)
{
	run_race(go_round);
	assert_int_equal(race.back, ROUNDS);
}

static void what_has_closed_stays_closed(void **state)
{
	run_race(pass_while_it_closes);
	assert_true(race.passed > 0);
}

/* However often the CMS cannot decide about one event: it answers. */
static void what_is_of_the_event_opens_nothing(void **state)
{
	static const long statuses[] = {409, 425};
	size_t s;
	int i;

	for(s = 0; s < sizeof(statuses) / sizeof(statuses[0]); s++) {
		for(i = 0; i < 20; i++)
			assert_int_equal(
					cn_breaker_report(0, CN_CAUSE_http, statuses[s], T0 + i),
					CN_BREAKER_SAME);
		assert_int_equal(cn_breaker_state(0), CN_BREAKER_CLOSED);
	}
	for(i = 0; i < 19; i++)
		cn_breaker_report(0, CN_CAUSE_http, 503, T0);
	assert_int_equal(cn_breaker_state(0), CN_BREAKER_OPEN);
	/* the one that was to find out has found that it works */
	assert_true(cn_breaker_pass(0, T0 + COOLDOWN_US));
	assert_int_equal(
			cn_breaker_report(0, CN_CAUSE_http, 425, T0 + COOLDOWN_US + 1),
			CN_BREAKER_BACK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_is_of_the_event_opens_nothing),
			TEST(as_long_as_it_is_closed_all_pass),
			TEST(failures_in_a_row_open_it),
			TEST(one_failure_is_enough_where_so_configured),
			TEST(an_open_one_lets_nothing_pass_until_it_has_cooled_down),
			TEST(one_finds_out_and_the_others_wait),
			TEST(who_finds_out_that_it_is_still_away_says_no_news),
			TEST(who_never_comes_back_does_not_block_it),
			TEST(late_failures_do_not_keep_it_open),
			TEST(a_late_success_closes_it),
			TEST(what_was_not_sent_is_no_failure),
			TEST(each_endpoint_has_its_own),
			TEST(it_tells_why_it_opened),
			TEST(times_far_apart_are_no_trouble),
			TEST(the_next_one_is_the_first_that_passes),
			TEST(states_have_names),
			TEST(without_memory_it_does_not_start),
			TEST(an_edge_is_told_to_one_and_one_finds_out),
			TEST(what_has_closed_stays_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
