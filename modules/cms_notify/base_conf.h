/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The parameters of the module, their defaults, and whether they make sense
 * together. Written by Kamailio before it forks, read-only afterwards: what may
 * change is in force as base_limits and http_endpoints say. */

#ifndef CN_BASE_CONF_H
#define CN_BASE_CONF_H

#include "base_fault.h"
#include "base_limits.h"

#define CN_ENDPOINTS_MAX 8
#define CN_HEADERS_MAX 32
#define CN_HEADER_FILES_MAX 8
#define CN_SIGN_KEY_FILES_MAX 2
#define CN_NODE_MAX 64 /* with an outbox: a column's size */

enum cn_identity
{
	CN_IDENTITY_CONTACT,  /* usrloc's own rules, and the address counts */
	CN_IDENTITY_INSTANCE, /* +sip.instance, where there is one */
	CN_IDENTITY_AOR		  /* one device an AOR */
};

enum cn_http_version
{
	CN_HTTP_1_1,
	CN_HTTP_2,
	CN_HTTP_2_PRIOR_KNOWLEDGE
};

struct cn_conf
{
	char *cms_url[CN_ENDPOINTS_MAX];
	int endpoints;
	struct cn_limits limits;
	char *settings_file; /* NULL: none */
	int http_processes;
	int verdict_processes;
	int max_in_flight;
	int max_connections;
	int min_connections; /* what is found is no less */
	int batch_max;		 /* events in a POST; 1: no batches */
	int queue_size;
	int detect_reboot;
	int cseq_restart;
	char *identity_name;
	enum cn_identity identity;
	char *body;
	char *http_header[CN_HEADERS_MAX];
	int http_headers;
	char *http_header_file[CN_HEADER_FILES_MAX]; /* "Name: /path" */
	int http_header_files;
	char *sign_key_file[CN_SIGN_KEY_FILES_MAX];
	int sign_key_files;
	char *http_version_name;
	enum cn_http_version http_version;
	char *tls_ca;
	char *tls_cert;
	char *tls_key;
	char *node;
	char *outbox_db_url; /* NULL: no outbox */
	char *outbox_table;
	int outbox_max;
	char *events_list;
	bool events_unregister;
	bool events_expire;
	int alive_timeout_s;		/* 0: who is silent stays */
	int sqlite_busy_timeout_ms; /* 0: as it is */
	char *password_file;		/* NULL: none */
	char *metrics_listen;		/* "address:port"; NULL: none */
	int history;				/* steps of devices that are kept */
	int flap_limit; /* new registrations of a device in an hour; 0: no limit */
};

extern struct cn_conf cn_conf;

/* modparam() functions for the parameters that may be given several times. */
int cn_conf_add_url(unsigned int type, void *value);
int cn_conf_add_header(unsigned int type, void *value);
int cn_conf_add_header_file(unsigned int type, void *value);
int cn_conf_add_sign_key_file(unsigned int type, void *value);

/* modparam() functions of quoted, for text and for a number. */
int cn_conf_take_text(unsigned int type, void *value);
int cn_conf_refuse_number(unsigned int type, void *value);

/**
 * Check every parameter; fill in what depends on the machine.
 * Process: main, before any fork. Each fault is one line in the log that
 * names the parameter, its value and what would be right.
 *
 * @return 0, or -1: Kamailio must not start
 */
int cn_conf_check(void) CN_MUST;

/**
 * The deadline of an event must come before tm gives up on the transaction.
 *
 * @param fr_timer_ms tm's fr_timer
 */
int cn_conf_check_timeout(
		int timeout_ms, int fr_timer_ms, struct cn_fault *fault) CN_MUST;

/* Processes that run the verdict route. */
int cn_conf_resumers(void);

/* POSTs that one HTTP process has under way at once: HTTP/1.1 has one on a
 * connection, HTTP/2 as many as it likes. */
int cn_conf_posts_per_process(void);

/* Events that fit: waiting, or under way. */
int cn_conf_capacity(void);

#endif
