/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "base_conf.h"
#include "job_index.h"

/* Requests that may wait for one event, and events of one AOR that may be under
 * way: a device has a handful of the former and one of the latter. More is a
 * broken device or a stolen password, and must not fill the queue. */
#define CN_WAITERS_MAX 64
#define CN_JOBS_PER_AOR_MAX 64

struct slot
{
	gen_lock_t lock;
	unsigned generation; /* how many jobs have left it */
	struct cn_job *first;
};

static struct
{
	struct slot *slots;
	unsigned mask;
} index_;

int cn_device_init(unsigned capacity)
{
	unsigned size = 1024, i;

	while(size < capacity && size < 65536)
		size *= 2;
	index_.slots = shm_malloc(size * sizeof(struct slot));
	if(index_.slots == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(index_.slots, 0, size * sizeof(struct slot));
	for(i = 0; i < size; i++) {
		if(lock_init(&index_.slots[i].lock) == NULL) {
			LM_ERR("cannot make a lock\n");
			return -1;
		}
	}
	index_.mask = size - 1;
	return 0;
}

void cn_device_destroy(void)
{
	if(index_.slots)
		shm_free(index_.slots);
	index_.slots = NULL;
}

static struct slot *slot_of(unsigned hash)
{
	return &index_.slots[hash & index_.mask];
}

unsigned cn_device_generation(unsigned hash)
{
	return *(volatile unsigned *)&slot_of(hash)->generation;
}

/* What has failed is over: a retry that comes while the first request is being
 * answered gets a chance of its own. What has been accepted is joined until it
 * is saved. */
static bool is_over(const struct cn_job *job)
{
	return cn_job_decided(job) && cn_job_outcome(job)->verdict != CN_ACCEPTED;
}

/* An event of the outbox: nobody waits for its verdict. */
static bool is_delivery(const struct cn_job *job)
{
	return cn_job_row(job) != 0;
}

static struct cn_job *find(struct slot *slot, const struct cn_event *ev)
{
	struct cn_job *job;

	for(job = slot->first; job; job = *cn_job_next(job)) {
		if(!is_delivery(job) && cn_job_covers(job, ev) && !is_over(job))
			return job;
	}
	return NULL;
}

static bool is_of(const struct cn_job *job, const str *key)
{
	const str *own = cn_job_device(job);

	return own->len == key->len && memcmp(own->s, key->s, key->len) == 0;
}

/* Is there something of the AOR that what is new has to wait for? */
static bool has_older(struct slot *slot, const str *key)
{
	struct cn_job *job;

	if(cn_conf.outbox_db_url == NULL)
		return false;
	for(job = slot->first; job; job = *cn_job_next(job)) {
		if((is_delivery(job) || is_over(job)) && is_of(job, key))
			return true;
	}
	return false;
}

bool cn_device_quiet(const str *key, unsigned hash, unsigned generation)
{
	struct slot *slot = slot_of(hash);
	struct cn_job *job;
	bool quiet;

	lock_get(&slot->lock);
	quiet = slot->generation == generation;
	for(job = slot->first; job && quiet; job = *cn_job_next(job))
		quiet = !is_of(job, key);
	lock_release(&slot->lock);
	return quiet;
}

bool cn_device_joinable(const struct cn_event *ev)
{
	struct slot *slot = slot_of(ev->hash);
	bool found;

	if(*(struct cn_job *volatile *)&slot->first == NULL)
		return false;
	lock_get(&slot->lock);
	found = find(slot, ev) != NULL;
	lock_release(&slot->lock);
	return found;
}

static bool is_crowded(struct slot *slot, const struct cn_event *ev)
{
	struct cn_job *job;
	int n = 0;

	for(job = slot->first; job; job = *cn_job_next(job))
		n += !is_delivery(job) && cn_job_same_aor(job, ev);
	return n >= CN_JOBS_PER_AOR_MAX;
}

/* One dialog's requests in CSeq order, the others as they came. */
static void add_waiter(struct cn_job *job, struct cn_waiter *waiter)
{
	struct cn_waiter **p = cn_job_waiters(job);

	while(*p
			&& ((*p)->call_id_hash != waiter->call_id_hash
					|| (*p)->cseq <= waiter->cseq))
		p = &(*p)->next;
	waiter->next = *p;
	*p = waiter;
	++*cn_job_waiter_count(job);
}

static void link_job(struct slot *slot, struct cn_job *job)
{
	*cn_job_next(job) = slot->first;
	slot->first = job;
}

enum cn_entry cn_device_enter(const struct cn_event *ev, unsigned generation,
		struct cn_waiter *waiter)
{
	struct slot *slot = slot_of(ev->hash);
	struct cn_job *job;
	enum cn_entry entry;

	lock_get(&slot->lock);
	job = find(slot, ev);
	if(job) {
		if(*cn_job_waiter_count(job) < CN_WAITERS_MAX) {
			add_waiter(job, waiter);
			entry = CN_JOINED;
		} else {
			entry = CN_CROWDED;
		}
	} else if(waiter->block == NULL || slot->generation != generation) {
		entry = CN_STALE;
	} else if(is_crowded(slot, ev)) {
		entry = CN_CROWDED;
	} else {
		entry = has_older(slot, &ev->key) ? CN_HELD : CN_ENTERED;
		if(entry == CN_HELD)
			*cn_job_turn(waiter->block) = CN_TURN_HELD;
		add_waiter(waiter->block, waiter);
		link_job(slot, waiter->block);
	}
	lock_release(&slot->lock);
	return entry;
}

static void unlink_job(struct slot *slot, struct cn_job *job)
{
	struct cn_job **p = &slot->first;

	while(*p && *p != job)
		p = cn_job_next(*p);
	if(*p)
		*p = *cn_job_next(job);
}

struct cn_waiter *cn_device_next_waiter(struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	struct cn_waiter *waiter;
	bool unsent = false;

	lock_get(&slot->lock);
	waiter = *cn_job_waiters(job);
	if(waiter) {
		*cn_job_waiters(job) = waiter->next;
		--*cn_job_waiter_count(job);
	} else {
		unlink_job(slot, job);
		slot->generation++;
		/* over before its turn came: nobody else is going to take it */
		unsent = *cn_job_turn(job) != CN_TURN_COME;
		*cn_job_turn(job) = CN_TURN_OVER;
	}
	lock_release(&slot->lock);
	if(unsent)
		cn_job_release(job);
	return waiter;
}

/* -------- what is older comes first -------- */

bool cn_device_begin_delivery(struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	struct cn_job *other;
	bool fine;

	lock_get(&slot->lock);
	fine = slot->generation == cn_job_change(job);
	for(other = slot->first; other && fine; other = *cn_job_next(other))
		fine = !is_of(other, cn_job_device(job));
	if(fine)
		link_job(slot, job);
	lock_release(&slot->lock);
	return fine;
}

bool cn_device_is_overtaken(const struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	struct cn_job *other;
	bool found;

	lock_get(&slot->lock);
	found = slot->generation != cn_job_change(job);
	for(other = slot->first; other && !found; other = *cn_job_next(other))
		found = !is_delivery(other) && is_of(other, cn_job_device(job));
	lock_release(&slot->lock);
	return found;
}

void cn_device_end_delivery(struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));

	lock_get(&slot->lock);
	unlink_job(slot, job);
	lock_release(&slot->lock);
}

