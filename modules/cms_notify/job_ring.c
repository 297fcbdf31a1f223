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

enum state
{
	AWAY,	/* it does not look, at least not soon */
	AWAKE,	/* it looks before it sleeps */
	ASLEEP, /* and nobody has woken it yet */
};

struct taker
{
	int fd; /* eventfd */
	enum state state;
};

struct cn_ring
{
	gen_lock_t lock;
	unsigned capacity;
	unsigned first;
	unsigned count;
	unsigned patience;
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

void cn_ring_set_patience(struct cn_ring *ring, unsigned patience)
{
	ring->patience = patience;
}

/* Under the lock. */
static struct taker *first_that_is(struct cn_ring *ring, enum state state)
{
	int i;

	for(i = 0; i < ring->taker_count; i++) {
		if(ring->takers[i].state == state)
			return &ring->takers[i];
	}
	return NULL;
}

/* Under the lock. @return who is to be woken when it is released */
static const struct taker *next_sleeper(struct cn_ring *ring)
{
	struct taker *sleeper = first_that_is(ring, ASLEEP);

	if(sleeper)
		sleeper->state = AWAKE;
	return sleeper;
}

/* The same, unless one who is awake comes soon enough. */
static const struct taker *needed_sleeper(struct cn_ring *ring)
{
	if(ring->count <= ring->patience && first_that_is(ring, AWAKE))
		return NULL;
	return next_sleeper(ring);
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
		sleeper = needed_sleeper(ring);
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

/* Under the lock, or alone. */
static void *take_first(struct cn_ring *ring)
{
	void *item = ring->items[ring->first];

	ring->first = (ring->first + 1) % ring->capacity;
	ring->count--;
	return item;
}

void *cn_ring_take_if(struct cn_ring *ring, bool (*wanted)(const void *item))
{
	void *item = NULL;

	/* what is missed here is seen by cn_ring_sleep() */
	if(cn_ring_count(ring) == 0)
		return NULL;
	lock_get(&ring->lock);
	if(ring->count > 0 && (wanted == NULL || wanted(ring->items[ring->first])))
		item = take_first(ring);
	lock_release(&ring->lock);
	return item;
}

void *cn_ring_take(struct cn_ring *ring)
{
	return cn_ring_take_if(ring, NULL);
}

void *cn_ring_take_last(struct cn_ring *ring)
{
	return ring->count > 0 ? take_first(ring) : NULL;
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
	ring->takers[taker].state = empty ? ASLEEP : AWAKE;
	lock_release(&ring->lock);
	return empty;
}

/* Where a giver has taken us off the sleepers already, what it writes to the
 * descriptor may come after we have looked: then we wake once in vain. */
void cn_ring_wake(struct cn_ring *ring, int taker)
{
	lock_get(&ring->lock);
	ring->takers[taker].state = AWAKE;
	lock_release(&ring->lock);
}

void cn_ring_leave(struct cn_ring *ring, int taker)
{
	const struct taker *sleeper = NULL;

	lock_get(&ring->lock);
	ring->takers[taker].state = AWAY;
	if(ring->count > 0)
		sleeper = needed_sleeper(ring);
	lock_release(&ring->lock);
	wake(sleeper);
}

/* Under the lock. Who was awake at the last look and has not taken what lies here
 * may hang. */
static void count_nobody_in(struct cn_ring *ring)
{
	struct taker *taker;

	while((taker = first_that_is(ring, AWAKE)) != NULL)
		taker->state = AWAY;
}

void cn_ring_remind(struct cn_ring *ring)
{
	const struct taker *sleeper = NULL;

	if(cn_ring_count(ring) == 0)
		return;
	lock_get(&ring->lock);
	if(ring->count > 0) {
		count_nobody_in(ring);
		sleeper = next_sleeper(ring);
	}
	lock_release(&ring->lock);
	wake(sleeper);
}
