/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Decided jobs, and the requests that wait for them: each is resumed in the script.
 * By the HTTP processes, or by processes of their own (verdict_processes). */

#ifndef CN_VERDICT_H
#define CN_VERDICT_H

#include "job.h"

struct cn_ring;

/* What the face shows of the verdict while the script runs. */
typedef void (*cn_verdict_show_f)(
		struct cn_job *job, const struct cn_waiter *waiter);

/**
 * Process: main, in mod_init.
 *
 * @param show called before each request is resumed, and with NULL, NULL after
 */
int cn_verdict_init(cn_verdict_show_f show) CN_MUST;
void cn_verdict_destroy(void);

/* Hand on a job that the caller has decided. There is room for every job that
 * exists. Process: any. Never blocks. */
void cn_verdict_give(struct cn_job *job);

/* Where a job waits and a process sleeps that could resume it, wake it: the script
 * of the one that was to do it hangs. Process: timer. */
void cn_verdict_remind(void);

/* -------- in a process that resumes -------- */

/* From now on this process does. What it gives wakes nobody: it looks itself
 * before it sleeps. */
void cn_verdict_begin(void);

/* To sleep by. */
struct cn_ring *cn_verdict_ring(void);

/* Take the oldest job and resume its waiters. Runs the script.
 *
 * @return false: there is none */
bool cn_verdict_resume(void);

/* While the server stops: who waits for an older job or for the outbox process
 * waits no more. */
void cn_verdict_end_unsent(void);

/**
 * The same, until the last one has been answered, wherever his POST is under way.
 *
 * @param taker number of this process at the ring
 */
void cn_verdict_drain(int taker);

#endif
