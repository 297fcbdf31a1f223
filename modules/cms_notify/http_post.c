/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The POSTs of an HTTP process, from the jobs in them to the outcome of each. */

#include <stdlib.h>

#include "../../core/dprint.h"

#include "admit.h"
#include "base_conf.h"
#include "base_stats.h"
#include "http_again.h"
#include "http_batch.h"
#include "http_breaker.h"
#include "http_choice.h"
#include "http_clients.h"
#include "http_jobs.h"
#include "http_post.h"
#include "http_room.h"
#include "job_index.h"
#include "job_ring.h"

struct cn_post
{
	struct cn_post *next; /* in the list of the free ones */
	struct cn_job **jobs; /* place for batch_max */
	int count;
	int fresh;		/* that were not under way before */
	int events;		/* that were in it when it began */
	int size;		/* of the array so far */
	bool spare;		/* of the outbox */
	bool under_way; /* libcurl has it */
	char *text;		/* the array; NULL: the body is the job's */
	/* this attempt */
	struct cn_http *http;
	int endpoint; /* in the list of http */
	int64_t began_us;
};

/* of one HTTP process */
static struct cn_post *posts;
static struct cn_post *free_posts;
static int spare_posts;	 /* under way for the outbox */
static unsigned *hashes; /* of the AORs in the one that is filled */
static struct cn_http_batch_event *events; /* for a moment */

/* -------- filling -------- */

bool cn_post_is_free(void)
{
	return free_posts != NULL && cn_choice_has_room();
}

/* A quarter of what may be under way. */
bool cn_post_is_spare(void)
{
	return cn_post_is_free() && spare_posts < cn_http_jobs_spare_share()
		   && spare_posts * 4 < cn_choice_share();
}

struct cn_post *cn_post_new(void)
{
	struct cn_post *post = free_posts;

	post->count = post->fresh = post->size = 0;
	return post;
}

bool cn_post_is_full(const struct cn_post *post)
{
	return post->count == cn_conf.batch_max;
}

bool cn_post_fits(const struct cn_post *post, const struct cn_job *job)
{
	unsigned hash;
	int i;

	if(post->count == 0)
		return true;
	if(CN_HTTP_BATCH_BYTES(post->size, cn_job_body(job)->len)
			> CN_HTTP_BATCH_BYTES_MAX)
		return false;
	hash = cn_job_hash(job);
	for(i = 0; i < post->count; i++) {
		if(hashes[i] == hash)
			return false;
	}
	return true;
}

/* Has somebody else taken care of it? */
static bool is_over(const struct cn_job *job)
{
	return cn_job_decided(job) || cn_job_storing(job);
}

/* From here on whoever ends the job knows that the CMS may know of it.
 * @return false: somebody has ended it before */
static bool begin_attempt(struct cn_job *job)
{
	cn_job_begin_attempt(job);
	if(!is_over(job))
		return true;
	cn_job_end_attempt(job, false);
	return false;
}

void cn_post_add(struct cn_post *post, struct cn_job *job, bool again)
{
	int64_t now = cn_now_us();
	bool in_time = cn_admission_has_time(cn_job_deadline_us(job) - now);

	if(!in_time || !begin_attempt(job)) {
		if(again)
			cn_admission_left(1);
		if(is_over(job))
			cn_job_release(job);
		else
			cn_http_jobs_fail(job, CN_CAUSE_timeout);
		return;
	}
	if(!again) {
		if(!cn_job_is_delivery(job))
			cn_stats_latency(CN_LATENCY_QUEUE, now - cn_job_parked_us(job));
		cn_job_set_sent(job, now);
		post->fresh++;
	}
	post->size = CN_HTTP_BATCH_BYTES(post->size, cn_job_body(job)->len);
	post->spare = cn_job_is_delivery(job);
	hashes[post->count] = cn_job_hash(job);
	post->jobs[post->count++] = job;
}

/* -------- sending -------- */

