/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Events that no request made: their body; and who leaves while the server
 * stops, when the outbox process has ended and usrloc purges once more. */

#ifndef CN_OUTBOX_LEAVING_H
#define CN_OUTBOX_LEAVING_H

#include "job_event.h"
#include "outbox_rows.h"

/* Let $cms(...) show this event; NULL: none. */
typedef void (*cn_event_show_f)(const struct cn_event *ev);

/* Process: main, in mod_init. */
int cn_leaving_init(cn_event_show_f show) CN_MUST;

/**
 * The body of an event that no request made.
 *
 * @param body in memory of this process that the next call overwrites
 * @return 0, or -1: out of memory
 */
int cn_leaving_render(const struct cn_event *ev, str *body) CN_MUST;

/* Its row, once it has its number. */
void cn_leaving_fill_row(const struct cn_event *ev, struct cn_row *row);

/* -------- process: main, when the others have ended -------- */

/* Store what the outbox process has left in the ring. */
void cn_leaving_finish(void);

/* Store this. After a second, or a failure of the database, nothing is stored
 * any more: the server has to end. */
void cn_leaving_store(struct cn_event *ev);

#endif
