/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The sockets of one process: in an epoll set, and what the kernel knows of
 * them. To enter the set and to leave it are system calls, two for each request:
 * a connection that nobody waits for stays in, until something comes of it.
 * Memory is the system's. */

#ifndef CN_HTTP_SOCKETS_H
#define CN_HTTP_SOCKETS_H

#include "base.h"

struct cn_socket;

#define CN_SOCKET_CHAINS 256

struct cn_sockets
{
	int epoll;
	struct cn_socket *list; /* by descriptor */
	int size;
	int chains[CN_SOCKET_CHAINS]; /* by name; descriptor + 1, 0: none */
};

/* There is no connection any more. */
void cn_sockets_destroy(struct cn_sockets *sockets);

/**
 * A connection begins: it is told when it is closed, and may thus stay in.
 *
 * @param opener who makes it; it has one at a time
 * @return -1: no memory
 */
int cn_sockets_opened(
		struct cn_sockets *sockets, int fd, const void *opener) CN_MUST;
void cn_sockets_closed(struct cn_sockets *sockets, int fd);

/**
 * Wait for these events of a descriptor, which is the data of them; 0: for
 * none.
 *
 * @param who waits
 * @return 0, or -1 with errno
 */
int cn_sockets_want(
		struct cn_sockets *sockets, int fd, uint32_t events, void *who) CN_MUST;

/* There is an event: who waits for it? NULL: nobody; it has left the set, as the
 * event would come again and again. */
void *cn_sockets_who(struct cn_sockets *sockets, int fd);

/* -------- which connection, and what it is like -------- */

/* What the two ends of a connection are called, numeric. */
struct cn_socket_name
{
	const char *remote_ip, *local_ip;
	int remote_port, local_port;
};

/**
 * A connection by its name.
 *
 * @param opener of one that is connected now and has no name yet
 * @return its descriptor, -1: unknown
 */
int cn_sockets_find(struct cn_sockets *sockets,
		const struct cn_socket_name *name, const void *opener) CN_MUST;

/* A request is about to be written. @return has there been one before? */
bool cn_sockets_use(struct cn_sockets *sockets, int fd);

/* An answer of HTTP/1 came on it: it carries one request at a time. */
void cn_sockets_set_http_1(struct cn_sockets *sockets, int fd);
bool cn_sockets_is_http_1(const struct cn_sockets *sockets, int fd);

enum cn_socket_input
{
	CN_INPUT_NONE,
	CN_INPUT_BYTES, /* unread ones */
	CN_INPUT_END	/* closed or broken by the other side */
};

enum cn_socket_input cn_socket_input(int fd);

/* Bytes that the other side's kernel has not confirmed. */
int cn_socket_unconfirmed(int fd);

/* Close a connection. What has not reached the CMS by now must not reach it after
 * something newer: the kernel would go on trying. */
int cn_socket_close(int fd);

#endif
