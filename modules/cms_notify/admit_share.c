/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Counts the parked requests of each source address. In SIP workers; wherever a
 * request is resumed. */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "admit_share.h"

static struct
{
	atomic_t *taken;
	int most;
	uint64_t key;
} shares;

int cn_share_init(int capacity, const char *secret)
{
	shares.taken = shm_malloc(CN_SHARES * sizeof(*shares.taken));
	if(shares.taken == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(shares.taken, 0, CN_SHARES * sizeof(*shares.taken));
	shares.most = capacity / 4 > CN_SHARE_MIN ? capacity / 4 : CN_SHARE_MIN;
	shares.key = cn_digest(CN_DIGEST_BASE, secret, strlen(secret));
	return 0;
}

void cn_share_destroy(void)
{
	if(shares.taken)
		shm_free(shares.taken);
	shares.taken = NULL;
}

/* ::ffff:192.0.2.1, as a socket for both gives it */
static bool is_mapped(const struct ip_addr *ip)
{
	static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};

	return ip->af == AF_INET6
		   && memcmp(ip->u.addr, prefix, sizeof(prefix)) == 0;
}

unsigned cn_share_of(const struct ip_addr *ip)
{
	uint64_t hash;

	if(is_mapped(ip))
		hash = cn_digest(shares.key, ip->u.addr + 12, 4);
	else
		hash = cn_digest(shares.key, ip->u.addr, ip->af == AF_INET6 ? 8 : 4);
	return (hash ^ hash >> 32) % CN_SHARES;
}

bool cn_share_take(unsigned share)
{
	if(atomic_add(&shares.taken[share], 1) <= shares.most)
		return true;
	atomic_dec(&shares.taken[share]);
	return false;
}

void cn_share_give_back(unsigned share)
{
	atomic_dec(&shares.taken[share]);
}
