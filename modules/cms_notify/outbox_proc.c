/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The outbox process: what it does, in which order, and when. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "base_conf.h"
#include "base_stats.h"
#include "base_stop.h"
#include "base_wait.h"
#include "http_jobs.h"
#include "job.h"
#include "job_index.h"
#include "job_number.h"
#include "job_ring.h"
#include "outbox.h"
#include "outbox_batch.h"
#include "outbox_command.h"
#include "outbox_delivery.h"
#include "outbox_leaving.h"
#include "outbox_location.h"
#include "outbox_proc.h"
#include "outbox_retry.h"
#include "outbox_rows.h"
#include "outbox_summary.h"
#include "outbox_sync.h"
#include "outbox_db.h"
#include "outbox_table.h"
#include "reg_alive.h"
#include "reg_usrloc.h"

#define CN_STATEMENT_MS 2000
#define CN_DRAIN_STATEMENT_MS 200
#define CN_OPEN_AGAIN_US 1000000
#define CN_TAKE_OVER_US 1000000
/* An AOR with something under way is looked at again after this. */
#define CN_AGAIN_US 50000
/* Numbers may be given up to the lease that is stored, which is that far ahead; from there
 * they go on after a restart. Where servers share the table that is soon: until its clock
 * is there, a server's numbers are above those of the others. */
#define CN_LEASE_US 60000000
#define CN_SHARED_LEASE_US 6000000
#define CN_DRAIN_LOOK_US 20000
/* The HTTP processes end what is under way by the end of the time. */
#define CN_DRAIN_AFTER_HTTP_US 200000

static int wait_set;
static int64_t open_us; /* not before */
static int64_t take_over_us;
static int64_t resync_us; /* when there may be a binding to tell */
static int64_t lease;	  /* as it is in the table */
static int64_t leased;	  /* the last number when it was written */

static bool loaded;
static int64_t kept_us;				 /* when those are looked at again */
static struct cn_command **kept_end; /* where the next one is kept */

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void open_table(int64_t now)
{
	static bool away;
	int err;

	if(cn_db_is_open() || now < open_us)
		return;
	cn_outbox_db_begins();
	err = cn_sync_load(CN_STATEMENT_MS);
	cn_outbox_db_answered(err == 0);
	/* what fails is opened again at once, but not over and over */
	open_us = cn_now_us() + CN_OPEN_AGAIN_US;
	if(err == 0) {
		lease = leased = kept_us = 0;
		loaded = true;
		/* from here on, so that none is missed */
		cn_outbox_set_known();
	}
	if(err == 0 && away)
		LM_NOTICE("the database of the outbox is back\n");
	else if(err < 0 && !away)
		LM_ERR("the outbox cannot use its database: nothing is deferred, and "
			   "what waits is not told, until it can\n");
	away = err < 0;
}

static void take_over(int64_t now)
{
	int n, err;

	if(!cn_db_is_shared() || !cn_db_is_open() || now < take_over_us)
		return;
	take_over_us = now + CN_TAKE_OVER_US;
	cn_outbox_db_begins();
	n = cn_table_take_over();
	err = n < 0 ? -1 : n > 0 ? cn_sync_read() : cn_sync_look_elsewhere();
	if(err == 0)
		err = cn_location_take_expired();
	cn_outbox_db_answered(err == 0);
	if(n > 0 && err == 0)
		LM_NOTICE(
				"%d rows of a server that has stopped are this one's now\n", n);
}

/* -------- commands -------- */

/* A contact has gone. That it is back is told by the event that brings it back.
 * @return true: nothing more is to be done */
static bool do_leave(struct cn_command *command)
{
	struct cn_event *ev = command->event;

	if(command->busy)
		return command->done;
	if(cn_usrloc_is_live(command->aor, command->contacts))
		return true;
	ev->seq = cn_index_number_event(&ev->key, ev->hash, command->contacts);
	if(ev->seq == 0)
		return false; /* one that is under way decides */
	command->seq = ev->seq;
	command->busy = cn_command_has_room(command->aor, command->hash)
					&& cn_batch_add(command, CN_ROW_WAITING) == 0;
	if(command->busy)
		return false;
	cn_stats_count(CN_COUNTER_not_deferred);
	LM_ERR("not stored: the CMS is not told that %.*s has left\n", ev->aor.len,
			ev->aor.s);
	return true;
}

