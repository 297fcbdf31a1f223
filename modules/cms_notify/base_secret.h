/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A password that a file holds, for the script: in no shared memory, no command and
 * no log. */

#ifndef CN_BASE_SECRET_H
#define CN_BASE_SECRET_H

#include "base.h"

/**
 * Read the file for the first time. Process: main, in mod_init.
 *
 * @param path of the file; NULL: there is none
 * @return 0; -1: it cannot be used, with a line in the log
 */
int cn_secret_init(const char *path) CN_MUST;

/* The file's first line as it is now, looked at once a second; a file that cannot be
 * used leaves the last one in force. Process: any. Never NULL. */
const str *cn_secret(void) CN_MUST;

#endif
