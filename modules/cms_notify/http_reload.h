/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Files have changed: who notices, puts the settings in force, and how the HTTP
 * processes learn of it. Only what was found good is told. */

#ifndef CN_HTTP_RELOAD_H
#define CN_HTTP_RELOAD_H

#include "base.h"
#include "base_fault.h"

/* How often it is looked whether files have changed. */
#define CN_RELOAD_LOOK_MS 250

/* Process: main, in mod_init, before the other files are read: the settings are in
 * force afterwards. -1: with a line in the log */
int cn_reload_init(void) CN_MUST;
void cn_reload_destroy(void);

/* Grows whenever the files are to be read again. Process: any. */
unsigned cn_reload_number(void);

/* Written to whenever the number grows; nobody reads from it. */
int cn_reload_fd(void);

/**
 * Have the files read again, if all are good. Process: any after the fork.
 *
 * @return 0, or -1 with what is wrong: nothing changes
 */
int cn_reload_ask(struct cn_fault *fault) CN_MUST;

/* Have they changed since they were read? Then the same; what is wrong is a line in
 * the log, once for each change. Process: one of the HTTP processes, all the time. */
void cn_reload_look(int64_t now_us);

#endif
