/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "base_stats.h"
#include "outbox_waiting.h"

/* More than there may be rows, so that few devices share one. */
#define CN_SLOTS_MIN 1024
#define CN_SLOTS_MAX 1048576

/* Rows of other servers. Written by the outbox process alone. */
enum elsewhere
{
	NOTHING,
	RENEW, /* as it was before this look at the table */
	SOMETHING
};

static struct
{
	unsigned slots;
	atomic_t *all_found;
	atomic_t *rows; /* by slot */
	volatile unsigned char *elsewhere;
} waiting;

int cn_waiting_init(int max)
{
	size_t size;

	waiting.slots = max > 0 ? CN_SLOTS_MIN : 0;
	while(waiting.slots > 0 && waiting.slots < CN_SLOTS_MAX
			&& waiting.slots < 2 * (unsigned)max)
		waiting.slots *= 2;
	size = sizeof(atomic_t) + waiting.slots * (sizeof(atomic_t) + 1);
	waiting.all_found = shm_malloc(size);
	if(waiting.all_found == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(waiting.all_found, 0, size);
	waiting.rows = waiting.all_found + 1;
	waiting.elsewhere = (unsigned char *)(waiting.rows + waiting.slots);
	return 0;
}

void cn_waiting_destroy(void)
{
	if(waiting.all_found)
		shm_free(waiting.all_found);
	memset(&waiting, 0, sizeof(waiting));
}

static atomic_t *slot(unsigned hash)
{
	return &waiting.rows[hash % waiting.slots];
}

bool cn_waiting_may(unsigned hash)
{
	return waiting.slots > 0
		   && (atomic_get(waiting.all_found) == 0 || atomic_get(slot(hash)) > 0
				   || waiting.elsewhere[hash % waiting.slots] != NOTHING);
}

bool cn_waiting_may_several(unsigned hash)
{
	return atomic_get(waiting.all_found) == 0 || atomic_get(slot(hash)) > 1
		   || waiting.elsewhere[hash % waiting.slots] != NOTHING;
}

void cn_waiting_found(unsigned hash)
{
	atomic_inc(slot(hash));
}

void cn_waiting_forgotten(unsigned hash)
{
	int n;

	/* not below zero: rows that were there before this server are found one
	 * after the other, and may leave before */
	do {
		n = atomic_get(slot(hash));
	} while(n > 0 && atomic_cmpxchg(slot(hash), n, n - 1) != n);
}

void cn_waiting_died(void)
{
	cn_stats_gauge(CN_GAUGE_outbox, -1);
}

void cn_waiting_left(unsigned hash)
{
	cn_waiting_forgotten(hash);
	cn_stats_gauge(CN_GAUGE_outbox, -1);
}

void cn_waiting_find_all(void)
{
	atomic_set(waiting.all_found, 0);
}

void cn_waiting_forget_all(void)
{
	unsigned i;

	for(i = 0; i < waiting.slots; i++)
		atomic_set(&waiting.rows[i], 0);
}

void cn_waiting_all_found(void)
{
	atomic_set(waiting.all_found, 1);
}

void cn_waiting_found_elsewhere(unsigned hash)
{
	waiting.elsewhere[hash % waiting.slots] = SOMETHING;
}

static void change_elsewhere(enum elsewhere from, enum elsewhere to)
{
	unsigned i;

	for(i = 0; i < waiting.slots; i++) {
		if(waiting.elsewhere[i] == from)
			waiting.elsewhere[i] = to;
	}
}

void cn_waiting_begin_elsewhere(void)
{
	change_elsewhere(SOMETHING, RENEW);
}

void cn_waiting_end_elsewhere(void)
{
	change_elsewhere(RENEW, NOTHING);
}