struct cn_job *cn_device_freed(const struct cn_job *left)
{
	struct slot *slot = slot_of(cn_job_hash(left));
	struct cn_job *job, *freed = NULL;

	if(*(struct cn_job *volatile *)&slot->first == NULL)
		return NULL;
	lock_get(&slot->lock);
	if(!has_older(slot, cn_job_device(left))) {
		/* the newest is the first in the slot */
		for(job = slot->first; job; job = *cn_job_next(job)) {
			if(*cn_job_turn(job) != CN_TURN_HELD
					|| !is_of(job, cn_job_device(left)))
				continue;
			*cn_job_turn(job) = CN_TURN_COME;
			*cn_job_freed(job) = freed;
			freed = job;
		}
	}
	lock_release(&slot->lock);
	return freed;
}

bool cn_device_turn(struct cn_job *job, enum cn_turn from, enum cn_turn to)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	bool is_from;

	lock_get(&slot->lock);
	is_from = *cn_job_turn(job) == from;
	if(is_from)
		*cn_job_turn(job) = to;
	lock_release(&slot->lock);
	return is_from;
}

bool cn_device_come(struct cn_job *job, bool kept)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	bool asked;

	lock_get(&slot->lock);
	asked = *cn_job_turn(job) == CN_TURN_ASKED;
	if(asked) {
		cn_job_set_kept(job, kept);
		*cn_job_turn(job) = CN_TURN_COME;
	}
	lock_release(&slot->lock);
	return asked;
}

