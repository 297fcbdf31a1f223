/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* AORs with a job under way, and in which order: a later REGISTER of the same
 * device joins the job instead of making another; what shares a contact with
 * something older waits for it. An index in shared memory, a lock a slot. */

#ifndef CN_JOB_INDEX_H
#define CN_JOB_INDEX_H

#include "job.h"

/* -------- entering -------- */

enum cn_entry
{
	CN_ENTERED, /* the job is in the index, it is the caller's to send */
	CN_WAITS,	/* it is in the index, HELD */
	CN_JOINED,	/* the waiter waits for another job */
	CN_CROWDED, /* too many requests of the AOR wait */
	CN_SURPLUS, /* too many contacts of the AOR are under way */
	CN_STALE	/* something newer was here in between: begin again */
};

/* Process: main, before any fork. */
int cn_index_init(unsigned capacity) CN_MUST;
void cn_index_destroy(void);

/* Would the event join another one? May be outdated when it is read. */
bool cn_index_joinable(const struct cn_event *ev);

/**
 * Join the job that is under way or, when there is none, enter one. The request
 * has been parked already, as the verdict may come at once.
 *
 * @param ev     its number was taken before the bindings were looked at
 * @param waiter the job's own, or one without a job
 * @return ENTERED, WAITS and JOINED take the waiter with its block; the others
 *         leave it to the caller
 */
enum cn_entry cn_index_enter(
		const struct cn_event *ev, struct cn_waiter *waiter) CN_MUST;

/* What was the last number in a slot? For cn_index_enter_delivery(). */
int64_t cn_index_newest(unsigned hash);

/**
 * Enter a delivery, unless a job with a contact of it is there, or the slot's
 * last number is another one than `newest`: read it before the outbox process
 * looks for commands, then what a job that has left has told it is known.
 */
bool cn_index_enter_delivery(struct cn_job *job, int64_t newest) CN_MUST;

/* Does a newer job wait for this one? Then it is not to be tried much longer. */
bool cn_index_keeps_waiting(const struct cn_job *job);

/**
 * Give a number to an event that has no job.
 *
 * @return 0: a job with a contact of it is under way, ask again later
 */
int64_t cn_index_number_event(
		const str *key, unsigned hash, const char *contacts) CN_MUST;

/* -------- leaving -------- */

/**
 * The next waiter to be resumed, in CSeq order. Process: who resumes.
 *
 * @return NULL: there is no more; the job has left the index
 */
struct cn_waiter *cn_index_next_waiter(struct cn_job *job) CN_MUST;

/* save() has made a binding of this AOR, in the route of the last waiter given
 * out in this process. Called under usrloc's lock. */
void cn_index_saved(const str *key);

/* A delivery has ended. */
void cn_index_leave(struct cn_job *job);

/**
 * The jobs of an AOR that are HELD and need not be any more are SENDABLE now,
 * and the caller's to send: oldest first, chained by cn_index_next_released().
 */
struct cn_job *cn_index_release(const str *key, unsigned hash) CN_MUST;
struct cn_job *cn_index_next_released(const struct cn_job *job);

/* -------- order -------- */

/* @return false: it was another one than `from`; nothing is changed */
bool cn_index_set_order(
		struct cn_job *job, enum cn_order from, enum cn_order to);

/* -------- the watchdog; process: timer -------- */

/* Called for jobs under their slot's lock: they may decide and push, no more. */
struct cn_index_watch
{
	void (*overdue)(struct cn_job *job); /* past their deadline, no verdict */
	int64_t overdue_us;					 /* deadlines before this moment */
	bool (*may_go)(const struct cn_job *job); /* ASKED, without an answer */
	void (*go)(struct cn_job *job);			  /* it is SENDABLE now */
	int64_t asked_us;						  /* ASKED before this moment */
	bool held;								  /* HELD ones, too */
};

/* @return the earliest deadline of those that have no verdict; INT64_MAX: there
 * are none */
int64_t cn_index_look(const struct cn_index_watch *watch);

/* How many are ASKED. May be outdated when it is read. */
int cn_index_asked(void);

/* -------- for an operator -------- */

/* One line of cms_notify.parked. */
struct cn_index_row
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
int cn_index_list(struct cn_index_row *rows, int max);
int cn_index_list_of(
		const str *key, unsigned hash, struct cn_index_row *rows, int max);

#endif
