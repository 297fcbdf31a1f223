/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What a CMS may send on a connection that two POSTs go over: each of them ends
 * once, in time, with a cause that fits its status. */

#define _GNU_SOURCE /* accept4() */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "stubs.h"

#include "base_conf.h"
#include "base_stats.h"
#include "base_stats.h"
#include "http_client.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* The first byte: what the CMS does besides; \xff: the next piece comes later */
const char *const fuzz_seeds[] = {"a" OK, "b" OK "\xff" OK,
		"cHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n\xff" OK,
		"dHTTP/1.1 100 Continue\r\n\r\n\xffHTTP/1.1 200 OK\r\n"
		"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n\xff"
		"0\r\nX-Sum: 1\r\n\r\n",
		"eHTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n<html>",
		"fHTTP/1.0 204 No Content\r\n\r\n\xffok", "", NULL};

const char *const fuzz_words[] = {"HTTP/1.1 ", "HTTP/1.0 ", "200 OK\r\n",
		"403 Forbidden\r\n", "503 Unavailable\r\n", "408 Time-out\r\n",
		"100 Continue\r\n", "101 Switching Protocols\r\n", "304 Same\r\n",
		"Content-Length: 2\r\n", "Content-Length: 0\r\n",
		"Content-Length: 99999\r\n", "Content-Length: -1\r\n",
		"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n",
		"Connection: close\r\n", "Retry-After: 7\r\n", "Location: /x\r\n",
		"\r\n", "\r\n\r\n", "0\r\n\r\n", "2\r\nok\r\n", "\xff", "\xff\xff", OK,
		NULL};

const long fuzz_runs = 1500;

#define TIMEOUT_MS 20
#define CONNECTIONS 8

struct cn_conf cn_conf;

static struct cn_http *http;
static int listener;
static struct
{
	int fd; /* 0: free */
	const uint8_t *left;
	size_t n;
	bool asked;
} connections[CONNECTIONS];

static int ended;
static long answered, late;

static void on_done(void *user, const struct cn_http_result *result)
{
	(void)user;
	ended++;
	if(result->detail == NULL || result->body.len > stub_limits.max_answer_size)
		abort();
	if(result->cause == CN_CAUSE_none
			&& cn_policy_verdict(result->status) == CN_UNAVAILABLE)
		abort();
	if(result->cause == CN_CAUSE_http
			&& cn_policy_verdict(result->status) != CN_UNAVAILABLE)
		abort();
	answered += result->cause == CN_CAUSE_none;
	late += result->cause == CN_CAUSE_timeout;
}

static void set_up(void)
{
	struct cn_endpoints endpoints;
	struct cn_fault fault;
	struct sockaddr_in address = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	static char url[64];

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if(bind(listener, (struct sockaddr *)&address, len) < 0
			|| listen(listener, CONNECTIONS) < 0
			|| getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		abort();
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(address.sin_port));
	endpoints.url[0] = url;
	endpoints.count = 1;
	stub_limits.connect_timeout_ms = TIMEOUT_MS;
	cn_conf.max_connections = 2;
	cn_conf.max_in_flight = 2;
	stub_limits.max_answer_size = 1024;
	stub_limits.connection_lifetime_s = 300;
	cn_conf.batch_max = 1;
	http = cn_http_new(2, on_done, &endpoints, &fault);
	if(http == NULL)
		abort();
}

static void hang_up(int i)
{
	close(connections[i].fd);
	memset(&connections[i], 0, sizeof(connections[i]));
}

/* The next piece, when it has been asked, or unasked where it is told to. */
static void say(int i, int how)
{
	const uint8_t *end = memchr(connections[i].left, 0xff, connections[i].n);
	size_t n = end ? (size_t)(end - connections[i].left) : connections[i].n;

	if(!connections[i].asked && !(how & 1))
		return;
	if(n > 0)
		(void)!send(connections[i].fd, connections[i].left, n, MSG_NOSIGNAL);
	n += end != NULL;
	connections[i].left += n;
	connections[i].n -= n;
	if(connections[i].n == 0 && (how & 2))
		hang_up(i);
}

static void serve(const uint8_t *data, size_t n, int how)
{
	char request[4096];
	int i, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	for(i = 0; i < CONNECTIONS && fd >= 0; i++) {
		if(connections[i].fd != 0)
			continue;
		connections[i].fd = fd;
		connections[i].left = data;
		connections[i].n = n;
		fd = -1;
	}
	if(fd >= 0)
		close(fd);
	for(i = 0; i < CONNECTIONS; i++) {
		ssize_t got;

		if(connections[i].fd == 0)
			continue;
		got = recv(connections[i].fd, request, sizeof(request), 0);
		if(got == 0) {
			hang_up(i);
			continue;
		}
		connections[i].asked |= got > 0;
		if(connections[i].n > 0)
			say(i, how);
	}
}

static void post(const uint8_t *data, size_t n, int how)
{
	struct cn_http_request request = {.timeout_ms = TIMEOUT_MS,
			.id = stub_str("4f0c"),
			.body = stub_str("{}"),
			.answers = 1};
	int64_t began = cn_now_us();

	ended = 0;
	if(cn_http_post(http, &request, NULL) < 0)
		abort();
	while(ended == 0) {
		serve(data, n, how);
		cn_http_run(http, 0);
		/* the machine may have stopped us for a while */
		if(cn_now_us() - began > 30000000)
			abort();
	}
	cn_http_run(http, 0);
	if(ended != 1)
		abort();
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
}

bool fuzz_was_worth_it(long runs)
{
	/* two POSTs a run; a machine with much to do makes any of them late */
	return answered > (2 * runs - late) / 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int how = size > 0 ? data[0] : 0, i;

	if(http == NULL)
		set_up();
	data += size > 0;
	size -= size > 0;
	post(data, size, how);
	post(data, size, how);
	for(i = 0; i < CONNECTIONS; i++) {
		if(connections[i].fd != 0)
			hang_up(i);
	}
	return 0;
}
