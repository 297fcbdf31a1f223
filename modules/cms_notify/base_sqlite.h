/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* SQLite, as all modules of this Kamailio use it. */

#ifndef CN_BASE_SQLITE_H
#define CN_BASE_SQLITE_H

#include "base.h"

/**
 * Whatever connects to a SQLite database from now on, in this process and in
 * those that it forks, waits so long for a lock that another process holds.
 * Without it nobody waits: what is locked for a moment is an error.
 * Process: main, before any fork.
 *
 * @param ms 0: leave it as it is
 */
int cn_sqlite_init(int ms) CN_MUST;

#endif
