/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A table in memory, behind the functions of outbox_table and outbox_db. */

#include "world.h"

#include "job_number.h"
#include "outbox_db.h"
#include "outbox_table.h"

struct db db;

int database_trouble(void)
{
	int i;

	if(!db.open || !db.settled)
		return true;
	for(i = 0; i < request_count; i++) {
		if(requests[i].parked
				&& (requests[i].strange
						|| requests[i].parked_us <= db.trouble_us))
			return true;
	}
	return false;
}

void trouble(void)
{
	db.trouble_us = world->now_us;
	db.settled = false;
}

static int fails(const char *what)
{
	trace("database: %s fails\n", what);
	trouble();
	db.open = false;
	db.in_transaction = false;
	world->stores_failed++;
	return -1;
}

/* An operation takes place. */
static int operate(const char *what)
{
	check(now.busy[OUTBOX]);
	meanwhile(10);
	if(!db.open)
		return fails(what);
	switch(now.quiet ? DB_FINE : world->database) {
		case DB_FINE:
			break;
		case DB_REFUSES:
			if(chance(30))
				return fails(what);
			break;
		case DB_SLOW:
			advance(dice(80000));
			if(world->now_us - db.round_us > 90000)
				trouble(); /* nobody waits for it any more */
			break;
		case DB_HANGS:
			trouble();
			advance(100000 + dice(2000000));
			trouble();
			if(chance(50))
				return fails(what);
			break;
		case DB_AWAY:
			return fails(what);
	}
	return 0;
}

int cn_table_init(void)
{
	return 0;
}

static bool shares;

bool cn_db_is_shared(void)
{
	return shares;
}

int cn_table_open(int statement_ms, bool owns, int64_t *lease)
{
	int i;

	db.open = true;
	db.in_transaction = false;
	if(operate("connecting") < 0)
		return -1;
	*lease = world->table.lease;
	for(i = 0; i < world->table.count; i++) {
		if(world->table.rows[i].row.seq > *lease)
			*lease = world->table.rows[i].row.seq;
	}
	return 0;
}

void cn_db_set_limit(int statement_ms)
{
}

bool cn_db_is_open(void)
{
	return db.open;
}

void cn_db_close(void)
{
	db.open = false;
	db.in_transaction = false;
}

int cn_table_load_elsewhere(cn_table_f each, int64_t after)
{
	return operate("reading elsewhere");
}

int cn_table_load(cn_table_f each)
{
	struct table copy = world->table; /* as it was when it was asked */
	int i, j;

	if(operate("reading") < 0)
		return -1;
	db.loaded = true;
	if(db.unknown_seq == 0)
		db.unknown_seq = cn_number_last();
	for(i = copy.count - 1; i > 0; i--) {
		struct table_row row = copy.rows[j = (int)dice((unsigned)i + 1)];

		copy.rows[j] = copy.rows[i];
		copy.rows[i] = row;
	}
	for(i = 0; i < copy.count; i++) {
		struct cn_row row = copy.rows[i].row;

		if(!copy.rows[i].foreign && each(keys[copy.rows[i].aor], &row) < 0)
			return -1;
	}
	return 0;
}

static void copy_table(struct table *to, const struct table *from)
{
	to->count = from->count;
	to->lease = from->lease;
	memcpy(to->rows, from->rows, (size_t)from->count * sizeof(from->rows[0]));
}

int cn_db_begin(void)
{
	check(!db.in_transaction);
	if(operate("beginning") < 0)
		return -1;
	copy_table(&db.next, &world->table);
	db.in_transaction = true;
	return 0;
}

static struct table_row *find_row(struct table *table, int64_t seq)
{
	int i;

	for(i = 0; i < table->count; i++) {
		if(table->rows[i].row.seq == seq)
			return &table->rows[i];
	}
	return NULL;
}

/* What the database keeps of a row. */
static void keep(struct cn_row *to, const struct cn_row *from)
{
	memset(to, 0, sizeof(*to));
	to->seq = from->seq;
	strcpy(to->id, from->id);
	strcpy(to->contacts, from->contacts);
	to->state = from->state;
	to->kind = from->kind;
	to->reason = from->reason;
	to->created_us = from->created_us;
	to->attempts = from->attempts;
	to->cause = from->cause;
	to->status = from->status;
}

int cn_table_insert(const char *aor, const struct cn_row *row, const str *body)
{
	struct table_row *r = &db.next.rows[db.next.count];

	if(operate("inserting") < 0)
		return -1;
	check(db.in_transaction);
	check(db.next.count < ROWS_MAX);
	trace("database: insert %" PRId64 " state %d\n", row->seq, row->state);
	check(find_row(&db.next, row->seq) == NULL); /* its key */
	check(body->len < (int)sizeof(r->body));
	memset(r, 0, sizeof(*r));
	r->aor = aor_of(aor);
	keep(&r->row, row);
	memcpy(r->body, body->s, body->len);
	db.next.count++;
	return 0;
}

int cn_table_update(const struct cn_row *row)
{
	struct table_row *r;

	if(operate("updating") < 0)
		return -1;
	check(db.in_transaction);
	r = find_row(&db.next, row->seq);
	if(r) {
		r->row.state = row->state;
		r->row.created_us = row->created_us;
		r->row.attempts = row->attempts;
		r->row.cause = row->cause;
		r->row.status = row->status;
	}
	trace("database: update %" PRId64 " state %d\n", row->seq, row->state);
	return 0;
}

int cn_table_delete(struct cn_row *const *rows, int count)
{
	int i;

	if(count == 0)
		return 0;
	if(operate("deleting") < 0)
		return -1;
	check(db.in_transaction);
	for(i = 0; i < count; i++) {
		struct table_row *r = find_row(&db.next, rows[i]->seq);

		trace("database: delete %" PRId64 "\n", rows[i]->seq);
		if(r)
			*r = db.next.rows[--db.next.count];
	}
	return 0;
}

int cn_table_set_lease(int64_t lease)
{
	if(operate("the lease") < 0)
		return -1;
	db.next.lease = lease;
	return 0;
}

int cn_db_commit(void)
{
	bool unknown = !now.quiet
				   && (world->database == DB_REFUSES
						   || world->database == DB_HANGS)
				   && chance(15);

	if(operate("committing") < 0)
		return -1;
	check(db.in_transaction);
	db.in_transaction = false;
	copy_table(&world->table, &db.next);
	meanwhile(20); /* durable, and nobody here knows */
	if(unknown)
		return fails("the answer to the commit");
	trace("database: committed\n");
	return 0;
}

int cn_table_bodies(struct cn_row *const *rows, int count,
		void (*each)(struct cn_row *row, const str *body))
{
	int i;

	if(operate("reading bodies") < 0)
		return -1;
	for(i = count - 1; i >= 0; i--) {
		struct table_row *r = find_row(&world->table, rows[i]->seq);
		char copy[100];
		str body = {copy, 0};

		if(r == NULL || r->foreign)
			continue;
		strcpy(copy, r->body);
		body.len = (int)strlen(copy);
		each(rows[i], &body);
	}
	return 0;
}

int cn_table_take_over(void)
{
	int i, n = 0;

	if(operate("taking over") < 0)
		return -1;
	for(i = 0; i < world->table.count; i++) {
		n += world->table.rows[i].foreign;
		world->table.rows[i].foreign = false;
	}
	return n;
}
