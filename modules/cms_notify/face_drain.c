/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Notes that this server is being emptied, and says how far that is. In every
 * process. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/ut.h"

#include "reg_usrloc.h"
#include "base_stats.h"
#include "face_drain.h"

#define CN_DRAIN_MAX_S 86400
#define CN_DRAIN_OFF 0
#define CN_DRAIN_NO_LIMIT INT64_MAX

static int64_t
		*until_us; /* in shared memory, so that a restart ends draining */

int cn_drain_init(void)
{
	until_us = shm_malloc(sizeof(*until_us));
	if(until_us == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	*until_us = CN_DRAIN_OFF;
	return 0;
}

void cn_drain_destroy(void)
{
	if(until_us)
		shm_free(until_us);
	until_us = NULL;
}

static int64_t until(void)
{
	return __atomic_load_n(until_us, __ATOMIC_RELAXED);
}

bool cn_drain_is_on(void)
{
	return until() != CN_DRAIN_OFF;
}

/* -------- how far it is -------- */

/* Bindings that are in a database are other servers' as well: nobody has to leave. */
static bool is_empty(void)
{
	return cn_usrloc_in_memory() && cn_usrloc_contacts() == 0
		   && cn_stats_gauge_value(CN_GAUGE_parked) == 0;
}

void cn_drain_add(rpc_t *rpc, void *reply)
{
	int64_t end = until(), left_us = end - cn_now_us();

	if(end == CN_DRAIN_OFF) {
		rpc->struct_add(reply, "s", "state", "off");
		return;
	}
	rpc->struct_add(reply, "s", "state",
			left_us <= 0 || is_empty() ? "done" : "draining");
	if(cn_usrloc_in_memory())
		rpc->struct_add(reply, "u", "contacts", (unsigned)cn_usrloc_contacts());
	rpc->struct_add(
			reply, "d", "parked", cn_stats_gauge_value(CN_GAUGE_parked));
	if(end != CN_DRAIN_NO_LIMIT)
		rpc->struct_add(reply, "d", "left_s",
				left_us > 0 ? (int)((left_us + 999999) / 1000000) : 0);
}

/* -------- the command -------- */

/* @param seconds 0: without a limit */
static void begin(unsigned seconds)
{
	int64_t end = cn_now_us() + (int64_t)seconds * 1000000;

	__atomic_store_n(
			until_us, seconds ? end : CN_DRAIN_NO_LIMIT, __ATOMIC_RELAXED);
	LM_NOTICE("draining: new devices are sent elsewhere\n");
}

static void stop(void)
{
	__atomic_store_n(until_us, CN_DRAIN_OFF, __ATOMIC_RELAXED);
	LM_NOTICE("not draining any more: new devices are taken again\n");
}

/* @return NULL, or what is wrong; then nothing has changed */
static const char *obey(rpc_t *rpc, void *ctx)
{
	unsigned seconds = 0;
	str word = {NULL, -1};

	/* jsonrpcs empties it where the parameter is neither text nor a number */
	if(rpc->scan(ctx, "*.S", &word) > 0 || word.len == 0) {
		if(word.len == 3 && memcmp(word.s, "off", 3) == 0) {
			stop();
			return NULL;
		}
		if(str2int(&word, &seconds) < 0 || seconds < 1
				|| seconds > CN_DRAIN_MAX_S)
			return "How many seconds at most: 1 to 86400; or: off";
	} else if(!cn_usrloc_in_memory()) {
		return "How many seconds? usrloc has no bindings in memory (db_mode 3)";
	}
	begin(seconds);
	return NULL;
}

void cn_drain_command(rpc_t *rpc, void *ctx)
{
	const char *wrong = obey(rpc, ctx);
	void *reply;

	if(wrong)
		rpc->fault(ctx, 400, "%s", wrong);
	else if(rpc->add(ctx, "{", &reply) >= 0)
		cn_drain_add(rpc, reply);
}