static int slot_of(const struct cn_post *post)
{
	return cn_http_endpoints(post->http)->slot[post->endpoint];
}

/* Until the last deadline in it; where another endpoint may follow, until the first,
 * so that it can follow for each. */
static long time_for(const struct cn_post *post, bool last, int64_t now)
{
	int64_t deadline = cn_job_deadline_us(post->jobs[0]), other;
	int i;

	for(i = 1; i < post->count; i++) {
		other = cn_job_deadline_us(post->jobs[i]);
		if(last ? other > deadline : other < deadline)
			deadline = other;
	}
	return cn_policy_attempt_ms(
			(deadline - now) / 1000, cn_limits->attempt_timeout_ms, last);
}

static void list_events(const struct cn_post *post)
{
	int i;

	for(i = 0; i < post->count; i++) {
		events[i].id = *cn_job_id(post->jobs[i]);
		events[i].body = *cn_job_body(post->jobs[i]);
	}
}

/* @param key room for the request's id
 * @return -1: no memory */
static int write_request(struct cn_post *post, struct cn_http_request *request,
		char key[CN_HTTP_BATCH_KEY_SIZE])
{
	request->answers = post->count;
	request->id = *cn_job_id(post->jobs[0]);
	request->body = *cn_job_body(post->jobs[0]);
	if(cn_conf.batch_max == 1)
		return 0;
	list_events(post);
	free(post->text);
	post->text = NULL;
	if(cn_http_batch_write(events, post->count, &request->body) < 0)
		return -1;
	post->text = request->body.s;
	request->id = cn_http_batch_key(events, post->count, key);
	return 0;
}

/* @return CN_CAUSE_none: under way */
static enum cn_cause try_from(
		struct cn_post *post, struct cn_http *http, int endpoint)
{
	const struct cn_endpoints *list = cn_http_endpoints(http);
	struct cn_http_request request;
	char key[CN_HTTP_BATCH_KEY_SIZE];
	int64_t now = cn_now_us();

	while(endpoint < list->count && !cn_breaker_pass(list->slot[endpoint], now))
		endpoint++;
	if(endpoint >= list->count)
		return cn_breaker_cause(list->slot[0]);
	request.endpoint = endpoint;
	request.timeout_ms = time_for(post, cn_choice_is_last(list, endpoint), now);
	post->http = http;
	post->endpoint = endpoint;
	post->began_us = now;
	if(write_request(post, &request, key) < 0
			|| cn_http_post(http, &request, post) < 0) {
		cn_breaker_report(slot_of(post), CN_CAUSE_memory, 0, now);
		return CN_CAUSE_memory;
	}
	cn_stats_attempt_begin(slot_of(post));
	cn_room_began(slot_of(post));
	return CN_CAUSE_none;
}

/* Send to the first endpoint from this one on that takes it; its jobs have begun
 * an attempt.
 * @return CN_CAUSE_none: under way */
static enum cn_cause attempt(
		struct cn_post *post, struct cn_http *http, int endpoint)
{
	enum cn_cause cause = try_from(post, http, endpoint);
	int i;

	for(i = 0; i < post->count && cause != CN_CAUSE_none; i++)
		cn_job_end_attempt(post->jobs[i], false);
	return cause;
}

static void fail_jobs(struct cn_post *post, enum cn_cause cause)
{
	while(post->count > 0)
		cn_http_jobs_fail(post->jobs[--post->count], cause);
	free(post->text);
	post->text = NULL;
}

void cn_post_send(struct cn_post *post, const struct cn_again_at *at)
{
	struct cn_http *http = cn_clients_now();
	enum cn_cause cause;
	int endpoint = 0;

	if(post->count == 0)
		return;
	post->events = post->count;
	if(at && at->list == cn_http_endpoints(http)->number)
		endpoint = at->endpoint;
	cause = attempt(post, http, endpoint);
	if(cause != CN_CAUSE_none) {
		cn_admission_left(post->events - post->fresh);
		fail_jobs(post, cause);
		return;
	}
	free_posts = post->next;
	spare_posts += post->spare;
	post->under_way = true;
	cn_admission_began(post->fresh, cn_room_number(slot_of(post)), cn_now_us());
	cn_stats_gauge(CN_GAUGE_in_flight, 1);
}

