/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* usrloc with the tables "location" and "other": the bindings that a test puts
 * there, found by the rules of matching_mode 0 and of instances. Each has
 * one slot. It sees to it that whoever looks holds the lock of the AOR, or of the
 * slot, and gives back what he got. */

#ifndef FAKE_USRLOC_H
#define FAKE_USRLOC_H

#include "stubs.h"

#include "../usrloc/ucontact.h"
#include "../usrloc/usrloc.h"

struct fake_usrloc
{
	int use_domain;
	int db_mode;
	bool bind_fails;
	bool listen_fails;
	bool query_fails; /* of db_mode 3 */
	bool list_fails;
	int lists;	  /* how often all were asked for */
	int locked;	  /* now */
	int records;  /* that have not been given back */
	int same_for; /* seconds in which a repeated CSeq is a retransmission */
	/* called once, while the lists are read, between two looks */
	void (*meanwhile)(void);
	/* called once, while a slot's lock is waited for */
	void (*waits)(void);
};
extern struct fake_usrloc fake_usrloc;

/* Loaded, with no binding. */
void fake_usrloc_start(void);
void fake_usrloc_end(void);
struct udomain *fake_usrloc_table(const char *name);

/* Of Call-ID "call-1", CSeq 10, this server, in "location".
 * @param expires_s from now; see fake_always */
ucontact_t *fake_binding(const char *aor, const char *uri, int expires_s);
ucontact_t *fake_binding_in(
		struct udomain *table, const char *aor, const char *uri, int expires_s);
void fake_binding_remove(ucontact_t *binding);
#define FAKE_ALWAYS 0x7fffffff
#define FAKE_DELETED (-0x7fffffff) /* and not written back yet */

/* usrloc tells those who listen. */
void fake_usrloc_tell(ucontact_t *binding, int type);
int fake_usrloc_types(void); /* that anybody listens to */

#endif
