/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_stats.h"
#include "http_breaker.h"
#include "http_endpoints.h"
#include "http_room.h"

/* -------- what belongs to a slot -------- */

static int stats_reset[CN_ENDPOINT_SLOTS], breakers_reset[CN_ENDPOINT_SLOTS],
		rooms_reset[CN_ENDPOINT_SLOTS];

void cn_stats_endpoint_reset(int slot)
{
	stats_reset[slot]++;
}

void cn_breaker_reset(int slot)
{
	breakers_reset[slot]++;
}

void cn_room_reset(int slot)
{
	rooms_reset[slot]++;
}

/* -------- help -------- */

static struct cn_endpoints list; /* as it was taken last */

static int start(void **state)
{
	memset(stats_reset, 0, sizeof(stats_reset));
	memset(breakers_reset, 0, sizeof(breakers_reset));
	memset(rooms_reset, 0, sizeof(rooms_reset));
	return cn_endpoints_init();
}

static int end(void **state)
{
	cn_endpoints_destroy();
	return stub_shm_blocks();
}

/* Of one letter each. */
static int set(const char *letters)
{
	static char urls[CN_ENDPOINTS_MAX][16]; /* not what is kept */
	const char *url[CN_ENDPOINTS_MAX];
	int i, n = strlen(letters), err;

	for(i = 0; i < n; i++) {
		snprintf(urls[i], sizeof(urls[i]), "http://%c/", letters[i]);
		url[i] = urls[i];
	}
	err = cn_endpoints_set(url, n);
	memset(urls, 'x', sizeof(urls));
	return err;
}

static struct cn_endpoints take(void)
{
	cn_endpoints_take(&list);
	return list;
}

static struct cn_endpoints look(void)
{
	take();
	cn_endpoints_give_back(&list);
	return list;
}

static int slot_of(const struct cn_endpoints *of, char letter)
{
	int i;

	for(i = 0; i < of->count; i++) {
		if(of->url[i][7] == letter)
			return of->slot[i];
	}
	return -1;
}

static void assert_letters(const struct cn_endpoints *of, const char *letters)
{
	int i;

	assert_int_equal(of->count, strlen(letters));
	for(i = 0; i < of->count; i++)
		assert_int_equal(of->url[i][7], letters[i]);
}

/* -------- tests -------- */

static void their_order_is_kept(void **state)
{
	assert_int_equal(look().count, 0);
	assert_int_equal(set("bac"), 0);
	look();
	assert_letters(&list, "bac");
	assert_string_equal(list.url[0], "http://b/");
}

static void what_stays_keeps_its_slot(void **state)
{
	struct cn_endpoints before;

	assert_int_equal(set("abc"), 0);
	before = look();
	assert_int_equal(set("cxa"), 0);
	look();
	assert_letters(&list, "cxa");
	assert_int_equal(slot_of(&list, 'a'), slot_of(&before, 'a'));
	assert_int_equal(slot_of(&list, 'c'), slot_of(&before, 'c'));
	assert_int_equal(cn_endpoints_find(slot_of(&before, 'a')), 2);
	assert_int_equal(cn_endpoints_find(slot_of(&before, 'c')), 0);
	/* begun once each, as they came */
	assert_int_equal(stats_reset[slot_of(&list, 'a')], 1);
	assert_int_equal(breakers_reset[slot_of(&list, 'a')], 1);
	assert_int_equal(rooms_reset[slot_of(&list, 'a')], 1);
	assert_int_equal(breakers_reset[slot_of(&list, 'x')],
			slot_of(&list, 'x') == slot_of(&before, 'b') ? 2 : 1);
}

static void the_same_list_has_the_same_number(void **state)
{
	unsigned number;

	assert_int_equal(set("ab"), 0);
	number = look().number;
	assert_int_equal(set("ab"), 0);
	assert_int_equal(look().number, number);
	assert_int_equal(set("ba"), 0);
	assert_int_not_equal(look().number, number);
}

