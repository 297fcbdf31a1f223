/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Which devices have an event under way: a later REGISTER of the same device
 * joins it instead of making another. An index in shared memory, a lock a
 * slot, nothing is called under a lock. */

#ifndef CN_DEVICE_H
#define CN_DEVICE_H

#include "cn_job.h"

enum cn_entry
{
	CN_ENTERED, /* the job is in the index */
	CN_JOINED,	/* the waiter waits for another job */
	CN_CROWDED, /* too many wait for that job, or too many jobs of the AOR */
	CN_STALE	/* an event of this slot has ended since: classify again */
};

/* Process: main, before any fork. */
int cn_device_init(unsigned capacity) CN_MUST;
void cn_device_destroy(void);

/* Read it before looking at the bindings: what has changed since then shows. */
unsigned cn_device_generation(unsigned hash);

/**
 * Is nothing of the device under way, and has nothing of its slot ended since?
 *
 * @param generation as it was read then
 */
bool cn_device_quiet(const str *key, unsigned hash, unsigned generation);

/* Would the event join another one? May be outdated when it is read. */
bool cn_device_joinable(const struct cn_event *ev);

/**
 * Join the event of the device that is under way or, when there is none, put
 * a job in. The request has been parked already, as the verdict may come at
 * once.
 *
 * @param waiter    the job's own, or one without a job
 * @param generation as read before the event was classified
 * @return ENTERED and JOINED take the waiter with its block; the others leave
 *         it to the caller
 */
enum cn_entry cn_device_enter(const struct cn_event *ev, unsigned generation,
		struct cn_waiter *waiter) CN_MUST;

/**
 * The next waiter to be resumed, in CSeq order. Process: verdict.
 *
 * @return NULL: there is no more; the job has left the index
 */
struct cn_waiter *cn_device_next_waiter(struct cn_job *job) CN_MUST;

/* Call due() for each job whose deadline passed before now_us and which has no
 * verdict. Under the slot's lock: due() may decide and push, no more. */
void cn_device_overdue(int64_t now_us, void (*due)(struct cn_job *job));

/* One line of cms_notify.parked. */
struct cn_device_row
{
	char id[CN_ID_LEN + 1];
	char aor[128];
	int64_t parked_us;
	int waiters;
	enum cn_reason reason;
	bool sent;
	bool decided;
};

/* @return how many rows were filled, at most max */
int cn_device_list(struct cn_device_row *rows, int max);

#endif
