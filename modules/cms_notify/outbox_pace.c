/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "outbox_pace.h"

/* Failures in a row from which on it is the CMS and not the event. */
#define CN_AWAY 3
#define CN_FIRST_MS 500
#define CN_CAP_MS 10000

static struct
{
	int most;
	int window;
	int failures; /* in a row */
	int64_t due_us;
	int64_t failed_us; /* the last one */
	int64_t asked_us;  /* the CMS, for a pause */
} pace = {.most = 1, .window = 1};

void cn_pace_init(int most)
{
	pace.most = most;
}

bool cn_pace_is_probing(void)
{
	return pace.failures >= CN_AWAY;
}

int cn_pace_window(void)
{
	return pace.window;
}

int64_t cn_pace_due_us(void)
{
	return pace.due_us;
}

void cn_pace_succeeded(void)
{
	pace.failures = 0;
	pace.due_us = 0;
	pace.window = pace.window > pace.most / 2 ? pace.most : pace.window * 2;
}

void cn_pace_answered(int64_t at_us)
{
	if(at_us <= pace.failed_us || at_us <= pace.asked_us)
		return;
	pace.failures = 0;
	pace.due_us = 0;
}

static void not_before(int64_t us)
{
	if(pace.due_us < us)
		pace.due_us = us;
}

bool cn_pace_failed(
		int64_t began_us, unsigned retry_after_s, int64_t now_us, unsigned dice)
{
	if(retry_after_s > 0) {
		not_before(now_us + (int64_t)retry_after_s * 1000000);
		pace.asked_us = now_us;
	}
	if(began_us < pace.failed_us)
		return false;
	pace.failed_us = now_us;
	pace.window = 1;
	if(++pace.failures < CN_AWAY)
		return true;
	not_before(now_us
			   + 1000LL
						 * cn_policy_backoff_ms(pace.failures - CN_AWAY + 1,
								 CN_FIRST_MS, CN_CAP_MS, dice));
	return false;
}