static void one_that_is_taken_out_keeps_its_place_while_it_is_in_use(void **state)
{
	struct cn_endpoints old;
	int i;

	assert_int_equal(set("a"), 0);
	old = take();
	for(i = 0; i < 100; i++) {
		assert_int_equal(set(i % 2 ? "b" : "c"), 0);
		assert_int_not_equal(look().slot[0], old.slot[0]);
		assert_int_equal(cn_endpoints_find(old.slot[0]), -1);
	}
	assert_string_equal(old.url[0], "http://a/");
	assert_int_equal(stats_reset[old.slot[0]], 1);
	/* it comes back as a new one */
	assert_int_equal(set("a"), 0);
	assert_int_not_equal(look().slot[0], old.slot[0]);
	cn_endpoints_give_back(&old);
}

static void one_that_is_there_twice_has_two_slots(void **state)
{
	struct cn_endpoints before;

	assert_int_equal(set("aa"), 0);
	before = look();
	assert_int_not_equal(before.slot[0], before.slot[1]);
	assert_int_equal(set("baa"), 0);
	look();
	assert_int_equal(list.slot[1], before.slot[0]);
	assert_int_equal(list.slot[2], before.slot[1]);
}

static void without_a_free_slot_nothing_changes(void **state)
{
	struct cn_endpoints taken[CN_ENDPOINT_SLOTS / CN_ENDPOINTS_MAX];
	const int most = CN_ENDPOINT_SLOTS / CN_ENDPOINTS_MAX;
	int i;

	for(i = 0; i < most; i++) {
		assert_int_equal(set(i % 2 ? "abcdefgh" : "ijklmnop"), 0);
		taken[i] = take();
	}
	assert_int_equal(set("qrstuvwx"), -1);
	assert_int_equal(look().number, taken[most - 1].number);
	/* what needs none goes */
	assert_int_equal(set("hgfedcba"), 0);
	cn_endpoints_give_back(&taken[0]);
	assert_int_equal(set("qrstuvwx"), 0);
	look();
	assert_letters(&list, "qrstuvwx");
	for(i = 1; i < most; i++)
		cn_endpoints_give_back(&taken[i]);
}

/* Somebody takes and gives back while others replace: a list is whole, and what it
 * names is what it was. */
static void use_them(void *arg)
{
	int i, j;

	for(i = 0; i < 20000; i++) {
		struct cn_endpoints mine;

		cn_endpoints_take(&mine);
		check(mine.count == 1 || mine.count == 3);
		for(j = 0; j < mine.count; j++)
			check(mine.url[j][7] == "abc"[j] || mine.url[j][7] == 'd');
		cn_endpoints_give_back(&mine);
	}
}

static void replace_them(void *arg)
{
	int i;

	for(i = 0; i < 20000; i++)
		check(set(i % 2 ? "abc" : "d") == 0);
}

static void several_processes_at_once(void **state)
{
	pid_t pids[3];
	int i;

	cn_endpoints_destroy();
	stub_share_shm(true);
	assert_int_equal(cn_endpoints_init(), 0);
	assert_int_equal(set("d"), 0);
	for(i = 0; i < 3; i++)
		pids[i] = stub_fork(i == 0 ? replace_them : use_them, NULL);
	for(i = 0; i < 3; i++)
		stub_wait(pids[i]);
	cn_endpoints_destroy();
	stub_share_shm(false);
}

static void without_shared_memory_it_does_not_start(void **state)
{
	stub_clear_log();
	stub_fail_at(1);
	assert_int_equal(cn_endpoints_init(), -1);
	cn_endpoints_destroy();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(their_order_is_kept),
			TEST(what_stays_keeps_its_slot),
			TEST(the_same_list_has_the_same_number),
			TEST(one_that_is_taken_out_keeps_its_place_while_it_is_in_use),
			TEST(one_that_is_there_twice_has_two_slots),
			TEST(without_a_free_slot_nothing_changes),
			TEST(several_processes_at_once),
			cmocka_unit_test(without_shared_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
