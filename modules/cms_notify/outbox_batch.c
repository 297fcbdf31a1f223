/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the next transaction is to write, and what becomes of it. In the outbox
 * process. */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"

#include "base_stats.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "job_ring.h"
#include "outbox_batch.h"
#include "outbox_db.h"
#include "outbox_leaving.h"
#include "outbox_table.h"
#include "verdict.h"

/* What is deleted costs a transaction, which waits for the disk. */
#define CN_DELETE_MANY 100
#define CN_DELETE_US 20000

/* A row that is written for a command, and is in memory already. */
struct entry
{
	struct cn_command *command;
	struct cn_row *row;
	bool is_new; /* not in the table */
};

static struct
{
	struct entry entries[CN_BATCH_MAX];
	int count;
	struct cn_row *dirty; /* rows to delete, if they are doomed, or to update */
	int doomed;			  /* of these */
	int64_t lease;		  /* 0: none */
	int64_t doomed_us;	  /* since when there is something to delete */
	bool hurry;			  /* that must not wait; also after a failure */
} batch;

/* -------- rows that are in the table -------- */

static bool add_dirty(struct cn_row *row)
{
	if(row->dirty)
		return false;
	row->dirty = true;
	row->next_dirty = batch.dirty;
	batch.dirty = row;
	return true;
}

void cn_batch_doom(struct cn_row *row)
{
	if(!row->doomed)
		cn_row_doom(row);
	if(add_dirty(row) && batch.doomed++ == 0)
		batch.doomed_us = cn_now_us();
}

void cn_batch_change(struct cn_row *row)
{
	(void)add_dirty(row);
	batch.hurry = true;
}

void cn_batch_set_lease(int64_t lease)
{
	batch.lease = lease;
	batch.hurry = true;
}

void cn_batch_settle(
		const char *aor, unsigned hash, int64_t seq, const char *contacts)
{
	struct cn_row *row = cn_rows_first(aor, hash);

	for(; row; row = row->next) {
		if(cn_row_is_settled(row, seq, contacts))
			cn_batch_doom(row);
	}
}

void cn_batch_wait(struct cn_row *row)
{
	struct cn_row *older;

	if(row->state != CN_ROW_WAITING) {
		cn_row_set_state(row, CN_ROW_WAITING);
		cn_batch_change(row);
	}
	/* After a restart it may be there again, as it was: then this is not told, and
	 * what waited still is. */
	if(row->kind == CN_KIND_OFFLINE)
		return;
	for(older = row->of->rows; row->stored && older != row;
			older = older->next) {
		if(cn_row_is_replaced(older, row->seq, row->contacts))
			cn_batch_doom(older);
	}
}

/* -------- entries -------- */

static void fill_row(struct cn_row *row, const struct cn_job *job)
{
	const struct cn_outcome *failure = cn_job_failure(job);

	memset(row, 0, sizeof(*row));
	row->seq = cn_job_seq(job);
	memcpy(row->id, cn_job_id(job)->s, CN_ID_LEN);
	snprintf(row->contacts, sizeof(row->contacts), "%s", cn_job_contacts(job));
	row->kind = CN_KIND_REGISTER;
	row->reason = cn_job_reason(job);
	row->created_us = cn_number_time_us(cn_job_parked_us(job));
	row->cause = failure->cause;
	row->status = (int)failure->status;
}

static struct cn_row *new_row(
		const struct cn_command *command, enum cn_row_state state)
{
	struct cn_row row, *added;

	if(command->job)
		fill_row(&row, command->job);
	else
		cn_leaving_fill_row(command->event, &row);
	row.state = state;
	added = cn_rows_add(command->aor, command->hash, &row);
	if(added == NULL)
		LM_ERR("out of memory\n");
	return added;
}

int cn_batch_add(struct cn_command *command, enum cn_row_state state)
{
	struct entry *e = &batch.entries[batch.count];

	if(batch.count == CN_BATCH_MAX || strlen(command->aor) > CN_ROW_AOR_MAX
			|| !cn_db_is_open())
		return -1;
	e->command = command;
	e->row = cn_rows_find(command->aor, command->hash, command->seq);
	e->is_new = e->row == NULL;
	if(e->row == NULL)
		e->row = new_row(command, state);
	else if(state == CN_ROW_WAITING)
		cn_batch_wait(e->row);
	if(e->row == NULL)
		return -1;
	batch.count++;
	return 0;
}

/* -------- the ends of jobs -------- */

/* @return true: nobody else has ended it before */
bool cn_batch_end_job(struct cn_job *job, bool stored)
{
	struct cn_outcome outcome = *cn_job_failure(job);

	outcome.verdict = stored ? CN_DEFERRED : CN_UNAVAILABLE;
	if(!stored)
		outcome.cause = CN_CAUSE_outbox;
	if(!cn_job_decide(job, &outcome))
		return false;
	cn_verdict_give(job);
	return true;
}

/* -------- writing -------- */

static int insert(const struct entry *e)
{
	str body;

	if(e->command->job)
		body = *cn_job_body(e->command->job);
	else if(cn_leaving_render(e->command->event, &body) < 0)
		return 0; /* it is lost */
	return cn_table_insert(e->command->aor, e->row, &body);
}

