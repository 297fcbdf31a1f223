/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The processes of the module, one step at a time. */

#ifndef STEPS_H
#define STEPS_H

#include "http_client.h"

/* outbox process */
void step_outbox(void);
int64_t step_outbox_due_us(void);

/* HTTP process */
int step_http_start(void);
void step_http(void);
void step_http_done(void *user, const struct cn_http_result *result);
/* Has the i-th job of a POST its verdict? */
bool step_http_is_decided(const void *user, int i);

/* who resumes */
void step_verdict(void);

/* alive process: its start; it runs until cn_stop_asked() */
int step_alive_start(void);
void step_alive(void);

/* timer */
void step_watchdog(void);

#endif
