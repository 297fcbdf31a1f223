/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <poll.h>
#include <signal.h>

#include "stubs.h"

#include "base_stop.h"

static bool readable(int timeout_ms)
{
	struct pollfd fd = {.fd = cn_stop_fd(), .events = POLLIN};

	return poll(&fd, 1, timeout_ms) == 1;
}

/* In a process of its own, as the signals stay blocked. */
static void be_asked(void *arg)
{
	int *signal = arg;

	check(cn_stop_init() == 0);
	check(cn_stop_fd() >= 0);
	check(!readable(0));
	check(!cn_stop_asked());
	check(kill(getpid(), *signal) == 0);
	check(readable(1000));
	check(cn_stop_asked());
	check(cn_stop_left_us() > 2000000 && cn_stop_left_us() <= 3000000);
	/* once asked it stays asked, and the time does not begin again */
	poll(NULL, 0, 20);
	check(kill(getpid(), SIGTERM) == 0);
	check(cn_stop_asked());
	check(cn_stop_left_us() <= 2980000);
}

static void a_signal_asks_and_does_not_end_the_process(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT};
	size_t i;

	for(i = 0; i < 2; i++)
		stub_in_child(be_asked, (void *)&signals[i]);
}

static void have_no_time(void *unused)
{
	stub_limits.drain_timeout_ms = 0;
	check(cn_stop_init() == 0);
	check(kill(getpid(), SIGTERM) == 0);
	check(cn_stop_asked());
	check(cn_stop_left_us() <= 0);
}

static void the_time_may_be_none(void **state)
{
	stub_in_child(have_no_time, NULL);
}

static void run_out_of_time(void *unused)
{
	stub_limits.drain_timeout_ms = 10;
	check(cn_stop_init() == 0);
	check(kill(getpid(), SIGTERM) == 0);
	check(cn_stop_asked());
	poll(NULL, 0, 15);
	check(cn_stop_left_us() < 0);
}

static void the_time_runs_out(void **state)
{
	stub_in_child(run_out_of_time, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(a_signal_asks_and_does_not_end_the_process),
			cmocka_unit_test(the_time_may_be_none),
			cmocka_unit_test(the_time_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
