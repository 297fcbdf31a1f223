/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The servers that share the outbox's table: each owns its events, and shows
 * that it lives; what a dead one had goes to another one.
 * Process: outbox. */

#ifndef CN_OUTBOX_SERVERS_H
#define CN_OUTBOX_SERVERS_H

#include "base.h"

/**
 * Show that this server lives, look whether the others do. To be called every
 * few seconds; blocks for the database.
 *
 * @return how many events this server has taken over; -1: the database failed
 */
int cn_peers_look(void) CN_MUST;

#endif
