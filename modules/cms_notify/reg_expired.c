/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A table of fingerprints of purged bindings. In whatever process usrloc purges, and
 * in the SIP workers. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/hashes.h"
#include "../../core/mem/shm_mem.h"

#include "reg_expired.h"

/* A fingerprint lies where its low bits say; a later one takes the place. One
 * word each, so that reading and writing need no lock. */
static uint64_t *prints;

int cn_expired_init(void)
{
	prints = shm_malloc(CN_EXPIRED_MAX * sizeof(*prints));
	if(prints == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(prints, 0, CN_EXPIRED_MAX * sizeof(*prints));
	return 0;
}

void cn_expired_destroy(void)
{
	if(prints)
		shm_free(prints);
	prints = NULL;
}

static uint64_t fingerprint(const str *key, const str *contact)
{
	uint64_t high = get_hash2_raw(key, contact);
	uint64_t low = get_hash1_raw(contact->s, contact->len)
				   ^ (get_hash1_raw(key->s, key->len) * 31u);

	return high << 32 | (low & 0xffffffffu);
}

static uint64_t *place(uint64_t print)
{
	/* Kamailio's hashes of names in a row differ in few bits: spread them */
	return &prints[(print * 0x9e3779b97f4a7c15u >> 32) % CN_EXPIRED_MAX];
}

/* usrloc purges once more while Kamailio stops, after this module's end. */

void cn_expired_note(const str *key, const str *contact)
{
	uint64_t print = fingerprint(key, contact);

	if(prints)
		__atomic_store_n(place(print), print, __ATOMIC_RELAXED);
}

void cn_expired_forget(const str *key, const str *contact)
{
	uint64_t print = fingerprint(key, contact);

	if(prints)
		__atomic_compare_exchange_n(place(print), &print, 0, false,
				__ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

bool cn_expired_has(const str *key, const str *contact)
{
	uint64_t print = fingerprint(key, contact);

	return prints && __atomic_load_n(place(print), __ATOMIC_RELAXED) == print;
}
