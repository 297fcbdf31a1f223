/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Answers to what is neither parked nor left to save(). */

#ifndef CN_REG_ANSWER_H
#define CN_REG_ANSWER_H

#include "base.h"

struct sip_msg;

/* A transaction holds a copy of its request, in shared memory. */
#define CN_REQUEST_MAX 16384

/* Process: main, in mod_init. Needs sl loaded. */
int cn_answer_init(void) CN_MUST;

/* As save() answers more contacts than registrar's max_contacts. */
void cn_answer_too_many(struct sip_msg *msg);

/* The request is longer than CN_REQUEST_MAX. */
void cn_answer_too_large(struct sip_msg *msg);

#endif
