/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What is in the table of the outbox, in SQL. In the outbox process; in the main
 * process when the others have ended. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/hashes.h"

#include "base_conf.h"
#include "outbox_db.h"
#include "outbox_table.h"

#define CN_TABLE_VERSION 2
#define CN_IDS_AT_ONCE 100
/* in the column state: the lease of a server */
#define CN_STATE_LEASE 3

static const char *table;
static int64_t owner; /* of our rows */

static str col_event_id = str_init("event_id");
static str col_seq = str_init("seq");
static str col_owner = str_init("owner");
static str col_node = str_init("node");
static str col_aor = str_init("aor");
static str col_contacts = str_init("contacts");
static str col_event = str_init("event");
static str col_reason = str_init("reason");
static str col_created = str_init("created");
static str col_state = str_init("state");
static str col_attempts = str_init("attempts");
static str col_cause = str_init("cause");
static str col_status = str_init("status");
static str col_body = str_init("body");

/* FNV-1a: the same for this name on every server. */
static int64_t owner_of(const char *node)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for(; *node; node++)
		hash = (hash ^ (unsigned char)*node) * 0x100000001b3ULL;
	return (int64_t)(hash >> 1);
}

int cn_table_init(void)
{
	table = cn_conf.outbox_table;
	owner = owner_of(cn_conf.node);
	return cn_db_init();
}

/* -------- values -------- */

static db_val_t int_value(int n)
{
	db_val_t v = {.type = DB1_INT};

	VAL_INT(&v) = n;
	return v;
}

static db_val_t big_value(int64_t n)
{
	db_val_t v = {.type = DB1_BIGINT};

	VAL_BIGINT(&v) = n;
	return v;
}

static db_val_t text_value(const char *s)
{
	db_val_t v = {.type = DB1_STRING};

	VAL_STRING(&v) = s;
	return v;
}

static db_val_t blob_value(const str *s)
{
	db_val_t v = {.type = DB1_BLOB};

	VAL_BLOB(&v) = *s;
	return v;
}

/* -------- opening -------- */

static int take_ownership(void)
{
	int64_t mine;
	int n;

	if(cn_db_try_lock(owner, &mine) < 0)
		return -1;
	if(!mine) {
		LM_ERR("the outbox is not used: another server is connected as node "
			   "\"%s\", or this one's last connection has not ended yet; give "
			   "each server a node of its own\n",
				cn_conf.node);
		return -1;
	}
	if(cn_db_is_shared())
		return 0;
	if(CN_DB_RUN("UPDATE %s SET owner = %" PRId64 " WHERE owner <> %" PRId64,
			   table, owner, owner)
			< 0)
		return -1;
	n = cn_db_affected();
	if(n > 0)
		LM_NOTICE("%d rows of the outbox were another node's before\n", n);
	return n < 0 ? -1 : 0;
}

int cn_table_open(int statement_ms, bool owns, int64_t *lease)
{
	if(cn_db_open(statement_ms, CN_TABLE_VERSION) < 0)
		return -1;
	if((!owns || take_ownership() == 0)
			&& CN_DB_ASK_NUMBER(lease, "SELECT MAX(seq) FROM %s", table) == 0)
		return 0;
	cn_db_close();
	return -1;
}

/* -------- reading -------- */

static int by_name(const char *name, const char *(*name_of)(int), int count)
{
	int i = count - 1;

	while(i > 0 && strcmp(name, name_of(i)) != 0)
		i--;
	return i;
}

static const char *name_of_kind(int i)
{
	return cn_kind_name(i);
}

static const char *name_of_reason(int i)
{
	return cn_reason_name(i);
}

static const char *name_of_cause(int i)
{
	return cn_cause_name(i);
}