/* It is done when the table has been read, or when a job has ended. As many
 * as there may be rows: what is forgotten may be told after something newer. */
static void keep(struct cn_command *command)
{
	static int count;

	if(!loaded && command->type != CN_LEAVE && count++ >= cn_conf.outbox_max) {
		if(count == cn_conf.outbox_max + 1)
			LM_ERR("the database of the outbox has been away for too long: "
				   "what waits there may be told after newer events\n");
		cn_command_free(command);
		return;
	}
	command->next = NULL;
	*kept_end = command;
	kept_end = &command->next;
	kept_us = 0;
}

/* Is it not to be done now? */
static bool must_be_later(const struct cn_command *command)
{
	switch(command->type) {
		case CN_SETTLE:
			return !loaded;
		case CN_WAIT:
			return !cn_db_is_open();
		case CN_ASK:
			return !cn_db_is_open() && !cn_outbox_may_go(command->job);
		default:
			return false;
	}
}

/* A LEAVE is kept while it is done, too. */
static void take_command(struct cn_command *command)
{
	if(command->type == CN_LOOK)
		resync_us = 0;
	if(command->type == CN_LEAVE || must_be_later(command))
		keep(command);
	else
		cn_command_do(command);
}

static void take_kept(int64_t now)
{
	struct cn_command **p = cn_outbox_kept(), *command = NULL;

	if(!cn_db_is_open() || now < kept_us)
		return;
	kept_us = now + CN_AGAIN_US;
	while((command = *p) != NULL) {
		if(cn_batch_size() == CN_BATCH_MAX
				|| (command->type == CN_LEAVE ? !do_leave(command)
											  : must_be_later(command))) {
			p = &command->next;
		} else {
			*p = command->next;
			if(command->type == CN_LEAVE
					&& command->event->kind == CN_KIND_OFFLINE)
				cn_alive_end(command->aor, command->contacts);
			cn_command_do(command); /* nothing more, of a LEAVE */
		}
	}
	kept_end = p;
}

/* Do what has been kept, which came first, and what is in the ring now.
 * @return false: there is more */
static bool take_commands(int64_t now)
{
	unsigned n = cn_ring_count(cn_outbox_ring());
	struct cn_command *command;

	take_kept(now);
	for(; n > 0 && cn_batch_size() < CN_BATCH_MAX; n--) {
		command = cn_ring_take(cn_outbox_ring());
		if(command == NULL)
			break;
		take_command(command);
	}
	take_kept(now); /* who leaves */
	return n == 0 && cn_batch_size() < CN_BATCH_MAX;
}

/* What is newer of its contacts, and the CMS may know, decides for it, too. */
static void replay(struct cn_row *row, void *unused)
{
	(void)unused;
	if(row->state != CN_ROW_DEAD || row->doomed || cn_row_is_outdated(row))
		return;
	row->created_us = cn_number_clock_us(); /* its age counts from now on */
	row->attempts = 0;
	/* it keeps others waiting; up to the last number they may not have seen it */
	cn_row_set_state(row, CN_ROW_WAITING);
	row->revived_seq = cn_number_last();
	row->of->failures = 0;
	cn_batch_change(row);
}

static void keep_lease(void)
{
	int64_t ahead = cn_db_is_shared() ? CN_SHARED_LEASE_US : CN_LEASE_US;
	int64_t last = cn_number_last(), clock = cn_number_clock_us();

	if(cn_stop_asked() || last == leased
			|| (clock < lease - ahead / 2 && last < lease - ahead / 12))
		return;
	leased = last;
	/* numbers that are ahead of the clock do not go with it */
	lease = last + ahead / 6 > clock + ahead ? last + ahead / 6 : clock + ahead;
	cn_batch_set_lease(lease);
}

/* @return 0, or -1: the database failed */
static int write_batch(int64_t before_us)
{
	int err;

	if(!cn_db_is_open() && cn_batch_size() == 0)
		return -1;
	keep_lease();
	if(cn_batch_due_us() > before_us)
		return 0;
	err = cn_batch_write();
	kept_us = 0; /* they are stored, or not */
	return err;
}

/* -------- the process -------- */

static bool may_send(int64_t now)
{
	return cn_db_is_open() && !cn_outbox_paused() && now >= cn_retry_due_us();
}

