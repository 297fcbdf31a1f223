/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include <syslog.h>

#include "../../core/dprint.h"
#include "../../core/events.h"
#include "../../core/timer.h"

#include "base_log.h"

static ticks_t second = 1;

ticks_t get_ticks(void)
{
	return second;
}

static sr_event_cb_f comes_in;

int sr_event_register_cb(int type, sr_event_cb_f function)
{
	assert_int_equal(type, SREV_NET_DATA_IN);
	comes_in = function;
	return 0;
}

/* What is handled from now on came from there; 0: from nobody. */
static void come_from(int family, uint32_t first, uint32_t second, uint32_t last)
{
	struct receive_info rcv = {.src_ip = {.af = family, .len = 16}};
	sr_event_param_t event = {.rcv = &rcv};

	rcv.src_ip.u.addr32[0] = first;
	rcv.src_ip.u.addr32[1] = second;
	rcv.src_ip.u.addr32[3] = last;
	assert_int_equal(comes_in(&event), 0);
}

static char line[20000];
static int lines, priority;

static void keep_line(int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	priority = level;
	lines++;
}

static int begin(void **state)
{
	_ksr_slog_func = NULL;
	_km_log_func = keep_line;
	log_prefix_val = NULL;
	log_stderr = 0;
	lines = 0;
	second += 1000;
	assert_int_equal(cn_log_init(), 0);
	come_from(0, 0, 0, 0);
	cn_log_limit();
	return 0;
}

static int end(void **state)
{
	cn_log_destroy();
	assert_null(_ksr_slog_func);
	assert_int_equal(stub_shm_blocks(), 0);
	return 0;
}

static void say(int level, char *name, const char *module, const char *file)
{
	ksr_logdata_t entry = {LOG_DAEMON | LOG_ERR, level, name, file, 1, module,
			"f", "where: ", 0, 0};

	_ksr_slog_func(&entry, "%s\n", "what");
}

static void an_entry_is_one_line(void **state)
{
	str prefix = str_init("{1 REGISTER x\r\n ERROR: y} ");

	log_prefix_val = &prefix;
	LM_INFO("a\r\nERROR: b\x1b[2J\x7f\n");
	assert_non_null(strstr(line, "INFO: {1 REGISTER x\\x0d\\x0a ERROR: y} "));
	assert_non_null(strstr(line, "(): a\\x0d\\x0aERROR: b\\x1b[2J\\x7f\n"));
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	assert_int_equal(priority, LOG_DAEMON | LOG_INFO);
	assert_int_equal(lines, 1);
}

static void a_long_one_is_cut(void **state)
{
	char *text = malloc(100000);

	memset(text, '\n', 99999);
	text[99999] = '\0';
	LM_INFO("%s", text);
	free(text);
	assert_in_range(strlen(line), 10000, 4 * 4096 + 20);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void an_engine_of_the_operator_stays(void **state)
{
	ksr_slog_f other = (ksr_slog_f)abort;

	cn_log_destroy();
	_ksr_slog_func = other;
	assert_int_equal(cn_log_init(), 0);
	cn_log_destroy();
	assert_ptr_equal(_ksr_slog_func, other);
	_ksr_slog_func = NULL;
}

static void an_address_makes_one_entry_a_minute(void **state)
{
	int i;

	for(i = 0; i < 1000; i++) {
		come_from(AF_INET, 1, 0, 0);
		say(L_ERR, "ERROR", "core", "core/parser/parse_via.c");
		say(L_WARN, "WARNING", "sanity", "sanity.c");
	}
	/* and how many were left out, which is said once a minute, too */
	assert_int_equal(lines, 2);
	come_from(AF_INET, 2, 0, 0);
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 3);
	assert_string_equal(line, "ERROR: where: f(): what\n");
	second += 59;
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 3);
	second++;
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 5);
}

static void an_ipv6_network_is_an_address(void **state)
{
	int i;

	for(i = 0; i < 100; i++) {
		come_from(AF_INET6, 1, 2, i);
		say(L_ERR, "ERROR", "core", "core/receive.c");
	}
	assert_int_equal(lines, 2);
	come_from(AF_INET6, 1, 3, 0);
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 3);
}

static void many_addresses_make_ten_a_second(void **state)
{
	int i;

	for(i = 0; i < 100; i++) {
		come_from(AF_INET, 7000 + i, 0, 0);
		say(L_ERR, "ERROR", "core", "core/receive.c");
	}
	assert_in_range(lines, 10, 11);
	second++;
	come_from(AF_INET, 8000, 0, 0);
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_in_range(lines, 11, 12);
}

static void of_a_connection_nobody_is_known(void **state)
{
	int i;

	come_from(AF_INET, 1, 0, 0);
	for(i = 0; i < 100; i++) {
		say(L_ERR, "ERROR", "core", "core/tcp_read.c");
		come_from(AF_INET, 100 + i, 0, 0);
	}
	assert_int_equal(lines, 2);
	come_from(AF_INET, 1, 0, 0);
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 3);
}

static void how_many_were_left_out_is_said(void **state)
{
	int i;

	come_from(AF_INET, 1, 0, 0);
	for(i = 0; i < 2; i++)
		say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 1);
	come_from(AF_INET, 1, 0, 0);
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_string_equal(line,
			"WARNING: cms_notify: 1 more entries were left out\n");
	assert_int_equal(lines, 2);
}

static void what_is_meant_for_the_operator_is_written(void **state)
{
	int i;

	for(i = 0; i < 100; i++) {
		say(L_ERR, "ERROR", "cms_notify", "job.c");
		say(L_WARN, "WARNING", "xlog", "xlog.c");
		say(L_DBG, "DEBUG", "core", "core/receive.c");
	}
	assert_int_equal(lines, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test_setup_teardown(an_entry_is_one_line, begin, end),
			cmocka_unit_test_setup_teardown(a_long_one_is_cut, begin, end),
			cmocka_unit_test_setup_teardown(
					an_engine_of_the_operator_stays, begin, end),
			cmocka_unit_test_setup_teardown(
					an_address_makes_one_entry_a_minute, begin, end),
			cmocka_unit_test_setup_teardown(
					an_ipv6_network_is_an_address, begin, end),
			cmocka_unit_test_setup_teardown(
					many_addresses_make_ten_a_second, begin, end),
			cmocka_unit_test_setup_teardown(
					of_a_connection_nobody_is_known, begin, end),
			cmocka_unit_test_setup_teardown(
					how_many_were_left_out_is_said, begin, end),
			cmocka_unit_test_setup_teardown(
					what_is_meant_for_the_operator_is_written, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
