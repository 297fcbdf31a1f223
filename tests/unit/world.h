/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The world of test_outbox: the devices, the CMS, the database and the clocks,
 * which outlive the server, and what they look like to it. */

#ifndef WORLD_H
#define WORLD_H

#include <inttypes.h>

#include "stubs.h"
#include "steps.h"

#include "base_conf.h"
#include "job.h"
#include "job_contacts.h"
#include "outbox.h"
#include "outbox_rows.h"

#define AORS 2
#define CONTACTS 3
#define ALL_CONTACTS ((1 << CONTACTS) - 1)
#define ROWS_MAX 512
#define REQUESTS_MAX 512
#define EVENTS_MAX 4096
#define TOLD_MAX 4096
#define FLIGHTS_MAX 16
#define LATE_MAX 64
#define KILLED 77
#define EPOCH_US 1795588330000000
/* What a verdict may take after its deadline: time to store, and the steps in
 * which time goes on here. */
#define LATE_US (CN_STORE_US + 150000)
#define TICK_US 62000

enum database
{
	DB_FINE,
	DB_REFUSES,	 /* each operation may fail */
	DB_SLOW,	 /* it takes its time */
	DB_HANGS,	 /* it takes longer than anybody waits */
	DB_AWAY		 /* nobody can connect */
};

struct table_row
{
	int aor;
	struct cn_row row;
	char body[100];
	bool foreign; /* of a server that is dead */
};

struct table
{
	int count;
	struct table_row rows[ROWS_MAX];
	int64_t lease;
};

/* What the CMS has accepted, in its order. */
struct accepted
{
	int aor, contacts;
	enum cn_kind kind;
	int64_t seq;
	bool answered; /* the server has read the answer */
	bool exempt;	/* the database did not answer */
	bool unknown;	/* nor had it since the start of the server */
};

/* What a device was told: 200, as the event is in the outbox. */
struct told
{
	int aor, contacts;
	int64_t seq;
};

/* An event of a POST. */
struct part
{
	char id[CN_ID_LEN + 1];
	int aor, contacts;
	unsigned kind;
	int64_t seq;
	int status; /* what it has said of it, 0: nothing */
	int log;	/* where that is in the list of what it accepted, -1: not */
	bool late;	/* its job had ended when the CMS read it */
	bool exempt, unknown; /* as of struct accepted, when it was sent */
};

struct world
{
	uint64_t dice;
	int64_t now_us;	 /* monotonic */
	int64_t wall_us; /* what the clock of the day is ahead of that */
	int lives;
	unsigned ids;
	struct table table;
	struct accepted accepted[EVENTS_MAX];
	int accepted_count;
	struct told told[TOLD_MAX];
	int told_count;
	struct accepted refused[EVENTS_MAX]; /* for good */
	int refused_count;
	/* what the server has given up, and the CMS may still read */
	struct part late[LATE_MAX];
	int late_count;
	/* nothing that was accepted up to here says what must not come later: the
	 * server was killed while its database did not answer */
	int exempt_count;
	/* with the clock set back, numbers that were given before the table had
	 * been read */
	int64_t highest, low[REQUESTS_MAX];
	int low_count;
	bool killed_in_trouble; /* the life before */
	enum database database;
	int cms; /* of 100 POSTs it answers so many as it should */
	bool bound[AORS][CONTACTS];
	bool gone[AORS][CONTACTS];		  /* bound, and was silent for too long */
	int64_t saved[AORS][CONTACTS];	  /* number of the REGISTER that did */
	int offline, back;				  /* told; registered again before */
	int kills, deferred, delivered, stores_failed, batches, outdated;
};
extern struct world *world;

extern bool verbose;

#define trace(...)                                                          \
	do {                                                                    \
		if(verbose) {                                                       \
			fprintf(stderr, "%10.3f ", (double)(world->now_us % 1000000000) \
											   / 1000);                     \
			fprintf(stderr, __VA_ARGS__);                                   \
		}                                                                   \
	} while(0)

unsigned dice(unsigned sides);
bool chance(unsigned percent);

/* -------- who is in the midst of a step -------- */

enum process
{
	OUTBOX,
	HTTP,
	VERDICT,
	TIMER,
	WORKER,
	ALIVE,
	PROCESSES
};

extern struct now
{
	bool busy[PROCESSES];
	int depth;
	int pushing; /* between a decision and the ring: nobody can help there */
	bool quiet;	 /* nothing new happens: all is to settle */
	bool http_stands; /* the HTTP process does nothing */
} now;

/* Something else may happen here, in another process. */
void meanwhile(unsigned percent);

/* of test_outbox.c */
void some_steps(void);
void advance(int64_t us);

/* -------- devices -------- */

struct request
{
	bool parked;
	int aor, contacts;
	int64_t deadline_us;
	int64_t parked_us;
	bool strange; /* it was parked while the database did not answer */
	int64_t excuse_us; /* the verdict process was in the midst of a step */
};

extern struct request requests[REQUESTS_MAX];
extern int request_count;
extern const char *const keys[AORS];
extern char digests[CONTACTS][CN_CONTACTS_MAX + 1];

struct scratch
{
	struct cn_event ev;
	struct cn_contact contacts[CONTACTS];
};

int aor_of(const char *key);
struct cn_event *make(struct scratch *s, int aor, int contacts);
void write_body(const struct cn_event *ev, char *body, size_t size);
int parked(void);
bool is_low(int64_t seq);
void do_register(int aor, int contacts, bool defers);
void do_leave(int aor, int contact);
/* It has been silent for too long; it gives a sign of life. */
void do_silent(int aor, int contact);
void do_keepalive(int aor, int contact, bool defers);
bool knows(int aor, int contact, int64_t seq);
void show(struct cn_job *job, const struct cn_waiter *waiter);

/* -------- the CMS -------- */

#define BATCH_MAX 8

struct flight
{
	void *user; /* NULL: free */
	int64_t deadline_us;
	int status; /* of the answer, 0: there is none yet */
	int count;
	struct part parts[BATCH_MAX];
};

extern struct flight flights[FLIGHTS_MAX];
extern int64_t answered_us;

void cms_accepts_all(struct flight *f);
/* It has read a request. */
void step_cms(struct flight *f);
/* Its answer arrives, or gets lost. */
void step_answer(struct flight *f);
void give_up_late_flights(void);
/* The job of this number has ended: a POST of it that the CMS has not read yet is
 * late. */
void flights_are_late(int64_t seq);
/* The server is killed. */
void give_up_flights(void);
/* The CMS reads something that is late. @return false: there is nothing */
bool step_cms_late(void);

/* -------- the database -------- */

/* The connection to the database. */
extern struct db
{
	bool open;
	bool loaded;		/* since the start */
	int64_t first_seq, unknown_seq; /* numbers that were given before */
	int64_t round_us;	/* when the outbox process has begun with it */
	int64_t trouble_us; /* when it last was in trouble */
	bool settled;	  /* a whole round without trouble since */
	struct table next; /* of the transaction */
	bool in_transaction;
} db;

/* Is there anybody who had to do without it? */
int database_trouble(void);
void trouble(void);

/* -------- the rest of the module -------- */

void show_event(const struct cn_event *ev);

#endif
