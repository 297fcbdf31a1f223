/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What one AOR may have under way: so many requests that wait, and so many
 * contacts as save() allows. For the index, under the lock of the slot. */

#ifndef CN_JOB_ROOM_H
#define CN_JOB_ROOM_H

#include "job.h"

enum cn_room
{
	CN_ROOM,
	CN_NO_ROOM,
	CN_ROOM_UNKNOWN /* look at the bindings again */
};

/* May another request of the AOR wait? A device has a handful that do; more is
 * a broken device or a stolen password, and must not fill the queue.
 *
 * @param first job of the slot, which may be another AOR's */
bool cn_room_for_waiter(struct cn_job *first, const struct cn_event *ev);

/* Would the event's contacts, when all that is under way has been accepted, be
 * as many as save() allows? */
enum cn_room cn_room_for_contacts(
		struct cn_job *first, const struct cn_event *ev);

/* Has it failed? A retry that comes while the first request is being answered
 * gets a chance of its own. What has been accepted, or is in the outbox, is under
 * way until it is saved. */
bool cn_room_is_over(const struct cn_job *job);

#endif
