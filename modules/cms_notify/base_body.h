/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* An event as JSON, by a template. The structure comes from the template alone, values are escaped by the JSON
 * library: nothing that a device sends can change the structure. */

#ifndef CN_BASE_BODY_H
#define CN_BASE_BODY_H

#include "../../core/pvar.h"

#include "job_event.h"

struct sip_msg;

/**
 * Compile the template. Process: main, in mod_init.
 *
 * @param text JSON; strings may hold pseudo-variables. A string that is just
 *             one of them becomes a number or null where its value is one;
 *             "$cms(contacts)" becomes the array of contacts. NULL: the body of
 *             the published interface.
 * @return 0, or -1 with one line in the log: what is wrong, and where
 */
int cn_body_init(const char *text) CN_MUST;

/* Is $cms(id) in the template, so that whoever gets the document can say which event
 * it answers? */
bool cn_body_has_id(void);

/* The pseudo-variables that need no SIP message: those with this function. For
 * an event without a request (of any other kind than register) the others are
 * null. */
void cn_body_own_values(pv_getf_t get);

/**
 * Fill the template in.
 * Process: SIP worker; outbox, with any message, for an event without a request.
 *
 * @param body in memory of this process that the next call overwrites
 * @return 0, or -1: out of memory, or longer than CN_BODY_MAX
 */
int cn_body_render(
		struct sip_msg *msg, const struct cn_event *ev, str *body) CN_MUST;
#define CN_BODY_MAX 262144

/* The array of the new contacts, as text, in the memory of cn_body_render().
 * @return 0 or -1, as there */
int cn_body_contacts(const struct cn_event *ev, str *text) CN_MUST;

#endif
