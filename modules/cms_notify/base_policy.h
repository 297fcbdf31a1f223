/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Verdicts, causes, reasons and the arithmetic around them. Pure: the time, the
 * load and the dice are arguments. */

#ifndef CN_BASE_POLICY_H
#define CN_BASE_POLICY_H

#include "base.h"

enum cn_verdict
{
	CN_ACCEPTED,
	CN_REJECTED,   /* the CMS said no */
	CN_DEFERRED,   /* no usable answer; it is in the outbox, and will be told */
	CN_UNAVAILABLE /* no usable answer */
};

/* name, counted in a statistic of its own, text for $cms(text) */
#define CN_CAUSES(X)                                                           \
	X(none, 0, "the CMS has answered")                                         \
	X(busy, 0, "too many registrations are waiting for the CMS")               \
	X(timeout, 1, "the CMS did not answer in time")                            \
	X(connect, 1, "the CMS could not be reached, or it closed the connection") \
	X(tls, 1, "no trusted TLS connection to the CMS")                          \
	X(http, 1, "the CMS answered that it cannot decide now")                   \
	X(too_big, 1, "the answer of the CMS is too big")                          \
	X(bad_answer, 1, "the answer of the CMS cannot be understood")             \
	X(shutdown, 1, "this server is stopping")                                  \
	X(memory, 1, "this server is out of memory")                               \
	X(outbox, 0, "the event could not be stored in the outbox")                \
	X(bad_request, 1,                                                          \
			"nobody could reach this device, or nothing would be done")

enum cn_cause
{
#define CN_X(name, counted, text) CN_CAUSE_##name,
	CN_CAUSES(CN_X)
#undef CN_X
			CN_CAUSE_COUNT
};

/* What the CMS is told. */
enum cn_kind
{
	CN_KIND_REGISTER,
	CN_KIND_UNREGISTER,
	CN_KIND_EXPIRE,
	CN_KIND_OFFLINE,
	CN_KIND_SNAPSHOT
};

/* Why the CMS is told; NONE: it is not. */
enum cn_reason
{
	CN_REASON_NONE,
	CN_REASON_NEW,
	CN_REASON_RETURNED,
	CN_REASON_REBOOT,
	CN_REASON_MOVED
};

const char *cn_verdict_name(enum cn_verdict verdict);
const char *cn_cause_name(enum cn_cause cause);
const char *cn_cause_text(enum cn_cause cause);
const char *cn_reason_name(enum cn_reason reason);
const char *cn_kind_name(enum cn_kind kind);

/**
 * What an HTTP status means for the device (contract: section 4 of the CMS
 * interface; RFC 9110 section 15).
 *
 * @param status 100 to 999
 */
enum cn_verdict cn_policy_verdict(long status);

/* May the CMS have accepted an event that ended as unavailable with this status?
 * 2xx: the answer came too late, or not whole; 409: another attempt of it is worked
 * on; 502, 504: a gateway has no answer of the CMS behind it. */
bool cn_policy_may_be_known(long status);

/* What the end of an attempt says of the CMS. */
enum cn_says
{
	CN_SAYS_WORKS,	  /* it has decided */
	CN_SAYS_OF_EVENT, /* it works, and could not decide about this one event */
	CN_SAYS_AWAY,	  /* it is away, or too busy */
	CN_SAYS_NOTHING	  /* the attempt failed at our own end */
};

/**
 * The one place that decides this: for the breaker, the measure of how fast the
 * CMS is, another endpoint's turn, and the pace of the outbox.
 *
 * @param status HTTP status, 0: none
 */
enum cn_says cn_policy_says(enum cn_cause cause, long status);

/* May another endpoint do better after this? A CMS that has decided has
 * decided, and one that says 409 has the event in its hands already. */
bool cn_policy_moves_on(enum cn_cause cause, long status);

/* Does the answer say something of this event alone, and nothing of the CMS?
 * 409 Conflict, 425 Too Early (RFC 8470). */
bool cn_policy_is_of_event(long status);

/**
 * How long one attempt may take.
 *
 * @param left_ms    until the deadline of the event
 * @param attempt_ms what the operator allows one attempt
 * @param last       no other endpoint could follow
 * @return milliseconds, at least 1
 */
long cn_policy_attempt_ms(long left_ms, long attempt_ms, bool last);

/**
 * After how long a device should ask, whose turn is expected to come then. What
 * is expected of the next minute comes true; of what is farther away it has
 * waited half when it asks again, in case that the CMS has become faster.
 */
int64_t cn_policy_ask_again_us(int64_t wait_us);

/**
 * Seconds for Retry-After (RFC 3261 section 20.33): to the second when there is
 * room for the device, not before the CMS itself said, and spread so that
 * devices do not come back together.
 *
 * @param wait_us until the moment that the device was given
 * @param cms_s   Retry-After of the CMS, 0: none
 * @param dice    any random number
 * @return 1 to CN_RETRY_AFTER_MAX_S
 */
unsigned cn_policy_retry_after(int64_t wait_us, unsigned cms_s, unsigned dice);
#define CN_RETRY_AFTER_MAX_S 3600

/**
 * How long to wait before another attempt: doubles with each failure up to the
 * cap, and is spread over the upper half, so that what failed together does
 * not come back together.
 *
 * @param failures in a row, at least 1
 * @param first_ms after the first one
 * @param cap_ms   at least first_ms
 * @param dice     any random number
 * @return milliseconds, first_ms / 2 to cap_ms
 */
int cn_policy_backoff_ms(int failures, int first_ms, int cap_ms, unsigned dice);

#endif
