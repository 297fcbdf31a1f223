/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <poll.h>
#include <signal.h>

#include "stubs.h"

#include "../../core/script_cb.h"

#include "base_stop.h"

/* -------- Kamailio -------- */

static cb_function *begin_request, *end_request;
static int no_callback; /* the n-th from now on, 0: none */

int register_script_cb(cb_function f, unsigned int flags, void *param)
{
	check(flags & REQUEST_CB);
	if(no_callback && --no_callback == 0)
		return -1;
	*(flags & PRE_SCRIPT_CB ? &begin_request : &end_request) = f;
	return 0;
}

/* -------- the module's processes -------- */

static bool readable(int timeout_ms)
{
	struct pollfd fd = {.fd = cn_stop_fd(), .events = POLLIN};

	return poll(&fd, 1, timeout_ms) == 1;
}

/* In a process of its own, as the signals stay blocked. */
static void be_asked(void *arg)
{
	int *signal = arg;

	stub_limits.drain_timeout_ms = 30000;
	check(cn_stop_init() == 0);
	check(cn_stop_fd() >= 0);
	check(!readable(0));
	check(!cn_stop_asked());
	check(kill(getpid(), *signal) == 0);
	check(readable(30000));
	check(cn_stop_asked());
	check(cn_stop_left_us() > 0 && cn_stop_left_us() <= 30000000);
	/* once asked it stays asked, and the time does not begin again */
	poll(NULL, 0, 20);
	check(kill(getpid(), SIGTERM) == 0);
	check(cn_stop_asked());
	check(cn_stop_left_us() <= 29980000);
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

/* -------- SIP workers -------- */

static void begin_working(void)
{
	check(cn_stop_watch_requests() == 0);
	check(cn_stop_hold_back() == 0);
}

static void be_stopped_within_a_request(void *arg)
{
	bool *went_on = arg;

	begin_working();
	check(begin_request(NULL, 0, NULL) == 1);
	check(kill(getpid(), SIGTERM) == 0);
	check(kill(getpid(), SIGINT) == 0);
	*went_on = true;
	end_request(NULL, 0, NULL);
	check(false); /* not reached */
}

static void a_worker_finishes_its_request(void **state)
{
	bool *went_on = stub_shared(sizeof(*went_on));

	stub_in_child(be_stopped_within_a_request, went_on);
	assert_true(*went_on);
}

static void be_stopped_between_requests(void *unused)
{
	begin_working();
	check(begin_request(NULL, 0, NULL) == 1);
	check(end_request(NULL, 0, NULL) == 1);
	check(kill(getpid(), SIGTERM) == 0);
	check(false); /* not reached */
}

static void a_worker_that_waits_ends_at_once(void **state)
{
	stub_in_child(be_stopped_between_requests, NULL);
}

static void hang_in_a_request(void *unused)
{
	stub_limits.drain_timeout_ms = 0;
	begin_working();
	check(begin_request(NULL, 0, NULL) == 1);
	check(kill(getpid(), SIGTERM) == 0);
	for(;;)
		pause();
}

static void a_script_that_hangs_ends_nevertheless(void **state)
{
	stub_in_child(hang_in_a_request, NULL);
}

/* Whoever resumes transactions runs scripts, too. */
static void resume_while_stopping(void *arg)
{
	bool *went_on = arg;

	check(cn_stop_watch_requests() == 0);
	check(cn_stop_init() == 0);
	check(kill(getpid(), SIGTERM) == 0);
	check(begin_request(NULL, 0, NULL) == 1);
	check(end_request(NULL, 0, NULL) == 1);
	check(cn_stop_asked());
	*went_on = true;
}

static void a_process_of_the_module_goes_on_after_a_script(void **state)
{
	bool *went_on = stub_shared(sizeof(*went_on));

	stub_in_child(resume_while_stopping, went_on);
	assert_true(*went_on);
}

static void requests_cannot_be_watched(void **state)
{
	no_callback = 1;
	assert_int_equal(cn_stop_watch_requests(), -1);
	no_callback = 2;
	assert_int_equal(cn_stop_watch_requests(), -1);
	no_callback = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(a_signal_asks_and_does_not_end_the_process),
			cmocka_unit_test(the_time_may_be_none),
			cmocka_unit_test(the_time_runs_out),
			cmocka_unit_test(a_worker_finishes_its_request),
			cmocka_unit_test(a_worker_that_waits_ends_at_once),
			cmocka_unit_test(a_script_that_hangs_ends_nevertheless),
			cmocka_unit_test(a_process_of_the_module_goes_on_after_a_script),
			cmocka_unit_test(requests_cannot_be_watched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
