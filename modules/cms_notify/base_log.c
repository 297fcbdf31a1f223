/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes Kamailio's log as the core does, but clean. In every process. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/timer.h"

#include "base_log.h"
#include "base_utf8.h"

#define CN_LINE_MAX 4096 /* what is longer is cut */

/* Entries that a process writes in a second, for whatever a stranger sends: the
 * parser explains one bad byte in up to ten lines, before the script can drop
 * anything. What the script and this module say is not among them, nor what is
 * for debugging. */
#define CN_PARSER_LINES 3
#define CN_OTHER_LINES 10

static struct
{
	bool limited;
	unsigned second;
	int parser;
	int others;
	int left_out;
} written_;

static void write_line(const ksr_logdata_t *entry, const char *line)
{
	if(!log_stderr) {
		_km_log_func(entry->v_facility, "%s: %s\n", entry->v_lname, line);
		return;
	}
	if(log_color)
		dprint_color(entry->v_level);
	fprintf(stderr, "%2d(%d) %s: %s\n", process_no, my_pid(), entry->v_lname,
			line);
	if(log_color)
		dprint_color_reset();
}

static bool is_limited(const ksr_logdata_t *entry)
{
	return written_.limited && entry->v_level < L_DBG
		   && strcmp(entry->v_mname, "cms_notify") != 0
		   && strcmp(entry->v_mname, "xlog") != 0;
}

static bool is_of_parser(const ksr_logdata_t *entry)
{
	return strstr(entry->v_fname, "core/parser/") != NULL;
}

/* Says with the first entry of a later second what was left out. */
static void begin_second(unsigned now, const ksr_logdata_t *entry)
{
	ksr_logdata_t note = *entry;
	char text[80];

	if(written_.left_out > 0) {
		snprintf(text, sizeof(text),
				"cms_notify: %d more entries were left out", written_.left_out);
		note.v_lname = "WARNING";
		write_line(&note, text);
	}
	memset(&written_, 0, sizeof(written_));
	written_.limited = true;
	written_.second = now;
}

/* One of too many? */
static bool is_left_out(const ksr_logdata_t *entry)
{
	unsigned now;
	bool fits;

	if(!is_limited(entry))
		return false;
	now = get_ticks();
	if(now != written_.second)
		begin_second(now, entry);
	fits = is_of_parser(entry) ? written_.parser++ < CN_PARSER_LINES
							   : written_.others++ < CN_OTHER_LINES;
	written_.left_out += !fits;
	return !fits;
}

/* What a printf() has written into a place of that size. */
static int written(int n, int size)
{
	if(n < 0)
		return 0;
	return n < size ? n : size - 1;
}

/* Called by the macros of dprint.h. */
static void log_entry(ksr_logdata_t *entry, const char *format, ...)
{
	static char raw[CN_LINE_MAX + 1];
	static char line[CN_UTF8_SHOWN * CN_LINE_MAX + 1];
	str text = {raw, 0};
	va_list args;
	int room;

	if(is_left_out(entry))
		return;
	text.len = written(snprintf(raw, sizeof(raw), "%.*s%s%s%s", LOGV_PREFIX_LEN,
							   LOGV_PREFIX_STR, entry->v_locinfo, entry->v_func,
							   *entry->v_func ? _FUNC_SUFFIX_ : ""),
			sizeof(raw));
	room = sizeof(raw) - text.len;
	va_start(args, format);
	text.len += written(vsnprintf(raw + text.len, room, format, args), room);
	va_end(args);
	if(text.len > 0 && raw[text.len - 1] == '\n')
		text.len--;
	line[cn_utf8_show(&text, line)] = '\0';
	write_line(entry, line);
}

void cn_log_init(void)
{
	if(_ksr_slog_func == NULL)
		_ksr_slog_func = log_entry;
}

void cn_log_limit(void)
{
	written_.limited = true;
}

void cn_log_destroy(void)
{
	if(_ksr_slog_func == log_entry)
		_ksr_slog_func = NULL;
}
