/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The alive process: looks who has fallen silent, and whose connection is lost. It
 * waits for usrloc's locks, which others may hold while they wait for a
 * database; so it does nothing else. Without alive_timeout there is none. */

#ifndef CN_ALIVE_PROC_H
#define CN_ALIVE_PROC_H

#include "base.h"

int cn_alive_proc_count(void);
/* Process: main, in child_init, after cn_alive_start(). */
int cn_alive_proc_fork(void) CN_MUST;

#endif
