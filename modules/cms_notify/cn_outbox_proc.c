/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/fmsg.h"
#include "../../core/hashes.h"
#include "../../core/pt.h"
#include "../../core/rand/kam_rand.h"
#include "../../core/sr_module.h"

#include "cn_backoff.h"
#include "cn_binding.h"
#include "cn_body.h"
#include "cn_conf.h"
#include "cn_device.h"
#include "cn_drain.h"
#include "cn_http_proc.h"
#include "cn_outbox.h"
#include "cn_outbox_db.h"
#include "cn_outbox_proc.h"
#include "cn_ring.h"
#include "cn_stats.h"

#define CN_PAGE 100
#define CN_STATEMENT_MS 10000
#define CN_TICK_US 1000000
#define CN_DRAIN_LOOK_US 20000
/* The HTTP processes end what is under way by the end of the time. */
#define CN_DRAIN_AFTER_HTTP_US 200000
#define CN_DB_RETRY_US 1000000
/* A device with a registration under way is looked at again after this. */
#define CN_QUIET_US 50000

/* Failures in a row from which on it is the CMS and not the event; the probes
 * that follow. */
#define CN_AWAY 3
#define CN_AWAY_FIRST_MS 500
#define CN_AWAY_CAP_MS 10000

/* An event on its way, or one whose end the table does not know yet. */
enum flight_state
{
	FLIGHT_FREE,
	FLIGHT_UNDER_WAY,
	FLIGHT_OUTDATED, /* under way, and not to be tried again */
	FLIGHT_DONE,	 /* to be deleted */
	FLIGHT_REFUSED	 /* to become a dead letter */
};

struct flight
{
	enum flight_state state;
	unsigned hash;
	int64_t began_us;
	struct cn_row row;
};

/* Servers that share the table show that they live, and are looked at. */
#define CN_BEAT_TICKS 3
#define CN_COUNT_TICKS 60
/* So many looks at a server that shows nothing, and it is dead. */
#define CN_SERVER_LOOKS 5
#define CN_SERVERS 32

static struct flight *flights;
static int flight_count; /* room */

/* The rows that are looked at one after the other, a page at a time; after the
 * last page from the beginning, when look_us has come. */
static struct
{
	struct cn_row rows[CN_PAGE];
	int count, next;
	int64_t after;
	bool last;		 /* no page follows this one */
	int64_t look_us; /* when a new round begins */
	int64_t soon_us; /* when, for all that was seen in this round */
} page;

/* How the CMS takes it. */
static struct
{
	int failures;	/* in a row */
	int window;		/* events that may be under way */
	int64_t due_us; /* not before */
	int64_t failed_us;
} pace = {.window = 1};

static int64_t db_due_us; /* the database has failed: not before */
static int64_t tick_us;
static cn_event_show_f show_event;
static bool rows_known;			 /* whose rows wait */
static bool rows_counted = true; /* how many */

static unsigned hash_of(const char *device)
{
	str s = {(char *)device, strlen(device)};

	return core_hash(&s, NULL, 0);
}

static void db_failed(void)
{
	db_due_us = cn_now_us() + CN_DB_RETRY_US;
}

static void look_at(int64_t us)
{
	if(us < page.look_us)
		page.look_us = us;
}

/* -------- flights -------- */

static struct flight *find_flight(int64_t id)
{
	int i;

	for(i = 0; i < flight_count; i++) {
		if(flights[i].state != FLIGHT_FREE && flights[i].row.id == id)
			return &flights[i];
	}
	return NULL;
}

static struct flight *free_flight(void)
{
	int i, busy = 0;
	struct flight *found = NULL;

	for(i = 0; i < flight_count; i++) {
		if(flights[i].state == FLIGHT_FREE)
			found = found ? found : &flights[i];
		else
			busy++;
	}
	return busy < pace.window ? found : NULL;
}

/* What waits no more. */
static void leave(struct flight *f)
{
	cn_backoff_forget(f->row.device, f->hash);
	cn_outbox_left(f->hash);
	f->state = FLIGHT_FREE;
}

