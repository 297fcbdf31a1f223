/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* usrloc's table, where servers share it: who has run out, who is there. It is in the
 * database of the outbox. Process: outbox. */

#ifndef CN_OUTBOX_LOCATION_H
#define CN_OUTBOX_LOCATION_H

#include "base.h"

/* Process: main, in mod_init, after cn_reg_table_init(). */
int cn_location_init(void) CN_MUST;

/* Take who has run out into the outbox, some of them: each is taken by one server.
 *
 * @return 0, or -1: the database failed; its connection is closed then */
int cn_location_take_expired(void) CN_MUST;

/* Has the AOR a live binding that is one of these contacts (see job_contacts.h), in the
 * table one that has registered or refreshed since? No if the database fails, nor if
 * that was within the same second: it may be the one that is just being deleted.
 *
 * @param since_s seconds since 1970 */
bool cn_location_is_back(const char *aor, const char *about, int64_t since_s);

#endif
