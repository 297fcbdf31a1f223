/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A table of reservations, by a hash of the AOR. Where a request enters or is turned
 * away: SIP workers, HTTP and verdict processes. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "admit_reservation.h"

/* Places that a device's reservation may be in: those of one cache line. */
#define CN_WAYS 8
#define CN_BUCKETS (CN_RESERVATIONS / CN_WAYS)
/* Time is kept in 2^18 us, so that 31 bits last for 17 years. */
#define CN_TIME_SHIFT 18
#define CN_TIME_MASK 0x7fffffffu
#define CN_OVERDUE 0x80000000u

/* The high half is of the device's number, the low half says when. One word
 * each, so that reading and writing need no lock; of two written to one place
 * at the same moment one is lost. */
static uint64_t *reservations;

int cn_reservation_init(void)
{
	reservations = shm_malloc(CN_RESERVATIONS * sizeof(*reservations));
	if(reservations == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(reservations, 0, CN_RESERVATIONS * sizeof(*reservations));
	return 0;
}

void cn_reservation_destroy(void)
{
	if(reservations)
		shm_free(reservations);
	reservations = NULL;
}

uint64_t cn_reservation_device(const str *key)
{
	/* Kamailio's own hashes give four devices of a numbered fleet one
	 * number */
	uint64_t hash = cn_digest(CN_DIGEST_BASE, key->s, key->len);

	return hash ^ hash >> 29;
}

static uint64_t *bucket(uint64_t device)
{
	return &reservations[(uint32_t)device % CN_BUCKETS * CN_WAYS];
}

static bool is_of(uint64_t reservation, uint64_t device)
{
	return reservation >> 32 == device >> 32;
}

static int64_t due_us(uint64_t reservation)
{
	return (int64_t)(reservation & CN_TIME_MASK) << CN_TIME_SHIFT;
}

void cn_reservation_give(
		uint64_t device, struct cn_reservation given, int64_t stale_us)
{
	uint64_t *places = bucket(device), *place = NULL, reservation;
	int i;

	for(i = 0; i < CN_WAYS; i++) {
		reservation = __atomic_load_n(&places[i], __ATOMIC_RELAXED);
		if(is_of(reservation, device)) {
			place = &places[i];
			break;
		}
		if(reservation == 0 || due_us(reservation) < stale_us)
			place = &places[i];
	}
	/* no room: those that have come before keep theirs */
	if(place == NULL)
		return;
	reservation = device >> 32 << 32
				  | (given.due_us >> CN_TIME_SHIFT & CN_TIME_MASK)
				  | (given.overdue ? CN_OVERDUE : 0);
	__atomic_store_n(place, reservation, __ATOMIC_RELAXED);
}

struct cn_reservation cn_reservation_of(uint64_t device)
{
	uint64_t *places = bucket(device), reservation;
	struct cn_reservation found = {0};
	int i;

	for(i = 0; i < CN_WAYS; i++) {
		reservation = __atomic_load_n(&places[i], __ATOMIC_RELAXED);
		if(reservation != 0 && is_of(reservation, device)) {
			found.due_us = due_us(reservation);
			found.overdue = (reservation & CN_OVERDUE) != 0;
			break;
		}
	}
	return found;
}
