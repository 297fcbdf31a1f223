/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Stamps events with an id and a time, copies them. In every process. */

#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>

#include "../../core/rand/cryptorand.h"

#include "job_event.h"

#define CN_SEED_LEN 24 /* of the id's digits */
#define CN_SECOND_LEN (CN_TIME_LEN - (int)sizeof(".123Z") + 1)

/* 96 random bits a process, then a counter: as unique as a random id, without
 * a system call for each event. */
static struct
{
	bool seeded;
	char seed[CN_SEED_LEN];
	uint32_t counter;
} ids;

/* The second that the last event was of, as text. */
static struct
{
	time_t s;
	char text[CN_SECOND_LEN + 1];
} second;

static void forget_seed(void)
{
	ids.seeded = false;
}

/* What this process uses must not be used by those that it forks. */
static void seed_ids(void)
{
	static bool forgets;
	uint32_t random[CN_SEED_LEN / 8];
	size_t i;

	if(getrandom(random, sizeof(random), 0) != sizeof(random)) {
		for(i = 0; i < sizeof(random) / sizeof(random[0]); i++)
			random[i] = cryptorand();
	}
	for(i = 0; i < sizeof(random) / sizeof(random[0]); i++)
		cn_put_hex(ids.seed + i * 8, random[i], 8);
	ids.counter = 0;
	if(!forgets)
		forgets = pthread_atfork(NULL, NULL, forget_seed) == 0;
	ids.seeded = forgets;
}

static void write_time(char *text)
{
	struct timeval tv;
	struct tm tm;
	int ms;

	gettimeofday(&tv, NULL);
	if(tv.tv_sec != second.s || second.text[0] == '\0') {
		gmtime_r(&tv.tv_sec, &tm);
		strftime(second.text, sizeof(second.text), "%Y-%m-%dT%H:%M:%S", &tm);
		second.s = tv.tv_sec;
	}
	ms = (int)(tv.tv_usec / 1000);
	memcpy(text, second.text, CN_SECOND_LEN);
	text += CN_SECOND_LEN;
	*text++ = '.';
	*text++ = (char)('0' + ms / 100);
	*text++ = (char)('0' + ms / 10 % 10);
	*text++ = (char)('0' + ms % 10);
	memcpy(text, "Z", sizeof("Z"));
}

void cn_event_stamp(struct cn_event *ev)
{
	char *p = ev->id;

	if(!ids.seeded)
		seed_ids();
	memcpy(p, ids.seed, CN_SEED_LEN);
	p = cn_put_hex(p + CN_SEED_LEN, ids.counter++, CN_ID_LEN - CN_SEED_LEN);
	*p = '\0';
	write_time(ev->time);
}

/* Where the strings of an event and of a contact are. */
static const size_t event_strings[] = {offsetof(struct cn_event, key),
		offsetof(struct cn_event, aor), offsetof(struct cn_event, username),
		offsetof(struct cn_event, domain), offsetof(struct cn_event, auth_user),
		offsetof(struct cn_event, realm), offsetof(struct cn_event, source_ip),
		offsetof(struct cn_event, user_agent),
		offsetof(struct cn_event, call_id)};
static const size_t contact_strings[] = {offsetof(struct cn_contact, uri),
		offsetof(struct cn_contact, instance),
		offsetof(struct cn_contact, received),
		offsetof(struct cn_contact, path)};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static str *string_at(void *thing, size_t offset)
{
	return (str *)((char *)thing + offset);
}

static size_t strings_size(void *thing, const size_t *offsets, size_t count)
{
	size_t size = 0, i;

	for(i = 0; i < count; i++)
		size += string_at(thing, offsets[i])->len;
	return size;
}

/* Let the strings of a copy point to copies. @return after the last one */
static char *copy_strings(
		void *thing, const size_t *offsets, size_t count, char *p)
{
	size_t i;

	for(i = 0; i < count; i++) {
		str *s = string_at(thing, offsets[i]);

		if(s->len > 0)
			memcpy(p, s->s, s->len);
		s->s = p;
		p += s->len;
	}
	return p;
}

size_t cn_event_size(const struct cn_event *ev)
{
	size_t size = sizeof(*ev) + ev->contact_count * sizeof(*ev->contacts);
	int i;

	size += strings_size((void *)ev, event_strings, COUNT(event_strings));
	for(i = 0; i < ev->contact_count; i++)
		size += strings_size(
				&ev->contacts[i], contact_strings, COUNT(contact_strings));
	return size;
}

struct cn_event *cn_event_copy(const struct cn_event *ev, void *place)
{
	struct cn_event *copy = place;
	char *p;
	int i;

	*copy = *ev;
	copy->contacts = (struct cn_contact *)(copy + 1);
	p = (char *)(copy->contacts + ev->contact_count);
	p = copy_strings(copy, event_strings, COUNT(event_strings), p);
	for(i = 0; i < ev->contact_count; i++) {
		copy->contacts[i] = ev->contacts[i];
		p = copy_strings(
				&copy->contacts[i], contact_strings, COUNT(contact_strings), p);
	}
	return copy;
}

str cn_bare_instance(const str *s)
{
	str bare = *s;

	if(bare.len >= 2 && bare.s[0] == '<' && bare.s[bare.len - 1] == '>') {
		bare.s++;
		bare.len -= 2;
	}
	return bare;
}

bool cn_contact_same_instance(const str *a, const str *b)
{
	str x = cn_bare_instance(a), y = cn_bare_instance(b);

	return x.len > 0 && x.len == y.len && memcmp(x.s, y.s, x.len) == 0;
}
