/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The file of settings: what it says takes the place of parameters. Checked as a whole,
 * then put in force. */

#ifndef CN_HTTP_SETTINGS_H
#define CN_HTTP_SETTINGS_H

#include "base_settings.h"

/**
 * What is to be in force: parameters, and the file over them, as it is now. Process:
 * any.
 *
 * @return what the caller gives to cn_settings_free(); NULL: with a fault
 */
struct cn_settings *cn_settings_load(struct cn_fault *fault) CN_MUST;
void cn_settings_free(struct cn_settings *settings); /* NULL is allowed */

/* All of them, or with a fault none. Process: any, one at a time. */
int cn_settings_put_in_force(
		const struct cn_settings *settings, struct cn_fault *fault) CN_MUST;

/* From now on a timeout must fit tm's fr_timer. Does the one in force? Process: main,
 * before any fork. -1: with a line in the log */
int cn_settings_set_fr_timer(int fr_timer_ms) CN_MUST;

#endif
