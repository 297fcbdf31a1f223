/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/hashes.h"

#include "outbox_table.h"
#include "outbox_servers.h"
#include "outbox_waiting.h"

/* So many looks at a server that shows nothing, and it is dead. Counted in
 * looks that succeeded, not in time: neither a clock that is stepped nor a
 * database that was away for all of us makes anybody dead. */
#define CN_LOOKS 5
#define CN_SERVERS 32
/* At every so many looks all that waits elsewhere is read again, as some of it
 * has left. */
#define CN_AGAIN 20
#define CN_PAGE 100

/* The others, as they were when they last showed that they live. */
static struct
{
	struct cn_server servers[CN_SERVERS];
	int looks[CN_SERVERS]; /* since then */
	int count;
} others;

/* @return its place, -1: there are too many */
static int place_of(const struct cn_server *server)
{
	int i;

	for(i = 0; i < others.count; i++) {
		if(others.servers[i].id == server->id)
			return i;
	}
	if(i == CN_SERVERS)
		return -1;
	others.count++;
	others.servers[i] = *server;
	others.looks[i] = 0;
	return i;
}

static bool is_dead(const struct cn_server *server)
{
	int i = place_of(server);

	if(i < 0)
		return false;
	if(others.servers[i].beat != server->beat) {
		others.servers[i] = *server;
		others.looks[i] = 0;
	}
	if(++others.looks[i] <= CN_LOOKS)
		return false;
	others.looks[i] = 0; /* it may have nothing now, and later something */
	return true;
}

/* What waits at other servers, after that id. */
static int find_elsewhere(int64_t *after)
{
	struct cn_row rows[CN_PAGE];
	int n, i;

	do {
		n = cn_outbox_db_elsewhere(*after, rows, CN_PAGE);
		for(i = 0; i < n; i++) {
			str device = {rows[i].device, strlen(rows[i].device)};

			cn_waiting_found_elsewhere(core_hash(&device, NULL, 0));
			*after = rows[i].id;
		}
	} while(n == CN_PAGE);
	return n < 0 ? -1 : 0;
}

static int look_elsewhere(void)
{
	static unsigned looks;
	static int64_t after;

	if(looks++ % CN_AGAIN != 0)
		return find_elsewhere(&after);
	after = 0;
	cn_waiting_begin_elsewhere();
	if(find_elsewhere(&after) < 0)
		return -1;
	cn_waiting_end_elsewhere();
	return 0;
}

int cn_peers_look(void)
{
	struct cn_server servers[CN_SERVERS];
	int n, i, taken, sum = 0;

	if(cn_outbox_db_beat() < 0 || look_elsewhere() < 0)
		return -1;
	n = cn_outbox_db_servers(servers, CN_SERVERS);
	if(n < 0)
		return -1;
	for(i = 0; i < n; i++) {
		if(!is_dead(&servers[i]))
			continue;
		taken = cn_outbox_db_take_over(&servers[i]);
		if(taken < 0)
			return -1;
		sum += taken;
	}
	return sum;
}
