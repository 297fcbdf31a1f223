/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The whole outbox: all that is between a REGISTER and the CMS, as it is, with a
 * table in memory and a CMS that knows what it was told. Devices, processes,
 * database, CMS and crashes take their steps in random order; when all has
 * settled it is shown that no device was told what is not true.
 *
 * Each run has a seed. One that fails is shown, and is run alone, with all its
 * steps, by OUTBOX_SEED; OUTBOX_RUNS says how many there are.
 *
 * A server is a child process: one that is killed has lost its memory. What
 * outlives it is the world. */

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/hashes.h"
#include "../../core/pt.h"
#include "../../core/timer.h"

#include "stubs.h"
#include "steps.h"

#include "admit.h"
#include "admit_share.h"
#include "base_body.h"
#include "base_conf.h"
#include "base_stats.h"
#include "base_stop.h"
#include "http_breaker.h"
#include "http_proc.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "job_ring.h"
#include "outbox.h"
#include "outbox_db.h"
#include "outbox_delivery.h"
#include "outbox_leaving.h"
#include "outbox_proc.h"
#include "outbox_resync.h"
#include "outbox_table.h"
#include "reg_park.h"
#include "reg_settings.h"
#include "reg_usrloc.h"
#include "verdict_proc.h"

#define AORS 2
#define CONTACTS 3
#define ALL_CONTACTS ((1 << CONTACTS) - 1)
#define ROWS_MAX 512
#define REQUESTS_MAX 512
#define EVENTS_MAX 4096
#define TOLD_MAX 4096
#define FLIGHTS_MAX 16
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
	char body[64];
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

static struct world
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
	int kills, deferred, delivered, stores_failed;
} * world;

static bool verbose;

#define trace(...)                                                          \
	do {                                                                    \
		if(verbose) {                                                       \
			fprintf(stderr, "%10.3f ", (double)(world->now_us % 1000000000) \
											   / 1000);                     \
			fprintf(stderr, __VA_ARGS__);                                   \
		}                                                                   \
	} while(0)

static unsigned dice(unsigned sides)
{
	return stub_random(&world->dice) % sides;
}

static bool chance(unsigned percent)
{
	return dice(100) < percent;
}

/* -------- the clocks -------- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	ts->tv_sec = world->now_us / 1000000;
	ts->tv_nsec = world->now_us % 1000000 * 1000;
	return 0;
}

int __wrap_gettimeofday(struct timeval *tv, void *zone)
{
	int64_t us = world->now_us + world->wall_us;

	tv->tv_sec = us / 1000000;
	tv->tv_usec = us % 1000000;
	return 0;
}

/* -------- who is in the midst of a step -------- */

enum process
{
	OUTBOX,
	HTTP,
	VERDICT,
	TIMER,
	WORKER,
	PROCESSES
};

static struct
{
	bool busy[PROCESSES];
	int depth;
	int pushing; /* between a decision and the ring: nobody can help there */
	bool quiet;	 /* nothing new happens: all is to settle */
	bool http_stands; /* the HTTP process does nothing */
} now;

static void some_steps(void);

/* Something else may happen here, in another process. */
static void meanwhile(unsigned percent)
{
	if(now.busy[TIMER] || now.depth >= 2 || !chance(percent))
		return;
	now.depth++;
	some_steps();
	now.depth--;
}

/* The connection to the database. */
static struct
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

/* -------- devices -------- */

static struct cn_job *last_shown;

struct request
{
	bool parked;
	int aor, contacts;
	int64_t deadline_us;
	int64_t parked_us;
	bool strange; /* it was parked while the database did not answer */
	int64_t excuse_us; /* the verdict process was in the midst of a step */
};

static struct request requests[REQUESTS_MAX];
static int request_count;

static const char *const keys[AORS] = {"a@h", "b@h"};
static const char *const uris[CONTACTS] = {"sip:1", "sip:2", "sip:3"};
static char digests[CONTACTS][CN_CONTACTS_MAX + 1];

static unsigned hash_of(int aor)
{
	str s = stub_str(keys[aor]);

	return core_hash(&s, NULL, 0);
}

static int aor_of(const char *key)
{
	int i;

	for(i = 0; i < AORS; i++) {
		if(strncmp(keys[i], key, strlen(keys[i])) == 0)
			return i;
	}
	check(!"an AOR that there is");
	return -1;
}

struct scratch
{
	struct cn_event ev;
	struct cn_contact contacts[CONTACTS];
};

static struct cn_event *make(struct scratch *s, int aor, int contacts)
{
	struct cn_event *ev = &s->ev;
	int i;

	memset(s, 0, sizeof(*s));
	ev->room = INT_MAX;
	snprintf(ev->id, sizeof(ev->id), "%032x", ++world->ids);
	ev->key = ev->aor = stub_str(keys[aor]);
	ev->hash = hash_of(aor);
	ev->call_id = STR("c");
	ev->reason = CN_REASON_NEW;
	ev->contacts = s->contacts;
	for(i = 0; i < CONTACTS; i++) {
		struct cn_contact *c = &s->contacts[ev->contact_count];

		if(!(contacts & 1 << i))
			continue;
		c->uri = stub_str(uris[i]);
		c->expires = 3600;
		c->reason = CN_REASON_NEW;
		ev->contact_count++;
	}
	return ev;
}

