/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Nothing older after something newer: a registration is sent when nothing
 * older of its device is on its way, and when what waits in the outbox cannot
 * be sent after it any more, not even if Kamailio is killed in between. Without
 * an outbox, and for a device of which nothing waits, that is at once.
 *
 * Where an older event waits, the registration's own is stored behind it first,
 * "kept": not to be delivered while the registration is being sent itself. A
 * later event about the same contacts keeps an older one from being delivered,
 * and after a crash a kept one is delivered as any other.
 *
 * Bounded: when the database or an older event takes too long, the registration
 * is sent all the same. */

#ifndef CN_JOB_ORDER_H
#define CN_JOB_ORDER_H

#include "job.h"

/* Process: main, before any fork.
 *
 * @param give takes a job whose turn has come; pushes, no more */
void cn_turn_init(void (*give)(struct cn_job *job));

/* A job that nothing older holds. Takes its sending side. Process: any. */
void cn_turn_go(struct cn_job *job);

/* A job has left the index of devices: what it held goes on. */
void cn_turn_left(const struct cn_job *job);

/* The answer to what cn_turn_go() asked. Process: outbox.
 *
 * @param in_vain its event has been kept, and nobody else knows: it was let go
 *                meanwhile. The caller takes it back, cn_outbox_unkeep()
 * @return 0, or -1: the database has failed; the job goes on all the same */
int cn_turn_heed(struct cn_job *job, bool *in_vain) CN_MUST;

/* Let go of those that have waited too long. Process: timer. */
void cn_turn_watch(int64_t now_us);

/* Let go of all. */
void cn_turn_hurry(void);

#endif
