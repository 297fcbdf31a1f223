/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes digests of contacts, and compares them. In every process. */

#include <string.h>

#include "job_contacts.h"
#include "base_conf.h"

#define CN_DIGEST_LEN 16
#define CN_ALL "all:" /* one of them all */

static uint64_t add_contact(uint64_t hash, const struct cn_contact *c)
{
	str instance = cn_bare_instance(&c->instance);

	if(cn_conf.identity == CN_IDENTITY_AOR)
		return hash;
	if(cn_conf.identity != CN_IDENTITY_INSTANCE || instance.len == 0)
		return cn_digest(hash, c->uri.s, c->uri.len);
	return cn_digest(hash, instance.s, instance.len);
}

static char *put_digest(char *to, const char *before, uint64_t hash)
{
	to = cn_put_hex(stpcpy(to, before), hash, CN_DIGEST_LEN);
	*to = '\0';
	return to;
}

void cn_contacts_write(const struct cn_event *ev, char *text)
{
	uint64_t all = CN_DIGEST_BASE;
	bool fits = true;
	char *p = text;
	int i;

	text[0] = '\0';
	for(i = 0; i < ev->contact_count; i++) {
		const struct cn_contact *c = &ev->contacts[i];

		/* a register event names the new ones, the others the only one */
		if(ev->kind == CN_KIND_REGISTER && c->reason == CN_REASON_NONE)
			continue;
		all = add_contact(all, c);
		fits = fits && p - text + 1 + CN_DIGEST_LEN <= CN_CONTACTS_MAX;
		if(fits)
			p = put_digest(
					p, p > text ? " " : "", add_contact(CN_DIGEST_BASE, c));
	}
	if(!fits)
		put_digest(text, CN_ALL, all);
}

static bool is_all(const char *text)
{
	return strncmp(text, CN_ALL, sizeof(CN_ALL) - 1) == 0;
}

/* Digests have one length: one is found in a text where it begins a word. */
static bool has_digest(const char *text, const char *digest, size_t len)
{
	const char *p = text;

	for(;;) {
		size_t n = strcspn(p, " ");

		if(n == len && memcmp(p, digest, len) == 0)
			return true;
		if(p[n] == '\0')
			return false;
		p += n + 1;
	}
}

bool cn_contacts_overlap(const char *a, const char *b)
{
	const char *p = a;

	if(*a == '\0' || *b == '\0')
		return false;
	if(is_all(a) || is_all(b))
		return true;
	for(;;) {
		size_t n = strcspn(p, " ");

		if(has_digest(b, p, n))
			return true;
		if(p[n] == '\0')
			return false;
		p += n + 1;
	}
}

bool cn_contacts_within(const char *part, const char *whole)
{
	while(*part) {
		size_t n = strcspn(part, " ");

		if(!has_digest(whole, part, n))
			return false;
		part += n + strspn(part + n, " ");
	}
	return true;
}
