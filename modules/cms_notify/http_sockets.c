/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The sockets of one HTTP process: who waits for them, which is which, and what
 * is there to be read. */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../core/dprint.h"

#include "base_stats.h"
#include "http_sockets.h"

struct cn_socket
{
	uint32_t watched; /* events in the epoll set, 0: it is not there */
	bool idle;		  /* nobody waits for them */
	bool may_stay;
	bool used;	 /* a request was written */
	bool http_1; /* and answered in HTTP/1 */
	void *who;
	const void *opener;
	int local_port; /* 0: it has no name yet */
	int remote_port;
	char local_ip[INET6_ADDRSTRLEN];
	char remote_ip[INET6_ADDRSTRLEN];
	int next; /* in the chain of its local port, as its head */
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

void cn_sockets_destroy(struct cn_sockets *sockets)
{
	if(sockets->epoll >= 0)
		close(sockets->epoll);
	free(sockets->list);
}

static int *chain_of(struct cn_sockets *sockets, int local_port)
{
	return &sockets->chains[local_port % CN_SOCKET_CHAINS];
}

static void unname(struct cn_sockets *sockets, int fd)
{
	int *link = chain_of(sockets, sockets->list[fd].local_port);

	while(*link != 0 && *link != fd + 1)
		link = &sockets->list[*link - 1].next;
	if(*link != 0)
		*link = sockets->list[fd].next;
}

static int begin(
		struct cn_sockets *sockets, int fd, bool may_stay, const void *opener)
{
	struct cn_socket *s = find(sockets, fd);

	if(s == NULL)
		return -1;
	if(s->local_port != 0)
		unname(sockets, fd);
	memset(s, 0, sizeof(*s));
	s->may_stay = may_stay;
	s->opener = opener;
	return 0;
}

int cn_sockets_opened(struct cn_sockets *sockets, int fd, const void *opener)
{
	cn_stats_gauge(CN_GAUGE_connections, 1);
	return begin(sockets, fd, true, opener);
}

/* The kernel takes it out of the set by itself. */
void cn_sockets_closed(struct cn_sockets *sockets, int fd)
{
	cn_stats_gauge(CN_GAUGE_connections, -1);
	if(fd < sockets->size)
		(void)!begin(sockets, fd, false, NULL);
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

static bool has_name(
		const struct cn_socket *s, const struct cn_socket_name *name)
{
	return s->local_port == name->local_port
		   && s->remote_port == name->remote_port
		   && strcmp(s->local_ip, name->local_ip) == 0
		   && strcmp(s->remote_ip, name->remote_ip) == 0;
}

/* What it made that has no name yet: the others were closed when this one was
 * the first to be connected. */
static int find_new(const struct cn_sockets *sockets, const void *opener)
{
	int fd;

	for(fd = 0; fd < sockets->size; fd++) {
		if(sockets->list[fd].opener == opener
				&& sockets->list[fd].local_port == 0)
			return fd;
	}
	return -1;
}

int cn_sockets_find(struct cn_sockets *sockets,
		const struct cn_socket_name *name, const void *opener)
{
	int *chain, fd;
	struct cn_socket *s;

	if(name->local_port <= 0 || strlen(name->local_ip) >= sizeof(s->local_ip)
			|| strlen(name->remote_ip) >= sizeof(s->remote_ip))
		return -1;
	chain = chain_of(sockets, name->local_port);
	for(fd = *chain - 1; fd >= 0; fd = sockets->list[fd].next - 1) {
		if(has_name(&sockets->list[fd], name))
			return fd;
	}
	fd = find_new(sockets, opener);
	if(fd < 0)
		return -1;
	s = &sockets->list[fd];
	s->local_port = name->local_port;
	s->remote_port = name->remote_port;
	memcpy(s->local_ip, name->local_ip, strlen(name->local_ip) + 1);
	memcpy(s->remote_ip, name->remote_ip, strlen(name->remote_ip) + 1);
	s->next = *chain;
	*chain = fd + 1;
	return fd;
}

bool cn_sockets_use(struct cn_sockets *sockets, int fd)
{
	bool used = sockets->list[fd].used;

	sockets->list[fd].used = true;
	return used;
}

void cn_sockets_set_http_1(struct cn_sockets *sockets, int fd)
{
	sockets->list[fd].http_1 = true;
}

bool cn_sockets_is_http_1(const struct cn_sockets *sockets, int fd)
{
	return sockets->list[fd].http_1;
}

enum cn_socket_input cn_socket_input(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if(n > 0)
		return CN_INPUT_BYTES;
	if(n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return CN_INPUT_NONE;
	return CN_INPUT_END;
}

int cn_socket_unconfirmed(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

int cn_socket_close(int fd)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	if(cn_socket_unconfirmed(fd) > 0
			&& setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once))
					   < 0)
		LM_ERR("cannot abort a connection: %s\n", strerror(errno));
	return close(fd);
}