static bool is_under_way(const struct cn_row *row)
{
	struct flight *f = find_flight(row->id);

	if(f == NULL)
		return false;
	if(f->state == FLIGHT_UNDER_WAY)
		f->state = FLIGHT_OUTDATED;
	return true;
}

/* -------- what the table is to know -------- */

static int delete_done(void)
{
	struct flight *done[CN_OUTBOX_DB_MANY];
	int64_t ids[CN_OUTBOX_DB_MANY];
	int i, n = 0;

	for(i = 0; i < flight_count && n < CN_OUTBOX_DB_MANY; i++) {
		if(flights[i].state != FLIGHT_DONE)
			continue;
		ids[n] = flights[i].row.id;
		done[n++] = &flights[i];
	}
	if(n > 0 && cn_outbox_db_delete(ids, n) < 0)
		return -1;
	for(i = 0; i < n; i++)
		leave(done[i]);
	return n;
}

static int bury(struct cn_row *row, const char *why)
{
	if(cn_outbox_db_update(row, CN_ROW_DEAD) < 0)
		return -1;
	LM_WARN("event %s of %s is a dead letter: %s\n", row->event_id, row->device,
			why);
	cn_stats_count(CN_COUNTER_dead);
	cn_outbox_died();
	return 0;
}

static int bury_refused(void)
{
	int i;

	for(i = 0; i < flight_count; i++) {
		struct flight *f = &flights[i];

		if(f->state != FLIGHT_REFUSED)
			continue;
		if(bury(&f->row, "the CMS has refused it") < 0)
			return -1;
		leave(f);
	}
	return 0;
}

static void write_ends(void)
{
	int n;

	if(cn_now_us() < db_due_us)
		return;
	while((n = delete_done()) == CN_OUTBOX_DB_MANY)
		;
	if(n < 0 || bury_refused() < 0)
		db_failed();
}

/* -------- ends -------- */

static void cms_works(void)
{
	if(pace.failures >= CN_AWAY)
		LM_NOTICE("the outbox is being delivered again\n");
	pace.failures = 0;
	pace.due_us = 0;
	if(pace.window < flight_count)
		pace.window *= 2;
}

static void cms_failed(const struct flight *f, const struct cn_outcome *outcome)
{
	int64_t now = cn_now_us(), wait_us;

	wait_us = (int64_t)outcome->retry_after * 1000000;
	if(pace.due_us < now + wait_us)
		pace.due_us = now + wait_us;
	if(f->began_us < pace.failed_us)
		return; /* was under way when another one failed: no news */
	pace.failed_us = now;
	pace.window = 1;
	if(++pace.failures < CN_AWAY) {
		cn_backoff_hold(f->row.device, f->hash, now, kam_rand());
	} else {
		if(pace.failures == CN_AWAY)
			LM_NOTICE("the outbox waits for the CMS: %s, HTTP status %u\n",
					cn_cause_name(outcome->cause), outcome->status);
		wait_us = 1000LL
				  * cn_policy_backoff_ms(pace.failures - CN_AWAY + 1,
						  CN_AWAY_FIRST_MS, CN_AWAY_CAP_MS, kam_rand());
		if(pace.due_us < now + wait_us)
			pace.due_us = now + wait_us;
	}
}

static void note_attempt(struct cn_row *row, const struct cn_outcome *outcome)
{
	row->attempts++;
	strcpy(row->cause, cn_cause_name(outcome->cause));
	row->status = (int)outcome->status;
}

static void try_again(struct flight *f, const struct cn_outcome *outcome)
{
	if(f->state == FLIGHT_OUTDATED) {
		f->state = FLIGHT_DONE;
		return;
	}
	f->state = FLIGHT_FREE;
	/* never sent: something of the device came in between */
	if(outcome->cause == CN_CAUSE_busy) {
		look_at(cn_now_us() + CN_QUIET_US);
		return;
	}
	cms_failed(f, outcome);
	note_attempt(&f->row, outcome);
	if(cn_outbox_db_update(&f->row, CN_ROW_WAITING) < 0)
		db_failed();
}

