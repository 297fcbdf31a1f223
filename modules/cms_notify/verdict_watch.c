/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The watchdog: ends what nobody else has ended, wakes who could do what another
 * process was to do. In the timer process. */

#include "../../core/dprint.h"
#include "../../core/timer.h"

#include "base_limits.h"
#include "http_jobs.h"
#include "job_index.h"
#include "job_order.h"
#include "outbox.h"
#include "verdict.h"
#include "verdict_watch.h"

/* The watchdog comes after the deadline has had its chance to be met by the
 * HTTP process itself. */
#define CN_WATCHDOG_EVERY_MS 62 /* one tick of Kamailio's timer */
#define CN_WATCHDOG_GRACE_US 60000
/* The last tick before the time to store is over. */
#define CN_STORE_GRACE_US (CN_STORE_US - CN_WATCHDOG_EVERY_MS * 1000)
/* For how long the outbox process may be asked about a job. */
#define CN_ASK_US 250000

static struct timer_ln *watchdog;

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
		cn_verdict_give(job);
}

/* To look at all jobs at each tick would cost more than all else here, and push
 * other processes' data out of the CPU's caches: not before the earliest
 * deadline of those that are there, or of one that enters just after the look. With
 * another timeout the next one to enter may be due earlier. */
static void look_at_jobs(int64_t now_us)
{
	static int64_t next_us, timeout_us;
	struct cn_index_watch watch = {.overdue = end_overdue,
			.overdue_us = now_us - CN_WATCHDOG_GRACE_US,
			.may_go = cn_outbox_may_go,
			.go = cn_order_send,
			.asked_us = now_us - CN_ASK_US};

	if(watch.overdue_us < next_us && timeout_us == cn_timeout_us()
			&& cn_index_asked() == 0)
		return;
	timeout_us = cn_timeout_us();
	next_us = cn_index_look(&watch);
	if(next_us > watch.overdue_us + timeout_us)
		next_us = watch.overdue_us + timeout_us;
}

/* Process: timer. Looks, decides, pushes; nothing that could keep tm's timers
 * waiting. */
static ticks_t watch(ticks_t ticks, struct timer_ln *timer, void *unused)
{
	(void)ticks;
	(void)timer;
	(void)unused;
	look_at_jobs(cn_now_us());
	cn_verdict_remind();
	cn_http_jobs_remind();
	return (ticks_t)-1; /* again */
}

int cn_watch_init(void)
{
	watchdog = timer_alloc();
	if(watchdog == NULL) {
		LM_ERR("cannot make a timer\n");
		return -1;
	}
	/* or else a second process is woken for each tick */
	timer_init(watchdog, watch, NULL, F_TIMER_FAST);
	if(timer_add(watchdog, MS_TO_TICKS(CN_WATCHDOG_EVERY_MS)) < 0) {
		LM_ERR("cannot start a timer\n");
		return -1;
	}
	return 0;
}
