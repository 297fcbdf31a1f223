/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Says whether this server is ready, from what is in shared memory. In the processes
 * that serve HTTP. */

#include <stdio.h>
#include <string.h>

#include "../../core/kemi.h"

#include "http_breaker.h"
#include "http_endpoints.h"
#include "outbox.h"
#include "face_drain.h"
#include "face_health.h"
#include "base_conf.h"

static bool deferring;

void cn_health_set_deferring(void)
{
	deferring = true;
}

static bool is_cms_away(void)
{
	struct cn_endpoints list;
	int64_t now = cn_now_us();
	bool away = true;
	int i;

	cn_endpoints_take(&list);
	for(i = 0; i < list.count && away; i++)
		away = cn_breaker_state(list.slot[i]) == CN_BREAKER_OPEN
			   && !cn_breaker_would_pass(list.slot[i], now);
	cn_endpoints_give_back(&list);
	return away;
}

static void add(char *why, const char *reason)
{
	size_t length = strlen(why);

	snprintf(why + length, CN_HEALTH_TEXT_MAX - length, "%s\n", reason);
}

bool cn_health_is_ready(char why[CN_HEALTH_TEXT_MAX])
{
	/* what a script of KEMI does is known when it does it */
	bool defers = cn_outbox_exists() && (deferring || sr_kemi_eng_get());
	struct cn_outbox_state outbox = {.ready = false};
	bool away = is_cms_away(), full = false;

	if(cn_outbox_exists()) {
		cn_outbox_state(&outbox);
		full = outbox.waiting + outbox.dead >= cn_conf.outbox_max;
	}
	why[0] = '\0';
	if(cn_drain_is_on())
		add(why, "draining");
	/* dead letters take places, but nobody needs these while the CMS is there */
	if(full && (away || outbox.waiting >= cn_conf.outbox_max))
		add(why, "the outbox is full");
	if(away && !(defers && outbox.ready && !full)) {
		add(why, "the CMS is away");
		if(defers && !outbox.ready)
			add(why, "the database of the outbox does not answer");
	}
	if(why[0] != '\0')
		return false;
	add(why, "ready");
	return true;
}
