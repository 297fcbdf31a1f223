/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The connections of an HTTP process: libcurl's multi handles on one epoll set.
 * Knows handles that begin and end, nothing of what they say. */

#ifndef CN_HTTP_POOLS_H
#define CN_HTTP_POOLS_H

#include <curl/curl.h>

#include "http_sockets.h"

struct cn_pool; /* requests that share their connections */

/* A handle has ended; it is still in its multi handle. */
typedef void (*cn_pools_ended_f)(CURL *easy, CURLcode code);

struct cn_pools
{
	struct cn_sockets sockets;
	struct cn_pool *list;
	int count;
	int most; /* requests under way */
	cn_pools_ended_f ended;
};

/**
 * @param most      requests under way
 * @param endpoints that they go to
 * @return -1: no memory
 */
int cn_pools_set_up(struct cn_pools *pools, int most, int endpoints,
		cn_pools_ended_f ended) CN_MUST;

/* Close all connections. No handle is in a pool any more. */
void cn_pools_destroy(struct cn_pools *pools);

/* The one that request number n (from 0, below `most`) belongs into now. */
CURLM *cn_pools_choose(const struct cn_pools *pools, int n) CN_MUST;

/* Wake cn_pools_run() whenever somebody writes to fd, which nobody reads. */
int cn_pools_watch(struct cn_pools *pools, int fd) CN_MUST;

/* Wait for something to happen, at most timeout_ms (-1: no limit), and do it. */
void cn_pools_run(struct cn_pools *pools, int timeout_ms);

#endif
