/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Who has been told to come back, and when: what tells a device that has
 * waited for its turn from one that has just come. A fixed piece of shared
 * memory; whose reservation found no room, or is lost by a restart, queues up anew. */

#ifndef CN_ADMIT_RESERVATION_H
#define CN_ADMIT_RESERVATION_H

#include "base.h"

#define CN_RESERVATIONS 131072

/* Process: main, before any fork. */
int cn_reservation_init(void) CN_MUST;
void cn_reservation_destroy(void);

/* A device, as the functions below take it. */
uint64_t cn_reservation_device(const str *key);

/* Process: any. Never block. */

/**
 * @param due_us   when the device is to come back
 * @param stale_us reservations of before that are worth nothing any more
 */
void cn_reservation_give(uint64_t device, int64_t due_us, int64_t stale_us);

/* @return when it is to come back, to an eighth of a second; 0: it has none */
int64_t cn_reservation_due(uint64_t device);

#endif
