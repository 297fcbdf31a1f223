/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <curl/curl.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "http_client.h"
#include "http_sockets.h"

/* Memory of this file is the system's, not Kamailio's: it belongs to one
 * process, and a CMS must not be able to eat the memory of the SIP server. */

#define CN_HEADER_BYTES_MAX 65536
#define CN_EVENTS 64
/* How late a request may end, and how often that is looked at. */
#define CN_LOOK_MS 50
/* Connections of a pool: for each request libcurl looks for a free one among
 * all of them. */
#define CN_POOL 128

/* libcurl allocates it for each request. malloc() has what is no larger than
 * this at hand; an answer is hardly ever. HTTP/1.1 only: with HTTP/2, what does
 * not fit in there is mixed up by libcurl 7.88. */
#define CN_RECEIVE_BYTES 1024L

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed"
#endif

/* Lives as long as the process: handle, buffers and the connection's TLS
 * session are used again by the next request. */
struct transfer
{
	struct transfer *next; /* in the list of the free ones */
	struct cn_http *http;
	struct pool *pool; /* whose connections it uses */
	CURL *easy;
	void *user;
	bool active;  /* a request is under way */
	int endpoint; /* that the handle is set up for, -1: none yet */
	struct curl_slist id_header; /* the head of the common list */
	char id[80];
	char *answer;
	size_t answer_len;
	size_t answer_size;
	size_t header_bytes;
	bool too_big;
	bool head_ended;  /* the empty line after the header fields came */
	bool fresh;		  /* this is the second try, on a new connection */
	bool hurried;	  /* much less than connect_timeout was left */
	int64_t until_us; /* the end of the time for this request */
	char error[CURL_ERROR_SIZE];
};

/* Requests that share their connections. */
struct pool
{
	CURLM *multi;
	struct cn_http *http;
	int64_t timer_us; /* when curl wants to be called, -1: never */
	bool called;	  /* something may have ended */
};

struct cn_http
{
	CURLSH *share;
	struct cn_sockets sockets;
	struct pool *pools;
	int pool_count;
	cn_http_done_f done;
	struct curl_slist *headers; /* common to all requests */
	CURLU **urls;				/* of the endpoints, parsed; see there */
	struct transfer *free;
	int64_t looked_us; /* for what libcurl has not ended */
	int64_t due_us;	   /* before that there can be none */
	int most;
	int active;
	struct transfer transfers[];
};

/* libcurl would take the first part of the path for the host. */
static bool has_host(const char *url)
{
	const char *p = strstr(url, "://");

	return p && p[3] != '\0' && strchr("/?#", p[3]) == NULL;
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
	curl_free(part);
	part = NULL;
	if(*error == NULL && curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK)
		*error = "no user name or password in it, use http_header for "
				 "credentials";
	curl_free(part);
	curl_url_cleanup(u);
	return *error == NULL;
}

/* -------- what curl calls -------- */

static size_t on_body(char *data, size_t one, size_t n, void *transfer)
{
	struct transfer *t = transfer;
	size_t size = t->answer_size ? t->answer_size : 1024;
	char *more;

	n *= one;
	if(n > (size_t)cn_conf.max_answer_size - t->answer_len) {
		t->too_big = true;
		return CURL_WRITEFUNC_ERROR;
	}
	while(size < t->answer_len + n)
		size *= 2;
	if(size != t->answer_size) {
		more = realloc(t->answer, size);
		if(more == NULL)
			return CURL_WRITEFUNC_ERROR;
		t->answer = more;
		t->answer_size = size;
	}
	memcpy(t->answer + t->answer_len, data, n);
	t->answer_len += n;
	return n;
}

static size_t on_header(char *data, size_t one, size_t n, void *transfer)
{
	struct transfer *t = transfer;

	/* a line by itself, also where the head came in pieces; another head may
	 * follow one with a status of 1xx */
	t->head_ended = data[0] == '\r' || data[0] == '\n';
	t->header_bytes += one * n;
	if(t->header_bytes > CN_HEADER_BYTES_MAX) {
		t->too_big = true;
		return CURL_WRITEFUNC_ERROR;
	}
	return one * n;
}

static int on_timer(CURLM *multi, long timeout_ms, void *pool)
{
	struct pool *p = pool;

	(void)multi;
	p->timer_us =
			timeout_ms < 0 ? -1 : cn_now_us() + (int64_t)timeout_ms * 1000;
	return 0;
}

