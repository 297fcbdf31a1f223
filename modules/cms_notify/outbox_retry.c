/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Paces the deliveries. In the outbox process. */

#include "outbox_retry.h"

/* Failures in a row from which on it is the CMS and not the event. */
#define CN_AWAY 3
#define CN_PROBE_FIRST_MS 500
#define CN_PROBE_CAP_MS 10000
#define CN_AOR_FIRST_MS 1000
#define CN_AOR_CAP_MS 300000

static struct
{
	int most;
	int window;
	int failures; /* in a row */
	int64_t due_us;
	int64_t failed_us; /* the last one */
	int64_t asked_us;  /* the CMS, for a pause */
} retry = {.most = 1, .window = 1};

void cn_retry_init(int most)
{
	retry.most = most;
}

bool cn_retry_is_probing(void)
{
	return retry.failures >= CN_AWAY;
}

int cn_retry_window(void)
{
	return retry.window;
}

int64_t cn_retry_due_us(void)
{
	return retry.due_us;
}

void cn_retry_succeeded(void)
{
	retry.failures = 0;
	retry.due_us = 0;
	retry.window =
			retry.window > retry.most / 2 ? retry.most : retry.window * 2;
}

void cn_retry_answered(int64_t at_us)
{
	if(at_us <= retry.failed_us || at_us <= retry.asked_us)
		return;
	retry.failures = 0;
	retry.due_us = 0;
}

static void not_before(int64_t us)
{
	if(retry.due_us < us)
		retry.due_us = us;
}

bool cn_retry_failed(
		int64_t began_us, unsigned retry_after_s, int64_t now_us, unsigned dice)
{
	if(retry_after_s > 0) {
		not_before(now_us + (int64_t)retry_after_s * 1000000);
		retry.asked_us = now_us;
	}
	if(began_us < retry.failed_us)
		return false;
	retry.failed_us = now_us;
	retry.window = 1;
	if(++retry.failures < CN_AWAY)
		return true;
	not_before(now_us
			   + 1000LL
						 * cn_policy_backoff_ms(retry.failures - CN_AWAY + 1,
								 CN_PROBE_FIRST_MS, CN_PROBE_CAP_MS, dice));
	return false;
}

int64_t cn_retry_aor_due_us(
		int failures, unsigned pause_s, int64_t now_us, unsigned dice)
{
	int64_t ms = cn_policy_backoff_ms(
			failures, CN_AOR_FIRST_MS, CN_AOR_CAP_MS, dice);

	if((int64_t)pause_s * 1000 > ms)
		ms = (int64_t)pause_s * 1000;
	return now_us + ms * 1000;
}
