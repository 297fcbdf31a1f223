/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "reg_expired.h"

static int start(void **state)
{
	stub_share_shm(true);
	return cn_expired_init();
}

static int end(void **state)
{
	cn_expired_destroy();
	cn_expired_destroy(); /* twice is allowed */
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static const str key = {"gzj@telecom.com", 15};
static const str contact = {"sip:gzj@172.16.163.3:7000", 25};

static void what_was_noted_is_known_until_it_is_forgotten(void **state)
{
	assert_false(cn_expired_has(&key, &contact));
	cn_expired_forget(&key, &contact);
	cn_expired_note(&key, &contact);
	assert_true(cn_expired_has(&key, &contact));
	cn_expired_note(&key, &contact);
	cn_expired_forget(&key, &contact);
	assert_false(cn_expired_has(&key, &contact));
}

static void others_are_not_known(void **state)
{
	str other_key = STR("gzk@telecom.com");
	str other_contact = STR("sip:gzj@172.16.163.3:7001");

	cn_expired_note(&key, &contact);
	assert_false(cn_expired_has(&other_key, &contact));
	assert_false(cn_expired_has(&key, &other_contact));
	assert_false(cn_expired_has(&contact, &key));
	cn_expired_forget(&other_key, &contact);
	cn_expired_forget(&key, &other_contact);
	assert_true(cn_expired_has(&key, &contact));
}

static void any_bytes_of_any_length(void **state)
{
	char bytes[256];
	int i;

	for(i = 0; i < 256; i++)
		bytes[i] = (char)i;
	for(i = 0; i < 256; i++) {
		str a = stub_exact(bytes, i), b = stub_exact(bytes + 256 - i, i);

		cn_expired_note(&a, &b);
		assert_true(cn_expired_has(&a, &b));
		free(a.s);
		free(b.s);
	}
}

/* A park of cameras: names and addresses in a row. */
static void camera(int i, char text[2][64], str *k, str *c)
{
	snprintf(text[0], 64, "340200000013200%05d@telecom.com", i);
	snprintf(text[1], 64, "sip:340200000013200%05d@10.%d.%d.%d:5060", i,
			i >> 16, i >> 8 & 255, i & 255);
	*k = stub_str(text[0]);
	*c = stub_str(text[1]);
}

static int known(int from, int to)
{
	char text[2][64];
	int i, n = 0;
	str k, c;

	for(i = from; i < to; i++) {
		camera(i, text, &k, &c);
		n += cn_expired_has(&k, &c);
	}
	return n;
}

static void a_park_of_cameras_is_remembered(void **state)
{
	char text[2][64];
	str k, c;
	int i, n;

	for(i = 0; i < 10000; i++) {
		camera(i, text, &k, &c);
		cn_expired_note(&k, &c);
	}
	assert_int_equal(known(10000, 90000), 0);
	n = known(0, 10000);
	/* 10,000 fingerprints at random in 131,072 places: 3.7 % overwritten */
	if(n < 9400)
		fail_msg("of 10000 only %d are remembered", n);
	for(i = 0; i < 10000; i++) {
		camera(i, text, &k, &c);
		cn_expired_forget(&k, &c);
	}
	assert_int_equal(known(0, 10000), 0);
}

static void note_some(void *arg)
{
	int first = 1000 * __atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST), i;
	char text[2][64];
	str k, c;

	for(i = first; i < first + 1000; i++) {
		camera(i, text, &k, &c);
		cn_expired_note(&k, &c);
	}
}

static void all_processes_know_the_same(void **state)
{
	int *next = stub_shared(sizeof(*next));
	pid_t pids[4];
	int i;

	for(i = 0; i < 4; i++)
		pids[i] = stub_fork(note_some, next);
	for(i = 0; i < 4; i++)
		stub_wait(pids[i]);
	assert_in_range(known(0, 4000), 3800, 4000);
}

static void start_without_memory(void)
{
	int err = cn_expired_init();

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_expired_destroy();
}

/* usrloc purges once more when Kamailio ends, after us. */
static void after_the_end_nothing_is_known(void **state)
{
	cn_expired_note(&key, &contact);
	cn_expired_destroy();
	cn_expired_note(&key, &contact);
	cn_expired_forget(&key, &contact);
	assert_false(cn_expired_has(&key, &contact));
	assert_int_equal(cn_expired_init(), 0);
	assert_false(cn_expired_has(&key, &contact));
}

static void without_memory_it_does_not_start(void **state)
{
	cn_expired_destroy();
	assert_int_equal(stub_each_allocation(start_without_memory), 1);
	assert_int_equal(cn_expired_init(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_was_noted_is_known_until_it_is_forgotten),
			TEST(others_are_not_known),
			TEST(any_bytes_of_any_length),
			TEST(a_park_of_cameras_is_remembered),
			TEST(all_processes_know_the_same),
			TEST(after_the_end_nothing_is_known),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
