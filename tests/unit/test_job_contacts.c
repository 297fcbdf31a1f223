/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Which contacts an event is about; copies of events. */

#include <stdlib.h>
#include <string.h>

#include "job_contacts.h"
#include "base_conf.h"

#include "events.h"
#include "stubs.h"

struct cn_conf cn_conf;

uint32_t cryptorand(void)
{
	return 4;
}

static void about(char *text, enum cn_kind kind, int n, const char **uris,
		const char **instances)
{
	struct cn_contact contacts[64];
	struct cn_event ev;
	int i;

	memset(&ev, 0, sizeof(ev));
	memset(contacts, 0, sizeof(contacts));
	for(i = 0; i < n; i++) {
		contacts[i].uri.s = (char *)uris[i % 4];
		contacts[i].uri.len = strlen(uris[i % 4]);
		if(instances && instances[i % 4]) {
			contacts[i].instance.s = (char *)instances[i % 4];
			contacts[i].instance.len = strlen(instances[i % 4]);
		}
		contacts[i].reason = CN_REASON_NEW;
	}
	ev.kind = kind;
	ev.contacts = contacts;
	ev.contact_count = n;
	cn_contacts_write(&ev, text);
}

static const char *abcd[] = {"sip:a@h", "sip:b@h", "sip:c@h", "sip:d@h"};
static const char *dcba[] = {"sip:d@h", "sip:c@h", "sip:b@h", "sip:a@h"};

static void a_part_is_within_the_whole(void **state)
{
	char one[CN_CONTACTS_MAX + 1], all[CN_CONTACTS_MAX + 1], other[CN_CONTACTS_MAX + 1];

	(void)state;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	about(one, CN_KIND_REGISTER, 1, abcd, NULL);
	about(all, CN_KIND_REGISTER, 4, dcba, NULL);
	about(other, CN_KIND_REGISTER, 1, dcba, NULL);
	assert_true(cn_contacts_within(one, all));
	assert_false(cn_contacts_within(all, one));
	assert_false(cn_contacts_within(one, other));
	assert_true(cn_contacts_within(all, all));
	assert_true(cn_contacts_within("", one));
}

static void what_has_left_is_what_had_registered(void **state)
{
	char came[CN_CONTACTS_MAX + 1], left[CN_CONTACTS_MAX + 1];

	(void)state;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	about(came, CN_KIND_REGISTER, 1, abcd, NULL);
	about(left, CN_KIND_UNREGISTER, 1, abcd, NULL);
	assert_string_equal(came, left);
}

static void the_identity_decides_what_is_the_same(void **state)
{
	static const char *x[] = {"<urn:x>", "<urn:x>", "<urn:x>", "<urn:x>"};
	static const char *bare[] = {"urn:x", "urn:x", "urn:x", "urn:x"};
	static const char *empty[] = {"<>", "<>", "<>", "<>"};
	char a[CN_CONTACTS_MAX + 1], d[CN_CONTACTS_MAX + 1];

	(void)state;
	cn_conf.identity = CN_IDENTITY_INSTANCE;
	about(a, CN_KIND_REGISTER, 1, abcd, x);
	about(d, CN_KIND_REGISTER, 1, dcba, bare);
	assert_string_equal(a, d);
	about(a, CN_KIND_REGISTER, 1, abcd, empty);
	about(d, CN_KIND_REGISTER, 1, dcba, empty);
	assert_string_not_equal(a, d);
	about(d, CN_KIND_REGISTER, 1, abcd, NULL);
	assert_string_equal(a, d);
	cn_conf.identity = CN_IDENTITY_CONTACT;
	about(a, CN_KIND_REGISTER, 1, abcd, x);
	about(d, CN_KIND_REGISTER, 1, dcba, x);
	assert_string_not_equal(a, d);
	cn_conf.identity = CN_IDENTITY_AOR;
	about(a, CN_KIND_REGISTER, 1, abcd, NULL);
	about(d, CN_KIND_REGISTER, 1, dcba, NULL);
	assert_string_equal(a, d);
}

static void too_many_contacts_are_one_digest(void **state)
{
	char many[CN_CONTACTS_MAX + 1], same[CN_CONTACTS_MAX + 1], few[CN_CONTACTS_MAX + 1];

	(void)state;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	about(many, CN_KIND_REGISTER, 64, abcd, NULL);
	about(same, CN_KIND_REGISTER, 64, abcd, NULL);
	about(few, CN_KIND_REGISTER, 63, abcd, NULL);
	assert_true(strlen(many) <= CN_CONTACTS_MAX);
	assert_true(cn_contacts_within(many, same));
	assert_false(cn_contacts_within(many, few));
}

/* Digests have one length; where one begins within another it is none. */
static void digests_have_one_length(void **state)
{
	char text[CN_CONTACTS_MAX + 1], uri[16];
	const char *uris[4] = {uri, uri, uri, uri};
	size_t i;

	cn_conf.identity = CN_IDENTITY_CONTACT;
	for(i = 0; i < 10000; i++) {
		snprintf(uri, sizeof(uri), "sip:%zu", i);
		about(text, CN_KIND_REGISTER, 1, uris, NULL);
		assert_int_equal(strlen(text), 16);
		assert_int_equal(strspn(text, "0123456789abcdef"), 16);
	}
	about(text, CN_KIND_REGISTER, 4, abcd, NULL);
	assert_int_equal(strlen(text), 4 * 16 + 3);
	about(text, CN_KIND_REGISTER, 15, abcd, NULL);
	assert_int_equal(strlen(text), 15 * 16 + 14);
	assert_null(strchr(text, ':'));
	about(text, CN_KIND_REGISTER, 16, abcd, NULL);
	assert_int_equal(strlen(text), 4 + 16);
	assert_int_equal(strncmp(text, "all:", 4), 0);
}

