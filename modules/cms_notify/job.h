/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* One event on its way: what is POSTed, who waits for it, how it ended. A job
 * is one block of shared memory. Two hold it: the sending side (ring, HTTP
 * process) and the answering side (device index, verdict process); each lets
 * go of it with cn_job_release(). */

#ifndef CN_JOB_H
#define CN_JOB_H

#include "job_event.h"
#include "base_policy.h"

struct cn_job;

/* A parked REGISTER. Lives in a block of shared memory of its own, or in its
 * job's. */
struct cn_waiter
{
	struct cn_waiter *next;
	struct cn_job *block; /* the job that it lives in, NULL: its own */
	unsigned tm_index;	  /* the transaction, for tm */
	unsigned tm_label;
	unsigned call_id_hash;
	unsigned cseq;
	int route;	  /* index of the verdict route, -1: see callback */
	str callback; /* name of the KEMI function, NUL-terminated */
	int64_t parked_us;
};

/* How an event ended. */
struct cn_outcome
{
	enum cn_verdict verdict;
	enum cn_cause cause;
	unsigned status;	  /* HTTP status, 0: none */
	unsigned retry_after; /* seconds that the CMS asked for, 0: did not */
	str body;			  /* the answer as received */
};

/* What has become of cms_defer(), which runs once for a job. */
enum cn_deferral
{
	CN_NOT_TRIED,
	CN_STORED,
	CN_NOT_STORED
};

/* May it be sent, or does something older of the device come first? Under the
 * lock of its slot in cn_device. */
enum cn_turn
{
	CN_TURN_COME,
	CN_TURN_HELD,  /* something older is on its way */
	CN_TURN_ASKED, /* the outbox process is to look whether something waits */
	CN_TURN_OVER   /* it has left the index */
};

/* Process: main, before any fork. */
int cn_job_init(unsigned capacity) CN_MUST;
void cn_job_destroy(void);

/* How many there are. */
int cn_job_count(void);

/* Is there room for one more event? */
bool cn_job_room(void);

/**
 * Copy an event into a new job, with a waiter in it that is still empty.
 * Process: SIP worker. Never blocks.
 *
 * @param body     what to POST
 * @param callback KEMI function of the waiter, empty: none
 * @param job      the job, held once by the caller for each of the two sides
 * @return none, busy (no room) or memory
 */
enum cn_cause cn_job_new(const struct cn_event *ev, const str *body,
		const str *callback, struct cn_job **job) CN_MUST;

/**
 * A job that takes an event out of the outbox to the CMS: nobody waits for it,
 * it does not count against the capacity, its time begins with its POST.
 * Process: outbox.
 *
 * @param change cn_device_generation(), as it was when the row was taken
 * @return NULL: no memory
 */
struct cn_job *cn_job_new_delivery(int64_t row, const str *id,
		const str *device, unsigned hash, unsigned change,
		const str *body) CN_MUST;
void cn_job_free(struct cn_job *job); /* nobody else holds it; NULL allowed */
void cn_job_hold(struct cn_job *job); /* a third holder, for a while */
void cn_job_release(struct cn_job *job);

/* A waiter without a job, to join somebody else's. NULL: no memory. */
struct cn_waiter *cn_waiter_new(
		const struct cn_event *ev, const str *callback) CN_MUST;
void cn_waiter_free(struct cn_waiter *waiter); /* with the block it lives in */

struct cn_waiter *cn_job_waiter(struct cn_job *job); /* the one in the job */

/* What a job knows. The strings live as long as the job. */
const str *cn_job_id(const struct cn_job *job);
const str *cn_job_aor(const struct cn_job *job);
const str *cn_job_device(const struct cn_job *job);
const str *cn_job_about(const struct cn_job *job); /* see job_contacts.h */
const str *cn_job_body(
		const struct cn_job *job);			  /* gone once the CMS decided */
int64_t cn_job_row(const struct cn_job *job); /* 0: of a registration */
unsigned cn_job_change(const struct cn_job *job);
enum cn_reason cn_job_reason(const struct cn_job *job);
int64_t cn_job_parked_us(const struct cn_job *job);
int64_t cn_job_deadline_us(const struct cn_job *job);

/* A POST has begun. */
void cn_job_set_sent(struct cn_job *job, int64_t now_us);
bool cn_job_sent(const struct cn_job *job);

/**
 * End the event. Whoever comes first wins; the job is then passed on to the
 * verdict process by the winner, and by nobody else.
 *
 * @param outcome the body is copied; where memory is short it is dropped
 * @return true: this call ended it
 */
bool cn_job_decide(
		struct cn_job *job, const struct cn_outcome *outcome) CN_MUST;
bool cn_job_decided(const struct cn_job *job);
const struct cn_outcome *cn_job_outcome(const struct cn_job *job);

/* Process: verdict. NOT_STORED shows as the outcome's cause. */
enum cn_deferral cn_job_deferral(const struct cn_job *job);
void cn_job_set_deferral(struct cn_job *job, enum cn_deferral deferral);

/* Is it in the outbox, but not to be delivered from there? Set by cn_device,
 * read by the verdict process. */
bool cn_job_is_kept(const struct cn_job *job);
void cn_job_set_kept(struct cn_job *job, bool kept);

/* Was it asked about, so that it may have been kept after its turn? */
bool cn_job_was_asked(const struct cn_job *job);
void cn_job_set_asked(struct cn_job *job);

/* For cn_device only: the chain of a slot and the waiters, under its lock. */
struct cn_job **cn_job_next(struct cn_job *job);
enum cn_turn *cn_job_turn(struct cn_job *job);
struct cn_waiter **cn_job_waiters(struct cn_job *job);
int *cn_job_waiter_count(struct cn_job *job);
unsigned cn_job_hash(const struct cn_job *job);

/* The next of those whose turn has come together. */
struct cn_job **cn_job_freed(struct cn_job *job);

bool cn_job_same_aor(const struct cn_job *job, const struct cn_event *ev);
/* Is the device of the event the device of the job? */
bool cn_job_covers(const struct cn_job *job, const struct cn_event *ev);

#endif