static void free_post(struct cn_post *post)
{
	free(post->text);
	post->text = NULL;
	post->count = 0;
	post->under_way = false;
	spare_posts -= post->spare;
	post->next = free_posts;
	free_posts = post;
	cn_stats_gauge(CN_GAUGE_in_flight, -1);
}

/* -------- ending -------- */

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

static void end_as_all(struct cn_job *job, const struct cn_http_result *result)
{
	cn_http_jobs_answered(job, result->cause, result->status,
			result->retry_after, &result->body);
}

static bool may_go_on(const struct cn_job *job, int64_t now)
{
	return now < cn_job_deadline_us(job) && !is_over(job)
		   && !(cn_job_is_delivery(job) && cn_index_keeps_waiting(job));
}

/* To another endpoint, with those that have the time.
 * @return false: there is none, or nobody has */
static bool move_on(
		struct cn_post *post, const struct cn_http_result *result, int64_t now)
{
	int left = 0, i;

	for(i = 0; i < post->count; i++) {
		if(may_go_on(post->jobs[i], now) && begin_attempt(post->jobs[i]))
			post->jobs[left++] = post->jobs[i];
		else
			end_as_all(post->jobs[i], result);
	}
	post->count = left;
	return left > 0
		   && attempt(post, cn_clients_again(post->http), post->endpoint + 1)
					  == CN_CAUSE_none;
}

static void put_again(
		const struct cn_post *post, struct cn_job *job, int endpoint)
{
	const struct cn_again_at at = {
			cn_http_endpoints(post->http)->number, endpoint};

	cn_again_put(job, &at);
}

/* @return true: it will be sent again, to this endpoint or another */
static bool end_by_result(struct cn_post *post, struct cn_job *job,
		const struct cn_http_batch_event *event, int64_t now)
{
	if(cn_policy_moves_on(event->cause, event->status) && may_go_on(job, now)
			&& !cn_choice_is_last(
					cn_http_endpoints(post->http), post->endpoint)) {
		put_again(post, job, post->endpoint + 1);
		return true;
	}
	cn_http_jobs_answered(job, event->cause, event->status, event->retry_after,
			&event->answer);
	return false;
}

/* One of them may be why. */
static bool is_to_be_taken_apart(
		const struct cn_post *post, const struct cn_http_result *result)
{
	return post->count > 1 && result->cause == CN_CAUSE_none
		   && cn_policy_verdict(result->status) == CN_REJECTED;
}

static bool take_apart(struct cn_post *post, struct cn_job *job, int64_t now)
{
	if(may_go_on(job, now)) {
		put_again(post, job, post->endpoint);
		return true;
	}
	cn_http_jobs_fail(job, CN_CAUSE_timeout);
	return false;
}

/* @param results they are in events
 * @return how many are sent again */
static int end_jobs(struct cn_post *post, const struct cn_http_result *result,
		bool results, int64_t now)
{
	int again = 0, i;

	for(i = 0; i < post->count; i++) {
		struct cn_job *job = post->jobs[i];

		if(results)
			again += end_by_result(post, job, &events[i], now);
		else if(is_to_be_taken_apart(post, result))
			again += take_apart(post, job, now);
		else
			end_as_all(job, result);
	}
	return again;
}

/* Does the CMS know of it, perhaps? What it accepts may come too late. */
static void end_attempt(const struct cn_post *post,
		const struct cn_http_result *result, bool results)
{
	int i;

	for(i = 0; i < post->count; i++) {
		long status = results ? events[i].status : result->status;
		bool known = result->lost || cn_policy_may_be_known(status);

		/* it has read the event */
		if(results)
			known = known || events[i].cause == CN_CAUSE_bad_answer
					|| events[i].cause == CN_CAUSE_too_big;
		cn_job_end_attempt(post->jobs[i], known);
	}
}

