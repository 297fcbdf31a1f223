/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Counts what an AOR has under way. In SIP workers. */

#include <limits.h>

#include "job_quota.h"

#define CN_WAITERS_MAX 64

static bool is_of_aor(const struct cn_job *job, const struct cn_event *ev)
{
	return !cn_job_is_delivery(job) && cn_job_same_aor(job, &ev->key);
}

bool cn_quota_counts(const struct cn_job *job)
{
	return !cn_job_decided(job)
		   || (cn_job_outcome(job)->verdict != CN_REJECTED
				   && cn_job_outcome(job)->verdict != CN_UNAVAILABLE);
}

bool cn_quota_allows_waiter(struct cn_job *first, const struct cn_event *ev)
{
	struct cn_job *job;
	int n = 0;

	for(job = first; job; job = cn_job_link(job)->next) {
		const struct cn_job_link *link = cn_job_link(job);

		/* whose last request is being answered counts as well */
		if(is_of_aor(job, ev))
			n += link->waiter_count > 0 ? link->waiter_count : 1;
	}
	return n < CN_WAITERS_MAX;
}

/* What a job has saved is a binding: unknown, if that was not seen, or if nobody
 * knows (save() has only prolonged what had expired). */
enum cn_quota cn_quota_for_contacts(
		struct cn_job *first, const struct cn_event *ev)
{
	struct cn_job *job;
	bool saving = false;
	int n = 0;

	if(ev->room == INT_MAX)
		return CN_QUOTA_LEFT;
	for(job = first; job; job = cn_job_link(job)->next) {
		const struct cn_job_link *link = cn_job_link(job);

		if(!is_of_aor(job, ev) || !cn_quota_counts(job))
			continue;
		if(link->saved_seq > ev->seq)
			return CN_QUOTA_UNKNOWN;
		if(link->saved_seq != 0)
			continue;
		n += cn_job_contacts_besides(job, ev);
		saving = saving || link->resumed;
	}
	if(n <= ev->room)
		return CN_QUOTA_LEFT;
	return saving ? CN_QUOTA_UNKNOWN : CN_QUOTA_SPENT;
}
