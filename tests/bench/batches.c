/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A CMS that accepts each event of a batch, as fast as it can: nginx cannot name
 * the events that it answers. It counts, and says so to GET, as nginx does.
 *
 * Usage: batches PORT */

#define _GNU_SOURCE /* accept4(), memmem() */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "127.0.0.1"
/* A POST has 1 MB of events at most, and its head. */
#define REQUEST_MAX (1100 * 1024)
#define ANSWER_MAX (128 * 1024)
#define HEAD_MAX 200
#define ID "\"id\":\""
#define ID_LEN 32
#define LENGTH "\r\nContent-Length:"
#define EVENTS 256

struct connection
{
	int fd;
	size_t len, size;
	char *request; /* so far, with a zero behind it */
};

static unsigned long accepted, requests;

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static int listen_at(int port)
{
	struct sockaddr_in at = {
			.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

	inet_pton(AF_INET, HOST, &at.sin_addr);
	if(fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0
			|| bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0
			|| listen(fd, 4096) < 0)
		fail("cannot listen");
	return fd;
}

static void watch(int set, int fd, void *who)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = who};

	if(epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) < 0)
		fail("epoll_ctl");
}

static void take(int set, int listener)
{
	struct connection *c;
	int fd, on = 1;

	while((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c = calloc(1, sizeof(*c));
		if(c == NULL)
			fail("calloc");
		c->fd = fd;
		accepted++;
		watch(set, fd, c);
	}
}

static void end(struct connection *c)
{
	close(c->fd);
	free(c->request);
	free(c);
}

static size_t write_results(const char *body, size_t len, char *to)
{
	const char *at = body, *last = body + len;
	size_t n = 0;

	while((at = memmem(at, last - at, ID, strlen(ID))) != NULL
			&& at + strlen(ID) + ID_LEN < last && n < ANSWER_MAX - 100) {
		at += strlen(ID);
		n += sprintf(to + n, "%c{\"id\":\"%.*s\",\"status\":200}",
				n ? ',' : '[', ID_LEN, at);
	}
	to[n++] = ']';
	return n;
}

static size_t write_counts(char *to)
{
	return sprintf(to, "%lu %lu %lu\n", accepted, accepted, requests);
}

static void answer(struct connection *c, const char *body, size_t len)
{
	static char all[HEAD_MAX + ANSWER_MAX], text[ANSWER_MAX];
	size_t n, size;

	requests++;
	size = len > 0 ? write_results(body, len, text) : write_counts(text);
	n = sprintf(all,
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n",
			size);
	memcpy(all + n, text, size);
	if(send(c->fd, all, n + size, MSG_NOSIGNAL) != (ssize_t)(n + size))
		perror("cannot answer");
}

/* The client sends one request at a time. */
static void answer_if_whole(struct connection *c)
{
	const char *body = strstr(c->request, "\r\n\r\n"), *length;
	size_t len = 0;

	if(body == NULL)
		return;
	body += 4;
	length = strcasestr(c->request, LENGTH);
	if(length && length < body)
		len = strtoul(length + strlen(LENGTH), NULL, 10);
	if(c->len < (size_t)(body - c->request) + len)
		return;
	answer(c, body, len);
	c->len = 0;
}

static void grow(struct connection *c)
{
	if(c->size - c->len > 1)
		return;
	c->size = c->size ? c->size * 2 : 4096;
	c->request = realloc(c->request, c->size);
	if(c->request == NULL)
		fail("realloc");
}

static void serve(struct connection *c)
{
	ssize_t n;

	grow(c);
	n = recv(c->fd, c->request + c->len, c->size - c->len - 1, 0);
	if(n <= 0 || c->len + n > REQUEST_MAX) {
		end(c);
		return;
	}
	c->len += n;
	c->request[c->len] = '\0';
	answer_if_whole(c);
}

int main(int argc, char **argv)
{
	int listener = listen_at(argc == 2 ? atoi(argv[1]) : 0);
	int set = epoll_create1(0), n, i;
	struct epoll_event events[EVENTS];

	watch(set, listener, NULL);
	/* whoever was stopped goes on */
	while((n = epoll_wait(set, events, EVENTS, -1)) >= 0 || errno == EINTR) {
		for(i = 0; i < n; i++) {
			if(events[i].data.ptr)
				serve(events[i].data.ptr);
			else
				take(set, listener);
		}
	}
	fail("epoll_wait");
}
