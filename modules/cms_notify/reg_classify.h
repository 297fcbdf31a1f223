/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* New or refresh? Decided per Contact with usrloc's own rules and registrar's
 * own settings, so that it agrees with what save() is going to do. */

#ifndef CN_REG_CLASSIFY_H
#define CN_REG_CLASSIFY_H

#include "../../core/parser/msg_parser.h"

#include "job_event.h"

struct udomain;
struct urecord;

/* Process: main, in mod_init. Needs usrloc and registrar loaded. */
int cn_classify_init(void) CN_MUST;

/* Make sure that usrloc has the table, as registrar does for what its script
 * names. Process: main, while the script is read. @return NULL: it cannot */
struct udomain *cn_classify_add_table(const char *name);

/* The usrloc table of this name. @return NULL: there is none */
struct udomain *cn_classify_table(const char *name);

/* The tables of cn_classify_add_table(); where there are none, "location". @return how many, at most max */
int cn_classify_tables(struct udomain **tables, int max);
#define CN_TABLES_MAX 8

/* Read a REGISTER: cn_request_read() in usrloc's terms. */
int cn_classify_read(
		struct sip_msg *msg, const str *aor, struct cn_event *ev) CN_MUST;

/* What usrloc knows an AOR by; with aor NULL that of the To header. In scratch
 * memory. @return false: it is none */
bool cn_classify_key(struct sip_msg *msg, const str *aor, str *key) CN_MUST;

/* By what usrloc knows it, and jobs and rows. */
unsigned cn_classify_hash(const str *key);

/* The bindings of an AOR; NULL: there are none. In memory, under the lock of the
 * slot. */
struct urecord *cn_classify_find(
		struct udomain *table, unsigned hash, const str *key);

/**
 * Decide for each contact whether the CMS must know. Looks at the bindings
 * under usrloc's lock, changes nothing (with usrloc's db_mode 3 it queries the
 * database, as save() does). May be repeated.
 * Process: SIP worker.
 *
 * @param ev ev->reason is NONE afterwards where the CMS need not know: for
 *           refreshes, and for what save() is going to refuse.
 */
void cn_classify(struct udomain *table, struct cn_event *ev);

#endif
