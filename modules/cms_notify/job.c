/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Makes jobs, ends each once, frees them when nobody holds them. In every process. */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/hashes.h"
#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "job_contacts.h"
#include "base_conf.h"
#include "job.h"
#include "job_waiter.h"
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
	struct cn_job_link link;
	atomic_t holders;
	atomic_t decided;
	atomic_t storing;
	atomic_t sending; /* a delivery: SENDING_* */
	unsigned hash;
	enum cn_reason reason;
	int64_t seq;
	int64_t parked_us;
	int64_t deadline_us;
	int64_t sent_us; /* 0: not yet */
	struct cn_outcome outcome;
	struct cn_outcome failure; /* of the POST, while it is stored */
	char *answer; /* shm: the answer, where it did not fit into the block */
	struct cn_waiter waiter;
	str id;
	str key;
	str aor;
	const char *contacts;
	str body; /* last in the block: its place is reused for the answer */
	bool is_delivery;
	bool defers;
	bool has_row;
	bool attempting; /* a POST is under way */
	bool known;		 /* one may have been accepted */
	void *tag;
	int key_count;
	struct key keys[];
};

enum
{
	SENDING_OPEN,
	SENDING_CLAIMED,
	SENDING_CANCELLED
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

static char *put(str *to, const str *from, char *p)
{
	to->s = p;
	to->len = from->len;
	if(from->len > 0)
		memcpy(p, from->s, from->len);
	return p + from->len;
}

static size_t strings_size(const struct cn_event *ev, const str *contacts,
		const str *body, const str *callback)
{
	size_t size = CN_ID_LEN + ev->key.len + ev->aor.len + body->len;
	int i;

	size += contacts->len + callback->len + 3; /* with zeros */
	for(i = 0; i < ev->contact_count; i++)
		size += ev->contacts[i].uri.len + ev->contacts[i].instance.len;
	return size;
}

static void copy_strings(struct cn_job *job, const struct cn_event *ev,
		const str *contacts, const str *body, const str *callback)
{
	str id = {(char *)ev->id, CN_ID_LEN}, text;
	char *p = (char *)&job->keys[ev->contact_count];
	int i;

	for(i = 0; i < ev->contact_count; i++) {
		job->keys[i].is_new = ev->contacts[i].reason != CN_REASON_NONE;
		p = put(&job->keys[i].uri, &ev->contacts[i].uri, p);
		p = put(&job->keys[i].instance, &ev->contacts[i].instance, p);
	}
	job->key_count = ev->contact_count;
	p = put(&job->id, &id, p);
	p = cn_put_name(&job->key, &ev->key, p);
	p = put(&job->aor, &ev->aor, p);
	p = cn_put_name(&text, contacts, p);
	job->contacts = text.s;
	p = cn_put_name(&job->waiter.callback, callback, p);
	put(&job->body, body, p);
}

enum cn_cause cn_job_new(const struct cn_event *ev, const str *body,
		const str *callback, bool defers, struct cn_job **out)
{
	struct cn_job *job;
	size_t fixed = sizeof(*job) + ev->contact_count * sizeof(struct key);
	char text[CN_CONTACTS_MAX + 1];
	str contacts = {text, 0};

	*out = NULL;
	cn_contacts_write(ev, text);
	contacts.len = strlen(text);
	if(atomic_add(jobs.count, 1) > jobs.capacity) {
		atomic_dec(jobs.count);
		return CN_CAUSE_busy;
	}
	job = shm_malloc(fixed + strings_size(ev, &contacts, body, callback));
	if(job == NULL) {
		atomic_dec(jobs.count);
		return CN_CAUSE_memory;
	}
	memset(job, 0, fixed);
	copy_strings(job, ev, &contacts, body, callback);
	cn_waiter_init(&job->waiter, ev);
	job->waiter.block = job;
	atomic_set(&job->holders, 2);
	job->hash = ev->hash;
	job->seq = ev->seq;
	job->reason = ev->reason;
	job->defers = defers;
	job->parked_us = job->waiter.parked_us;
	job->deadline_us = job->parked_us + cn_timeout_us();
	*out = job;
	return CN_CAUSE_none;
}

struct cn_job *cn_job_new_delivery(const struct cn_delivery_facts *facts)
{
	str id = {(char *)facts->id, strlen(facts->id)};
	str key = {(char *)facts->aor, strlen(facts->aor)}, text;
	str contacts = {(char *)facts->contacts, strlen(facts->contacts)};
	struct cn_job *job = shm_mallocxz(sizeof(*job) + id.len + key.len
									  + contacts.len + 2 + facts->body->len);
	char *p;

