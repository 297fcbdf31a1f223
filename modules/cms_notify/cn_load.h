/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How fast the CMS takes events, whether one more can be answered in time, and
 * when a device that is turned away should come back. In shared memory. */

#ifndef CN_LOAD_H
#define CN_LOAD_H

#include "cn_policy.h"

/**
 * Process: main, before any fork.
 *
 * @param posts POSTs that all HTTP processes may have under way together
 */
int cn_load_init(int posts) CN_MUST;
void cn_load_destroy(void);

/* The CMS has answered a POST after so long. Process: HTTP. */
void cn_load_answered(int64_t us);

/**
 * Events a second that the CMS takes: by Little's law, POSTs under way over the
 * time that one takes.
 *
 * @return 0: no answer has been seen yet
 */
double cn_load_rate(void);

/**
 * Would an event that comes in now get its turn in time? Turning a device away
 * early costs it and us nothing; late it has waited in vain.
 *
 * @param queued     events that wait already
 * @param timeout_us of an event
 */
bool cn_load_admits(int queued, int64_t timeout_us);

/**
 * When one more device should come back: each gets a moment of its own, as far
 * apart as the CMS needs for an event, after those that wait already.
 *
 * @return microseconds from now
 */
int64_t cn_load_reserve(int queued, int64_t now_us);

#endif
