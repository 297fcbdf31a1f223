/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A TCP server on the loopback interface that does what a test tells it to, in
 * a process of its own, a thread a connection. */

#ifndef SERVER_H
#define SERVER_H

#include "stubs.h"

#define REQUESTS_MAX 512
#define REQUEST_SIZE 8192

/* What it saw; shared with the test. */
struct server
{
	pid_t pid;
	int listener;
	int port;
	int connections; /* accepted so far */
	int open;		 /* now */
	int most_open;
	int requests;
	int marks; /* that a test's server has made */
	int seen;  /* answers that the test has seen, by its own count */
	struct
	{
		int connection; /* from 1 */
		char text[REQUEST_SIZE];
	} log[REQUESTS_MAX];
};

struct connection
{
	struct server *server;
	int fd;
	int number;	  /* from 1 */
	int requests; /* read from it */
	char request[REQUEST_SIZE];
};

/* Serve a connection until it returns; then the connection is closed. */
typedef void (*serve_f)(struct connection *c);

struct server *server_start(serve_f serve);
void server_stop(struct server *server);

/* Read a whole request. @return false: the client has gone */
bool server_read(struct connection *c);
void server_say(struct connection *c, const char *text);
void server_say_n(struct connection *c, const char *bytes, size_t n);
/* An answer with this status and body, on a connection that stays. */
void server_answer(struct connection *c, int status, const char *headers,
		const char *body);
/* Say no more, but go on reading. */
void server_end(struct connection *c);
/* Close with RST instead of FIN. */
void server_reset(struct connection *c);
void server_pause_ms(int ms);
/* Tell the test that something is done. */
void server_mark(struct connection *c);

#endif
