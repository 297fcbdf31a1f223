/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the next transaction is to write, and what becomes of it. In the outbox
 * process. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"

#include "base_stats.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "job_ring.h"
#include "outbox_batch.h"
#include "outbox_db.h"
#include "outbox_table.h"
#include "verdict.h"

/* What is deleted costs a transaction, which waits for the disk. */
#define CN_DELETE_MANY 100
#define CN_DELETE_US 20000

/* A row that is to be written. */
struct entry
{
	struct cn_command *command; /* of the entry */
	const char *aor;			/* in there */
	unsigned hash;
	struct cn_row row;
	str body;
	bool is_copy;		   /* of the body, to be freed */
	struct cn_row *stored; /* it is in the table already */
	struct cn_row *now;	   /* as it is, or may be, in the table */
	int replaced;		   /* rows that go for it */
};

struct list
{
	struct cn_row **rows;
	int count, size;
};

static struct
{
	struct entry *entries;
	int count, size;
	struct list doomed, changed;
	struct list replaced; /* while it is written */
	int64_t lease;		  /* 0: none */
	int64_t doomed_us;	  /* since when there is something to delete */
	bool hurry;			  /* that must not wait; also after a failure */
} batch;

/* -------- lists -------- */

static void *room_for_one_more(void *array, int count, int *size, size_t each)
{
	void *bigger = array;

	if(count < *size)
		return array;
	bigger = realloc(array, each * (*size ? *size * 2 : 64));
	if(bigger)
		*size = *size ? *size * 2 : 64;
	return bigger;
}

/* Without memory the row stays in the table until the next start. */
static void add_row(struct list *list, struct cn_row *row)
{
	struct cn_row **rows = room_for_one_more(
			list->rows, list->count, &list->size, sizeof(*rows));

	if(rows == NULL) {
		LM_ERR("out of memory\n");
		return;
	}
	list->rows = rows;
	rows[list->count++] = row;
}

void cn_batch_doom(struct cn_row *row)
{
	if(!row->doomed)
		cn_row_doom(row);
	if(row->listed || row->going)
		return; /* it goes already */
	row->listed = true;
	if(batch.doomed.count == 0)
		batch.doomed_us = cn_now_us();
	add_row(&batch.doomed, row);
}

void cn_batch_change(struct cn_row *row)
{
	add_row(&batch.changed, row);
}

void cn_batch_set_lease(int64_t lease)
{
	batch.lease = lease;
}

static void doom(struct cn_row *row, void *unused)
{
	(void)unused;
	cn_batch_doom(row);
}

void cn_batch_settle(
		const char *aor, unsigned hash, int64_t seq, const char *contacts)
{
	cn_rows_settled(aor, hash, seq, contacts, doom, NULL);
}

void cn_batch_wait(struct cn_row *row)
{
	if(row->state != CN_ROW_WAITING) {
		cn_row_set_state(row, CN_ROW_WAITING);
		cn_batch_change(row);
	}
	cn_rows_replaced(cn_row_aor(row), cn_row_hash(row), row->seq, row->contacts,
			doom, NULL);
}

/* -------- entries -------- */

static struct entry *new_entry(struct cn_command *command)
{
	struct entry *entries = room_for_one_more(
			batch.entries, batch.count, &batch.size, sizeof(*entries));

	if(entries == NULL) {
		LM_ERR("out of memory\n");
		return NULL;
	}
	batch.entries = entries;
	memset(&entries[batch.count], 0, sizeof(*entries));
	entries[batch.count].command = command;
	return &entries[batch.count++];
}

static void fill_row(struct cn_row *row, const struct cn_job *job)
{
	const struct cn_outcome *failure = cn_job_failure(job);

	row->seq = cn_job_seq(job);
	memcpy(row->id, cn_job_id(job)->s, CN_ID_LEN);
	snprintf(row->contacts, sizeof(row->contacts), "%s", cn_job_contacts(job));
	row->kind = CN_KIND_REGISTER;
	row->reason = cn_job_reason(job);
	row->created_us = cn_number_time_us(cn_job_parked_us(job));
	row->cause = failure->cause;
	row->status = (int)failure->status;
}

