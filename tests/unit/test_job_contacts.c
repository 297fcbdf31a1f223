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
	cn_about_write(&ev, text);
}

static const char *abcd[] = {"sip:a@h", "sip:b@h", "sip:c@h", "sip:d@h"};
static const char *dcba[] = {"sip:d@h", "sip:c@h", "sip:b@h", "sip:a@h"};

static void a_part_is_within_the_whole(void **state)
{
	char one[CN_ABOUT_MAX + 1], all[CN_ABOUT_MAX + 1], other[CN_ABOUT_MAX + 1];

	(void)state;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	about(one, CN_KIND_REGISTER, 1, abcd, NULL);
	about(all, CN_KIND_REGISTER, 4, dcba, NULL);
	about(other, CN_KIND_REGISTER, 1, dcba, NULL);
	assert_true(cn_about_within(one, all));
	assert_false(cn_about_within(all, one));
	assert_false(cn_about_within(one, other));
	assert_true(cn_about_within(all, all));
	assert_true(cn_about_within("", one));
}

static void what_has_left_is_what_had_registered(void **state)
{
	char came[CN_ABOUT_MAX + 1], left[CN_ABOUT_MAX + 1];

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
	char a[CN_ABOUT_MAX + 1], d[CN_ABOUT_MAX + 1];

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
	char many[CN_ABOUT_MAX + 1], same[CN_ABOUT_MAX + 1], few[CN_ABOUT_MAX + 1];

	(void)state;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	about(many, CN_KIND_REGISTER, 64, abcd, NULL);
	about(same, CN_KIND_REGISTER, 64, abcd, NULL);
	about(few, CN_KIND_REGISTER, 63, abcd, NULL);
	assert_true(strlen(many) <= CN_ABOUT_MAX);
	assert_true(cn_about_within(many, same));
	assert_false(cn_about_within(many, few));
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
			cmocka_unit_test(a_copy_needs_nothing_of_the_original),
			cmocka_unit_test(backing_off_doubles_up_to_the_cap)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
