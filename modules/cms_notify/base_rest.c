/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Lets Kamailio's timers stand still before its processes are ended. In the main
 * process, which asks for it, and in the timer process. Neither takes a lock: a
 * process that has crashed may have left any of them behind. */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/events.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/timer.h"

#include "base_rest.h"

#define CN_REST_US 1000000 /* the main process waits for so long at most */
#define CN_LOOK_US 1000

enum state
{
	RUNNING,
	ASKED,
	RESTS
};

static struct
{
	struct timer_ln timer;
	pid_t pid; /* of the timer process; 0 before its first tick */
	enum state state;
} * rest; /* in shared memory; not freed, Kamailio's timers end last */
static sr_corecb_void_f next;

static enum state state(void)
{
	return __atomic_load_n(&rest->state, __ATOMIC_ACQUIRE);
}

static void change(enum state to)
{
	__atomic_store_n(&rest->state, to, __ATOMIC_RELEASE);
}

/* R: it runs, or is in the middle of something until its next turn on a CPU; Z: it has
 * ended; S and others: it waits. */
static char doing(pid_t pid)
{
	char path[32], what = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if(file == NULL)
		return what;
	if(fscanf(file, "%*d (%*[^)]) %c", &what) != 1)
		what = 'Z';
	fclose(file);
	return what;
}

/* -------- the timer process -------- */

/* At each tick. A timer's function runs without the timers' lock. */
static ticks_t tick(ticks_t ticks, struct timer_ln *timer, void *unused)
{
	(void)ticks;
	(void)timer;
	(void)unused;
	if(rest->pid == 0)
		__atomic_store_n(&rest->pid, getpid(), __ATOMIC_RELAXED);
	if(state() == RUNNING)
		return (ticks_t)-1; /* again */
	change(RESTS);
	for(;;)
		pause(); /* until SIGTERM */
}

/* -------- the main process -------- */

static bool timer_rests(void)
{
	pid_t pid = __atomic_load_n(&rest->pid, __ATOMIC_RELAXED);

	return state() == RESTS || (pid > 0 && doing(pid) == 'Z');
}

/* The slow timer gets its work from the other one: none any more. */
static bool all_rest(void)
{
	return timer_rests() && doing(slow_timer_pid) != 'R';
}

static void before_the_end(void)
{
	int64_t until_us = cn_now_us() + CN_REST_US;

	change(ASKED);
	if(rest->pid > 0 && kill(rest->pid, SIGALRM) < 0) /* a tick, at once */
		LM_DBG("no timer process\n");
	while(!all_rest() && cn_now_us() < until_us)
		usleep(CN_LOOK_US);
	if(next)
		next();
}

int cn_rest_init(void)
{
	sr_corecb_t *core = sr_corecb_get();

	rest = shm_malloc(sizeof(*rest));
	if(rest == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(rest, 0, sizeof(*rest));
	timer_init(&rest->timer, tick, NULL, F_TIMER_FAST);
	if(timer_add(&rest->timer, 1) < 0) {
		LM_ERR("cannot start a timer\n");
		return -1;
	}
	next = core->app_shutdown;
	core->app_shutdown = before_the_end;
	return 0;
}