static void end(struct cn_job *job)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);
	struct flight *f = find_flight(cn_job_row(job));

	if(f == NULL) {
		LM_BUG("event %.*s is not under way\n", cn_job_id(job)->len,
				cn_job_id(job)->s);
		return;
	}
	switch(outcome->verdict) {
		case CN_ACCEPTED:
			f->state = FLIGHT_DONE;
			cn_stats_count(CN_COUNTER_delivered);
			cms_works();
			break;
		case CN_REJECTED:
			f->state = FLIGHT_REFUSED;
			note_attempt(&f->row, outcome);
			cms_works();
			break;
		case CN_UNAVAILABLE:
			try_again(f, outcome);
			break;
	}
}

static void take_ended(void)
{
	struct cn_job *job;
	bool any = false;

	while((job = cn_http_proc_take_ended()) != NULL) {
		end(job);
		cn_job_release(job);
		any = true;
	}
	if(any)
		look_at(cn_now_us()); /* the next one of the device */
}

/* -------- notes -------- */

/* The body of an event that no request made. */
static int render(const struct cn_event *ev, str *body)
{
	int err;

	show_event(ev);
	err = cn_body_render(faked_msg_next(), ev, body);
	show_event(NULL);
	if(err < 0)
		LM_ERR("event %s of %.*s: no memory for its body\n", ev->id,
				ev->aor.len, ev->aor.s);
	return err;
}

/* A contact has gone. That it is back already is told by the event that brought
 * it back. */
static int take_left(const struct cn_note *note)
{
	int err = 1;
	str body;

	if(!cn_binding_is_live(note->device, note->about)
			&& render(note->event, &body) == 0)
		err = cn_outbox_store_left(note, &body);
	if(err >= 0)
		cn_outbox_left_done(note, err == 0);
	return err;
}

static int heed(const struct cn_note *note)
{
	switch(note->type) {
		case CN_NOTE_STORED:
		case CN_NOTE_ACCEPTED:
			return cn_outbox_outdate(note, is_under_way);
		case CN_NOTE_LEFT:
			return take_left(note);
		case CN_NOTE_LOOK:
			break;
	}
	return 0;
}

/* @return false: the database has failed, there is more to be heeded */
static bool take_notes(void)
{
	static struct cn_note *note;

	if(cn_now_us() < db_due_us)
		return note == NULL;
	while(note || (note = cn_ring_take(cn_outbox_notes())) != NULL) {
		if(heed(note) < 0) {
			db_failed();
			return false;
		}
		cn_note_free(note);
		note = NULL;
		look_at(cn_now_us());
	}
	return true;
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
	if(n > 0)
		page.after = page.rows[n - 1].id;
	return n;
}

/* A round is over: begin the next one when something of this one is due. */
static void end_round(void)
{
	look_at(page.soon_us);
	page.soon_us = INT64_MAX;
}

static void not_before(int64_t us)
{
	if(us < page.soon_us)
		page.soon_us = us;
}

/* May this row be sent? */
static bool is_due(const struct cn_row *row, unsigned hash, unsigned generation,
		int64_t now)
{
	str device = {(char *)row->device, strlen(row->device)};
	int64_t due;

	if(find_flight(row->id))
		return false; /* its end begins a new round */
	/* while the CMS is away each is as good a probe as any other */
	due = pace.failures < CN_AWAY ? cn_backoff_due_us(row->device, hash) : 0;
	if(due > now) {
		not_before(due);
		return false;
	}
	if(!cn_device_quiet(&device, hash, generation)) {
		not_before(now + CN_QUIET_US);
		return false;
	}
	return true;
}

/* Does the row tell of a contact's leaving that is there again? */
static bool has_come_back(const struct cn_row *row)
{
	return strcmp(row->event, cn_kind_name(CN_KIND_REGISTER)) != 0
		   && cn_binding_is_live(row->device, row->about);
}

static int drop(const struct cn_row *row, unsigned hash)
{
	if(cn_outbox_db_delete(&row->id, 1) < 0)
		return -1;
	cn_backoff_forget(row->device, hash);
	cn_outbox_left(hash);
	not_before(cn_now_us());
	return 0;
}

