/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* An epoll set of descriptors that are only woken by. In verdict and outbox process. */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "../../core/dprint.h"

#include "base_wait.h"

int cn_wait_new(void)
{
	int set = epoll_create1(EPOLL_CLOEXEC);

	if(set < 0)
		LM_ERR("cannot make an epoll: %s\n", strerror(errno));
	return set;
}

int cn_wait_add(int set, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = fd};

	if(epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	LM_ERR("cannot watch a file descriptor: %s\n", strerror(errno));
	return -1;
}

void cn_wait(int set, int timeout_ms)
{
	struct epoll_event events[4];

	if(epoll_wait(set, events, sizeof(events) / sizeof(events[0]), timeout_ms)
					< 0
			&& errno != EINTR)
		LM_ERR("epoll_wait: %s\n", strerror(errno));
}
