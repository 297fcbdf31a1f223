/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The index of jobs. In every process. */

#include <stdio.h>
#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "job_index.h"
#include "job_number.h"
#include "job_quota.h"

struct slot
{
	gen_lock_t lock;
	int64_t newest; /* number of what entered or left last */
	struct cn_job *first;
};

static struct
{
	struct slot *slots;
	atomic_t *asked; /* how many are; behind the slots */
	unsigned mask;
} index_;

static struct cn_job *resuming; /* in this process */

/* -------- slots -------- */

int cn_index_init(unsigned capacity)
{
	unsigned size = 1024, i;

	while(size < capacity && size < 65536)
		size *= 2;
	index_.slots = shm_malloc(size * sizeof(struct slot) + sizeof(atomic_t));
	if(index_.slots == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(index_.slots, 0, size * sizeof(struct slot));
	index_.asked = (atomic_t *)&index_.slots[size];
	atomic_set(index_.asked, 0);
	for(i = 0; i < size; i++) {
		if(lock_init(&index_.slots[i].lock) == NULL) {
			LM_ERR("cannot make a lock\n");
			return -1;
		}
	}
	index_.mask = size - 1;
	return 0;
}

void cn_index_destroy(void)
{
	if(index_.slots)
		shm_free(index_.slots);
	index_.slots = NULL;
}

static struct slot *slot_of(unsigned hash)
{
	return &index_.slots[hash & index_.mask];
}

static bool is_empty(const struct slot *slot)
{
	return *(struct cn_job *const volatile *)&slot->first == NULL;
}

static struct cn_job *next_of(struct cn_job *job)
{
	return cn_job_link(job)->next;
}

static void link_job(struct slot *slot, struct cn_job *job)
{
	cn_job_link(job)->next = slot->first;
	slot->first = job;
}

static void unlink_job(struct slot *slot, struct cn_job *job)
{
	struct cn_job **p = &slot->first;

	while(*p && *p != job)
		p = &cn_job_link(*p)->next;
	if(*p)
		*p = next_of(job);
}

/* -------- entering -------- */

/* What is new after the first waiter was saved is news once more: the device has
 * left in between. */
static bool is_joinable(struct cn_job *job, const struct cn_event *ev)
{
	const struct cn_job_link *link = cn_job_link(job);

	return !cn_job_is_delivery(job) && cn_job_covers(job, ev)
		   && cn_quota_counts(job)
		   && (ev->reason == CN_REASON_NONE || link->saved_seq == 0
				   || ev->seq < link->saved_seq);
}

static struct cn_job *find(struct slot *slot, const struct cn_event *ev)
{
	struct cn_job *job;

	for(job = slot->first; job; job = next_of(job)) {
		if(is_joinable(job, ev))
			return job;
	}
	return NULL;
}

bool cn_index_joinable(const struct cn_event *ev)
{
	struct slot *slot = slot_of(ev->hash);
	bool found;

	if(is_empty(slot))
		return false;
	lock_get(&slot->lock);
	found = find(slot, ev) != NULL;
	lock_release(&slot->lock);
	return found;
}

/* The outbox process, which takes it out of the index, may be waiting for its
 * database. */
static bool is_delivery_over(const struct cn_job *job)
{
	return cn_job_is_delivery(job)
		   && (cn_job_cancelled(job) || cn_job_decided(job));
}

/* Of an AOR, with a contact in common, older; but for deliveries that are over
 * or not going to be sent. */
static bool comes_before(const struct cn_job *job, const str *key,
		const char *contacts, int64_t seq)
{
	return cn_job_seq(job) < seq && cn_job_same_aor(job, key)
		   && cn_contacts_overlap(cn_job_contacts(job), contacts)
		   && !is_delivery_over(job);
}

static bool has_older(
		struct slot *slot, const str *key, const char *contacts, int64_t seq)
{
	struct cn_job *job;

	for(job = slot->first; job; job = next_of(job)) {
		if(comes_before(job, key, contacts, seq))
			return true;
	}
	return false;
}

/* A delivery that still waits for a connection does not keep a device waiting. */
static void cancel_deliveries(
		struct slot *slot, const str *key, const char *contacts, int64_t seq)
{
	struct cn_job *job;

	for(job = slot->first; job; job = next_of(job)) {
		if(cn_job_is_delivery(job) && comes_before(job, key, contacts, seq))
			(void)cn_job_cancel_sending(job);
	}
}

/* One dialog's requests in CSeq order, the others as they came. */
static void add_waiter(struct cn_job *job, struct cn_waiter *waiter)
{
	struct cn_waiter **p = &cn_job_link(job)->waiters;

	while(*p
			&& ((*p)->call_id_hash != waiter->call_id_hash
					|| (*p)->cseq <= waiter->cseq))
		p = &(*p)->next;
	waiter->next = *p;
	*p = waiter;
	cn_job_link(job)->waiter_count++;
}

static enum cn_entry enter(struct slot *slot, const struct cn_event *ev,
		struct cn_job *job, struct cn_waiter *waiter)
{
	const char *contacts = cn_job_contacts(job);
	enum cn_entry entry = CN_ENTERED;

	switch(cn_quota_for_contacts(slot->first, ev)) {
		case CN_QUOTA_LEFT:
			break;
		case CN_QUOTA_SPENT:
			return CN_SURPLUS;
		case CN_QUOTA_UNKNOWN:
			return CN_STALE;
	}
	cancel_deliveries(slot, &ev->key, contacts, ev->seq);
	if(has_older(slot, &ev->key, contacts, ev->seq)) {
		cn_job_link(job)->order = CN_HELD;
		entry = CN_WAITS;
	}
	add_waiter(job, waiter);
	link_job(slot, job);
	slot->newest = ev->seq;
	return entry;
}

enum cn_entry cn_index_enter(
		const struct cn_event *ev, struct cn_waiter *waiter)
{
	struct slot *slot = slot_of(ev->hash);
	struct cn_job *job;
	enum cn_entry entry;

	lock_get(&slot->lock);
	job = find(slot, ev);
	entry = CN_JOINED;
	if(job == NULL && (waiter->block == NULL || slot->newest >= ev->seq))
		entry = CN_STALE;
	else if(!cn_quota_allows_waiter(slot->first, ev))
		entry = CN_CROWDED;
	else if(job)
		add_waiter(job, waiter);
	else
		entry = enter(slot, ev, waiter->block, waiter);
	lock_release(&slot->lock);
	return entry;
}

int64_t cn_index_newest(unsigned hash)
{
	return __atomic_load_n(&slot_of(hash)->newest, __ATOMIC_SEQ_CST);
}

/* Who is newer and HELD may be waiting for just this delivery. */
static bool is_under_way(struct slot *slot, const struct cn_job *delivery)
{
	struct cn_job *job;

	for(job = slot->first; job; job = next_of(job)) {
		if((cn_job_link(job)->order != CN_HELD
				   || cn_job_seq(job) < cn_job_seq(delivery))
				&& comes_before(job, cn_job_key(delivery),
						cn_job_contacts(delivery), INT64_MAX))
			return true;
	}
	return false;
}

bool cn_index_enter_delivery(struct cn_job *job, int64_t newest)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	bool fine;

	lock_get(&slot->lock);
	fine = slot->newest == newest && !is_under_way(slot, job);
	if(fine)
		link_job(slot, job);
	lock_release(&slot->lock);
	return fine;
}

