/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "http_sockets.h"

struct cn_socket
{
	uint32_t watched; /* events in the epoll set, 0: it is not there */
	bool idle;		  /* nobody waits for them */
	bool may_stay;
	void *who;
};

/* @return NULL: no memory */
static struct cn_socket *find(struct cn_sockets *sockets, int fd)
{
	int size = sockets->size ? sockets->size : 256;
	struct cn_socket *more;

	if(fd < sockets->size)
		return &sockets->list[fd];
	while(size <= fd)
		size *= 2;
	more = realloc(sockets->list, size * sizeof(*more));
	if(more == NULL)
		return NULL;
	memset(more + sockets->size, 0, (size - sockets->size) * sizeof(*more));
	sockets->list = more;
	sockets->size = size;
	return &more[fd];
}

static void forget(struct cn_sockets *sockets, int fd, bool may_stay)
{
	struct cn_socket *s = find(sockets, fd);

	if(s == NULL)
		return;
	memset(s, 0, sizeof(*s));
	s->may_stay = may_stay;
}

void cn_sockets_opened(struct cn_sockets *sockets, int fd)
{
	forget(sockets, fd, true);
}

/* The kernel takes it out of the set by itself. */
void cn_sockets_closed(struct cn_sockets *sockets, int fd)
{
	forget(sockets, fd, false);
}

static void leave(struct cn_sockets *sockets, int fd, struct cn_socket *s)
{
	struct epoll_event ev = {.events = 0};

	/* it may be closed already, without a word */
	epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, fd, &ev);
	s->watched = 0;
	s->idle = false;
}

int cn_sockets_want(
		struct cn_sockets *sockets, int fd, uint32_t events, void *who)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};
	struct cn_socket *s = find(sockets, fd);
	int op;

	if(s == NULL) {
		errno = ENOMEM;
		return -1;
	}
	s->who = who;
	s->idle = events == 0 && s->may_stay;
	if(s->idle || s->watched == events)
		return 0;
	if(events == 0) {
		leave(sockets, fd, s);
		return 0;
	}
	op = s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if(epoll_ctl(sockets->epoll, op, fd, &ev) < 0)
		return -1;
	s->watched = events;
	return 0;
}

void *cn_sockets_who(struct cn_sockets *sockets, int fd)
{
	struct cn_socket *s = find(sockets, fd);

	if(s == NULL || !s->idle)
		return s ? s->who : NULL;
	leave(sockets, fd, s);
	return NULL;
}
