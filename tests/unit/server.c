/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE /* strcasestr() */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "server.h"

static serve_f serve_connection;

static void *serve(void *arg)
{
	struct connection *c = arg;
	struct server *s = c->server;
	int now = __atomic_add_fetch(&s->open, 1, __ATOMIC_SEQ_CST);
	int most = __atomic_load_n(&s->most_open, __ATOMIC_SEQ_CST);

	while(now > most
			&& !__atomic_compare_exchange_n(&s->most_open, &most, now, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	serve_connection(c);
	__atomic_sub_fetch(&s->open, 1, __ATOMIC_SEQ_CST);
	close(c->fd);
	free(c);
	return NULL;
}

static void run(struct server *s)
{
	pthread_attr_t attr;
	pthread_t thread;
	int on = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for(;;) {
		struct connection *c = calloc(1, sizeof(*c));

		c->server = s;
		c->fd = accept(s->listener, NULL, NULL);
		if(c->fd < 0)
			_exit(1);
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c->number = __atomic_add_fetch(&s->connections, 1, __ATOMIC_SEQ_CST);
		if(pthread_create(&thread, &attr, serve, c) != 0)
			_exit(1);
	}
}

struct server *server_start(serve_f f)
{
	struct sockaddr_in address = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct server *s = stub_shared(sizeof(*s));
	socklen_t len = sizeof(address);
	pid_t pid;

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if(s->listener < 0
			|| bind(s->listener, (struct sockaddr *)&address, len) < 0
			|| listen(s->listener, 128) < 0
			|| getsockname(s->listener, (struct sockaddr *)&address, &len) < 0)
		abort();
	s->port = ntohs(address.sin_port);
	serve_connection = f;
	fflush(NULL);
	pid = fork();
	if(pid < 0)
		abort();
	if(pid == 0)
		run(s);
	s->pid = pid;
	close(s->listener);
	return s;
}

void server_stop(struct server *s)
{
	kill(s->pid, SIGKILL);
	while(waitpid(s->pid, NULL, 0) < 0)
		;
}

static size_t content_length(const char *head)
{
	const char *p = strcasestr(head, "\r\nContent-Length:");

	return p ? strtoul(p + 17, NULL, 10) : 0;
}

bool server_read(struct connection *c)
{
	char *text = c->request, *end = NULL;
	size_t n = 0, whole = 0;
	ssize_t got;
	int number;

	while(end == NULL || n < whole) {
		got = recv(c->fd, text + n, REQUEST_SIZE - 1 - n, 0);
		if(got <= 0)
			return false;
		n += got;
		text[n] = '\0';
		end = strstr(text, "\r\n\r\n");
		if(end)
			whole = end + 4 - text + content_length(text);
	}
	c->requests++;
	number = __atomic_fetch_add(&c->server->requests, 1, __ATOMIC_SEQ_CST);
	if(number < REQUESTS_MAX) {
		c->server->log[number].connection = c->number;
		memcpy(c->server->log[number].text, text, n + 1);
	}
	return true;
}

void server_say_n(struct connection *c, const char *bytes, size_t n)
{
	ssize_t sent;

	while(n > 0) {
		sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
		if(sent <= 0)
			return;
		bytes += sent;
		n -= sent;
	}
}

void server_say(struct connection *c, const char *text)
{
	server_say_n(c, text, strlen(text));
}

void server_answer(
		struct connection *c, int status, const char *headers, const char *body)
{
	char head[1024];

	snprintf(head, sizeof(head),
			"HTTP/1.1 %d Whatever\r\n%sContent-Length: %zu\r\n\r\n", status,
			headers, strlen(body));
	server_say(c, head);
	server_say(c, body);
}

void server_end(struct connection *c)
{
	shutdown(c->fd, SHUT_WR);
}

void server_reset(struct connection *c)
{
	struct linger linger = {1, 0};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void server_pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

void server_mark(struct connection *c)
{
	__atomic_add_fetch(&c->server->marks, 1, __ATOMIC_SEQ_CST);
}