/* What each event's part of an answer is; an answer that has no parts is no answer. */
static bool read_results(struct cn_post *post, struct cn_http_result *result)
{
	int unasked;

	if(cn_conf.batch_max == 1 || result->cause != CN_CAUSE_none
			|| cn_policy_verdict(result->status) != CN_ACCEPTED)
		return false;
	list_events(post);
	unasked = cn_http_batch_read(
			&result->body, events, post->count, cn_limits->max_answer_size);
	if(unasked >= 0) {
		result->unasked += unasked;
		return true;
	}
	result->cause = CN_CAUSE_bad_answer;
	result->lost = true;
	result->detail = "the answer is no array of results";
	return false;
}

/* Where events wait, and fill another POST, the CMS does what it can. */
static void leave_room(const struct cn_post *post,
		const struct cn_http_result *result, int64_t now)
{
	enum cn_says says = cn_policy_says(result->cause, result->status);
	const struct cn_concurrency_answer answer = {.began_us = post->began_us,
			.ended_us = now,
			.events = says == CN_SAYS_AWAY ? 0 : post->count,
			.waiting = cn_ring_count(cn_http_jobs_ring())
					   >= (unsigned)cn_conf.batch_max};

	cn_room_ended(slot_of(post), says == CN_SAYS_NOTHING ? NULL : &answer);
}

static void on_done(void *user, const struct cn_http_result *done)
{
	struct cn_post *post = user;
	struct cn_http_result result = *done;
	bool results = read_results(post, &result), works, waiting;
	int64_t now = cn_now_us(), us = now - post->began_us;
	int again;

	cn_stats_attempt_end(
			slot_of(post), result.cause, (unsigned)result.status, us);
	cn_stats_latency(CN_LATENCY_HTTP, us);
	if(result.unasked > 0)
		cn_stats_count(CN_COUNTER_unasked);
	report(slot_of(post), &result);
	leave_room(post, &result, now);
	end_attempt(post, &result, results);
	if(cn_policy_moves_on(result.cause, result.status)
			&& move_on(post, &result, now))
		return;
	works = cn_policy_says(result.cause, result.status) == CN_SAYS_WORKS;
	waiting = cn_ring_count(cn_http_jobs_ring()) > 0;
	again = end_jobs(post, &result, results, now);
	cn_admission_ended(post->events - again, works ? us : -1, waiting, now);
	free_post(post);
}

/* -------- the process -------- */

bool cn_post_any(void)
{
	int i;

	for(i = 0; i < cn_conf_posts_per_process(); i++) {
		if(posts[i].under_way)
			return true;
	}
	return false;
}

void cn_post_fail_all(enum cn_cause cause)
{
	int i;

	for(i = 0; i < cn_conf_posts_per_process(); i++) {
		if(posts[i].under_way)
			fail_jobs(&posts[i], cause);
	}
}

int cn_post_set_up(int process, const int *fds, int count)
{
	int most = cn_conf_posts_per_process(), batch = cn_conf.batch_max, i;
	struct cn_job **places;

	cn_room_set_up(process);
	posts = calloc(most, sizeof(*posts));
	places = calloc((size_t)most * batch, sizeof(*places));
	hashes = calloc(batch, sizeof(*hashes));
	events = calloc(batch, sizeof(*events));
	if(posts == NULL || places == NULL || hashes == NULL || events == NULL
			|| cn_again_set_up(batch > 1 ? most * batch : 0) < 0
			|| cn_clients_set_up(most, on_done, fds, count) < 0)
		return -1;
	for(i = most - 1; i >= 0; i--) {
		posts[i].jobs = places + (size_t)i * batch;
		posts[i].next = free_posts;
		free_posts = &posts[i];
	}
	return 0;
}