static int on_socket(
		CURL *easy, curl_socket_t fd, int what, void *pool, void *unused)
{
	struct pool *p = pool;
	uint32_t events = 0;

	(void)easy;
	(void)unused;
	if(what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if(what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	/* this request will time out; an error here would end all of them */
	if(cn_sockets_want(&p->http->sockets, fd, events, p) < 0)
		LM_ERR("cannot watch a connection: %s\n", strerror(errno));
	return 0;
}

static int on_open(void *http, curl_socket_t fd, curlsocktype purpose)
{
	(void)purpose;
	cn_sockets_opened(&((struct cn_http *)http)->sockets, fd);
	return CURL_SOCKOPT_OK;
}

/* What has not reached the CMS by now must not reach it after something newer:
 * the kernel would go on trying when the connection is closed. */
static void discard_unsent(int fd)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	int bytes = 0;

	if(ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0
			&& setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once))
					   < 0)
		LM_ERR("cannot abort a connection: %s\n", strerror(errno));
}

static int on_close(void *http, curl_socket_t fd)
{
	discard_unsent(fd);
	cn_sockets_closed(&((struct cn_http *)http)->sockets, fd);
	return close(fd);
}

/* -------- making -------- */

static int set_up_pool(struct pool *p, long connections)
{
	CURLM *m = p->multi = curl_multi_init();

	p->timer_us = -1;
	if(m == NULL || curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket)
			|| curl_multi_setopt(m, CURLMOPT_SOCKETDATA, p)
			|| curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timer)
			|| curl_multi_setopt(m, CURLMOPT_TIMERDATA, p)
			|| curl_multi_setopt(m, CURLMOPT_MAX_HOST_CONNECTIONS, connections)
			|| curl_multi_setopt(
					m, CURLMOPT_MAXCONNECTS, connections * cn_conf.endpoints)
			|| curl_multi_setopt(m, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX))
		return -1;
	return 0;
}

/* With HTTP/1.1 a pool has a connection for each of its requests; the requests
 * of HTTP/2 share as few connections as possible, of one pool. */
static int set_up_pools(struct cn_http *h)
{
	int connections = cn_conf.max_connections, i;

	h->pool_count = 1;
	if(cn_conf.http_version == CN_HTTP_1_1 && h->most > CN_POOL) {
		h->pool_count = (h->most + CN_POOL - 1) / CN_POOL;
		connections = (h->most + h->pool_count - 1) / h->pool_count;
	}
	h->pools = calloc(h->pool_count, sizeof(*h->pools));
	if(h->pools == NULL)
		return -1;
	for(i = 0; i < h->pool_count; i++) {
		h->pools[i].http = h;
		if(set_up_pool(&h->pools[i], connections) < 0)
			return -1;
	}
	return 0;
}

static int add_header(struct cn_http *h, const char *header)
{
	struct curl_slist *list = curl_slist_append(h->headers, header);

	if(list == NULL)
		return -1;
	h->headers = list;
	return 0;
}

/* The user agent is one of them, as libcurl prints what CURLOPT_USERAGENT says
 * twice for each request, a character at a time. */
static int set_up_headers(struct cn_http *h)
{
	int i, err;

	err = add_header(h, "Content-Type: application/json");
	if(err == 0)
		err = add_header(h, "User-Agent: kamailio-cms_notify/" CN_VERSION);
	for(i = 0; i < cn_conf.http_headers && err == 0; i++)
		err = add_header(h, cn_conf.http_header[i]);
	return err;
}

/* Parsed once, not for each request. NULL where there is the zone of an IPv6
 * address, which libcurl 7.88 loses then. */
static int set_up_url(const char *text, CURLU **url)
{
	char *zone = NULL;

	*url = curl_url();
	if(curl_url_set(*url, CURLUPART_URL, text, 0) != CURLUE_OK)
		return -1;
	if(curl_url_get(*url, CURLUPART_ZONEID, &zone, 0) == CURLUE_OK) {
		curl_url_cleanup(*url);
		*url = NULL;
	}
	curl_free(zone);
	return 0;
}

static int set_up_urls(struct cn_http *h)
{
	int i;

	h->urls = calloc(cn_conf.endpoints, sizeof(*h->urls));
	if(h->urls == NULL)
		return -1;
	for(i = 0; i < cn_conf.endpoints; i++) {
		if(set_up_url(cn_conf.cms_url[i], &h->urls[i]) < 0)
			return -1;
	}
	return 0;
}

/* Before 8.0 libcurl cannot use an HTTP/2 connection twice that began without
 * TLS: "Error in the HTTP2 framing layer" (curl issue 10634). */
