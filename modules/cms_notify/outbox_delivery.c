/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/rand/kam_rand.h"

#include "outbox_retry.h"
#include "job_index.h"
#include "outbox_delivery.h"
#include "http_proc.h"
#include "outbox.h"
#include "outbox_pace.h"
#include "base_stats.h"
#include "job_order.h"
#include "outbox_waiting.h"

/* What the table is to know of an event that has ended. */
enum state
{
	STATE_FREE,
	STATE_UNDER_WAY,
	STATE_OUTDATED,	 /* under way, and not to be tried again */
	STATE_DELIVERED, /* to be deleted, and what it makes outdated */
	STATE_DONE,		 /* to be deleted */
	STATE_REFUSED,	 /* to become a dead letter */
	STATE_FAILED	 /* to be tried again, with one attempt more */
};

struct flight
{
	enum state state;
	unsigned hash;
	int64_t began_us;
	struct cn_job *job;	  /* in the index of devices until the state is FREE */
	struct cn_task *task; /* no row: a binding that is told again */
	struct cn_row row;
};

static struct flight *flights;
static int count;
static int64_t last_task; /* ids of tasks are negative */

int cn_flight_init(void)
{
	count = cn_http_proc_spare();
	cn_pace_init(count);
	flights = calloc(count, sizeof(*flights));
	if(flights == NULL) {
		LM_ERR("out of memory\n");
		return -1;
	}
	return 0;
}

static struct flight *find(int64_t id)
{
	int i;

	for(i = 0; i < count; i++) {
		if(flights[i].state != STATE_FREE && flights[i].row.id == id)
			return &flights[i];
	}
	return NULL;
}

static struct flight *find_free(void)
{
	struct flight *found = NULL;
	int i, busy = 0;

	for(i = 0; i < count; i++) {
		if(flights[i].state != STATE_FREE)
			busy++;
		else if(found == NULL)
			found = &flights[i];
	}
	return busy < cn_pace_window() ? found : NULL;
}

bool cn_flight_room(void)
{
	return find_free() != NULL;
}

bool cn_flight_has(const struct cn_row *row)
{
	return find(row->id) != NULL;
}

bool cn_flight_has_device(const char *device)
{
	int i;

	for(i = 0; i < count; i++) {
		if(flights[i].state != STATE_FREE
				&& strcmp(flights[i].row.device, device) == 0)
			return true;
	}
	return false;
}

bool cn_flight_any(void)
{
	int i;

	for(i = 0; i < count && flights[i].state == STATE_FREE; i++)
		;
	return i < count;
}

int cn_flight_begin(const struct cn_row *row, const str *body, unsigned hash,
		unsigned generation, struct cn_task *task)
{
	str id = {(char *)row->event_id, strlen(row->event_id)};
	str device = {(char *)row->device, strlen(row->device)};
	struct flight *f = find_free();
	int64_t number = task ? --last_task : row->id;
	struct cn_job *job;

	if(f == NULL) {
		LM_BUG("no room for event %s\n", row->event_id);
		return -1;
	}
	job = cn_job_new_delivery(number, &id, &device, hash, generation, body);
	if(job == NULL) {
		LM_ERR("no shared memory for an event of the outbox, increase it "
			   "(kamailio -m)\n");
		return -1;
	}
	f->state = STATE_UNDER_WAY;
	f->job = job;
	f->hash = hash;
	f->began_us = cn_now_us();
	f->task = task;
	f->row = *row;
	f->row.id = number;
	cn_http_proc_give_spare(job);
	return 0;
}

bool cn_flight_is_outdated(const struct cn_row *row)
{
	struct flight *f = find(row->id);

	if(f == NULL)
		return false;
	if(f->state == STATE_UNDER_WAY)
		f->state = STATE_OUTDATED;
	else if(f->state == STATE_FAILED) /* its end is not in the table yet */
		f->state = STATE_DONE;
	return true;
}

/* -------- ends -------- */

static void set_free(struct flight *f)
{
	f->state = STATE_FREE;
	cn_device_end_delivery(f->job);
	cn_turn_left(f->job);
	cn_job_release(f->job);
	f->job = NULL;
}

static void note_attempt(struct flight *f, const struct cn_outcome *outcome)
{
	f->row.attempts++;
	strcpy(f->row.cause, cn_cause_name(outcome->cause));
	f->row.status = (int)outcome->status;
}

static void log_edge(bool was_probing, const struct cn_outcome *outcome)
{
	if(was_probing == cn_pace_is_probing())
		return;
	if(was_probing)
		LM_NOTICE("the outbox is being delivered again\n");
	else
		LM_NOTICE("the outbox waits for the CMS: %s, HTTP status %u\n",
				cn_cause_name(outcome->cause), outcome->status);
}

