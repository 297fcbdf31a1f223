/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The sockets of one process in an epoll set. To enter it and to leave it are
 * system calls, two for each request: a connection that nobody waits for stays
 * in, until something comes of it. Memory is the system's. */

#ifndef CN_HTTP_SOCKETS_H
#define CN_HTTP_SOCKETS_H

#include "base.h"

struct cn_socket;

struct cn_sockets
{
	int epoll;
	struct cn_socket *list; /* by descriptor */
	int size;
};

/* A connection begins: it is told when it is closed, and may thus stay in. */
void cn_sockets_opened(struct cn_sockets *sockets, int fd);
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

#endif
