/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Chooses the endpoint for the next POST: the first one that is not away. In the HTTP
 * processes. */

#include <limits.h>

#include "http_breaker.h"
#include "http_choice.h"
#include "http_clients.h"
#include "http_room.h"

static const struct cn_endpoints *list_now(void)
{
	return cn_http_endpoints(cn_clients_now());
}

/* @return list->count: all are away, from this one on */
static int next(const struct cn_endpoints *list, int endpoint)
{
	return cn_breaker_next(list->slot, list->count, endpoint, cn_now_us());
}

bool cn_choice_has_room(void)
{
	const struct cn_endpoints *list = list_now();
	int first = next(list, 0);

	return first == list->count || cn_room_is_free(list->slot[first]);
}

int cn_choice_share(void)
{
	const struct cn_endpoints *list = list_now();
	int first = next(list, 0);

	return first == list->count ? INT_MAX : cn_room_share(list->slot[first]);
}

bool cn_choice_is_last(const struct cn_endpoints *list, int endpoint)
{
	return next(list, endpoint + 1) == list->count;
}

bool cn_choice_all_away(void)
{
	return cn_choice_is_last(list_now(), -1);
}

enum cn_cause cn_choice_away_cause(void)
{
	return cn_breaker_cause(list_now()->slot[0]);
}
