/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The outbox as the other processes see it: commands to the outbox process, and
 * what it says of itself, in shared memory. Nothing here waits or touches the
 * database. */

#ifndef CN_OUTBOX_H
#define CN_OUTBOX_H

#include "job.h"
#include "job_contacts.h"

struct cn_ring;

/* Process: main, before any fork. Without outbox_db_url there is no outbox, and
 * everything here may be called all the same. */
int cn_outbox_init(void) CN_MUST;
void cn_outbox_destroy(void);
bool cn_outbox_exists(void);

/* -------- commands; process: any -------- */

/* May this job not be sent before the outbox process has been asked: may
 * something wait that is older, and does the database answer? */
bool cn_outbox_must_be_asked(const struct cn_job *job);

/* The database does not answer: may the job be sent without? Not where a row
 * has several contacts, so that no event makes it needless. */
bool cn_outbox_may_go(const struct cn_job *job);

/**
 * May this job be sent, which is ASKED? Answered by cn_order_answer() or
 * cn_order_hold().
 *
 * @return 0; -1: not asked
 */
int cn_outbox_ask(struct cn_job *job) CN_MUST;

/**
 * The CMS did not get the event of this job: store it. Its verdict is deferred,
 * once it is durable, or unavailable.
 *
 * @param failure what there is instead of an answer
 * @return 0; -1: it cannot be stored, the caller ends the job
 */
int cn_outbox_store(
		struct cn_job *job, const struct cn_outcome *failure) CN_MUST;
#define CN_STORE_US 250000 /* that it may take after the job's deadline */

/* The job has its verdict, and is still in the index: rows that it makes needless
 * go. */
void cn_outbox_settle(struct cn_job *job);

/* A contact has gone. @return -1: out of shared memory, or too much at once */
int cn_outbox_leave(const struct cn_event *ev) CN_MUST;
/* How many of these are not stored yet. */
int cn_outbox_leaves(void);

/* -------- for an operator; process: any -------- */

#define CN_OUTBOX_DEAD_MAX 100
#define CN_DEAD_AOR_MAX 255

struct cn_dead_letter
{
	char id[CN_ID_LEN + 1];
	char aor[CN_DEAD_AOR_MAX + 1];
	enum cn_kind kind;
	enum cn_reason reason;
	int64_t created_us; /* on the clock of cn_number_clock_us() */
	int attempts;
	enum cn_cause cause; /* of the last attempt */
	int status;
	bool too_old; /* or else the CMS has refused it */
};

struct cn_outbox_state
{
	bool ready; /* the table has been read, and the database answers */
	bool paused;
	int waiting;
	int dead;
	int64_t oldest_us;	 /* when the oldest that waits was created, 0: none */
	int64_t next_try_us; /* on the clock of cn_now_us(), 0: at once */
};

void cn_outbox_state(struct cn_outbox_state *state);

/* Rows of an AOR, dead letters among them; now and then of another one, too. */
int cn_outbox_rows_of(unsigned hash);

/* @return how many, the oldest first, at most max */
int cn_outbox_dead_letters(struct cn_dead_letter *letters, int max);

void cn_outbox_pause(bool paused);
void cn_outbox_replay(void); /* dead letters wait again, at the next look */
void cn_outbox_look(void);	 /* there may be something to resync */

/* -------- for the outbox process -------- */

enum cn_command_type
{
	CN_ASK,
	CN_STORE,
	CN_SETTLE,
	CN_WAIT,
	CN_WITHDRAW,
	CN_LEAVE,
	CN_LOOK /* something else is to be done */
};

/* In shared memory; owned by whoever takes it from the ring. */
struct cn_command
{
	enum cn_command_type type;
	struct cn_job *job;		/* ASK, STORE, WAIT: held by the command */
	struct cn_event *event; /* LEAVE */
	const char *aor;		/* of the job, or in the same block */
	unsigned hash;			/* of the AOR */
	const char *contacts;
	int64_t seq;			 /* LEAVE: none yet */
	struct cn_command *next; /* of those that are kept */
	bool busy;				 /* LEAVE: in a transaction */
	bool done;				 /* LEAVE: it is stored */
};

/* What the end of a job means for its row: SETTLE, WAIT or WITHDRAW; LOOK: nothing. */
enum cn_command_type cn_outbox_end_of(const struct cn_job *job);

struct cn_ring *cn_outbox_ring(void);
void cn_command_free(struct cn_command *command); /* NULL is allowed */

/* Commands that have been taken from the ring, and are not done. In shared
 * memory: whatever becomes of the outbox process, the main process has the
 * LEAVEs. */
struct cn_command **cn_outbox_kept(void);

/* The database is being asked from now on; has answered. How long that takes
 * says what is stored in time. */
void cn_outbox_db_begins(void);
void cn_outbox_db_answered(bool fine);

/* Commands of one transaction. More would make the first of them late. */
#define CN_BATCH_MAX 500

/* Rows of an AOR, by its hash, that there are: counted by outbox_rows. A STORE, a
 * WAIT or a LEAVE counts as one from when it is given until it is freed. */
void cn_outbox_count_row(unsigned hash, const char *contacts, int by);
/* The table has been read. */
void cn_outbox_set_known(void);

bool cn_outbox_paused(void);
bool cn_outbox_take_replay(void); /* has it been asked for? */
void cn_outbox_publish_counts(int waiting, int dead);

#define CN_RESYNC_AOR_MAX 256

/* How far outbox_resync is. */
struct cn_resync_progress
{
	bool running;
	char aor[CN_RESYNC_AOR_MAX]; /* empty: all */
	int part;					 /* the next of usrloc's table */
	int percent;				 /* of it that has been looked at */
	int waiting;				 /* found, and not told yet */
	int sent;
	int refused; /* by the CMS */
	int failed;	 /* given up, as others could be told and this one not */
};

/* What the others see; ready, waiting and paused are filled in for them. */
struct cn_outbox_view
{
	struct cn_outbox_state state;
	int letter_count;
	struct cn_dead_letter letters[CN_OUTBOX_DEAD_MAX];
	struct cn_resync_progress resync;
};
struct cn_outbox_view *cn_outbox_lock_view(void);
void cn_outbox_unlock_view(void);

#endif
