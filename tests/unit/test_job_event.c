/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE /* strptime() */

#include <ctype.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

#include "stubs.h"

#include "job_event.h"

#define PROCESSES 8
#define EVENTS 2000

static bool no_random;

ssize_t __real_getrandom(void *buffer, size_t len, unsigned flags);

ssize_t __wrap_getrandom(void *buffer, size_t len, unsigned flags)
{
	return no_random ? -1 : __real_getrandom(buffer, len, flags);
}

unsigned int cryptorand(void)
{
	static unsigned next;

	assert_true(no_random);
	return ((unsigned)getpid() << 8) + next++;
}

/* The clock, where a test sets it. */
static const struct timeval *clock_;

int __real_gettimeofday(struct timeval *tv, void *zone);

int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
	if(clock_ == NULL)
		return __real_gettimeofday(tv, zone);
	*tv = *clock_;
	return 0;
}

static void an_id_is_32_hex_digits(void **state)
{
	struct cn_event ev;

	cn_event_stamp(&ev);
	assert_int_equal(strlen(ev.id), CN_ID_LEN);
	assert_int_equal(strspn(ev.id, "0123456789abcdef"), CN_ID_LEN);
}

struct ids
{
	char all[PROCESSES][EVENTS][CN_ID_LEN + 1];
	struct barrier *barrier;
	int processes;
};

static void stamp_many(void *arg)
{
	struct ids *ids = arg;
	int process = __atomic_fetch_add(&ids->processes, 1, __ATOMIC_SEQ_CST), i;
	struct cn_event ev;

	stub_meet(ids->barrier);
	for(i = 0; i < EVENTS; i++) {
		cn_event_stamp(&ev);
		memcpy(ids->all[process][i], ev.id, sizeof(ev.id));
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The parent has stamped already: what it used must not be used again by the
 * processes that it forks. */
static void assert_ids_differ(void)
{
	struct ids *ids = stub_shared(sizeof(*ids));
	pid_t pids[PROCESSES];
	struct cn_event ev;
	char *p;
	int i;

	ids->barrier = stub_barrier(PROCESSES);
	cn_event_stamp(&ev);
	for(i = 0; i < PROCESSES; i++)
		pids[i] = stub_fork(stamp_many, ids);
	for(i = 0; i < PROCESSES; i++)
		stub_wait(pids[i]);
	p = ids->all[0][0];
	qsort(p, PROCESSES * EVENTS, CN_ID_LEN + 1, by_text);
	for(i = 1; i < PROCESSES * EVENTS; i++)
		assert_string_not_equal(
				p + i * (CN_ID_LEN + 1), p + (i - 1) * (CN_ID_LEN + 1));
	assert_null(bsearch(ev.id, p, PROCESSES * EVENTS, CN_ID_LEN + 1, by_text));
}

static void ids_differ_in_and_between_processes(void **state)
{
	assert_ids_differ();
}

static void use_no_random(void *arg)
{
	struct cn_event a, b;

	no_random = true;
	cn_event_stamp(&a);
	cn_event_stamp(&b);
	check(strlen(a.id) == CN_ID_LEN);
	check(strcmp(a.id, b.id) != 0);
	memcpy(arg, a.id, sizeof(a.id));
}

static void ids_differ_where_the_system_has_no_random_numbers(void **state)
{
	char *a = stub_shared(64), *b = stub_shared(64);

	stub_in_child(use_no_random, a);
	stub_in_child(use_no_random, b);
	assert_string_not_equal(a, b);
}

static void the_time_is_now_in_utc(void **state)
{
	static const char *const zones[] = {
			"UTC", "Asia/Shanghai", "America/New_York"};
	struct cn_event ev;
	struct tm tm;
	time_t before, then, after;
	char *end;
	size_t i;

	for(i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		setenv("TZ", zones[i], 1);
		tzset();
		before = time(NULL);
		cn_event_stamp(&ev);
		after = time(NULL);
		assert_int_equal(strlen(ev.time), CN_TIME_LEN);
		memset(&tm, 0, sizeof(tm));
		end = strptime(ev.time, "%Y-%m-%dT%H:%M:%S", &tm);
		assert_non_null(end);
		then = timegm(&tm);
		/* time() may be a tick behind */
		assert_in_range(then, before - 1, after + 1);
		assert_int_equal(end[0], '.');
		assert_true(isdigit(end[1]) && isdigit(end[2]) && isdigit(end[3]));
		assert_string_equal(end + 4, "Z");
	}
}

static void the_time_does_not_go_back(void **state)
{
	struct cn_event ev[2];
	int i;

	cn_event_stamp(&ev[1]);
	for(i = 0; i < 20000; i++) {
		ev[0] = ev[1];
		cn_event_stamp(&ev[1]);
		assert_true(strcmp(ev[0].time, ev[1].time) <= 0);
	}
}

static void each_time_is_that_of_the_clock(void **state)
{
	static const struct
	{
		struct timeval clock;
		const char *text;
	} times[] = {{{0, 0}, "1970-01-01T00:00:00.000Z"},
			{{0, 1000}, "1970-01-01T00:00:00.001Z"},
			{{1795415530, 123999}, "2026-11-23T06:32:10.123Z"},
			{{1795415530, 999999}, "2026-11-23T06:32:10.999Z"},
			{{1795415531, 0}, "2026-11-23T06:32:11.000Z"},
			{{1795415530, 99000}, "2026-11-23T06:32:10.099Z"},
			{{1798761599, 10000}, "2026-12-31T23:59:59.010Z"},
			{{1798761600, 9999}, "2027-01-01T00:00:00.009Z"}};
	struct cn_event ev;
	size_t i;

	for(i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		clock_ = &times[i].clock;
		cn_event_stamp(&ev);
		clock_ = NULL;
		assert_string_equal(ev.time, times[i].text);
	}
}

static bool same(const char *a, const char *b)
{
	str x = stub_exact(a, strlen(a)), y = stub_exact(b, strlen(b));
	bool one = cn_contact_same_instance(&x, &y);

	assert_int_equal(one, cn_contact_same_instance(&y, &x));
	free(x.s);
	free(y.s);
	return one;
}

static void instances_with_and_without_brackets(void **state)
{
	assert_true(same("<urn:uuid:1>", "<urn:uuid:1>"));
	assert_true(same("<urn:uuid:1>", "urn:uuid:1"));
	assert_true(same("urn:uuid:1", "urn:uuid:1"));
	assert_false(same("<urn:uuid:1>", "<urn:uuid:2>"));
	assert_false(same("<urn:uuid:1>", "<urn:uuid:12>"));
	assert_false(same("<urn:uuid:1", "urn:uuid:1"));
	assert_false(same("urn:uuid:1>", "urn:uuid:1"));
}

static void no_instance_is_the_instance_of_nobody(void **state)
{
	str none = {NULL, 0};

	assert_false(same("", ""));
	assert_false(same("<>", "<>"));
	assert_false(same("<>", ""));
	assert_false(same("", "<urn:uuid:1>"));
	assert_false(cn_contact_same_instance(&none, &none));
	assert_true(same("<", "<"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(an_id_is_32_hex_digits),
			cmocka_unit_test(ids_differ_in_and_between_processes),
			cmocka_unit_test(ids_differ_where_the_system_has_no_random_numbers),
			cmocka_unit_test(the_time_is_now_in_utc),
			cmocka_unit_test(the_time_does_not_go_back),
			cmocka_unit_test(each_time_is_that_of_the_clock),
			cmocka_unit_test(instances_with_and_without_brackets),
			cmocka_unit_test(no_instance_is_the_instance_of_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
