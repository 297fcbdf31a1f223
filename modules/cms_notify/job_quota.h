/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What one AOR may have under way: so many requests that wait, and so many
 * contacts as save() allows. For the index, under the lock of the slot. */

#ifndef CN_JOB_QUOTA_H
#define CN_JOB_QUOTA_H

#include "job.h"

enum cn_quota
{
	CN_QUOTA_LEFT,
	CN_QUOTA_SPENT,
	CN_QUOTA_UNKNOWN /* look at the bindings again */
};

/* May another request of the AOR wait? A device has a handful that do; more is
 * a broken device or a stolen password, and must not fill the queue.
 *
 * @param first job of the slot, which may be another AOR's */
bool cn_quota_allows_waiter(struct cn_job *first, const struct cn_event *ev);

/* Would the event's contacts, when all that is under way has been accepted, be
 * as many as save() allows? */
enum cn_quota cn_quota_for_contacts(
		struct cn_job *first, const struct cn_event *ev);

/* Does a job count? Not once it has failed: a retry that comes while the first
 * request is being answered gets a chance of its own. What has been accepted, or
 * is in the outbox, counts until it is saved. */
bool cn_quota_counts(const struct cn_job *job);

#endif
