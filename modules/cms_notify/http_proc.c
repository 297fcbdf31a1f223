/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* An HTTP process: takes jobs from the ring, POSTs them, passes on how they ended,
 * and resumes those that have ended, where no other process does. */

#include <stdlib.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "http_breaker.h"
#include "base_conf.h"
#include "job_index.h"
#include "base_stop.h"
#include "http_clients.h"
#include "http_files.h"
#include "http_reload.h"
#include "http_jobs.h"
#include "http_proc.h"
#include "admit.h"
#include "job_ring.h"
#include "base_stats.h"
#include "verdict.h"

/* While all connections are taken, how often a process looks for jobs whose
 * deadline passes in the ring. */
#define CN_RING_LOOK_MS 50
/* So many jobs are resumed before answers are looked at again. */
#define CN_RESUME_AT_ONCE 8

/* A job that this process is sending. */
struct post
{
	struct post *next; /* in the list of the free ones */
	struct cn_job *job;
	bool spare; /* of the outbox */
	/* this attempt */
	struct cn_http *http;
	int endpoint; /* in the list of http */
	int64_t began_us;
};

/* of one HTTP process */
static int number; /* among them, from 0 on */
static struct post *posts;
static struct post *free_posts;
static int spare_posts; /* under way for the outbox */
static bool resumes;	/* it runs the verdict route */

/* The log shows the edge, not each request. */
static void report(int slot, const struct cn_http_result *result)
{
	enum cn_breaker_edge edge =
			cn_breaker_report(slot, result->cause, result->status, cn_now_us());
	int at = edge == CN_BREAKER_SAME ? -1 : cn_endpoints_find(slot);

	if(at < 0) /* or it was taken out */
		return;
	if(edge == CN_BREAKER_WENT)
		LM_NOTICE("the CMS at endpoint %d is away: %s, HTTP status %ld (%s)\n",
				at + 1, cn_cause_name(result->cause), result->status,
				result->detail);
	else
		LM_NOTICE("the CMS at endpoint %d is back\n", at + 1);
}

static void end_post(struct post *post, const struct cn_http_result *result)
{
	struct cn_outcome outcome = {.verdict = CN_UNAVAILABLE};

	outcome.cause = result->cause;
	outcome.status = (unsigned)result->status;
	outcome.retry_after = result->retry_after;
	if(result->cause == CN_CAUSE_none)
		outcome.verdict = cn_policy_verdict(result->status);
	if(result->cause == CN_CAUSE_none || result->cause == CN_CAUSE_http)
		outcome.body = result->body;
	cn_http_jobs_end(post->job, &outcome);
}

static void free_post(struct post *post)
{
	spare_posts -= post->spare;
	post->job = NULL;
	post->next = free_posts;
	free_posts = post;
	cn_stats_gauge(CN_GAUGE_in_flight, -1);
}

/* Could another endpoint follow this one? */
static bool is_last(const struct cn_endpoints *list, int endpoint, int64_t now)
{
	while(++endpoint < list->count) {
		if(cn_breaker_would_pass(list->slot[endpoint], now))
			return false;
	}
	return true;
}

static int slot_of(const struct post *post)
{
	return cn_http_endpoints(post->http)->slot[post->endpoint];
}

/* Why nobody takes a POST. */
static enum cn_cause away_cause(const struct cn_endpoints *list)
{
	return cn_breaker_cause(list->slot[0]);
}

/* Send to the first endpoint from this one on that takes it.
 * @return CN_CAUSE_none: under way */
static enum cn_cause attempt(
		struct post *post, struct cn_http *http, int endpoint)
{
	const struct cn_endpoints *list = cn_http_endpoints(http);
	struct cn_http_request request;
	int64_t now = cn_now_us();

	while(endpoint < list->count && !cn_breaker_pass(list->slot[endpoint], now))
		endpoint++;
	if(endpoint == list->count)
		return away_cause(list);
	request.endpoint = endpoint;
	request.id = *cn_job_id(post->job);
	request.body = *cn_job_body(post->job);
	request.timeout_ms = cn_policy_attempt_ms(
			(cn_job_deadline_us(post->job) - now) / 1000,
			cn_limits->attempt_timeout_ms, is_last(list, endpoint, now));
	post->http = http;
	post->endpoint = endpoint;
	post->began_us = now;
	if(cn_http_post(http, &request, post) < 0) {
		cn_breaker_report(slot_of(post), CN_CAUSE_memory, 0, now);
		return CN_CAUSE_memory;
	}
	cn_job_begin_attempt(post->job);
	cn_stats_attempt_begin(slot_of(post));
	return CN_CAUSE_none;
}