static bool reuse_is_broken(void)
{
	return cn_conf.http_version == CN_HTTP_2_PRIOR_KNOWLEDGE
		   && curl_version_info(CURLVERSION_NOW)->version_num < 0x080000;
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

static int set_up_tls(CURL *e)
{
	if(curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L)
			|| curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L))
		return -1;
	/* instead of the system's CAs, not besides them: a folder that libcurl was
	 * built with would stay in use */
	if(cn_conf.tls_ca
			&& (curl_easy_setopt(e, CURLOPT_CAINFO, cn_conf.tls_ca)
					|| curl_easy_setopt(e, CURLOPT_CAPATH, NULL)))
		return -1;
	if(cn_conf.tls_cert
			&& (curl_easy_setopt(e, CURLOPT_SSLCERT, cn_conf.tls_cert)
					|| curl_easy_setopt(e, CURLOPT_SSLKEY, cn_conf.tls_key)))
		return -1;
	return 0;
}

/* What is the same for each request. */
static int set_up_easy(struct transfer *t)
{
	bool shares = cn_conf.http_version != CN_HTTP_1_1 && !reuse_is_broken();
	CURL *e = t->easy = curl_easy_init();

	if(e == NULL)
		return -1;
	t->id_header.data = t->id;
	t->id_header.next = t->http->headers;
	if(curl_easy_setopt(e, CURLOPT_PRIVATE, t)
			|| curl_easy_setopt(e, CURLOPT_SHARE, t->http->share)
			|| curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error)
			|| curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body)
			|| curl_easy_setopt(e, CURLOPT_WRITEDATA, t)
			|| curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header)
			|| curl_easy_setopt(e, CURLOPT_HEADERDATA, t)
			|| curl_easy_setopt(e, CURLOPT_HTTPHEADER, &t->id_header)
			|| curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_open)
			|| curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, t->http)
			|| curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close)
			|| curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, t->http)
			|| curl_easy_setopt(e, CURLOPT_POST, 1L)
			|| curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L)
			|| curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https")
			/* nor does libcurl look for one in the environment of whoever
			 * started Kamailio */
			|| curl_easy_setopt(e, CURLOPT_NOPROXY, "*")
			|| curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L)
			/* neither a signal nor a wait for the resolver's thread */
			|| curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L)
			|| curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L)
			|| curl_easy_setopt(e, CURLOPT_HTTP_VERSION, http_version())
			|| curl_easy_setopt(e, CURLOPT_PIPEWAIT, shares ? 1L : 0L)
			|| curl_easy_setopt(
					e, CURLOPT_FORBID_REUSE, reuse_is_broken() ? 1L : 0L)
			|| (cn_conf.http_version == CN_HTTP_1_1
					&& curl_easy_setopt(
							e, CURLOPT_BUFFERSIZE, CN_RECEIVE_BYTES))
			|| curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE,
					(curl_off_t)cn_conf.max_answer_size)
			|| set_up_tls(e) < 0)
		return -1;
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

struct cn_http *cn_http_new(int most, cn_http_done_f done)
{
	struct cn_http *h;
	int i;

	if(curl_global_init(CURL_GLOBAL_ALL) != 0) {
		LM_ERR("cannot start libcurl\n");
		return NULL;
	}
	h = calloc(1, sizeof(*h) + most * sizeof(struct transfer));
	if(h == NULL) {
		LM_ERR("out of memory\n");
		return NULL;
	}
	if(reuse_is_broken())
		LM_WARN("libcurl %s makes a connection for each POST with "
				"http_version 2-prior-knowledge: use 1.1, 2 over TLS, or "
				"libcurl 8\n",
				curl_version_info(CURLVERSION_NOW)->version);
	h->sockets.epoll = epoll_create1(EPOLL_CLOEXEC);
	h->done = done;
	h->most = most;
	h->share = new_share();
	if(h->sockets.epoll < 0 || h->share == NULL || set_up_pools(h) < 0
			|| set_up_headers(h) < 0 || set_up_urls(h) < 0) {
		LM_ERR("cannot set up libcurl\n");
		/* the process is about to end, and everything with it */
		return NULL;
	}
	for(i = most - 1; i >= 0; i--) {
		h->transfers[i].http = h;
		h->transfers[i].pool = &h->pools[i * h->pool_count / most];
		h->transfers[i].endpoint = -1;
		h->transfers[i].next = h->free;
		h->free = &h->transfers[i];
	}
	return h;
}

