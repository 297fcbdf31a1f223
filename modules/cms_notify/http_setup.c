/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Makes libcurl's handles for the HTTP processes; checks libcurl and the URLs in
 * the main process. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create() */
#endif

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "http_setup.h"

/* The oldest libcurl that does: CURLOPT_QUICK_EXIT. The documentation says the
 * same (make lint). */
#define CN_LIBCURL_MAJOR 7
#define CN_LIBCURL_MINOR 87
#define CN_LIBCURL ((CN_LIBCURL_MAJOR << 16) | (CN_LIBCURL_MINOR << 8))

#if LIBCURL_VERSION_NUM < CN_LIBCURL
#error "libcurl is too old, see CN_LIBCURL_MAJOR and CN_LIBCURL_MINOR"
#endif

/* libcurl allocates it for each request. malloc() has what is no larger than
 * this at hand; an answer is hardly ever. HTTP/1.1 only: with HTTP/2, what does
 * not fit in there is mixed up by libcurl 7.88. */
#define CN_RECEIVE_BYTES 1024L
/* Of a batch there is more, and each further read is a round of the epoll set. */
#define CN_RECEIVE_BATCH_BYTES 16384L

/* libcurl's own default */
#define CN_NAME_LIFETIME_S 60

/* Of OpenSSL, which comes with libcurl; NULL where libcurl has another library,
 * and nothing to be built against is needed. */
extern int SSL_pending(const void *ssl) __attribute__((weak));

/* -------- checks -------- */

/* libcurl would take the first part of the path for the host. */
static bool has_host(const char *url)
{
	const char *p = strstr(url, "://");

	return p && p[3] != '\0' && strchr("/?#", p[3]) == NULL;
}

/* libcurl translates another one by the locale, and Kamailio has none: each POST would
 * fail. */
static bool host_is_ascii(CURLU *u)
{
	char *host = NULL, *p;
	bool ok = curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK;

	for(p = host; ok && *p != '\0'; p++)
		ok = (*p & 0x80) == 0;
	curl_free(host);
	return ok;
}

