/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A device that has restarted counts its CSeqs from the beginning, perhaps with the
 * Call-ID of before. By the binding that it had then save() would refuse it, or
 * answer 200 and do nothing. So that binding gives way: it is made one that any CSeq
 * is higher than. It is live as before, and save() takes it over. Not where usrloc
 * has no bindings in memory (db_mode 3). */

#ifndef CN_REG_RESTART_H
#define CN_REG_RESTART_H

#include "base.h"

/* Process: main, in mod_init. Needs usrloc loaded. */
int cn_restart_init(void) CN_MUST;

/**
 * The bindings of a dialog give way to a request: those with its CSeq; with
 * cseq_restart those with a higher one, too.
 * Process: who is going to call save().
 *
 * @param dialog see cn_waiter_dialog()
 */
void cn_restart_begin(const str *key, unsigned dialog, unsigned cseq);

/* Those that have not been saved meanwhile are as they were before. */
void cn_restart_end(const str *key, unsigned dialog);

#endif