static int post(
		struct flight *f, struct cn_row *row, unsigned hash, unsigned generation)
{
	str id = {row->event_id, strlen(row->event_id)};
	str device = {row->device, strlen(row->device)};
	struct cn_job *job;
	str body;
	int err = cn_outbox_db_body(row->id, &body);

	if(err != 0)
		return err < 0 ? -1 : 0; /* it does not wait any more */
	job = cn_job_new_delivery(row->id, &id, &device, hash, generation, &body);
	if(job == NULL) {
		LM_ERR("no shared memory for an event of the outbox, increase it "
			   "(kamailio -m)\n");
		return -1;
	}
	f->state = FLIGHT_UNDER_WAY;
	f->hash = hash;
	f->began_us = cn_now_us();
	f->row = *row;
	cn_http_proc_give_spare(job);
	return 0;
}

static int offer(struct flight *f, struct cn_row *row, int64_t now)
{
	unsigned hash = hash_of(row->device);
	unsigned generation = cn_device_generation(hash);

	if(!is_due(row, hash, generation, now))
		return 0;
	if(is_too_old(row)) {
		if(bury(row, "outbox_max_age has passed") < 0)
			return -1;
		cn_backoff_forget(row->device, hash);
		cn_outbox_left(hash);
		not_before(now);
		return 0;
	}
	/* After is_due(): if the device's registration has ended in between, what
	 * it makes outdated is known now. */
	if(!take_notes())
		return -1;
	if(has_come_back(row))
		return drop(row, hash);
	return post(f, row, hash, generation);
}

static void send_some(void)
{
	int64_t now = cn_now_us();
	struct flight *f;
	int n = 0;

	if(pace.failures >= CN_AWAY && cn_stats_answered_us() > pace.failed_us)
		cms_works(); /* it takes registrations again */
	if(cn_outbox_paused() || now < pace.due_us || now < db_due_us)
		return;
	while((f = free_flight()) != NULL) {
		if(page.next == page.count) {
			n = read_page(now);
			if(n <= 0)
				break;
		}
		while(f->state == FLIGHT_FREE && page.next < page.count && n >= 0)
			n = offer(f, &page.rows[page.next++], now);
		if(n < 0)
			break;
	}
	if(page.next == page.count && page.last)
		end_round();
	if(n < 0)
		db_failed();
}

/* -------- now and then -------- */

static int count_rows(void)
{
	unsigned mark = cn_outbox_count();
	struct cn_row_counts counts;

	if(cn_outbox_db_count(&counts) < 0)
		return -1;
	rows_counted = cn_outbox_counted(mark, counts.waiting, counts.dead);
	return 0;
}

/* What was in the table before this process. */
static int find_rows(void)
{
	struct cn_row rows[CN_PAGE];
	int64_t after = 0;
	int n, i;

	do {
		n = cn_outbox_db_waiting(after, INT64_MAX, rows, CN_PAGE);
		for(i = 0; i < n; i++)
			cn_outbox_found(hash_of(rows[i].device));
		if(n > 0)
			after = rows[n - 1].id;
	} while(n == CN_PAGE);
	if(n < 0)
		return -1;
	cn_outbox_all_found();
	rows_known = true;
	return 0;
}

static int know_rows(void)
{
	if(!rows_known && find_rows() < 0)
		return -1;
	return rows_counted ? 0 : count_rows();
}

/* The others, as they were when they last showed that they live. */
static struct
{
	struct cn_server servers[CN_SERVERS];
	int looks[CN_SERVERS]; /* since then */
	int count;
} others;