int cn_http_watch(struct cn_http *http, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	ev.data.fd = -1; /* none of curl's */
	if(epoll_ctl(http->sockets.epoll, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	LM_ERR("cannot watch a file descriptor: %s\n", strerror(errno));
	return -1;
}

/* -------- posting -------- */

static int start(struct transfer *t, bool fresh)
{
	long left_ms = (long)((t->until_us - cn_now_us()) / 1000);
	long connect_ms = cn_conf.connect_timeout_ms;
	bool new_connection = fresh || reuse_is_broken();
	CURL *e = t->easy;

	if(left_ms < 1)
		left_ms = 1;
	t->hurried = connect_ms > left_ms * 2;
	if(connect_ms > left_ms)
		connect_ms = left_ms;
	t->answer_len = 0;
	t->header_bytes = 0;
	t->too_big = false;
	t->head_ended = false;
	t->fresh = fresh;
	t->error[0] = '\0';
	if(curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, left_ms)
			|| curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms)
			|| curl_easy_setopt(
					e, CURLOPT_FRESH_CONNECT, new_connection ? 1L : 0L)
			|| curl_multi_add_handle(t->pool->multi, e) != CURLM_OK)
		return -1;
	return 0;
}

static int set_up_request(
		struct transfer *t, const struct cn_http_request *request)
{
	CURL *e = t->easy;

	t->until_us = cn_now_us() + (int64_t)request->timeout_ms * 1000;
	snprintf(t->id, sizeof(t->id), "Idempotency-Key: \"%.*s\"", request->id.len,
			request->id.s);
	if(t->endpoint != request->endpoint
			&& (curl_easy_setopt(
						e, CURLOPT_URL, cn_conf.cms_url[request->endpoint])
					|| curl_easy_setopt(e, CURLOPT_CURLU,
							t->http->urls[request->endpoint])))
		return -1;
	t->endpoint = request->endpoint;
	if(curl_easy_setopt(e, CURLOPT_POSTFIELDS, request->body.s)
			|| curl_easy_setopt(
					e, CURLOPT_POSTFIELDSIZE, (long)request->body.len))
		return -1;
	return 0;
}

/* When libcurl should have ended it. */
static int64_t due_us(const struct transfer *t)
{
	return t->until_us + CN_LOOK_MS * 1000;
}

int cn_http_post(
		struct cn_http *http, const struct cn_http_request *request, void *user)
{
	struct transfer *t = http->free;

	if(t == NULL)
		return -1;
	if((t->easy == NULL && set_up_easy(t) < 0) || set_up_request(t, request) < 0
			|| start(t, false) < 0) {
		if(t->easy)
			curl_easy_cleanup(t->easy);
		t->easy = NULL;
		t->endpoint = -1;
		return -1;
	}
	if(due_us(t) < http->due_us)
		http->due_us = due_us(t);
	t->user = user;
	t->active = true;
	http->active++;
	http->free = t->next;
	return 0;
}

/* -------- ending -------- */

/* Did the request never leave, so that it was the connection that was late? */
static bool never_sent(CURL *easy)
{
	long bytes = 0;

	curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &bytes);
	return bytes == 0;
}

/* With TLS 1.3 the CMS refuses our certificate, or that there is none, only
 * after the handshake: to libcurl reading fails. */
static bool is_tls_alert(const struct transfer *t)
{
	return strstr(t->error, "SSL routines") != NULL;
}

static enum cn_cause cause_of(const struct transfer *t, CURLcode code)
{
	if(t->too_big)
		return CN_CAUSE_too_big;
	switch(code) {
		case CURLE_OK:
			/* cut off in its head, which libcurl does not mind */
			return t->head_ended ? CN_CAUSE_none : CN_CAUSE_connect;
		case CURLE_FILESIZE_EXCEEDED:
#if LIBCURL_VERSION_NUM >= 0x080600
		case CURLE_TOO_LARGE: /* a header line without an end */
#endif
			return CN_CAUSE_too_big;
		case CURLE_OPERATION_TIMEDOUT:
			return never_sent(t->easy) && !t->hurried ? CN_CAUSE_connect
													  : CN_CAUSE_timeout;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
			return is_tls_alert(t) ? CN_CAUSE_tls : CN_CAUSE_connect;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
			return CN_CAUSE_connect;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_CRL_BADFILE:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_ENGINE_INITFAILED:
		case CURLE_SSL_ENGINE_NOTFOUND:
		case CURLE_SSL_ENGINE_SETFAILED:
		case CURLE_SSL_CLIENTCERT:
			return CN_CAUSE_tls;
		case CURLE_OUT_OF_MEMORY:
			/* before libcurl 8.6 also: a header line without an end */
			return t->head_ended || never_sent(t->easy) ? CN_CAUSE_memory
														: CN_CAUSE_too_big;
		case CURLE_WRITE_ERROR:
			return CN_CAUSE_memory;
		default:
			return CN_CAUSE_bad_answer;
	}
}

