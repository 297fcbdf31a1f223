/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Looks at the slots of usrloc's tables when somebody there may have fallen
 * silent. The alive process. */

#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "alive_clock.h"
#include "alive_proc.h"
#include "base_conf.h"
#include "base_stop.h"
#include "base_wait.h"
#include "outbox.h"
#include "reg_alive.h"

#define CN_EVERY_MS 250
/* Events that may wait to be stored: a network that fails makes many at once,
 * and registrations want to be stored, too. */
#define CN_LEAVES_MAX 1000
/* How often connections are looked at; and it may take so much of the time. */
#define CN_CONNECTIONS_US 500000
#define CN_CONNECTIONS_SHARE 20

/* How often they are counted, for Prometheus; the same. */
#define CN_COUNT_US 1000000
#define CN_COUNT_SHARE 500

/* The machine has stood still for so long, or for a quarter of alive_timeout: a
 * device may have been heard in vain. */
#define CN_STILL_S 5

static int wait_set;
static struct cn_alive_clock clock_now;

static struct slot
{
	/* When it is to be looked at: in most of them nobody can be silent for a
	 * long time, since all were heard. */
	int64_t due_us;
	bool connected; /* in between, too: somebody may lose a connection */
} * list;
static int slots;
static int next_slot; /* where a round begins */
static int64_t connections_due_us, count_due_us;

static void read_clock(void)
{
	struct timeval tv;
	int i;

	gettimeofday(&tv, NULL);
	if(!cn_alive_clock_read(
			   &clock_now, tv.tv_sec * 1000000ll + tv.tv_usec, cn_now_us()))
		return;
	for(i = 0; i < slots; i++)
		list[i].due_us = 0;
}

static void read_clock_for(struct cn_alive_look *look)
{
	read_clock();
	look->now_s = clock_now.now_s;
	look->since_s = clock_now.since_s;
}

/* What may be told now; half of the outbox is not for this. */
static int room(void)
{
	struct cn_outbox_state state;
	int most = (cn_conf.outbox_max + 1) / 2;

	cn_outbox_state(&state);
	most -= state.waiting;
	if(most > CN_LEAVES_MAX)
		most = CN_LEAVES_MAX;
	return most - cn_outbox_leaves();
}

/* @return false: no more may be told now */
static bool look_at(int slot, struct cn_alive_look *look)
{
	bool done = cn_alive_look(slot, look);
	time_t until_s;

	list[slot].due_us = 0;
	if(!done)
		return false;
	list[slot].connected = look->connected;
	/* who comes after the look is not silent before that */
	until_s = look->due_s ? look->due_s - look->now_s
						  : cn_conf.alive_timeout_s + 1;
	list[slot].due_us = cn_now_us() + until_s * 1000000ll;
	return true;
}

static bool is_due(int slot, int64_t now_us)
{
	return cn_alive_is_called(slot) || list[slot].due_us <= now_us
		   || (list[slot].connected && connections_due_us <= now_us);
}

/* @param looks that took so long; so many of them for connections */
static void plan_connections(int64_t took_us, int looks, int connected)
{
	int64_t pause_us = 0;

	if(connected > 0)
		pause_us = CN_CONNECTIONS_SHARE * took_us * connected / looks;
	if(pause_us < CN_CONNECTIONS_US)
		pause_us = CN_CONNECTIONS_US;
	connections_due_us = cn_now_us() + pause_us;
}

static void look_at_all(void)
{
	struct cn_alive_look look = {.read_clock = read_clock_for, .room = room()};
	int64_t began_us = cn_now_us();
	int looks = 0, connected = 0, i, slot;

	read_clock();
	for(i = 0; i < slots; i++) {
		slot = (next_slot + i) % slots;
		if(!is_due(slot, began_us))
			continue;
		if(!look_at(slot, &look))
			break;
		looks++;
		connected += list[slot].connected;
	}
	next_slot = i < slots ? slot : 0;
	if(i == slots && connections_due_us <= began_us)
		plan_connections(cn_now_us() - began_us, looks, connected);
}

static void count_when_due(void)
{
	int64_t began_us = cn_now_us(), pause_us;

	if(count_due_us > began_us)
		return;
	cn_alive_count_again();
	pause_us = CN_COUNT_SHARE * (cn_now_us() - began_us);
	count_due_us =
			cn_now_us() + (pause_us > CN_COUNT_US ? pause_us : CN_COUNT_US);
}

static void run(void)
{
	while(!cn_stop_asked()) {
		cfg_update();
		look_at_all();
		count_when_due();
		cn_wait(wait_set, CN_EVERY_MS);
	}
}

int cn_alive_proc_count(void)
{
	return cn_conf.alive_timeout_s > 0 ? 1 : 0;
}

static int still_s(void)
{
	int quarter_s = cn_conf.alive_timeout_s / 4;

	return quarter_s > CN_STILL_S ? quarter_s : CN_STILL_S;
}

static int set_up(void)
{
	if(cfg_child_init() || cn_stop_init() < 0)
		return -1;
	clock_now.still_us = 1000000ll * still_s();
	slots = cn_alive_slots();
	list = calloc(slots + 1, sizeof(*list));
	if(list == NULL) {
		LM_ERR("out of memory\n");
		return -1;
	}
	wait_set = cn_wait_new();
	return wait_set < 0 ? -1 : cn_wait_add(wait_set, cn_stop_fd());
}

int cn_alive_proc_fork(void)
{
	int pid;

	if(cn_alive_proc_count() == 0)
		return 0;
	/* no child_init of any module: it has no script and no database */
	pid = fork_process(PROC_NOCHLDINIT, "cms_notify alive", 0);
	if(pid == 0) {
		if(set_up() < 0)
			exit(-1);
		run();
		_exit(0);
	}
	return pid < 0 ? -1 : 0;
}
