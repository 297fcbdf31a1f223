/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Which devices have an event under way: a later REGISTER of the same device
 * joins it instead of making another, and waits its turn where something older
 * comes first. An index in shared memory, a lock a slot, nothing is called
 * under a lock. */

#ifndef CN_JOB_INDEX_H
#define CN_JOB_INDEX_H

#include "job.h"

enum cn_entry
{
	CN_ENTERED, /* the job is in the index, it is the caller's to send */
	CN_HELD,	/* it is in the index, something older comes first */
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
 * @return ENTERED, HELD and JOINED take the waiter with its block; the others
 *         leave it to the caller
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
 * verdict. Under the slot's lock: due() may decide and push, no more.
 *
 * @return the earliest deadline of the others; INT64_MAX: there are none */
int64_t cn_device_overdue(int64_t now_us, void (*due)(struct cn_job *job));

/* -------- what is older comes first --------
 * An event of the outbox is in the index from the beginning of its POST until
 * the table knows how it ended; a registration that has failed, until all who
 * wait for it are answered, as it may be going to the outbox. What is new of
 * their AOR is held meanwhile. Who is held, or asked about, has its sending
 * side held by the index. */

/**
 * Enter an event of the outbox, unless something of the device is under way or
 * has ended since its row was taken.
 * Process: HTTP.
 */
bool cn_device_begin_delivery(struct cn_job *job) CN_MUST;

/* Has something newer of its slot ended since, or does it wait or go beside it?
 * Then the event is not to be sent to one endpoint more. */
bool cn_device_is_overtaken(const struct cn_job *job);

/* It has ended; does nothing for one that has not begun. */
void cn_device_end_delivery(struct cn_job *job);

/**
 * Those that were held by a job that has left the index, oldest first, chained
 * by cn_job_freed(). They are the caller's to send.
 */
struct cn_job *cn_device_freed(const struct cn_job *job) CN_MUST;

/* Change the turn of a job. @return false: it is another one than `from` */
bool cn_device_turn(struct cn_job *job, enum cn_turn from, enum cn_turn to);

/* The turn of a job that was asked about has come. Before it leaves the index,
 * so that who has answered it knows whether it was kept.
 * @return false: it has been let go already */
bool cn_device_come(struct cn_job *job, bool kept) CN_MUST;

/* Call give() for each job that is held or asked about and was parked before
 * that moment: its turn has come. Under the slot's lock: give() may decide and
 * push, no more.
 *
 * @return when the first of the others was parked; INT64_MAX: there are none */
int64_t cn_device_hurry(int64_t before_us, void (*give)(struct cn_job *job));

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
