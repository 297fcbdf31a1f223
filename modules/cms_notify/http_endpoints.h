/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The endpoints in force, in order of preference, and those before them that something
 * may still be sent to. Each has a slot of its own, by which its breaker and its
 * statistics go: a URL that stays keeps its slot, wherever it is in the list. */

#ifndef CN_HTTP_ENDPOINTS_H
#define CN_HTTP_ENDPOINTS_H

#include "base_conf.h"

#define CN_ENDPOINT_SLOTS 32
#define CN_URL_MAX 2048 /* with the NUL */

/* A list that was in force at some time. What it names stays until it is given back. */
struct cn_endpoints
{
	unsigned number; /* of the list: the same list has the same */
	int count;
	int slot[CN_ENDPOINTS_MAX];
	const char *url[CN_ENDPOINTS_MAX]; /* shared memory */
};

/* Process: main, before any fork. There is none at first. */
int cn_endpoints_init(void) CN_MUST;
void cn_endpoints_destroy(void);

/**
 * Put other URLs in force. New ones begin with a closed breaker and no statistics.
 * Process: any.
 *
 * @param url each shorter than CN_URL_MAX
 * @return 0, or -1: nothing has changed, since too many that have been replaced are
 *         still in use: for as long as a POST takes, or a script that an HTTP process
 *         runs
 */
int cn_endpoints_set(const char *const *url, int count) CN_MUST;

/* The list in force, and its being given back. Process: any. */
void cn_endpoints_take(struct cn_endpoints *list);
void cn_endpoints_give_back(const struct cn_endpoints *list);

/* Where it is in the list in force, from 0 on. @return -1: not any more */
int cn_endpoints_find(int slot) CN_MUST;

#endif
