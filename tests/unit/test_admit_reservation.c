/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "admit_reservation.h"

#define SECOND 1000000
#define NOW (1000 * (int64_t)SECOND)
#define PRECISION (SECOND / 3)

static int start(void **state)
{
	return cn_reservation_init();
}

static int end(void **state)
{
	cn_reservation_destroy();
	cn_reservation_destroy(); /* twice is allowed */
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static uint64_t device(const char *format, int n)
{
	char name[64];
	str s = {name, snprintf(name, sizeof(name), format, n)};

	return cn_reservation_device(&s);
}

static void give(uint64_t d, int64_t due, int64_t stale_us)
{
	cn_reservation_give(d, (struct cn_reservation){due, false}, stale_us);
}

static bool has(uint64_t d, int64_t due)
{
	int64_t at = cn_reservation_of(d).due_us;

	return at <= due && at > due - PRECISION;
}

static void a_ticket_says_when(void **state)
{
	uint64_t d = device("d%d", 1);

	assert_int_equal(cn_reservation_of(d).due_us, 0);
	give(d, NOW + 5 * SECOND, NOW);
	assert_true(has(d, NOW + 5 * SECOND));
	assert_int_equal(cn_reservation_of(device("d%d", 2)).due_us, 0);
}

static void the_latest_one_counts(void **state)
{
	uint64_t d = device("d%d", 1);
	int i;

	for(i = 1; i < 100; i++) {
		give(d, NOW + i * (int64_t)SECOND, NOW);
		assert_true(has(d, NOW + i * (int64_t)SECOND));
	}
}

static void who_is_overdue_is_remembered(void **state)
{
	uint64_t d = device("d%d", 1);
	struct cn_reservation r = {NOW + 5 * SECOND, true};

	assert_false(cn_reservation_of(d).overdue);
	cn_reservation_give(d, r, NOW);
	assert_true(cn_reservation_of(d).overdue);
	assert_true(has(d, r.due_us));
	r.overdue = false;
	cn_reservation_give(d, r, NOW);
	assert_false(cn_reservation_of(d).overdue);
}

static void years_are_no_limit(void **state)
{
	int64_t due = 15 * 365 * 86400 * (int64_t)SECOND;

	give(1, due, due - SECOND);
	assert_true(has(1, due));
}

/* Numbered devices, of any pattern: hardly one is taken for another, and most
 * have a place. */
static void a_fleet_has_its_tickets(void **state)
{
	static const char *const names[] = {
			"d%d@sip.example.com", "%020d@telecom.com", "3402000000%d@34020"};
	const int count = 80000;
	size_t f;
	int i, found;

	for(f = 0; f < sizeof(names) / sizeof(names[0]); f++) {
		cn_reservation_destroy();
		assert_int_equal(cn_reservation_init(), 0);
		for(i = 0; i < count; i++)
			give(device(names[f], i), NOW + i * 2000, NOW);
		for(i = found = 0; i < count; i++)
			found += has(device(names[f], i), NOW + i * 2000);
		assert_in_range(found, count * 95 / 100, count);
		for(i = found = 0; i < count; i++)
			found += cn_reservation_of(device(names[f], count + i)).due_us != 0;
		assert_in_range(found, 0, count / 1000);
	}
}

static void with_no_room_the_first_keep_theirs(void **state)
{
	const int more = 4 * CN_RESERVATIONS;
	int i, found;

	for(i = 0; i < more; i++)
		give(device("d%d", i), NOW + 100 * SECOND, NOW);
	for(i = found = 0; i < CN_RESERVATIONS / 4; i++)
		found += has(device("d%d", i), NOW + 100 * SECOND);
	assert_in_range(found, CN_RESERVATIONS / 4 * 99 / 100, CN_RESERVATIONS / 4);
}

static void old_ones_make_room(void **state)
{
	const int64_t later = NOW + 200 * SECOND;
	int i, found;

	for(i = 0; i < 4 * CN_RESERVATIONS; i++)
		give(device("d%d", i), NOW + 100 * SECOND, NOW);
	for(i = 0; i < 1000; i++)
		give(device("new%d", i), later, NOW + 101 * SECOND);
	for(i = found = 0; i < 1000; i++)
		found += has(device("new%d", i), later);
	assert_in_range(found, 990, 1000);
}

static void any_bytes_of_any_length(void **state)
{
	char bytes[256];
	int i;

	for(i = 0; i < 256; i++)
		bytes[i] = (char)i;
	for(i = 0; i < 256; i++) {
		str s = stub_exact(bytes, i);
		uint64_t d = cn_reservation_device(&s);

		assert_int_equal(cn_reservation_of(d).due_us, 0);
		give(d, NOW, 0);
		assert_true(has(d, NOW));
		free(s.s);
	}
}

static void scenario(void)
{
	if(cn_reservation_init() == 0)
		give(1, NOW, 0);
	cn_reservation_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_reservation_destroy();
	assert_int_equal(stub_each_allocation(scenario), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_ticket_says_when),
			TEST(the_latest_one_counts),
			TEST(who_is_overdue_is_remembered),
			TEST(years_are_no_limit),
			TEST(a_fleet_has_its_tickets),
			TEST(with_no_room_the_first_keep_theirs),
			TEST(old_ones_make_room),
			TEST(any_bytes_of_any_length),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
