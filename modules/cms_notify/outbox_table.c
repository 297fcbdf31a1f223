/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../lib/srdb1/db.h"

#include "base_conf.h"
#include "outbox_table.h"

#define CN_TABLE_VERSION 1
/* A statement of this process, where nobody said otherwise. */
#define CN_STATEMENT_MS 1000
#define CN_SQL_MAX 4096

static db_func_t dbf;
static str url;
static str table;
static int64_t server_id; /* of this server's row: what claimed_by holds */

/* of one process */
static struct
{
	db1_con_t *con;
	pid_t pid;
	int timeout_ms;
	char *body;
	int body_size;
} my = {.timeout_ms = CN_STATEMENT_MS};

static str col_id = str_init("id");
static str col_event_id = str_init("event_id");
static str col_node = str_init("node");
static str col_device = str_init("device");
static str col_contacts = str_init("contacts");
static str col_event = str_init("event");
static str col_reason = str_init("reason");
static str col_created = str_init("created");
static str col_state = str_init("state");
static str col_claimed_by = str_init("claimed_by");
static str col_attempts = str_init("attempts");
static str col_cause = str_init("cause");
static str col_status = str_init("status");
static str col_body = str_init("body");

/* What struct cn_row holds; the order is that of read_row(). */
static const db_key_t row_columns[] = {&col_id, &col_event_id, &col_device,
		&col_contacts, &col_event, &col_reason, &col_created, &col_attempts,
		&col_cause, &col_status, &col_claimed_by, &col_node, &col_state};
#define ROW_COLUMNS (int)(sizeof(row_columns) / sizeof(row_columns[0]))
#define ROW_SQL                                                              \
	"a.id, a.event_id, a.device, a.contacts, a.event, a.reason, a.created, " \
	"a.attempts, a.cause, a.status, a.claimed_by, a.node, a.state"

/* -------- connection -------- */

