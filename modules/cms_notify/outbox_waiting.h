/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Of which devices may something wait in the outbox, or be a dead letter? A count
 * of rows for each hash, so that a registration need not ask the database. In shared memory. Two devices
 * of one hash cost a look at the table, no more. */

#ifndef CN_OUTBOX_WAITING_H
#define CN_OUTBOX_WAITING_H

#include "base.h"

/* Process: main, before any fork.
 *
 * @param max rows that may wait; 0: there is no outbox */
int cn_waiting_init(int max) CN_MUST;
void cn_waiting_destroy(void);

/* May something of the device wait, here or at another server? */
bool cn_waiting_may(unsigned hash);

/* More than one row? */
bool cn_waiting_may_several(unsigned hash);

/* A row has been stored or found; one that waited has been deleted, has become a
 * dead letter; a dead letter has been deleted. */
void cn_waiting_found(unsigned hash);
void cn_waiting_left(unsigned hash);
void cn_waiting_died(void);
void cn_waiting_forgotten(unsigned hash);

/* Begin to find all, all have been found. In between anything may wait. */
void cn_waiting_find_all(void);
void cn_waiting_forget_all(void);
void cn_waiting_all_found(void);

/* A row of another server has been found. Marks that are not renewed between a
 * beginning and the end after it are removed there. Process: outbox. */
void cn_waiting_found_elsewhere(unsigned hash);
void cn_waiting_begin_elsewhere(void);
void cn_waiting_end_elsewhere(void);

#endif
