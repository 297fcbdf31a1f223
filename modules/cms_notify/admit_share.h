/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The share of one source address: of the places for events its requests take
 * a quarter at the most, so that nobody keeps all others out. Each parked request
 * counts, also one that joins another. */

#ifndef CN_ADMIT_SHARE_H
#define CN_ADMIT_SHARE_H

#include "../../core/ip_addr.h"

#include "base.h"

/* Where a place has been taken; an address is one of these, with another one
 * now and then. */
#define CN_SHARES 65536

/* The least that is a share: a quarter of little would turn a site away. */
#define CN_SHARE_MIN 64

/* Process: main, before any fork. */
int cn_share_init(int capacity, const char *secret) CN_MUST;
void cn_share_destroy(void);

/* The number of an address; of IPv6 the first 64 bits, since whoever has one
 * address has all of those. Who does not know the secret cannot
 * tell which others share it. */
unsigned cn_share_of(const struct ip_addr *ip);

/**
 * Take a place of the share. Process: any.
 *
 * @return false: it has no more
 */
bool cn_share_take(unsigned share) CN_MUST;
void cn_share_give_back(unsigned share);

#endif
