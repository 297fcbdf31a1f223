/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Hand a pointer into shared memory to another process. Bounded; never blocks,
 * wakes a process only when one sleeps. Any number of givers and takers. */

#ifndef CN_RING_H
#define CN_RING_H

#include "cn_base.h"

struct cn_ring; /* shm; made before the fork, used by all processes */

/* @param capacity > 0; @return NULL: out of memory or of file descriptors */
struct cn_ring *cn_ring_new(unsigned capacity) CN_MUST;
void cn_ring_free(struct cn_ring *ring); /* NULL is allowed */

/**
 * Give a pointer away.
 *
 * @return 0: *item has gone, it is NULL now; -1: the ring is full, it stays
 */
int cn_ring_push(struct cn_ring *ring, void **item) CN_MUST;

/* The oldest pointer, NULL when there is none. */
void *cn_ring_take(struct cn_ring *ring) CN_MUST;

/* The oldest pointer, if wanted() says so of it. wanted() runs under the
 * ring's lock: it looks and returns. */
void *cn_ring_take_if(
		struct cn_ring *ring, bool (*wanted)(const void *item)) CN_MUST;

/* How many are in it. May be old when it is read. */
unsigned cn_ring_count(const struct cn_ring *ring);

/**
 * Going to sleep: readable file descriptor for poll or epoll (shared by all
 * takers: with EPOLLEXCLUSIVE one wakes). Before sleeping a taker calls
 * cn_ring_sleep(); true: it may sleep until the descriptor is readable; false:
 * there is something to take. After it woke, for whatever reason, it calls
 * cn_ring_wake().
 */
int cn_ring_fd(const struct cn_ring *ring);
bool cn_ring_sleep(struct cn_ring *ring) CN_MUST;
void cn_ring_wake(struct cn_ring *ring);

#endif
