/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The parameters that may change while the server runs, as they are in force: nothing
 * was laid out by them at the start. */

#ifndef CN_BASE_LIMITS_H
#define CN_BASE_LIMITS_H

#include "base.h"

/* A SIP client gives up after 32 s (64*T1, RFC 3261 17.1.2.2). */
#define CN_TIMEOUT_MAX_MS 30000

struct cn_limits
{
	int timeout_ms;
	int connect_timeout_ms;
	int attempt_timeout_ms;
	int connection_lifetime_s; /* 0: no bound */
	int max_answer_size;
	int breaker_failures;
	int breaker_cooldown_ms;
	int outbox_max_age_s;
	int resync_rate; /* events a second */
	int drain_timeout_ms;
};

/* Each by itself is read and written at once. Who needs one twice, and the same both
 * times, keeps a copy. Process: any. */
extern const volatile struct cn_limits *cn_limits;

/* How long an event that begins now may take. */
static inline int64_t cn_timeout_us(void)
{
	return (int64_t)cn_limits->timeout_ms * 1000;
}

/* Process: main, before any fork. */
int cn_limits_init(const struct cn_limits *limits) CN_MUST;
void cn_limits_destroy(void);

/* Put them in force. Process: any, one at a time. */
void cn_limits_set(const struct cn_limits *limits);

/* One of them: a parameter's name and range. */
struct cn_limit
{
	const char *name;
	unsigned short at; /* in struct cn_limits */
	int min, max;
};

#define CN_LIMIT_ROWS 10 /* rows */

/* @return NULL: there are no more */
const struct cn_limit *cn_limit_row(int i);
const struct cn_limit *cn_limit_find(const char *name);
int cn_limit_index(const struct cn_limit *row);

int cn_limit_value(const struct cn_limits *limits, const struct cn_limit *row);
void cn_limit_set_value(
		struct cn_limits *limits, const struct cn_limit *row, int value);

#endif
