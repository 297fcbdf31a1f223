/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A process that resumes, and the watchdog, as they are. */

#include "verdict.h"
#include "verdict_watch.c"

#include "steps.h"

void step_verdict(void)
{
	while(cn_verdict_resume())
		;
}

void step_watchdog(void)
{
	(void)watch(0, NULL, NULL);
}
