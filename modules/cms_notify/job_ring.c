/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A ring of pointers in shared memory, with an eventfd for each process that takes
 * from it. In every process. */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "job_ring.h"

struct taker
{
	int fd;		 /* eventfd */
	bool asleep; /* and nobody has woken it yet */
};

struct cn_ring
{
	gen_lock_t lock;
	unsigned capacity;
	unsigned first;
	unsigned count;
	int taker_count;
	struct taker *takers; /* behind the items */
	void *items[];
};

static int open_takers(struct cn_ring *ring, int takers)
{
	int i;

	for(i = 0; i < takers; i++) {
		ring->takers[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if(ring->takers[i].fd < 0) {
			LM_ERR("cannot make an eventfd: %s\n", strerror(errno));
			return -1;
		}
		ring->taker_count++;
	}
	return 0;
}

static void free_takers(struct cn_ring *ring)
{
	int i;

	for(i = 0; i < ring->taker_count; i++)
		close(ring->takers[i].fd);
	shm_free(ring);
}

struct cn_ring *cn_ring_new(unsigned capacity, int takers)
{
	size_t size = sizeof(struct cn_ring) + capacity * sizeof(void *)
				  + takers * sizeof(struct taker);
	struct cn_ring *ring = shm_malloc(size);

	if(ring == NULL) {
		SHM_MEM_ERROR;
		return NULL;
	}
	memset(ring, 0, size);
	ring->capacity = capacity;
	ring->takers = (struct taker *)&ring->items[capacity];
	if(open_takers(ring, takers) < 0) {
		free_takers(ring);
		return NULL;
	}
	if(lock_init(&ring->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		free_takers(ring);
		return NULL;
	}
	return ring;
}

void cn_ring_free(struct cn_ring *ring)
{
	if(ring == NULL)
		return;
	lock_destroy(&ring->lock);
	free_takers(ring);
}

/* Under the lock. @return who is to be woken when it is released */
static const struct taker *next_sleeper(struct cn_ring *ring)
{
	int i;

	for(i = 0; i < ring->taker_count; i++) {
		if(ring->takers[i].asleep) {
			ring->takers[i].asleep = false;
			return &ring->takers[i];
		}
	}
	return NULL;
}

static void wake(const struct taker *taker)
{
	const uint64_t one = 1;

	/* An eventfd write cannot block or fail short of 2^64 of them. */
	if(taker && write(taker->fd, &one, sizeof(one)) < 0)
		LM_ERR("cannot wake a process: %s\n", strerror(errno));
}

/* Under the lock. */
static int append(struct cn_ring *ring, void **item)
{
	if(ring->count == ring->capacity)
		return -1;
	ring->items[(ring->first + ring->count) % ring->capacity] = *item;
	ring->count++;
	*item = NULL;
	return 0;
}

int cn_ring_push(struct cn_ring *ring, void **item)
{
	const struct taker *sleeper = NULL;
	int err;

	lock_get(&ring->lock);
	err = append(ring, item);
	if(err == 0)
		sleeper = next_sleeper(ring);
	lock_release(&ring->lock);
	wake(sleeper);
	return err;
}

int cn_ring_push_own(struct cn_ring *ring, void **item)
{
	int err;

	lock_get(&ring->lock);
	err = append(ring, item);
	lock_release(&ring->lock);
	return err;
}

void *cn_ring_take_if(struct cn_ring *ring, bool (*wanted)(const void *item))
{
	void *item = NULL;

	/* what is missed here is seen by cn_ring_sleep() */
	if(cn_ring_count(ring) == 0)
		return NULL;
	lock_get(&ring->lock);
	if(ring->count > 0
			&& (wanted == NULL || wanted(ring->items[ring->first]))) {
		item = ring->items[ring->first];
		ring->first = (ring->first + 1) % ring->capacity;
		ring->count--;
	}
	lock_release(&ring->lock);
	return item;
}

void *cn_ring_take(struct cn_ring *ring)
{
	return cn_ring_take_if(ring, NULL);
}

unsigned cn_ring_count(const struct cn_ring *ring)
{
	return *(const volatile unsigned *)&ring->count;
}

int cn_ring_fd(const struct cn_ring *ring, int taker)
{
	return ring->takers[taker].fd;
}

bool cn_ring_sleep(struct cn_ring *ring, int taker)
{
	bool empty;

	lock_get(&ring->lock);
	empty = ring->count == 0;
	if(empty)
		ring->takers[taker].asleep = true;
	lock_release(&ring->lock);
	return empty;
}

/* Where a giver has taken us off the sleepers already, what it writes to the
 * descriptor may come after we have looked: then we wake once in vain. */
void cn_ring_wake(struct cn_ring *ring, int taker)
{
	lock_get(&ring->lock);
	ring->takers[taker].asleep = false;
	lock_release(&ring->lock);
}

void cn_ring_remind(struct cn_ring *ring)
{
	const struct taker *sleeper = NULL;

	if(cn_ring_count(ring) == 0)
		return;
	lock_get(&ring->lock);
	if(ring->count > 0)
		sleeper = next_sleeper(ring);
	lock_release(&ring->lock);
	wake(sleeper);
}
