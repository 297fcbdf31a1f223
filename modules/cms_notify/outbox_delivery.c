/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Sends rows and snapshots through the HTTP processes, heeds how they end. In
 * the outbox process. */

#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/rand/kam_rand.h"

#include "base_history.h"
#include "base_limits.h"
#include "base_stats.h"
#include "http_jobs.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "outbox.h"
#include "outbox_batch.h"
#include "outbox_delivery.h"
#include "outbox_location.h"
#include "outbox_leaving.h"
#include "outbox_resync.h"
#include "outbox_retry.h"
#include "outbox_table.h"
#include "reg_usrloc.h"

/* An AOR with something under way is looked at again after this. */
#define CN_AGAIN_US 50000

static int under_way;

/* of cn_delivery_choose() */
static struct cn_row **chosen;
static int chosen_count;

int cn_delivery_init(void)
{
	int most = cn_http_jobs_spare_most();

	cn_retry_init(most);
	chosen = calloc(most, sizeof(*chosen));
	if(chosen == NULL)
		LM_ERR("out of memory\n");
	return chosen ? 0 : -1;
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
static int send(const struct cn_delivery_facts *facts, int64_t newest)
{
	struct cn_job *job = cn_job_new_delivery(facts);

	if(job == NULL) {
		LM_ERR("no shared memory for an event of the outbox, increase it "
			   "(kamailio -m)\n");
		return -1;
	}
	if(!cn_index_enter_delivery(job, newest)) {
		cn_job_free(job);
		return -1;
	}
	under_way++;
	cn_http_jobs_give_spare(job);
	return 0;
}

/* A contact that is there and has registered before this is not back. Who runs out is
 * deleted when the row is stored, but usrloc tells of other deletions before they are
 * made. */
static int64_t back_since_s(const struct cn_row *row)
{
	return row->kind == CN_KIND_EXPIRE ? 0 : row->created_us / 1000000;
}

/* Is there no point in sending the row? It tells of a contact's leaving that is
 * there again; or a server that is dead had it, and the contact has come here
 * since. */
static bool is_needless(const struct cn_row *row)
{
	if(row->kind != CN_KIND_REGISTER)
		return cn_location_is_back(
				row->of->name, row->contacts, back_since_s(row));
	return row->taken
		   && cn_usrloc_came_here(
				   row->of->name, row->contacts, row->created_us / 1000000);
}

/* Of what the CMS has answered last. */
static void note_step(const struct cn_row *row, enum cn_step_kind kind)
{
	struct cn_step step = {.kind = kind, .cause = row->cause};
	str key = {row->of->name, strlen(row->of->name)};
	str id = {(char *)row->id, strlen(row->id)};

	step.device = cn_history_device(&key);
	step.status = row->status;
	step.reason = row->reason;
	cn_step_set_id(&step, &id);
	cn_step_set_text(
			&step, cn_kind_name(row->kind), strlen(cn_kind_name(row->kind)));
	cn_history_put(0, &step);
}

static void bury(struct cn_row *row, const char *why)
{
	LM_WARN("event %s of %s is a dead letter: %s\n", row->id, row->of->name,
			why);
	cn_stats_stored(CN_STORED_DEAD, row->kind);
	note_step(row, CN_STEP_DEAD);
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

static void send_row(struct cn_row *row, const str *body)
{
	struct cn_delivery_facts facts = {.seq = row->seq,
			.id = row->id,
			.aor = row->of->name,
			.hash = row->of->hash,
			.contacts = row->contacts,
			.body = body};

	row->seen = true;
	row->posted = cn_row_is_next(row) && send(&facts, row->newest) == 0;
}

int cn_delivery_send(bool now)
{
	int err = 0, i;

	for(i = 0; i < chosen_count; i++)
		chosen[i]->seen = !now;
	if(now && chosen_count > 0)
		err = cn_table_bodies(chosen, chosen_count, send_row);
	for(i = 0; i < chosen_count; i++) {
		/* another server has accepted something newer, and deleted it */
		if(err == 0 && !chosen[i]->seen)
			cn_row_doom(chosen[i]);
		if(!chosen[i]->posted)
			put_back(chosen[i], now ? cn_now_us() + CN_AGAIN_US : 0);
	}
	chosen_count = 0;
	return err;
}

static enum cn_told tell(struct cn_task *task, struct cn_event *ev)
{
	char contacts[CN_CONTACTS_MAX + 1], aor[CN_ROW_AOR_MAX + 1];
	str body;
	struct cn_delivery_facts facts = {.id = ev->id,
			.aor = aor,
			.hash = ev->hash,
			.contacts = contacts,
			.body = &body,
			.tag = task};

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
	return send(&facts, ev->seq) == 0 ? CN_TOLD : CN_TOLD_NOT_NOW;
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
static bool keep_pace(const struct cn_job *job)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);
	bool was_probing = cn_retry_is_probing(), single = true;

	if(outcome->verdict != CN_UNAVAILABLE
			|| cn_policy_is_of_event(outcome->status))
		cn_retry_succeeded();
	else
		single = cn_retry_failed(cn_job_parked_us(job), outcome->retry_after,
				cn_now_us(), kam_rand());
	log_edge(was_probing, outcome);
	return single;
}

static enum cn_told end_task(const struct cn_job *job)
{
	enum cn_verdict verdict = cn_job_outcome(job)->verdict;
	bool single = !cn_job_cancelled(job) && keep_pace(job);

	if(verdict == CN_ACCEPTED)
		return CN_TOLD;
	if(verdict == CN_REJECTED)
		return CN_TOLD_REFUSED;
	return single ? CN_TOLD_FAILED : CN_TOLD_NOT_NOW;
}

/* @return when the AOR's next row is due */
static int64_t end_row(struct cn_row *row, const struct cn_job *job)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);
	bool single;

	if(cn_job_cancelled(job))
		return cn_now_us() + CN_AGAIN_US;
	single = keep_pace(job);
	row->cause = outcome->cause;
	row->status = (int)outcome->status;
	if(outcome->verdict == CN_ACCEPTED) {
		cn_stats_stored(CN_STORED_DELIVERED, row->kind);
		cn_stats_latency(
				CN_LATENCY_OUTBOX, cn_number_clock_us() - row->created_us);
		note_step(row, CN_STEP_DELIVERED);
		row->of->failures = 0;
		cn_batch_settle(row->of->name, row->of->hash, row->seq, row->contacts);
		return 0;
	}
	row->attempts++;
	if(outcome->verdict == CN_REJECTED) {
		row->of->failures = 0;
		if(!row->doomed)
			bury(row, "the CMS has refused it");
		return 0;
	}
	if(!single)
		return 0;
	return cn_retry_aor_due_us(++row->of->failures,
			cn_policy_is_of_event(outcome->status) ? outcome->retry_after : 0,
			cn_now_us(), kam_rand());
}

/* What the rows say now is known before anybody is let go. */
static void end(struct cn_job *job)
{
	struct cn_task *task = cn_job_tag(job);
	struct cn_row *row;

	if(task) {
		cn_resync_told(task, end_task(job));
	} else {
		row = cn_rows_find(
				cn_job_key(job)->s, cn_job_hash(job), cn_job_seq(job));
		put_back(row, end_row(row, job));
	}
	cn_index_leave(job);
	cn_order_left(job);
	cn_job_release(job);
	under_way--;
}

void cn_delivery_take_ended(void)
{
	struct cn_job *job;

	while((job = cn_http_jobs_take_ended()) != NULL)
		end(job);
}
