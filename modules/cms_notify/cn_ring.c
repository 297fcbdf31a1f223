/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "cn_ring.h"

struct cn_ring
{
	gen_lock_t lock;
	int fd; /* eventfd: counts the sleepers that were woken */
	unsigned capacity;
	unsigned first;
	unsigned count;
	unsigned sleepers; /* takers that sleep and that nobody has woken yet */
	void *items[];
};

struct cn_ring *cn_ring_new(unsigned capacity)
{
	struct cn_ring *ring;

	ring = shm_malloc(sizeof(*ring) + capacity * sizeof(void *));
	if(ring == NULL) {
		SHM_MEM_ERROR;
		return NULL;
	}
	memset(ring, 0, sizeof(*ring));
	ring->capacity = capacity;
	ring->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	if(ring->fd < 0) {
		LM_ERR("cannot make an eventfd: %s\n", strerror(errno));
		shm_free(ring);
		return NULL;
	}
	if(lock_init(&ring->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		close(ring->fd);
		shm_free(ring);
		return NULL;
	}
	return ring;
}

void cn_ring_free(struct cn_ring *ring)
{
	if(ring == NULL)
		return;
	lock_destroy(&ring->lock);
	close(ring->fd);
	shm_free(ring);
}

int cn_ring_push(struct cn_ring *ring, void **item)
{
	const uint64_t one = 1;
	bool wake = false;
	int err = -1;

	lock_get(&ring->lock);
	if(ring->count < ring->capacity) {
		ring->items[(ring->first + ring->count) % ring->capacity] = *item;
		ring->count++;
		*item = NULL;
		err = 0;
		if(ring->sleepers > 0) {
			ring->sleepers--;
			wake = true;
		}
	}
	lock_release(&ring->lock);
	/* An eventfd write cannot block or fail short of 2^64 unread wake-ups. */
	if(wake && write(ring->fd, &one, sizeof(one)) < 0)
		LM_ERR("cannot wake a process: %s\n", strerror(errno));
	return err;
}

void *cn_ring_take_if(struct cn_ring *ring, bool (*wanted)(const void *item))
{
	void *item = NULL;

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

int cn_ring_fd(const struct cn_ring *ring)
{
	return ring->fd;
}

bool cn_ring_sleep(struct cn_ring *ring)
{
	bool empty;

	lock_get(&ring->lock);
	empty = ring->count == 0;
	if(empty)
		ring->sleepers++;
	lock_release(&ring->lock);
	return empty;
}

void cn_ring_wake(struct cn_ring *ring)
{
	uint64_t one;

	/* Woken by a giver: it has taken us off the sleepers already, and there
	 * is a count to read. Woken by something else: nobody has. Two takers
	 * that wake for different reasons may swap roles; the sums stay right. */
	if(read(ring->fd, &one, sizeof(one)) == sizeof(one))
		return;
	lock_get(&ring->lock);
	if(ring->sleepers > 0)
		ring->sleepers--;
	lock_release(&ring->lock);
}