static int contacts_of(const char *digest_text)
{
	int i, contacts = 0;

	for(i = 0; i < CONTACTS; i++) {
		if(cn_contacts_overlap(digests[i], digest_text))
			contacts |= 1 << i;
	}
	return contacts;
}

static int contacts_of_event(const struct cn_event *ev)
{
	char text[CN_CONTACTS_MAX + 1];

	cn_contacts_write(ev, text);
	return contacts_of(text);
}

static void write_body(const struct cn_event *ev, char *body, size_t size)
{
	snprintf(body, size, "%d %d %" PRId64, aor_of(ev->key.s),
			contacts_of_event(ev), ev->seq);
}

static int database_trouble(void);

static int parked(void)
{
	int i, n = 0;

	for(i = 0; i < request_count; i++)
		n += requests[i].parked;
	return n;
}

static void note_number(int64_t seq)
{
	if(seq > world->highest) {
		world->highest = seq;
		return;
	}
	check(!db.loaded || world->killed_in_trouble);
	world->low[world->low_count++ % REQUESTS_MAX] = seq;
}

static bool is_low(int64_t seq)
{
	int i;

	for(i = 0; i < world->low_count && i < REQUESTS_MAX; i++) {
		if(world->low[i] == seq)
			return true;
	}
	return false;
}

static void do_register(int aor, int contacts, bool defers)
{
	struct scratch s;
	struct cn_event *ev = make(&s, aor, contacts);
	struct request *r = &requests[request_count];
	struct cn_waiter *waiter = NULL;
	struct cn_job *job = NULL;
	char text[64];
	int i;

	if(request_count == REQUESTS_MAX || parked() >= 10)
		return;
	for(i = 0; i < 3; i++) {
		str body, none = NO_STR;
		enum cn_entry entry;

		ev->seq = cn_number_next();
		note_number(ev->seq);
		write_body(ev, text, sizeof(text));
		body = stub_str(text);
		meanwhile(5);
		if(cn_index_joinable(ev)) {
			waiter = cn_waiter_new(ev, &none);
		} else {
			check(cn_job_new(ev, &body, &none, defers, &job) == CN_CAUSE_none);
			waiter = cn_job_waiter(job);
		}
		waiter->tm_index = (unsigned)request_count;
		*r = (struct request){.parked = true,
				.aor = aor,
				.contacts = contacts,
				.parked_us = world->now_us,
				.deadline_us = waiter->block ? cn_job_deadline_us(waiter->block)
											 : world->now_us
													   + cn_conf.timeout_ms * 1000,
				.strange = database_trouble()};
		request_count++;
		meanwhile(5);
		job = waiter->block;
		entry = cn_index_enter(ev, waiter);
		trace("REGISTER %s %d%s seq %" PRId64 ": %d\n", keys[aor], contacts,
				defers ? " defer" : "", ev->seq, entry);
		if(entry == CN_ENTERED)
			cn_order_go(job);
		if(entry == CN_ENTERED || entry == CN_WAITS || entry == CN_JOINED)
			return;
		request_count--;
		r->parked = false;
		cn_waiter_free(waiter);
		if(entry == CN_CROWDED)
			return;
	}
}

static void do_leave(int aor, int contact)
{
	struct scratch s;
	struct cn_event *ev = make(&s, aor, 1 << contact);

	world->bound[aor][contact] = false;
	ev->kind = CN_KIND_EXPIRE;
	trace("leaves: %s %d\n", keys[aor], 1 << contact);
	cn_outbox_leave(ev);
}

static bool knows(int aor, int contact, int64_t seq)
{
	int i;

	for(i = 0; i < world->accepted_count; i++) {
		const struct accepted *a = &world->accepted[i];

		if(a->aor == aor && a->contacts & 1 << contact
				&& (a->seq >= seq || is_low(a->seq)))
			return true;
	}
	return false;
}

static void show(struct cn_job *job, const struct cn_waiter *waiter)
{
	if(job)
		last_shown = job;
	meanwhile(10);
}

