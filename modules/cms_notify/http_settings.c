/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads settings and puts them in force. In the main process, the first HTTP process
 * and those that serve RPC. */

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"

#include "admit.h"
#include "http_endpoints.h"
#include "http_files.h"
#include "http_settings.h"
#include "http_setup.h"

/* With the text that it points into. */
struct loaded
{
	struct cn_settings settings;
	char text[CN_SETTINGS_MAX];
};

static int fr_timer_ms = INT_MAX; /* not known yet */

static void take_parameters(struct cn_settings *s)
{
	s->limits = cn_conf.limits;
	s->urls = cn_conf.endpoints;
	memcpy(s->url, cn_conf.cms_url, sizeof(s->url));
}

static int read_file(struct loaded *loaded, struct cn_fault *fault)
{
	const char *path = cn_conf.settings_file;
	struct cn_fault line;
	ssize_t len;

	if(path == NULL)
		return 0;
	len = cn_file_read(
			"settings_file", path, loaded->text, sizeof(loaded->text), fault);
	if(len < 0)
		return -1;
	loaded->text[len] = '\0';
	if(cn_settings_parse(&loaded->settings, loaded->text, len, &line) == 0)
		return 0;
	return cn_refuse(fault, "settings_file, %.300s (%s)", line.text, path);
}

static const char *url_fault(const char *url)
{
	const char *what;

	if(strlen(url) >= CN_URL_MAX)
		return "it is longer than 2047 characters";
	return cn_http_url_ok(url, &what) ? NULL : what;
}

static int check_urls(const struct cn_settings *s, struct cn_fault *fault)
{
	int i;

	if(s->urls == 0)
		return cn_refuse(fault,
				"cms_url is not set, neither by modparam() nor in "
				"settings_file (%s)",
				cn_conf.settings_file);
	for(i = 0; i < s->urls; i++) {
		const char *what = url_fault(s->url[i]);

		if(what && s->url_line[i] > 0)
			return cn_refuse(fault, "settings_file, line %d: cms_url: %s (%s)",
					s->url_line[i], what, cn_conf.settings_file);
		if(what)
			return cn_refuse(fault, "cms_url number %d: %s", i + 1, what);
	}
	return 0;
}

struct cn_settings *cn_settings_load(struct cn_fault *fault)
{
	struct loaded *loaded = calloc(1, sizeof(*loaded));
	struct cn_settings *s;

	if(loaded == NULL) {
		cn_refuse(fault, "out of memory");
		return NULL;
	}
	s = &loaded->settings;
	take_parameters(s);
	if(read_file(loaded, fault) == 0 && check_urls(s, fault) == 0
			&& cn_conf_check_timeout(s->limits.timeout_ms, fr_timer_ms, fault)
					   == 0)
		return s;
	cn_settings_free(s);
	return NULL;
}

/* URLs may have secrets in them. */
void cn_settings_free(struct cn_settings *settings)
{
	struct loaded *loaded = (struct loaded *)settings;

	if(loaded == NULL)
		return;
	explicit_bzero(loaded, sizeof(*loaded));
	free(loaded);
}

int cn_settings_put_in_force(
		const struct cn_settings *settings, struct cn_fault *fault)
{
	if(cn_endpoints_set(settings->url, settings->urls) < 0) {
		cn_refuse(fault,
				"cms_url: POSTs are still under way to too many that have been "
				"replaced, try again in some seconds");
		fault->passes = true;
		return -1;
	}
	cn_limits_set(&settings->limits);
	cn_admission_set_timeout((int64_t)settings->limits.timeout_ms * 1000);
	return 0;
}

int cn_settings_set_fr_timer(int ms)
{
	struct cn_fault fault;

	fr_timer_ms = ms;
	if(cn_conf_check_timeout(cn_limits->timeout_ms, ms, &fault) == 0)
		return 0;
	LM_ERR("%s\n", fault.text);
	return -1;
}
