/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The rows of the outbox, without their bodies: which event makes which row
 * needless, whose turn it is. In memory of the outbox process; knows nothing of
 * databases or jobs. Which AORs have rows is counted for all (outbox.h). */

#ifndef CN_OUTBOX_ROWS_H
#define CN_OUTBOX_ROWS_H

#include "job_contacts.h"

#define CN_ROW_AOR_MAX 255 /* as the column is made */

enum cn_row_state
{
	CN_ROW_WAITING,
	CN_ROW_DEAD, /* the CMS has refused it, or it was too old */
	CN_ROW_HELD, /* of a job under way: waits once this server has been killed */
	CN_ROW_ELSEWHERE /* in memory alone: it waits, another server has it */
};

struct cn_row;

/* An AOR of which there are rows, or were. */
struct cn_row_aor
{
	int failures; /* deliveries, one after the other */
	unsigned hash;
	/* of outbox_rows.c */
	struct cn_row_aor *next; /* in the chain */
	struct cn_row *rows;	 /* the oldest first */
	/* in the heap; before: the one above or the sibling before it */
	struct cn_row_aor *child, *sibling, *before;
	bool busy;
	int64_t due_us;
	char name[];
};

struct cn_row
{
	int64_t seq;
	char id[CN_ID_LEN + 1];
	char contacts[CN_CONTACTS_MAX + 1]; /* see job_contacts.h */
	enum cn_row_state state;
	enum cn_kind kind;
	enum cn_reason reason;
	int64_t created_us; /* from when its age counts */
	int attempts;
	enum cn_cause cause; /* of the last one */
	int status;
	int64_t revived_seq; /* the last number when it was a dead letter */

	bool taken;	 /* over from a server that is dead */
	bool sent;	 /* it is on its way to the CMS */
	bool doomed; /* it is not sent any more, only not deleted yet */
	bool stored; /* it is in the table */
	/* for the transaction and for who reads the table again */
	bool dirty; /* it will be deleted or updated */
	struct cn_row *next_dirty;
	bool seen;
	int64_t newest; /* of its slot, when it was chosen to be sent */
	bool posted;	/* and it has been */
	/* set by outbox_rows.c */
	struct cn_row_aor *of;
	struct cn_row *next; /* of the AOR, the next newer one */
};

/* How many of this server's there are, without those that are doomed. */
struct cn_row_counts
{
	int waiting; /* and held */
	int dead;
};

typedef void (*cn_row_f)(struct cn_row *row, void *arg);

struct cn_row_counts cn_rows_count(void);
int cn_rows_of(const char *aor, unsigned hash); /* the same, of one AOR */

/**
 * Add a copy of a row.
 *
 * @return NULL: out of memory
 */
struct cn_row *cn_rows_add(
		const char *aor, unsigned hash, const struct cn_row *row) CN_MUST;
void cn_rows_remove(struct cn_row *row);

/* The oldest of an AOR; that of an event. @return NULL: there is none */
struct cn_row *cn_rows_first(const char *aor, unsigned hash);
struct cn_row *cn_rows_find(const char *aor, unsigned hash, int64_t seq);

/* All rows, in no order. f() may change or remove this row. */
void cn_rows_each(cn_row_f f, void *arg);

void cn_row_set_state(struct cn_row *row, enum cn_row_state state);
void cn_row_doom(struct cn_row *row);

/* -------- newer and older -------- */

/* What an event finds of its contacts that is older than it. */
enum cn_older
{
	CN_OLDER_NONE,
	CN_OLDER_DOOMED,  /* only what waits to be deleted */
	CN_OLDER_COVERED, /* the event has all contacts of each of these rows */
	CN_OLDER_FIRST	  /* a row has others, too: it must be delivered before */
};
enum cn_older cn_rows_older(
		const char *aor, unsigned hash, int64_t seq, const char *contacts);

/* An event of these contacts waits: does it replace this older row? Does it
 * replace any? */
bool cn_row_is_replaced(
		const struct cn_row *row, int64_t seq, const char *contacts);
bool cn_rows_any_replaced(
		const char *aor, unsigned hash, int64_t seq, const char *contacts);

/* The CMS has accepted an event of these contacts: does this make the row of its
 * AOR needless, which may be the event's own? */
bool cn_row_is_settled(
		const struct cn_row *row, int64_t seq, const char *contacts);

/* Is there a newer row of its contacts that is not dead? */
bool cn_row_is_outdated(const struct cn_row *row);

/* -------- whose turn it is: the oldest waiting row of each AOR -------- */

/**
 * The next one that is due. Its AOR is busy until cn_rows_done().
 *
 * @param any every row is as good as any other: take the first, due or not
 * @return NULL: none
 */
struct cn_row *cn_rows_take_due(int64_t now_us, bool any);

/* Is it still the oldest that waits of its AOR? */
bool cn_row_is_next(const struct cn_row *row);

/* Is an older row of its AOR doomed? */
bool cn_row_follows_doomed(const struct cn_row *row);

/* What is next of the AOR is due then. */
void cn_rows_done(struct cn_row_aor *of, int64_t due_us);

/* What is next of the AOR is due now. */
void cn_rows_hurry(const char *aor, unsigned hash);

/* When the next row is due; INT64_MAX: none waits but for those of busy AORs. */
int64_t cn_rows_due_us(void);

#endif
