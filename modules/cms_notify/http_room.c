/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Keeps in shared memory how many POSTs may be under way to each endpoint. In the HTTP
 * processes. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "http_room.h"

struct room
{
	gen_lock_t lock;
	struct cn_concurrency c;
};

static struct room *rooms;
static int *all_under_way; /* behind them: of each process, by slot */
static int slots, processes, least, most; /* POSTs of a process */

/* of one HTTP process */
static int process;
static int *under_way; /* by slot */

int cn_room_init(
		int slot_count, int process_count, int least_each, int most_each)
{
	size_t size = slot_count
				  * (sizeof(*rooms) + process_count * sizeof(*all_under_way));
	int i;

	slots = slot_count;
	processes = process_count;
	most = most_each;
	least = least_each < most ? least_each : most;
	rooms = shm_malloc(size);
	if(rooms == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(rooms, 0, size);
	all_under_way = (int *)(rooms + slots);
	for(i = 0; i < slots; i++) {
		if(lock_init(&rooms[i].lock) == NULL) {
			LM_ERR("cannot make a lock\n");
			return -1;
		}
		cn_room_reset(i);
	}
	return 0;
}

void cn_room_destroy(void)
{
	if(rooms)
		shm_free(rooms);
	rooms = NULL;
}

void cn_room_reset(int slot)
{
	lock_get(&rooms[slot].lock);
	cn_concurrency_init(&rooms[slot].c, processes * least, processes * most);
	lock_release(&rooms[slot].lock);
}

int cn_room_number(int slot)
{
	return *(volatile int *)&rooms[slot].c.number;
}

void cn_room_set_up(int number)
{
	process = number;
	under_way = all_under_way + number * slots;
}

/* What is left over goes to the first processes. */
int cn_room_share(int slot)
{
	int number = cn_room_number(slot);

	return number / processes + (process < number % processes);
}

bool cn_room_is_free(int slot)
{
	return under_way[slot] < cn_room_share(slot);
}

void cn_room_began(int slot)
{
	under_way[slot]++;
}

void cn_room_ended(int slot, const struct cn_concurrency_answer *answer)
{
	struct room *room = &rooms[slot];

	under_way[slot]--;
	if(answer == NULL || (!answer->waiting && cn_concurrency_is_idle(&room->c)))
		return;
	lock_get(&room->lock);
	cn_concurrency_answered(&room->c, answer);
	lock_release(&room->lock);
}
