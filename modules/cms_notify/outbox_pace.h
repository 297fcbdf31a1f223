/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How fast the outbox may go: one event at a time while the CMS is not known to
 * work, more with each one that succeeds, and after failures in a row a probe
 * now and then. On the clock that nobody can step. Process: outbox. */

#ifndef CN_OUTBOX_PACE_H
#define CN_OUTBOX_PACE_H

#include "base_policy.h"

/* @param most events that may be under way at once */
void cn_pace_init(int most);

void cn_pace_succeeded(void);

/**
 * An event has failed.
 *
 * @param began_us      when it was sent
 * @param retry_after_s what the CMS asked for, 0: nothing
 * @return true: while others succeeded, it is this one; false: the CMS is away,
 *         or was known to have trouble when this one was under way already
 */
bool cn_pace_failed(int64_t began_us, unsigned retry_after_s, int64_t now_us,
		unsigned dice);

/* Is the CMS away, so that each event is as good a probe as any other? */
bool cn_pace_is_probing(void);

/* Events that may be under way at once. */
int cn_pace_window(void);

/* Not before. @return 0: at once */
int64_t cn_pace_due_us(void);

/* Somebody else has got an answer from the CMS at this moment. */
void cn_pace_answered(int64_t at_us);

#endif
