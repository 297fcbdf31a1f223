/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How fast the outbox may go, and when it tries again: one delivery at a time
 * while the CMS is not known to work, more with each that succeeds, and after
 * failures in a row a probe now and then. On the clock that nobody can step.
 * Process: outbox. */

#ifndef CN_OUTBOX_RETRY_H
#define CN_OUTBOX_RETRY_H

#include "base_policy.h"

/* @param most deliveries that may be under way at once */
void cn_retry_init(int most);

void cn_retry_succeeded(void);

/**
 * A delivery has failed.
 *
 * @param began_us      when it was sent
 * @param retry_after_s what the CMS asked for, 0: nothing
 * @return true: while others succeeded, it is this one; false: the CMS is away,
 *         or was known to have trouble when this one was under way already
 */
bool cn_retry_failed(int64_t began_us, unsigned retry_after_s, int64_t now_us,
		unsigned dice);

/* Is the CMS away, so that each row is as good a probe as any other? */
bool cn_retry_is_probing(void);

/* Deliveries that may be under way at once. */
int cn_retry_window(void);

/* Nothing is sent before. @return 0: at once */
int64_t cn_retry_due_us(void);

/* Somebody else has got an answer from the CMS at this moment. */
void cn_retry_answered(int64_t at_us);

/**
 * When an AOR is tried again whose deliveries fail while others succeed.
 *
 * @param failures in a row, at least 1
 * @param pause_s  what the CMS asked for, 0: nothing
 */
int64_t cn_retry_aor_due_us(
		int failures, unsigned pause_s, int64_t now_us, unsigned dice);

#endif
