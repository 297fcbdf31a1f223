/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/hashes.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "outbox_retry.h"
#include "reg_usrloc.h"
#include "base_conf.h"
#include "job_index.h"
#include "base_stop.h"
#include "outbox_delivery.h"
#include "http_proc.h"
#include "outbox_leaving.h"
#include "outbox.h"
#include "outbox_table.h"
#include "outbox_proc.h"
#include "outbox_pace.h"
#include "outbox_servers.h"
#include "outbox_resync.h"
#include "job_ring.h"
#include "base_stats.h"
#include "job_order.h"
#include "base_wait.h"
#include "outbox_waiting.h"

#define CN_PAGE 100
#define CN_STATEMENT_MS 10000
#define CN_TICK_US 1000000
#define CN_DB_RETRY_US 1000000
/* A device with something under way is looked at again after this. */
#define CN_QUIET_US 50000
#define CN_PEERS_TICKS 3
#define CN_COUNT_TICKS 60
#define CN_DRAIN_LOOK_US 20000
/* The HTTP processes end what is under way by the end of the time. */
#define CN_DRAIN_AFTER_HTTP_US 200000

/* The rows that are looked at one after the other, a page at a time; after the
 * last page from the beginning, when look_us has come. */
static struct
{
	struct cn_row rows[CN_PAGE];
	int count, next;
	int64_t after;
	bool last;		 /* no page follows this one */
	bool any;		 /* was there a row in this round? */
	int64_t look_us; /* when a new round begins */
	int64_t soon_us; /* when, for all that was seen in this round */
} page;

static int wait_set;
static int64_t db_due_us; /* the database has failed: not before */
static int64_t tick_us;
static int64_t resync_us;		 /* when there may be a binding to tell */
static bool rows_known;			 /* whose rows wait */
static bool rows_counted = true; /* how many */

