/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* One entry of Kamailio's log is one line of text, whatever it repeats of a
 * request, an answer or a database: of the whole server, since core and modules
 * log before and behind us, and the script does. */

#ifndef CN_BASE_LOG_H
#define CN_BASE_LOG_H

#include "base.h"

/* From now on, in this process and in those that it forks. An engine that the
 * operator has chosen (log_engine_type) stays. Process: main, before any fork.
 * @return 0; -1: no memory, with a line in the log */
int cn_log_init(void) CN_MUST;
void cn_log_destroy(void);

/* This process serves strangers: of what one address sends it writes one entry
 * within a minute that is not this module's or the script's. */
void cn_log_limit(void);

#endif
