/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* $cms(name): the event while its body is made, and the verdict while the
 * script reads it. */

#ifndef CN_FACE_PV_H
#define CN_FACE_PV_H

#include "../../core/pvar.h"

#include "job.h"

extern pv_export_t cn_pv_exports[];

/* The event of the message whose body is being made; NULL: none. */
void cn_pv_set_event(const struct cn_event *ev);

/* The verdict for the request that is about to be resumed; NULL: none.
 * Process: verdict. */
void cn_pv_set_verdict(struct cn_job *job, const struct cn_waiter *waiter);

/* cms_notify() is about to return false for this message: seen by this
 * message's script alone. Process: SIP worker. */
void cn_pv_set_failure(
		struct sip_msg *msg, enum cn_cause cause, const struct cn_event *ev);

#endif