/* The answer to a device. */
int cn_park_resume(const struct cn_waiter *waiter)
{
	struct request *r = &requests[waiter->tm_index];
	const struct cn_outcome *outcome = cn_job_outcome(last_shown);
	int64_t seq = cn_job_seq(last_shown);
	int i;

	trace("answered: %s %d seq %" PRId64 " %s, %s\n", keys[r->aor], r->contacts,
			seq, cn_verdict_name(outcome->verdict),
			cn_cause_name(outcome->cause));
	/* one verdict each, in time */
	check(r->parked);
	r->parked = false;
	check(world->now_us <= r->deadline_us + r->excuse_us + LATE_US);
	if(outcome->verdict != CN_ACCEPTED && outcome->verdict != CN_DEFERRED)
		return 0;
	for(i = 0; i < CONTACTS; i++) {
		if(!(r->contacts & 1 << i))
			continue;
		world->bound[r->aor][i] = true;
		if(outcome->verdict == CN_ACCEPTED)
			check(knows(r->aor, i, seq));
	}
	if(outcome->verdict == CN_DEFERRED) {
		check(world->told_count < TOLD_MAX);
		world->told[world->told_count++] =
				(struct told){r->aor, r->contacts, seq};
		world->deferred++;
	}
	return 0;
}

bool cn_usrloc_is_live(const char *key, const char *about)
{
	int contacts = contacts_of(about), aor = aor_of(key), i;

	for(i = 0; i < CONTACTS; i++) {
		if(contacts & 1 << i && world->bound[aor][i])
			return true;
	}
	return false;
}

bool cn_usrloc_came_here(const char *key, const char *about, int64_t since_s)
{
	return false;
}

/* -------- the CMS -------- */

struct flight
{
	void *user; /* NULL: free */
	int aor, contacts;
	int64_t seq;
	int64_t deadline_us;
	int status; /* what it has said, 0: nothing yet */
	int log;	/* where that is in the list of what it accepted, -1: not */
};

static struct flight flights[FLIGHTS_MAX];
static int64_t answered_us;

int cn_http_check(void)
{
	return 0;
}

int cn_files_check(void)
{
	return 0;
}

bool cn_files_any(void)
{
	return false;
}

int cn_reload_init(void)
{
	return 0;
}

void cn_reload_destroy(void)
{
}

int cn_clients_set_up(
		int most, cn_http_done_f done, const int *fds, int count)
{
	return 0;
}

struct cn_http *cn_clients_now(void)
{
	return (struct cn_http *)flights;
}

void cn_clients_run(int timeout_ms, bool looks)
{
}

int cn_http_post(struct cn_http *http, const struct cn_http_request *request,
		void *user)
{
	char text[64];
	struct flight *f = flights;

	while(f < flights + FLIGHTS_MAX && f->user)
		f++;
	if(f == flights + FLIGHTS_MAX)
		return -1;
	check(request->body.len < (int)sizeof(text));
	memcpy(text, request->body.s, request->body.len);
	text[request->body.len] = '\0';
	check(sscanf(text, "%d %d %" SCNd64, &f->aor, &f->contacts, &f->seq) == 3);
	f->user = user;
	f->deadline_us = world->now_us + request->timeout_ms * 1000;
	f->status = 0;
	f->log = -1;
	trace("POST %s\n", text);
	return 0;
}

static void cms_accepts(struct flight *f)
{
	struct accepted *a = &world->accepted[world->accepted_count];
	int i;

	check(world->accepted_count < EVENTS_MAX);
	for(i = world->exempt_count; i < world->accepted_count; i++) {
		const struct accepted *b = &world->accepted[i];

		if(is_low(f->seq))
			break;

		if(b->aor != f->aor || !(b->contacts & f->contacts)
				|| b->seq <= f->seq)
			continue;
		if(b->exempt && !b->answered)
			continue;
		/* of rows with several contacts no event makes a part needless: there
		 * it would have waited, had it been known that they are there */
		if(b->unknown && f->contacts & (f->contacts - 1))
			continue;
		fprintf(stderr,
				"%s: the CMS hears of contacts %d with number %" PRId64
				" after those of %d with number %" PRId64 "\n",
				keys[f->aor], f->contacts, f->seq, b->contacts, b->seq);
		check(!"older after newer");
	}
	a->aor = f->aor;
	a->contacts = f->contacts;
	a->seq = f->seq;
	a->answered = false;
	a->exempt = database_trouble();
	a->unknown = !db.loaded
				 || (f->seq >= db.first_seq && f->seq <= db.unknown_seq);
	f->log = world->accepted_count++;
	world->delivered++;
}

static void cms_refuses(struct flight *f)
{
	check(world->refused_count < EVENTS_MAX);
	world->refused[world->refused_count++] = (struct accepted){
			.aor = f->aor, .contacts = f->contacts, .seq = f->seq};
}

/* It has read a request. */
static void step_cms(struct flight *f)
{
	if(f->user == NULL || f->status != 0)
		return;
	if((int)dice(100) < world->cms) {
		if(chance(95)) {
			f->status = 200;
			cms_accepts(f);
		} else {
			f->status = 403;
			cms_refuses(f);
		}
	} else {
		f->status = chance(80) ? 503 : 500;
	}
	trace("CMS: %d %d %" PRId64 ": %d\n", f->aor, f->contacts, f->seq,
			f->status);
}

static void end_flight(struct flight *f, const struct cn_http_result *result)
{
	void *user = f->user;

	if(result->status == 200 && f->log >= 0)
		world->accepted[f->log].answered = true;
	if(result->cause == CN_CAUSE_none)
		answered_us = world->now_us;
	f->user = NULL;
	step_http_done(user, result);
}

