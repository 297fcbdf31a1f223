/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What is kept and said of a verdict: the device's step, whether it flaps, a line in
 * the log. */

#ifndef CN_VERDICT_STEP_H
#define CN_VERDICT_STEP_H

#include "job.h"

/* A waiter is told its verdict now. Process: who resumes. */
void cn_verdict_note(const struct cn_job *job, const struct cn_waiter *waiter);

#endif
