/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The HTTP processes: take a job from the ring, POST it to one endpoint after
 * the other until its deadline, hand it on with its outcome. They run no script
 * and no database, so nothing keeps their timers from firing. */

#ifndef CN_HTTP_PROC_H
#define CN_HTTP_PROC_H

#include "cn_job.h"

/* Process: main, in mod_init. Checks the URLs, makes the ring. */
int cn_http_proc_init(void) CN_MUST;
/* Process: main, in child_init. */
int cn_http_proc_fork(void) CN_MUST;
void cn_http_proc_destroy(void);

/* Hand a job to the HTTP processes. There is room for every job that exists.
 * Process: SIP worker. Never blocks. */
void cn_http_proc_give(struct cn_job *job);

#endif