bool cn_http_url_ok(const char *url, const char **error)
{
	CURLU *u = curl_url();
	char *part = NULL;

	*error = NULL;
	if(u == NULL) {
		*error = "out of memory";
		return false;
	}
	if(!has_host(url) || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
		*error = "no valid URL, write http://host[:port]/path or https://...";
	else if(curl_url_get(u, CURLUPART_SCHEME, &part, 0) != CURLUE_OK
			|| (strcmp(part, "http") != 0 && strcmp(part, "https") != 0))
		*error = "the scheme must be http or https";
	else if(!host_is_ascii(u))
		*error = "the name of the host is not ASCII, write it as xn--...";
	curl_free(part);
	part = NULL;
	if(*error == NULL && curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK)
		*error = "no user name or password in it, use http_header for "
				 "credentials";
	curl_free(part);
	curl_url_cleanup(u);
	return *error == NULL;
}

/* libcurl would write the keys of each TLS session into a file that whoever
 * started Kamailio has named. Before the fork: for all its processes. */
static void keep_keys_secret(void)
{
	if(getenv("SSLKEYLOGFILE") == NULL)
		return;
	unsetenv("SSLKEYLOGFILE");
	LM_WARN("SSLKEYLOGFILE is ignored, the keys of TLS stay secret\n");
}

int cn_http_setup_check(void)
{
	const curl_version_info_data *libcurl = curl_version_info(CURLVERSION_NOW);

	keep_keys_secret();
	if(libcurl->version_num < CN_LIBCURL) {
		LM_ERR("libcurl is %s, %d.%d or newer is needed\n", libcurl->version,
				CN_LIBCURL_MAJOR, CN_LIBCURL_MINOR);
		return -1;
	}
	if(cn_http_reuse_is_broken())
		LM_WARN("libcurl %s makes a connection for each POST with "
				"http_version 2-prior-knowledge: use 1.1, 2 over TLS, or "
				"libcurl 8\n",
				libcurl->version);
	return 0;
}

bool cn_http_reuse_is_broken(void)
{
	return cn_conf.http_version == CN_HTTP_2_PRIOR_KNOWLEDGE
		   && curl_version_info(CURLVERSION_NOW)->version_num < 0x080000;
}

bool cn_http_unfolds_badly(void)
{
	return curl_version_info(CURLVERSION_NOW)->version_num < 0x080100;
}

/* -------- what requests have in common -------- */

static int add_header(struct curl_slist **headers, const char *header)
{
	struct curl_slist *list = curl_slist_append(*headers, header);

	if(list == NULL)
		return -1;
	*headers = list;
	return 0;
}

/* The user agent is one of them, as libcurl prints what CURLOPT_USERAGENT says
 * twice for each request, a character at a time. */
static int set_up_headers(
		struct curl_slist **headers, const struct cn_files *files)
{
	int i, err;

	err = add_header(headers, "Content-Type: application/json");
	if(err == 0)
		err = add_header(
				headers, "User-Agent: kamailio-cms_notify/" CN_VERSION);
	for(i = 0; i < cn_conf.http_headers && err == 0; i++)
		err = add_header(headers, cn_conf.http_header[i]);
	for(i = 0; i < files->header_count && err == 0; i++)
		err = add_header(headers, files->headers[i]);
	return err;
}

static bool is_address(const char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return host[0] == '[' || inet_pton(AF_INET, host, bytes) == 1;
}

/* Parsed once, not for each request. Not where there is the zone of an IPv6
 * address, which libcurl 7.88 loses then. */
static int set_up_endpoint(const char *text, struct cn_http_endpoint *endpoint)
{
	CURLU *url = endpoint->url = curl_url();
	char *zone = NULL, *scheme = NULL, *host = NULL;
	int err = -1;

	if(curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK
			&& curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK
			&& curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		endpoint->tls = strcmp(scheme, "https") == 0;
		endpoint->named = !is_address(host);
		err = 0;
	}
	if(err == 0 && curl_url_get(url, CURLUPART_ZONEID, &zone, 0) == CURLUE_OK) {
		curl_url_cleanup(url);
		endpoint->url = NULL;
	}
	curl_free(zone);
	curl_free(host);
	curl_free(scheme);
	return err;
}

static int set_up_endpoints(
		struct cn_http_common *common, const struct cn_endpoints *list)
{
	int i;

	common->endpoints = calloc(list->count, sizeof(*common->endpoints));
	if(common->endpoints == NULL)
		return -1;
	common->endpoint_count = list->count;
	for(i = 0; i < list->count; i++) {
		if(set_up_endpoint(list->url[i], &common->endpoints[i]) < 0)
			return -1;
	}
	return 0;
}

static CURLSH *new_share(void)
{
	CURLSH *share = curl_share_init();

	/* one thread: no locks; sessions are resumed on any connection */
	if(share
			&& (curl_share_setopt(
						share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION)
					|| curl_share_setopt(
							share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS))) {
		curl_share_cleanup(share);
		return NULL;
	}
	return share;
}

/* libcurl reads TLS files for each connection. What it gets is what was checked,
 * whatever becomes of the files themselves, and by path: it keeps authorities by
 * their path, and compares texts for each request. */
static int set_up_tls_files(
		struct cn_http_common *common, const struct cn_files *files)
{
	int i;

	for(i = 0; i < CN_TLS_FILES; i++)
		common->tls[i] = -1;
	for(i = 0; i < CN_TLS_FILES; i++) {
		if(files->tls[i] == NULL)
			continue;
		common->tls[i] = memfd_create("cms_notify", MFD_CLOEXEC);
		if(common->tls[i] < 0
				|| write(common->tls[i], files->tls[i], files->tls_len[i])
						   != (ssize_t)files->tls_len[i])
			return -1;
	}
	return 0;
}

int cn_http_setup_common(struct cn_http_common *common,
		const struct cn_files *files, const struct cn_endpoints *list)
{
	common->heads_first = cn_http_unfolds_badly();
	common->max_answer_size = cn_limits->max_answer_size;
	if(set_up_tls_files(common, files) < 0)
		return -1;
	common->share = new_share();
	if(common->share == NULL || set_up_headers(&common->headers, files) < 0
			|| set_up_endpoints(common, list) < 0)
		return -1;
	if(files->key_count == 0)
		return 0;
	common->signer = cn_signer_new(files->keys, files->key_count);
	return common->signer ? 0 : -1;
}

void cn_http_setup_free_common(struct cn_http_common *common)
{
	int i;

	curl_share_cleanup(common->share);
	curl_slist_free_all(common->headers);
	cn_signer_free(common->signer);
	for(i = 0; i < common->endpoint_count; i++)
		curl_url_cleanup(common->endpoints[i].url);
	free(common->endpoints);
	for(i = 0; i < CN_TLS_FILES; i++) {
		if(common->tls[i] >= 0)
			close(common->tls[i]);
	}
}

/* -------- handles -------- */

CURLM *cn_http_setup_multi(long connections, int endpoints,
		curl_socket_callback on_socket, curl_multi_timer_callback on_timer,
		void *user)
{
	CURLM *m = curl_multi_init();

	if(m == NULL || curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket)
			|| curl_multi_setopt(m, CURLMOPT_SOCKETDATA, user)
			|| curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timer)
			|| curl_multi_setopt(m, CURLMOPT_TIMERDATA, user)
			|| curl_multi_setopt(m, CURLMOPT_MAX_HOST_CONNECTIONS, connections)
			|| curl_multi_setopt(
					m, CURLMOPT_MAXCONNECTS, connections * endpoints)
			|| curl_multi_setopt(m, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX))
		return NULL;
	return m;
}

static long http_version(void)
{
	switch(cn_conf.http_version) {
		case CN_HTTP_1_1:
			return CURL_HTTP_VERSION_1_1;
		case CN_HTTP_2:
			return CURL_HTTP_VERSION_2TLS;
		case CN_HTTP_2_PRIOR_KNOWLEDGE:
			return CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
	}
	return CURL_HTTP_VERSION_NONE;
}

