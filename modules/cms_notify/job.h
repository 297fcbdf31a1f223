/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What is under way for an AOR: what is POSTed, who waits for it, how it ended.
 * A job is one block of shared memory. Two hold it: the sending side (ring, HTTP
 * process) and the answering side (index, who resumes); each lets go of it
 * with cn_job_release(). */

#ifndef CN_JOB_H
#define CN_JOB_H

#include "job_contacts.h"
#include "job_event.h"
#include "base_policy.h"
#include "job_waiter.h"

struct cn_job;

/* How an event ended. */
struct cn_outcome
{
	enum cn_verdict verdict;
	enum cn_cause cause;
	unsigned status;	  /* HTTP status, 0: none */
	unsigned retry_after; /* seconds that the CMS asked for, 0: did not */
	str body;			  /* the answer as received */
};

/* May a job be sent? Changed by the index, under the lock of the job's slot.
 * While a job is HELD or ASKED the index owns its sending side. */
enum cn_order
{
	CN_SENDABLE,
	CN_HELD,  /* something older of its contacts comes first */
	CN_ASKED, /* the outbox process looks whether something waits */
	CN_GONE	  /* it has left the index */
};

/* What the index keeps in a job. For job_index and job_quota alone. */
struct cn_job_link
{
	struct cn_job *next; /* in the slot */
	struct cn_waiter *waiters;
	int waiter_count;
	enum cn_order order;
	int64_t asked_us;
	bool resumed;			 /* a waiter has been, and perhaps saved */
	int64_t saved_seq;		 /* the number when it had; 0: none has */
	struct cn_job *released; /* the next that may be sent now */
};
struct cn_job_link *cn_job_link(struct cn_job *job);

/* Process: main, before any fork. */
int cn_job_init(unsigned capacity) CN_MUST;
void cn_job_destroy(void);

/* How many there are, without deliveries. */
int cn_job_count(void);

/* Is there room for one more? */
bool cn_job_room(void);

/**
 * Copy an event into a new job, with a waiter in it that is still empty.
 * Process: SIP worker. Never blocks.
 *
 * @param body     what to POST
 * @param callback KEMI function of the waiter, empty: none
 * @param defers   without a usable answer it goes to the outbox
 * @param job      the job, held once by the caller for each of the two sides
 * @return none, busy (no room) or memory
 */
enum cn_cause cn_job_new(const struct cn_event *ev, const str *body,
		const str *callback, bool defers, struct cn_job **job) CN_MUST;

/* What a delivery is made of. */
struct cn_delivery_facts
{
	int64_t seq;
	const char *id;
	const char *aor; /* as usrloc knows it */
	unsigned hash;	 /* of that */
	const char *contacts;
	const str *body;
	void *tag; /* of the outbox process */
};

/**
 * A delivery: nobody waits for it, it does not count against the capacity, its
 * time begins with its POST. Process: outbox.
 *
 * @return NULL: no memory
 */
struct cn_job *cn_job_new_delivery(
		const struct cn_delivery_facts *facts) CN_MUST;
void cn_job_free(struct cn_job *job); /* nobody else holds it; NULL allowed */
void cn_job_hold(struct cn_job *job); /* a third holder, for a while */
void cn_job_release(struct cn_job *job);
void cn_waiter_free(struct cn_waiter *waiter); /* with the block it lives in */

struct cn_waiter *cn_job_waiter(struct cn_job *job); /* the one in the job */

/* What a job knows. The strings live as long as the job. */
int64_t cn_job_seq(const struct cn_job *job);
const str *cn_job_id(const struct cn_job *job);
const str *cn_job_aor(const struct cn_job *job); /* sip:user@domain */
const str *cn_job_key(
		const struct cn_job *job); /* as usrloc knows it; NUL-terminated */
unsigned cn_job_hash(const struct cn_job *job);		   /* of the key */
const char *cn_job_contacts(const struct cn_job *job); /* see job_contacts.h */
str cn_job_contact(const struct cn_job *job); /* the first; of no delivery */
const str *cn_job_body(
		const struct cn_job *job); /* gone once the CMS decided */
enum cn_reason cn_job_reason(const struct cn_job *job);
int64_t cn_job_parked_us(const struct cn_job *job);
int64_t cn_job_deadline_us(const struct cn_job *job);
bool cn_job_defers(const struct cn_job *job);
bool cn_job_is_delivery(const struct cn_job *job);
void *cn_job_tag(const struct cn_job *job);

/* A POST has begun. */
void cn_job_set_sent(struct cn_job *job, int64_t now_us);
bool cn_job_sent(const struct cn_job *job);

/* Attempts to POST it. An attempt begins before it is looked at whether the job has
 * been ended. Process: HTTP.
 *
 * @param known the CMS may have accepted it */
void cn_job_begin_attempt(struct cn_job *job);
void cn_job_end_attempt(struct cn_job *job, bool known);

/* May the CMS have accepted it, or do so yet? Process: any. */
bool cn_job_may_be_known(const struct cn_job *job);

/* Whoever calls one of these first owns the delivery's fate: it is sent, or it
 * is not. @return true: this call was the first */
bool cn_job_claim_sending(struct cn_job *job) CN_MUST;
bool cn_job_cancel_sending(struct cn_job *job);
bool cn_job_cancelled(const struct cn_job *job);

/**
 * End the event. Whoever comes first wins; the job is then passed on to those
 * who resume (verdict.h) by the winner, and by nobody else.
 *
 * @param outcome the body is copied; where memory is short it is dropped
 * @return true: this call ended it
 */
bool cn_job_decide(
		struct cn_job *job, const struct cn_outcome *outcome) CN_MUST;
bool cn_job_decided(const struct cn_job *job);
const struct cn_outcome *cn_job_outcome(const struct cn_job *job);

/* It is on its way into the outbox. @return true: this call was the first, and
 * the outcome without a usable answer is kept; its body is not */
bool cn_job_begin_storing(
		struct cn_job *job, const struct cn_outcome *failure) CN_MUST;
bool cn_job_storing(const struct cn_job *job);
const struct cn_outcome *cn_job_failure(const struct cn_job *job);

/* Has the outbox a held row of it? Set before it is sent. */
bool cn_job_has_row(const struct cn_job *job);
void cn_job_set_row(struct cn_job *job);

/* For the index: does an event wait for the same verdict? */
bool cn_job_same_aor(const struct cn_job *job, const str *key);
bool cn_job_covers(const struct cn_job *job, const struct cn_event *ev);
/* How many contacts is it about that the event is not about? */
int cn_job_contacts_besides(
		const struct cn_job *job, const struct cn_event *ev);

#endif
