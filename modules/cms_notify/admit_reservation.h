/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Who has been told to come back, and when: what tells a device that has
 * waited for its turn from one that has just come. A fixed piece of shared
 * memory; whose reservation found no room, or is lost by a restart, queues up anew. */

#ifndef CN_ADMIT_RESERVATION_H
#define CN_ADMIT_RESERVATION_H

#include "base.h"

#define CN_RESERVATIONS 262144

struct cn_reservation
{
	int64_t due_us; /* when the device is to come back; 0: it has none */
	bool overdue;	/* its moment had come before, and there was no room */
};

/* Process: main, before any fork. */
int cn_reservation_init(void) CN_MUST;
void cn_reservation_destroy(void);

/* A device, as the functions below take it. */
uint64_t cn_reservation_device(const str *key);

/* Process: any. Never block. */

/* @param stale_us reservations of before that are worth nothing any more */
void cn_reservation_give(
		uint64_t device, struct cn_reservation given, int64_t stale_us);

/* To a quarter of a second. */
struct cn_reservation cn_reservation_of(uint64_t device);

#endif
