/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A database behind Kamailio's database interface: one table in memory, which
 * understands the statements of outbox_table.c and outbox_db.c, and no other. It
 * can fail at any of its operations, or be gone and connected to again, as
 * Kamailio's drivers do it by themselves. */

#ifndef FAKE_DB_H
#define FAKE_DB_H

#include "stubs.h"

#include "../../lib/srdb1/db.h"

#define FAKE_TABLE "cms_outbox"

enum fake_fault
{
	FAKE_ERROR,		/* it says that it has failed */
	FAKE_NO_RESULT, /* it says nothing, and there is no result */
	/* its server is gone: the transaction, the locks; the driver connects
	 * again and makes the statement there */
	FAKE_RECONNECT
};

struct fake_db
{
	int version; /* of its table */
	unsigned capabilities;
	bool has_init2;		 /* the driver can make a connection of its own */
	db_type_t text_type;   /* what the driver makes of short texts */
	db_type_t number_type; /* and of numbers */
	/* how it was used */
	int connections;		/* that are open */
	int results;			/* that have not been given back */
	int operations;			/* so far, see fake_db_fail_at() */
	char statements[65536]; /* a line each */
};
extern struct fake_db fake_db;

/* Empty, of the latest version, nobody connected, no faults to come. */
void fake_db_start(int version);
void fake_db_end(void);

/* Let the n-th operation from now on fail; 0: none. */
void fake_db_fail_at(int n, enum fake_fault fault);
bool fake_db_has_failed(void);

/* What everybody sees: the table as it was last committed. */
int fake_db_rows(void);
/* A column of the row with this event_id: a number, also as text; NULL where it
 * is NULL, or there is no such row. In memory that the next call overwrites. */
const char *fake_db_value(const char *event_id, const char *column);
void fake_db_set(const char *event_id, const char *column, const char *value);

/* Another server's connection has, or has not, the lock in this name. */
void fake_db_lock(int64_t of, bool held);
bool fake_db_is_locked(int64_t of); /* by us */

/* Has a statement been made that begins with this? */
bool fake_db_was_asked(const char *statement);

#endif
