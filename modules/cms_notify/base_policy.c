/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Verdicts, causes and times from what was seen; no state. In every process. */

#include "base_policy.h"

const char *cn_verdict_name(enum cn_verdict verdict)
{
	switch(verdict) {
		case CN_ACCEPTED:
			return "accepted";
		case CN_REJECTED:
			return "rejected";
		case CN_DEFERRED:
			return "deferred";
		case CN_UNAVAILABLE:
			return "unavailable";
	}
	return "";
}

const char *cn_cause_name(enum cn_cause cause)
{
	static const char *const names[] = {
#define CN_X(name, counted, text) #name,
			CN_CAUSES(CN_X)
#undef CN_X
	};
	return names[cause];
}

const char *cn_cause_text(enum cn_cause cause)
{
	static const char *const texts[] = {
#define CN_X(name, counted, text) text,
			CN_CAUSES(CN_X)
#undef CN_X
	};
	return texts[cause];
}

const char *cn_reason_name(enum cn_reason reason)
{
	switch(reason) {
		case CN_REASON_NONE:
			return "";
		case CN_REASON_NEW:
			return "new";
		case CN_REASON_RETURNED:
			return "returned";
		case CN_REASON_REBOOT:
			return "reboot";
		case CN_REASON_MOVED:
			return "moved";
	}
	return "";
}

const char *cn_kind_name(enum cn_kind kind)
{
	switch(kind) {
		case CN_KIND_REGISTER:
			return "register";
		case CN_KIND_UNREGISTER:
			return "unregister";
		case CN_KIND_EXPIRE:
			return "expire";
		case CN_KIND_OFFLINE:
			return "offline";
		case CN_KIND_SNAPSHOT:
			return "snapshot";
	}
	return "";
}

enum cn_verdict cn_policy_verdict(long status)
{
	if(status >= 200 && status < 300)
		return CN_ACCEPTED;
	if(status < 400 || status >= 500)
		return CN_UNAVAILABLE;
	switch(status) {
		case 408: /* Request Timeout */
		case 409: /* Conflict: the same event is being worked on */
		case 425: /* Too Early */
		case 429: /* Too Many Requests */
			return CN_UNAVAILABLE;
		default:
			return CN_REJECTED;
	}
}

bool cn_policy_may_be_known(long status)
{
	return cn_policy_verdict(status) == CN_ACCEPTED || status == 409
		   || status == 502 || status == 504;
}

enum cn_says cn_policy_says(enum cn_cause cause, long status)
{
	switch(cause) {
		case CN_CAUSE_none:
			return CN_SAYS_WORKS;
		case CN_CAUSE_http:
			return status == 409 || status == 425 ? CN_SAYS_OF_EVENT
												  : CN_SAYS_AWAY;
		case CN_CAUSE_timeout:
		case CN_CAUSE_connect:
		case CN_CAUSE_tls:
		case CN_CAUSE_too_big:
		case CN_CAUSE_bad_answer:
			return CN_SAYS_AWAY;
		case CN_CAUSE_busy:
		case CN_CAUSE_shutdown:
		case CN_CAUSE_memory:
		case CN_CAUSE_outbox:
		case CN_CAUSE_bad_request:
		case CN_CAUSE_COUNT:
			break;
	}
	return CN_SAYS_NOTHING;
}

bool cn_policy_moves_on(enum cn_cause cause, long status)
{
	return cn_policy_says(cause, status) != CN_SAYS_WORKS && status != 409;
}

bool cn_policy_is_of_event(long status)
{
	return cn_policy_says(CN_CAUSE_http, status) == CN_SAYS_OF_EVENT;
}

long cn_policy_attempt_ms(long left_ms, long attempt_ms, bool last)
{
	long ms = last || left_ms < attempt_ms ? left_ms : attempt_ms;

	return ms > 0 ? ms : 1; /* to libcurl 0 means: no limit */
}

int64_t cn_policy_ask_again_us(int64_t wait_us)
{
	const int64_t early_us = 60000000;

	if(wait_us <= early_us)
		return wait_us;
	return wait_us / 2 > early_us ? wait_us / 2 : early_us;
}

unsigned cn_policy_retry_after(int64_t wait_us, unsigned cms_s, unsigned dice)
{
	const unsigned max_s = CN_RETRY_AFTER_MAX_S;
	unsigned seconds = 1, spread = 2;

	if(wait_us >= 1000000)
		seconds = wait_us / 1000000 < max_s ? (unsigned)(wait_us / 1000000)
											: max_s;
	/* Moments are spread already, and one second more or none is as much too
	 * late as too early. What the CMS says it may say to a crowd. */
	if(seconds < cms_s) {
		seconds = cms_s < max_s ? cms_s : max_s;
		spread += seconds / 8;
	}
	seconds += dice % spread;
	return seconds < max_s ? seconds : max_s;
}

int cn_policy_backoff_ms(int failures, int first_ms, int cap_ms, unsigned dice)
{
	int ms = first_ms;

	while(--failures > 0 && ms < cap_ms)
		ms = ms > cap_ms / 2 ? cap_ms : ms * 2;
	if(ms > cap_ms)
		ms = cap_ms;
	return ms - (int)(dice % (unsigned)(ms / 2 + 1));
}
