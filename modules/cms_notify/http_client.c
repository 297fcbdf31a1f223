/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Runs the POSTs of an HTTP process on libcurl's multi handles and one epoll
 * set, and decides which of them are made again.
 *
 * An answer belongs to the request that was written before it on its connection.
 * HTTP/1 says nowhere which that is, so a connection is only written to when
 * there is nothing to be read from it (before_request()), and what comes before
 * the other side's kernel has confirmed a byte of the request is no answer to it
 * (is_unasked()). */

#include <curl/curl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "http_client.h"
#include "http_end.h"
#include "http_head.h"
#include "http_pools.h"
#include "http_setup.h"

/* Memory of this file is the system's, not Kamailio's: it belongs to one
 * process, and a CMS must not be able to eat the memory of the SIP server. */

#define CN_HEADER_BYTES_MAX 65536
/* How late a request may end, and how often that is looked at. */
#define CN_LOOK_MS 50
/* How often a request is written again because its connection of HTTP/2 ended:
 * others may be before it on the next one, too. */
#define CN_AGAIN_MAX 10

/* Lives as long as the process: handle, buffers and the connection's TLS
 * session are used again by the next request. */
struct transfer
{
	struct transfer *next; /* in the list of the free ones */
	struct cn_http *http;
	CURL *easy;
	CURLM *multi; /* whose connections it uses */
	void *user;
	bool active;  /* a request is under way */
	int endpoint; /* that the handle is set up for, -1: none yet */
	struct cn_http_head head;
	str body;
	int socket; /* that the request is written to; -1: none yet */
	struct cn_http_options options; /* that the handle has */
	char *answer;
	size_t answer_len;
	size_t answer_size;
	size_t answer_max;
	struct cn_http_end end; /* what was seen so far */
	int head_lines;			/* of the head that is being read */
	bool in_line;			/* on_body() has a part of the next one */
	int repeated;			/* for CN_AGAIN_ANYWHERE */
	bool lost;				/* see cn_http_result */
	unsigned unasked;		/* how often what came was no answer to it */
	int64_t until_us;		/* the end of the time for this request */
	char error[CURL_ERROR_SIZE];
};

struct cn_http
{
	struct cn_http_common common;
	struct cn_endpoints list;
	struct cn_pools pools;
	cn_http_done_f done;
	bool *moved; /* by endpoint: the address that is remembered did not answer */
	struct transfer *free;
	int64_t looked_us; /* for what libcurl has not ended */
	int64_t due_us;	   /* before that there can be none */
	int most;
	int active;
	struct transfer transfers[];
};

int cn_http_check(void)
{
	return cn_http_setup_check();
}

/* -------- what curl calls -------- */

/* A line of the head or a part of it. The rest of a field that there is not makes
 * the answer a bad one with every libcurl. Where it must not come to libcurl's eyes,
 * on_body() has it first: see cn_http_unfolds_badly(). */
static bool is_usable(struct transfer *t, const char *data)
{
	bool begins = !t->in_line;

	t->in_line = true;
	t->end.folded =
			begins && t->head_lines == 1 && (data[0] == ' ' || data[0] == '\t');
	return !t->end.folded;
}

