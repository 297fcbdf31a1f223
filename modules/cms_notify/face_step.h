/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What a REGISTER did, as a step of its device. Process: SIP worker. */

#ifndef CN_FACE_STEP_H
#define CN_FACE_STEP_H

#include "../../core/parser/msg_parser.h"

#include "job_event.h"

/* It waits for a verdict from now on, or looks again. Sets ev->step. */
void cn_face_step_wait(struct sip_msg *msg, struct cn_event *ev, bool joins);

/* It is no new registration: a refresh, a de-registration, a query, or save() is
 * going to refuse it. */
void cn_face_step_not_new(struct sip_msg *msg, const struct cn_event *ev);

/* This server refuses it. */
void cn_face_step_refuse(
		struct sip_msg *msg, const struct cn_event *ev, const char *why);

/* It is new, and could not wait. */
void cn_face_step_fail(
		struct sip_msg *msg, const struct cn_event *ev, enum cn_cause cause);

/**
 * cms_step(): the script has refused it before cms_notify().
 *
 * @param aor URI of the AOR; NULL: the To header's
 * @return false: that is no address
 */
bool cn_face_step_script(struct sip_msg *msg, const str *aor, const str *why);

#endif
