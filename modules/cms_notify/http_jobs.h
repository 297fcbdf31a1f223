/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Jobs on their way to the HTTP processes, and what has ended on its way back.
 * There is room for every job that exists. */

#ifndef CN_HTTP_JOBS_H
#define CN_HTTP_JOBS_H

#include "job.h"

struct cn_ring;

/* Process: main, before any fork. */
int cn_http_jobs_init(void) CN_MUST;
void cn_http_jobs_destroy(void);

/* Hand a job to the HTTP processes. While the server stops it ends at once.
 * Process: any. Never blocks. */
void cn_http_jobs_give(struct cn_job *job);

/* What they take from. */
struct cn_ring *cn_http_jobs_ring(void);

/* Where a job waits and a process sleeps that could send it, wake it: the one that
 * was woken in its time does not come. Process: timer. */
void cn_http_jobs_remind(void);

/* -------- events of the outbox, with the connections that are to spare --------
 * A delivery has its turn when no registration waits, on at most a quarter of the
 * connections. One that a registration has cancelled comes back at once, with the
 * cause busy. Process: outbox. */

/* How many may be given and not taken back; and how many of them one HTTP process
 * may have under way. */
int cn_http_jobs_spare_most(void);
int cn_http_jobs_spare_share(void);
void cn_http_jobs_give_spare(struct cn_job *job);
/* What the HTTP processes take from; NULL: there is no outbox. */
struct cn_ring *cn_http_jobs_spare(void);
/* The next one that has ended. @return NULL: none */
struct cn_job *cn_http_jobs_take_ended(void) CN_MUST;
struct cn_ring *cn_http_jobs_ended(void); /* to sleep by */

/* A delivery that the caller has decided. Process: any. */
void cn_http_jobs_give_back(struct cn_job *job);

/* -------- their end --------
 * The caller lets go of the job's sending side. Process: HTTP; for a job that is
 * not given any more, any. */
void cn_http_jobs_end(struct cn_job *job, const struct cn_outcome *outcome);
/* As the CMS has answered it, or has not. */
void cn_http_jobs_answered(struct cn_job *job, enum cn_cause cause, long status,
		unsigned retry_after, const str *body);
void cn_http_jobs_fail(struct cn_job *job, enum cn_cause cause);

#endif
