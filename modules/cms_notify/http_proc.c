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

#include "base_body.h"
#include "base_conf.h"
#include "base_stop.h"
#include "http_choice.h"
#include "http_clients.h"
#include "http_files.h"
#include "http_reload.h"
#include "http_again.h"
#include "http_jobs.h"
#include "http_post.h"
#include "http_proc.h"
#include "job_ring.h"
#include "base_stats.h"
#include "verdict.h"

/* While all connections are taken, how often a process looks for jobs whose
 * deadline passes in the ring. */
#define CN_RING_LOOK_MS 50
/* So many jobs are resumed before answers are looked at again. */
#define CN_RESUME_AT_ONCE 8

/* of one HTTP process */
static int number;	 /* among them, from 0 on */
static bool resumes; /* it runs the verdict route */
static const struct cn_post *filling;

static bool is_overdue(const void *job)
{
	return cn_job_deadline_us(job) <= cn_now_us();
}

static bool fits(const void *job)
{
	return cn_post_fits(filling, job);
}

static struct cn_job *take_job(bool (*wanted)(const void *job))
{
	struct cn_job *job = cn_ring_take_if(cn_http_jobs_ring(), wanted);

	if(job)
		cn_stats_gauge(CN_GAUGE_queued, -1);
	return job;
}

/* A registration that came in between goes first. */
static struct cn_job *take_spare(bool (*wanted)(const void *job))
{
	struct cn_job *job;

	while((job = cn_ring_take_if(cn_http_jobs_spare(), wanted)) != NULL
			&& !cn_job_claim_sending(job))
		cn_http_jobs_fail(job, CN_CAUSE_busy);
	return job;
}

/* With a job and what else waits, as much as may go into one POST. */
static void begin(struct cn_job *job,
		struct cn_job *(*take)(bool (*wanted)(const void *job)))
{
	struct cn_post *post = cn_post_new();

	filling = post;
	do
		cn_post_add(post, job, false);
	while(!cn_post_is_full(post) && (job = take(fits)) != NULL);
	cn_post_send(post, NULL);
}

/* The next job that something can be done with: where there is room for a POST, or
 * no endpoint that takes one, any job; otherwise one that waits in vain.
 *
 * @param room asked once: a moment later the answer may be another one */
static struct cn_job *next_job(bool *room)
{
	*room = cn_post_is_free();
	return take_job(*room || cn_choice_all_away() ? NULL : is_overdue);
}

static void begin_jobs(void)
{
	struct cn_job *job;
	bool room;

	while((job = next_job(&room)) != NULL) {
		if(room)
			begin(job, take_job);
		else
			cn_http_jobs_fail(job, is_overdue(job) ? CN_CAUSE_timeout
												   : cn_choice_away_cause());
	}
}

static bool has_spare(void)
{
	return cn_http_jobs_spare() && cn_post_is_spare();
}

static void begin_spare(void)
{
	struct cn_job *job;

	while(has_spare() && cn_ring_count(cn_http_jobs_ring()) == 0
			&& (job = take_spare(NULL)) != NULL)
		begin(job, take_spare);
}

/* What has left its batch comes before what is new. */
static void begin_again(void)
{
	struct cn_again_at at;
	struct cn_job *job;

	while((cn_post_is_free() && (job = cn_again_take(false, &at)) != NULL)
			|| (cn_post_is_spare()
					&& (job = cn_again_take(true, &at)) != NULL)) {
		struct cn_post *post = cn_post_new();

		cn_post_add(post, job, true);
		cn_post_send(post, &at);
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
	bool room = cn_post_is_free();
	bool may_sleep = sleep_at(cn_http_jobs_ring(), room);

	if(!room && (timeout_ms < 0 || timeout_ms > CN_RING_LOOK_MS))
		timeout_ms = CN_RING_LOOK_MS;

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
				|| (cn_post_is_free()
						&& cn_ring_count(cn_http_jobs_ring()) > 0))
			break;
	}
}

/* -------- the server stops -------- */

static void fail_waiting(void)
{
	struct cn_again_at unused;
	struct cn_job *job;

	while((job = take_job(NULL)) != NULL
			|| (job = cn_again_take(false, &unused)) != NULL
			|| (job = cn_again_take(true, &unused)) != NULL)
		cn_http_jobs_fail(job, CN_CAUSE_shutdown);
	while(cn_http_jobs_spare()
			&& (job = cn_ring_take(cn_http_jobs_spare())) != NULL)
		cn_http_jobs_fail(job, CN_CAUSE_busy);
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
		if(!cn_post_any())
			break;
		wait_for_work(left > CN_RING_LOOK_MS * 1000 ? CN_RING_LOOK_MS
													: (int)(left / 1000) + 1);
	}
	fail_waiting();
	cn_post_fail_all(CN_CAUSE_shutdown); /* libcurl is not called any more */
	if(resumes)
		cn_verdict_drain(number);
}

/* -------- the process -------- */

static void run(void)
{
	while(!cn_stop_asked()) {
		cfg_update(); /* the log level, for one */
		begin_again();
		begin_jobs();
		begin_spare();
		wait_for_work(-1);
		resume_decided();
	}
	drain();
}

static int set_up(void)
{
	int fds[CN_CLIENTS_FDS_MAX], count = 0;

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
	return cn_post_set_up(number, fds, count);
}

/* Its results are told apart by the events' ids. */
static int check_batches(void)
{
	if(cn_conf.batch_max == 1 || cn_body_has_id())
		return 0;
	LM_ERR("batch_max is %d, but body has no $cms(id), by which the CMS tells "
		   "which "
		   "event a result is for: put it into body, or set batch_max to 1\n",
			cn_conf.batch_max);
	return -1;
}

int cn_http_proc_init(void)
{
	if(cn_http_check() < 0 || cn_reload_init() < 0 || cn_files_check() < 0
			|| check_batches() < 0)
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
