/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/hashes.h"
#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "job_contacts.h"
#include "base_conf.h"
#include "job.h"
#include "base_stats.h"

/* What tells one device of an AOR from another. */
struct key
{
	str uri;
	str instance;
	bool is_new; /* the event is about it */
};

struct cn_job
{
	struct cn_job *next;
	atomic_t holders;
	atomic_t decided;
	unsigned hash;
	enum cn_reason reason;
	int64_t parked_us;
	int64_t deadline_us;
	int64_t sent_us; /* 0: not yet */
	struct cn_outcome outcome;
	char *answer; /* shm: the answer, where it did not fit into the block */
	struct cn_waiter *waiters;
	int waiter_count;
	struct cn_waiter waiter;
	str id;
	str key;
	str aor;
	str about;
	str body;		 /* last in the block: its place is reused for the answer */
	int64_t row;	 /* in the outbox, 0: a registration */
	unsigned change; /* of the device, when the row was taken */
	enum cn_deferral deferral;
	bool kept;
	bool asked;
	enum cn_turn turn;
	struct cn_job *freed; /* the next whose turn has come */
	int key_count;
	struct key keys[];
};

/* Jobs that exist, and how many may. */
static struct
{
	atomic_t *count;
	int capacity;
} jobs;

int cn_job_init(unsigned capacity)
{
	jobs.count = shm_malloc(sizeof(*jobs.count));
	if(jobs.count == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	atomic_set(jobs.count, 0);
	jobs.capacity = capacity;
	return 0;
}

void cn_job_destroy(void)
{
	if(jobs.count)
		shm_free(jobs.count);
	jobs.count = NULL;
}

int cn_job_count(void)
{
	return atomic_get(jobs.count);
}

bool cn_job_room(void)
{
	return cn_job_count() < jobs.capacity;
}

/* Kamailio's KEMI engines take the name of a function as a C string. */
static char *put_name(str *to, const str *from, char *p)
{
	to->s = p;
	to->len = from->len;
	if(from->len > 0)
		memcpy(p, from->s, from->len);
	p[from->len] = '\0';
	return p + from->len + 1;
}

static char *put(str *to, const str *from, char *p)
{
	to->s = p;
	to->len = from->len;
	if(from->len > 0)
		memcpy(p, from->s, from->len);
	return p + from->len;
}

static size_t strings_size(const struct cn_event *ev, const str *about,
		const str *body, const str *callback)
{
	size_t size = CN_ID_LEN + ev->key.len + ev->aor.len + body->len;
	int i;

	size += about->len + callback->len + 1;
	for(i = 0; i < ev->contact_count; i++)
		size += ev->contacts[i].uri.len + ev->contacts[i].instance.len;
	return size;
}

static void copy_strings(struct cn_job *job, const struct cn_event *ev,
		const str *about, const str *body, const str *callback)
{
	str id = {(char *)ev->id, CN_ID_LEN};
	char *p = (char *)&job->keys[ev->contact_count];
	int i;

	for(i = 0; i < ev->contact_count; i++) {
		job->keys[i].is_new = ev->contacts[i].reason != CN_REASON_NONE;
		p = put(&job->keys[i].uri, &ev->contacts[i].uri, p);
		p = put(&job->keys[i].instance, &ev->contacts[i].instance, p);
	}
	job->key_count = ev->contact_count;
	p = put(&job->id, &id, p);
	p = put(&job->key, &ev->key, p);
	p = put(&job->aor, &ev->aor, p);
	p = put(&job->about, about, p);
	p = put_name(&job->waiter.callback, callback, p);
	put(&job->body, body, p);
}

static unsigned call_id_hash(const struct cn_event *ev)
{
	return get_hash1_raw(ev->call_id.s, ev->call_id.len);
}

static void init_waiter(struct cn_waiter *w, const struct cn_event *ev)
{
	w->call_id_hash = call_id_hash(ev);
	w->cseq = ev->cseq;
	w->parked_us = cn_now_us();
}

enum cn_cause cn_job_new(const struct cn_event *ev, const str *body,
		const str *callback, struct cn_job **out)
{
	struct cn_job *job;
	size_t fixed = sizeof(*job) + ev->contact_count * sizeof(struct key);
	char text[CN_ABOUT_MAX + 1];
	str about = {text, 0};

	*out = NULL;
	cn_about_write(ev, text);
	about.len = strlen(text);
	if(atomic_add(jobs.count, 1) > jobs.capacity) {
		atomic_dec(jobs.count);
		return CN_CAUSE_busy;
	}
	job = shm_malloc(fixed + strings_size(ev, &about, body, callback));
	if(job == NULL) {
		atomic_dec(jobs.count);
		return CN_CAUSE_memory;
	}
	memset(job, 0, fixed);
	copy_strings(job, ev, &about, body, callback);
	init_waiter(&job->waiter, ev);
	job->waiter.block = job;
	atomic_set(&job->holders, 2);
	atomic_set(&job->decided, 0);
	job->hash = ev->hash;
	job->reason = ev->reason;
	job->parked_us = job->waiter.parked_us;
	job->deadline_us = job->parked_us + (int64_t)cn_conf.timeout_ms * 1000;
	*out = job;
	return CN_CAUSE_none;
}

struct cn_job *cn_job_new_delivery(int64_t row, const str *id,
		const str *device, unsigned hash, unsigned change, const str *body)
{
	size_t size = sizeof(struct cn_job) + id->len + device->len + body->len;
	struct cn_job *job = shm_malloc(size);
	char *p;

	if(job == NULL)
		return NULL;
	memset(job, 0, sizeof(*job));
	p = put(&job->id, id, (char *)(job + 1));
	p = put(&job->key, device, p);
	job->aor = job->key;
	put(&job->body, body, p);
	atomic_set(&job->holders, 2);
	atomic_set(&job->decided, 0);
	job->row = row;
	job->hash = hash;
	job->change = change;
	job->parked_us = cn_now_us();
	job->deadline_us = INT64_MAX;
	return job;
}

void cn_job_free(struct cn_job *job)
{
	if(job == NULL)
		return;
	if(job->row == 0)
		atomic_dec(jobs.count);
	if(job->answer)
		shm_free(job->answer);
	shm_free(job);
}

void cn_job_hold(struct cn_job *job)
{
	atomic_inc(&job->holders);
}

void cn_job_release(struct cn_job *job)
{
	if(atomic_dec_and_test(&job->holders))
		cn_job_free(job);
}

struct cn_waiter *cn_waiter_new(const struct cn_event *ev, const str *callback)
{
	struct cn_waiter *w = shm_malloc(sizeof(*w) + callback->len + 1);

	if(w == NULL)
		return NULL;
	memset(w, 0, sizeof(*w));
	put_name(&w->callback, callback, (char *)(w + 1));
	init_waiter(w, ev);
	return w;
}

void cn_waiter_free(struct cn_waiter *waiter)
{
	if(waiter == NULL)
		return;
	if(waiter->block)
		cn_job_free(waiter->block);
	else
		shm_free(waiter);
}

struct cn_waiter *cn_job_waiter(struct cn_job *job)
{
	return &job->waiter;
}

const str *cn_job_id(const struct cn_job *job)
{
	return &job->id;
}

const str *cn_job_aor(const struct cn_job *job)
{
	return &job->aor;
}

const str *cn_job_device(const struct cn_job *job)
{
	return &job->key;
}

const str *cn_job_about(const struct cn_job *job)
{
	return &job->about;
}

const str *cn_job_body(const struct cn_job *job)
{
	return &job->body;
}

int64_t cn_job_row(const struct cn_job *job)
{
	return job->row;
}

unsigned cn_job_change(const struct cn_job *job)
{
	return job->change;
}

enum cn_reason cn_job_reason(const struct cn_job *job)
{
	return job->reason;
}

int64_t cn_job_parked_us(const struct cn_job *job)
{
	return job->parked_us;
}

int64_t cn_job_deadline_us(const struct cn_job *job)
{
	return job->deadline_us;
}

void cn_job_set_sent(struct cn_job *job, int64_t now_us)
{
	job->sent_us = now_us;
	if(job->row != 0)
		job->deadline_us = now_us + (int64_t)cn_conf.timeout_ms * 1000;
}

bool cn_job_sent(const struct cn_job *job)
{
	return job->sent_us != 0;
}

/* The answer takes the place of the request, which nobody needs any more: when
 * the CMS has decided. Otherwise the event may go to the outbox. */
static char *room_for_answer(struct cn_job *job, int size)
{
	if(size <= job->body.len && job->outcome.verdict != CN_UNAVAILABLE)
		return job->body.s;
	job->answer = shm_malloc(size);
	return job->answer;
}

static void keep_answer(struct cn_job *job, const str *body)
{
	char *p = room_for_answer(job, body->len);

	if(p)
		put(&job->outcome.body, body, p);
	else
		LM_WARN("event %.*s: no shared memory for the answer's body, increase "
				"it (kamailio -m)\n",
				job->id.len, job->id.s);
}

bool cn_job_decide(struct cn_job *job, const struct cn_outcome *outcome)
{
	if(atomic_cmpxchg(&job->decided, 0, 1) != 0)
		return false;
	job->outcome = *outcome;
	memset(&job->outcome.body, 0, sizeof(str));
	if(outcome->body.len > 0)
		keep_answer(job, &outcome->body);
	return true;
}

bool cn_job_decided(const struct cn_job *job)
{
	return atomic_get((atomic_t *)&job->decided) != 0;
}

const struct cn_outcome *cn_job_outcome(const struct cn_job *job)
{
	return &job->outcome;
}

enum cn_deferral cn_job_deferral(const struct cn_job *job)
{
	return job->deferral;
}

void cn_job_set_deferral(struct cn_job *job, enum cn_deferral deferral)
{
	job->deferral = deferral;
	if(deferral == CN_NOT_STORED)
		job->outcome.cause = CN_CAUSE_outbox;
}

bool cn_job_is_kept(const struct cn_job *job)
{
	return job->kept;
}

void cn_job_set_kept(struct cn_job *job, bool kept)
{
	job->kept = kept;
}

bool cn_job_was_asked(const struct cn_job *job)
{
	return job->asked;
}

void cn_job_set_asked(struct cn_job *job)
{
	job->asked = true;
}

struct cn_job **cn_job_next(struct cn_job *job)
{
	return &job->next;
}

enum cn_turn *cn_job_turn(struct cn_job *job)
{
	return &job->turn;
}

struct cn_job **cn_job_freed(struct cn_job *job)
{
	return &job->freed;
}

struct cn_waiter **cn_job_waiters(struct cn_job *job)
{
	return &job->waiters;
}

int *cn_job_waiter_count(struct cn_job *job)
{
	return &job->waiter_count;
}

unsigned cn_job_hash(const struct cn_job *job)
{
	return job->hash;
}

static bool is_key(const struct key *k, const struct cn_contact *c)
{
	if(cn_conf.identity == CN_IDENTITY_INSTANCE
			&& cn_bare_instance(&c->instance).len > 0
			&& cn_bare_instance(&k->instance).len > 0)
		return cn_contact_same_instance(&c->instance, &k->instance);
	return c->uri.len == k->uri.len
		   && memcmp(c->uri.s, k->uri.s, k->uri.len) == 0;
}

static bool has_contact(
		const struct cn_job *job, const struct cn_contact *c, bool only_new)
{
	int i;

	for(i = 0; i < job->key_count; i++) {
		if((job->keys[i].is_new || !only_new) && is_key(&job->keys[i], c))
			return true;
	}
	return false;
}

bool cn_job_same_aor(const struct cn_job *job, const struct cn_event *ev)
{
	return job->key.len == ev->key.len
		   && memcmp(job->key.s, ev->key.s, ev->key.len) == 0;
}

/* What is new in the event must all be on its way already. Where nothing is new
 * (the device leaves, or refreshes) one common contact is enough: a new one, or
 * in the same dialog any, which must be saved in the order of the CSeqs. */
bool cn_job_covers(const struct cn_job *job, const struct cn_event *ev)
{
	bool same_dialog;
	int i;

	/* a query, or malformed: then there may be no Call-ID either */
	if((ev->contact_count == 0 && !ev->star) || !cn_job_same_aor(job, ev))
		return false;
	if(ev->star)
		return true;
	if(cn_conf.identity == CN_IDENTITY_AOR)
		return true;
	same_dialog = call_id_hash(ev) == job->waiter.call_id_hash;
	for(i = 0; i < ev->contact_count; i++) {
		const struct cn_contact *c = &ev->contacts[i];

		if(ev->reason == CN_REASON_NONE) {
			if(has_contact(job, c, !same_dialog))
				return true;
		} else if(c->reason != CN_REASON_NONE && !has_contact(job, c, true)) {
			return false;
		}
	}
	return ev->reason != CN_REASON_NONE;
}
