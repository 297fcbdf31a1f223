/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A breaker an endpoint: after failures in a row nothing is sent there for a
 * while, then one real POST at a time until one succeeds. In shared memory, for
 * all HTTP processes together. Never sticks: an open one lets a POST through
 * after each cooldown, and a POST that never ends does not count for longer
 * than its deadline. */

#ifndef CN_HTTP_BREAKER_H
#define CN_HTTP_BREAKER_H

#include "base_policy.h"

enum cn_breaker_state
{
	CN_BREAKER_CLOSED, /* all POSTs pass */
	CN_BREAKER_OPEN,   /* none */
	CN_BREAKER_HALF	   /* one is on its way to find out */
};

enum cn_breaker_edge
{
	CN_BREAKER_SAME,
	CN_BREAKER_WENT, /* closed, now open */
	CN_BREAKER_BACK	 /* not closed, now closed */
};

/* Process: main, before any fork. */
int cn_breaker_init(int endpoints) CN_MUST;
void cn_breaker_destroy(void);

/* Another endpoint has its place: closed, as at the start. Process: any. */
void cn_breaker_reset(int endpoint);

/**
 * May a POST go to this endpoint now? Who gets true sends one, and reports how
 * it went.
 */
bool cn_breaker_pass(int endpoint, int64_t now_us) CN_MUST;

/* Would cn_breaker_pass() say true? Changes nothing. */
bool cn_breaker_would_pass(int endpoint, int64_t now_us);

/* The first of these endpoints, from that place on, to which one would pass. @return
 * count: none */
int cn_breaker_next(const int *endpoints, int count, int from, int64_t now_us);

/**
 * How a POST went; what that says of the endpoint is cn_policy_says()'s to decide.
 *
 * @return BACK or WENT to one caller each
 */
enum cn_breaker_edge cn_breaker_report(
		int endpoint, enum cn_cause cause, long status, int64_t now_us);

/* Why it opened last; connect before that. */
enum cn_cause cn_breaker_cause(int endpoint);

enum cn_breaker_state cn_breaker_state(int endpoint);
const char *cn_breaker_state_name(enum cn_breaker_state state);

#endif
