/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Keeps the endpoints in shared memory. Written by who has read the settings; taken by
 * HTTP processes and those that serve RPC. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "base_stats.h"
#include "http_breaker.h"
#include "http_endpoints.h"
#include "http_room.h"

struct slot
{
	int users; /* lists that name it */
	char url[CN_URL_MAX];
};

static struct shared
{
	gen_lock_t lock;
	struct cn_endpoints list; /* in force; counts as a user */
	struct slot slots[CN_ENDPOINT_SLOTS];
} * shared;

int cn_endpoints_init(void)
{
	shared = shm_malloc(sizeof(*shared));
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(shared, 0, sizeof(*shared));
	if(lock_init(&shared->lock))
		return 0;
	LM_ERR("cannot make a lock\n");
	return -1;
}

void cn_endpoints_destroy(void)
{
	if(shared)
		shm_free(shared);
	shared = NULL;
}

/* The slot of a URL that is in force and not in the new list already: it may be there
 * twice. */
static int kept_slot(const struct cn_endpoints *list, const char *url)
{
	int i, j;

	for(i = 0; i < shared->list.count; i++) {
		int slot = shared->list.slot[i];

		for(j = 0; j < list->count && list->slot[j] != slot; j++)
			;
		if(j == list->count && strcmp(shared->slots[slot].url, url) == 0)
			return slot;
	}
	return -1;
}

static int free_slot(const struct cn_endpoints *list)
{
	int i, j;

	for(i = 0; i < CN_ENDPOINT_SLOTS; i++) {
		for(j = 0; j < list->count && list->slot[j] != i; j++)
			;
		if(j == list->count && shared->slots[i].users == 0)
			return i;
	}
	return -1;
}

static int choose_slots(
		struct cn_endpoints *list, const char *const *url, int count)
{
	while(list->count < count) {
		int slot = kept_slot(list, url[list->count]);

		if(slot < 0)
			slot = free_slot(list);
		if(slot < 0)
			return -1;
		list->slot[list->count] = slot;
		list->url[list->count] = shared->slots[slot].url;
		list->count++;
	}
	return 0;
}

static void use(const struct cn_endpoints *list, int by)
{
	int i;

	for(i = 0; i < list->count; i++)
		shared->slots[list->slot[i]].users += by;
}

static bool is_same(const struct cn_endpoints *a, const struct cn_endpoints *b)
{
	return a->count == b->count
		   && memcmp(a->slot, b->slot, a->count * sizeof(a->slot[0])) == 0;
}

/* Nobody has it. */
static void begin_slot(int slot, const char *url)
{
	memcpy(shared->slots[slot].url, url, strlen(url) + 1);
	cn_stats_endpoint_reset(slot);
	cn_breaker_reset(slot);
	cn_room_reset(slot);
}

static void replace_list(struct cn_endpoints *list, const char *const *url)
{
	int i;

	for(i = 0; i < list->count; i++) {
		if(shared->slots[list->slot[i]].users == 0)
			begin_slot(list->slot[i], url[i]);
	}
	list->number = shared->list.number + 1;
	use(list, 1);
	use(&shared->list, -1);
	shared->list = *list;
}

int cn_endpoints_set(const char *const *url, int count)
{
	struct cn_endpoints list = {.count = 0};
	int err;

	lock_get(&shared->lock);
	err = choose_slots(&list, url, count);
	if(err == 0 && !is_same(&list, &shared->list))
		replace_list(&list, url);
	lock_release(&shared->lock);
	return err;
}

void cn_endpoints_take(struct cn_endpoints *list)
{
	lock_get(&shared->lock);
	*list = shared->list;
	use(list, 1);
	lock_release(&shared->lock);
}

void cn_endpoints_give_back(const struct cn_endpoints *list)
{
	lock_get(&shared->lock);
	use(list, -1);
	lock_release(&shared->lock);
}

int cn_endpoints_find(int slot)
{
	int i, at = -1;

	lock_get(&shared->lock);
	for(i = 0; i < shared->list.count; i++) {
		if(shared->list.slot[i] == slot)
			at = i;
	}
	lock_release(&shared->lock);
	return at;
}
