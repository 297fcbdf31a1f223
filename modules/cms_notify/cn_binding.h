/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The bindings that usrloc holds, for what goes through the outbox: who leaves,
 * and who is there. The bindings that another server has replicated to this
 * one are that server's business. */

#ifndef CN_BINDING_H
#define CN_BINDING_H

#include "cn_event.h"

/* Process: main, in mod_init, after cn_detect. Listens to usrloc where the
 * operator wants the CMS to know who leaves. */
int cn_binding_init(void) CN_MUST;

/* Has the AOR a live binding that is one of these contacts (see cn_about.h)? No
 * where usrloc has no bindings in memory (db_mode 3). */
bool cn_binding_is_live(const char *key, const char *about);

#endif
