/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A connection of this process to the database of the outbox, and its locks. In
 * the outbox process; in the main process when the others have ended. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "outbox_db.h"

/* The connection of a machine that has vanished ends after this, and its lock with
 * it. MySQL knows by idleness alone. */
#define CN_SILENCE_S 3
#define CN_IDLE_S 8

static db_func_t dbf;
static str url;
static str table;
static db1_con_t *con;
static int64_t session; /* of the database's server, while we are connected */

static bool is_engine(const char *name)
{
	return strncmp(url.s, name, strlen(name)) == 0;
}

bool cn_db_is_shared(void)
{
	return !is_engine("sqlite");
}

int cn_db_init(void)
{
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
	return 0;
}

/* -------- statements -------- */

bool cn_db_is_open(void)
{
	return con != NULL;
}

void cn_db_close(void)
{
	if(con)
		dbf.close(con);
	con = NULL;
}

db1_res_t *cn_db_ask(const char *format, ...)
{
	char buffer[CN_SQL_MAX];
	str sql = {buffer, 0};
	db1_res_t *result = NULL;
	va_list args;

	va_start(args, format);
	sql.len = vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);
	if(con == NULL)
		return NULL;
	if(sql.len >= (int)sizeof(buffer))
		LM_BUG("statement of %d bytes\n", sql.len);
	/* always for a result: SQLite runs it only then */
	else if(dbf.raw_query(con, &sql, &result) < 0)
		result = NULL;
	if(result == NULL)
		cn_db_close();
	return result;
}

int cn_db_forget(db1_res_t *result)
{
	if(result)
		dbf.free_result(con, result);
	return result ? 0 : -1;
}

int64_t cn_db_number(const db_val_t *v)
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
		case DB1_DATETIME:
			return (int64_t)VAL_TIME(v);
		default:
			return 0;
	}
}

int cn_db_take_number(int64_t *n, db1_res_t *result)
{
	if(result == NULL)
		return -1;
	*n = RES_ROW_N(result) == 1 ? cn_db_number(ROW_VALUES(RES_ROWS(result)))
								: 0;
	return cn_db_forget(result);
}

str cn_db_str(const db_val_t *v)
{
	str s = STR_STATIC_INIT("");

	if(VAL_NULL(v))
		return s;
	/* a BLOB is what PostgreSQL takes text for */
	if(VAL_TYPE(v) != DB1_STRING)
		return VAL_STR(v);
	s.s = (char *)VAL_STRING(v);
	s.len = (int)strlen(s.s);
	return s;
}

void cn_db_text(const db_val_t *v, char *to, int size)
{
	str s = cn_db_str(v);

	snprintf(to, size, "%.*s", s.len, s.s);
}

/* -------- connection -------- */

/* Names are compared with no regard to the table: it is one lock a server. */
int cn_db_try_lock(int64_t of, int64_t *mine)
{
	if(is_engine("postgres"))
		return CN_DB_ASK_NUMBER(mine,
				"SELECT CASE WHEN pg_try_advisory_lock(%" PRId64
				") THEN 1 ELSE 0 END",
				of);
	if(is_engine("mysql"))
		return CN_DB_ASK_NUMBER(
				mine, "SELECT GET_LOCK('cms_notify:%" PRId64 "', 0)", of);
	*mine = 1;
	return 0;
}

int cn_db_unlock(int64_t of)
{
	if(is_engine("postgres"))
		return CN_DB_RUN("SELECT pg_advisory_unlock(%" PRId64 ")", of);
	return CN_DB_RUN("SELECT RELEASE_LOCK('cms_notify:%" PRId64 "')", of);
}

static int ask_session(int64_t *id)
{
	*id = 0;
	if(is_engine("postgres"))
		return CN_DB_ASK_NUMBER(id, "SELECT pg_backend_pid()");
	if(is_engine("mysql"))
		return CN_DB_ASK_NUMBER(id, "SELECT CONNECTION_ID()");
	return 0;
}

/* How long the database may keep us waiting for another one's lock; when it is
 * to notice that we have vanished. */
static int set_limits(int ms)
{
	if(is_engine("sqlite"))
		return CN_DB_RUN("PRAGMA busy_timeout = %d", ms);
	if(is_engine("postgres"))
		return CN_DB_RUN("SET statement_timeout = %d", ms)
			   || CN_DB_RUN("SET synchronous_commit = on")
			   || CN_DB_RUN("SET tcp_keepalives_idle = 1")
			   || CN_DB_RUN("SET tcp_keepalives_interval = 1")
			   || CN_DB_RUN("SET tcp_keepalives_count = %d", CN_SILENCE_S - 1)
			   /* also if something has been sent to it; from version 12 on */
			   || CN_DB_RUN("SELECT set_config(name, '%d', false) FROM"
							" pg_settings WHERE name = 'tcp_user_timeout'",
					   CN_SILENCE_S * 1000);
	if(is_engine("mysql"))
		return CN_DB_RUN("SET SESSION innodb_lock_wait_timeout = %d,"
						 " SESSION wait_timeout = %d",
				(ms + 999) / 1000, CN_IDLE_S);
	return 0;
}

void cn_db_set_limit(int statement_ms)
{
	if(con && set_limits(statement_ms) != 0)
		cn_db_close();
}

static int check_version(int version)
{
	if(db_check_table_version(&dbf, con, &table, version) == 0)
		return dbf.use_table(con, &table);
	LM_ERR("outbox_table %s cannot be used: make it, or bring it to version "
		   "%d, with scripts/database\n",
			table.s, version);
	return -1;
}

int cn_db_open(int statement_ms, int version)
{
	/* of our own, since its limits are not for others; SQLite's cannot */
	con = dbf.init2 ? dbf.init2(&url, DB_POOLING_NONE) : dbf.init(&url);
	if(con == NULL)
		return -1;
	if(set_limits(statement_ms) == 0 && check_version(version) == 0
			&& ask_session(&session) == 0)
		return 0;
	cn_db_close();
	return -1;
}

int cn_db_insert(const db_key_t *keys, const db_val_t *values, int count)
{
	if(con && dbf.insert(con, keys, values, count) >= 0)
		return 0;
	cn_db_close();
	return -1;
}

db1_res_t *cn_db_find(const str *in, const db_key_t *columns,
		const db_val_t *values, int count, int column_count)
{
	db1_res_t *result = NULL;

	if(con == NULL)
		return NULL;
	if(dbf.use_table(con, in) < 0
			|| dbf.query(con, (db_key_t *)columns, NULL, (db_val_t *)values,
					   (db_key_t *)columns, count, column_count, NULL, &result)
					   < 0
			|| dbf.use_table(con, &table) < 0) {
		cn_db_close();
		return NULL;
	}
	return result;
}

/* -------- transactions -------- */

/* Kamailio's database modules connect again by themselves, without our lock and
 * in the middle of a transaction: what was done in it before is undone, and what
 * came after it stands alone. */
static int check_session(void)
{
	int64_t now;

	if(ask_session(&now) < 0)
		return -1;
	if(now == session)
		return 0;
	LM_WARN("the database of the outbox has been connected to again\n");
	cn_db_close();
	return -1;
}

int cn_db_begin(void)
{
	return CN_DB_RUN("BEGIN") < 0 ? -1 : check_session();
}

/* When it was all in one session, the transaction was one. */
int cn_db_commit(void)
{
	return CN_DB_RUN("COMMIT") < 0 ? -1 : check_session();
}
