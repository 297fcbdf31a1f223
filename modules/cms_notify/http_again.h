/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Jobs that have left their batch and are sent once more, each alone: another
 * endpoint may take it, or the batch was refused as a whole. First in, first out.
 * Process: HTTP. */

#ifndef CN_HTTP_AGAIN_H
#define CN_HTTP_AGAIN_H

#include "job.h"

/* The endpoint from which on a job is tried: its place in a list, while that is in
 * force. */
struct cn_again_at
{
	unsigned list;
	int endpoint;
};

/* @param most jobs that this process may have; 0: there are no batches */
int cn_again_set_up(int most) CN_MUST;

/* Takes the job. Deliveries have a list of their own: they may have to wait. */
void cn_again_put(struct cn_job *job, const struct cn_again_at *at);

/* @return NULL: there is none */
struct cn_job *cn_again_take(bool deliveries, struct cn_again_at *at) CN_MUST;

#endif