static void to_overlap_is_to_have_one_in_common(void **state)
{
	static const char *const ab = "000000000000000a 000000000000000b";
	static const char *const bc = "000000000000000b 000000000000000c";
	static const char *const c = "000000000000000c";
	static const struct
	{
		const char *a, *b;
		bool overlap;
	} cases[] = {{ab, bc, true}, {bc, c, true}, {ab, c, false}, {c, c, true},
			{"", c, false}, {"", "", false}, {"all:000000000000000d", c, true},
			{"all:000000000000000d", "", false},
			{"all:000000000000000d", "all:000000000000000e", true},
			/* one is no beginning of another */
			{"000000000000000", c, false}, {"000000000000000c0", c, false}};
	size_t i;

	for(i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(
				cn_contacts_overlap(cases[i].a, cases[i].b), cases[i].overlap);
		assert_int_equal(
				cn_contacts_overlap(cases[i].b, cases[i].a), cases[i].overlap);
	}
	assert_true(cn_contacts_within(c, bc));
	assert_false(cn_contacts_within(bc, c));
	assert_false(cn_contacts_within(ab, bc));
	/* of one that is about too many nobody knows what is in it */
	assert_false(cn_contacts_within(c, "all:000000000000000d"));
	assert_true(
			cn_contacts_within("all:000000000000000d", "all:000000000000000d"));
}

static void what_is_not_new_is_none_of_it(void **state)
{
	struct cn_contact contacts[2];
	struct cn_event ev = {.contacts = contacts, .contact_count = 2};
	char text[CN_CONTACTS_MAX + 1], one[CN_CONTACTS_MAX + 1];

	memset(contacts, 0, sizeof(contacts));
	contacts[0].uri = STR("sip:a@h");
	contacts[1].uri = STR("sip:b@h");
	contacts[1].reason = CN_REASON_NEW;
	cn_contacts_write(&ev, text);
	about(one, CN_KIND_REGISTER, 1, abcd + 1, NULL);
	assert_string_equal(text, one);
	/* who leaves, or is told again, is the one that there is */
	ev.kind = CN_KIND_EXPIRE;
	ev.contact_count = 1;
	about(one, CN_KIND_REGISTER, 1, abcd, NULL);
	cn_contacts_write(&ev, text);
	assert_string_equal(text, one);
}

static void a_copy_needs_nothing_of_the_original(void **state)
{
	char user[] = "gzj", uri[] = "sip:gzj@h";
	struct cn_contact contact;
	struct cn_event ev, *copy;
	void *place;

	(void)state;
	memset(&ev, 0, sizeof(ev));
	memset(&contact, 0, sizeof(contact));
	ev.username.s = user;
	ev.username.len = strlen(user);
	contact.uri.s = uri;
	contact.uri.len = strlen(uri);
	ev.contacts = &contact;
	ev.contact_count = 1;
	place = malloc(cn_event_size(&ev));
	copy = cn_event_copy(&ev, place);
	memset(user, 'x', sizeof(user));
	memset(uri, 'x', sizeof(uri));
	memset(&contact, 0xff, sizeof(contact));
	memset(&ev, 0xff, sizeof(ev));
	assert_int_equal(copy->username.len, 3);
	assert_memory_equal(copy->username.s, "gzj", 3);
	assert_int_equal(copy->contact_count, 1);
	assert_memory_equal(copy->contacts[0].uri.s, "sip:gzj@h", 9);
	free(place);
}

static void backing_off_doubles_up_to_the_cap(void **state)
{
	unsigned dice;
	int n;

	(void)state;
	assert_int_equal(cn_policy_backoff_ms(1, 500, 10000, 0), 500);
	assert_int_equal(cn_policy_backoff_ms(2, 500, 10000, 0), 1000);
	assert_int_equal(cn_policy_backoff_ms(5, 500, 10000, 0), 8000);
	assert_int_equal(cn_policy_backoff_ms(6, 500, 10000, 0), 10000);
	assert_int_equal(cn_policy_backoff_ms(INT32_MAX, 500, INT32_MAX, 0),
			INT32_MAX);
	for(n = 1; n < 40; n++) {
		for(dice = 0; dice < 20000; dice += 7) {
			int ms = cn_policy_backoff_ms(n, 500, 10000, dice);

			assert_in_range(ms, 250, 10000);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(a_part_is_within_the_whole),
			cmocka_unit_test(what_has_left_is_what_had_registered),
			cmocka_unit_test(the_identity_decides_what_is_the_same),
			cmocka_unit_test(too_many_contacts_are_one_digest),
			cmocka_unit_test(digests_have_one_length),
			cmocka_unit_test(to_overlap_is_to_have_one_in_common),
			cmocka_unit_test(what_is_not_new_is_none_of_it),
			cmocka_unit_test(a_copy_needs_nothing_of_the_original),
			cmocka_unit_test(backing_off_doubles_up_to_the_cap)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
