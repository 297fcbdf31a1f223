/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The events of the outbox that are on their way to the CMS, and those whose
 * end the table does not know yet. Process: outbox. */

#ifndef CN_OUTBOX_DELIVERY_H
#define CN_OUTBOX_DELIVERY_H

#include "outbox_table.h"
#include "outbox_resync.h"

/* Process: main, before any fork. */
int cn_flight_init(void) CN_MUST;

/* May another one leave? */
bool cn_flight_room(void);

bool cn_flight_has(const struct cn_row *row);
bool cn_flight_has_device(const char *device);
bool cn_flight_any(void);

/**
 * Hand an event to the HTTP processes. There must be room.
 *
 * @param row  its id is not used where there is a task
 * @param task NULL: an event of the table
 * @param generation cn_device_generation(), as it was when the row was chosen
 * @return 0, or -1: out of memory
 */
int cn_flight_begin(const struct cn_row *row, const str *body, unsigned hash,
		unsigned generation, struct cn_task *task) CN_MUST;

/* Is it on its way? Then it is noted that it is outdated: it is not tried
 * again. */
bool cn_flight_is_outdated(const struct cn_row *row);

/* See what has ended. @return true: something has */
bool cn_flight_take_ended(void);

/**
 * Let the table know.
 *
 * @return how many ends; -1: the database failed, to be called again
 */
int cn_flight_write_ends(void) CN_MUST;

/* A row becomes a dead letter. @return 0, or -1: the database failed */
int cn_flight_bury(const struct cn_row *row, const char *why) CN_MUST;

#endif
