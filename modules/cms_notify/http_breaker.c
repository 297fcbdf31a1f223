/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Opens and closes the breakers of endpoints. In the HTTP processes. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "http_breaker.h"
#include "base_limits.h"

struct breaker
{
	gen_lock_t lock;
	enum cn_breaker_state state;
	enum cn_cause cause;
	int failures;	  /* in a row, while closed */
	int64_t since_us; /* open: when it opened; half: when the POST left */
};

static struct breaker *breakers;

int cn_breaker_init(int endpoints)
{
	int i;

	breakers = shm_malloc(endpoints * sizeof(*breakers));
	if(breakers == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(breakers, 0, endpoints * sizeof(*breakers));
	for(i = 0; i < endpoints; i++) {
		if(lock_init(&breakers[i].lock) == NULL) {
			LM_ERR("cannot make a lock\n");
			return -1;
		}
		cn_breaker_reset(i);
	}
	return 0;
}

void cn_breaker_destroy(void)
{
	if(breakers)
		shm_free(breakers);
	breakers = NULL;
}

void cn_breaker_reset(int endpoint)
{
	struct breaker *b = &breakers[endpoint];

	lock_get(&b->lock);
	b->state = CN_BREAKER_CLOSED;
	b->cause = CN_CAUSE_connect;
	b->failures = 0;
	lock_release(&b->lock);
}

/* Without its lock. */
static bool is_closed(const struct breaker *b)
{
	return *(const volatile enum cn_breaker_state *)&b->state
		   == CN_BREAKER_CLOSED;
}

static bool may_pass(const struct breaker *b, int64_t now_us)
{
	switch(b->state) {
		case CN_BREAKER_CLOSED:
			return true;
		case CN_BREAKER_OPEN:
			return now_us - b->since_us
				   >= (int64_t)cn_limits->breaker_cooldown_ms * 1000;
		case CN_BREAKER_HALF:
			/* whoever was to find out has not come back */
			return now_us - b->since_us > cn_timeout_us();
	}
	return true;
}

bool cn_breaker_pass(int endpoint, int64_t now_us)
{
	struct breaker *b = &breakers[endpoint];
	bool pass;

	if(is_closed(b))
		return true;
	lock_get(&b->lock);
	pass = may_pass(b, now_us);
	if(pass && b->state != CN_BREAKER_CLOSED) {
		b->state = CN_BREAKER_HALF;
		b->since_us = now_us;
	}
	lock_release(&b->lock);
	return pass;
}

bool cn_breaker_would_pass(int endpoint, int64_t now_us)
{
	struct breaker *b = &breakers[endpoint];
	bool pass;

	if(is_closed(b))
		return true;
	lock_get(&b->lock);
	pass = may_pass(b, now_us);
	lock_release(&b->lock);
	return pass;
}

int cn_breaker_next(const int *endpoints, int count, int from, int64_t now_us)
{
	while(from < count && !cn_breaker_would_pass(endpoints[from], now_us))
		from++;
	return from;
}

/* Our own fault says nothing of the endpoint; who was to find out has not. */
static void not_sent(struct breaker *b)
{
	if(b->state == CN_BREAKER_HALF)
		b->state = CN_BREAKER_OPEN;
}

static enum cn_breaker_edge failed(
		struct breaker *b, enum cn_cause cause, int64_t now_us)
{
	b->cause = cause;
	switch(b->state) {
		case CN_BREAKER_CLOSED:
			if(++b->failures < cn_limits->breaker_failures)
				return CN_BREAKER_SAME;
			b->state = CN_BREAKER_OPEN;
			b->since_us = now_us;
			return CN_BREAKER_WENT;
		case CN_BREAKER_HALF:
			b->state = CN_BREAKER_OPEN;
			b->since_us = now_us;
			break;
		case CN_BREAKER_OPEN: /* left before it opened */
			break;
	}
	return CN_BREAKER_SAME;
}

static enum cn_breaker_edge worked(struct breaker *b)
{
	bool was_away = b->state != CN_BREAKER_CLOSED;

	b->state = CN_BREAKER_CLOSED;
	b->failures = 0;
	return was_away ? CN_BREAKER_BACK : CN_BREAKER_SAME;
}

enum cn_breaker_edge cn_breaker_report(
		int endpoint, enum cn_cause cause, long status, int64_t now_us)
{
	struct breaker *b = &breakers[endpoint];
	enum cn_breaker_edge edge = CN_BREAKER_SAME;

	lock_get(&b->lock);
	switch(cn_policy_says(cause, status)) {
		case CN_SAYS_WORKS:
		case CN_SAYS_OF_EVENT:
			edge = worked(b);
			break;
		case CN_SAYS_AWAY:
			edge = failed(b, cause, now_us);
			break;
		case CN_SAYS_NOTHING:
			not_sent(b);
			break;
	}
	lock_release(&b->lock);
	return edge;
}

enum cn_cause cn_breaker_cause(int endpoint)
{
	return breakers[endpoint].cause;
}

enum cn_breaker_state cn_breaker_state(int endpoint)
{
	return breakers[endpoint].state;
}

const char *cn_breaker_state_name(enum cn_breaker_state state)
{
	switch(state) {
		case CN_BREAKER_CLOSED:
			return "closed";
		case CN_BREAKER_OPEN:
			return "open";
		case CN_BREAKER_HALF:
			return "half-open";
	}
	return "";
}
