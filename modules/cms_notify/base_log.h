/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* One entry of Kamailio's log is one line of text, whatever it repeats of a
 * request, an answer or a database: of the whole server, since core and modules
 * log before and behind us, and the script does. */

#ifndef CN_BASE_LOG_H
#define CN_BASE_LOG_H

/* From now on, in this process and in those that it forks. An engine that the
 * operator has chosen (log_engine_type) stays. Process: main, before any fork. */
void cn_log_init(void);
void cn_log_destroy(void);

/* This process serves strangers: it writes so many entries a second that are
 * not this module's or the script's. */
void cn_log_limit(void);

#endif
