/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Which devices have an event that fails while others succeed, and when each
 * is tried again. In memory of one process, on the clock that nobody can step. */

#ifndef CN_OUTBOX_RETRY_H
#define CN_OUTBOX_RETRY_H

#include "base_policy.h"

/**
 * The device has failed (again). Where memory is short it is forgotten: it is
 * then tried too early, which costs one attempt.
 *
 * @param pause_s what the CMS asked for, 0: nothing
 */
void cn_backoff_hold(const char *device, unsigned hash, unsigned pause_s,
		int64_t now_us, unsigned dice);

/* It has not, or nothing of it waits any more. */
void cn_backoff_forget(const char *device, unsigned hash);
void cn_backoff_forget_all(void);

/* When it may be tried. @return 0: at once */
int64_t cn_backoff_due_us(const char *device, unsigned hash);

#endif
