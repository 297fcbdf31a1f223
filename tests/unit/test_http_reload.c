/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <poll.h>

#include "stubs.h"

#include "admit.h"
#include "base_conf.h"
#include "base_stats.h"
#include "http_breaker.h"
#include "http_room.h"
#include "http_endpoints.h"
#include "http_reload.h"
#include "http_settings.h"

#define LOOK_US (CN_RELOAD_LOOK_MS * 1000)

/* -------- what settings are for -------- */

static int64_t admission_us;

void cn_admission_set_timeout(int64_t timeout_us)
{
	admission_us = timeout_us;
}

void cn_stats_endpoint_reset(int endpoint)
{
}

/* Without core/sr_module.h, whose prototypes differ between versions. */
void *find_module_by_name(const char *name)
{
	return NULL;
}

void *find_param_export(
		void *of, const char *name, unsigned mask, unsigned *type)
{
	return NULL;
}

/* -------- files -------- */

static char path[] = "/tmp/cms_notify-XXXXXX";
static char settings[] = "/tmp/cms_notify-XXXXXX";
static char header[64];
static int64_t now_us = 1;

static void write_file(const char *name, const char *text)
{
	char other[64];
	FILE *file;

	snprintf(other, sizeof(other), "%s.new", name);
	file = fopen(other, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(rename(other, name), 0);
}

static void write_header(const char *text)
{
	write_file(path, text);
}

static int make_file(void **state)
{
	close(mkstemp(path));
	close(mkstemp(settings));
	cn_conf.settings_file = settings;
	snprintf(header, sizeof(header), "X-Key: %s", path);
	cn_conf.http_header_file[0] = header;
	cn_conf.http_header_files = 1;
	return 0;
}

static int remove_file(void **state)
{
	return unlink(path) | unlink(settings);
}

static int start(void **state)
{
	stub_clear_log();
	write_header("one");
	write_file(settings, "timeout = 3000\n");
	cn_conf.cms_url[0] = "http://parameter/";
	cn_conf.endpoints = 1;
	if(cn_limits_init(&cn_conf.limits) < 0
			|| cn_breaker_init(CN_ENDPOINT_SLOTS) < 0
			|| cn_room_init(CN_ENDPOINT_SLOTS, 2, 1, 32) < 0
			|| cn_endpoints_init() < 0)
		return -1;
	return cn_reload_init();
}

static int end(void **state)
{
	cn_reload_destroy();
	cn_endpoints_destroy();
	cn_room_destroy();
	cn_breaker_destroy();
	cn_limits_destroy();
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
	struct cn_fault fault;

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
	struct cn_fault fault;

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

static void assert_in_force(int timeout_ms, int attempt_ms, const char *url)
{
	struct cn_endpoints list;

	assert_int_equal(cn_limits->timeout_ms, timeout_ms);
	assert_int_equal(cn_limits->attempt_timeout_ms, attempt_ms);
	assert_int_equal(admission_us, timeout_ms * 1000);
	cn_endpoints_take(&list);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.url[0], url);
	cn_endpoints_give_back(&list);
}

static void settings_are_over_parameters(void **state)
{
	struct cn_fault fault;

	assert_in_force(3000, 2000, "http://parameter/");
	write_file(settings, "attempt_timeout = 50\ncms_url = https://file/");
	assert_int_equal(cn_reload_ask(&fault), 0);
	assert_in_force(4000, 50, "https://file/");
	write_file(settings, "");
	assert_int_equal(cn_reload_ask(&fault), 0);
	assert_in_force(4000, 2000, "http://parameter/");
	write_file(settings, "timeout = 500");
	look();
	look();
	look();
	assert_in_force(500, 2000, "http://parameter/");
	assert_logged("NOTICE", "files have changed: settings");
}

static void refuse_settings(const char *text, const char *what)
{
	struct cn_fault fault;
	char line[600];

	write_file(settings, text);
	assert_int_equal(cn_reload_ask(&fault), -1);
	snprintf(line, sizeof(line), "settings_file, %s (%s)", what, settings);
	assert_string_equal(fault.text, line);
	assert_in_force(3000, 2000, "http://parameter/");
}

static void all_or_nothing(void **state)
{
	struct cn_fault fault;
	char text[4096];

	refuse_settings("attempt_timeout = 50\ntimeout = 1\n",
			"line 2: timeout must be from 100 to 30000");
	refuse_settings("attempt_timeout = 50\ncms_url = ftp://x/\n",
			"line 2: cms_url: the scheme must be http or https");
	refuse_settings("cms_url = http://a/\ncms_url = http://u:p@b/\n",
			"line 2: cms_url: no user name or password in it, use http_header "
			"for credentials");
	refuse_settings("cms_url = http://a/ http://b/\n",
			"line 1: cms_url: no valid URL, write http://host[:port]/path or "
			"https://...");
	memset(text, 'a', sizeof(text));
	memcpy(text, "cms_url = http://", 17);
	text[sizeof(text) - 1] = '\0';
	refuse_settings(
			text, "line 1: cms_url: it is longer than 2047 characters");
	/* what is right of it, with another file that is wrong */
	write_file(settings, "attempt_timeout = 50\ncms_url = http://file/\n");
	write_header("\n");
	assert_int_equal(cn_reload_ask(&fault), -1);
	assert_non_null(strstr(fault.text, path));
	assert_in_force(3000, 2000, "http://parameter/");
	write_header("one");
	assert_int_equal(cn_reload_ask(&fault), 0);
	assert_in_force(4000, 50, "http://file/");
}

static void a_timeout_must_fit_fr_timer(void **state)
{
	struct cn_fault fault;

	assert_int_equal(cn_settings_set_fr_timer(3499), -1);
	assert_logged("ERROR", "fr_timer");
	stub_clear_log();
	assert_int_equal(cn_settings_set_fr_timer(5000), 0);
	assert_nothing_logged();
	write_file(settings, "timeout = 4501");
	assert_int_equal(cn_reload_ask(&fault), -1);
	assert_non_null(strstr(fault.text, "set timeout to at most 4500"));
	assert_in_force(3000, 2000, "http://parameter/");
	write_file(settings, "timeout = 4500");
	assert_int_equal(cn_reload_ask(&fault), 0);
	assert_in_force(4500, 2000, "http://parameter/");
}

static void a_file_that_is_too_long_or_away_changes_nothing(void **state)
{
	char *text = malloc(CN_SETTINGS_MAX + 1);
	struct cn_fault fault;

	memset(text, '\n', CN_SETTINGS_MAX);
	text[CN_SETTINGS_MAX] = '\0';
	write_file(settings, text);
	assert_int_equal(cn_reload_ask(&fault), -1);
	assert_non_null(strstr(fault.text, "is too long"));
	text[CN_SETTINGS_MAX - 1] = '\0';
	write_file(settings, text);
	assert_int_equal(cn_reload_ask(&fault), 0);
	assert_in_force(4000, 2000, "http://parameter/");
	free(text);
	assert_int_equal(unlink(settings), 0);
	assert_int_equal(cn_reload_ask(&fault), -1);
	assert_non_null(strstr(fault.text, "No such file"));
	assert_in_force(4000, 2000, "http://parameter/");
}

/* Too many have been replaced while POSTs were under way: at the next look that may
 * be over. */
static void what_passes_is_tried_again(void **state)
{
	struct cn_endpoints taken[CN_ENDPOINT_SLOTS];
	struct cn_fault fault;
	char text[40];
	int i;

	for(i = 0; i < CN_ENDPOINT_SLOTS; i++) {
		cn_endpoints_take(&taken[i]);
		snprintf(text, sizeof(text), "cms_url = http://%d/", i);
		write_file(settings, text);
		if(i < CN_ENDPOINT_SLOTS - 1)
			assert_int_equal(cn_reload_ask(&fault), 0);
	}
	assert_int_equal(cn_reload_ask(&fault), -1);
	assert_non_null(strstr(fault.text, "try again in some seconds"));
	for(i = 0; i < 5; i++)
		look();
	assert_in_force(4000, 2000, "http://30/");
	assert_nothing_logged();
	for(i = 0; i < CN_ENDPOINT_SLOTS; i++)
		cn_endpoints_give_back(&taken[i]);
	look();
	assert_in_force(4000, 2000, "http://31/");
}

static void what_is_wrong_at_the_start_is_told(void **state)
{
	cn_reload_destroy();
	write_file(settings, "\nhush\n");
	assert_int_equal(cn_reload_init(), -1);
	assert_logged("ERROR", "line 2 is not of the form");
	cn_reload_destroy();
	stub_clear_log();
	write_file(settings, "");
	cn_conf.endpoints = 0;
	assert_int_equal(cn_reload_init(), -1);
	assert_logged("ERROR", "cms_url is not set, neither by modparam() nor in ");
	cn_reload_destroy();
	stub_clear_log();
	cn_conf.settings_file = NULL;
	cn_conf.endpoints = 1;
	cn_conf.cms_url[0] = "cms";
	assert_int_equal(cn_reload_init(), -1);
	assert_logged("ERROR", "cms_url number 1: no valid URL");
	cn_conf.settings_file = settings;
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
			TEST(settings_are_over_parameters),
			TEST(all_or_nothing),
			TEST(a_timeout_must_fit_fr_timer),
			TEST(a_file_that_is_too_long_or_away_changes_nothing),
			TEST(what_passes_is_tried_again),
			TEST(what_is_wrong_at_the_start_is_told),
			cmocka_unit_test(without_shared_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
