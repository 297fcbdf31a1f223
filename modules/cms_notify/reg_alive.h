/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Who gives no sign of life. When a device was heard last is in usrloc's
 * binding (last_keepalive), where usrloc notes each REGISTER, too; it is in no
 * database. A binding whose device is off line is GONE first: it is there, but
 * counts as none, and the outbox is given the event. When that is stored the
 * binding ends, and usrloc purges it as it does with all. */

#ifndef CN_REG_ALIVE_H
#define CN_REG_ALIVE_H

#include "base.h"

struct ucontact;

/* Process: main, in mod_init, after cn_classify_init(). */
int cn_alive_init(void) CN_MUST;
/* Process: main, when the script has named its tables, before any fork. */
int cn_alive_start(void) CN_MUST;
void cn_alive_destroy(void);

/* Connections of before the start are no connections: what usrloc has read from
 * its database may name them. Process: the first SIP worker, when usrloc has
 * read it. */
void cn_alive_forget_connections(void);

/* Under the slot's lock. @return false also where it never had one */
bool cn_alive_has_lost_connection(const struct ucontact *binding);

/* -------- who is silent; process: alive -------- */

/* usrloc's tables have so many slots each. 0: alive_timeout is not set. */
int cn_alive_slots(void);

/* Has a contact been saved there that depends on a connection? Asked once. */
bool cn_alive_is_called(int slot);

struct cn_alive_look
{
	/* Fills in now_s and since_s, while nobody of the slot can be heard. */
	void (*read_clock)(struct cn_alive_look *look);
	int room;		/* so many may be told, counted down */
	time_t now_s;	/* seconds since 1970 */
	time_t since_s; /* whoever was heard before counts as heard then */
	time_t due_s;	/* who is there is not silent before; 0: nobody is there */
	bool connected; /* somebody may lose a connection */
};

/* Tell the outbox who is off line in this slot of all tables: GONE. Fills in
 * what is not given. @return false: there was no room for one more */
bool cn_alive_look(int slot, struct cn_alive_look *look) CN_MUST;

void cn_alive_count_again(void);

/* -------- process: outbox -------- */

/* What was told of GONE contacts is stored, or never will be: they end. One that
 * has come back meanwhile stays. */
void cn_alive_end(const char *key, const char *contacts);

/* -------- for an operator; process: any -------- */

#define CN_ALIVE_URI_MAX 255

struct cn_alive_contact
{
	char uri[CN_ALIVE_URI_MAX + 1];
	char received[CN_ALIVE_URI_MAX + 1];
	int expires_s; /* from now; 0: never */
	int heard_s;   /* since it was heard last */
	bool gone;
};

/* @param aor as usrloc knows it, or a URI
 * @return how many, at most max; all that usrloc has but what has expired */
int cn_alive_contacts(const char *aor, struct cn_alive_contact *list, int max);

/* Contacts that this server tells of and that are not GONE. Looks at all. */
int cn_alive_count(void);
/* What the alive process has counted last; 0 without one. */
int cn_alive_counted(void);
bool cn_alive_is_on(void);

#endif
