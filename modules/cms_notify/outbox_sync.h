/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The rows in memory become what the table says, at the start, after a failure of
 * the database, and as far as they are other servers'. Process: outbox. */

#ifndef CN_OUTBOX_SYNC_H
#define CN_OUTBOX_SYNC_H

#include "base.h"

/**
 * Connect and read. What is known already keeps what is known of it; what is not
 * there any more goes; what is new waits.
 *
 * @param statement_ms see outbox_db.h
 * @return 0; -1: not now
 */
int cn_sync_load(int statement_ms) CN_MUST;

/* The same, on the connection that there is: more rows are this server's now.
 * @return 0; -1: the connection is closed */
int cn_sync_read(void) CN_MUST;

/* Look at what waits at the other servers. @return 0, or -1: the database
 * failed */
int cn_sync_look_elsewhere(void) CN_MUST;

#endif
