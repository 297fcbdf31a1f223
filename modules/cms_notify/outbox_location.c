/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Takes bindings that have run out from usrloc's table into that of the outbox, in one
 * transaction. In the outbox process. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "base_history.h"
#include "base_limits.h"
#include "base_stats.h"
#include "job_contacts.h"
#include "job_index.h"
#include "job_number.h"
#include "outbox_batch.h"
#include "outbox_command.h"
#include "outbox_db.h"
#include "outbox_leaving.h"
#include "outbox_location.h"
#include "outbox_rows.h"
#include "outbox_table.h"
#include "reg_table.h"
#include "reg_usrloc.h"

#define CN_TAKE_MAX 100
/* Who defers waits as long. */
#define CN_TAKE_US 200000
#define CN_COLUMNS                                                   \
	"ruid, username, domain, contact, received, path, callid, cseq," \
	" user_agent, instance, reg_id, socket"
#define CN_TIME "%Y-%m-%d %H:%M:%S"

/* What has been taken, until the transaction is over. */
static struct
{
	struct
	{
		char aor[CN_ROW_AOR_MAX + 1];
		unsigned hash;
		struct cn_row row;
	} entries[CN_TAKE_MAX];
	int count;
} taken;

int cn_location_init(void)
{
	if(!cn_conf.events_expire || !cn_reg_table_keeps_expired())
		return 0;
	if(cn_db_is_shared())
		return 0;
	LM_ERR("events: who has run out of usrloc's db_mode 3 is told by one of "
		   "the "
		   "servers that share its table; outbox_db_url must be that database, "
		   "PostgreSQL or MySQL\n");
	return -1;
}

static void read_binding(const db_val_t *v, struct cn_table_binding *row)
{
	row->ruid = cn_db_str(&v[0]);
	row->username = cn_db_str(&v[1]);
	row->domain = cn_db_str(&v[2]);
	row->contact = cn_db_str(&v[3]);
	row->received = cn_db_str(&v[4]);
	row->path = cn_db_str(&v[5]);
	row->call_id = cn_db_str(&v[6]);
	row->cseq = (int)cn_db_number(&v[7]);
	row->user_agent = cn_db_str(&v[8]);
	row->instance = cn_db_str(&v[9]);
	row->reg_id = (unsigned)cn_db_number(&v[10]);
	row->socket = cn_db_str(&v[11]);
}

/* -------- who has run out -------- */

/* A REGISTER that another server has judged before may not have been saved: it is newer
 * than what is told here, whose number is of that time. */
static int64_t margin_us(void)
{
	return (int64_t)cn_limits->timeout_ms * 1000 + 1000000;
}

/* usrloc writes local time. */
static void write_time(char *text, size_t size, time_t when)
{
	struct tm tm;

	localtime_r(&when, &tm);
	strftime(text, size, CN_TIME, &tm);
}

static bool is_ruid(const str *ruid)
{
	int i;

	for(i = 0; i < ruid->len; i++) {
		if(strchr("'\\", ruid->s[i]))
			return false;
	}
	return ruid->len > 0;
}

/* @return 0; -1: the database failed */
static int store(struct cn_event *ev, const char *aor)
{
	struct cn_row *row = &taken.entries[taken.count].row;
	str body;

	if(ev->key.len > CN_ROW_AOR_MAX || !cn_command_has_room(aor, ev->hash)
			|| cn_leaving_render(ev, &body) < 0) {
		cn_stats_count(CN_COUNTER_not_deferred);
		LM_ERR("not stored: the CMS is not told that %.*s has left\n",
				ev->aor.len, ev->aor.s);
		return 0;
	}
	cn_leaving_fill_row(ev, row);
	if(cn_table_insert(aor, row, &body) < 0)
		return -1;
	taken.count++;
	return 0;
}

static int take(const str *table, const db_val_t *v, int64_t seq)
{
	char *aor = taken.entries[taken.count].aor;
	char contacts[CN_CONTACTS_MAX + 1];
	struct cn_table_binding binding;
	struct cn_event *ev;

	read_binding(v, &binding);
	ev = cn_reg_table_expire(&binding);
	cn_contacts_write(ev, contacts);
	if(!is_ruid(&binding.ruid)
			|| cn_index_number_event(&ev->key, ev->hash, contacts) == 0)
		return 0; /* not now */
	cn_event_stamp(ev);
	ev->seq = seq;
	snprintf(aor, CN_ROW_AOR_MAX + 1, "%.*s", ev->key.len, ev->key.s);
	taken.entries[taken.count].hash = ev->hash;
	if(store(ev, aor) < 0)
		return -1;
	cn_history_note(&ev->key, CN_STEP_EXPIRED);
	return CN_DB_RUN("DELETE FROM %.*s WHERE ruid = '%.*s'", table->len,
			table->s, binding.ruid.len, binding.ruid.s);
}

