/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A request that waits for the verdict of a job. */

#ifndef CN_JOB_WAITER_H
#define CN_JOB_WAITER_H

#include "job_event.h"

struct cn_job;

/* A parked REGISTER. Lives in a block of shared memory of its own, or in its
 * job's. */
struct cn_waiter
{
	struct cn_waiter *next;
	struct cn_job *block; /* the job that it lives in, NULL: its own */
	unsigned tm_index;	  /* the transaction, for tm */
	unsigned tm_label;
	unsigned call_id_hash;
	unsigned cseq;
	unsigned share; /* that it has a place of, see admit_share.h */
	bool gives_way; /* before it is saved, see reg_restart.h */
	int route;		/* index of the verdict route, -1: see callback */
	str callback;	/* name of the KEMI function, NUL-terminated */
	int64_t parked_us;
	uint64_t step; /* see base_history.h */
};

/* A waiter without a job, to join somebody else's. NULL: no memory. */
struct cn_waiter *cn_waiter_new(
		const struct cn_event *ev, const str *callback) CN_MUST;

/* What every waiter knows; its dialog, by the Call-ID. */
void cn_waiter_init(struct cn_waiter *waiter, const struct cn_event *ev);
unsigned cn_waiter_dialog(const str *call_id);

/* Copy a string, with a zero behind it. @return after that */
char *cn_put_name(str *to, const str *from, char *p);

#endif
