/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Sends rows and snapshots through the HTTP processes, heeds how they end. In
 * the outbox process. */

#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/rand/kam_rand.h"

#include "base_limits.h"
#include "base_stats.h"
#include "http_jobs.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "outbox.h"
#include "outbox_batch.h"
#include "outbox_delivery.h"
#include "outbox_leaving.h"
#include "outbox_resync.h"
#include "outbox_retry.h"
#include "outbox_table.h"
#include "reg_usrloc.h"

/* An AOR with something under way is looked at again after this. */
#define CN_AGAIN_US 50000

struct delivery
{
	struct delivery *next; /* free ones */
	struct cn_row *row;	   /* NULL: of a task */
	struct cn_task *task;
	int64_t began_us;
	struct cn_job *job;
};

static struct delivery *deliveries;
static struct delivery *free_deliveries;
static int under_way, most;

/* of cn_delivery_choose() */
static struct cn_row **chosen;
static int chosen_count;

int cn_delivery_init(void)
{
	int i;

	most = cn_http_jobs_spare_most();
	cn_retry_init(most);
	deliveries = calloc(most, sizeof(*deliveries));
	chosen = calloc(most, sizeof(*chosen));
	if(deliveries == NULL || chosen == NULL) {
		LM_ERR("out of memory\n");
		return -1;
	}
	for(i = 0; i < most; i++) {
		deliveries[i].next = free_deliveries;
		free_deliveries = &deliveries[i];
	}
	return 0;
}

bool cn_delivery_has_room(void)
{
	return under_way + chosen_count < cn_retry_window();
}

bool cn_delivery_any(void)
{
	return under_way > 0;
}

/* -------- sending -------- */

/* @param newest number of its slot, when it was chosen */
static int send(struct delivery *d, const struct cn_delivery_facts *facts,
		int64_t newest)
{
	d->job = cn_job_new_delivery(facts);
	if(d->job == NULL) {
		LM_ERR("no shared memory for an event of the outbox, increase it "
			   "(kamailio -m)\n");
		return -1;
	}
	if(!cn_index_enter_delivery(d->job, newest)) {
		cn_job_free(d->job);
		return -1;
	}
	d->began_us = cn_now_us();
	free_deliveries = d->next;
	under_way++;
	cn_http_jobs_give_spare(d->job);
	return 0;
}

/* Is there no point in sending the row? It tells of a contact's leaving that is
 * there again; or a server that is dead had it, and the contact has come here
 * since. */
static bool is_needless(const struct cn_row *row)
{
	if(row->kind != CN_KIND_REGISTER)
		return cn_usrloc_is_live(row->of->name, row->contacts);
	return row->taken
		   && cn_usrloc_came_here(
				   row->of->name, row->contacts, row->created_us / 1000000);
}

static void bury(struct cn_row *row, const char *why)
{
	LM_WARN("event %s of %s is a dead letter: %s\n", row->id, row->of->name,
			why);
	cn_stats_count(CN_COUNTER_dead);
	cn_row_set_state(row, CN_ROW_DEAD);
	cn_batch_change(row);
}

static bool is_too_old(const struct cn_row *row)
{
	return cn_number_clock_us() - row->created_us
		   > (int64_t)cn_limits->outbox_max_age_s * 1000000;
}

void cn_delivery_choose(int64_t now_us)
{
	struct cn_row *row;

	while(cn_delivery_has_room()
			&& (row = cn_rows_take_due(now_us, cn_retry_is_probing()))
					   != NULL) {
		if(is_too_old(row)) {
			if(row->cause == CN_CAUSE_none)
				row->cause = CN_CAUSE_timeout;
			bury(row, "outbox_max_age has passed");
			cn_rows_done(row->of, 0);
		} else if(is_needless(row)) {
			cn_batch_doom(row);
			cn_rows_done(row->of, 0);
		} else {
			row->newest = cn_index_newest(row->of->hash);
			row->sent = true;
			row->posted = false;
			chosen[chosen_count++] = row;
			if(cn_row_follows_doomed(row))
				cn_batch_hurry();
		}
	}
}

static void put_back(struct cn_row *row, int64_t due_us)
{
	row->sent = false;
	if(row->doomed)
		cn_batch_doom(row);
	cn_rows_done(row->of, due_us);
}

void cn_delivery_give_up(void)
{
	int i;

	for(i = 0; i < chosen_count; i++)
		put_back(chosen[i], 0);
	chosen_count = 0;
}

static void send_row(struct cn_row *row, const str *body)
{
	struct delivery *d = free_deliveries;
	struct cn_delivery_facts facts = {.seq = row->seq,
			.id = row->id,
			.aor = row->of->name,
			.hash = row->of->hash,
			.contacts = row->contacts,
			.body = body,
			.tag = d};

	row->seen = true;
	if(!cn_row_is_next(row))
		return;
	d->row = row;
	d->task = NULL;
	row->posted = send(d, &facts, row->newest) == 0;
	if(!row->posted)
		d->row = NULL;
}

int cn_delivery_send(void)
{
	int err = 0, i;

	for(i = 0; i < chosen_count; i++)
		chosen[i]->seen = false;
	if(chosen_count > 0)
		err = cn_table_bodies(chosen, chosen_count, send_row);
	for(i = 0; i < chosen_count; i++) {
		/* another server has accepted something newer, and deleted it */
		if(err == 0 && !chosen[i]->seen)
			cn_row_doom(chosen[i]);
		if(!chosen[i]->posted)
			put_back(chosen[i], cn_now_us() + CN_AGAIN_US);
	}
	chosen_count = 0;
	return err;
}

