/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Whether a job may be sent now: what is older of its contacts comes first,
 * whether it is under way or waits in the outbox. */

#ifndef CN_JOB_ORDER_H
#define CN_JOB_ORDER_H

#include "job.h"

/* Process: main, before any fork.
 *
 * @param give      hands a job to the HTTP processes
 * @param give_back hands a delivery that has ended to the outbox process */
void cn_order_init(void (*give)(struct cn_job *job),
		void (*give_back)(struct cn_job *job));

/* What they do. */
void cn_order_send(struct cn_job *job);
void cn_order_give_back(struct cn_job *delivery);

/* A job has entered the index and is SENDABLE: send it, or ask the outbox
 * process first. Process: SIP worker; whoever has released it. */
void cn_order_go(struct cn_job *job);

/* A job has left the index, or is a delivery that has ended: those that waited
 * for it go. To be called before it is released. Process: HTTP, verdict, outbox. */
void cn_order_left(const struct cn_job *job);

/* -------- the answers of the outbox process -------- */

/* The job that was ASKED about is sent.
 *
 * @param has_row the table has a held row of it
 * @return false: it has been sent, or has ended, without waiting for the answer */
bool cn_order_answer(struct cn_job *job, bool has_row);

/* It has to wait: for a row that is delivered before. */
void cn_order_hold(struct cn_job *job);

/* A row of the AOR is not waited for any more. */
void cn_order_release(const str *key, unsigned hash);

#endif