static void read_row(const db_val_t *v, struct cn_row *row)
{
	char name[CN_NODE_MAX + 1];

	memset(row, 0, sizeof(*row));
	cn_db_text(&v[0], row->id, sizeof(row->id));
	row->seq = cn_db_number(&v[1]);
	cn_db_text(&v[3], row->contacts, sizeof(row->contacts));
	cn_db_text(&v[4], name, sizeof(name));
	row->kind = by_name(name, name_of_kind, CN_KIND_SNAPSHOT + 1);
	cn_db_text(&v[5], name, sizeof(name));
	row->reason = by_name(name, name_of_reason, CN_REASON_MOVED + 1);
	row->created_us = cn_db_number(&v[6]);
	row->state = cn_db_number(&v[7]);
	row->attempts = (int)cn_db_number(&v[8]);
	cn_db_text(&v[9], name, sizeof(name));
	row->cause = by_name(name, name_of_cause, CN_CAUSE_COUNT);
	row->status = (int)cn_db_number(&v[10]);
	cn_db_text(&v[11], name, sizeof(name));
	row->taken = strcmp(name, cn_conf.node) != 0;
}

/* Ours are digits: they become a part of statements. */
static bool is_id(const char *id)
{
	size_t n = strspn(id, "0123456789abcdef");

	return n > 0 && id[n] == '\0';
}

static int read_page(db1_res_t *result, int64_t *after, cn_table_f each)
{
	char aor[CN_ROW_AOR_MAX + 1];
	struct cn_row row;
	int i, err = 0;

	for(i = 0; i < RES_ROW_N(result) && err == 0; i++) {
		const db_val_t *v = ROW_VALUES(&RES_ROWS(result)[i]);

		read_row(v, &row);
		cn_db_text(&v[2], aor, sizeof(aor));
		*after = row.seq;
		if(is_id(row.id))
			err = each(aor, &row);
		else
			LM_ERR("a row of the outbox has an event_id that is not ours\n");
	}
	cn_db_forget(result);
	return err < 0 ? -1 : i;
}

/* A page at a time, so that memory stays small; and all that have the number at
 * which a page ends, as servers do not know of each other's. */
#define CN_PAGE 1000

static int load(
		const char *whose, const char *states, int64_t after, cn_table_f each)
{
	db1_res_t *result;
	int64_t from;
	int n;

	do {
		from = after;
		result = cn_db_ask(
				"SELECT event_id, seq, aor, contacts, event, reason,"
				" created, state, attempts, cause, status, node FROM %s"
				" WHERE owner %s %" PRId64 " AND state %s AND seq > %" PRId64
				" AND seq <= (SELECT COALESCE(MAX(p.seq), 0) FROM (SELECT"
				" seq FROM %s WHERE owner %s %" PRId64
				" AND state %s AND seq > %" PRId64
				" ORDER BY seq LIMIT %d) p) ORDER BY seq",
				table, whose, owner, states, from, table, whose, owner, states,
				from, CN_PAGE);
		n = result ? read_page(result, &after, each) : -1;
	} while(n > 0);
	return n;
}

int cn_table_load(cn_table_f each)
{
	return load("=", "<> 3", -1, each); /* no lease */
}

int cn_table_load_elsewhere(cn_table_f each, int64_t after)
{
	return load("<>", "= 0", after, each);
}

/* @return -1: there are too many, or it does not fit */
static int list_ids(struct cn_row *const *rows, int count, char *list, int size)
{
	int i, n = 0;

	for(i = 0; i < count && n < size; i++)
		n += snprintf(list + n, size - n, "%s'%s'", i ? "," : "", rows[i]->id);
	return n < size ? 0 : -1;
}

static void give_bodies(db1_res_t *result, struct cn_row *const *rows,
		int count, void (*each)(struct cn_row *row, const str *body))
{
	char id[CN_ID_LEN + 1];
	int i, k;

	for(i = 0; i < RES_ROW_N(result); i++) {
		const db_val_t *v = ROW_VALUES(&RES_ROWS(result)[i]);

		cn_db_text(&v[0], id, sizeof(id));
		for(k = 0; k < count && strcmp(rows[k]->id, id) != 0; k++)
			;
		/* not in SQL: SQLite would look at all that this server has */
		if(k < count && !VAL_NULL(&v[1]) && cn_db_number(&v[2]) == owner)
			each(rows[k], &VAL_BLOB(&v[1]));
	}
}