/* Its answer arrives, or gets lost. */
static void step_answer(struct flight *f)
{
	struct cn_http_result result = {.detail = ""};

	if(f->user == NULL || f->status == 0)
		return;
	if(!now.quiet && chance(10)) {
		trace("the answer to %" PRId64 " gets lost\n", f->seq);
		result.cause = CN_CAUSE_connect;
		result.lost = true;
	} else {
		result.status = f->status;
		result.cause = f->status >= 500 ? CN_CAUSE_http : CN_CAUSE_none;
	}
	end_flight(f, &result);
}

static void give_up_late_flights(void)
{
	static const struct cn_http_result result = {
			.cause = CN_CAUSE_timeout, .lost = true, .detail = ""};
	int i;

	for(i = 0; i < FLIGHTS_MAX; i++) {
		if(flights[i].user && flights[i].deadline_us <= world->now_us)
			end_flight(&flights[i], &result);
	}
}

/* -------- the database -------- */


static void advance(int64_t us);

/* Is there anybody who had to do without it? */
static int database_trouble(void)
{
	int i;

	if(!db.open || !db.settled)
		return true;
	for(i = 0; i < request_count; i++) {
		if(requests[i].parked
				&& (requests[i].strange
						|| requests[i].parked_us <= db.trouble_us))
			return true;
	}
	return false;
}

static void trouble(void)
{
	db.trouble_us = world->now_us;
	db.settled = false;
}

static int fails(const char *what)
{
	trace("database: %s fails\n", what);
	trouble();
	db.open = false;
	db.in_transaction = false;
	world->stores_failed++;
	return -1;
}

/* An operation takes place. */
static int operate(const char *what)
{
	check(now.busy[OUTBOX]);
	meanwhile(10);
	if(!db.open)
		return fails(what);
	switch(now.quiet ? DB_FINE : world->database) {
		case DB_FINE:
			break;
		case DB_REFUSES:
			if(chance(30))
				return fails(what);
			break;
		case DB_SLOW:
			advance(dice(80000));
			if(world->now_us - db.round_us > 90000)
				trouble(); /* nobody waits for it any more */
			break;
		case DB_HANGS:
			trouble();
			advance(100000 + dice(2000000));
			trouble();
			if(chance(50))
				return fails(what);
			break;
		case DB_AWAY:
			return fails(what);
	}
	return 0;
}

int cn_table_init(void)
{
	return 0;
}

static bool shares;

bool cn_db_is_shared(void)
{
	return shares;
}

int cn_table_open(int statement_ms, bool owns, int64_t *lease)
{
	int i;

	db.open = true;
	db.in_transaction = false;
	if(operate("connecting") < 0)
		return -1;
	*lease = world->table.lease;
	for(i = 0; i < world->table.count; i++) {
		if(world->table.rows[i].row.seq > *lease)
			*lease = world->table.rows[i].row.seq;
	}
	return 0;
}

void cn_db_set_limit(int statement_ms)
{
}

bool cn_db_is_open(void)
{
	return db.open;
}

void cn_db_close(void)
{
	db.open = false;
	db.in_transaction = false;
}

int cn_table_load_elsewhere(cn_table_f each, int64_t after)
{
	return operate("reading elsewhere");
}

int cn_table_load(cn_table_f each)
{
	struct table copy = world->table; /* as it was when it was asked */
	int i, j;

	if(operate("reading") < 0)
		return -1;
	db.loaded = true;
	if(db.unknown_seq == 0)
		db.unknown_seq = cn_number_last();
	for(i = copy.count - 1; i > 0; i--) {
		struct table_row row = copy.rows[j = (int)dice((unsigned)i + 1)];

		copy.rows[j] = copy.rows[i];
		copy.rows[i] = row;
	}
	for(i = 0; i < copy.count; i++) {
		struct cn_row row = copy.rows[i].row;

		if(!copy.rows[i].foreign && each(keys[copy.rows[i].aor], &row) < 0)
			return -1;
	}
	return 0;
}

static void copy_table(struct table *to, const struct table *from)
{
	to->count = from->count;
	to->lease = from->lease;
	memcpy(to->rows, from->rows, (size_t)from->count * sizeof(from->rows[0]));
}

int cn_db_begin(void)
{
	check(!db.in_transaction);
	if(operate("beginning") < 0)
		return -1;
	copy_table(&db.next, &world->table);
	db.in_transaction = true;
	return 0;
}

static struct table_row *find_row(struct table *table, int64_t seq)
{
	int i;

	for(i = 0; i < table->count; i++) {
		if(table->rows[i].row.seq == seq)
			return &table->rows[i];
	}
	return NULL;
}

