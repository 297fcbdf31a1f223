/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The outbox process: takes events out of the table, in order for each device,
 * has the HTTP processes POST them when they have nothing better to do, and
 * deletes them when the CMS has accepted. */

#ifndef CN_OUTBOX_PROC_H
#define CN_OUTBOX_PROC_H

#include "base.h"

/* Process: main, in mod_init, after cn_outbox and cn_http_proc. */
int cn_outbox_proc_init(void) CN_MUST;
/* How many there are: one, or none where there is no outbox. */
int cn_outbox_proc_count(void);
/* Process: main, in child_init. */
int cn_outbox_proc_fork(void) CN_MUST;

#endif
