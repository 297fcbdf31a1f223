/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "client.h"

#include "base_stats.h"

struct cn_conf cn_conf;

struct cn_http *http;
struct cn_fault fault;
struct cn_endpoints endpoints;
struct cn_http *all_https[1024];
struct server *server;
struct result *result;
int answers;
char urls[2][128];

int connections;

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
	check(gauge == CN_GAUGE_connections);
	connections += by;
}

void on_done(void *user, const struct cn_http_result *r)
{
	struct result *mine = user;

	check(r->detail != NULL && strlen(r->detail) < 4096);
	check(r->body.len < (int)sizeof(mine->body));
	mine->ended = true;
	mine->times++;
	mine->cause = r->cause;
	mine->status = r->status;
	mine->retry_after = r->retry_after;
	mine->unasked = r->unasked;
	mine->us = cn_now_us() - mine->began_us;
	if(r->body.len > 0)
		memcpy(mine->body, r->body.s, r->body.len);
	mine->body[r->body.len] = '\0';
	mine->len = r->body.len;
}

int start(void **state)
{
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	endpoints.url[0] = urls[0];
	endpoints.count = 1;
	stub_limits.timeout_ms = 20000;
	stub_limits.connect_timeout_ms = 10000;
	cn_conf.max_connections = 32;
	stub_limits.connection_lifetime_s = 300;
	cn_conf.max_in_flight = 256;
	stub_limits.max_answer_size = 16384;
	cn_conf.batch_max = answers = 1;
	free(result);
	result = malloc(sizeof(*result));
	memset(result, 0, sizeof(*result));
	http = NULL;
	server = NULL;
	stub_clear_log();
	return 0;
}

int end(void **state)
{
	if(server)
		server_stop(server);
	server = NULL;
	return stub_shm_blocks() == 0 && stub_pkg_blocks() == 0 ? 0 : -1;
}

void set_url(int i, int port)
{
	snprintf(urls[i], sizeof(urls[i]), "http://127.0.0.1:%d/register", port);
	endpoints.url[i] = urls[i];
}

struct cn_http *new_http(int most)
{
	static int n;
	struct cn_http *h = cn_http_new(most, on_done, &endpoints, &fault);

	assert_non_null(h);
	assert_true(n < 1023);
	all_https[n++] = h;
	return h;
}

void set_up(serve_f serve, int most)
{
	server = server_start(serve);
	set_url(0, server->port);
	http = new_http(most);
}

int post_to(int endpoint, struct result *r, const char *id,
		const char *body, long timeout_ms)
{
	struct cn_http_request request = {.endpoint = endpoint,
			.id = stub_str(id),
			.body = stub_str(body),
			.answers = answers,
			.timeout_ms = timeout_ms};

	memset(r, 0, sizeof(*r));
	r->began_us = cn_now_us();
	return cn_http_post(http, &request, r);
}

bool wait_for(struct result *r)
{
	int64_t until = cn_now_us() + 60000000;

	while(!r->ended && cn_now_us() < until)
		cn_http_run(http, 1000);
	return r->ended;
}

void run_until_ended(struct result *r)
{
	assert_true(wait_for(r));
	assert_int_equal(r->times, 1);
}

struct result *post_ms(long timeout_ms)
{
	assert_int_equal(post_to(0, result, ID, "{\"a\":1}", timeout_ms), 0);
	assert_false(result->ended);
	run_until_ended(result);
	return result;
}

struct result *post(void)
{
	return post_ms(PATIENCE_MS);
}

struct result *post_once(serve_f serve)
{
	set_up(serve, 4);
	return post();
}

void run_ms(int ms)
{
	int64_t until = cn_now_us() + (int64_t)ms * 1000;

	while(cn_now_us() < until)
		cn_http_run(http, 10);
}

int unused_port(void)
{
	struct server *s = server_start(answer_ok);
	int port = s->port;

	server_stop(s);
	return port;
}

/* -------- what servers do -------- */

void answer_ok(struct connection *c)
{
	while(server_read(c))
		server_answer(c, 200, "", "{\"text\":\"ok\"}");
}

void answer_204(struct connection *c)
{
	while(server_read(c))
		server_say(c, "HTTP/1.1 204 No Content\r\n\r\n");
}

void answer_endlessly(struct connection *c)
{
	char block[4096];
	int i;

	memset(block, 'a', sizeof(block));
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\n\r\n");
	for(i = 0; i < 5000; i++)
		server_say_n(c, block, sizeof(block));
}

void close_in_the_head(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Le");
}