static enum cn_told tell(struct cn_task *task, struct cn_event *ev)
{
	struct delivery *d = free_deliveries;
	char contacts[CN_CONTACTS_MAX + 1], aor[CN_ROW_AOR_MAX + 1];
	str body;
	struct cn_delivery_facts facts = {.id = ev->id,
			.aor = aor,
			.hash = ev->hash,
			.contacts = contacts,
			.body = &body,
			.tag = d};

	if(ev->key.len > CN_ROW_AOR_MAX)
		return CN_TOLD_FAILED;
	memcpy(aor, ev->key.s, ev->key.len);
	aor[ev->key.len] = '\0';
	cn_contacts_write(ev, contacts);
	/* what is older comes first */
	if(cn_rows_first(aor, ev->hash))
		return CN_TOLD_NOT_NOW;
	ev->seq = cn_index_number_event(&ev->key, ev->hash, contacts);
	if(ev->seq == 0)
		return CN_TOLD_NOT_NOW;
	if(cn_leaving_render(ev, &body) < 0)
		return CN_TOLD_FAILED;
	facts.seq = ev->seq;
	d->row = NULL;
	d->task = task;
	return send(d, &facts, ev->seq) == 0 ? CN_TOLD : CN_TOLD_NOT_NOW;
}

void cn_delivery_resync(int64_t now_us, int64_t *due_us)
{
	struct cn_task *task;
	struct cn_event *ev;
	enum cn_told told;

	while(cn_delivery_has_room()
			&& (task = cn_resync_next(&ev, now_us, due_us)) != NULL) {
		told = tell(task, ev);
		if(told != CN_TOLD)
			cn_resync_told(task, told);
	}
}

/* -------- ends -------- */

static void log_edge(bool was_probing, const struct cn_outcome *outcome)
{
	if(was_probing == cn_retry_is_probing())
		return;
	if(was_probing)
		LM_NOTICE("the outbox is being delivered again\n");
	else
		LM_NOTICE("the outbox waits for the CMS: %s, HTTP status %u\n",
				cn_cause_name(outcome->cause), outcome->status);
}

/* @return true: the CMS has nothing against other events */
static bool keep_pace(
		const struct delivery *d, const struct cn_outcome *outcome)
{
	bool was_probing = cn_retry_is_probing(), single = true;

	if(outcome->verdict != CN_UNAVAILABLE
			|| cn_policy_is_of_event(outcome->status))
		cn_retry_succeeded();
	else
		single = cn_retry_failed(
				d->began_us, outcome->retry_after, cn_now_us(), kam_rand());
	log_edge(was_probing, outcome);
	return single;
}

static void end_task(const struct delivery *d, const struct cn_outcome *outcome)
{
	enum cn_told told = CN_TOLD_NOT_NOW;

	if(outcome->verdict == CN_ACCEPTED)
		told = CN_TOLD;
	else if(outcome->verdict == CN_REJECTED)
		told = CN_TOLD_REFUSED;
	if(!cn_job_cancelled(d->job) && keep_pace(d, outcome)
			&& told == CN_TOLD_NOT_NOW)
		told = CN_TOLD_FAILED;
	cn_resync_told(d->task, told);
}

/* @return when the AOR's next row is due */
static int64_t failed(
		const struct delivery *d, const struct cn_outcome *outcome)
{
	unsigned pause_s = 0;

	d->row->attempts++;
	d->row->cause = outcome->cause;
	d->row->status = (int)outcome->status;
	if(!keep_pace(d, outcome))
		return 0;
	if(cn_policy_is_of_event(outcome->status))
		pause_s = outcome->retry_after;
	return cn_retry_aor_due_us(
			++d->row->of->failures, pause_s, cn_now_us(), kam_rand());
}

static int64_t end_row(
		const struct delivery *d, const struct cn_outcome *outcome)
{
	struct cn_row *row = d->row;

	switch(outcome->verdict) {
		case CN_ACCEPTED:
			(void)keep_pace(d, outcome);
			cn_stats_count(CN_COUNTER_delivered);
			row->of->failures = 0;
			cn_batch_settle(
					row->of->name, row->of->hash, row->seq, row->contacts);
			return 0;
		case CN_REJECTED:
			(void)keep_pace(d, outcome);
			row->attempts++;
			row->cause = outcome->cause;
			row->status = (int)outcome->status;
			row->of->failures = 0;
			if(!row->doomed)
				bury(row, "the CMS has refused it");
			return 0;
		case CN_UNAVAILABLE:
		case CN_DEFERRED:
			break;
	}
	if(cn_job_cancelled(d->job))
		return cn_now_us() + CN_AGAIN_US;
	return failed(d, outcome);
}

static void end(struct delivery *d)
{
	const struct cn_outcome *outcome = cn_job_outcome(d->job);

	/* what the rows say now is known before anybody is let go */
	if(d->task)
		end_task(d, outcome);
	else
		put_back(d->row, end_row(d, outcome));
	cn_index_leave(d->job);
	cn_order_left(d->job);
	cn_job_release(d->job);
	d->row = NULL;
	d->task = NULL;
	d->next = free_deliveries;
	free_deliveries = d;
	under_way--;
}

bool cn_delivery_take_ended(void)
{
	struct cn_job *job;
	bool any = false;

	while((job = cn_http_jobs_take_ended()) != NULL) {
		end(cn_job_tag(job));
		any = true;
	}
	return any;
}
