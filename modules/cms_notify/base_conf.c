/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The parameters: defaults, ranges, and what does not go together. In the main process,
 * before any fork; read by all. */

#include <limits.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/sr_module.h"

#include "base_conf.h"
#include "base_header.h"

/* What the verdict route may take on top of the deadline. */
#define CN_FR_TIMER_MARGIN_MS 500
/* The same, for the outbox: what may be stored after the deadline. */
#define CN_OUTBOX_MARGIN_MS 250

struct cn_conf cn_conf = {
		.limits = {.timeout_ms = 4000,
				.connect_timeout_ms = 1000,
				.attempt_timeout_ms = 2000,
				.connection_lifetime_s = 300,
				.max_answer_size = 16384,
				.breaker_failures = 5,
				.breaker_cooldown_ms = 2000,
				.outbox_max_age_s = 86400,
				.resync_rate = 100,
				.drain_timeout_ms = 3000},
		.http_processes = 2,
		.max_in_flight = 256,
		.max_connections = 32,
		.min_connections = 1,
		.batch_max = 1,
		.queue_size = 8192,
		.identity_name = "contact",
		.http_version_name = "1.1",
		.outbox_table = "cms_outbox",
		.outbox_max = 100000,
		.events_list = "register",
		.history = 32768,
		.flap_limit = 10,
};

static char host_name[HOST_NAME_MAX + 1];

/* One more of a parameter that may be given several times. */
static int add(char **list, int *count, int most, const char *name, void *value)
{
	if(*count == most) {
		LM_ERR("%s: at most %d, remove some\n", name, most);
		return -1;
	}
	list[(*count)++] = value;
	return 0;
}

int cn_conf_add_url(unsigned int type, void *value)
{
	(void)type;
	return add(cn_conf.cms_url, &cn_conf.endpoints, CN_ENDPOINTS_MAX, "cms_url",
			value);
}

int cn_conf_add_header(unsigned int type, void *value)
{
	(void)type;
	return add(cn_conf.http_header, &cn_conf.http_headers, CN_HEADERS_MAX,
			"http_header", value);
}

int cn_conf_add_header_file(unsigned int type, void *value)
{
	(void)type;
	return add(cn_conf.http_header_file, &cn_conf.http_header_files,
			CN_HEADER_FILES_MAX, "http_header_file", value);
}

int cn_conf_add_sign_key_file(unsigned int type, void *value)
{
	(void)type;
	return add(cn_conf.sign_key_file, &cn_conf.sign_key_files,
			CN_SIGN_KEY_FILES_MAX, "sign_key_file", value);
}

int cn_conf_take_text(unsigned int type, void *value)
{
	(void)type;
	(void)value;
	return 0;
}

int cn_conf_refuse_number(unsigned int type, void *value)
{
	(void)type;
	(void)value;
	LM_ERR("quoted: a setting is a number and must be text, write it in double "
		   "quotes: #!define SIP_DOMAINS \"3402000000\"\n");
	return -1;
}

static int check_range(const char *name, int value, int min, int max)
{
	if(value >= min && value <= max)
		return 0;
	LM_ERR("%s is %d, must be from %d to %d\n", name, value, min, max);
	return -1;
}

static int check_ranges(void)
{
	static const struct
	{
		const char *name;
		const int *value;
		int min, max;
	} ranges[] = {
			{"http_processes", &cn_conf.http_processes, 1, 64},
			{"verdict_processes", &cn_conf.verdict_processes, 0, 64},
			{"max_in_flight", &cn_conf.max_in_flight, 1, 100000},
			{"max_connections", &cn_conf.max_connections, 1, 10000},
			{"min_connections", &cn_conf.min_connections, 1, 10000},
			{"batch_max", &cn_conf.batch_max, 1, 1000},
			{"queue_size", &cn_conf.queue_size, 1, 1000000},
			{"detect_reboot", &cn_conf.detect_reboot, 0, 1},
			{"cseq_restart", &cn_conf.cseq_restart, 0, 1},
			{"outbox_max", &cn_conf.outbox_max, 1, 10000000},
			{"alive_timeout", &cn_conf.alive_timeout_s, 0, 2592000},
			{"sqlite_busy_timeout", &cn_conf.sqlite_busy_timeout_ms, 0,
					CN_TIMEOUT_MAX_MS},
			{"history", &cn_conf.history, 0, 10000000},
			{"flap_limit", &cn_conf.flap_limit, 0, 60000},
	};
	const struct cn_limit *limit;
	int i, err = 0;

	for(i = 0; i < (int)(sizeof(ranges) / sizeof(ranges[0])); i++)
		err |= check_range(
				ranges[i].name, *ranges[i].value, ranges[i].min, ranges[i].max);
	for(i = 0; (limit = cn_limit_row(i)) != NULL; i++)
		err |= check_range(limit->name, cn_limit_value(&cn_conf.limits, limit),
				limit->min, limit->max);
	return err;
}

