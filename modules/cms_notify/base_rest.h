/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* At each stop the main process takes the lock of Kamailio's timers, and would wait
 * for it for a minute if a timer process had been ended with it. And Debian's
 * Kamailio 5.6 takes a lock as it ends by SIGTERM: a timer process that has it waits
 * for itself. So the timers stand still first, where they have no lock. */

#ifndef CN_BASE_REST_H
#define CN_BASE_REST_H

#include "base.h"

/* Process: main, in mod_init. */
int cn_rest_init(void) CN_MUST;

#endif
