/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "cn_body.h"
#include "cn_conf.h"
#include "cn_drain.h"
#include "cn_http.h"
#include "cn_http_proc.h"
#include "cn_ring.h"
#include "cn_stats.h"
#include "cn_verdict_proc.h"

/* While all connections are taken, how often a process looks for jobs whose
 * deadline passes in the ring. */
#define CN_RING_LOOK_MS 50

/* A job that this process is sending. */
struct post
{
	struct post *next; /* in the list of the free ones */
	struct cn_job *job;
	int endpoint;
	int64_t began_us; /* this attempt */
};

static struct cn_ring *ring;

/* of one HTTP process */
static struct cn_http *http;
static struct post *posts;
static struct post *free_posts;
static bool endpoint_down[CN_ENDPOINTS_MAX];

int cn_http_proc_init(void)
{
	const char *error;
	int i;

	for(i = 0; i < cn_conf.endpoints; i++) {
		if(!cn_http_url_ok(cn_conf.cms_url[i], &error)) {
			LM_ERR("cms_url number %d: %s\n", i + 1, error);
			return -1;
		}
	}
	ring = cn_ring_new(cn_conf_capacity());
	return ring ? 0 : -1;
}

void cn_http_proc_destroy(void)
{
	cn_ring_free(ring);
	ring = NULL;
}