	if(job == NULL)
		return NULL;
	p = put(&job->id, &id, (char *)(job + 1));
	p = cn_put_name(&job->key, &key, p);
	job->aor = job->key;
	p = cn_put_name(&text, &contacts, p);
	job->contacts = text.s;
	put(&job->body, facts->body, p);
	atomic_set(&job->holders, 2);
	job->is_delivery = true;
	job->seq = facts->seq;
	job->hash = facts->hash;
	job->tag = facts->tag;
	job->parked_us = cn_now_us();
	job->deadline_us = INT64_MAX;
	return job;
}

void cn_job_free(struct cn_job *job)
{
	if(job == NULL)
		return;
	if(!job->is_delivery)
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

struct cn_job_link *cn_job_link(struct cn_job *job)
{
	return &job->link;
}

int64_t cn_job_seq(const struct cn_job *job)
{
	return job->seq;
}

const str *cn_job_id(const struct cn_job *job)
{
	return &job->id;
}

const str *cn_job_aor(const struct cn_job *job)
{
	return &job->aor;
}

const str *cn_job_key(const struct cn_job *job)
{
	return &job->key;
}

unsigned cn_job_hash(const struct cn_job *job)
{
	return job->hash;
}

const char *cn_job_contacts(const struct cn_job *job)
{
	return job->contacts;
}

str cn_job_contact(const struct cn_job *job)
{
	return job->keys[0].uri;
}

const str *cn_job_body(const struct cn_job *job)
{
	return &job->body;
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

bool cn_job_defers(const struct cn_job *job)
{
	return job->defers;
}

bool cn_job_is_delivery(const struct cn_job *job)
{
	return job->is_delivery;
}

void *cn_job_tag(const struct cn_job *job)
{
	return job->tag;
}

void cn_job_set_sent(struct cn_job *job, int64_t now_us)
{
	job->sent_us = now_us;
	if(job->is_delivery)
		job->deadline_us = now_us + cn_timeout_us();
}

bool cn_job_sent(const struct cn_job *job)
{
	return job->sent_us != 0;
}

/* The answer takes the place of the request, unless the CMS has not decided, and may be
 * told again, or the outbox process may be copying it just now. */
static char *room_for_answer(struct cn_job *job, int size)
{
	if(size <= job->body.len && job->outcome.verdict != CN_UNAVAILABLE
			&& job->link.asked_us == 0 && !cn_job_storing(job))
		return job->body.s;
	return job->answer = shm_malloc(size);
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

void cn_job_begin_attempt(struct cn_job *job)
{
	/* before the caller looks whether the job has been ended */
	__atomic_store_n(&job->attempting, true, __ATOMIC_SEQ_CST);
}

void cn_job_end_attempt(struct cn_job *job, bool known)
{
	job->known = job->known || known;
	__atomic_store_n(&job->attempting, false, __ATOMIC_SEQ_CST);
}

bool cn_job_may_be_known(const struct cn_job *job)
{
	return __atomic_load_n(&job->attempting, __ATOMIC_SEQ_CST) || job->known;
}

bool cn_job_claim_sending(struct cn_job *job)
{
	return atomic_cmpxchg(&job->sending, SENDING_OPEN, SENDING_CLAIMED)
		   == SENDING_OPEN;
}

bool cn_job_cancel_sending(struct cn_job *job)
{
	return atomic_cmpxchg(&job->sending, SENDING_OPEN, SENDING_CANCELLED)
		   == SENDING_OPEN;
}

bool cn_job_cancelled(const struct cn_job *job)
{
	return atomic_get((atomic_t *)&job->sending) == SENDING_CANCELLED;
}

bool cn_job_begin_storing(struct cn_job *job, const struct cn_outcome *failure)
{
	if(atomic_cmpxchg(&job->storing, 0, 1) != 0)
		return false;
	job->failure = *failure;
	memset(&job->failure.body, 0, sizeof(str));
	return true;
}

bool cn_job_storing(const struct cn_job *job)
{
	return atomic_get((atomic_t *)&job->storing) != 0;
}

const struct cn_outcome *cn_job_failure(const struct cn_job *job)
{
	return &job->failure;
}

bool cn_job_has_row(const struct cn_job *job)
{
	return job->has_row;
}

void cn_job_set_row(struct cn_job *job)
{
	job->has_row = true;
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

bool cn_job_same_aor(const struct cn_job *job, const str *key)
{
	return job->key.len == key->len
		   && memcmp(job->key.s, key->s, key->len) == 0;
}

/* What is new in the event must all be on its way already. Where nothing is new
 * (the device leaves, or refreshes) one common contact is enough: a new one, or
 * in the same dialog any, which must be saved in the order of the CSeqs. */
bool cn_job_covers(const struct cn_job *job, const struct cn_event *ev)
{
	bool same_dialog;
	int i;

	/* a query, or malformed: then there may be no Call-ID either */
	if((ev->contact_count == 0 && !ev->star) || !cn_job_same_aor(job, &ev->key))
		return false;
	if(ev->star)
		return true;
	if(cn_conf.identity == CN_IDENTITY_AOR)
		return true;
	same_dialog = cn_waiter_dialog(&ev->call_id) == job->waiter.call_id_hash;
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

static bool is_in_event(const struct key *k, const struct cn_event *ev)
{
	int i;

	for(i = 0; i < ev->contact_count; i++) {
		if(is_key(k, &ev->contacts[i]))
			return true;
	}
	return false;
}

int cn_job_contacts_besides(const struct cn_job *job, const struct cn_event *ev)
{
	int i, n = 0;

	for(i = 0; i < job->key_count; i++)
		n += job->keys[i].is_new && !is_in_event(&job->keys[i], ev);
	return n;
}
