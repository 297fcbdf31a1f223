/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Suspend a transaction, resume it once. The only user of tm. */

#ifndef CN_REG_PARK_H
#define CN_REG_PARK_H

#include "job.h"

struct sip_msg;

enum cn_parked
{
	CN_PARKED,
	CN_ABSORBED, /* a retransmission, seen as such only now */
	CN_NOT_PARKED
};

/* From then on a CANCEL is answered before the script sees it, and has no
 * effect, unless it is for an INVITE (RFC 3261, 9.2). Process: main, in
 * mod_init. */
int cn_park_init(void) CN_MUST;

/* tm's fr_timer in milliseconds. Process: any, once all modules have started. */
int cn_park_fr_timer_ms(void);

/* Does making the transaction write the script's changes into the message, so
 * that what was read of it points nowhere? Process: SIP worker. */
bool cn_park_rewrites(const struct sip_msg *msg);

/* Make the request's transaction if it has none; cn_park() does it as well.
 * @return CN_PARKED: it has one. Process: SIP worker. */
enum cn_parked cn_park_open(struct sip_msg *msg) CN_MUST;

/* What has been changed in the message's buffer, without another length: the
 * transaction's copy, which is resumed, gets it as well. Process: SIP worker. */
void cn_park_amend(struct sip_msg *msg, const str *part);

/**
 * Is it a retransmission, and the script has gone on with the transaction that
 * it has found? The answer, if there is one, is then sent again.
 * Process: SIP worker.
 */
bool cn_park_absorbs(struct sip_msg *msg) CN_MUST;

/**
 * Park the request; the waiter then knows its transaction. Who repeats it over
 * another connection gets the answer there. Nothing must be
 * done to the message after somebody else has got hold of the waiter.
 * Process: SIP worker.
 */
enum cn_parked cn_park(struct sip_msg *msg, struct cn_waiter *waiter) CN_MUST;

/* Another waiter for a request that cn_park() has parked, in the same script run,
 * when nobody else has had the first. */
void cn_park_again(struct cn_waiter *waiter);

/* Undo cn_park() in the same script run, when nobody else has the waiter. What it
 * has of the transaction's branches stays taken. */
void cn_unpark(void);

/**
 * Run the waiter's verdict route on its request.
 * Process: verdict.
 *
 * @return 0, or -1: the transaction has ended by other means
 */
int cn_park_resume(const struct cn_waiter *waiter);

/* Index of a route block for cn_waiter.route. @return -1: there is none */
int cn_park_find_route(const char *name);

#endif
