/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What devices do, and what they are told. */

#include <limits.h>

#include "../../core/hashes.h"

#include "world.h"

#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "reg_alive.h"
#include "reg_park.h"
#include "reg_restart.h"
#include "reg_usrloc.h"

static struct cn_job *last_shown;

struct request requests[REQUESTS_MAX];
int request_count;

const char *const keys[AORS] = {"a@h", "b@h"};
static const char *const uris[CONTACTS] = {"sip:1", "sip:2", "sip:3"};
char digests[CONTACTS][CN_CONTACTS_MAX + 1];

static unsigned hash_of(int aor)
{
	str s = stub_str(keys[aor]);

	return core_hash(&s, NULL, 0);
}

int aor_of(const char *key)
{
	int i;

	for(i = 0; i < AORS; i++) {
		if(strncmp(keys[i], key, strlen(keys[i])) == 0)
			return i;
	}
	check(!"an AOR that there is");
	return -1;
}

struct cn_event *make(struct scratch *s, int aor, int contacts)
{
	struct cn_event *ev = &s->ev;
	int i;

	memset(s, 0, sizeof(*s));
	ev->room = INT_MAX;
	snprintf(ev->id, sizeof(ev->id), "%032x", ++world->ids);
	ev->key = ev->aor = stub_str(keys[aor]);
	ev->hash = hash_of(aor);
	ev->call_id = STR("c");
	ev->reason = CN_REASON_NEW;
	ev->contacts = s->contacts;
	for(i = 0; i < CONTACTS; i++) {
		struct cn_contact *c = &s->contacts[ev->contact_count];

		if(!(contacts & 1 << i))
			continue;
		c->uri = stub_str(uris[i]);
		c->expires = 3600;
		c->reason = CN_REASON_NEW;
		ev->contact_count++;
	}
	return ev;
}

static int contacts_of(const char *digest_text)
{
	int i, contacts = 0;

	for(i = 0; i < CONTACTS; i++) {
		if(cn_contacts_overlap(digests[i], digest_text))
			contacts |= 1 << i;
	}
	return contacts;
}

static int contacts_of_event(const struct cn_event *ev)
{
	char text[CN_CONTACTS_MAX + 1];

	cn_contacts_write(ev, text);
	return contacts_of(text);
}

void write_body(const struct cn_event *ev, char *body, size_t size)
{
	snprintf(body, size, "%d %d %d %" PRId64 " %s", aor_of(ev->key.s),
			contacts_of_event(ev), ev->kind, ev->seq, ev->id);
}

int parked(void)
{
	int i, n = 0;

	for(i = 0; i < request_count; i++)
		n += requests[i].parked;
	return n;
}

static void note_number(int64_t seq)
{
	if(seq > world->highest) {
		world->highest = seq;
		return;
	}
	check(!db.loaded || world->killed_in_trouble);
	world->low[world->low_count++ % REQUESTS_MAX] = seq;
}

bool is_low(int64_t seq)
{
	int i;

	for(i = 0; i < world->low_count && i < REQUESTS_MAX; i++) {
		if(world->low[i] == seq)
			return true;
	}
	return false;
}

void do_register(int aor, int contacts, bool defers)
{
	struct scratch s;
	struct cn_event *ev = make(&s, aor, contacts);
	struct request *r = &requests[request_count];
	struct cn_waiter *waiter = NULL;
	struct cn_job *job = NULL;
	char text[100];
	int i;

	if(request_count == REQUESTS_MAX || parked() >= 10)
		return;
	for(i = 0; i < 3; i++) {
		str body, none = NO_STR;
		enum cn_entry entry;

		ev->seq = cn_number_next();
		note_number(ev->seq);
		write_body(ev, text, sizeof(text));
		body = stub_str(text);
		meanwhile(5);
		if(cn_index_joinable(ev)) {
			waiter = cn_waiter_new(ev, &none);
		} else {
			check(cn_job_new(ev, &body, &none, defers, &job) == CN_CAUSE_none);
			waiter = cn_job_waiter(job);
		}
		waiter->tm_index = (unsigned)request_count;
		*r = (struct request){.parked = true,
				.aor = aor,
				.contacts = contacts,
				.parked_us = world->now_us,
				.deadline_us = waiter->block ? cn_job_deadline_us(waiter->block)
											 : world->now_us
													   + stub_limits.timeout_ms * 1000,
				.strange = database_trouble()};
		request_count++;
		meanwhile(5);
		job = waiter->block;
		entry = cn_index_enter(ev, waiter);
		trace("REGISTER %s %d%s seq %" PRId64 ": %d\n", keys[aor], contacts,
				defers ? " defer" : "", ev->seq, entry);
		if(entry == CN_ENTERED)
			cn_order_go(job);
		if(entry == CN_ENTERED || entry == CN_WAITS || entry == CN_JOINED)
			return;
		request_count--;
		r->parked = false;
		cn_waiter_free(waiter);
		if(entry == CN_CROWDED)
			return;
	}
}

