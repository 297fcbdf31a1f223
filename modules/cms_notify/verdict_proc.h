/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The verdict processes: take a decided job, resume each request that waits for
 * it in the script. And the watchdog that ends what nobody else has ended. */

#ifndef CN_VERDICT_PROC_H
#define CN_VERDICT_PROC_H

#include "job.h"

/* What the face shows of the verdict while the script runs. */
typedef void (*cn_verdict_show_f)(
		struct cn_job *job, const struct cn_waiter *waiter);

/**
 * Process: main, in mod_init.
 *
 * @param show called before each request is resumed, and with NULL, NULL after
 */
int cn_verdict_proc_init(cn_verdict_show_f show) CN_MUST;
/* Process: main, in child_init. */
int cn_verdict_proc_fork(void) CN_MUST;
void cn_verdict_proc_destroy(void);

/* Hand on a job that the caller has decided. There is room for every job that
 * exists. Process: any. Never blocks. */
void cn_verdict_proc_give(struct cn_job *job);

#endif
