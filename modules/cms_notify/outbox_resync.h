/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* All live bindings of this server, or one AOR's, one after the other, to be
 * told to the CMS again. Asked for by an operator, done by the outbox process. */

#ifndef CN_OUTBOX_RESYNC_H
#define CN_OUTBOX_RESYNC_H

#include "outbox.h"

/**
 * Begin, unless it is running. Process: any.
 *
 * @param aor NULL: all
 * @return false: it runs already, or the AOR is too long
 */
bool cn_resync_ask(const str *aor) CN_MUST;
void cn_resync_progress(struct cn_resync_progress *progress);

/* -------- in the outbox process -------- */

/* A binding that is to be told. */
struct cn_task;

/* How it ended. */
enum cn_told
{
	CN_TOLD,
	CN_TOLD_REFUSED,
	CN_TOLD_FAILED, /* other events did not */
	CN_TOLD_NOT_NOW /* to be tried again, for reasons that are not its own */
};

/**
 * The next binding, when it is time.
 *
 * @param ev     the event, made from the binding as it is now, in memory that
 *               the next call overwrites
 * @param due_us where there is none: when to ask again
 * @return NULL: none now; otherwise to be given back by cn_resync_told()
 */
struct cn_task *cn_resync_next(
		struct cn_event **ev, int64_t now_us, int64_t *due_us) CN_MUST;
void cn_resync_told(struct cn_task *task, enum cn_told told);

#endif
