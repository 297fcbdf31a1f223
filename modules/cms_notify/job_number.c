/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Counts. In every process. */

#include <sys/time.h>

#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "job_number.h"

static int64_t *shared;	 /* the last number */
static int64_t epoch_us; /* of cn_now_us(), since 1970 */

int cn_number_init(void)
{
	struct timeval tv;

	shared = shm_malloc(sizeof(*shared));
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	*shared = 0;
	gettimeofday(&tv, NULL);
	epoch_us = (int64_t)tv.tv_sec * 1000000 + tv.tv_usec - cn_now_us();
	return 0;
}

void cn_number_destroy(void)
{
	int64_t *last = shared;

	shared = NULL;
	if(last == NULL)
		return;
	cn_number_above(*last);
	shm_free(last);
}

int64_t cn_number_time_us(int64_t now_us)
{
	return epoch_us + now_us;
}

int64_t cn_number_clock_us(void)
{
	return cn_number_time_us(cn_now_us());
}

/* The main process gives numbers after the index has gone. */
static int64_t *last_number(void)
{
	static int64_t after_the_end;

	return shared ? shared : &after_the_end;
}

int64_t cn_number_last(void)
{
	return __atomic_load_n(last_number(), __ATOMIC_SEQ_CST);
}

/* Without a lock: a process that is killed here keeps nobody from going on. */
int64_t cn_number_next(void)
{
	int64_t last = cn_number_last(), now = cn_number_clock_us(), next;

	do {
		next = now > last ? now : last + 1;
	} while(!__atomic_compare_exchange_n(last_number(), &last, next, false,
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return next;
}

void cn_number_above(int64_t seq)
{
	int64_t last = cn_number_last();

	while(last < seq
			&& !__atomic_compare_exchange_n(last_number(), &last, seq, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}
