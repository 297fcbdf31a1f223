/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* SIGTERM in the processes of the module: what is under way is finished before
 * the process ends. Kamailio's main process waits for its children, and the
 * bindings are written to the database after that. */

#ifndef CN_BASE_STOP_H
#define CN_BASE_STOP_H

#include "base.h"

/* From now on SIGTERM and SIGINT no longer end this process.
 * Process: HTTP, verdict; once, after the fork. */
int cn_stop_init(void) CN_MUST;

/* Readable when one of them came. */
int cn_stop_fd(void);

/* Has one of them come? */
bool cn_stop_asked(void);

/* Microseconds that are left for what is under way; 0 or less: none. */
int64_t cn_stop_left_us(void);

/* A SIP worker that ends in the middle of a request may hold a lock, and the main
 * process waits for it in vain, a minute long. So SIGTERM ends it when the script has
 * ended, or drain_timeout and two seconds later. */

/* Have begin and end of a request's script noticed. Process: main, in mod_init. */
int cn_stop_watch_requests(void) CN_MUST;

/* Process: SIP worker; once, after the fork. */
int cn_stop_hold_back(void) CN_MUST;

#endif