/* Has somebody else taken care of it? */
static bool is_over(const struct cn_job *job)
{
	return cn_job_decided(job) || cn_job_storing(job);
}

static void on_done(void *user, const struct cn_http_result *result)
{
	struct post *post = user;
	int64_t now = cn_now_us();
	bool works;

	cn_stats_attempt_end(slot_of(post), result->cause, (unsigned)result->status,
			now - post->began_us);
	cn_stats_latency(CN_LATENCY_HTTP, now - post->began_us);
	if(result->unasked > 0)
		cn_stats_count(CN_COUNTER_unasked);
	report(slot_of(post), result);
	cn_job_end_attempt(post->job, result->lost || result->status == 409);
	if(cn_policy_moves_on(result->cause, result->status)
			&& now < cn_job_deadline_us(post->job) && !is_over(post->job)
			&& !(post->spare && cn_index_keeps_waiting(post->job))
			&& attempt(post, cn_clients_again(post->http), post->endpoint + 1)
					   == CN_CAUSE_none)
		return;
	works = cn_policy_says(result->cause, result->status) == CN_SAYS_WORKS;
	cn_admission_ended(works ? now - post->began_us : -1,
			cn_ring_count(cn_http_jobs_ring()) > 0, now);
	end_post(post, result);
	free_post(post);
}

static bool is_overdue(const void *job)
{
	return cn_job_deadline_us(job) <= cn_now_us();
}

/* Nobody to send to, and nobody about to find out: waiting is no use. */
static bool all_away(int64_t now)
{
	return is_last(cn_http_endpoints(cn_clients_now()), -1, now);
}

static void begin(struct cn_job *job)
{
	struct post *post = free_posts;
	int64_t now = cn_now_us();
	enum cn_cause cause;

	if(is_over(job)) {
		cn_job_release(job);
		return;
	}
	if(!cn_admission_has_time(cn_job_deadline_us(job) - now)) {
		cn_http_jobs_fail(job, CN_CAUSE_timeout);
		return;
	}
	if(!cn_job_is_delivery(job))
		cn_stats_latency(CN_LATENCY_QUEUE, now - cn_job_parked_us(job));
	cn_job_set_sent(job, now);
	post->job = job;
	post->spare = cn_job_is_delivery(job);
	cause = attempt(post, cn_clients_now(), 0);
	if(cause != CN_CAUSE_none) {
		post->job = NULL;
		cn_http_jobs_fail(job, cause);
		return;
	}
	free_posts = post->next;
	spare_posts += post->spare;
	cn_admission_began(now);
	cn_stats_gauge(CN_GAUGE_in_flight, 1);
}

/* The next job that something can be done with: where there is room for a post
 * any job, otherwise one that waits in vain. */
static struct cn_job *next_job(void)
{
	if(free_posts || all_away(cn_now_us()))
		return cn_ring_take(cn_http_jobs_ring());
	return cn_ring_take_if(cn_http_jobs_ring(), is_overdue);
}

static void take_jobs(void)
{
	struct cn_job *job;

	while((job = next_job()) != NULL) {
		cn_stats_gauge(CN_GAUGE_queued, -1);
		if(free_posts)
			begin(job);
		else
			cn_http_jobs_fail(job,
					is_overdue(job)
							? CN_CAUSE_timeout
							: away_cause(cn_http_endpoints(cn_clients_now())));
	}
}

static bool has_spare(void)
{
	return cn_http_jobs_spare() && free_posts
		   && spare_posts < cn_http_jobs_spare_share();
}

static void take_spare(void)
{
	struct cn_job *job;

	while(has_spare() && cn_ring_count(cn_http_jobs_ring()) == 0
			&& (job = cn_ring_take(cn_http_jobs_spare())) != NULL) {
		/* a registration that came in between goes first */
		if(cn_job_claim_sending(job))
			begin(job);
		else
			cn_http_jobs_fail(job, CN_CAUSE_busy);
	}
}

/* The first one of these processes looks for files that change. */
static void run_http(int timeout_ms)
{
	cn_clients_run(timeout_ms, number == 0 && cn_files_any());
}

/* @return false: there is something in the ring that it wants */
static bool sleep_at(struct cn_ring *ring, bool wants)
{
	if(wants)
		return cn_ring_sleep(ring, number);
	cn_ring_leave(ring, number);
	return true;
}

/* Until there is a job that it can do something with, or something of a POST. Who
 * has no connection free leaves the rings of what is to be sent: a new job must
 * wake another process. */
