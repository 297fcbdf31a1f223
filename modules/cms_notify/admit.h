/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How fast the CMS takes events, whether one more can be answered in time, and
 * when a device that is turned away should come back. In shared memory.
 *
 * While events wait, the answers that come in say how fast the queue drains.
 * Who cannot be answered in time gets a reservation: a moment of its own, one behind
 * the other as fast as the CMS works. As long as such moments lie ahead, the
 * later parts of the queue are for devices whose moment has come, to the minute
 * or late: who has waited is not turned away for one that has just come. */

#ifndef CN_ADMIT_H
#define CN_ADMIT_H

#include "base_policy.h"

/**
 * Process: main, before any fork.
 *
 * @param posts      that all HTTP processes may have under way together, at first
 * @param batch      events that one of them may carry
 * @param capacity   events that may be there, waiting or under way
 * @param timeout_us of an event
 */
int cn_admission_init(
		int posts, int batch, int capacity, int64_t timeout_us) CN_MUST;
void cn_admission_destroy(void);

/* The deadline of events that come from now on. Process: any. */
void cn_admission_set_timeout(int64_t timeout_us);

/**
 * A POST goes to the CMS. What is counted is events: a POST may carry a batch.
 * Process: HTTP.
 *
 * @param events that were not under way before
 * @param posts  that all HTTP processes may have under way together now
 */
void cn_admission_began(int events, int posts, int64_t now_us);

/**
 * The same has ended. Process: HTTP.
 *
 * @param events      that are under way no more; the rest is sent again
 * @param answered_us how long the CMS needed for its answer; -1: there is none
 * @param waiting     others wait: the CMS, and nothing else, is what they wait
 *                    for
 */
void cn_admission_ended(
		int events, int64_t answered_us, bool waiting, int64_t now_us);

/* So many that were to be sent again are not. Process: HTTP. */
void cn_admission_left(int events);

/**
 * Would an event that comes in now be answered in time? Turning a device away
 * early costs it and us little; late it has waited in vain. Who is admitted
 * before its moment has none any more.
 * Process: any. Takes a lock for some arithmetic.
 *
 * @param device see admit_reservation.h
 * @param queued events that wait
 */
bool cn_admission_admits(uint64_t device, int queued, int64_t now_us);

/**
 * Can the CMS be expected to answer before the deadline? If not, what it does
 * for the event is done in vain, and those that come behind are late for it.
 * Process: any.
 */
bool cn_admission_has_time(int64_t left_us);

/**
 * When a device that has been turned away should come back. Who comes too early
 * keeps its moment.
 *
 * @return microseconds from now
 */
int64_t cn_admission_reserve(uint64_t device, int queued, int64_t now_us);

/* Events a second that the CMS takes, by which moments are given away. */
double cn_admission_rate(void);

/* Until when moments are given away, in microseconds from now; 0: nobody has
 * been told to come back. */
int64_t cn_admission_line_us(int64_t now_us);

#endif
