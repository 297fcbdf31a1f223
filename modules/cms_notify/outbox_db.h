/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A connection to the database of the outbox, through Kamailio's database
 * interface; with outbox_table the only user of srdb1. Everything here blocks for
 * as long as the database does. What fails closes the connection, and has written
 * a line to the log. Process: outbox; main, when the others have ended. */

#ifndef CN_OUTBOX_DB_H
#define CN_OUTBOX_DB_H

#include "../../lib/srdb1/db.h"

#include "base.h"

#define CN_SQL_MAX 8192

/* Process: main, before any fork. Binds the database's module, does not
 * connect. */
int cn_db_init(void) CN_MUST;

/* Can several servers share it? */
bool cn_db_is_shared(void);

/**
 * @param statement_ms for one statement, where the database has such a limit
 * @param version      that the table must have
 * @return 0; -1: not now
 */
int cn_db_open(int statement_ms, int version) CN_MUST;
void cn_db_set_limit(int statement_ms); /* from now on */
bool cn_db_is_open(void);
void cn_db_close(void);

/* A lock in the name of an owner, held while connected; of databases that several
 * servers share. @param mine is it ours now? */
int cn_db_try_lock(int64_t of, int64_t *mine) CN_MUST;
int cn_db_unlock(int64_t of) CN_MUST;

/* What fails in between has closed the connection, and nothing is changed. */
int cn_db_begin(void) CN_MUST;
int cn_db_commit(void) CN_MUST; /* durable when it returns 0 */

/* A statement of our own words and numbers. @return NULL: it failed; to be given
 * to cn_db_forget() */
db1_res_t *cn_db_ask(const char *format, ...)
		__attribute__((format(printf, 1, 2))) CN_MUST;
int cn_db_forget(db1_res_t *result); /* @return -1: there is none */
#define CN_DB_RUN(...) cn_db_forget(cn_db_ask(__VA_ARGS__))

/* The only number of the only row, 0 where it is NULL. */
#define CN_DB_ASK_NUMBER(n, ...) cn_db_take_number(n, cn_db_ask(__VA_ARGS__))
int cn_db_take_number(int64_t *n, db1_res_t *result) CN_MUST;

int cn_db_insert(
		const db_key_t *keys, const db_val_t *values, int count) CN_MUST;

/* The rows of another table that have these values in the first columns. @return NULL: it
 * failed */
db1_res_t *cn_db_find(const str *in, const db_key_t *columns,
		const db_val_t *values, int count, int column_count) CN_MUST;

int64_t cn_db_number(const db_val_t *v); /* of a time: since 1970 */
str cn_db_str(const db_val_t *v);		 /* of the row; NULL: empty */
void cn_db_text(const db_val_t *v, char *to, int size); /* NULL: "" */

#endif