/* What the database keeps of a row. */
static void keep(struct cn_row *to, const struct cn_row *from)
{
	memset(to, 0, sizeof(*to));
	to->seq = from->seq;
	strcpy(to->id, from->id);
	strcpy(to->contacts, from->contacts);
	to->state = from->state;
	to->kind = from->kind;
	to->reason = from->reason;
	to->created_us = from->created_us;
	to->attempts = from->attempts;
	to->cause = from->cause;
	to->status = from->status;
}

int cn_table_insert(const char *aor, const struct cn_row *row, const str *body)
{
	struct table_row *r = &db.next.rows[db.next.count];

	if(operate("inserting") < 0)
		return -1;
	check(db.in_transaction);
	check(db.next.count < ROWS_MAX);
	trace("database: insert %" PRId64 " state %d\n", row->seq, row->state);
	check(find_row(&db.next, row->seq) == NULL); /* its key */
	check(body->len < (int)sizeof(r->body));
	memset(r, 0, sizeof(*r));
	r->aor = aor_of(aor);
	keep(&r->row, row);
	memcpy(r->body, body->s, body->len);
	db.next.count++;
	return 0;
}

int cn_table_update(const struct cn_row *row)
{
	struct table_row *r;

	if(operate("updating") < 0)
		return -1;
	check(db.in_transaction);
	r = find_row(&db.next, row->seq);
	if(r) {
		r->row.state = row->state;
		r->row.created_us = row->created_us;
		r->row.attempts = row->attempts;
		r->row.cause = row->cause;
		r->row.status = row->status;
	}
	trace("database: update %" PRId64 " state %d\n", row->seq, row->state);
	return 0;
}

int cn_table_delete(struct cn_row *const *rows, int count)
{
	int i;

	if(count == 0)
		return 0;
	if(operate("deleting") < 0)
		return -1;
	check(db.in_transaction);
	for(i = 0; i < count; i++) {
		struct table_row *r = find_row(&db.next, rows[i]->seq);

		trace("database: delete %" PRId64 "\n", rows[i]->seq);
		if(r)
			*r = db.next.rows[--db.next.count];
	}
	return 0;
}

int cn_table_set_lease(int64_t lease)
{
	if(operate("the lease") < 0)
		return -1;
	db.next.lease = lease;
	return 0;
}

int cn_db_commit(void)
{
	bool unknown = !now.quiet
				   && (world->database == DB_REFUSES
						   || world->database == DB_HANGS)
				   && chance(15);

	if(operate("committing") < 0)
		return -1;
	check(db.in_transaction);
	db.in_transaction = false;
	copy_table(&world->table, &db.next);
	meanwhile(20); /* durable, and nobody here knows */
	if(unknown)
		return fails("the answer to the commit");
	trace("database: committed\n");
	return 0;
}

int cn_table_bodies(struct cn_row *const *rows, int count,
		void (*each)(struct cn_row *row, const str *body))
{
	int i;

	if(operate("reading bodies") < 0)
		return -1;
	for(i = count - 1; i >= 0; i--) {
		struct table_row *r = find_row(&world->table, rows[i]->seq);
		char copy[64];
		str body = {copy, 0};

		if(r == NULL || r->foreign)
			continue;
		strcpy(copy, r->body);
		body.len = (int)strlen(copy);
		each(rows[i], &body);
	}
	return 0;
}

int cn_table_take_over(void)
{
	int i, n = 0;

	if(operate("taking over") < 0)
		return -1;
	for(i = 0; i < world->table.count; i++) {
		n += world->table.rows[i].foreign;
		world->table.rows[i].foreign = false;
	}
	return n;
}

/* -------- the rest of the module -------- */

struct cn_conf cn_conf;

int cn_conf_capacity(void)
{
	return 64;
}

int cn_conf_posts_per_process(void)
{
	return 8;
}

const struct cn_registrar *cn_registrar(void)
{
	static const struct cn_registrar registrar = {.max_contacts = 100};

	return &registrar;
}

int cn_body_render(
		struct sip_msg *msg, const struct cn_event *ev, str *body)
{
	static char text[64];

	write_body(ev, text, sizeof(text));
	*body = stub_str(text);
	return 0;
}

int faked_msg_init(void)
{
	return 0;
}

struct sip_msg *faked_msg_next(void)
{
	return NULL;
}

static void show_event(const struct cn_event *ev)
{
}

struct cn_task *cn_resync_next(
		struct cn_event **ev, int64_t now_us, int64_t *due_us)
{
	*due_us = INT64_MAX;
	return NULL;
}

void cn_resync_told(struct cn_task *task, enum cn_told told)
{
	check(!"there is nothing to be told again");
}

static int gauges[64];

void cn_stats_count(enum cn_counter counter)
{
}

void cn_stats_cause(enum cn_cause cause)
{
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
	gauges[gauge] += by;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return gauges[gauge];
}

void cn_stats_latency(enum cn_latency latency, int64_t us)
{
}

void cn_stats_attempt_begin(int endpoint)
{
}

void cn_stats_attempt_end(
		int endpoint, enum cn_cause cause, unsigned status, int64_t us)
{
}

int64_t cn_stats_answered_us(void)
{
	return answered_us;
}

