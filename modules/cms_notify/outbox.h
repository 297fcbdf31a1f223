/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The outbox as the other processes see it: store an event, tell the outbox
 * process what has happened meanwhile, switch it. What waits is in the table
 * (cn_outbox_db); in shared memory are counts and switches only. */

#ifndef CN_OUTBOX_H
#define CN_OUTBOX_H

#include "job_contacts.h"
#include "job.h"

struct cn_ring;
struct cn_row;

/* Process: main, before any fork. Without outbox_db_url nothing is opened. */
int cn_outbox_init(void) CN_MUST;
void cn_outbox_destroy(void);
bool cn_outbox_exists(void);

/* Microseconds since 1970 as they were when Kamailio started, plus what has
 * passed since: stepping the clock changes nothing. Never before the newest
 * event in the table. */
int64_t cn_outbox_now_us(void);

/* The same of a moment of cn_now_us(). */
int64_t cn_outbox_time_us(int64_t now_us);

/**
 * Store the event of a job. Once for a job: the later requests that wait for
 * it get the same answer.
 * Process: verdict. Blocks for the database.
 *
 * @return 0: durable; -1: not stored, the job's outcome says so
 */
int cn_outbox_defer(struct cn_job *job) CN_MUST;

/* The CMS has accepted this: what waits of the same contacts is outdated. To be
 * called while the job is in the device index. Process: verdict. */
void cn_outbox_accepted(const struct cn_job *job);

/* All who waited for the job have been answered: if it is kept, and neither
 * accepted nor deferred, its device was turned away and the CMS is not to hear
 * of it. Process: verdict. */
void cn_outbox_answered(const struct cn_job *job);

/* A contact has gone. Copies and returns, in whatever process. */
void cn_outbox_leave(const struct cn_event *ev);

/* -------- for the outbox process -------- */

enum cn_note_type
{
	CN_NOTE_STORED,	  /* an event of the device, in the table */
	CN_NOTE_ACCEPTED, /* one that was not, or was only kept there */
	CN_NOTE_UNDONE,	  /* one that was kept is not to be delivered */
	CN_NOTE_TURN,	  /* a registration is to be sent: cn_turn_heed() */
	CN_NOTE_LEFT,	  /* a contact has gone: an event to be stored */
	CN_NOTE_LOOK,	  /* something else has changed */
	CN_NOTE_COUNT	  /* the rows that wait have changed */
};

/* What the outbox process is told. */
struct cn_note
{
	enum cn_note_type type;
	unsigned hash; /* of the device */
	int64_t at_us; /* what is older is outdated */
	char id[CN_ID_LEN + 1];
	char about[CN_ABOUT_MAX + 1];
	bool kept;				/* to be taken back */
	struct cn_event *event; /* LEFT */
	struct cn_job *job;		/* TURN; held by the note */
	char device[];			/* with a zero at its end */
};

struct cn_ring *cn_outbox_notes(void);
void cn_note_free(struct cn_note *note);

/* A note TURN. @return NULL: no memory */
struct cn_note *cn_outbox_question(struct cn_job *job) CN_MUST;

/* Does something wait that the event of the job will make outdated? @return 0,
 * or -1: the database failed */
int cn_outbox_has_older(const struct cn_job *job, bool *older) CN_MUST;

/* Store the event of a job that is to be sent, not to be delivered while it is.
 * @return 0, or -1: the database failed */
int cn_outbox_keep(const struct cn_job *job, const str *body) CN_MUST;

/* Delete what was kept. @return 0, or -1: the database failed, try again */
int cn_outbox_unkeep(const str *id, unsigned hash) CN_MUST;

/**
 * Store what a note LEFT tells.
 *
 * @return 0: stored; 1: there is no room, it is lost; -1: the database failed,
 *         try again
 */
int cn_outbox_store_left(const struct cn_note *note, const str *body) CN_MUST;

/* A note LEFT has been dealt with. */
void cn_outbox_left_done(const struct cn_note *note, bool stored);

/* Let the outbox process look again at all that it does; count what waits. */
void cn_outbox_look(void);
void cn_outbox_recount(void);

/**
 * Delete what is outdated by a newer event of the device.
 *
 * @param keep is this row to stay? NULL: none
 * @return 0, or -1: the database failed
 */
int cn_outbox_outdate(
		const struct cn_note *note, bool (*keep)(const struct cn_row *row));

/* Is there a later row of the device about the same contacts, which makes this
 * one not worth sending? @return 0, or -1: the database failed */
int cn_outbox_has_newer(
		const struct cn_row *row, unsigned hash, bool *newer) CN_MUST;

/* A row has been delivered: older dead letters about the same contacts are
 * outdated, and deleted. @return 0, or -1: the database failed */
int cn_outbox_delivered(const struct cn_row *row, unsigned hash) CN_MUST;

void cn_outbox_died(void); /* a row has become a dead letter */

/* Before the table is counted. @return for cn_outbox_counted() */
unsigned cn_outbox_count(void);
/* Set the gauge to what was counted. @return false: something has been stored
 * meanwhile, nothing is set */
bool cn_outbox_counted(unsigned mark, int waiting, int dead) CN_MUST;

/* -------- for the operator -------- */

bool cn_outbox_paused(void);
void cn_outbox_pause(bool paused);

/* When the outbox process will try again, on the clock of cn_now_us(); 0: as
 * soon as there is something. */
int64_t cn_outbox_next_us(void);
void cn_outbox_set_next_us(int64_t next_us);

#endif