/* @param fd -1: the option stays as it is */
static int set_file(CURL *e, CURLoption option, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd >= 0 && curl_easy_setopt(e, option, path) != CURLE_OK ? -1 : 0;
}

static int set_up_tls(CURL *e, const struct cn_http_common *common)
{
	if(curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L)
			|| curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L))
		return -1;
	/* instead of the system's CAs, not besides them: a folder that libcurl was
	 * built with would stay in use */
	if(common->tls[CN_TLS_CA] >= 0
			&& curl_easy_setopt(e, CURLOPT_CAPATH, NULL) != CURLE_OK)
		return -1;
	return set_file(e, CURLOPT_CAINFO, common->tls[CN_TLS_CA])
		   | set_file(e, CURLOPT_SSLCERT, common->tls[CN_TLS_CERT])
		   | set_file(e, CURLOPT_SSLKEY, common->tls[CN_TLS_KEY]);
}

static int set_up_calls(CURL *e, const struct cn_http_calls *calls)
{
	if(curl_easy_setopt(e, CURLOPT_PRIVATE, calls->transfer)
			|| curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, calls->body)
			|| curl_easy_setopt(e, CURLOPT_WRITEDATA, calls->transfer)
			|| curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, calls->header)
			|| curl_easy_setopt(e, CURLOPT_HEADERDATA, calls->transfer)
			|| curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, calls->before)
			|| curl_easy_setopt(e, CURLOPT_PREREQDATA, calls->transfer)
			|| curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, calls->opened)
			|| curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, calls->transfer)
			|| curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, calls->closed)
			|| curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, calls->process))
		return -1;
	return 0;
}

static long receive_bytes(void)
{
	return cn_conf.batch_max == 1 ? CN_RECEIVE_BYTES : CN_RECEIVE_BATCH_BYTES;
}

static int set_up_connections(CURL *e)
{
	bool broken = cn_http_reuse_is_broken();
	bool shares = cn_conf.http_version != CN_HTTP_1_1 && !broken;

	if(curl_easy_setopt(e, CURLOPT_HTTP_VERSION, http_version())
			|| curl_easy_setopt(e, CURLOPT_PIPEWAIT, shares ? 1L : 0L)
			|| curl_easy_setopt(e, CURLOPT_FORBID_REUSE, broken ? 1L : 0L)
			|| curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L)
			|| curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN,
					(long)cn_limits->connection_lifetime_s)
			|| (cn_conf.http_version == CN_HTTP_1_1
					&& curl_easy_setopt(
							e, CURLOPT_BUFFERSIZE, receive_bytes())))
		return -1;
	return 0;
}

CURL *cn_http_setup_easy(const struct cn_http_common *common,
		const struct cn_http_calls *calls, struct curl_slist *headers,
		char *error)
{
	CURL *e = curl_easy_init();

	if(e == NULL)
		return NULL;
	if(curl_easy_setopt(e, CURLOPT_SHARE, common->share)
			|| curl_easy_setopt(e, CURLOPT_ERRORBUFFER, error)
			|| curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers)
			|| curl_easy_setopt(e, CURLOPT_POST, 1L)
			|| curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L)
			|| curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https")
			/* nor does libcurl look for one in the environment of whoever
			 * started Kamailio */
			|| curl_easy_setopt(e, CURLOPT_NOPROXY, "*")
			|| curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L)
			/* neither a signal nor a wait for the resolver's thread */
			|| curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L)
			|| curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE,
					(curl_off_t)common->max_answer_size * cn_conf.batch_max)
			|| curl_easy_setopt(
					e, CURLOPT_HEADER, common->heads_first ? 1L : 0L)
			|| set_up_calls(e, calls) < 0 || set_up_connections(e) < 0
			|| set_up_tls(e, common) < 0) {
		curl_easy_cleanup(e);
		return NULL;
	}
	return e;
}

int cn_http_setup_options(CURL *easy, struct cn_http_options *have,
		const struct cn_http_options *want)
{
	if(memcmp(want, have, sizeof(*want)) == 0)
		return 0;
	if(curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, want->connect_ms)
			|| curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, want->names_s)
			|| curl_easy_setopt(
					easy, CURLOPT_FRESH_CONNECT, want->fresh ? 1L : 0L))
		return -1;
	*have = *want;
	return 0;
}

long cn_http_name_lifetime_s(void)
{
	int bound = cn_limits->connection_lifetime_s;

	return bound > 0 && bound < CN_NAME_LIFETIME_S ? bound : CN_NAME_LIFETIME_S;
}

bool cn_http_has_decrypted(CURL *easy)
{
	const struct curl_tlssessioninfo *tls = NULL;

	return SSL_pending != NULL
		   && curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK
		   && tls != NULL && tls->backend == CURLSSLBACKEND_OPENSSL
		   && tls->internals != NULL && SSL_pending(tls->internals) > 0;
}
