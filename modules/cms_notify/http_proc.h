/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The HTTP processes: take a job from the ring, POST it to one endpoint after
 * the other until its deadline, hand it on with its outcome. They run no script
 * and no database, so nothing keeps their timers from firing. */

#ifndef CN_HTTP_PROC_H
#define CN_HTTP_PROC_H

#include "job.h"

struct cn_ring;

/* Process: main, in mod_init. Checks the URLs, makes the ring. */
int cn_http_proc_init(void) CN_MUST;
/* Process: main, in child_init. */
int cn_http_proc_fork(void) CN_MUST;
void cn_http_proc_destroy(void);

/* Hand a job to the HTTP processes. There is room for every job that exists.
 * While the server stops it ends at once. Process: any. Never blocks. */
void cn_http_proc_give(struct cn_job *job);

/* -------- events of the outbox, with the connections that are to spare --------
 * A delivery has its turn when no registration waits, on at most a quarter of the
 * connections. One that a registration has cancelled comes back at once, with the
 * cause busy. Process: outbox. */

/* How many may be given and not taken back. */
int cn_http_proc_spare(void);
void cn_http_proc_give_spare(struct cn_job *job);
/* The next one that has ended. @return NULL: none */
struct cn_job *cn_http_proc_take_ended(void) CN_MUST;
struct cn_ring *cn_http_proc_ended(void); /* to sleep by */

/* A delivery that the caller has decided. Process: any. */
void cn_http_proc_give_back(struct cn_job *job);

#endif