void do_leave(int aor, int contact)
{
	struct scratch s;
	struct cn_event *ev = make(&s, aor, 1 << contact);

	world->bound[aor][contact] = world->gone[aor][contact] = false;
	ev->kind = CN_KIND_EXPIRE;
	trace("leaves: %s %d\n", keys[aor], 1 << contact);
	(void)!cn_outbox_leave(ev);
}

/* Nobody can be heard while the event is given away. */
void do_silent(int aor, int contact)
{
	struct scratch s;
	struct cn_event *ev = make(&s, aor, 1 << contact);

	if(!world->bound[aor][contact] || world->gone[aor][contact])
		return;
	world->gone[aor][contact] = true;
	ev->kind = CN_KIND_OFFLINE;
	trace("is silent: %s %d\n", keys[aor], 1 << contact);
	if(cn_outbox_leave(ev) < 0)
		world->gone[aor][contact] = false;
}

/* Who is refused registers again. */
void do_keepalive(int aor, int contact, bool defers)
{
	if(world->gone[aor][contact])
		do_register(aor, 1 << contact, defers);
}

bool knows(int aor, int contact, int64_t seq)
{
	int i;

	for(i = 0; i < world->accepted_count; i++) {
		const struct accepted *a = &world->accepted[i];

		if(a->aor == aor && a->contacts & 1 << contact
				&& (a->seq >= seq || is_low(a->seq)))
			return true;
	}
	return false;
}

void show(struct cn_job *job, const struct cn_waiter *waiter)
{
	if(job)
		last_shown = job;
	meanwhile(10);
}

/* The answer to a device. */
int cn_park_resume(const struct cn_waiter *waiter)
{
	struct request *r = &requests[waiter->tm_index];
	const struct cn_outcome *outcome = cn_job_outcome(last_shown);
	int64_t seq = cn_job_seq(last_shown);
	int i;

	trace("answered: %s %d seq %" PRId64 " %s, %s\n", keys[r->aor], r->contacts,
			seq, cn_verdict_name(outcome->verdict),
			cn_cause_name(outcome->cause));
	/* one verdict each, in time */
	check(r->parked);
	r->parked = false;
	check(world->now_us <= r->deadline_us + r->excuse_us + LATE_US);
	check(outcome->cause != CN_CAUSE_tls);
	if(outcome->verdict != CN_ACCEPTED && outcome->verdict != CN_DEFERRED)
		return 0;
	for(i = 0; i < CONTACTS; i++) {
		if(!(r->contacts & 1 << i))
			continue;
		world->bound[r->aor][i] = true;
		world->back += world->gone[r->aor][i];
		world->gone[r->aor][i] = false;
		world->saved[r->aor][i] = seq;
		if(outcome->verdict == CN_ACCEPTED)
			check(knows(r->aor, i, seq));
	}
	if(outcome->verdict == CN_DEFERRED) {
		check(world->told_count < TOLD_MAX);
		world->told[world->told_count++] =
				(struct told){r->aor, r->contacts, seq};
		world->deferred++;
	}
	return 0;
}

void cn_restart_begin(const str *key, unsigned dialog, unsigned cseq)
{
}

void cn_restart_end(const str *key, unsigned dialog)
{
}

void cn_alive_end(const char *key, const char *about)
{
	int contacts = contacts_of(about), aor = aor_of(key), i;

	meanwhile(20);
	for(i = 0; i < CONTACTS; i++) {
		if(contacts & 1 << i && world->gone[aor][i])
			world->bound[aor][i] = world->gone[aor][i] = false;
	}
	meanwhile(20);
}

bool cn_usrloc_is_live(const char *key, const char *about)
{
	int contacts = contacts_of(about), aor = aor_of(key), i;
	bool live = false;

	for(i = 0; i < CONTACTS; i++)
		live |= contacts & 1 << i && world->bound[aor][i]
				&& !world->gone[aor][i];
	meanwhile(20);
	return live;
}

bool cn_location_is_back(const char *aor, const char *about, int64_t since_s)
{
	return cn_usrloc_is_live(aor, about);
}

int cn_location_take_expired(void)
{
	return 0;
}

bool cn_usrloc_came_here(const char *key, const char *about, int64_t since_s)
{
	return false;
}
