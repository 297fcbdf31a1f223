/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Hand a pointer into shared memory to another process. Bounded; never blocks,
 * wakes one process for one pointer, and only if one sleeps. Any number of
 * givers and takers. */

#ifndef CN_JOB_RING_H
#define CN_JOB_RING_H

#include "base.h"

struct cn_ring; /* shm; made before the fork, used by all processes */

/**
 * @param capacity > 0
 * @param takers   > 0: processes that sleep until there is something to take
 * @return NULL: out of memory or of file descriptors
 */
struct cn_ring *cn_ring_new(unsigned capacity, int takers) CN_MUST;
void cn_ring_free(struct cn_ring *ring); /* NULL is allowed */

/* So many pointers may wait for a taker that is awake before another one is woken.
 * 0, the default: each wakes one. Process: main. */
void cn_ring_set_patience(struct cn_ring *ring, unsigned patience);

/**
 * Give a pointer away.
 *
 * @return 0: *item has gone, it is NULL now; -1: the ring is full, it stays
 */
int cn_ring_push(struct cn_ring *ring, void **item) CN_MUST;

/* The same, by one who takes from it and looks before it sleeps: nobody is
 * woken. */
int cn_ring_push_own(struct cn_ring *ring, void **item) CN_MUST;

/* The oldest pointer, NULL when there is none. */
void *cn_ring_take(struct cn_ring *ring) CN_MUST;

/* The oldest pointer, if wanted() says so of it. wanted() runs under the
 * ring's lock: it looks and returns. */
void *cn_ring_take_if(
		struct cn_ring *ring, bool (*wanted)(const void *item)) CN_MUST;

/* The same when all other processes have ended: one of them may have been killed
 * with the ring's lock in its hand. Process: main. */
void *cn_ring_take_last(struct cn_ring *ring) CN_MUST;

/* How many are in it. May be old when it is read. */
unsigned cn_ring_count(const struct cn_ring *ring);

/**
 * Going to sleep. Each taker has a number, from 0 on, and a descriptor for
 * cn_wait or epoll: written to for each wake-up and read by nobody, thus to be
 * watched with EPOLLET. Before sleeping a taker calls cn_ring_sleep(); true: it
 * may sleep until its descriptor is written to; false: there is something to
 * take. After it woke, for whatever reason, it calls cn_ring_wake() and looks.
 * It may find nothing.
 *
 * Of those that sleep the first one is woken: the others stay asleep until they
 * are needed.
 */
int cn_ring_fd(const struct cn_ring *ring, int taker);
bool cn_ring_sleep(struct cn_ring *ring, int taker) CN_MUST;
void cn_ring_wake(struct cn_ring *ring, int taker);

/* Instead of sleeping: this taker wants nothing of the ring for now. What lies in
 * it is another one's. cn_ring_sleep() or cn_ring_wake() ends it. */
void cn_ring_leave(struct cn_ring *ring, int taker);

/* Where there is something to take and a taker that sleeps, wake it: those who are
 * awake have been stopped, or hang. They count as awake again when they have come
 * back to the ring. Process: timer. */
void cn_ring_remind(struct cn_ring *ring);

#endif