bool cn_index_keeps_waiting(const struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	struct cn_job *other;
	bool found = false;

	lock_get(&slot->lock);
	for(other = slot->first; other && !found; other = next_of(other))
		found = cn_job_link(other)->order == CN_HELD
				&& comes_before(job, cn_job_key(other), cn_job_contacts(other),
						cn_job_seq(other));
	lock_release(&slot->lock);
	return found;
}

int64_t cn_index_number_event(
		const str *key, unsigned hash, const char *contacts)
{
	struct slot *slot = slot_of(hash);
	int64_t seq = 0;

	lock_get(&slot->lock);
	if(!has_older(slot, key, contacts, INT64_MAX)) {
		seq = cn_number_next();
		slot->newest = seq;
	}
	lock_release(&slot->lock);
	return seq;
}

/* -------- leaving -------- */

/* Under the lock. @return true: it was never given to be sent, so that the index
 * has its sending side */
static bool leave(struct slot *slot, struct cn_job *job)
{
	enum cn_order order = cn_job_link(job)->order;

	unlink_job(slot, job);
	slot->newest = cn_number_next();
	if(order == CN_ASKED)
		atomic_dec(index_.asked);
	cn_job_link(job)->order = CN_GONE;
	return order == CN_HELD || order == CN_ASKED;
}

struct cn_waiter *cn_index_next_waiter(struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	struct cn_job_link *link = cn_job_link(job);
	struct cn_waiter *waiter;
	bool unsent = false;

	lock_get(&slot->lock);
	if(link->resumed)
		link->saved_seq = cn_number_next();
	link->resumed = true;
	waiter = link->waiters;
	if(waiter) {
		link->waiters = waiter->next;
		link->waiter_count--;
	} else {
		unsent = leave(slot, job);
	}
	lock_release(&slot->lock);
	resuming = waiter ? job : NULL;
	if(unsent)
		cn_job_release(job);
	return waiter;
}

void cn_index_saved(const str *key)
{
	struct slot *slot;

	if(resuming == NULL || !cn_job_same_aor(resuming, key))
		return;
	slot = slot_of(cn_job_hash(resuming));
	lock_get(&slot->lock);
	cn_job_link(resuming)->saved_seq = cn_number_next();
	lock_release(&slot->lock);
}

void cn_index_leave(struct cn_job *job)
{
	struct slot *slot = slot_of(cn_job_hash(job));

	lock_get(&slot->lock);
	(void)leave(slot, job);
	lock_release(&slot->lock);
}