static size_t on_body(char *data, size_t one, size_t n, void *transfer)
{
	struct transfer *t = transfer;
	size_t size = t->answer_size ? t->answer_size : 1024;
	char *more;

	n *= one;
	if(t->http->common.heads_first && !t->end.head_ended)
		return is_usable(t, data) ? n : CURL_WRITEFUNC_ERROR;
	if(n > t->answer_max - t->answer_len) {
		t->end.too_big = true;
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

/* The first line of an answer in HTTP/1. Has it left before the request came? The
 * other side's kernel confirms what it has with all that it sends. */
static bool is_unasked(struct transfer *t)
{
	long request = 0;

	cn_sockets_set_http_1(&t->http->pools.sockets, t->socket);
	curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &request);
	return request > 0 && cn_socket_unconfirmed(t->socket) >= request;
}

/* An empty line ends the head, also where that came in pieces. Another head may
 * follow one with a status of 1xx, but for 101, Switching Protocols; behind the
 * final one there are trailers. */
static void end_line(struct transfer *t, char first)
{
	long status = 0;

	t->in_line = false;
	t->head_lines++;
	if(t->end.head_ended || (first != '\r' && first != '\n'))
		return;
	t->head_lines = 0;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->end.head_ended = status < 100 || status == 101 || status >= 200;
}

/* One line. */
static size_t on_header(char *data, size_t one, size_t n, void *transfer)
{
	struct transfer *t = transfer;

	n *= one;
	if(t->end.header_bytes == 0) {
		t->end.http_2 = n < 6 || data[5] != '1'; /* HTTP/1.1, HTTP/2 */
		t->end.unasked = !t->end.http_2 && t->socket >= 0 && is_unasked(t);
	}
	t->end.header_bytes += n;
	t->end.too_big = t->end.header_bytes > CN_HEADER_BYTES_MAX;
	if(t->end.unasked || t->end.too_big)
		return CURL_WRITEFUNC_ERROR;
	if(!t->end.head_ended && !is_usable(t, data))
		return CURL_WRITEFUNC_ERROR;
	end_line(t, data[0]);
	return n;
}

/* Is there anything to be read that can be no answer to what is going to be
 * written? HTTP/2 numbers its answers, and has other frames between them. Nor can
 * be known what the kernel has of a new TLS connection: session tickets come
 * before any answer, encrypted like one. */
static void look_at_input(struct transfer *t)
{
	bool tls = t->http->common.endpoints[t->endpoint].tls;
	bool http_1 = cn_conf.http_version == CN_HTTP_1_1
				  || cn_sockets_is_http_1(&t->http->pools.sockets, t->socket);

	if(!http_1 || (tls && !t->end.kept))
		return;
	switch(cn_socket_input(t->socket)) {
		case CN_INPUT_NONE:
			t->end.unasked = tls && cn_http_has_decrypted(t->easy);
			break;
		case CN_INPUT_BYTES:
			t->end.unasked = true;
			break;
		case CN_INPUT_END:
			t->end.ended = true;
			break;
	}
}

/* There is a connection, and nothing of the request was written yet. libcurl
 * takes one with unread bytes for usable; it closes it when this fails. Here as
 * well for what libcurl makes again by itself, which is signed anew, too. */
static int before_request(void *transfer, char *remote_ip, char *local_ip,
		int remote_port, int local_port)
{
	struct transfer *t = transfer;
	struct cn_socket_name name = {remote_ip, local_ip, remote_port, local_port};

	t->socket = cn_sockets_find(&t->http->pools.sockets, &name, t);
	if(t->socket < 0) {
		LM_BUG("unknown connection to %s:%d\n", remote_ip, remote_port);
		return CURL_PREREQFUNC_ABORT;
	}
	t->end.kept = cn_sockets_use(&t->http->pools.sockets, t->socket);
	if(!t->end.kept)
		t->http->moved[t->endpoint] = false;
	look_at_input(t);
	t->end.no_memory = cn_head_sign(&t->head, &t->body) < 0;
	return t->end.unasked || t->end.ended || t->end.no_memory
				   ? CURL_PREREQFUNC_ABORT
				   : CURL_PREREQFUNC_OK;
}

static int on_open(void *transfer, curl_socket_t fd, curlsocktype purpose)
{
	struct transfer *t = transfer;

	(void)purpose;
	t->end.no_memory = cn_sockets_opened(&t->http->pools.sockets, fd, t) < 0;
	return t->end.no_memory ? CURL_SOCKOPT_ERROR : CURL_SOCKOPT_OK;
}

static int on_close(void *http, curl_socket_t fd)
{
	cn_sockets_closed(&((struct cn_http *)http)->pools.sockets, fd);
	return cn_socket_close(fd);
}

/* -------- posting -------- */

static int set_up_easy(struct transfer *t)
{
	struct cn_http_calls calls = {.body = on_body,
			.header = on_header,
			.before = before_request,
			.opened = on_open,
			.transfer = t,
			.closed = on_close,
			.process = t->http};

	memset(&t->options, 0, sizeof(t->options));
	cn_head_init(&t->head, t->http->common.signer, t->http->common.headers);
	t->easy = cn_http_setup_easy(
			&t->http->common, &calls, t->head.list, t->error);
	return t->easy ? 0 : -1;
}

static int start(struct transfer *t, enum cn_http_again again)
{
	long left_ms = (long)((t->until_us - cn_now_us()) / 1000);
	int connect_ms = cn_limits->connect_timeout_ms;
	bool resolve = again == CN_AGAIN_RESOLVED || t->http->moved[t->endpoint];
	struct cn_http_options want;

	if(left_ms < 1)
		left_ms = 1;
	memset(&want, 0, sizeof(want));
	want.connect_ms = connect_ms;
	if(want.connect_ms > left_ms)
		want.connect_ms = left_ms;
	want.names_s = resolve ? 0 : cn_http_name_lifetime_s();
	want.fresh = again == CN_AGAIN_FRESH || again == CN_AGAIN_RESOLVED
				 || cn_http_reuse_is_broken();
	memset(&t->end, 0, sizeof(t->end));
	t->end.error = t->error;
	t->end.hurried = connect_ms > left_ms * 2;
	t->end.resolved = resolve || !t->http->common.endpoints[t->endpoint].named;
	t->head_lines = 0;
	t->in_line = false;
	t->answer_len = 0;
	t->socket = -1;
	t->error[0] = '\0';
	t->multi = cn_pools_choose(&t->http->pools, (int)(t - t->http->transfers));
	if(cn_http_setup_options(t->easy, &t->options, &want) < 0
			|| curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, left_ms)
			|| curl_multi_add_handle(t->multi, t->easy) != CURLM_OK)
		return -1;
	return 0;
}