static bool is_engine(const char *name)
{
	return strncmp(url.s, name, strlen(name)) == 0;
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How long the database may keep us waiting for another one's lock. */
static int limit_statements(void)
{
	int ms = my.timeout_ms;

	if(is_engine("sqlite"))
		return run("PRAGMA busy_timeout = %d", ms);
	if(is_engine("postgres"))
		return run("SET statement_timeout = %d", ms);
	if(is_engine("mysql"))
		return run(
				"SET SESSION innodb_lock_wait_timeout = %d", (ms + 999) / 1000);
	return 0;
}

void cn_outbox_db_close(void)
{
	if(my.con && my.pid == getpid())
		dbf.close(my.con);
	my.con = NULL;
}

static int connect_db(void)
{
	if(my.con && my.pid == getpid())
		return 0;
	my.pid = getpid();
	/* of our own, since its limits are not for others; SQLite's cannot */
	my.con = dbf.init2 ? dbf.init2(&url, DB_POOLING_NONE) : dbf.init(&url);
	if(my.con == NULL)
		return -1;
	if(dbf.use_table(my.con, &table) < 0 || limit_statements() < 0) {
		cn_outbox_db_close();
		return -1;
	}
	return 0;
}

int cn_outbox_db_open(int timeout_ms)
{
	my.timeout_ms = timeout_ms;
	return connect_db();
}

/* @return err; a connection that failed is not used again */
static int ended(int err)
{
	if(err >= 0)
		return 0;
	cn_outbox_db_close();
	return -1;
}

/* -------- statements -------- */

static int run_sql(const str *sql, db1_res_t **result)
{
	*result = NULL;
	/* with a result, also where there is none: SQLite runs it only then */
	if(connect_db() < 0)
		return -1;
	return ended(dbf.raw_query(my.con, sql, result));
}

static void free_result(db1_res_t *result)
{
	if(result)
		dbf.free_result(my.con, result);
}

static int format_sql(str *sql, char *buffer, const char *format, va_list args)
{
	sql->s = buffer;
	sql->len = vsnprintf(buffer, CN_SQL_MAX, format, args);
	if(sql->len < CN_SQL_MAX)
		return 0;
	LM_BUG("statement of %d bytes\n", sql->len);
	return -1;
}

/* A statement made of our own words and of numbers. */
static int run(const char *format, ...)
{
	char buffer[CN_SQL_MAX];
	db1_res_t *result;
	va_list args;
	str sql;
	int err;

	va_start(args, format);
	err = format_sql(&sql, buffer, format, args);
	va_end(args);
	if(err < 0 || run_sql(&sql, &result) < 0)
		return -1;
	free_result(result);
	return 0;
}

/* NULL where it failed. */
static db1_res_t *ask(const char *format, ...)
		__attribute__((format(printf, 1, 2)));
static db1_res_t *ask(const char *format, ...)
{
	char buffer[CN_SQL_MAX];
	db1_res_t *result;
	va_list args;
	str sql;
	int err;

	va_start(args, format);
	err = format_sql(&sql, buffer, format, args);
	va_end(args);
	return err < 0 || run_sql(&sql, &result) < 0 ? NULL : result;
}

static int64_t number(const db_val_t *v)
{
	if(VAL_NULL(v))
		return 0;
	switch(VAL_TYPE(v)) {
		case DB1_INT:
			return VAL_INT(v);
		case DB1_UINT:
			return VAL_UINT(v);
		case DB1_BIGINT:
			return VAL_BIGINT(v);
		case DB1_UBIGINT:
			return (int64_t)VAL_UBIGINT(v);
		case DB1_DOUBLE:
			return (int64_t)VAL_DOUBLE(v);
		default:
			return 0;
	}
}

/* The only number of the only row. @return 0, or -1 */
static int ask_number(int64_t *n, const char *sql_text)
{
	db1_res_t *result = ask("%s", sql_text);

	if(result == NULL)
		return -1;
	*n = RES_ROW_N(result) == 1 ? number(ROW_VALUES(RES_ROWS(result))) : 0;
	free_result(result);
	return 0;
}

/* Rows that the last statement changed. */
static int affected(void)
{
	int64_t n;

	if(dbf.affected_rows)
		return dbf.affected_rows(my.con);
	return ask_number(&n, "SELECT changes()") < 0 ? -1 : (int)n;
}

static void copy_text(const db_val_t *v, char *to, int size)
{
	const char *s = VAL_NULL(v) ? "" : VAL_STRING(v);
	int len;

	/* a BLOB is what PostgreSQL takes text for */
	if(!VAL_NULL(v) && VAL_TYPE(v) != DB1_STRING)
		len = VAL_STR(v).len;
	else
		len = (int)strlen(s);
	if(len >= size)
		len = size - 1;
	memcpy(to, s, len);
	to[len] = '\0';
}

static void read_row(const db_row_t *from, struct cn_row *row)
{
	const db_val_t *v = ROW_VALUES(from);
	char node[CN_NODE_MAX + 1];

	row->id = number(&v[0]);
	copy_text(&v[1], row->event_id, sizeof(row->event_id));
	copy_text(&v[2], row->device, sizeof(row->device));
	copy_text(&v[3], row->about, sizeof(row->about));
	copy_text(&v[4], row->event, sizeof(row->event));
	copy_text(&v[5], row->reason, sizeof(row->reason));
	row->created_us = number(&v[6]);
	row->attempts = (int)number(&v[7]);
	copy_text(&v[8], row->cause, sizeof(row->cause));
	row->status = (int)number(&v[9]);
	row->ours = number(&v[10]) == server_id;
	copy_text(&v[11], node, sizeof(node));
	row->moved = row->ours && strcmp(node, cn_conf.node) != 0;
	row->dead = number(&v[12]) == CN_ROW_DEAD;
}

static int read_rows(db1_res_t *result, struct cn_row *rows, int max)
{
	int i;

	if(result == NULL)
		return -1;
	for(i = 0; i < RES_ROW_N(result) && i < max; i++)
		read_row(&RES_ROWS(result)[i], &rows[i]);
	free_result(result);
	return i;
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

/* -------- start -------- */

static int find_server(void)
{
	const db_key_t keys[] = {&col_node, &col_state};
	const db_key_t columns[] = {&col_id};
	db_val_t values[] = {text_value(cn_conf.node), int_value(CN_ROW_SERVER)};
	db1_res_t *result = NULL;

	server_id = 0;
	if(dbf.query(my.con, keys, NULL, values, columns, 2, 1, NULL, &result) < 0)
		return -1;
	if(RES_ROW_N(result) > 0)
		server_id = number(ROW_VALUES(RES_ROWS(result)));
	free_result(result);
	return 0;
}

static int enter_server(void)
{
	const db_key_t keys[] = {&col_event_id, &col_node, &col_state};
	char name[CN_NODE_MAX + sizeof("server:")];
	db_val_t values[3];

	if(find_server() < 0)
		return -1;
	if(server_id != 0)
		return 0;
	snprintf(name, sizeof(name), "server:%s", cn_conf.node);
	values[0] = text_value(name);
	values[1] = text_value(cn_conf.node);
	values[2] = int_value(CN_ROW_SERVER);
	if(dbf.insert(my.con, keys, values, 3) < 0 || find_server() < 0)
		return -1;
	return server_id != 0 ? 0 : -1;
}

/* Kept by a server that is not there any more. */
static int release_all(int64_t server)
{
	return run("UPDATE %s SET state = %d WHERE claimed_by = %" PRId64
			   " AND state = %d",
			table.s, CN_ROW_WAITING, server, CN_ROW_KEPT);
}

/* What this server kept when it was killed waits. A disk that has become
 * read-only is no reason not to start. */
static int release_kept(void)
{
	char sql[200];
	int64_t n;

	snprintf(sql, sizeof(sql),
			"SELECT COUNT(*) FROM %s WHERE claimed_by = %" PRId64
			" AND state = %d",
			table.s, server_id, CN_ROW_KEPT);
	if(ask_number(&n, sql) < 0)
		return -1;
	if(n > 0 && release_all(server_id) < 0) {
		LM_ERR("%" PRId64 " events of the outbox are told after another start: "
			   "it cannot be written\n",
				n);
		return connect_db();
	}
	return 0;
}

int cn_outbox_db_init(int64_t *newest_us)
{
	char sql[200];

	url.s = cn_conf.outbox_db_url;
	url.len = strlen(url.s);
	table.s = cn_conf.outbox_table;
	table.len = strlen(table.s);
	if(db_bind_mod(&url, &dbf) < 0) {
		LM_ERR("outbox_db_url: load its database module before cms_notify\n");
		return -1;
	}
	if(!DB_CAPABILITY(dbf, DB_CAP_QUERY | DB_CAP_RAW_QUERY | DB_CAP_INSERT
								   | DB_CAP_DELETE | DB_CAP_UPDATE)) {
		LM_ERR("outbox_db_url: a database that understands SQL is needed\n");
		return -1;
	}
	if(connect_db() < 0
			|| db_check_table_version(&dbf, my.con, &table, CN_TABLE_VERSION)
					   < 0) {
		LM_ERR("outbox_table %s cannot be used, it is made by "
			   "cms_notify-create.sql\n",
				table.s);
		cn_outbox_db_close();
		return -1;
	}
	snprintf(sql, sizeof(sql),
			"SELECT created FROM %s WHERE state <> %d ORDER BY id DESC LIMIT 1",
			table.s, CN_ROW_SERVER);
	if(dbf.use_table(my.con, &table) < 0 || enter_server() < 0
			|| release_kept() < 0 || ask_number(newest_us, sql) < 0) {
		LM_ERR("outbox_table %s cannot be written\n", table.s);
		cn_outbox_db_close();
		return -1;
	}
	return 0;
}

/* -------- events -------- */

int cn_outbox_db_insert(
		const struct cn_row *row, enum cn_row_state state, const str *body)
{
	const db_key_t keys[] = {&col_event_id, &col_node, &col_device,
			&col_contacts, &col_event, &col_reason, &col_created, &col_state,
			&col_claimed_by, &col_cause, &col_status, &col_body};
	db_val_t values[] = {text_value(row->event_id), text_value(cn_conf.node),
			text_value(row->device), text_value(row->about),
			text_value(row->event), text_value(row->reason),
			big_value(row->created_us), int_value(state), big_value(server_id),
			text_value(row->cause), int_value(row->status), blob_value(body)};

	if(connect_db() < 0)
		return -1;
	return ended(
			dbf.insert(my.con, keys, values, sizeof(keys) / sizeof(keys[0])));
}

/* The id is of our own making: hexadecimal digits. */
int cn_outbox_db_release(const char *event_id, int len)
{
	if(run("UPDATE %s SET state = %d WHERE event_id = '%.*s'", table.s,
			   CN_ROW_WAITING, len, event_id)
			< 0)
		return -1;
	return affected();
}

int cn_outbox_db_unkeep(const char *event_id, int len)
{
	return run("DELETE FROM %s WHERE event_id = '%.*s' AND state = %d", table.s,
			len, event_id, CN_ROW_KEPT);
}

static int keep_body(const db_val_t *v, str *body)
{
	char *bigger;

	if(VAL_NULL(v))
		return 1;
	if(VAL_BLOB(v).len > my.body_size) {
		bigger = pkg_realloc(my.body, VAL_BLOB(v).len);
		if(bigger == NULL) {
			PKG_MEM_ERROR;
			return -1;
		}
		my.body = bigger;
		my.body_size = VAL_BLOB(v).len;
	}
	memcpy(my.body, VAL_BLOB(v).s, VAL_BLOB(v).len);
	body->s = my.body;
	body->len = VAL_BLOB(v).len;
	return 0;
}

int cn_outbox_db_body(int64_t id, str *body)
{
	db1_res_t *result = ask("SELECT body FROM %s WHERE id = %" PRId64
							" AND state = %d AND claimed_by = %" PRId64,
			table.s, id, CN_ROW_WAITING, server_id);
	int err;

	if(result == NULL)
		return -1;
	err = RES_ROW_N(result) == 1 ? keep_body(ROW_VALUES(RES_ROWS(result)), body)
								 : 1;
	free_result(result);
	return err;
}

int cn_outbox_db_heads(int64_t after, struct cn_row *rows, int max)
{
	return read_rows(
			ask("SELECT " ROW_SQL " FROM %s a WHERE a.claimed_by = %" PRId64
				" AND a.state = %d AND a.id > %" PRId64
				" AND NOT EXISTS (SELECT 1 FROM %s b WHERE b.device = a.device"
				" AND b.state = %d AND b.id < a.id) ORDER BY a.id LIMIT %d",
					table.s, server_id, CN_ROW_WAITING, after, table.s,
					CN_ROW_WAITING, max),
			rows, max);
}

int cn_outbox_db_waiting(int64_t after, struct cn_row *rows, int max)
{
	return read_rows(
			ask("SELECT " ROW_SQL " FROM %s a WHERE a.claimed_by = %" PRId64
				" AND a.state = %d AND a.id > %" PRId64
				" ORDER BY a.id LIMIT %d",
					table.s, server_id, CN_ROW_WAITING, after, max),
			rows, max);
}

int cn_outbox_db_elsewhere(int64_t after, struct cn_row *rows, int max)
{
	return read_rows(
			ask("SELECT " ROW_SQL " FROM %s a WHERE a.claimed_by <> %" PRId64
				" AND a.state = %d AND a.id > %" PRId64
				" ORDER BY a.id LIMIT %d",
					table.s, server_id, CN_ROW_WAITING, after, max),
			rows, max);
}

int cn_outbox_db_dead(int64_t after, struct cn_row *rows, int max)
{
	return read_rows(ask("SELECT " ROW_SQL " FROM %s a WHERE a.state = %d"
						 " AND a.id > %" PRId64 " ORDER BY a.id LIMIT %d",
							 table.s, CN_ROW_DEAD, after, max),
			rows, max);
}

/* The device's name comes from outside: as a value, not as text. */
int cn_outbox_db_of_device(
		const char *device, int64_t after, struct cn_row *rows, int max)
{
	/* not by claimed_by: SQLite would then read all that this server has */
	const db_key_t keys[] = {&col_device, &col_state, &col_id};
	const db_op_t ops[] = {OP_EQ, OP_LEQ, OP_GT};
	db_val_t values[] = {
			text_value(device), int_value(CN_ROW_DEAD), big_value(after)};
	db1_res_t *result = NULL;
	char order[32];
	str order_by = {order, snprintf(order, sizeof(order), "id LIMIT %d", max)};

	if(connect_db() < 0
			|| ended(dbf.query(my.con, keys, ops, values, row_columns, 3,
					   ROW_COLUMNS, &order_by, &result))
					   < 0)
		return -1;
	return read_rows(result, rows, max);
}

int cn_outbox_db_count(struct cn_row_counts *counts)
{
	db1_res_t *result =
			ask("SELECT state, COUNT(*) FROM %s WHERE claimed_by = %" PRId64
				" AND state IN (%d, %d) GROUP BY state",
					table.s, server_id, CN_ROW_WAITING, CN_ROW_DEAD);
	int i;

	memset(counts, 0, sizeof(*counts));
	if(result == NULL)
		return -1;
	for(i = 0; i < RES_ROW_N(result); i++) {
		const db_val_t *v = ROW_VALUES(&RES_ROWS(result)[i]);

		if(number(&v[0]) == CN_ROW_DEAD)
			counts->dead = (int)number(&v[1]);
		else
			counts->waiting = (int)number(&v[1]);
	}
	free_result(result);
	return 0;
}

int cn_outbox_db_oldest(int64_t *created_us)
{
	struct cn_row row;
	int n = cn_outbox_db_waiting(0, &row, 1);

	*created_us = n > 0 ? row.created_us : 0;
	return n < 0 ? -1 : 0;
}

int cn_outbox_db_delete(const int64_t *ids, int count)
{
	char list[CN_OUTBOX_DB_MANY * 21];
	int i, n = 0;

	if(count <= 0)
		return 0;
	for(i = 0; i < count && i < CN_OUTBOX_DB_MANY; i++)
		n += snprintf(
				list + n, sizeof(list) - n, "%s%" PRId64, i ? "," : "", ids[i]);
	return run("DELETE FROM %s WHERE id IN (%s)", table.s, list);
}

int cn_outbox_db_update(const struct cn_row *row, enum cn_row_state state)
{
	const db_key_t keys[] = {&col_id};
	const db_key_t columns[] = {
			&col_attempts, &col_cause, &col_status, &col_state};
	db_val_t id = big_value(row->id);
	db_val_t values[] = {int_value(row->attempts), text_value(row->cause),
			int_value(row->status), int_value(state)};

	if(connect_db() < 0)
		return -1;
	return ended(dbf.update(my.con, keys, NULL, &id, columns, values, 1, 4));
}

int cn_outbox_db_replay(int64_t now_us)
{
	/* from now on its age counts */
	if(run("UPDATE %s SET state = %d, attempts = 0, created = %" PRId64
		   " WHERE state = %d",
			   table.s, CN_ROW_WAITING, now_us, CN_ROW_DEAD)
			< 0)
		return -1;
	return affected();
}

/* -------- servers -------- */

bool cn_outbox_db_is_shared(void)
{
	return !is_engine("sqlite");
}

int cn_outbox_db_beat(void)
{
	return run("UPDATE %s SET attempts = (attempts + 1) %% 1000000"
			   " WHERE id = %" PRId64,
			table.s, server_id);
}

int cn_outbox_db_servers(struct cn_server *servers, int max)
{
	db1_res_t *result = ask(
			"SELECT id, attempts FROM %s WHERE state = %d AND id <> %" PRId64
			" ORDER BY id LIMIT %d",
			table.s, CN_ROW_SERVER, server_id, max);
	int i;

	if(result == NULL)
		return -1;
	for(i = 0; i < RES_ROW_N(result) && i < max; i++) {
		const db_val_t *v = ROW_VALUES(&RES_ROWS(result)[i]);

		servers[i].id = number(&v[0]);
		servers[i].beat = (int)number(&v[1]);
	}
	free_result(result);
	return i;
}

int cn_outbox_db_take_over(const struct cn_server *server)
{
	int n;

	/* whoever changes the heartbeat first takes the rows; a server that lives
	 * after all has changed it */
	if(run("UPDATE %s SET attempts = (attempts + 1) %% 1000000"
		   " WHERE id = %" PRId64 " AND attempts = %d",
			   table.s, server->id, server->beat)
			< 0)
		return -1;
	n = affected();
	if(n <= 0)
		return n;
	if(release_all(server->id) < 0)
		return -1;
	if(run("UPDATE %s SET claimed_by = %" PRId64 " WHERE claimed_by = %" PRId64,
			   table.s, server_id, server->id)
			< 0)
		return -1;
	return affected();
}
