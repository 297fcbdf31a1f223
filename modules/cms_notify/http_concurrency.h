/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How many POSTs may be under way to an endpoint at once. A pure function of the
 * answers: no clock, no lock, no memory.
 *
 * The numbers are the rungs of a ladder, each a fifth more than the one below, and it is
 * remembered how long an event took with each. While events wait, the rung with the
 * best score is used: one per cent more events a second counts as much as five per cent
 * less time. In between another rung is tried: after one that was better, another step
 * in the same direction, twice as long, but no more than four rungs; otherwise a step
 * of half the length in the other direction. */

#ifndef CN_HTTP_CONCURRENCY_H
#define CN_HTTP_CONCURRENCY_H

#include "base.h"

#define CN_RUNGS_MAX 80

struct cn_rung
{
	int number;
	double us; /* of an event, lately; 0: not known */
};

/* Its fields are for http_concurrency.c. */
struct cn_concurrency
{
	int number; /* that may be under way now */

	struct cn_rung rungs[CN_RUNGS_MAX]; /* the most first */
	int count;
	int at;		/* the rung of `number`: home, or one that is tried */
	int home;	/* the best one that is known */
	int stride; /* from home to the next trial; less than 0: to more */
	int rest;	/* windows before it */
	/* the window: answers that are looked at together */
	int skip;  /* so many more do not count */
	int posts; /* that count; 0: it has not begun */
	int64_t since_us;
	double events;
	double us, squares; /* of their times */
	/* a stall of the CMS */
	int64_t ended_us; /* the latest answer; 0: nothing was waiting since */
	double post_us;	  /* mean time of a POST in the last window; 0: not known */
};

/* It begins with the most. */
void cn_concurrency_init(struct cn_concurrency *c, int least, int most);

struct cn_concurrency_answer
{
	int64_t began_us, ended_us;
	int events;	  /* that the CMS has answered; 0: it has failed */
	bool waiting; /* enough events wait for another POST like it */
};

/* c->number may be another one afterwards. */
void cn_concurrency_answered(
		struct cn_concurrency *c, const struct cn_concurrency_answer *answer);

/* Nothing was waiting, and that is known already: an answer with nothing waiting
 * changes nothing. */
bool cn_concurrency_is_idle(const struct cn_concurrency *c);

#endif