void cn_http_proc_give(struct cn_job *job)
{
	void *item = job;

	cn_stats_gauge(CN_GAUGE_queued, 1);
	if(cn_ring_push(ring, &item) < 0)
		LM_BUG("no room for event %.*s\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
}

/* The edge, not each request: an operator reads this. */
static void note_endpoint(int endpoint, const struct cn_http_result *result)
{
	bool down = result->cause != CN_CAUSE_none;

	if(down == endpoint_down[endpoint])
		return;
	endpoint_down[endpoint] = down;
	if(down)
		LM_NOTICE("the CMS at endpoint %d gives no usable answer: %s, HTTP "
				  "status %ld (%s)\n",
				endpoint + 1, cn_cause_name(result->cause), result->status,
				result->detail);
	else
		LM_NOTICE("the CMS at endpoint %d answers again\n", endpoint + 1);
}

static void pass_on(struct cn_job *job, const struct cn_outcome *outcome)
{
	/* lost: the watchdog has ended it */
	if(cn_job_decide(job, outcome))
		cn_verdict_proc_give(job);
	cn_job_release(job);
}

static void fail(struct cn_job *job, enum cn_cause cause)
{
	struct cn_outcome outcome = {.verdict = CN_UNAVAILABLE, .cause = cause};

	pass_on(job, &outcome);
}

static void end_post(struct post *post, const struct cn_http_result *result)
{
	struct cn_outcome outcome = {.verdict = CN_UNAVAILABLE};
	char text[CN_TEXT_MAX];

	outcome.cause = result->cause;
	outcome.status = (unsigned)result->status;
	outcome.retry_after = result->retry_after;
	if(result->cause == CN_CAUSE_none)
		outcome.verdict = cn_policy_verdict(result->status);
	if(result->cause == CN_CAUSE_none || result->cause == CN_CAUSE_http) {
		outcome.body = result->body;
		outcome.text.s = text;
		outcome.text.len =
				cn_body_answer_text(&result->body, text, sizeof(text));
	}
	pass_on(post->job, &outcome);
}

static void free_post(struct post *post)
{
	post->job = NULL;
	post->next = free_posts;
	free_posts = post;
	cn_stats_gauge(CN_GAUGE_in_flight, -1);
}

static int attempt(struct post *post)
{
	struct cn_http_request request;
	int64_t now = cn_now_us();

	request.endpoint = post->endpoint;
	request.id = *cn_job_id(post->job);
	request.body = *cn_job_body(post->job);
	request.timeout_ms =
			cn_policy_attempt_ms((cn_job_deadline_us(post->job) - now) / 1000,
					cn_conf.attempt_timeout_ms,
					post->endpoint == cn_conf.endpoints - 1);
	post->began_us = now;
	if(cn_http_post(http, &request, post) < 0)
		return -1;
	cn_stats_attempt_begin(post->endpoint);
	return 0;
}

static void on_done(void *user, const struct cn_http_result *result)
{
	struct post *post = user;
	int64_t now = cn_now_us();

	cn_stats_attempt_end(post->endpoint, result->cause,
			(unsigned)result->status, now - post->began_us);
	cn_stats_latency(CN_LATENCY_HTTP, now - post->began_us);
	note_endpoint(post->endpoint, result);
	if(cn_policy_moves_on(result->cause, result->status)
			&& post->endpoint + 1 < cn_conf.endpoints
			&& now < cn_job_deadline_us(post->job)
			&& !cn_job_decided(post->job)) {
		post->endpoint++;
		if(attempt(post) == 0)
			return;
	}
	end_post(post, result);
	free_post(post);
}

static bool is_overdue(const void *job)
{
	return cn_job_deadline_us(job) <= cn_now_us();
}

static void begin(struct cn_job *job)
{
	struct post *post = free_posts;
	int64_t now = cn_now_us();

	if(cn_job_decided(job)) {
		cn_job_release(job);
		return;
	}
	if(is_overdue(job)) {
		fail(job, CN_CAUSE_timeout);
		return;
	}
	cn_stats_latency(CN_LATENCY_QUEUE, now - cn_job_parked_us(job));
	cn_job_set_sent(job, now);
	post->job = job;
	post->endpoint = 0;
	if(attempt(post) < 0) {
		post->job = NULL;
		fail(job, CN_CAUSE_memory);
		return;
	}
	free_posts = post->next;
	cn_stats_gauge(CN_GAUGE_in_flight, 1);
}

/* Begin as many posts as there is room for; end what waited too long. */
static void take_jobs(void)
{
	struct cn_job *job;

	while((job = free_posts ? cn_ring_take(ring)
							: cn_ring_take_if(ring, is_overdue))
			!= NULL) {
		cn_stats_gauge(CN_GAUGE_queued, -1);
		if(free_posts)
			begin(job);
		else
			fail(job, CN_CAUSE_timeout);
	}
}

/* Who has no connection free must not be the one that a new job wakes: it
 * leaves the ring's descriptor to the other processes. */
static void watch_ring(bool wanted)
{
	static bool watched;

	if(wanted == watched)
		return;
	if(!wanted)
		cn_http_unwatch(http, cn_ring_fd(ring));
	else if(cn_http_watch(http, cn_ring_fd(ring)) < 0)
		return;
	watched = wanted;
}

static void fail_waiting(enum cn_cause cause)
{
	struct cn_job *job;

	while((job = cn_ring_take(ring)) != NULL) {
		cn_stats_gauge(CN_GAUGE_queued, -1);
		fail(job, cause);
	}
}

/* The server stops: what waits has waited in vain, what is under way gets its
 * time, and nobody is left without a verdict. */
static void drain(void)
{
	int most = cn_conf_posts_per_process(), i;

	watch_ring(false);
	for(;;) {
		bool busy = false;
		int64_t left = cn_drain_left_us();

		fail_waiting(CN_CAUSE_shutdown);
		for(i = 0; i < most && !busy; i++)
			busy = posts[i].job != NULL;
		if(!busy || left <= 0)
			break;
		cn_http_run(http, left > CN_RING_LOOK_MS * 1000
								  ? CN_RING_LOOK_MS
								  : (int)(left / 1000) + 1);
	}
	for(i = 0; i < most; i++) {
		if(posts[i].job != NULL)
			fail(posts[i].job, CN_CAUSE_shutdown);
	}
}

static void run(void)
{
	while(!cn_drain_asked()) {
		cfg_update(); /* the log level, for one */
		take_jobs();
		watch_ring(free_posts != NULL);
		if(free_posts == NULL) {
			cn_http_run(http, CN_RING_LOOK_MS);
		} else if(cn_ring_sleep(ring)) {
			cn_http_run(http, -1);
			cn_ring_wake(ring);
		}
	}
	drain();
}

static int set_up(void)
{
	int most = cn_conf_posts_per_process(), i;

	if(cfg_child_init() || cn_drain_init() < 0)
		return -1;
	http = cn_http_new(most, on_done);
	posts = calloc(most, sizeof(*posts));
	if(http == NULL || posts == NULL || cn_http_watch(http, cn_drain_fd()) < 0)
		return -1;
	for(i = most - 1; i >= 0; i--) {
		posts[i].next = free_posts;
		free_posts = &posts[i];
	}
	return 0;
}

int cn_http_proc_fork(void)
{
	int i, pid;

	for(i = 0; i < cn_conf.http_processes; i++) {
		/* no child_init of any module: no database, no script */
		pid = fork_process(PROC_NOCHLDINIT, "cms_notify http", 0);
		if(pid < 0)
			return -1;
		if(pid == 0) {
			if(set_up() < 0)
				exit(-1);
			run();
			_exit(0);
		}
	}
	return 0;
}
