/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <poll.h>

#include "stubs.h"

#include "http_reload.h"

#define LOOK_US (CN_RELOAD_LOOK_MS * 1000)

struct cn_conf cn_conf;

static char path[] = "/tmp/cms_notify-XXXXXX";
static char header[64];
static int64_t now_us = 1;

static void write_header(const char *text)
{
	char other[64];
	FILE *file;

	snprintf(other, sizeof(other), "%s.new", path);
	file = fopen(other, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(rename(other, path), 0);
}

static int make_file(void **state)
{
	close(mkstemp(path));
	snprintf(header, sizeof(header), "X-Key: %s", path);
	cn_conf.http_header_file[0] = header;
	cn_conf.http_header_files = 1;
	return 0;
}

static int remove_file(void **state)
{
	return unlink(path);
}

static int start(void **state)
{
	stub_clear_log();
	write_header("one");
	return cn_reload_init();
}

static int end(void **state)
{
	cn_reload_destroy();
	return stub_shm_blocks();
}

static void look(void)
{
	now_us += LOOK_US;
	cn_reload_look(now_us);
}

static bool has_woken(void)
{
	struct pollfd fd = {.fd = cn_reload_fd(), .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

static void who_asks_has_them_read(void **state)
{
	struct cn_files_fault fault;

	assert_int_equal(cn_reload_number(), 0);
	assert_false(has_woken());
	assert_int_equal(cn_reload_ask(&fault), 0);
	assert_int_equal(cn_reload_number(), 1);
	assert_true(has_woken());
	write_header("\n");
	assert_int_equal(cn_reload_ask(&fault), -1);
	assert_non_null(strstr(fault.text, path));
	assert_int_equal(cn_reload_number(), 1);
	assert_nothing_logged();
}

static void a_change_is_noticed_once_it_stays(void **state)
{
	look();
	look();
	assert_int_equal(cn_reload_number(), 0);
	write_header("two");
	look();
	assert_int_equal(cn_reload_number(), 0);
	write_header("three");
	look();
	assert_int_equal(cn_reload_number(), 0);
	assert_nothing_logged();
	/* too early */
	cn_reload_look(now_us + LOOK_US - 1);
	assert_int_equal(cn_reload_number(), 0);
	look();
	assert_int_equal(cn_reload_number(), 1);
	assert_logged("NOTICE", "files have changed");
	look();
	look();
	assert_int_equal(cn_reload_number(), 1);
}

static void what_somebody_asked_for_is_no_change(void **state)
{
	struct cn_files_fault fault;

	write_header("two");
	assert_int_equal(cn_reload_ask(&fault), 0);
	look();
	look();
	look();
	assert_int_equal(cn_reload_number(), 1);
	assert_nothing_logged();
}

static void what_is_wrong_is_told_once(void **state)
{
	int i;

	write_header("\n");
	for(i = 0; i < 5; i++)
		look();
	assert_int_equal(cn_reload_number(), 0);
	assert_logged("ERROR", "stay as they were");
	stub_clear_log();
	write_header("\x01");
	for(i = 0; i < 5; i++)
		look();
	assert_logged("ERROR", "control character");
	stub_clear_log();
	write_header("four");
	look();
	look();
	assert_int_equal(cn_reload_number(), 1);
	assert_logged("NOTICE", "files have changed");
}

static void without_shared_memory_it_does_not_start(void **state)
{
	stub_fail_at(1);
	assert_int_equal(cn_reload_init(), -1);
	assert_logged("ERROR", "shared memory");
	cn_reload_destroy();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(who_asks_has_them_read),
			TEST(a_change_is_noticed_once_it_stays),
			TEST(what_somebody_asked_for_is_no_change),
			TEST(what_is_wrong_is_told_once),
			cmocka_unit_test(without_shared_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
