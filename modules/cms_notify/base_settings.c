/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads the lines of the file of settings. In the main process, and where it is read
 * again. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/sr_module.h"

#include "base_settings.h"

/* Of a name that is shown: whatever is longer is none. */
#define CN_NAME_MAX 32

struct reader
{
	struct cn_settings *settings;
	struct cn_fault *fault;
	int line;
	int seen_at[CN_LIMIT_ROWS]; /* lines of the limits; 0: none */
};

/* A byte-order mark, as Windows' editors write it. */
static char *after_mark(char *text, size_t *len)
{
	static const char mark[] = "\xef\xbb\xbf";

	if(*len < 3 || memcmp(text, mark, 3) != 0)
		return text;
	*len -= 3;
	return text + 3;
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while(end > text && strchr(" \t\r", end[-1]))
		end--;
	*end = '\0';
	return text + strspn(text, " \t");
}

static bool is_text(const char *line, size_t len)
{
	size_t i;

	for(i = 0; i < len; i++) {
		unsigned char c = line[i];

		if((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static bool is_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";

	return name[0] != '\0' && name[strspn(name, letters)] == '\0'
		   && strlen(name) <= CN_NAME_MAX;
}

static int add_url(struct reader *r, char *value)
{
	struct cn_settings *s = r->settings;

	/* the first one of the file */
	if(s->urls > 0 && s->url_line[0] == 0)
		s->urls = 0;
	if(s->urls == CN_ENDPOINTS_MAX)
		return cn_refuse(r->fault, "line %d: at most %d cms_url, remove some",
				r->line, CN_ENDPOINTS_MAX);
	s->url_line[s->urls] = r->line;
	s->url[s->urls++] = value;
	return 0;
}

static int set_limit(
		struct reader *r, const struct cn_limit *limit, const char *value)
{
	int *seen = &r->seen_at[cn_limit_index(limit)];
	char *end;
	long n;

	if(*seen)
		return cn_refuse(r->fault, "line %d: %s is also in line %d, remove one",
				r->line, limit->name, *seen);
	*seen = r->line;
	errno = 0;
	n = strtol(value, &end, 10);
	if(value[0] < '0' || value[0] > '9' || *end != '\0')
		return cn_refuse(r->fault,
				"line %d: %s must be a number, with nothing behind it", r->line,
				limit->name);
	if(errno || n < limit->min || n > limit->max)
		return cn_refuse(r->fault, "line %d: %s must be from %d to %d", r->line,
				limit->name, limit->min, limit->max);
	cn_limit_set_value(&r->settings->limits, limit, (int)n);
	return 0;
}

static int refuse_name(struct reader *r, char *name)
{
	struct sr_module *module = find_module_by_name("cms_notify");
	modparam_t type;

	if(module
			&& find_param_export(module, name, PARAM_STRING | PARAM_INT, &type))
		return cn_refuse(r->fault,
				"line %d: %s cannot change while Kamailio runs, set it by "
				"modparam() and restart",
				r->line, name);
	return cn_refuse(
			r->fault, "line %d: there is no setting %s", r->line, name);
}

/* @param line without control characters but tabs */
static int read_line(struct reader *r, char *line)
{
	const struct cn_limit *limit;
	char *name, *value;

	line = trim(line);
	if(line[0] == '\0' || line[0] == '#')
		return 0;
	value = strchr(line, '=');
	if(value)
		*value++ = '\0';
	name = trim(line);
	if(value == NULL || !is_name(name))
		return cn_refuse(r->fault,
				"line %d is not of the form \"name = value\"", r->line);
	value = trim(value);
	if(value[0] == '\0')
		return cn_refuse(r->fault, "line %d: %s has no value", r->line, name);
	if(strcmp(name, "cms_url") == 0)
		return add_url(r, value);
	limit = cn_limit_find(name);
	return limit ? set_limit(r, limit, value) : refuse_name(r, name);
}

int cn_settings_parse(struct cn_settings *settings, char *text, size_t len,
		struct cn_fault *fault)
{
	struct reader r = {.settings = settings, .fault = fault};
	char *line = after_mark(text, &len), *end = line + len;
	int err = 0;

	while(line < end && err == 0) {
		char *newline = memchr(line, '\n', end - line);
		char *last = newline ? newline : end;

		r.line++;
		if(last > line && last[-1] == '\r')
			last--;
		if(!is_text(line, last - line))
			return cn_refuse(fault,
					"line %d has a control character, it is no text", r.line);
		*last = '\0';
		err = read_line(&r, line);
		line = newline ? newline + 1 : end;
	}
	return err;
}
