/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* libcurl's handles, as they are before the first request: options, headers,
 * parsed URLs. Process: HTTP, but for the checks. */

#ifndef CN_HTTP_SETUP_H
#define CN_HTTP_SETUP_H

#include <curl/curl.h>

#include "http_endpoints.h"
#include "http_files.h"

struct cn_http_endpoint
{
	CURLU *url; /* NULL: libcurl has to parse the text */
	bool tls;
	bool named; /* its host is a name, no address */
};

/* What the requests of a process have in common. */
struct cn_http_common
{
	CURLSH *share; /* name look-ups, TLS sessions */
	struct curl_slist *headers;
	struct cn_signer *signer;			/* NULL: POSTs are not signed */
	int tls[CN_TLS_FILES];				/* files in memory; -1: not set */
	struct cn_http_endpoint *endpoints; /* by their place in the list */
	int endpoint_count;
	int max_answer_size;
	bool heads_first; /* heads come to body(), too, and before libcurl's use */
};

/* What the handle of a request calls, and with what. */
struct cn_http_calls
{
	curl_write_callback body, header;
	curl_prereq_callback before;
	curl_sockopt_callback opened;
	void *transfer; /* for those above; also CURLINFO_PRIVATE */
	curl_closesocket_callback closed;
	void *process; /* for closed() */
};

/* Process: main, in mod_init. Is libcurl new enough? -1: with a line in the log */
int cn_http_setup_check(void) CN_MUST;

/**
 * Is this a URL that we can POST to?
 *
 * @param url   http or https, with a host, without user name and password
 * @param error what is wrong with it
 */
bool cn_http_url_ok(const char *url, const char **error);

/**
 * @param list stays as long as common
 * @return -1: no memory
 */
int cn_http_setup_common(struct cn_http_common *common,
		const struct cn_files *files, const struct cn_endpoints *list) CN_MUST;

/* No handle uses it any more. */
void cn_http_setup_free_common(struct cn_http_common *common);

/* The handle of a request; headers: all that it sends. NULL: no memory */
CURL *cn_http_setup_easy(const struct cn_http_common *common,
		const struct cn_http_calls *calls, struct curl_slist *headers,
		char *error) CN_MUST;

/* Options of a handle that seldom change. */
struct cn_http_options
{
	long connect_ms;
	long names_s;
	bool fresh;
};

/* @param have what the handle has, written */
int cn_http_setup_options(CURL *easy, struct cn_http_options *have,
		const struct cn_http_options *want) CN_MUST;

/* Connections that requests share: so many to each endpoint. NULL: no memory */
CURLM *cn_http_setup_multi(long connections, int endpoints,
		curl_socket_callback on_socket, curl_multi_timer_callback on_timer,
		void *user) CN_MUST;

/* Before 8.0 libcurl cannot use an HTTP/2 connection twice that began without
 * TLS: "Error in the HTTP2 framing layer" (curl issue 10634). */
bool cn_http_reuse_is_broken(void);

/* Before 8.1 libcurl takes a line that begins with a blank for the rest of the
 * field before it, also where there is none before it in the answer: then that of
 * the handle's last answer, which it has freed. So whoever may answer could write
 * to freed memory of ours. Such a line must not get that far. */
bool cn_http_unfolds_badly(void);

/* For how long a name that was looked up is remembered, in seconds. */
long cn_http_name_lifetime_s(void);

/* Has the TLS layer of the handle's connection bytes of an answer that nobody has
 * read? Process: HTTP, in before(). */
bool cn_http_has_decrypted(CURL *easy);

#endif