bool cn_breaker_pass(int endpoint, int64_t now_us)
{
	return true;
}

bool cn_breaker_would_pass(int endpoint, int64_t now_us)
{
	return true;
}

enum cn_breaker_edge cn_breaker_report(
		int endpoint, enum cn_cause cause, long status, int64_t now_us)
{
	return CN_BREAKER_SAME;
}

enum cn_cause cn_breaker_cause(int endpoint)
{
	return CN_CAUSE_busy;
}

void cn_admission_began(int64_t now_us)
{
}

void cn_admission_ended(int64_t answered_us, bool waiting, int64_t now_us)
{
}

bool cn_admission_has_time(int64_t left_us)
{
	return left_us > 0;
}

int cn_stop_init(void)
{
	return 0;
}

int cn_stop_fd(void)
{
	return 0;
}

bool cn_stop_asked(void)
{
	return false;
}

int64_t cn_stop_left_us(void)
{
	return 0;
}

unsigned int kam_rand(void)
{
	return stub_random(&world->dice);
}

unsigned int cryptorand(void)
{
	return 1;
}

/* -------- the core -------- */

cfg_group_t *cfg_group;
cfg_block_t **cfg_global, *cfg_local;
int cfg_block_size, cfg_ginst_count;
gen_lock_t *cfg_global_lock;
cfg_child_cb_t **cfg_child_cb_first, **cfg_child_cb_last, *cfg_child_cb;

void cfg_move_handle(
		cfg_group_t *group, cfg_group_inst_t *from, cfg_group_inst_t *to)
{
	abort();
}

int fork_process(int child_id, char *desc, int make_sock)
{
	abort();
}

int cfg_child_init(void)
{
	return 0;
}

struct timer_ln *timer_alloc(void)
{
	return calloc(1, sizeof(struct timer_ln));
}

int timer_add_safe(struct timer_ln *tl, ticks_t delta)
{
	return 0;
}

/* -------- steps -------- */

static void run(enum process process, void (*step)(void))
{
	if(now.busy[process])
		return;
	now.busy[process] = true;
	step();
	now.busy[process] = false;
}

static void outbox_round(void)
{
	int64_t before = db.trouble_us;

	db.round_us = world->now_us;
	step_outbox();
	(void)step_outbox_due_us(); /* as it does before it sleeps */
	if(db.open && db.trouble_us == before
			&& cn_ring_count(cn_outbox_ring()) == 0)
		db.settled = true;
}

static void http_answers(void)
{
	int i = (int)dice(FLIGHTS_MAX), n;

	for(n = 0; n < FLIGHTS_MAX; n++) {
		struct flight *f = &flights[(i + n) % FLIGHTS_MAX];

		if(f->user && f->status) {
			step_answer(f);
			return;
		}
	}
}

static void cms_reads(void)
{
	int i = (int)dice(FLIGHTS_MAX), n;

	for(n = 0; n < FLIGHTS_MAX; n++) {
		struct flight *f = &flights[(i + n) % FLIGHTS_MAX];

		if(f->user && f->status == 0) {
			step_cms(f);
			return;
		}
	}
}

static void worker(void)
{
	static const int sets[] = {1, 1, 1, 1, 2, 2, 3, 4, 6, 7};

	do_register((int)dice(AORS), sets[dice(10)], chance(75));
}

static void leaver(void)
{
	do_leave((int)dice(AORS), (int)dice(CONTACTS));
}

/* Time passes. Who is not in the midst of something does its part: verdicts and
 * the watchdog at once, HTTP as far as it does not stand still. */
static void advance(int64_t us)
{
	int i;

	while(us > 0) {
		int64_t step = us < TICK_US ? us : TICK_US;

		world->now_us += step;
		us -= step;
		for(i = 0; i < request_count && (now.busy[VERDICT] || now.pushing); i++)
			requests[i].excuse_us += step;
		if(now.busy[WORKER] && request_count > 0) /* it is not entered yet */
			requests[request_count - 1].excuse_us += step;
		if(!now.http_stands) {
			run(HTTP, step_http);
			run(HTTP, give_up_late_flights);
		}
		run(TIMER, step_watchdog);
		run(VERDICT, step_verdict);
	}
}

static void die(void)
{
	trace("---- killed ----\n");
	world->killed_in_trouble |= database_trouble();
	if(database_trouble())
		world->exempt_count = world->accepted_count;
	world->kills++;
	stub_exit(KILLED);
}

static void some_weather(void)
{
	switch(dice(5)) {
		case 0:
			world->database = DB_FINE;
			break;
		case 1:
			world->database = (enum database)dice(DB_AWAY + 1);
			break;
		case 2:
			world->cms = 100;
			break;
		case 3:
			world->cms = chance(50) ? 0 : 50;
			break;
		case 4:
			now.http_stands = chance(30);
			break;
	}
	trace("database %d, cms %d\n", world->database, world->cms);
}