static unsigned hash_of(const char *device)
{
	str s = {(char *)device, strlen(device)};

	return core_hash(&s, NULL, 0);
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void db_failed(void)
{
	db_due_us = cn_now_us() + CN_DB_RETRY_US;
}

static void look_at(int64_t us)
{
	page.look_us = earliest(page.look_us, us);
}

static void not_before(int64_t us)
{
	page.soon_us = earliest(page.soon_us, us);
}

/* -------- what waits -------- */

/* The rows that were in the table before this process, or came to it otherwise
 * than by itself. */
static int know_rows_of(int (*read)(int64_t after, struct cn_row *, int))
{
	struct cn_row rows[CN_PAGE];
	int64_t after = 0;
	int n, i;

	do {
		n = read(after, rows, CN_PAGE);
		for(i = 0; i < n; i++)
			cn_waiting_found(hash_of(rows[i].device));
		if(n > 0)
			after = rows[n - 1].id;
	} while(n == CN_PAGE);
	return n < 0 ? -1 : 0;
}

static int know_rows(bool again)
{
	cn_waiting_find_all();
	if(again)
		cn_waiting_forget_all();
	if(know_rows_of(cn_outbox_db_waiting) < 0)
		return -1;
	return know_rows_of(cn_outbox_db_dead);
}

static int count_rows(void)
{
	static bool again;
	unsigned mark = cn_outbox_count();
	struct cn_row_counts counts;
	int before = cn_stats_gauge_value(CN_GAUGE_outbox);

	if((!rows_known && know_rows(again) < 0) || cn_outbox_db_count(&counts) < 0)
		return -1;
	if(rows_known && counts.waiting > before
			&& counts.waiting > cn_stats_gauge_value(CN_GAUGE_outbox)) {
		/* another server has made our dead letters wait again */
		rows_known = rows_counted = false;
		cn_waiting_find_all();
		look_at(cn_now_us());
		return 0;
	}
	rows_counted = cn_outbox_counted(mark, counts.waiting, counts.dead);
	/* one that came in while all were forgotten may have been missed: then once
	 * more */
	if(!rows_known && (rows_counted || !again)) {
		rows_known = again = true;
		cn_waiting_all_found();
	}
	return 0;
}

/* -------- notes -------- */

/* A contact has gone. That it is back already is told by the event that brought
 * it back. */
static int take_left(const struct cn_note *note)
{
	int err = 1;
	str body;

	if(!cn_binding_is_live(note->device, note->about)
			&& cn_leaving_render(note->event, &body) == 0)
		err = cn_outbox_store_left(note, &body);
	if(err >= 0)
		cn_outbox_left_done(note, err == 0);
	return err;
}

static int unkeep(struct cn_note *note)
{
	str id = {note->id, strlen(note->id)};

	if(!note->kept)
		return 0;
	if(cn_outbox_unkeep(&id, note->hash) < 0)
		return -1;
	note->kept = false;
	return 0;
}

static int heed(struct cn_note *note)
{
	switch(note->type) {
		case CN_NOTE_STORED:
		case CN_NOTE_ACCEPTED:
			return unkeep(note) < 0
						   ? -1
						   : cn_outbox_outdate(note, cn_flight_is_outdated);
		case CN_NOTE_UNDONE:
			return unkeep(note);
		case CN_NOTE_TURN:
			/* once: it does not wait for a database that fails */
			if(cn_turn_heed(note->job, &note->kept) < 0)
				db_failed();
			note->type = CN_NOTE_UNDONE;
			return unkeep(note);
		case CN_NOTE_LEFT:
			return take_left(note);
		case CN_NOTE_LOOK:
			resync_us = 0;
			break;
		case CN_NOTE_COUNT:
			rows_known = rows_counted = false;
			return count_rows();
	}
	return 0;
}

/* Heed what is in the ring now. @return false: the database has failed, there is
 * more */
static bool take_notes(void)
{
	static struct cn_note *note;
	unsigned n = cn_ring_count(cn_outbox_notes()) + (note != NULL);

	for(; n > 0 && cn_now_us() >= db_due_us; n--) {
		if(note == NULL)
			note = cn_ring_take(cn_outbox_notes());
		if(note == NULL)
			break;
		if(heed(note) < 0) {
			db_failed();
			return false;
		}
		cn_note_free(note);
		note = NULL;
		look_at(cn_now_us());
	}
	return n == 0;
}

/* -------- sending -------- */

static bool is_too_old(const struct cn_row *row)
{
	return cn_outbox_now_us() - row->created_us
		   > (int64_t)cn_conf.outbox_max_age_s * 1000000;
}

static int read_page(int64_t now)
{
	int n;

	if(page.last || page.after == 0) {
		if(now < page.look_us)
			return 0;
		page.after = 0;
		page.any = false;
		page.look_us = page.soon_us = INT64_MAX;
	}
	n = cn_outbox_db_heads(page.after, page.rows, CN_PAGE);
	page.next = page.count = 0;
	if(n < 0) {
		look_at(now);
		page.last = true;
		return -1;
	}
	page.count = n;
	page.last = n < CN_PAGE;
	page.any |= n > 0;
	if(n > 0)
		page.after = page.rows[n - 1].id;
	return n;
}

/* A round is over: begin the next one when something of this one is due. */
static void end_round(void)
{
	look_at(page.soon_us);
	page.soon_us = INT64_MAX;
	/* another server may have deleted what was outdated by one of its own */
	if(!page.any && cn_stats_gauge_value(CN_GAUGE_outbox) > 0
			&& !cn_flight_any())
		rows_counted = false;
}

/* May this row be sent? */
static bool is_due(const struct cn_row *row, unsigned hash, unsigned generation,
		int64_t now)
{
	str device = {(char *)row->device, strlen(row->device)};
	int64_t due;

	if(cn_flight_has(row))
		return false; /* its end begins a new round */
	/* while the CMS is away each is as good a probe as any other */
	due = cn_pace_is_probing() ? 0 : cn_backoff_due_us(row->device, hash);
	if(due <= now && !cn_flight_has_device(row->device)
			&& cn_device_quiet(&device, hash, generation))
		return true;
	not_before(due > now ? due : now + CN_QUIET_US);
	return false;
}

/* Is there no point in sending the row? It tells of a contact's leaving that is
 * there again, or a server that is dead had it and the contact has come here
 * since, or a later row tells of it, too. @return -1: the database failed */
static int is_outdated(const struct cn_row *row, unsigned hash, bool *outdated)
{
	if(strcmp(row->event, cn_kind_name(CN_KIND_REGISTER)) != 0)
		*outdated = cn_binding_is_live(row->device, row->about);
	else
		*outdated = row->moved
					&& cn_binding_came_here(
							row->device, row->about, row->created_us / 1000000);
	return *outdated ? 0 : cn_outbox_has_newer(row, hash, outdated);
}

static int drop(const struct cn_row *row, unsigned hash)
{
	if(cn_outbox_db_delete(&row->id, 1) < 0)
		return -1;
	cn_backoff_forget(row->device, hash);
	cn_waiting_left(hash);
	not_before(cn_now_us());
	return 0;
}

/* @return 0, also where the row was not for sending; -1: try again later */
static int offer(struct cn_row *row, int64_t now)
{
	unsigned hash = hash_of(row->device);
	unsigned generation = cn_device_generation(hash);
	bool outdated;
	str body;
	int err;

	if(!is_due(row, hash, generation, now))
		return 0;
	if(is_too_old(row)) {
		if(cn_flight_bury(row, "outbox_max_age has passed") < 0)
			return -1;
		cn_backoff_forget(row->device, hash);
		not_before(now);
		return 0;
	}
	/* After is_due(): if the device's registration has ended in between, what
	 * it makes outdated is known now. */
	if(!take_notes())
		return -1;
	err = cn_outbox_db_body(row->id, &body);
	if(err != 0)
		return err < 0 ? -1 : 0; /* it does not wait any more */
	if(is_outdated(row, hash, &outdated) < 0)
		return -1;
	if(outdated)
		return drop(row, hash);
	return cn_flight_begin(row, &body, hash, generation, NULL);
}

static int send_rows(int64_t now)
{
	int n = 0;

	while(cn_flight_room() && n >= 0) {
		if(page.next == page.count) {
			n = read_page(now);
			if(n <= 0)
				break;
		}
		n = offer(&page.rows[page.next++], now);
	}
	if(page.next == page.count && page.last)
		end_round();
	return n < 0 ? -1 : 0;
}

/* Tell a binding again. */
static void send_task(struct cn_task *task, const struct cn_event *ev)
{
	unsigned generation = cn_device_generation(ev->hash);
	struct cn_row row;
	str body;

	memset(&row, 0, sizeof(row));
	if(ev->key.len > CN_ROW_KEY_MAX || cn_leaving_render(ev, &body) < 0) {
		cn_resync_told(task, CN_TOLD_FAILED);
		return;
	}
	strcpy(row.event_id, ev->id);
	memcpy(row.device, ev->key.s, ev->key.len);
	/* what is older comes first */
	if(cn_waiting_may(ev->hash) || cn_flight_has_device(row.device)
			|| !cn_device_quiet(&ev->key, ev->hash, generation)
			|| cn_flight_begin(&row, &body, ev->hash, generation, task) < 0)
		cn_resync_told(task, CN_TOLD_NOT_NOW);
}

static void send_tasks(int64_t now)
{
	struct cn_task *task;
	struct cn_event *ev;

	while(cn_flight_room()
			&& (task = cn_resync_next(&ev, now, &resync_us)) != NULL)
		send_task(task, ev);
}

static void send_some(void)
{
	int64_t now = cn_now_us();

	cn_pace_answered(cn_stats_answered_us());
	if(cn_outbox_paused() || now < cn_pace_due_us() || now < db_due_us)
		return;
	if(send_rows(now) < 0)
		db_failed();
	else
		send_tasks(now);
}

/* -------- now and then -------- */

static int look_at_peers(void)
{
	int n = cn_peers_look();

	if(n <= 0)
		return n;
	rows_known = rows_counted = false;
	look_at(cn_now_us());
	if(count_rows() < 0)
		return -1;
	LM_NOTICE("%d events of a server that has stopped are delivered by this "
			  "one\n",
			n);
	return 0;
}

static void tick(void)
{
	static unsigned ticks;
	int64_t now = cn_now_us();

	if(now < tick_us || now < db_due_us)
		return;
	tick_us = now + CN_TICK_US;
	if(++ticks % CN_COUNT_TICKS == 0)
		rows_counted = false; /* somebody else may have changed the table */
	if(((!rows_counted || !rows_known) && count_rows() < 0)
			|| (cn_outbox_db_is_shared() && ticks % CN_PEERS_TICKS == 0
					&& look_at_peers() < 0))
		db_failed();
}

static void write_ends(void)
{
	int n = cn_now_us() >= db_due_us ? cn_flight_write_ends() : 0;

	/* later than the event ended, if the database was away */
	if(n > 0)
		look_at(cn_now_us());
	else if(n < 0)
		db_failed();
}

/* When there is something to do, if nobody wakes us. */
static int64_t next_us(void)
{
	int64_t next = INT64_MAX;

	if(cn_flight_room() && !cn_outbox_paused()) {
		next = page.next < page.count || !page.last ? 0 : page.look_us;
		next = earliest(next, resync_us);
	}
	if(next < cn_pace_due_us())
		next = cn_pace_due_us();
	cn_outbox_set_next_us(next == INT64_MAX ? 0 : next);
	next = earliest(next, tick_us);
	if(next < db_due_us)
		next = db_due_us;
	return next;
}

static void sleep_until(int64_t until_us)
{
	struct cn_ring *rings[] = {cn_outbox_notes(), cn_http_proc_ended()};
	int64_t left = until_us - cn_now_us();

	if(left <= 0 || !cn_ring_sleep(rings[0], 0))
		return;
	if(cn_ring_sleep(rings[1], 0)) {
		cn_wait(wait_set, (int)((left + 999) / 1000));
		cn_ring_wake(rings[1], 0);
	}
	cn_ring_wake(rings[0], 0);
}

/* The server stops: who has left is stored, what the HTTP processes still bring
 * to an end is noted, so that it is not sent again after the start. The rest is
 * in the table. */
static void drain(void)
{
	db_due_us = 0;
	while(cn_drain_left_us() > -CN_DRAIN_AFTER_HTTP_US) {
		bool last = cn_job_count() == 0 && !cn_flight_any();

		(void)take_notes();
		cn_flight_take_ended();
		write_ends();
		if(last)
			break;
		sleep_until(cn_now_us() + CN_DRAIN_LOOK_US);
	}
	cn_outbox_db_close();
}

static void run(void)
{
	cn_outbox_db_open(CN_STATEMENT_MS);
	while(!cn_drain_asked()) {
		cfg_update();
		(void)take_notes();
		if(cn_flight_take_ended())
			look_at(cn_now_us()); /* the next one of the device */
		write_ends();
		tick();
		send_some();
		sleep_until(next_us());
	}
	drain();
}

int cn_outbox_proc_init(void)
{
	return cn_outbox_exists() ? cn_flight_init() : 0;
}

int cn_outbox_proc_count(void)
{
	return cn_outbox_exists() ? 1 : 0;
}

static int set_up(void)
{
	if(cfg_child_init() || cn_drain_init() < 0)
		return -1;
	wait_set = cn_wait_new();
	if(wait_set < 0 || cn_wait_add(wait_set, cn_drain_fd()) < 0
			|| cn_wait_add(wait_set, cn_ring_fd(cn_outbox_notes(), 0)) < 0
			|| cn_wait_add(wait_set, cn_ring_fd(cn_http_proc_ended(), 0)) < 0)
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
