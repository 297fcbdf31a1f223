/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Deliveries under way: rows, and bindings that are told again, as jobs of the
 * HTTP processes. Process: outbox. */

#ifndef CN_OUTBOX_DELIVERY_H
#define CN_OUTBOX_DELIVERY_H

#include "base.h"

/* Process: main, in mod_init. */
int cn_delivery_init(void) CN_MUST;

/* Take what has ended. */
void cn_delivery_take_ended(void);

/* Choose rows that are due, as many as may be under way. What other processes
 * have said by now must be known before they are sent. */
void cn_delivery_choose(int64_t now_us);

/**
 * Send those that were chosen and are still worth it.
 *
 * @param now false: they are not sent now
 * @return 0, or -1: the database failed
 */
int cn_delivery_send(bool now) CN_MUST;

/* Tell bindings again, as many as may be under way.
 *
 * @param due_us when there may be one more */
void cn_delivery_resync(int64_t now_us, int64_t *due_us);

/* May one more be under way? Is any? */
bool cn_delivery_has_room(void);
bool cn_delivery_any(void);

#endif