int cn_batch_add(struct cn_command *command, enum cn_row_state state)
{
	struct cn_job *job = command->job;
	struct entry *e;

	if(cn_job_key(job)->len > CN_ROW_AOR_MAX || !cn_db_is_open())
		return -1;
	e = new_entry(command);
	if(e == NULL)
		return -1;
	e->aor = cn_job_key(job)->s;
	e->hash = cn_job_hash(job);
	e->stored = cn_rows_find(e->aor, e->hash, cn_job_seq(job));
	e->body = *cn_job_body(job);
	fill_row(&e->row, job);
	e->row.state = state;
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

int cn_batch_take_leave(
		struct cn_command *command, const struct cn_row *row, const str *body)
{
	struct entry *e;
	char *copy = malloc(body->len);

	e = copy ? new_entry(command) : NULL;
	if(e == NULL) {
		free(copy);
		return -1;
	}
	memcpy(copy, body->s, body->len);
	e->aor = command->aor;
	e->hash = command->hash;
	e->row = *row;
	e->body.s = copy;
	e->body.len = body->len;
	e->is_copy = true;
	command->busy = true;
	return 0;
}

/* -------- writing -------- */

static void replace(struct cn_row *row, void *entry)
{
	((struct entry *)entry)->replaced++;
	if(row->going)
		return; /* for another one of this batch */
	row->going = true;
	add_row(&batch.replaced, row);
}

static bool is_question(const struct entry *e)
{
	return e->command->type == CN_ASK;
}

static int write_entry(struct entry *e)
{
	struct cn_row row;

	if(!is_question(e))
		cn_rows_replaced(
				e->aor, e->hash, e->row.seq, e->row.contacts, replace, e);
	if(e->stored == NULL)
		return cn_table_insert(e->aor, &e->row, &e->body);
	row = *e->stored;
	row.state = e->row.state;
	return cn_table_update(&row);
}

static int write_all(void)
{
	int i;

	if(cn_db_begin() < 0)
		return -1;
	for(i = 0; i < batch.count; i++) {
		if(write_entry(&batch.entries[i]) < 0)
			return -1;
	}
	for(i = 0; i < batch.changed.count; i++) {
		if(cn_table_update(batch.changed.rows[i]) < 0)
			return -1;
	}
	if(cn_table_delete(batch.doomed.rows, batch.doomed.count) < 0
			|| cn_table_delete(batch.replaced.rows, batch.replaced.count) < 0
			|| (batch.lease && cn_table_set_lease(batch.lease) < 0))
		return -1;
	return cn_db_commit();
}

void cn_batch_remove(struct cn_row *row)
{
	char aor[CN_ROW_AOR_MAX + 1];
	unsigned hash = cn_row_hash(row);
	str key = {aor, strlen(cn_row_aor(row))};

	memcpy(aor, cn_row_aor(row), key.len + 1);
	cn_rows_remove(row);
	cn_order_release(&key, hash); /* who was HELD for it */
}

/* The first ones, which have been deleted. */
static void remove_some(struct list *list, int count)
{
	int i;

	for(i = 0; i < count; i++) {
		struct cn_row *row = list->rows[i];

		row->going = row->listed = false;
		if(!row->sent)
			cn_batch_remove(row);
		else if(!row->doomed)
			cn_row_doom(row); /* its delivery goes on, and removes it */
	}
	list->count -= count;
	if(list->count > 0)
		memmove(list->rows, list->rows + count,
				list->count * sizeof(*list->rows));
}

/* The row of an entry, in memory, as it is or may be in the table. */
static struct cn_row *row_of(struct entry *e)
{
	struct cn_row *row = e->stored;

	if(row == NULL) {
		row = cn_rows_add(e->aor, e->hash, &e->row);
		if(row == NULL)
			LM_ERR("out of memory: an event of the outbox is told after the "
				   "next start\n");
		return row;
	}
	if(!is_question(e) && row->state != e->row.state)
		cn_row_set_state(row, e->row.state);
	return row;
}

/* Has it ended, without the CMS having it? */
static bool is_over(const struct cn_job *job)
{
	return cn_job_decided(job)
		   && (cn_job_outcome(job)->verdict == CN_REJECTED
				   || (cn_job_outcome(job)->verdict == CN_UNAVAILABLE
						   && !cn_job_may_be_known(job)));
}

static void answer_question(struct entry *e, bool fine)
{
	if(cn_order_answer(e->command->job, e->now != NULL) || e->now == NULL)
		return;
	/* whoever has sent or ended it meanwhile does not know of the row */
	if(is_over(e->command->job))
		cn_batch_doom(e->now);
	else if(fine)
		cn_batch_wait(e->now);
	else
		e->now->going = true; /* nothing goes for what may not be there */
}

static void answer(struct entry *e)
{
	switch(e->command->type) {
		case CN_ASK:
			answer_question(e, true);
			break;
		case CN_STORE:
			/* too late: nobody hears of it, unless it may stand for others */
			if(!cn_batch_end_job(e->command->job, true) && e->now
					&& e->stored == NULL && e->replaced == 0)
				cn_batch_doom(e->now);
			break;
		case CN_LEAVE:
			cn_stats_count(CN_COUNTER_deferred);
			e->command->done = true;
			break;
		default:
			break;
	}
}

/* Without the database: the table is read again, and shows whether the row is
 * there all the same. */
static void answer_failed(struct entry *e)
{
	switch(e->command->type) {
		case CN_ASK:
			answer_question(e, false);
			break;
		case CN_STORE:
			if(e->stored)
				e->stored->going =
						true; /* it waits, and what it replaces goes */
			else if(e->now && e->replaced == 0)
				cn_batch_doom(e->now);
			(void)cn_batch_end_job(e->command->job, false);
			break;
		case CN_WAIT:
			/* once more, when it is back */
			if(cn_ring_push(cn_outbox_ring(), (void **)&e->command) < 0)
				LM_ERR("too much at once for the outbox\n");
			break;
		case CN_LEAVE:
			e->command->busy = false;
			break;
		default:
			break;
	}
}

static void unmark_replaced(void)
{
	int i;

	for(i = 0; i < batch.replaced.count; i++)
		batch.replaced.rows[i]->going = false;
	batch.replaced.count = 0;
}

static void answer_all(bool fine)
{
	struct cn_row_counts n;
	int i;

	for(i = 0; i < batch.count; i++) {
		struct entry *e = &batch.entries[i];

		if(fine || e->command->type == CN_ASK || e->command->type == CN_STORE)
			e->now = row_of(e);
	}
	/* who is answered may ask */
	n = cn_rows_count();
	cn_outbox_publish_counts(n.waiting, n.dead);
	for(i = 0; i < batch.count; i++) {
		struct entry *e = &batch.entries[i];

		if(fine)
			answer(e);
		else
			answer_failed(e);
		if(e->is_copy)
			free(e->body.s);
		if(e->command == NULL || e->command->type != CN_LEAVE)
			cn_command_free(e->command);
	}
	batch.count = 0;
}

static void forget(struct cn_row *row, void *unused)
{
	(void)unused;
	row->listed = row->seen = false;
}

void cn_batch_reset(void)
{
	batch.doomed.count = batch.changed.count = 0;
	cn_rows_each(forget, NULL);
}

bool cn_batch_has_older(const struct cn_job *job)
{
	int i;

	for(i = 0; i < batch.count; i++) {
		const struct entry *e = &batch.entries[i];

		if(e->hash == cn_job_hash(job) && e->row.seq < cn_job_seq(job)
				&& strcmp(e->aor, cn_job_key(job)->s) == 0
				&& cn_contacts_overlap(e->row.contacts, cn_job_contacts(job)))
			return true;
	}
	return false;
}

int64_t cn_batch_due_us(void)
{
	if(batch.count > 0 || batch.changed.count > 0 || batch.lease != 0)
		return 0;
	if(batch.doomed.count == 0)
		return INT64_MAX;
	if(batch.hurry || batch.doomed.count >= CN_DELETE_MANY)
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
	int64_t begin_us = cn_now_us();
	int doomed = batch.doomed.count, stores = 0, i;
	bool fine;

	for(i = 0; i < batch.count; i++)
		stores += batch.entries[i].command->type == CN_STORE;
	cn_outbox_db_begins();
	fine = write_all() == 0;
	cn_outbox_db_answered(fine);
	batch.hurry = !fine;
	if(fine) {
		batch.changed.count = 0;
		batch.lease = 0;
	} else {
		unmark_replaced();
		cn_db_close();
	}
	answer_all(fine);
	if(fine) {
		remove_some(&batch.doomed, doomed);
		remove_some(&batch.replaced, batch.replaced.count);
	}
	if(stores > 0)
		cn_outbox_stored(cn_now_us() - begin_us);
	return fine ? 0 : -1;
}