/* @return true: the CMS has nothing against other events */
static bool keep_pace(const struct flight *f, const struct cn_outcome *outcome)
{
	bool was_probing = cn_pace_is_probing(), single = true;

	if(outcome->verdict != CN_UNAVAILABLE
			|| cn_policy_is_of_event(outcome->status))
		cn_pace_succeeded();
	else
		single = cn_pace_failed(
				f->began_us, outcome->retry_after, cn_now_us(), kam_rand());
	log_edge(was_probing, outcome);
	return single;
}

static void end_task(struct flight *f, const struct cn_outcome *outcome)
{
	enum cn_told told = CN_TOLD_NOT_NOW;

	switch(outcome->verdict) {
		case CN_ACCEPTED:
			told = CN_TOLD;
			break;
		case CN_REJECTED:
			told = CN_TOLD_REFUSED;
			break;
		case CN_UNAVAILABLE:
			break;
	}
	if(outcome->cause != CN_CAUSE_busy && keep_pace(f, outcome)
			&& told == CN_TOLD_NOT_NOW)
		told = CN_TOLD_FAILED;
	set_free(f);
	cn_resync_told(f->task, told);
}

static void end_row(struct flight *f, const struct cn_outcome *outcome)
{
	bool outdated = f->state == STATE_OUTDATED;

	switch(outcome->verdict) {
		case CN_ACCEPTED:
			keep_pace(f, outcome);
			cn_stats_count(CN_COUNTER_delivered);
			f->state = STATE_DELIVERED;
			break;
		case CN_REJECTED:
			keep_pace(f, outcome);
			note_attempt(f, outcome);
			f->state = outdated ? STATE_DONE : STATE_REFUSED;
			break;
		case CN_UNAVAILABLE:
			/* busy: never sent, as something of the device came in between */
			if(outcome->cause == CN_CAUSE_busy) {
				if(outdated)
					f->state = STATE_DONE;
				else
					set_free(f);
				break;
			}
			if(keep_pace(f, outcome))
				cn_backoff_hold(f->row.device, f->hash,
						cn_policy_is_of_event(outcome->status)
								? outcome->retry_after
								: 0,
						cn_now_us(), kam_rand());
			note_attempt(f, outcome);
			f->state = outdated ? STATE_DONE : STATE_FAILED;
			break;
	}
}

bool cn_flight_take_ended(void)
{
	struct cn_job *job;
	struct flight *f;
	bool any = false;

	while((job = cn_http_proc_take_ended()) != NULL) {
		f = find(cn_job_row(job));
		if(f == NULL)
			LM_BUG("event %.*s is not under way\n", cn_job_id(job)->len,
					cn_job_id(job)->s);
		else if(f->task)
			end_task(f, cn_job_outcome(job));
		else
			end_row(f, cn_job_outcome(job));
		any = true;
	}
	return any;
}

/* -------- what the table is to know -------- */

/* What waits no more. */
static void leave(struct flight *f)
{
	cn_backoff_forget(f->row.device, f->hash);
	cn_waiting_left(f->hash);
	set_free(f);
}

static int outdate_letters(void)
{
	int i;

	for(i = 0; i < count; i++) {
		if(flights[i].state != STATE_DELIVERED)
			continue;
		if(cn_outbox_delivered(&flights[i].row, flights[i].hash) < 0)
			return -1;
		flights[i].state = STATE_DONE;
	}
	return 0;
}

/* @return how many; -1: the database failed */
static int delete_done(void)
{
	struct flight *done[CN_OUTBOX_DB_MANY];
	int64_t ids[CN_OUTBOX_DB_MANY];
	int i, n = 0;

	for(i = 0; i < count && n < CN_OUTBOX_DB_MANY; i++) {
		if(flights[i].state != STATE_DONE)
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

int cn_flight_bury(const struct cn_row *row, const char *why)
{
	if(cn_outbox_db_update(row, CN_ROW_DEAD) < 0)
		return -1;
	LM_WARN("event %s of %s is a dead letter: %s\n", row->event_id, row->device,
			why);
	cn_stats_count(CN_COUNTER_dead);
	cn_outbox_died();
	return 0;
}

/* @return 1: written; 0: there is nothing to write; -1: the database failed */
static int write_end(struct flight *f)
{
	if(f->state == STATE_REFUSED) {
		if(cn_flight_bury(&f->row, "the CMS has refused it") < 0)
			return -1;
		cn_backoff_forget(f->row.device, f->hash);
	} else if(f->state == STATE_FAILED) {
		if(cn_outbox_db_update(&f->row, CN_ROW_WAITING) < 0)
			return -1;
	} else {
		return 0;
	}
	set_free(f);
	return 1;
}

int cn_flight_write_ends(void)
{
	int i, n, sum = 0;

	if(outdate_letters() < 0)
		return -1;
	do {
		n = delete_done();
		sum += n;
	} while(n == CN_OUTBOX_DB_MANY);
	for(i = 0; i < count && n >= 0; i++) {
		n = write_end(&flights[i]);
		sum += n;
	}
	return n < 0 ? -1 : sum;
}
