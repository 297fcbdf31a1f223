/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "cn_load.h"

/* Weight of the newest answer in the running mean: 1 in 16. */
#define CN_MEAN_SHIFT 4
/* The share of the deadline that may pass in the queue, the rest is for the
 * POST itself: 3/4. */
#define CN_QUEUE_SHARE(us) ((us) - (us) / 4)
/* Taken for the rate while no answer has been seen. */
#define CN_RATE_UNKNOWN 100.0

static struct
{
	gen_lock_t lock;
	atomic_t mean_us; /* of an answered POST, 0: none yet */
	int64_t next_us;  /* the first moment that is not given away */
	int posts;
} * load;

int cn_load_init(int posts)
{
	load = shm_malloc(sizeof(*load));
	if(load == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(load, 0, sizeof(*load));
	load->posts = posts;
	if(lock_init(&load->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		return -1;
	}
	return 0;
}

void cn_load_destroy(void)
{
	if(load)
		shm_free(load);
	load = NULL;
}

void cn_load_answered(int64_t us)
{
	int mean = atomic_get(&load->mean_us);
	int64_t next;

	if(us > INT32_MAX / 2)
		us = INT32_MAX / 2;
	/* two processes at once lose one sample, which is one in many */
	next = mean == 0 ? us : mean + (us - mean) / (1 << CN_MEAN_SHIFT);
	atomic_set(&load->mean_us, next > 0 ? (int)next : 1);
}

double cn_load_rate(void)
{
	int mean = atomic_get(&load->mean_us);

	return mean > 0 ? load->posts * 1e6 / mean : 0;
}

bool cn_load_admits(int queued, int64_t timeout_us)
{
	double rate = cn_load_rate();

	return rate == 0 || queued < load->posts
		   || (double)queued * 1e6 < rate * (double)CN_QUEUE_SHARE(timeout_us);
}

int64_t cn_load_reserve(int queued, int64_t now_us)
{
	double rate = cn_load_rate();
	int64_t moment;

	if(rate == 0)
		rate = CN_RATE_UNKNOWN;
	moment = now_us + (int64_t)(queued * 1e6 / rate);
	lock_get(&load->lock);
	if(moment < load->next_us)
		moment = load->next_us;
	load->next_us = moment + (int64_t)(1e6 / rate);
	lock_release(&load->lock);
	return moment - now_us;
}
