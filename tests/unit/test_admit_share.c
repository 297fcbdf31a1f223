/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>

#include "stubs.h"

#include "admit_share.h"

static int end(void **state)
{
	cn_share_destroy();
	return stub_shm_blocks();
}

static unsigned share_of(const char *text)
{
	struct ip_addr ip = {.af = strchr(text, ':') ? AF_INET6 : AF_INET};

	assert_int_equal(inet_pton(ip.af, text, ip.u.addr), 1);
	return cn_share_of(&ip);
}

static void begin(int capacity, const char *secret)
{
	assert_int_equal(cn_share_init(capacity, secret), 0);
}

static int take_all(unsigned share)
{
	int n = 0;

	while(cn_share_take(share))
		n++;
	return n;
}

static void an_address_has_a_quarter(void **state)
{
	unsigned one, other;
	int i;

	begin(8256, "a");
	one = share_of("192.0.2.1");
	other = share_of("192.0.2.2");
	assert_int_equal(take_all(one), 2064);
	assert_int_equal(take_all(other), 2064);
	assert_false(cn_share_take(one));
	cn_share_give_back(one);
	assert_true(cn_share_take(one));
	assert_false(cn_share_take(one));
	for(i = 0; i < 2064; i++)
		cn_share_give_back(one);
	assert_int_equal(take_all(one), 2064);
}

static void of_little_it_has_enough_for_a_site(void **state)
{
	begin(8, "a");
	assert_int_equal(take_all(share_of("192.0.2.1")), CN_SHARE_MIN);
}

static void ipv6_counts_by_its_first_half(void **state)
{
	begin(8256, "a");
	assert_int_equal(share_of("2001:db8:1:2::1"), share_of("2001:db8:1:2:f::9"));
	assert_int_not_equal(share_of("2001:db8:1:2::1"), share_of("2001:db8:1:3::1"));
	assert_int_equal(share_of("::ffff:192.0.2.1"), share_of("192.0.2.1"));
	assert_int_not_equal(
			share_of("::ffff:192.0.2.1"), share_of("::ffff:192.0.2.2"));
	assert_int_not_equal(share_of("::ffff:192.0.2.1"), share_of("::fffe:192.0.2.1"));
}

static void addresses_hardly_ever_meet(void **state)
{
	static bool taken[CN_SHARES];
	char text[24];
	int i, met = 0;

	begin(8256, "a");
	memset(taken, 0, sizeof(taken));
	for(i = 0; i < 1000; i++) {
		unsigned share;

		snprintf(text, sizeof(text), "10.0.%d.%d", i / 256, i % 256);
		share = share_of(text);
		met += taken[share];
		taken[share] = true;
	}
	assert_in_range(met, 0, 40);
}

static void where_they_meet_is_another_place_with_each_key(void **state)
{
	unsigned first;

	begin(8256, "a");
	first = share_of("192.0.2.1");
	cn_share_destroy();
	begin(8256, "b");
	assert_int_not_equal(share_of("192.0.2.1"), first);
}

static void without_memory(void **state)
{
	stub_fail_at(1);
	assert_int_equal(cn_share_init(8256, "a"), -1);
	stub_fail_at(0);
	stub_clear_log();
}

#define TEST(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(an_address_has_a_quarter),
			TEST(of_little_it_has_enough_for_a_site),
			TEST(ipv6_counts_by_its_first_half),
			TEST(addresses_hardly_ever_meet),
			TEST(where_they_meet_is_another_place_with_each_key),
			TEST(without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
