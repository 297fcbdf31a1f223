/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The table of the outbox, behind Kamailio's database interface. A row is an
 * event, or one of the servers that share the table. Everything here blocks for
 * as long as the database does; a database that fails has written a line to
 * the log. The only user of srdb1. */

#ifndef CN_OUTBOX_TABLE_H
#define CN_OUTBOX_TABLE_H

#include "job_contacts.h"

#define CN_ROW_KEY_MAX 255 /* as the columns are made */

enum cn_row_state
{
	CN_ROW_WAITING,
	CN_ROW_DEAD,   /* the CMS has refused it, or it is too old */
	CN_ROW_SERVER, /* no event: attempts is the server's heartbeat */
	CN_ROW_KEPT	   /* waits, once this server has been started again */
};

/* An event without its body. */
struct cn_row
{
	int64_t id; /* in the order of being stored */
	bool ours;	/* this server's */
	bool moved; /* and was another one's before */
	bool dead;	/* a dead letter */
	char event_id[CN_ID_LEN + 1];
	char device[CN_ROW_KEY_MAX + 1]; /* the AOR */
	char about[CN_ABOUT_MAX + 1];	 /* which contacts */
	char event[16];
	char reason[16];
	int64_t created_us; /* cn_outbox_now_us() */
	int attempts;		/* that failed */
	char cause[16];		/* of the last one */
	int status;			/* HTTP status of the last one */
};

/* A server that shares the table. */
struct cn_server
{
	int64_t id;
	int beat;
};

struct cn_row_counts
{
	int waiting;
	int dead;
};

/**
 * Bind the database module, check the table's version, enter this server.
 * Process: main, before any fork; to be closed by then.
 *
 * @param newest_us when the newest event in the table was created, 0: none
 */
int cn_outbox_db_init(int64_t *newest_us) CN_MUST;

/**
 * Open this process's connection; otherwise the first use does. A connection
 * that has failed is opened anew by the next use.
 *
 * @param timeout_ms for one statement, where the database has such a limit
 */
int cn_outbox_db_open(int timeout_ms);
void cn_outbox_db_close(void);

/* Durable when it returns 0. The row's id is not used. */
int cn_outbox_db_insert(const struct cn_row *row, enum cn_row_state state,
		const str *body) CN_MUST;

/* A kept event now waits: @return how many, 0: there is none; -1: the database
 * failed. It is not needed any more: @return 0, or -1. */
int cn_outbox_db_release(const char *event_id, int len) CN_MUST;
int cn_outbox_db_unkeep(const char *event_id, int len) CN_MUST;

/* The body of an event, in memory of this process that the next call
 * overwrites. @return 0; -1: the database failed; 1: it does not wait here any
 * more */
int cn_outbox_db_body(int64_t id, str *body) CN_MUST;

/* -------- reading, in order of id, from after an id on --------
 * @return how many rows were filled, at most max; -1: the database failed */

/* What waits at this server and is the first of its device in the table. */
int cn_outbox_db_heads(int64_t after, struct cn_row *rows, int max) CN_MUST;

/* What waits at this server. */
int cn_outbox_db_waiting(int64_t after, struct cn_row *rows, int max) CN_MUST;

/* What waits at the other servers that share the table. */
int cn_outbox_db_elsewhere(int64_t after, struct cn_row *rows, int max) CN_MUST;

/* What waits of one device, and its dead letters, also at other servers. */
int cn_outbox_db_of_device(const char *device, int64_t after,
		struct cn_row *rows, int max) CN_MUST;

/* The dead letters of all servers. */
int cn_outbox_db_dead(int64_t after, struct cn_row *rows, int max) CN_MUST;

/* Of this server's events. */
int cn_outbox_db_count(struct cn_row_counts *counts) CN_MUST;
/* When the first of those that wait was created, 0: there is none. */
int cn_outbox_db_oldest(int64_t *created_us) CN_MUST;

/* -------- changing -------- */

#define CN_OUTBOX_DB_MANY 100 /* ids at once */
int cn_outbox_db_delete(const int64_t *ids, int count) CN_MUST;

/* Attempts, cause, status and state. */
int cn_outbox_db_update(
		const struct cn_row *row, enum cn_row_state state) CN_MUST;

/* All dead letters wait again, at their servers, as if created now. @return how
 * many; -1: the database failed */
int cn_outbox_db_replay(int64_t now_us) CN_MUST;

/* -------- the servers that share the table -------- */

/* Is it a database that several servers can share? */
bool cn_outbox_db_is_shared(void);

/* The next heartbeat of this server. */
int cn_outbox_db_beat(void) CN_MUST;

/* The others. @return how many, at most max; -1: the database failed */
int cn_outbox_db_servers(struct cn_server *servers, int max) CN_MUST;

/**
 * Make this server the owner of what another one has. Of several servers that
 * try, one succeeds.
 *
 * @param server as it was seen last
 * @return how many rows there were; 0: none, or somebody was faster, or the
 *         server lives; -1: the database failed
 */
int cn_outbox_db_take_over(const struct cn_server *server) CN_MUST;

#endif