static void one_step(void)
{
	switch(dice(30)) {
		case 0 ... 5:
			run(WORKER, worker);
			break;
		case 6 ... 10:
			run(OUTBOX, outbox_round);
			break;
		case 11 ... 14:
			if(!now.http_stands)
				run(HTTP, step_http);
			break;
		case 15 ... 18:
			cms_reads();
			break;
		case 19 ... 21:
			if(!now.http_stands)
				run(HTTP, http_answers);
			break;
		case 22 ... 23:
			run(VERDICT, step_verdict);
			break;
		case 24 ... 27:
			/* whoever waits for the others does not make them late */
			if(now.depth == 0)
				advance(chance(50) ? dice(20000) : dice(400000));
			break;
		case 28:
			if(chance(30))
				run(WORKER, leaver);
			else if(chance(30))
				some_weather();
			else if(chance(30))
				cn_outbox_replay();
			break;
		case 29:
			if(!now.quiet && chance(3))
				die();
			break;
	}
}

static void some_steps(void)
{
	unsigned n = 1 + dice(4);

	while(n-- > 0) {
		if(!now.quiet)
			one_step();
	}
}

/* What is not wrapped happens at once; here somebody else may come first. */
int __real_cn_ring_push(struct cn_ring *ring, void **item);

int __wrap_cn_ring_push(struct cn_ring *ring, void **item)
{
	int err;

	now.pushing++;
	meanwhile(3);
	err = __real_cn_ring_push(ring, item);
	now.pushing--;
	meanwhile(3);
	return err;
}

bool __real_cn_index_enter_delivery(struct cn_job *job, int64_t newest);

bool __wrap_cn_index_enter_delivery(struct cn_job *job, int64_t newest)
{
	meanwhile(10);
	return __real_cn_index_enter_delivery(job, newest);
}

bool __real_cn_index_set_order(
		struct cn_job *job, enum cn_order from, enum cn_order to);

bool __wrap_cn_index_set_order(
		struct cn_job *job, enum cn_order from, enum cn_order to)
{
	bool is_from;

	meanwhile(5);
	is_from = __real_cn_index_set_order(job, from, to);
	return is_from;
}

struct cn_waiter *__real_cn_index_next_waiter(struct cn_job *job);

struct cn_waiter *__wrap_cn_index_next_waiter(struct cn_job *job)
{
	struct cn_waiter *waiter = __real_cn_index_next_waiter(job);

	if(waiter == NULL) /* it has left */
		meanwhile(20);
	return waiter;
}

struct cn_job *__real_cn_index_release(const str *key, unsigned hash);

struct cn_job *__wrap_cn_index_release(const str *key, unsigned hash)
{
	meanwhile(5);
	return __real_cn_index_release(key, hash);
}

/* -------- a life -------- */

static void start(void)
{
	int i;

	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.timeout_ms = 1000;
	cn_conf.endpoints = 1;
	cn_conf.http_processes = 1;
	cn_conf.verdict_processes = 1;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	cn_conf.outbox_db_url = "memory";
	cn_conf.outbox_max = 200;
	cn_conf.outbox_max_age_s = 1000000;
	cn_conf.events_expire = true;
	for(i = 0; i < CONTACTS; i++) {
		struct scratch s;

		cn_contacts_write(make(&s, 0, 1 << i), digests[i]);
	}
	check(cn_job_init(64) == 0);
	check(cn_number_init() == 0);
	check(cn_share_init(64, "secret") == 0);
	check(cn_index_init(64) == 0);
	check(cn_outbox_init() == 0);
	check(step_http_start() == 0);
	check(cn_verdict_proc_init(show) == 0);
	cn_order_init(cn_http_proc_give, cn_http_proc_give_back);
	check(cn_leaving_init(show_event) == 0);
	check(cn_outbox_proc_init() == 0);
	db.first_seq = cn_number_next();
	trouble();
}

static int waiting_rows(void)
{
	int i, n = 0;

	for(i = 0; i < world->table.count; i++)
		n += world->table.rows[i].row.state != CN_ROW_DEAD;
	return n;
}

static bool is_quiet(void)
{
	return cn_job_count() == 0 && waiting_rows() == 0 && !cn_delivery_any()
		   && cn_ring_count(cn_outbox_ring()) == 0
		   && *cn_outbox_leaving() == NULL;
}

/* The CMS is there, the database too, nothing new comes. */
static void settle(void)
{
	int i, j;

	trace("---- all settles ----\n");
	now.quiet = true;
	now.http_stands = false;
	world->database = DB_FINE;
	world->cms = 100;
	for(i = 0; i < 2000 && !is_quiet(); i++) {
		run(OUTBOX, outbox_round);
		run(HTTP, step_http);
		for(j = 0; j < FLIGHTS_MAX; j++) {
			if(flights[j].user == NULL)
				continue;
			if(flights[j].status == 0) {
				flights[j].status = 200;
				cms_accepts(&flights[j]);
				trace("CMS: %d %d %" PRId64 ": 200\n", flights[j].aor,
						flights[j].contacts, flights[j].seq);
			}
			if(!now.busy[HTTP])
				step_answer(&flights[j]);
		}
		run(VERDICT, step_verdict);
		advance(30000);
	}
	if(!is_quiet())
		fprintf(stderr,
				"%d jobs, %d rows, %d commands are left, deliveries: %d\n",
				cn_job_count(), waiting_rows(),
				(int)cn_ring_count(cn_outbox_ring()), cn_delivery_any());
	check(is_quiet());
	run(OUTBOX, outbox_round); /* what is to be deleted has been */
}

