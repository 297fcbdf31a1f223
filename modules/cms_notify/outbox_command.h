/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The commands of other processes, but for LEAVE: what they mean for the rows.
 * Process: outbox. */

#ifndef CN_OUTBOX_COMMAND_H
#define CN_OUTBOX_COMMAND_H

#include "outbox.h"

/* Take a command. What needs no table is answered at once, the rest by the next
 * transaction. */
void cn_command_do(struct cn_command *command);

/* Is there room in the outbox for one more row of this AOR? */
bool cn_command_has_room(const char *aor, unsigned hash);

#endif