static int write_dirty(void)
{
	struct cn_row *row, *doomed[CN_DELETE_MANY];
	int n = 0;

	for(row = batch.dirty; row; row = row->next_dirty) {
		if(row->doomed)
			doomed[n++] = row;
		else if(cn_table_update(row) < 0)
			return -1;
		if(n < CN_DELETE_MANY && row->next_dirty)
			continue;
		if(cn_table_delete(doomed, n) < 0)
			return -1;
		n = 0;
	}
	return 0;
}

static int write_all(void)
{
	int i;

	if(cn_db_begin() < 0)
		return -1;
	for(i = 0; i < batch.count; i++) {
		if(batch.entries[i].is_new && insert(&batch.entries[i]) < 0)
			return -1;
	}
	if(write_dirty() < 0
			|| (batch.lease && cn_table_set_lease(batch.lease) < 0))
		return -1;
	return cn_db_commit();
}

void cn_batch_remove(struct cn_row *row)
{
	char aor[CN_ROW_AOR_MAX + 1];
	unsigned hash = row->of->hash;
	str key = {aor, strlen(row->of->name)};

	memcpy(aor, row->of->name, key.len + 1);
	cn_rows_remove(row);
	cn_order_release(&key, hash); /* who was HELD for it */
}

/* What was dirty has been written. @return what has been deleted */
static struct cn_row *take_deleted(void)
{
	struct cn_row *row, *next, *deleted = NULL;

	for(row = batch.dirty; row; row = next) {
		next = row->next_dirty;
		row->dirty = row->doomed;
		if(row->doomed) {
			row->next_dirty = deleted;
			deleted = row;
		}
	}
	batch.dirty = NULL;
	batch.doomed = 0;
	batch.lease = 0;
	return deleted;
}

static void remove_all(struct cn_row *deleted)
{
	struct cn_row *row;

	while((row = deleted) != NULL) {
		deleted = row->next_dirty;
		row->dirty = false;
		if(!row->sent) /* else its delivery goes on, and removes it */
			cn_batch_remove(row);
	}
}

/* -------- answering -------- */

/* Has it ended, without the CMS having it? */
static bool is_over(const struct cn_job *job)
{
	return cn_job_decided(job) && cn_outbox_end_of(job) == CN_WITHDRAW;
}

/* Too late, or not stored: nobody hears of it, unless it may stand for others. */
static void answer_store(const struct entry *e, bool fine)
{
	const struct cn_command *c = e->command;
	bool others = cn_rows_any_replaced(c->aor, c->hash, c->seq, c->contacts);

	if((cn_batch_end_job(c->job, fine) && fine) || !e->is_new || others)
		cn_batch_wait(e->row);
	else
		cn_batch_doom(e->row);
}

/* Without the database a question is answered as with it: the table is read
 * again, and shows whether the row is there. */
static void answer(struct entry *e, bool fine)
{
	switch(e->command->type) {
		case CN_ASK:
			if(cn_order_answer(e->command->job, true))
				break;
			/* whoever has sent or ended it meanwhile does not know of the row */
			if(is_over(e->command->job))
				cn_batch_doom(e->row);
			else
				cn_batch_wait(e->row);
			break;
		case CN_STORE:
			answer_store(e, fine);
			break;
		case CN_WAIT:
			if(fine)
				cn_batch_wait(e->row);
			/* once more, when it is back */
			else if(cn_ring_push(cn_outbox_ring(), (void **)&e->command) < 0)
				LM_ERR("too much at once for the outbox\n");
			break;
		case CN_LEAVE:
			e->command->busy = e->command->done = fine;
			if(fine) {
				cn_batch_wait(e->row);
				cn_stats_stored(CN_STORED_NOW, e->row->kind);
			}
			break;
		default:
			break;
	}
}

static void answer_all(bool fine)
{
	struct cn_row_counts n;
	int i;

	/* who is answered may ask */
	n = cn_rows_count();
	cn_outbox_publish_counts(n.waiting, n.dead);
	for(i = 0; i < batch.count; i++) {
		struct entry *e = &batch.entries[i];

		if(fine)
			e->row->stored = true;
		answer(e, fine);
		if(e->command == NULL || e->command->type != CN_LEAVE)
			cn_command_free(e->command);
	}
	batch.count = 0;
}

void cn_batch_reset(void)
{
	for(; batch.dirty; batch.dirty = batch.dirty->next_dirty)
		batch.dirty->dirty = false;
	batch.doomed = 0;
}

int64_t cn_batch_due_us(void)
{
	if(batch.count > 0)
		return 0;
	if(batch.dirty == NULL && batch.lease == 0)
		return INT64_MAX;
	if(batch.hurry || batch.doomed >= CN_DELETE_MANY)
		return 0;
	return batch.doomed_us + CN_DELETE_US;
}

void cn_batch_hurry(void)
{
	batch.hurry = true;
}

int cn_batch_size(void)
{
	return batch.count;
}

int cn_batch_write(void)
{
	struct cn_row *deleted = NULL;
	bool fine;

	cn_outbox_db_begins();
	fine = write_all() == 0;
	cn_outbox_db_answered(fine);
	batch.hurry = !fine;
	if(fine)
		deleted = take_deleted();
	else
		cn_db_close();
	answer_all(fine);
	remove_all(deleted);
	return fine ? 0 : -1;
}