int64_t cn_device_overdue(int64_t now_us, void (*due)(struct cn_job *job))
{
	int64_t next_us = INT64_MAX;
	struct cn_job *job;
	unsigned i;

	for(i = 0; i <= index_.mask; i++) {
		struct slot *slot = &index_.slots[i];

		if(*(struct cn_job *volatile *)&slot->first == NULL)
			continue;
		lock_get(&slot->lock);
		for(job = slot->first; job; job = *cn_job_next(job)) {
			if(is_delivery(job) || cn_job_decided(job))
				continue;
			if(cn_job_deadline_us(job) < now_us)
				due(job);
			else if(cn_job_deadline_us(job) < next_us)
				next_us = cn_job_deadline_us(job);
		}
		lock_release(&slot->lock);
	}
	return next_us;
}

/* @return as cn_device_hurry() */
static int64_t hurry(
		struct slot *slot, int64_t before_us, void (*give)(struct cn_job *job))
{
	int64_t next_us = INT64_MAX;
	struct cn_job *job, *next;

	for(job = slot->first; job; job = next) {
		enum cn_turn *turn = cn_job_turn(job);

		next = *cn_job_next(job);
		if(*turn != CN_TURN_HELD && *turn != CN_TURN_ASKED)
			continue;
		if(cn_job_parked_us(job) < before_us) {
			*turn = CN_TURN_COME;
			give(job);
		} else if(cn_job_parked_us(job) < next_us) {
			next_us = cn_job_parked_us(job);
		}
	}
	return next_us;
}

int64_t cn_device_hurry(int64_t before_us, void (*give)(struct cn_job *job))
{
	int64_t next_us = INT64_MAX, its_us;
	unsigned i;

	for(i = 0; i <= index_.mask; i++) {
		struct slot *slot = &index_.slots[i];

		if(*(struct cn_job *volatile *)&slot->first == NULL)
			continue;
		lock_get(&slot->lock);
		its_us = hurry(slot, before_us, give);
		lock_release(&slot->lock);
		if(its_us < next_us)
			next_us = its_us;
	}
	return next_us;
}

static void fill_row(struct cn_device_row *row, struct cn_job *job)
{
	snprintf(row->id, sizeof(row->id), "%.*s", cn_job_id(job)->len,
			cn_job_id(job)->s);
	snprintf(row->aor, sizeof(row->aor), "%.*s", cn_job_aor(job)->len,
			cn_job_aor(job)->s);
	row->parked_us = cn_job_parked_us(job);
	row->waiters = *cn_job_waiter_count(job);
	row->reason = cn_job_reason(job);
	row->sent = cn_job_sent(job);
	row->decided = cn_job_decided(job);
}

int cn_device_list(struct cn_device_row *rows, int max)
{
	struct cn_job *job;
	unsigned i;
	int n = 0;

	for(i = 0; i <= index_.mask && n < max; i++) {
		struct slot *slot = &index_.slots[i];

		if(*(struct cn_job *volatile *)&slot->first == NULL)
			continue;
		lock_get(&slot->lock);
		for(job = slot->first; job && n < max; job = *cn_job_next(job)) {
			if(!is_delivery(job))
				fill_row(&rows[n++], job);
		}
		lock_release(&slot->lock);
	}
	return n;
}
