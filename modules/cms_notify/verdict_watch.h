/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The watchdog: no job is without a verdict for long after its deadline, whatever
 * the process does that has it. */

#ifndef CN_VERDICT_WATCH_H
#define CN_VERDICT_WATCH_H

#include "base.h"

/* Process: main, in mod_init; it then runs in Kamailio's timer process. */
int cn_watch_init(void) CN_MUST;

#endif
