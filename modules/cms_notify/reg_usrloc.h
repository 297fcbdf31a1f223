/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The bindings that usrloc holds, for what goes through the outbox: who leaves,
 * and who is there. The bindings that another server has replicated to this
 * one are that server's business. */

#ifndef CN_REG_USRLOC_H
#define CN_REG_USRLOC_H

#include "job_event.h"

/* Process: main, in mod_init, after cn_detect. Listens to usrloc where the
 * operator wants the CMS to know who leaves. */
int cn_usrloc_init(void) CN_MUST;

/* Has the AOR a live binding that is one of these contacts (see job_contacts.h)? No
 * where usrloc has no bindings in memory (db_mode 3). */
bool cn_usrloc_is_live(const char *key, const char *about);

/**
 * The same for one that has registered or refreshed here since, not at another
 * server. No where servers cannot be told from one another (server_id is 0).
 *
 * @param since_s seconds since 1970
 */
bool cn_usrloc_came_here(const char *key, const char *about, int64_t since_s);

/* -------- one after the other; process: outbox -------- */

/* usrloc's tables are looked at in so many pieces. */
#define CN_USRLOC_PARTS 1024

typedef void (*cn_usrloc_f)(unsigned hash, const str *ruid);

/* Call each() for the bindings in a piece. @return 0, or -1: out of memory */
int cn_usrloc_each(int part, cn_usrloc_f each) CN_MUST;

/* The same for those of one AOR, as usrloc knows it or as a URI. */
void cn_usrloc_each_of(const char *aor, cn_usrloc_f each);

/**
 * A binding, as it is now.
 *
 * @return in memory of this process that the next call overwrites; NULL: it is
 *         not live any more, or another server's, or out of memory
 */
struct cn_event *cn_usrloc_snapshot(unsigned hash, const char *ruid);

/* By what usrloc knows an AOR, or its URI; cut where it is longer than any.
 * @return in memory of this process that the next call overwrites */
str cn_usrloc_key(const char *aor);

/* How many contacts usrloc counts in its tables: also those that have expired and are
 * not purged yet. Process: any; looks at none of them. */
unsigned long cn_usrloc_contacts(void);

/* Has usrloc its bindings in memory, so that they can be looked at? */
bool cn_usrloc_in_memory(void);

#endif
