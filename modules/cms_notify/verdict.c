/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Resumes the waiters of decided jobs. In the HTTP processes, or in the verdict
 * processes; whoever decides a job is any process. */

#include "../../core/dprint.h"

#include "admit_share.h"
#include "base_conf.h"
#include "base_stats.h"
#include "base_stop.h"
#include "base_wait.h"
#include "job_index.h"
#include "job_order.h"
#include "job_ring.h"
#include "outbox.h"
#include "reg_park.h"
#include "reg_restart.h"
#include "verdict.h"
#include "verdict_step.h"

/* How long the last verdicts may take after the POSTs have ended, and how often a
 * process looks whether another one has answered the last. */
#define CN_DRAIN_AFTER_HTTP_US 1000000
#define CN_DRAIN_LOOK_MS 50

static struct cn_ring *ring;
static cn_verdict_show_f show_verdict;
static bool resumes; /* this process does */

int cn_verdict_init(cn_verdict_show_f show)
{
	show_verdict = show;
	ring = cn_ring_new(cn_conf_capacity(), cn_conf_resumers());
	return ring ? 0 : -1;
}

void cn_verdict_destroy(void)
{
	cn_ring_free(ring);
	ring = NULL;
}

void cn_verdict_give(struct cn_job *job)
{
	void *item = job;
	int err =
			resumes ? cn_ring_push_own(ring, &item) : cn_ring_push(ring, &item);

	if(err < 0)
		LM_BUG("no room for event %.*s\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
}

void cn_verdict_remind(void)
{
	cn_ring_remind(ring);
}

void cn_verdict_begin(void)
{
	resumes = true;
}

struct cn_ring *cn_verdict_ring(void)
{
	return ring;
}

static void count(const struct cn_job *job)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);

	switch(outcome->verdict) {
		case CN_ACCEPTED:
			cn_stats_count(CN_COUNTER_accepted);
			break;
		case CN_REJECTED:
			cn_stats_count(CN_COUNTER_rejected);
			break;
		case CN_DEFERRED:
			cn_stats_stored(CN_STORED_NOW, CN_KIND_REGISTER);
			break;
		case CN_UNAVAILABLE:
			cn_stats_count(CN_COUNTER_unavailable);
			break;
	}
	if(outcome->cause == CN_CAUSE_outbox)
		cn_stats_count(CN_COUNTER_not_deferred);
	cn_stats_cause(outcome->cause);
	cn_stats_latency(CN_LATENCY_TOTAL, cn_now_us() - cn_job_parked_us(job));
}

static void resume(struct cn_job *job)
{
	struct cn_waiter *waiter;

	count(job);
	cn_outbox_settle(job);
	while((waiter = cn_index_next_waiter(job)) != NULL) {
		show_verdict(job, waiter);
		cn_verdict_note(job, waiter);
		if(waiter->gives_way)
			cn_restart_begin(
					cn_job_key(job), waiter->call_id_hash, waiter->cseq);
		if(cn_park_resume(waiter) < 0)
			LM_WARN("event %.*s: a request of %.*s is gone, its verdict is "
					"not delivered\n",
					cn_job_id(job)->len, cn_job_id(job)->s,
					cn_job_aor(job)->len, cn_job_aor(job)->s);
		if(waiter->gives_way)
			cn_restart_end(cn_job_key(job), waiter->call_id_hash);
		show_verdict(NULL, NULL);
		cn_stats_gauge(CN_GAUGE_parked, -1);
		cn_share_give_back(waiter->share);
		if(waiter->block != job)
			cn_waiter_free(waiter);
	}
	cn_order_left(job);
	cn_job_release(job);
}

bool cn_verdict_resume(void)
{
	struct cn_job *job = cn_ring_take(ring);

	if(job == NULL)
		return false;
	resume(job);
	return true;
}

static bool always(const struct cn_job *job)
{
	(void)job;
	return true;
}

void cn_verdict_end_unsent(void)
{
	struct cn_index_watch watch = {.overdue_us = INT64_MIN,
			.may_go = always,
			.go = cn_order_send, /* which ends it now */
			.asked_us = INT64_MAX,
			.held = true};

	(void)cn_index_look(&watch);
}

void cn_verdict_drain(int taker)
{
	int set = cn_wait_new();

	if(set < 0 || cn_wait_add(set, cn_ring_fd(ring, taker)) < 0)
		return;
	while(cn_job_count() > 0 && cn_stop_left_us() > -CN_DRAIN_AFTER_HTTP_US) {
		cn_verdict_end_unsent();
		while(cn_verdict_resume())
			;
		if(!cn_ring_sleep(ring, taker))
			continue;
		cn_wait(set, CN_DRAIN_LOOK_MS);
		cn_ring_wake(ring, taker);
	}
}
