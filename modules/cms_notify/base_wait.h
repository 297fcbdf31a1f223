/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Sleep until somebody writes to one of several descriptors: those of cn_ring
 * and of cn_stop, which nobody reads. Each write wakes once. */

#ifndef CN_BASE_WAIT_H
#define CN_BASE_WAIT_H

#include "base.h"

/* What this process waits with; it lives as long as the process.
 *
 * @return -1: with a line in the log */
int cn_wait_new(void) CN_MUST;

/* @return 0, or -1 with a line in the log */
int cn_wait_add(int set, int fd) CN_MUST;

/* Until there was a write since the last time, a signal came, or the time is
 * over; -1: no limit. */
void cn_wait(int set, int timeout_ms);

#endif