int cn_table_bodies(struct cn_row *const *rows, int count,
		void (*each)(struct cn_row *row, const str *body))
{
	char list[CN_SQL_MAX - 200];
	db1_res_t *result;
	int n;

	for(; count > 0; rows += n, count -= n) {
		n = count < CN_IDS_AT_ONCE ? count : CN_IDS_AT_ONCE;
		if(list_ids(rows, n, list, sizeof(list)) < 0)
			return -1;
		result = cn_db_ask("SELECT event_id, body, owner FROM %s WHERE event_id"
						   " IN (%s)",
				table, list);
		if(result == NULL)
			return -1;
		give_bodies(result, rows, n, each);
		cn_db_forget(result);
	}
	return 0;
}

/* -------- changing -------- */

int cn_table_insert(const char *aor, const struct cn_row *row, const str *body)
{
	const db_key_t keys[] = {&col_event_id, &col_seq, &col_owner, &col_node,
			&col_aor, &col_contacts, &col_event, &col_reason, &col_created,
			&col_state, &col_attempts, &col_cause, &col_status, &col_body};
	db_val_t values[] = {text_value(row->id), big_value(row->seq),
			big_value(owner), text_value(cn_conf.node), text_value(aor),
			text_value(row->contacts), text_value(cn_kind_name(row->kind)),
			text_value(cn_reason_name(row->reason)), big_value(row->created_us),
			int_value(row->state), int_value(row->attempts),
			text_value(cn_cause_name(row->cause)), int_value(row->status),
			blob_value(body)};

	return cn_db_insert(keys, values, sizeof(keys) / sizeof(keys[0]));
}

int cn_table_update(const struct cn_row *row)
{
	return CN_DB_RUN("UPDATE %s SET state = %d, created = %" PRId64
					 ", attempts = %d, cause = '%s', status = %d"
					 " WHERE event_id = '%s'",
			table, row->state, row->created_us, row->attempts,
			cn_cause_name(row->cause), row->status, row->id);
}

int cn_table_delete(struct cn_row *const *rows, int count)
{
	char list[CN_SQL_MAX - 200];
	int n;

	for(; count > 0; rows += n, count -= n) {
		n = count < CN_IDS_AT_ONCE ? count : CN_IDS_AT_ONCE;
		if(list_ids(rows, n, list, sizeof(list)) < 0
				|| CN_DB_RUN(
						   "DELETE FROM %s WHERE event_id IN (%s)", table, list)
						   < 0)
			return -1;
	}
	return 0;
}

int cn_table_set_lease(int64_t lease)
{
	const db_key_t keys[] = {
			&col_event_id, &col_seq, &col_owner, &col_node, &col_state};
	char id[32] = "";
	db_val_t values[] = {text_value(id), big_value(lease), big_value(owner),
			text_value(cn_conf.node), int_value(CN_STATE_LEASE)};
	int n;

	snprintf(id, sizeof(id), "server:%" PRIx64, (uint64_t)owner);
	if(CN_DB_RUN("UPDATE %s SET seq = %" PRId64 " WHERE event_id = '%s'", table,
			   lease, id)
			< 0)
		return -1;
	n = cn_db_affected();
	if(n != 0)
		return n < 0 ? -1 : 0;
	return cn_db_insert(keys, values, 5);
}

/* -------- servers that are dead -------- */

static int take_over(int64_t from)
{
	int64_t mine;
	int n;

	if(cn_db_try_lock(from, &mine) < 0)
		return -1;
	if(!mine)
		return 0;
	if(CN_DB_RUN("UPDATE %s SET owner = %" PRId64 " WHERE owner = %" PRId64
				 " AND state <> %d",
			   table, owner, from, CN_STATE_LEASE)
			< 0)
		return -1;
	n = cn_db_affected();
	return cn_db_unlock(from) < 0 ? -1 : n;
}

int cn_table_take_over(void)
{
	db1_res_t *result;
	int i, n, count, sum = 0;
	int64_t owners[64];

	result = cn_db_ask("SELECT DISTINCT owner FROM %s WHERE owner <> %" PRId64
					   " AND state <> %d LIMIT 64",
			table, owner, CN_STATE_LEASE);
	if(result == NULL)
		return -1;
	count = RES_ROW_N(result);
	for(i = 0; i < count; i++)
		owners[i] = cn_db_number(ROW_VALUES(&RES_ROWS(result)[i]));
	cn_db_forget(result);
	for(i = 0; i < count; i++) {
		n = take_over(owners[i]);
		if(n < 0)
			return -1;
		sum += n;
	}
	return sum;
}