static int check_names(void)
{
	if(strcasecmp(cn_conf.identity_name, "contact") == 0)
		cn_conf.identity = CN_IDENTITY_CONTACT;
	else if(strcasecmp(cn_conf.identity_name, "instance") == 0)
		cn_conf.identity = CN_IDENTITY_INSTANCE;
	else if(strcasecmp(cn_conf.identity_name, "aor") == 0)
		cn_conf.identity = CN_IDENTITY_AOR;
	else {
		LM_ERR("identity is \"%s\", must be contact, instance or aor\n",
				cn_conf.identity_name);
		return -1;
	}
	if(strcmp(cn_conf.http_version_name, "1.1") == 0)
		cn_conf.http_version = CN_HTTP_1_1;
	else if(strcmp(cn_conf.http_version_name, "2") == 0)
		cn_conf.http_version = CN_HTTP_2;
	else if(strcmp(cn_conf.http_version_name, "2-prior-knowledge") == 0)
		cn_conf.http_version = CN_HTTP_2_PRIOR_KNOWLEDGE;
	else {
		LM_ERR("http_version is \"%s\", must be 1.1, 2 or "
			   "2-prior-knowledge\n",
				cn_conf.http_version_name);
		return -1;
	}
	return 0;
}

/* The values may be secrets: a fault is told by the header's number.
 * @return the length of its name; 0: with a line in the log */
static size_t check_name(
		const char *header, const char *parameter, const char *form, int number)
{
	size_t len = cn_header_name(header);
	const char *ours;

	if(len == 0) {
		LM_ERR("%s number %d is not of the form \"%s\"\n", parameter, number,
				form);
		return 0;
	}
	ours = cn_header_ours(header, len);
	if(ours) {
		LM_ERR("%s %s is set by the module itself, remove it\n", parameter,
				ours);
		return 0;
	}
	return len;
}

static int check_header(const char *header, int number)
{
	size_t name = check_name(header, "http_header", "Name: value", number);

	if(name == 0)
		return -1;
	if(cn_header_breaks(header, strlen(header))) {
		LM_ERR("http_header number %d (%.*s) has a line break or another "
			   "control character, remove it\n",
				number, (int)name, header);
		return -1;
	}
	if(cn_header_value(header, name)[0] == '\0') {
		LM_ERR("http_header %.*s has no value, give it one\n", (int)name,
				header);
		return -1;
	}
	return 0;
}

static int check_headers(void)
{
	int i, err = 0;

	for(i = 0; i < cn_conf.http_headers; i++)
		err |= check_header(cn_conf.http_header[i], i + 1);
	return err;
}

/* Whoever has written a secret where its file belongs does not find it in the log. */
static int check_paths(void)
{
	static const char form[] = "Name: /path/of/file";
	int i, err = 0;

	for(i = 0; i < cn_conf.http_header_files; i++) {
		const char *header = cn_conf.http_header_file[i];
		size_t name = check_name(header, "http_header_file", form, i + 1);

		if(name > 0 && cn_header_value(header, name)[0] != '/')
			LM_ERR("http_header_file %.*s: no path that begins with /\n",
					(int)name, header);
		if(name == 0 || cn_header_value(header, name)[0] != '/')
			err = -1;
	}
	if(cn_conf.settings_file && cn_conf.settings_file[0] != '/') {
		LM_ERR("settings_file is no path that begins with /\n");
		err = -1;
	}
	for(i = 0; i < cn_conf.sign_key_files; i++) {
		if(cn_conf.sign_key_file[i][0] == '/')
			continue;
		LM_ERR("sign_key_file number %d is no path that begins with /\n",
				i + 1);
		err = -1;
	}
	return err;
}

static int check_pair(void)
{
	if((cn_conf.tls_cert == NULL) == (cn_conf.tls_key == NULL))
		return 0;
	LM_ERR("tls_cert and tls_key go together, %s is missing\n",
			cn_conf.tls_cert == NULL ? "tls_cert" : "tls_key");
	return -1;
}

static int find_node(void)
{
	if(cn_conf.node != NULL && cn_conf.node[0] != '\0')
		return 0;
	if(gethostname(host_name, sizeof(host_name)) < 0) {
		LM_ERR("node is not set and the host has no name, set node\n");
		return -1;
	}
	cn_conf.node = host_name;
	return 0;
}

