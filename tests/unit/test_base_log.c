/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include <syslog.h>

#include "../../core/dprint.h"
#include "../../core/timer.h"

#include "base_log.h"

static ticks_t second = 1;

ticks_t get_ticks(void)
{
	return second;
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

/* From now on the first one only. */
static void keep_first(int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if(strstr(line, "left out") == NULL)
		vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	lines++;
}

static int begin(void **state)
{
	_ksr_slog_func = NULL;
	_km_log_func = keep_line;
	log_prefix_val = NULL;
	log_stderr = 0;
	lines = 0;
	second += 2;
	cn_log_init();
	cn_log_limit();
	return 0;
}

static int end(void **state)
{
	cn_log_destroy();
	assert_null(_ksr_slog_func);
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

	_ksr_slog_func = other;
	cn_log_init();
	cn_log_destroy();
	assert_ptr_equal(_ksr_slog_func, other);
	_ksr_slog_func = NULL;
}

static void a_stranger_does_not_fill_the_log(void **state)
{
	int i;

	for(i = 0; i < 1000; i++)
		say(L_ERR, "ERROR", "core", "core/parser/parse_via.c");
	assert_int_equal(lines, 3);
	for(i = 0; i < 1000; i++)
		say(L_WARN, "WARNING", "sanity", "sanity.c");
	assert_int_equal(lines, 13);
	second++;
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 15);
	assert_string_equal(line, "ERROR: where: f(): what\n");
	second++;
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_int_equal(lines, 16);
}

static void how_many_were_left_out_is_said(void **state)
{
	int i;

	for(i = 0; i < 8; i++)
		say(L_ERR, "ERROR", "core", "core/parser/parse_via.c");
	_km_log_func = keep_first;
	second++;
	say(L_ERR, "ERROR", "core", "core/receive.c");
	assert_string_equal(line,
			"WARNING: cms_notify: 5 more entries were left out\n");
	assert_int_equal(lines, 5);
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
					a_stranger_does_not_fill_the_log, begin, end),
			cmocka_unit_test_setup_teardown(
					how_many_were_left_out_is_said, begin, end),
			cmocka_unit_test_setup_teardown(
					what_is_meant_for_the_operator_is_written, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
