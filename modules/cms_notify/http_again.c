/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Two rings of jobs. In the HTTP processes. */

#include <stdlib.h>

#include "http_again.h"

struct again
{
	struct cn_job *job;
	struct cn_again_at at;
};

static struct
{
	struct again *items; /* as many as there can be: it is never full */
	int first;
	int count;
} lists[2];

static int capacity;

int cn_again_set_up(int most)
{
	int i;

	capacity = most;
	for(i = 0; i < 2 && most > 0; i++) {
		lists[i].items = calloc(most, sizeof(*lists[i].items));
		if(lists[i].items == NULL)
			return -1;
	}
	return 0;
}

void cn_again_put(struct cn_job *job, const struct cn_again_at *at)
{
	int i = cn_job_is_delivery(job);
	int last = (lists[i].first + lists[i].count++) % capacity;

	lists[i].items[last] = (struct again){job, *at};
}

struct cn_job *cn_again_take(bool deliveries, struct cn_again_at *at)
{
	int i = deliveries, first = lists[i].first;

	if(lists[i].count == 0)
		return NULL;
	lists[i].first = (first + 1) % capacity;
	lists[i].count--;
	*at = lists[i].items[first].at;
	return lists[i].items[first].job;
}
