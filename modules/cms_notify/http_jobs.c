/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Jobs on their way to the HTTP processes, and what comes back. In every process. */

#include "../../core/dprint.h"

#include "base_conf.h"
#include "base_stats.h"
#include "base_stop.h"
#include "http_jobs.h"
#include "job_order.h"
#include "job_ring.h"
#include "outbox.h"
#include "verdict.h"

/* So many jobs may wait for a process that is awake. One takes as long as a script
 * of save() and reply, and to wake another process hardly takes less. */
#define CN_PATIENCE 8
/* The outbox process looks at each delivery for each: with batches there are no more
 * than this many. */
#define CN_SPARE_MAX 1000

static struct cn_ring *ring;
static struct cn_ring *spare; /* events of the outbox; NULL: there is none */
static struct cn_ring *ended; /* the same, back */

int cn_http_jobs_init(void)
{
	ring = cn_ring_new(cn_conf_capacity(), cn_conf.http_processes);
	if(ring == NULL)
		return -1;
	cn_ring_set_patience(ring, CN_PATIENCE);
	if(cn_conf.outbox_db_url == NULL)
		return 0;
	spare = cn_ring_new(cn_http_jobs_spare_most(), cn_conf.http_processes);
	ended = cn_ring_new(cn_http_jobs_spare_most(), 1);
	return spare && ended ? 0 : -1;
}

static void free_jobs(struct cn_ring *of)
{
	struct cn_job *job;

	while(of && (job = cn_ring_take_last(of)) != NULL)
		cn_job_free(job);
	cn_ring_free(of);
}

void cn_http_jobs_destroy(void)
{
	cn_ring_free(ring);
	free_jobs(spare);
	free_jobs(ended);
	ring = spare = ended = NULL;
}

struct cn_ring *cn_http_jobs_ring(void)
{
	return ring;
}

struct cn_ring *cn_http_jobs_spare(void)
{
	return spare;
}

void cn_http_jobs_remind(void)
{
	cn_ring_remind(ring);
	if(spare)
		cn_ring_remind(spare);
}

int cn_http_jobs_spare_share(void)
{
	int most = cn_conf_posts_per_process() / 4;

	return most > 0 ? most : 1;
}

int cn_http_jobs_spare_most(void)
{
	int posts = cn_conf.http_processes * cn_http_jobs_spare_share();

	if(posts >= CN_SPARE_MAX || cn_conf.batch_max == 1)
		return posts;
	return posts * cn_conf.batch_max < CN_SPARE_MAX ? posts * cn_conf.batch_max
													: CN_SPARE_MAX;
}

void cn_http_jobs_give_spare(struct cn_job *job)
{
	void *item = job;

	if(cn_ring_push(spare, &item) < 0)
		LM_BUG("no room for event %.*s\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
}

struct cn_job *cn_http_jobs_take_ended(void)
{
	return cn_ring_take(ended);
}

struct cn_ring *cn_http_jobs_ended(void)
{
	return ended;
}

void cn_http_jobs_give_back(struct cn_job *job)
{
	void *item = job;

	if(cn_ring_push(ended, &item) < 0)
		LM_BUG("no room for event %.*s\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
}

/* To the outbox, which ends it; or else to its verdict. */
void cn_http_jobs_end(struct cn_job *job, const struct cn_outcome *outcome)
{
	struct cn_outcome end = *outcome;
	bool stored = false;

	if(end.verdict == CN_UNAVAILABLE && cn_job_defers(job)) {
		stored = cn_outbox_store(job, outcome) == 0;
		if(end.cause != CN_CAUSE_shutdown)
			end.cause = CN_CAUSE_outbox;
	}
	/* lost: the watchdog has ended it */
	if(!stored && cn_job_decide(job, &end)) {
		if(cn_job_is_delivery(job)) {
			cn_http_jobs_give_back(job);
			cn_order_left(job);
		} else {
			cn_verdict_give(job);
		}
	}
	cn_job_release(job);
}

void cn_http_jobs_answered(struct cn_job *job, enum cn_cause cause, long status,
		unsigned retry_after, const str *body)
{
	struct cn_outcome outcome = {.verdict = CN_UNAVAILABLE};

	outcome.cause = cause;
	outcome.status = (unsigned)status;
	outcome.retry_after = retry_after;
	if(cause == CN_CAUSE_none)
		outcome.verdict = cn_policy_verdict(status);
	if(cause == CN_CAUSE_none || cause == CN_CAUSE_http)
		outcome.body = *body;
	cn_http_jobs_end(job, &outcome);
}

void cn_http_jobs_fail(struct cn_job *job, enum cn_cause cause)
{
	struct cn_outcome outcome = {.verdict = CN_UNAVAILABLE, .cause = cause};

	cn_http_jobs_end(job, &outcome);
}

void cn_http_jobs_give(struct cn_job *job)
{
	void *item = job;

	/* the HTTP processes may have gone already */
	if(cn_stop_asked()) {
		cn_http_jobs_fail(job, CN_CAUSE_shutdown);
		return;
	}
	cn_stats_gauge(CN_GAUGE_queued, 1);
	if(cn_ring_push(ring, &item) < 0)
		LM_BUG("no room for event %.*s\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
}
