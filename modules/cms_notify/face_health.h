/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Should this server get new registrations? For who shares them out among several. */

#ifndef CN_FACE_HEALTH_H
#define CN_FACE_HEALTH_H

#include "base.h"

#define CN_HEALTH_TEXT_MAX 160

/**
 * This server is not draining, and new registrations get an answer of the CMS, or are
 * deferred, as far as is known. An endpoint that was away counts as there when its
 * cooldown is over: otherwise nobody would ever find out that it is back, where only
 * those who are ready get work.
 * Process: any.
 *
 * @param why why not, a line for each reason; "ready"
 */
bool cn_health_is_ready(char why[CN_HEALTH_TEXT_MAX]);

/* The script defers what the CMS does not get. Process: main, before any fork. */
void cn_health_set_deferring(void);

#endif