/* A dead letter, or an event of a registration that was turned away. */
static bool was_refused(int aor, int contact, int64_t seq)
{
	int i;

	for(i = 0; i < world->refused_count; i++) {
		const struct accepted *a = &world->refused[i];

		if(a->aor == aor && a->contacts & 1 << contact && a->seq >= seq)
			return true;
	}
	return false;
}

/* Whoever was told that all is well is known to the CMS. */
static void claim_told(void)
{
	int i, j;

	for(i = 0; i < world->told_count; i++) {
		const struct told *t = &world->told[i];

		for(j = 0; j < CONTACTS; j++) {
			if(!(t->contacts & 1 << j) || knows(t->aor, j, t->seq)
					|| was_refused(t->aor, j, t->seq))
				continue;
			fprintf(stderr,
					"%s, contact %d, number %" PRId64
					": got a 200, and the CMS was never told\n",
					keys[t->aor], 1 << j, t->seq);
			check(!"a device is known to the CMS");
		}
	}
}

/* Nobody is asked about any more, nobody waits. */
static void claim_nothing_is_left(void)
{
	int i;

	for(i = 0; i < request_count; i++)
		check(!requests[i].parked);
	check(cn_index_asked() == 0);
	for(i = 0; i < AORS; i++) {
		struct scratch s;
		struct cn_event *ev = make(&s, i, 1);
		str body = STR("-"), none = NO_STR;
		struct cn_job *job;

		check(cn_job_new(ev, &body, &none, false, &job) == CN_CAUSE_none);
		/* counted right; a dead letter is counted, too, but keeps nobody */
		check(cn_outbox_may_go(job));
		if(world->table.count == 0)
			check(!cn_outbox_must_be_asked(job));
		cn_job_free(job);
	}
}

static void live(void *unused)
{
	static cfg_block_t *none;
	int steps, i;

	cfg_global = &none;
	start();
	if(world->lives > 1 && chance(20))
		world->database = DB_AWAY;
	steps = world->lives > 3 ? 0 : 50 + (int)dice(250);
	for(i = 0; i < steps; i++)
		one_step();
	settle();
	claim_told();
	claim_nothing_is_left();
}

static void begin_world(uint64_t seed)
{
	memset(world, 0, sizeof(*world));
	world->dice = seed * 0xd1342543de82ef95u;
	world->now_us = 1000000000;
	world->wall_us = EPOCH_US;
	world->database = chance(60) ? DB_FINE : (enum database)dice(DB_AWAY + 1);
	world->cms = chance(50) ? 0 : 60;
}

/* @return false: it has failed, which is shown */
static bool run_seed(uint64_t seed)
{
	int status;

	begin_world(seed);
	do {
		pid_t pid;

		world->lives++;
		stub_clear_log();
		pid = stub_fork(live, NULL);
		while(waitpid(pid, &status, 0) < 0)
			;
		/* the clock of the day may have been set meanwhile */
		world->now_us += 1000000;
		if(chance(20))
			world->wall_us -= 3600000000;
	} while(WIFEXITED(status) && WEXITSTATUS(status) == KILLED);
	if(WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	print_error("seed %" PRIu64 " fails (status %x): OUTBOX_SEED=%" PRIu64
				" shows how\n",
			seed, status, seed);
	return false;
}

static void whatever_happens_what_a_device_was_told_is_true(void **state)
{
	const char *seed = getenv("OUTBOX_SEED"), *runs = getenv("OUTBOX_RUNS");
	int n = runs ? atoi(runs) : 1000, failed = 0, i;
	long kills = 0, deferred = 0, delivered = 0, db_failures = 0;

	world = stub_shared(sizeof(*world));
	if(seed) {
		verbose = true;
		assert_true(run_seed(strtoull(seed, NULL, 10)));
		return;
	}
	for(i = 1; i <= n && failed < 5; i++) {
		failed += !run_seed(i);
		kills += world->kills;
		deferred += world->deferred;
		delivered += world->delivered;
		db_failures += world->stores_failed;
	}
	print_message("%d runs: %ld kills, %ld deferred, %ld accepted, %ld failures "
				  "of the database\n",
			i - 1, kills, deferred, delivered, db_failures);
	assert_int_equal(failed, 0);
	/* all of it has happened */
	assert_true(kills > n / 10 && deferred > n && delivered > n
				&& db_failures > n / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(whatever_happens_what_a_device_was_told_is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
