/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Waits, for an HTTP process, for its connections and for libcurl's timers, and
 * calls libcurl. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "http_pools.h"
#include "http_setup.h"

#define CN_EVENTS 64
/* Connections of a pool: for each request libcurl looks for a free one among
 * all of them. */
#define CN_POOL 128

struct cn_pool
{
	CURLM *multi;
	struct cn_pools *pools;
	int64_t timer_us; /* when curl wants to be called, -1: never */
	bool called;	  /* something may have ended */
};

static int on_timer(CURLM *multi, long timeout_ms, void *pool)
{
	struct cn_pool *p = pool;

	(void)multi;
	p->timer_us =
			timeout_ms < 0 ? -1 : cn_now_us() + (int64_t)timeout_ms * 1000;
	return 0;
}

static int on_socket(
		CURL *easy, curl_socket_t fd, int what, void *pool, void *unused)
{
	struct cn_pool *p = pool;
	uint32_t events = 0;

	(void)easy;
	(void)unused;
	if(what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if(what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	/* this request will time out; an error here would end all of them */
	if(cn_sockets_want(&p->pools->sockets, fd, events, p) < 0)
		LM_ERR("cannot watch a connection: %s\n", strerror(errno));
	return 0;
}

/* The requests of HTTP/2 share as few connections as possible. */
static bool shares_connections(void)
{
	return cn_conf.http_version != CN_HTTP_1_1 && !cn_http_reuse_is_broken();
}

/* With HTTP/1.1 a pool has a connection for each of its requests. Connections
 * that are shared are hardly ever idle, which is when libcurl looks at their age:
 * there are two pools, and they take turns. */
int cn_pools_set_up(
		struct cn_pools *pools, int most, int endpoints, cn_pools_ended_f ended)
{
	int connections = cn_conf.max_connections, i;

	pools->most = most;
	pools->ended = ended;
	pools->sockets.epoll = epoll_create1(EPOLL_CLOEXEC);
	pools->count = shares_connections() ? 2 : 1;
	if(cn_conf.http_version == CN_HTTP_1_1 && most > CN_POOL) {
		pools->count = (most + CN_POOL - 1) / CN_POOL;
		connections = (most + pools->count - 1) / pools->count;
	}
	pools->list = calloc(pools->count, sizeof(*pools->list));
	if(pools->sockets.epoll < 0 || pools->list == NULL)
		return -1;
	for(i = 0; i < pools->count; i++) {
		struct cn_pool *p = &pools->list[i];

		p->pools = pools;
		p->timer_us = -1;
		p->multi = cn_http_setup_multi(
				connections, endpoints, on_socket, on_timer, p);
		if(p->multi == NULL)
			return -1;
	}
	return 0;
}

void cn_pools_destroy(struct cn_pools *pools)
{
	int i;

	for(i = 0; pools->list && i < pools->count; i++)
		curl_multi_cleanup(pools->list[i].multi);
	free(pools->list);
	cn_sockets_destroy(&pools->sockets);
}

CURLM *cn_pools_choose(const struct cn_pools *pools, int n)
{
	int64_t lifetime_us = (int64_t)cn_limits->connection_lifetime_s * 1000000;

	if(cn_conf.http_version == CN_HTTP_1_1)
		return pools->list[n * pools->count / pools->most].multi;
	/* Connections of the one that had its turn before are older than they may
	 * be when it has it again, and none is used: libcurl closes them. */
	if(lifetime_us > 0)
		return pools->list[cn_now_us() / lifetime_us % pools->count].multi;
	return pools->list[0].multi;
}

int cn_pools_watch(struct cn_pools *pools, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	ev.data.fd = -1; /* none of curl's */
	if(epoll_ctl(pools->sockets.epoll, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	LM_ERR("cannot watch a file descriptor: %s\n", strerror(errno));
	return -1;
}

/* @return has any ended? */
static bool end_handles(struct cn_pool *p)
{
	CURLMsg *msg;
	int left;
	bool any = false;

	while((msg = curl_multi_info_read(p->multi, &left)) != NULL) {
		if(msg->msg != CURLMSG_DONE)
			continue;
		p->pools->ended(msg->easy_handle, msg->data.result);
		any = true;
	}
	return any;
}

static int wait_ms(const struct cn_pools *pools, int timeout_ms)
{
	int64_t next = INT64_MAX, left;
	int i;

	for(i = 0; i < pools->count; i++) {
		if(pools->list[i].timer_us >= 0 && pools->list[i].timer_us < next)
			next = pools->list[i].timer_us;
	}
	if(next == INT64_MAX)
		return timeout_ms;
	left = (next - cn_now_us() + 999) / 1000;
	if(left < 0)
		left = 0;
	return timeout_ms >= 0 && timeout_ms < left ? timeout_ms : (int)left;
}

static int curl_mask(uint32_t events)
{
	int mask = 0;

	if(events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if(events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if(events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	return mask;
}

static void call(struct cn_pool *p, curl_socket_t fd, int mask)
{
	int running;

	p->called = true;
	curl_multi_socket_action(p->multi, fd, mask, &running);
}

static void wait_for_events(struct cn_pools *pools, int timeout_ms)
{
	struct epoll_event events[CN_EVENTS];
	int i, n;

	n = epoll_wait(pools->sockets.epoll, events, CN_EVENTS,
			wait_ms(pools, timeout_ms));
	for(i = 0; i < n; i++) {
		int fd = events[i].data.fd;
		struct cn_pool *p =
				fd >= 0 ? cn_sockets_who(&pools->sockets, fd) : NULL;

		if(p)
			call(p, fd, curl_mask(events[i].events));
	}
}

static void run_timers(struct cn_pools *pools)
{
	int64_t now = cn_now_us();
	int i;

	for(i = 0; i < pools->count; i++) {
		struct cn_pool *p = &pools->list[i];

		if(p->timer_us >= 0 && now >= p->timer_us) {
			p->timer_us = -1; /* curl sets it anew */
			call(p, CURL_SOCKET_TIMEOUT, 0);
		}
	}
}

static bool end_called(struct cn_pools *pools)
{
	bool any = false;
	int i;

	for(i = 0; i < pools->count; i++) {
		struct cn_pool *p = &pools->list[i];

		if(!p->called)
			continue;
		p->called = false;
		if(end_handles(p))
			any = true;
	}
	return any;
}

/* What has just begun is written before we sleep. */
void cn_pools_run(struct cn_pools *pools, int timeout_ms)
{
	run_timers(pools);
	if(end_called(pools))
		return;
	wait_for_events(pools, timeout_ms);
	run_timers(pools);
	(void)end_called(pools);
}