static int look_at_server(const struct cn_server *server)
{
	int i, n;

	for(i = 0; i < others.count && others.servers[i].id != server->id; i++)
		;
	if(i == CN_SERVERS)
		return 0;
	if(i == others.count || others.servers[i].beat != server->beat) {
		if(i == others.count)
			others.count++;
		others.servers[i] = *server;
		others.looks[i] = 0;
	}
	/* counted in looks, not in time: a database that was away for all of us
	 * makes nobody dead */
	if(++others.looks[i] <= CN_SERVER_LOOKS)
		return 0;
	others.looks[i] = 0;
	n = cn_outbox_db_take_over(server);
	if(n <= 0)
		return n;
	rows_known = rows_counted = false;
	look_at(cn_now_us());
	if(know_rows() < 0)
		return -1;
	LM_NOTICE("%d events of a server that has stopped are delivered by this "
			  "one\n",
			n);
	return 0;
}

static int beat(void)
{
	struct cn_server servers[CN_SERVERS];
	int n, i;

	if(cn_outbox_db_beat() < 0)
		return -1;
	n = cn_outbox_db_servers(servers, CN_SERVERS);
	for(i = 0; i < n; i++) {
		if(look_at_server(&servers[i]) < 0)
			return -1;
	}
	return n;
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
	if(know_rows() < 0
			|| (cn_outbox_db_is_shared() && ticks % CN_BEAT_TICKS == 0
					&& beat() < 0))
		db_failed();
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When there is something to do, if nobody wakes us. */
static int64_t next_us(void)
{
	int64_t next = INT64_MAX;

	if(free_flight() && !cn_outbox_paused())
		next = page.next < page.count || !page.last ? 0 : page.look_us;
	if(next < pace.due_us)
		next = pace.due_us;
	cn_outbox_set_next_us(next == INT64_MAX ? 0 : next);
	next = earliest(next, tick_us);
	if(next < db_due_us)
		next = db_due_us;
	return next;
}

static void sleep_until(int64_t until_us)
{
	struct cn_ring *rings[] = {cn_outbox_notes(), cn_http_proc_ended()};
	struct pollfd fds[] = {{.fd = cn_ring_fd(rings[0]), .events = POLLIN},
			{.fd = cn_ring_fd(rings[1]), .events = POLLIN},
			{.fd = cn_drain_fd(), .events = POLLIN}};
	int64_t left = until_us - cn_now_us();

	if(left <= 0 || !cn_ring_sleep(rings[0]))
		return;
	if(cn_ring_sleep(rings[1])) {
		if(poll(fds, 3, (int)((left + 999) / 1000)) < 0 && errno != EINTR)
			LM_ERR("poll: %s\n", strerror(errno));
		cn_ring_wake(rings[1]);
	}
	cn_ring_wake(rings[0]);
}

static bool any_flight(void)
{
	int i;

	for(i = 0; i < flight_count && flights[i].state == FLIGHT_FREE; i++)
		;
	return i < flight_count;
}

/* The server stops: what the HTTP processes still bring to an end is noted, so
 * that it is not sent again after the start. The rest is in the table. */
static void drain(void)
{
	db_due_us = 0;
	while(any_flight() && cn_drain_left_us() > -CN_DRAIN_AFTER_HTTP_US) {
		take_ended();
		write_ends();
		if(any_flight())
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
		take_ended();
		write_ends();
		tick();
		send_some();
		sleep_until(next_us());
	}
	drain();
}

int cn_outbox_proc_init(cn_event_show_f show)
{
	if(!cn_outbox_exists())
		return 0;
	show_event = show;
	if(faked_msg_init() < 0) {
		LM_ERR("cannot make a message\n");
		return -1;
	}
	flight_count = cn_http_proc_spare();
	flights = calloc(flight_count, sizeof(*flights));
	if(flights == NULL) {
		LM_ERR("out of memory\n");
		return -1;
	}
	return 0;
}

int cn_outbox_proc_count(void)
{
	return cn_outbox_exists() ? 1 : 0;
}

int cn_outbox_proc_fork(void)
{
	int pid;

	if(!cn_outbox_exists())
		return 0;
	/* no child_init of any module: a connection of its own, no script */
	pid = fork_process(PROC_NOCHLDINIT, "cms_notify outbox", 0);
	if(pid == 0) {
		if(cfg_child_init() || cn_drain_init() < 0)
			exit(-1);
		run();
		_exit(0);
	}
	return pid < 0 ? -1 : 0;
}