/* Rows that another server is taking, or a REGISTER is changing, are passed over. */
static int take_all(const str *table)
{
	int64_t seq = cn_number_clock_us() - margin_us();
	char before[32];
	db1_res_t *result;
	int i, err = 0;

	write_time(before, sizeof(before), time(NULL) - 1 - margin_us() / 1000000);
	result = cn_db_ask("SELECT " CN_COLUMNS " FROM %.*s WHERE expires < '%s'"
					   " AND expires > '1971-01-01 00:00:00'"
					   " ORDER BY expires LIMIT %d FOR UPDATE SKIP LOCKED",
			table->len, table->s, before, CN_TAKE_MAX);
	if(result == NULL)
		return -1;
	for(i = 0; i < RES_ROW_N(result) && err == 0; i++)
		err = take(table, ROW_VALUES(&RES_ROWS(result)[i]), seq + i);
	cn_db_forget(result);
	return err;
}

/* They are in the table: in memory, too. */
static int let_wait(void)
{
	struct cn_row *row;
	int i;

	for(i = 0; i < taken.count; i++) {
		row = cn_rows_add(taken.entries[i].aor, taken.entries[i].hash,
				&taken.entries[i].row);
		if(row == NULL) {
			LM_ERR("out of memory for the rows of the outbox\n");
			cn_db_close(); /* they are read again */
			return -1;
		}
		row->stored = true;
		cn_batch_wait(row);
		cn_stats_stored(CN_STORED_NOW, row->kind);
	}
	return 0;
}

static int take_from(const str *table)
{
	int64_t until_us = cn_now_us() + CN_TAKE_US;

	do {
		taken.count = 0;
		if(cn_db_begin() < 0 || take_all(table) < 0 || cn_db_commit() < 0) {
			cn_db_close();
			return -1;
		}
		if(let_wait() < 0)
			return -1;
	} while(taken.count == CN_TAKE_MAX && cn_now_us() < until_us);
	return 0;
}

int cn_location_take_expired(void)
{
	const str *table;
	int i, err = 0;

	if(!cn_conf.events_expire || !cn_reg_table_keeps_expired())
		return 0;
	for(i = 0; err == 0 && (table = cn_reg_table_name(i)) != NULL; i++)
		err = take_from(table);
	return err;
}

/* -------- who is there -------- */

static bool is_about(db1_res_t *result, const char *about, int64_t since_s)
{
	char one[CN_CONTACTS_MAX + 1];
	struct cn_table_binding binding;
	int64_t expires;
	int i;

	for(i = 0; i < RES_ROW_N(result); i++) {
		const db_val_t *v = ROW_VALUES(&RES_ROWS(result)[i]);

		memset(&binding, 0, sizeof(binding));
		binding.username = cn_db_str(&v[0]);
		binding.domain = cn_db_str(&v[1]);
		binding.contact = cn_db_str(&v[2]);
		binding.instance = cn_db_str(&v[3]);
		expires = cn_db_number(&v[4]);
		if((expires > 0 && expires <= time(NULL))
				|| cn_db_number(&v[5]) <= since_s)
			continue;
		cn_contacts_write(cn_reg_table_expire(&binding), one);
		if(cn_contacts_within(one, about))
			return true;
	}
	return false;
}

bool cn_location_is_back(const char *aor, const char *about, int64_t since_s)
{
	static str names[] = {str_init("username"), str_init("domain"),
			str_init("contact"), str_init("instance"), str_init("expires"),
			str_init("last_modified")};
	db_key_t keys[] = {
			&names[0], &names[1], &names[2], &names[3], &names[4], &names[5]};
	str key = {(char *)aor, strlen(aor)};
	db_val_t of[2] = {{.type = DB1_STR}, {.type = DB1_STR}};
	db1_res_t *result;
	const str *table;
	bool back = false;
	int i;

	if(!cn_reg_table_keeps_expired())
		return cn_usrloc_is_live(aor, about);
	cn_reg_table_split(&key, &of[0].val.str_val, &of[1].val.str_val);
	for(i = 0; (table = cn_reg_table_name(i)) != NULL && !back; i++) {
		result = cn_db_find(table, keys, of, of[1].val.str_val.len ? 2 : 1, 6);
		if(result == NULL)
			return false;
		back = is_about(result, about, since_s);
		cn_db_forget(result);
	}
	return back;
}
