/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <sys/wait.h>

#include "stubs.h"

#include "../../core/events.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/timer.h"

#include "base_rest.h"

/* -------- Kamailio -------- */

pid_t slow_timer_pid;

static struct timer_ln *timer;
static sr_corecb_t core;
static bool other_ran; /* callback of another module */

/* In memory that all processes share. */
static struct
{
	pid_t timer_pid;
	bool in_function; /* the timer process is */
	bool works;		  /* the slow timer */
	bool ends_work;
} * kamailio;
static struct barrier *all_run;

int timer_add_safe(struct timer_ln *tl, ticks_t delta)
{
	if(timer)
		return -1;
	timer = tl;
	return 0;
}

sr_corecb_t *sr_corecb_get(void)
{
	return &core;
}

static void other(void)
{
	other_ran = true;
}

static int set_up(void **state)
{
	kamailio = stub_shared(sizeof(*kamailio));
	slow_timer_pid = 0;
	timer = NULL;
	core.app_shutdown = other;
	other_ran = false;
	stub_share_shm(true);
	return cn_rest_init();
}

/* -------- processes -------- */

static void on_alarm(int unused)
{
	(void)unused;
}

/* A tick for each SIGALRM, and each 50 ms. */
static void run_timer(void *unused)
{
	check(signal(SIGALRM, on_alarm) != SIG_ERR);
	check(timer->f(0, timer, timer->data) == (ticks_t)-1);
	stub_meet(all_run);
	for(;;) {
		poll(NULL, 0, 50);
		kamailio->in_function = true;
		(void)timer->f(0, timer, timer->data);
		kamailio->in_function = false;
	}
}

static bool is(const bool *flag)
{
	return *(const volatile bool *)flag;
}

static void run_slow_timer(void *unused)
{
	stub_meet(all_run);
	while(is(&kamailio->works) && !is(&kamailio->ends_work))
		;
	kamailio->works = false;
	for(;;)
		pause();
}

static void run_all(bool slow_works)
{
	kamailio->works = slow_works;
	all_run = stub_barrier(3);
	slow_timer_pid = stub_fork(run_slow_timer, NULL);
	kamailio->timer_pid = stub_fork(run_timer, NULL);
	stub_meet(all_run);
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void end_all(void)
{
	end(slow_timer_pid);
	end(kamailio->timer_pid);
}

/* -------- tests -------- */

static void the_timer_stands_still_in_a_function(void **state)
{
	int looks;

	run_all(false);
	core.app_shutdown();
	for(looks = 0; looks < 20; looks++) {
		assert_true(is(&kamailio->in_function));
		poll(NULL, 0, 10);
	}
	assert_true(other_ran);
	end_all();
}

static void end_work(void *unused)
{
	poll(NULL, 0, 100);
	kamailio->ends_work = true;
	_exit(0);
}

static void what_the_slow_timer_does_is_waited_for(void **state)
{
	pid_t pid;

	run_all(true);
	pid = stub_fork(end_work, NULL);
	core.app_shutdown();
	assert_true(is(&kamailio->ends_work));
	stub_wait(pid);
	end_all();
}

/* A process that has crashed may have had the timers' lock. */
static void a_timer_that_never_stands_still_holds_nobody_up(void **state)
{
	time_t began = time(NULL);

	run_all(true);
	assert_int_equal(kill(kamailio->timer_pid, SIGSTOP), 0);
	core.app_shutdown();
	assert_true(time(NULL) - began < 30);
	assert_true(other_ran);
	end_all();
}

static void timers_that_have_ended_are_not_waited_for(void **state)
{
	run_all(false);
	end_all();
	core.app_shutdown();
	assert_true(other_ran);
}

static void run_late(void *unused)
{
	poll(NULL, 0, 100);
	kamailio->in_function = true;
	(void)timer->f(0, timer, timer->data);
}

static void the_first_tick_is_waited_for(void **state)
{
	kamailio->timer_pid = stub_fork(run_late, NULL);
	core.app_shutdown();
	assert_true(is(&kamailio->in_function));
	end(kamailio->timer_pid);
}

static void without_a_timer_process_it_ends_as_well(void **state)
{
	core.app_shutdown();
	assert_true(other_ran);
}

static void without_memory_or_a_timer_nothing_starts(void **state)
{
	assert_int_equal(cn_rest_init(), -1); /* there is one timer */
	assert_logged("ERROR", "cannot start a timer");
	stub_fail_at(1);
	assert_int_equal(cn_rest_init(), -1);
	assert_true(stub_has_failed());
	stub_fail_at(0);
	stub_clear_log();
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(the_timer_stands_still_in_a_function),
			TEST(what_the_slow_timer_does_is_waited_for),
			TEST(a_timer_that_never_stands_still_holds_nobody_up),
			TEST(timers_that_have_ended_are_not_waited_for),
			TEST(the_first_tick_is_waited_for),
			TEST(without_a_timer_process_it_ends_as_well),
			TEST(without_memory_or_a_timer_nothing_starts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
