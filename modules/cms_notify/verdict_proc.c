/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Resumes the waiters of decided jobs. In the verdict processes; the watchdog is in
 * the timer process. */

#include <stdlib.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"
#include "../../core/timer.h"

#include "base_conf.h"
#include "admit_share.h"
#include "job_index.h"
#include "base_stop.h"
#include "outbox.h"
#include "reg_park.h"
#include "job_ring.h"
#include "base_stats.h"
#include "job_order.h"
#include "verdict_proc.h"
#include "base_wait.h"

/* The watchdog comes after the deadline has had its chance to be met by the
 * HTTP process itself. */
#define CN_WATCHDOG_EVERY_MS 62 /* one tick of Kamailio's timer */
#define CN_WATCHDOG_GRACE_US 60000
/* The last tick before the time to store is over. */
#define CN_STORE_GRACE_US (CN_STORE_US - CN_WATCHDOG_EVERY_MS * 1000)
/* For how long the outbox process may be asked about a job. */
#define CN_ASK_US 250000

/* How long the last verdicts may take after the HTTP processes have ended, and
 * how often a process looks whether another one has answered the last. */
#define CN_DRAIN_AFTER_HTTP_US 1000000
#define CN_DRAIN_LOOK_MS 50

static struct cn_ring *ring;
static cn_verdict_show_f show_verdict;
static struct timer_ln *watchdog;

/* of one verdict process */
static int number; /* among them, from 0 on */
static int wait_set;

void cn_verdict_proc_give(struct cn_job *job)
{
	void *item = job;

	if(cn_ring_push(ring, &item) < 0)
		LM_BUG("no room for event %.*s\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
}

/* What nobody has ended by its deadline, of an HTTP process that stands still,
 * or HELD: stored, while there is time for it. */
static void end_overdue(struct cn_job *job)
{
	int64_t late_us = cn_now_us() - cn_job_deadline_us(job);
	struct cn_outcome outcome = {
			.verdict = CN_UNAVAILABLE, .cause = CN_CAUSE_timeout};

	if(cn_job_is_delivery(job)) {
		if(cn_job_decide(job, &outcome))
			cn_order_give_back(job);
		return;
	}
	if(cn_job_defers(job)) {
		if(late_us < CN_STORE_GRACE_US && cn_outbox_store(job, &outcome) == 0)
			return;
		outcome.cause = CN_CAUSE_outbox;
	}
	if(cn_job_decide(job, &outcome))
		cn_verdict_proc_give(job);
}

/* To look at all jobs at each tick would cost more than all else here, and push
 * other processes' data out of the CPU's caches: not before the earliest
 * deadline of those that are there, or of one that enters just after the look. */
static void look_at_jobs(int64_t now_us)
{
	static int64_t next_us;
	struct cn_index_watch watch = {.overdue = end_overdue,
			.overdue_us = now_us - CN_WATCHDOG_GRACE_US,
			.may_go = cn_outbox_may_go,
			.go = cn_order_send,
			.asked_us = now_us - CN_ASK_US};

	if(watch.overdue_us < next_us && cn_index_asked() == 0)
		return;
	next_us = cn_index_look(&watch);
	if(next_us > watch.overdue_us + (int64_t)cn_conf.timeout_ms * 1000)
		next_us = watch.overdue_us + (int64_t)cn_conf.timeout_ms * 1000;
}

/* Process: timer. Looks, decides, pushes; nothing that could keep tm's timers
 * waiting. */
static ticks_t watch(ticks_t ticks, struct timer_ln *timer, void *unused)
{
	(void)ticks;
	(void)timer;
	(void)unused;
	look_at_jobs(cn_now_us());
	cn_ring_remind(ring);
	return (ticks_t)-1; /* again */
}

int cn_verdict_proc_init(cn_verdict_show_f show)
{
	show_verdict = show;
	ring = cn_ring_new(cn_conf_capacity(), cn_conf.verdict_processes);
	if(ring == NULL)
		return -1;
	watchdog = timer_alloc();
	if(watchdog == NULL) {
		LM_ERR("cannot make a timer\n");
		return -1;
	}
	timer_init(watchdog, watch, NULL, 0);
	if(timer_add(watchdog, MS_TO_TICKS(CN_WATCHDOG_EVERY_MS)) < 0) {
		LM_ERR("cannot start a timer\n");
		return -1;
	}
	return 0;
}

void cn_verdict_proc_destroy(void)
{
	cn_ring_free(ring);
	ring = NULL;
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
			cn_stats_count(CN_COUNTER_deferred);
			break;
		case CN_UNAVAILABLE:
			cn_stats_count(CN_COUNTER_unavailable);
			break;
	}
	LM_INFO("event %.*s of %.*s: %s, %s, HTTP status %u\n", cn_job_id(job)->len,
			cn_job_id(job)->s, cn_job_aor(job)->len, cn_job_aor(job)->s,
			cn_verdict_name(outcome->verdict), cn_cause_name(outcome->cause),
			outcome->status);
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
		if(cn_park_resume(waiter) < 0)
			LM_WARN("event %.*s: a request of %.*s is gone, its verdict is "
					"not delivered\n",
					cn_job_id(job)->len, cn_job_id(job)->s,
					cn_job_aor(job)->len, cn_job_aor(job)->s);
		show_verdict(NULL, NULL);
		cn_stats_gauge(CN_GAUGE_parked, -1);
		cn_share_give_back(waiter->share);
		if(waiter->block != job)
			cn_waiter_free(waiter);
	}
	cn_order_left(job);
	cn_job_release(job);
}

