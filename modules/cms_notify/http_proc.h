/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The HTTP processes: take a job, POST it to one endpoint after the other until its
 * deadline, and pass on its outcome. Without verdict processes they also resume
 * whoever waits for it, when libcurl has returned: a script that hangs keeps one of
 * them, and the others take what waits. */

#ifndef CN_HTTP_PROC_H
#define CN_HTTP_PROC_H

#include "base.h"

/* Process: main, in mod_init. Checks the URLs, makes the rings. */
int cn_http_proc_init(void) CN_MUST;
/* Process: main, in child_init. */
int cn_http_proc_fork(void) CN_MUST;
void cn_http_proc_destroy(void);

#endif