/* A kept connection that ended without a byte of an answer: the CMS closed it
 * while it was idle, or as the request went out. libcurl tries again by itself,
 * but on the next kept one, five times in the life of a handle. */
static bool was_stale(const struct transfer *t, CURLcode code)
{
	long new_connections = 0;

	if(t->fresh || t->header_bytes > 0
			|| (code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR
					&& code != CURLE_GOT_NOTHING))
		return false;
	curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &new_connections);
	return new_connections == 0 && cn_now_us() < t->until_us;
}

static void end_transfer(struct cn_http *h, struct transfer *t, CURLcode code)
{
	struct cn_http_result result;
	curl_off_t retry_after = 0;

	if(was_stale(t, code)) {
		curl_multi_remove_handle(t->pool->multi, t->easy);
		if(start(t, true) == 0)
			return;
	}
	memset(&result, 0, sizeof(result));
	result.cause = cause_of(t, code);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &result.status);
	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
	if(result.cause == CN_CAUSE_none
			&& cn_policy_verdict(result.status) == CN_UNAVAILABLE)
		result.cause = CN_CAUSE_http;
	if(retry_after > 0)
		result.retry_after = retry_after < CN_RETRY_AFTER_MAX_S
									 ? (unsigned)retry_after
									 : CN_RETRY_AFTER_MAX_S;
	result.body.s = t->answer;
	result.body.len = (int)t->answer_len;
	result.detail = t->error[0] ? t->error : curl_easy_strerror(code);
	curl_multi_remove_handle(t->pool->multi, t->easy);
	t->active = false;
	h->active--;
	t->next = h->free;
	h->free = t;
	h->done(t->user, &result);
}

static void end_transfers(struct pool *p)
{
	struct transfer *t;
	CURLMsg *msg;
	int left;

	while((msg = curl_multi_info_read(p->multi, &left)) != NULL) {
		if(msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		end_transfer(p->http, t, msg->data.result);
	}
}

/* libcurl 7.88 can lose the timer of a request that has just a few milliseconds
 * when it begins. Each must end, so this is looked after here as well. */
static void end_overdue(struct cn_http *h)
{
	int64_t now = cn_now_us();
	int i;

	if(now <= h->due_us || now - h->looked_us < CN_LOOK_MS * 1000)
		return;
	h->looked_us = now;
	h->due_us = INT64_MAX;
	for(i = 0; i < h->most; i++) {
		struct transfer *t = &h->transfers[i];

		if(t->active && now > due_us(t))
			end_transfer(h, t, CURLE_OPERATION_TIMEDOUT);
		/* also one that begins as another ends */
		if(t->active && due_us(t) < h->due_us)
			h->due_us = due_us(t);
	}
}

static int wait_ms(const struct cn_http *h, int timeout_ms)
{
	int64_t next = INT64_MAX, left;
	int i;

	if(h->active > 0 && (timeout_ms < 0 || timeout_ms > CN_LOOK_MS))
		timeout_ms = CN_LOOK_MS;
	for(i = 0; i < h->pool_count; i++) {
		if(h->pools[i].timer_us >= 0 && h->pools[i].timer_us < next)
			next = h->pools[i].timer_us;
	}
	if(next == INT64_MAX)
		return timeout_ms;
	left = (next - cn_now_us() + 999) / 1000;
	if(left < 0)
		left = 0;
	return timeout_ms >= 0 && timeout_ms < left ? timeout_ms : (int)left;
}

static int curl_mask(uint32_t events)
{
	int mask = 0;

	if(events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if(events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if(events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	return mask;
}

static void call(struct pool *p, curl_socket_t fd, int mask)
{
	int running;

	p->called = true;
	curl_multi_socket_action(p->multi, fd, mask, &running);
}

void cn_http_run(struct cn_http *http, int timeout_ms)
{
	struct epoll_event events[CN_EVENTS];
	int64_t now;
	int i, n;

	n = epoll_wait(
			http->sockets.epoll, events, CN_EVENTS, wait_ms(http, timeout_ms));
	for(i = 0; i < n; i++) {
		int fd = events[i].data.fd;
		struct pool *p = fd >= 0 ? cn_sockets_who(&http->sockets, fd) : NULL;

		if(p)
			call(p, fd, curl_mask(events[i].events));
	}
	now = cn_now_us();
	for(i = 0; i < http->pool_count; i++) {
		struct pool *p = &http->pools[i];

		if(p->timer_us >= 0 && now >= p->timer_us) {
			p->timer_us = -1; /* curl sets it anew */
			call(p, CURL_SOCKET_TIMEOUT, 0);
		}
		if(p->called) {
			p->called = false;
			end_transfers(p);
		}
	}
	end_overdue(http);
}