static void resume_all(void)
{
	struct cn_job *job;

	while((job = cn_ring_take(ring)) != NULL) {
		cfg_update();
		resume(job);
	}
}

/* Until there is a new verdict, SIGTERM, or the time is over; -1: no limit. */
static void wait_for_verdict(int timeout_ms)
{
	if(!cn_ring_sleep(ring, number))
		return;
	cn_wait(wait_set, timeout_ms);
	cn_ring_wake(ring, number);
}

static bool always(const struct cn_job *job)
{
	(void)job;
	return true;
}

/* Who waits for an older job or for the outbox process waits no more. */
static void end_unsent(void)
{
	struct cn_index_watch watch = {.overdue_us = INT64_MIN,
			.may_go = always,
			.go = cn_order_send, /* which ends it now */
			.asked_us = INT64_MAX,
			.held = true};

	(void)cn_index_look(&watch);
}

/* The server stops: the HTTP processes end every job by the end of the time,
 * and each is answered. */
static void drain(void)
{
	while(cn_job_count() > 0 && cn_stop_left_us() > -CN_DRAIN_AFTER_HTTP_US) {
		end_unsent();
		resume_all();
		wait_for_verdict(CN_DRAIN_LOOK_MS);
	}
}

static void run(void)
{
	while(!cn_stop_asked()) {
		resume_all();
		wait_for_verdict(-1);
	}
	drain();
}

static int set_up(void)
{
	if(cfg_child_init() || cn_stop_init() < 0)
		return -1;
	wait_set = cn_wait_new();
	if(wait_set < 0 || cn_wait_add(wait_set, cn_stop_fd()) < 0
			|| cn_wait_add(wait_set, cn_ring_fd(ring, number)) < 0)
		return -1;
	return 0;
}

int cn_verdict_proc_fork(void)
{
	int i, pid;

	for(i = 0; i < cn_conf.verdict_processes; i++) {
		/* as an RPC process: usrloc and the database modules connect there;
		 * with a socket to the TCP process, to answer over TCP */
		pid = fork_process(PROC_RPC, "cms_notify verdict", 1);
		if(pid < 0)
			return -1;
		if(pid == 0) {
			number = i;
			if(set_up() < 0)
				exit(-1);
			run();
			_exit(0);
		}
	}
	return 0;
}