/* One round: what has ended, what is chosen, what others say, written, sent. */
static void work(void)
{
	int64_t now = cn_now_us();
	bool all;

	cn_delivery_take_ended();
	open_table(now);
	take_over(now);
	cn_retry_answered(cn_stats_answered_us());
	if(may_send(now))
		cn_delivery_choose(now);
	/* while all that is known is in the rows, nothing in the next batch */
	if(loaded && cn_outbox_take_replay())
		cn_rows_each(replay, NULL);
	all = take_commands(now);
	all = write_batch(cn_now_us()) == 0 && all;
	if(cn_delivery_send(all) == 0 && all && may_send(now))
		cn_delivery_resync(now, &resync_us);
}

/* When there is something to do, if nobody wakes us. */
static int64_t next_us(void)
{
	int64_t next = INT64_MAX, publish_us;

	if(!cn_db_is_open()) {
		(void)cn_summary_publish(cn_now_us(), open_us);
		return open_us;
	}
	if(cn_delivery_has_room() && !cn_outbox_paused()) {
		next = earliest(cn_rows_due_us(), resync_us);
		if(cn_retry_is_probing() && cn_rows_due_us() < INT64_MAX)
			next = 0;
		if(next < cn_retry_due_us())
			next = cn_retry_due_us();
	}
	publish_us = cn_summary_publish(cn_now_us(), next);
	if(cn_db_is_shared())
		next = earliest(next, take_over_us);
	if(*cn_outbox_kept())
		next = earliest(next, kept_us);
	next = earliest(next, cn_batch_due_us());
	return earliest(next, publish_us);
}

static void sleep_until(int64_t until_us)
{
	struct cn_ring *rings[] = {cn_outbox_ring(), cn_http_jobs_ended()};
	int64_t left = until_us - cn_now_us();

	if(left <= 0 || !cn_ring_sleep(rings[0], 0))
		return;
	if(cn_ring_sleep(rings[1], 0)) {
		cn_wait(wait_set, (int)((left + 999) / 1000));
		cn_ring_wake(rings[1], 0);
	}
	cn_ring_wake(rings[0], 0);
}

/* The server stops: what the HTTP processes still bring to an end is stored, or
 * noted, so that it is not sent again after the start. */
static void drain(void)
{
	open_us = 0;
	cn_db_set_limit(CN_DRAIN_STATEMENT_MS);
	while(cn_stop_left_us() > -CN_DRAIN_AFTER_HTTP_US) {
		bool last = cn_job_count() == 0 && !cn_delivery_any();

		cn_delivery_take_ended();
		open_table(cn_now_us());
		kept_us = 0;
		(void)take_commands(cn_now_us());
		(void)!write_batch(INT64_MAX - 1);
		if(last)
			break;
		sleep_until(cn_now_us() + CN_DRAIN_LOOK_US);
	}
	cn_db_close();
}

static void run(void)
{
	while(!cn_stop_asked()) {
		cfg_update();
		work();
		sleep_until(next_us());
	}
	drain();
}

int cn_outbox_proc_init(void)
{
	if(!cn_outbox_exists())
		return 0;
	kept_end = cn_outbox_kept();
	return cn_table_init() < 0 || cn_delivery_init() < 0 ? -1 : 0;
}

int cn_outbox_proc_count(void)
{
	return cn_outbox_exists() ? 1 : 0;
}

static int set_up(void)
{
	if(cfg_child_init() || cn_stop_init() < 0)
		return -1;
	wait_set = cn_wait_new();
	if(wait_set < 0 || cn_wait_add(wait_set, cn_stop_fd()) < 0
			|| cn_wait_add(wait_set, cn_ring_fd(cn_outbox_ring(), 0)) < 0
			|| cn_wait_add(wait_set, cn_ring_fd(cn_http_jobs_ended(), 0)) < 0)
		return -1;
	return 0;
}

int cn_outbox_proc_fork(void)
{
	int pid;

	if(!cn_outbox_exists())
		return 0;
	/* no child_init of any module: a connection of its own, no script */
	pid = fork_process(PROC_NOCHLDINIT, "cms_notify outbox", 0);
	if(pid == 0) {
		if(set_up() < 0)
			exit(-1);
		run();
		_exit(0);
	}
	return pid < 0 ? -1 : 0;
}