/* The table's name becomes a part of SQL statements. */
static int check_outbox(void)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyz"
							   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	const char *table = cn_conf.outbox_table;
	int err = 0;

	if(cn_conf.outbox_db_url && cn_conf.outbox_db_url[0] == '\0')
		cn_conf.outbox_db_url = NULL;
	if(table[0] == '\0' || strspn(table, name) != strlen(table)) {
		LM_ERR("outbox_table is \"%s\", must be letters, digits and _\n",
				table);
		err = -1;
	}
	if(cn_conf.alive_timeout_s > 0 && cn_conf.outbox_db_url == NULL) {
		LM_ERR("alive_timeout is %d, who is off line is told through the "
			   "outbox: set outbox_db_url\n",
				cn_conf.alive_timeout_s);
		err = -1;
	}
	if(cn_conf.outbox_db_url && cn_conf.node
			&& strlen(cn_conf.node) > CN_NODE_MAX) {
		LM_ERR("node has %zu characters, with an outbox it must have at most "
			   "%d\n",
				strlen(cn_conf.node), CN_NODE_MAX);
		err = -1;
	}
	return err;
}

static int check_event(const char *name, size_t len, bool *registers)
{
	static const struct
	{
		const char *name;
		bool *wanted;
	} leaving[] = {{"unregister", &cn_conf.events_unregister},
			{"expire", &cn_conf.events_expire}};
	size_t i;

	if(len == strlen("register") && strncmp(name, "register", len) == 0) {
		*registers = true;
		return 0;
	}
	for(i = 0; i < sizeof(leaving) / sizeof(leaving[0]); i++) {
		if(len == strlen(leaving[i].name)
				&& strncmp(name, leaving[i].name, len) == 0) {
			*leaving[i].wanted = true;
			return 0;
		}
	}
	LM_ERR("events has \"%.*s\", there are register, unregister and expire\n",
			(int)len, name);
	return -1;
}

static int check_events(void)
{
	const char *p = cn_conf.events_list;
	bool registers = false;
	int err = 0;

	while(*p) {
		size_t len = strcspn(p, ", ");

		if(len > 0 && check_event(p, len, &registers) < 0)
			err = -1;
		p += len + strspn(p + len, ", ");
	}
	if(!registers) {
		LM_ERR("events is \"%s\", it must have register\n",
				cn_conf.events_list);
		err = -1;
	}
	if((cn_conf.events_unregister || cn_conf.events_expire)
			&& cn_conf.outbox_db_url == NULL) {
		LM_ERR("events is \"%s\", all but register go through the outbox: set "
			   "outbox_db_url\n",
				cn_conf.events_list);
		err = -1;
	}
	return err;
}

int cn_conf_check(void)
{
	int err = 0;

	if(cn_conf.endpoints == 0 && cn_conf.settings_file == NULL) {
		LM_ERR("cms_url is not set, add modparam(\"cms_notify\", "
			   "\"cms_url\", \"https://...\")\n");
		err = -1;
	}
	err |= check_ranges();
	err |= check_names();
	err |= check_pair();
	err |= find_node();
	err |= check_outbox();
	err |= check_events();
	err |= check_headers();
	err |= check_paths();
	return err ? -1 : 0;
}

int cn_conf_check_timeout(
		int timeout_ms, int fr_timer_ms, struct cn_fault *fault)
{
	int margin = CN_FR_TIMER_MARGIN_MS;

	if(cn_conf.outbox_db_url)
		margin += CN_OUTBOX_MARGIN_MS;
	if(timeout_ms + margin <= fr_timer_ms)
		return 0;
	return cn_refuse(fault,
			"timeout is %d ms, too long for tm's fr_timer of %d ms: "
			"set timeout to at most %d or fr_timer to at least %d",
			timeout_ms, fr_timer_ms, fr_timer_ms - margin, timeout_ms + margin);
}

int cn_conf_resumers(void)
{
	return cn_conf.verdict_processes > 0 ? cn_conf.verdict_processes
										 : cn_conf.http_processes;
}

int cn_conf_posts_per_process(void)
{
	if(cn_conf.http_version == CN_HTTP_1_1
			&& cn_conf.max_connections < cn_conf.max_in_flight)
		return cn_conf.max_connections;
	return cn_conf.max_in_flight;
}

int cn_conf_capacity(void)
{
	return cn_conf.queue_size
		   + cn_conf.http_processes * cn_conf_posts_per_process();
}