static void wait_for_work(int timeout_ms)
{
	bool may_sleep = sleep_at(cn_http_jobs_ring(), free_posts != NULL);

	if(cn_http_jobs_spare())
		may_sleep &= sleep_at(cn_http_jobs_spare(), has_spare());
	if(resumes)
		may_sleep &= sleep_at(cn_verdict_ring(), true);
	run_http(may_sleep ? timeout_ms : 0);
	cn_ring_wake(cn_http_jobs_ring(), number);
	if(cn_http_jobs_spare())
		cn_ring_wake(cn_http_jobs_spare(), number);
	if(resumes)
		cn_ring_wake(cn_verdict_ring(), number);
}

/* A new job goes out first: while a script runs here the CMS can work. */
static void resume_decided(void)
{
	int i;

	for(i = 0; resumes && i < CN_RESUME_AT_ONCE; i++) {
		if(!cn_verdict_resume()
				|| (free_posts && cn_ring_count(cn_http_jobs_ring()) > 0))
			break;
	}
}

/* -------- the server stops -------- */

static void fail_waiting(void)
{
	struct cn_job *job;

	while((job = cn_ring_take(cn_http_jobs_ring())) != NULL) {
		cn_stats_gauge(CN_GAUGE_queued, -1);
		cn_http_jobs_fail(job, CN_CAUSE_shutdown);
	}
	while(cn_http_jobs_spare()
			&& (job = cn_ring_take(cn_http_jobs_spare())) != NULL)
		cn_http_jobs_fail(job, CN_CAUSE_busy);
}

static bool is_posting(void)
{
	int i;

	for(i = 0; i < cn_conf_posts_per_process(); i++) {
		if(posts[i].job != NULL)
			return true;
	}
	return false;
}

/* libcurl is not called any more. */
static void fail_posts(void)
{
	int i;

	for(i = 0; i < cn_conf_posts_per_process(); i++) {
		if(posts[i].job != NULL)
			cn_http_jobs_fail(posts[i].job, CN_CAUSE_shutdown);
	}
}

/* What waits has waited in vain, what is under way gets its time, and nobody is
 * left without a verdict. */
static void drain(void)
{
	int64_t left;

	while((left = cn_stop_left_us()) > 0) {
		fail_waiting();
		if(resumes)
			cn_verdict_end_unsent();
		resume_decided();
		if(!is_posting())
			break;
		wait_for_work(left > CN_RING_LOOK_MS * 1000 ? CN_RING_LOOK_MS
													: (int)(left / 1000) + 1);
	}
	fail_waiting();
	fail_posts();
	if(resumes)
		cn_verdict_drain(number);
}

/* -------- the process -------- */

static void run(void)
{
	while(!cn_stop_asked()) {
		cfg_update(); /* the log level, for one */
		take_jobs();
		take_spare();
		wait_for_work(free_posts ? -1 : CN_RING_LOOK_MS);
		resume_decided();
	}
	drain();
}

static int set_up(void)
{
	int most = cn_conf_posts_per_process(), fds[CN_CLIENTS_FDS_MAX], count = 0,
		i;

	if(cfg_child_init() || cn_stop_init() < 0)
		return -1;
	fds[count++] = cn_stop_fd();
	fds[count++] = cn_ring_fd(cn_http_jobs_ring(), number);
	if(cn_http_jobs_spare())
		fds[count++] = cn_ring_fd(cn_http_jobs_spare(), number);
	resumes = cn_conf.verdict_processes == 0;
	if(resumes) {
		cn_verdict_begin();
		fds[count++] = cn_ring_fd(cn_verdict_ring(), number);
	}
	posts = calloc(most, sizeof(*posts));
	if(posts == NULL || cn_clients_set_up(most, on_done, fds, count) < 0)
		return -1;
	for(i = most - 1; i >= 0; i--) {
		posts[i].next = free_posts;
		free_posts = &posts[i];
	}
	return 0;
}

int cn_http_proc_init(void)
{
	if(cn_http_check() < 0 || cn_reload_init() < 0 || cn_files_check() < 0)
		return -1;
	return cn_http_jobs_init();
}

void cn_http_proc_destroy(void)
{
	cn_http_jobs_destroy();
	cn_reload_destroy();
}

int cn_http_proc_fork(void)
{
	/* Who runs the script does it as an RPC process: usrloc and the database
	 * modules connect there; with a socket to the TCP process, to answer over TCP.
	 * Otherwise no child_init of any module: no database, no script. */
	bool script = cn_conf.verdict_processes == 0;
	int i, pid;

	for(i = 0; i < cn_conf.http_processes; i++) {
		pid = fork_process(
				script ? PROC_RPC : PROC_NOCHLDINIT, "cms_notify http", script);
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
