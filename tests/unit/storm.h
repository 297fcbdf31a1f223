/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A storm of devices, played in steps of a millisecond: the devices, the queue
 * and the CMS, with the module's admission between them. One at a time. */

#ifndef STORM_H
#define STORM_H

#include "stubs.h"

#define SECOND 1000000
#define TIMEOUT_US (4 * SECOND)
#define POSTS 64
#define CAPACITY (8192 + POSTS)

/* How many of a hundred devices do what. The rest comes back when it was told to. */
struct fleet
{
	int hasty; /* come after two seconds, always */
	int fixed; /* after their own interval, 60 to 90 s, always */
	int gone;  /* never come back */
};

struct storm
{
	int devices;
	int64_t within_us; /* all come for the first time */
	int slots;		   /* what the CMS serves at once */
	int64_t post_us;   /* and for how long */
	/* for a while each POST takes so many times as long; 0: no answer */
	int64_t slow_since_us, slow_until_us;
	int factor;
	struct fleet fleet;
	int batch;		  /* events in a POST; 0: one */
	int64_t event_us; /* that the CMS needs for each, besides post_us */

	/* what came of it */
	int on_line, gone;
	int p50_refusals, p99_refusals, most_refusals, patient_most_refusals;
	int patient_p99_refusals;
	/* on line so long after the first moment that they were given, at the most */
	int64_t patient_late_us, fixed_late_us;
	int in_vain; /* no answer before the deadline */
	int wasted;	 /* of those: the CMS had it */
	int64_t lasted_us;
};

extern int64_t now;

void begin_anew(int batch);
int start(void **state);
int end(void **state);
uint64_t device(int n);

/* Until all devices are on line or gone, for twenty minutes at most. */
void run(struct storm *s);

#endif