static int set_up_request(
		struct transfer *t, const struct cn_http_request *request)
{
	CURL *e = t->easy;

	t->until_us = cn_now_us() + (int64_t)request->timeout_ms * 1000;
	t->body = request->body;
	cn_head_set_id(&t->head, &request->id);
	if(t->endpoint != request->endpoint
			&& (curl_easy_setopt(
						e, CURLOPT_URL, t->http->list.url[request->endpoint])
					|| curl_easy_setopt(e, CURLOPT_CURLU,
							t->http->common.endpoints[request->endpoint].url)))
		return -1;
	t->endpoint = request->endpoint;
	t->answer_max = (size_t)t->http->common.max_answer_size * request->answers;
	if(t->answer_max > INT_MAX) /* a str holds no more */
		t->answer_max = INT_MAX;
	t->repeated = 0;
	t->lost = false;
	t->unasked = 0;
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
			|| start(t, CN_AGAIN_NOT) < 0) {
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

/* What was seen, complete. */
static void look_back(struct transfer *t, CURLcode code)
{
	long request = 0;

	t->end.code = code;
	t->unasked += t->end.unasked;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->end.status);
	curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &request);
	t->end.sent = request > 0;
	t->lost = t->lost || (request > 0 && t->end.status == 0);
	t->end.missing = -1;
	if(code != CURLE_OK)
		curl_easy_getinfo(
				t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &t->end.missing);
	if(t->end.missing >= 0)
		t->end.missing -= (curl_off_t)t->answer_len;
}

/* @return it is under way again */
static bool try_again(struct transfer *t)
{
	enum cn_http_again again = cn_http_end_again(&t->end);

	if(again == CN_AGAIN_NOT || cn_now_us() >= t->until_us)
		return false;
	if(again == CN_AGAIN_ANYWHERE && ++t->repeated > CN_AGAIN_MAX)
		return false;
	if(again == CN_AGAIN_RESOLVED)
		t->http->moved[t->endpoint] = true;
	curl_multi_remove_handle(t->multi, t->easy);
	if(start(t, again) == 0)
		return true;
	t->end.no_memory = true;
	return false;
}

