/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the next transaction writes, one for all that waits; after it the jobs go
 * on. Process: outbox. */

#ifndef CN_OUTBOX_BATCH_H
#define CN_OUTBOX_BATCH_H

#include "outbox.h"
#include "outbox_rows.h"

/**
 * Store the event of an ASK, a STORE, a WAIT or a LEAVE. Its row is in memory from
 * here on. The command of a LEAVE stays the caller's; busy and done say how far
 * it is.
 *
 * @return 0: the command has been taken; -1: it is not possible now
 */
int cn_batch_add(struct cn_command *command, enum cn_row_state state) CN_MUST;

/* End the job of a STORE. @return true: nobody else has ended it before */
bool cn_batch_end_job(struct cn_job *job, bool stored);

/* This row is not sent any more, and will be deleted. */
void cn_batch_doom(struct cn_row *row);
/* It is not in the table any more. */
void cn_batch_remove(struct cn_row *row);
/* The state and what else of it can change is written. */
void cn_batch_change(struct cn_row *row);
/* The same for a lease. */
void cn_batch_set_lease(int64_t lease);

/* Rows that the CMS has made needless by accepting an event are doomed. */
void cn_batch_settle(
		const char *aor, unsigned hash, int64_t seq, const char *contacts);
/* A row waits: those that it replaces are doomed, if it is in the table. */
void cn_batch_wait(struct cn_row *row);

/* When it is to be written, INT64_MAX: there is nothing. What is only to be
 * deleted waits a moment for more of its kind. */
int64_t cn_batch_due_us(void);

/* Something is going to be sent that must not be followed by what is to be
 * deleted, not after a crash either. */
void cn_batch_hurry(void);

int cn_batch_size(void); /* stores and questions in it */

/**
 * Write it all. Everything in it is answered, whether it succeeds or not; what
 * is doomed or changed is written by the next one that does.
 *
 * @return 0, or -1: the table is closed
 */
int cn_batch_write(void) CN_MUST;

/* The table is read again: forget what was to be deleted or changed. */
void cn_batch_reset(void);

#endif
