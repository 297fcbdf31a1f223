/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The alive process, as it is. */

#include "alive_proc.c"

#include "steps.h"

int step_alive_start(void)
{
	memset(&clock_now, 0, sizeof(clock_now));
	free(list);
	next_slot = 0;
	connections_due_us = count_due_us = 0;
	return set_up();
}

void step_alive(void)
{
	run();
}
