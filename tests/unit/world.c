/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Chance, the clocks, and who may do something now. */

#include <sys/time.h>

#include "world.h"

struct world *world;
bool verbose;
struct now now;

unsigned dice(unsigned sides)
{
	return stub_random(&world->dice) % sides;
}

bool chance(unsigned percent)
{
	return dice(100) < percent;
}

/* -------- the clocks -------- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	ts->tv_sec = world->now_us / 1000000;
	ts->tv_nsec = world->now_us % 1000000 * 1000;
	return 0;
}

int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
	int64_t us = world->now_us + world->wall_us;

	tv->tv_sec = us / 1000000;
	tv->tv_usec = us % 1000000;
	return 0;
}

/* -------- who is in the midst of a step -------- */

void meanwhile(unsigned percent)
{
	if(now.busy[TIMER] || now.depth >= 2 || !chance(percent))
		return;
	now.depth++;
	some_steps();
	now.depth--;
}
