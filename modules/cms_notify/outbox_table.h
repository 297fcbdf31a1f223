/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The table of the outbox. What fails closes the connection: see outbox_db.h.
 * Process: outbox; main, when the others have ended. */

#ifndef CN_OUTBOX_TABLE_H
#define CN_OUTBOX_TABLE_H

#include "outbox_rows.h"

/* Process: main, before any fork. Does not connect. */
int cn_table_init(void) CN_MUST;

/**
 * Connect and check the table.
 *
 * @param statement_ms for one statement, where the database has such a limit
 * @param owns         become the owner of this server's rows, while connected
 * @param lease        the highest number that this server may have given, 0: none
 * @return 0; -1: not now
 */
int cn_table_open(int statement_ms, bool owns, int64_t *lease) CN_MUST;

typedef int (*cn_table_f)(const char *aor, const struct cn_row *row);

/**
 * Read this server's rows; what waits at the others that share the table.
 *
 * @param each  returns -1 to end it
 * @param after with higher numbers than this
 */
int cn_table_load(cn_table_f each) CN_MUST;
int cn_table_load_elsewhere(cn_table_f each, int64_t after) CN_MUST;

/* -------- in a transaction of outbox_db.h -------- */

int cn_table_insert(
		const char *aor, const struct cn_row *row, const str *body) CN_MUST;
/* State, created_us, attempts, cause and status. */
int cn_table_update(const struct cn_row *row) CN_MUST;
/* @param count any */
int cn_table_delete(struct cn_row *const *rows, int count) CN_MUST;
int cn_table_set_lease(int64_t lease) CN_MUST;

/**
 * The bodies of rows that are still there and this server's.
 *
 * @param each called for each of them; the body is the callee's for the call
 * @return 0, or -1
 */
int cn_table_bodies(struct cn_row *const *rows, int count,
		void (*each)(struct cn_row *row, const str *body)) CN_MUST;

/* Take the rows of servers that are dead, where several share the table.
 *
 * @return how many rows; -1 */
int cn_table_take_over(void) CN_MUST;

#endif
