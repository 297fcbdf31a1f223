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

int cn_table_init(void)
{
	table = cn_conf.outbox_table;
	/* the same for this name on every server, and not negative */
	owner = (int64_t)(cn_digest(CN_DIGEST_BASE, cn_conf.node,
							  strlen(cn_conf.node))
					  >> 1);
	return cn_db_init();
}

/* -------- opening -------- */

static int take_ownership(void)
{
	int64_t mine, others;

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
	if(CN_DB_ASK_NUMBER(&others,
			   "SELECT COUNT(*) FROM %s WHERE owner <> %" PRId64, table, owner)
					< 0
			|| CN_DB_RUN("UPDATE %s SET owner = %" PRId64
						 " WHERE owner <> %" PRId64,
					   table, owner, owner)
					   < 0)
		return -1;
	if(others > 0)
		LM_NOTICE("%d rows of the outbox were another node's before\n",
				(int)others);
	return 0;
}

int cn_table_open(int statement_ms, bool owns, int64_t *lease)
{
	if(cn_db_open(statement_ms, CN_TABLE_VERSION) < 0)
		return -1;
	if((!owns || take_ownership() == 0)
			&& CN_DB_ASK_NUMBER(lease,
					   "SELECT MAX(seq) FROM %s WHERE owner = %" PRId64
					   " OR state <> %d",
					   table, owner, CN_STATE_LEASE)
					   == 0)
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

/* A statement about these rows, with each body that comes of it. */
static int about_rows(const char *what, struct cn_row *const *rows, int count,
		void (*each)(struct cn_row *row, const str *body))
{
	char list[CN_IDS_AT_ONCE * (CN_ID_LEN + sizeof("'',"))];
	db1_res_t *result;
	int n, len;

	for(; count > 0; rows += n, count -= n) {
		for(n = len = 0; n < count && n < CN_IDS_AT_ONCE; n++)
			len += snprintf(list + len, sizeof(list) - len, "%s'%s'",
					n ? "," : "", rows[n]->id);
		result = cn_db_ask(
				"%s FROM %s WHERE event_id IN (%s)", what, table, list);
		if(result == NULL)
			return -1;
		give_bodies(result, rows, n, each);
		cn_db_forget(result);
	}
	return 0;
}

int cn_table_bodies(struct cn_row *const *rows, int count,
		void (*each)(struct cn_row *row, const str *body))
{
	return about_rows("SELECT event_id, body, owner", rows, count, each);
}

/* -------- changing -------- */

#define CN_TEXT(s) .type = DB1_STRING, .val.string_val = (s)
#define CN_NUMBER(n) .type = DB1_BIGINT, .val.ll_val = (n)
#define CN_BLOB(s) .type = DB1_BLOB, .val.blob_val = (s)

int cn_table_insert(const char *aor, const struct cn_row *row, const str *body)
{
	static str names[] = {str_init("event_id"), str_init("seq"),
			str_init("owner"), str_init("node"), str_init("aor"),
			str_init("contacts"), str_init("event"), str_init("reason"),
			str_init("created"), str_init("state"), str_init("attempts"),
			str_init("cause"), str_init("status"), str_init("body")};
	const db_val_t values[] = {{CN_TEXT(row->id)}, {CN_NUMBER(row->seq)},
			{CN_NUMBER(owner)}, {CN_TEXT(cn_conf.node)}, {CN_TEXT(aor)},
			{CN_TEXT(row->contacts)}, {CN_TEXT(cn_kind_name(row->kind))},
			{CN_TEXT(cn_reason_name(row->reason))},
			{CN_NUMBER(row->created_us)}, {CN_NUMBER(row->state)},
			{CN_NUMBER(row->attempts)}, {CN_TEXT(cn_cause_name(row->cause))},
			{CN_NUMBER(row->status)}, {CN_BLOB(*body)}};
	db_key_t keys[sizeof(names) / sizeof(names[0])];
	unsigned i;

	for(i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		keys[i] = &names[i];
	return cn_db_insert(keys, values, i);
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
	return about_rows("DELETE", rows, count, NULL);
}

/* A row of its own, which is no event. */
int cn_table_set_lease(int64_t lease)
{
	struct cn_row row = {.seq = lease, .state = CN_STATE_LEASE};
	struct cn_row *rows[] = {&row};
	str body = STR_STATIC_INIT("");

	snprintf(row.id, sizeof(row.id), "server:%" PRIx64, (uint64_t)owner);
	return cn_table_delete(rows, 1) < 0 ? -1 : cn_table_insert("", &row, &body);
}

/* -------- servers that are dead -------- */

/* @return 1; 0: it is alive; -1 */
static int take_over(int64_t from)
{
	int64_t mine;

	if(cn_db_try_lock(from, &mine) < 0)
		return -1;
	if(!mine)
		return 0;
	if(CN_DB_RUN("UPDATE %s SET owner = %" PRId64 " WHERE owner = %" PRId64
				 " AND state <> %d",
			   table, owner, from, CN_STATE_LEASE)
			< 0)
		return -1;
	return cn_db_unlock(from) < 0 ? -1 : 1;
}

int cn_table_take_over(void)
{
	int64_t owners[64], rows[64];
	int i, n = 0, count, sum = 0;
	db1_res_t *result;

	result = cn_db_ask("SELECT owner, COUNT(*) FROM %s WHERE owner <> %" PRId64
					   " AND state <> %d GROUP BY owner LIMIT 64",
			table, owner, CN_STATE_LEASE);
	if(result == NULL)
		return -1;
	count = RES_ROW_N(result);
	for(i = 0; i < count; i++) {
		owners[i] = cn_db_number(&ROW_VALUES(&RES_ROWS(result)[i])[0]);
		rows[i] = cn_db_number(&ROW_VALUES(&RES_ROWS(result)[i])[1]);
	}
	cn_db_forget(result);
	for(i = 0; i < count && n >= 0; i++) {
		n = take_over(owners[i]);
		sum += n * (int)rows[i];
	}
	return n < 0 ? -1 : sum;
}