static void report(struct transfer *t)
{
	struct cn_http_result result = {.cause = cn_http_end_cause(&t->end),
			.status = t->end.unasked ? 0 : t->end.status,
			.lost = t->lost,
			.unasked = t->unasked,
			.body = {t->answer, (int)t->answer_len},
			.detail = cn_http_end_text(&t->end)};
	curl_off_t retry_after = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
	if(result.cause == CN_CAUSE_none
			&& cn_policy_verdict(result.status) == CN_UNAVAILABLE)
		result.cause = CN_CAUSE_http;
	if(retry_after > 0)
		result.retry_after = retry_after < CN_RETRY_AFTER_MAX_S
									 ? (unsigned)retry_after
									 : CN_RETRY_AFTER_MAX_S;
	t->http->done(t->user, &result);
}

static void end_transfer(struct transfer *t, CURLcode code)
{
	struct cn_http *h = t->http;

	look_back(t, code);
	if(try_again(t))
		return;
	curl_multi_remove_handle(t->multi, t->easy);
	t->active = false;
	h->active--;
	t->next = h->free;
	h->free = t;
	report(t);
}

static void on_ended(CURL *easy, CURLcode code)
{
	struct transfer *t = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
	end_transfer(t, code);
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
			end_transfer(t, CURLE_OPERATION_TIMEDOUT);
		/* also one that begins as another ends */
		if(t->active && due_us(t) < h->due_us)
			h->due_us = due_us(t);
	}
}

/* -------- the process -------- */

static void set_up_transfers(struct cn_http *h)
{
	int i;

	for(i = h->most - 1; i >= 0; i--) {
		h->transfers[i].http = h;
		h->transfers[i].endpoint = -1;
		h->transfers[i].next = h->free;
		h->free = &h->transfers[i];
	}
}

static struct cn_http *new_client(int most, cn_http_done_f done,
		const struct cn_endpoints *list, const struct cn_files *files)
{
	struct cn_http *h = calloc(1, sizeof(*h) + most * sizeof(struct transfer));

	if(h == NULL)
		return NULL;
	h->done = done;
	h->list = *list;
	h->most = most;
	h->pools.sockets.epoll = -1;
	h->moved = calloc(list->count, sizeof(*h->moved));
	if(cn_http_setup_common(&h->common, files, &h->list) < 0 || h->moved == NULL
			|| cn_pools_set_up(&h->pools, most, list->count, on_ended) < 0) {
		cn_http_free(h);
		return NULL;
	}
	set_up_transfers(h);
	return h;
}

struct cn_http *cn_http_new(int most, cn_http_done_f done,
		const struct cn_endpoints *list, struct cn_fault *fault)
{
	struct cn_http *h = NULL;
	struct cn_files files;

	if(cn_files_load(&files, fault) < 0)
		return NULL;
	if(curl_global_init(CURL_GLOBAL_ALL) == 0)
		h = new_client(most, done, list, &files);
	if(h == NULL)
		snprintf(fault->text, sizeof(fault->text),
				"cannot set up libcurl, out of memory");
	cn_files_forget(&files);
	return h;
}

const struct cn_endpoints *cn_http_endpoints(const struct cn_http *http)
{
	return &http->list;
}

bool cn_http_is_idle(const struct cn_http *http)
{
	return http->active == 0;
}

void cn_http_free(struct cn_http *http)
{
	int i;

	for(i = 0; i < http->most; i++) {
		curl_easy_cleanup(http->transfers[i].easy);
		free(http->transfers[i].answer);
	}
	cn_pools_destroy(&http->pools);
	cn_http_setup_free_common(&http->common);
	free(http->moved);
	free(http);
}

int cn_http_watch(struct cn_http *http, int fd)
{
	return cn_pools_watch(&http->pools, fd);
}

void cn_http_run(struct cn_http *http, int timeout_ms)
{
	if(http->active > 0 && (timeout_ms < 0 || timeout_ms > CN_LOOK_MS))
		timeout_ms = CN_LOOK_MS;
	cn_pools_run(&http->pools, timeout_ms);
	end_overdue(http);
}