struct cn_job *cn_index_release(const str *key, unsigned hash)
{
	struct slot *slot = slot_of(hash);
	struct cn_job *job, *released = NULL;

	if(is_empty(slot))
		return NULL;
	lock_get(&slot->lock);
	/* the newest is the first in the slot */
	for(job = slot->first; job; job = next_of(job)) {
		if(cn_job_link(job)->order != CN_HELD || !cn_job_same_aor(job, key)
				|| has_older(slot, key, cn_job_contacts(job), cn_job_seq(job)))
			continue;
		cn_job_link(job)->order = CN_SENDABLE;
		cn_job_link(job)->released = released;
		released = job;
	}
	lock_release(&slot->lock);
	return released;
}

struct cn_job *cn_index_next_released(const struct cn_job *job)
{
	return cn_job_link((struct cn_job *)job)->released;
}

/* -------- order -------- */

/* Under the lock. */
static void set_order(struct cn_job *job, enum cn_order to)
{
	struct cn_job_link *link = cn_job_link(job);

	atomic_add(index_.asked, (to == CN_ASKED) - (link->order == CN_ASKED));
	if(to == CN_ASKED)
		link->asked_us = cn_now_us();
	link->order = to;
}

bool cn_index_set_order(
		struct cn_job *job, enum cn_order from, enum cn_order to)
{
	struct slot *slot = slot_of(cn_job_hash(job));
	bool is_from;

	lock_get(&slot->lock);
	is_from = cn_job_link(job)->order == from;
	if(is_from)
		set_order(job, to);
	lock_release(&slot->lock);
	return is_from;
}

int cn_index_asked(void)
{
	return atomic_get(index_.asked);
}

/* -------- the watchdog -------- */

static void earlier(int64_t *next_us, int64_t us)
{
	if(us < *next_us)
		*next_us = us;
}

static bool is_waited_for(
		struct cn_job *job, const struct cn_index_watch *watch)
{
	struct cn_job_link *link = cn_job_link(job);

	return (link->order == CN_ASKED && link->asked_us <= watch->asked_us)
		   || (link->order == CN_HELD && watch->held);
}

static void look_at(struct cn_job *job, const struct cn_index_watch *watch,
		int64_t *next_us)
{
	if(cn_job_decided(job))
		return;
	if(cn_job_deadline_us(job) <= watch->overdue_us) {
		watch->overdue(job);
		/* it is being stored: again at the next look */
		if(!cn_job_decided(job))
			earlier(next_us, cn_job_deadline_us(job));
		return;
	}
	earlier(next_us, cn_job_deadline_us(job));
	if(is_waited_for(job, watch) && watch->may_go(job)) {
		set_order(job, CN_SENDABLE);
		watch->go(job);
	}
}

int64_t cn_index_look(const struct cn_index_watch *watch)
{
	int64_t next_us = INT64_MAX;
	struct cn_job *job;
	unsigned i;

	for(i = 0; i <= index_.mask; i++) {
		struct slot *slot = &index_.slots[i];

		if(is_empty(slot))
			continue;
		lock_get(&slot->lock);
		for(job = slot->first; job; job = next_of(job))
			look_at(job, watch, &next_us);
		lock_release(&slot->lock);
	}
	return next_us;
}

/* -------- for an operator -------- */

static void fill_row(struct cn_index_row *row, struct cn_job *job)
{
	snprintf(row->id, sizeof(row->id), "%.*s", cn_job_id(job)->len,
			cn_job_id(job)->s);
	snprintf(row->aor, sizeof(row->aor), "%.*s", cn_job_aor(job)->len,
			cn_job_aor(job)->s);
	row->parked_us = cn_job_parked_us(job);
	row->waiters = cn_job_link(job)->waiter_count;
	row->reason = cn_job_reason(job);
	row->sent = cn_job_sent(job);
	row->decided = cn_job_decided(job);
}

/* @param key of the AOR; NULL: all. @return n and how many were added */
static int list_slot(struct slot *slot, const str *key,
		struct cn_index_row *rows, int n, int max)
{
	struct cn_job *job;

	lock_get(&slot->lock);
	for(job = slot->first; job && n < max; job = next_of(job)) {
		if(!cn_job_is_delivery(job)
				&& (key == NULL || cn_job_same_aor(job, key)))
			fill_row(&rows[n++], job);
	}
	lock_release(&slot->lock);
	return n;
}

int cn_index_list(struct cn_index_row *rows, int max)
{
	unsigned i;
	int n = 0;

	for(i = 0; i <= index_.mask && n < max; i++) {
		if(!is_empty(&index_.slots[i]))
			n = list_slot(&index_.slots[i], NULL, rows, n, max);
	}
	return n;
}

int cn_index_list_of(
		const str *key, unsigned hash, struct cn_index_row *rows, int max)
{
	return list_slot(slot_of(hash), key, rows, 0, max);
}
