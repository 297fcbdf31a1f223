/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The verdict processes, for scripts that wait: they resume, and do nothing else.
 * Without them (verdict_processes 0, the default) the HTTP processes resume. */

#ifndef CN_VERDICT_PROC_H
#define CN_VERDICT_PROC_H

#include "base.h"

/* Process: main, in child_init. */
int cn_verdict_proc_fork(void) CN_MUST;

#endif
