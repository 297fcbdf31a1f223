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

#include <sys/wait.h>

#include "../../core/cfg/cfg_struct.h"

#include "world.h"

#include "admit_share.h"
#include "http_jobs.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "job_ring.h"
#include "outbox_delivery.h"
#include "outbox_leaving.h"
#include "outbox_proc.h"
#include "verdict.h"

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

	if(chance(20) && step_cms_late())
		return;
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

static void silent(void)
{
	do_silent((int)dice(AORS), (int)dice(CONTACTS));
}

static void keepalive(void)
{
	do_keepalive((int)dice(AORS), (int)dice(CONTACTS), chance(75));
}

/* Time passes. Who is not in the midst of something does its part: verdicts and
 * the watchdog at once, HTTP as far as it does not stand still. */
void advance(int64_t us)
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
	give_up_flights();
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
	switch(dice(33)) {
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
		case 30:
			run(ALIVE, silent);
			break;
		case 31 ... 32:
			run(WORKER, keepalive);
			break;
	}
}

void some_steps(void)
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

bool __real_cn_job_decide(
		struct cn_job *job, const struct cn_outcome *outcome);

bool __wrap_cn_job_decide(struct cn_job *job, const struct cn_outcome *outcome)
{
	bool first = __real_cn_job_decide(job, outcome);

	if(first)
		flights_are_late(cn_job_seq(job));
	return first;
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
	memset(&stub_limits, 0, sizeof(stub_limits));
	stub_limits.timeout_ms = 1000;
	cn_conf.batch_max = chance(50) ? 1 : 2 + dice(BATCH_MAX - 1);
	stub_limits.max_answer_size = 16384;
	cn_conf.http_processes = 1;
	cn_conf.verdict_processes = 1;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	cn_conf.outbox_db_url = "memory";
	cn_conf.outbox_max = 200;
	stub_limits.outbox_max_age_s = 1000000;
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
	check(cn_verdict_init(show) == 0);
	cn_order_init(cn_http_jobs_give, cn_http_jobs_give_back);
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
		   && *cn_outbox_kept() == NULL && db.open;
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
				cms_accepts_all(&flights[j]);
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
	while(step_cms_late())
		;
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

/* What the CMS has heard last of a contact. */
static const struct accepted *newest(int aor, int contact)
{
	const struct accepted *found = NULL;
	int i;

	for(i = 0; i < world->accepted_count; i++) {
		const struct accepted *a = &world->accepted[i];

		if(a->aor == aor && a->contacts & 1 << contact && !is_low(a->seq)
				&& (found == NULL || a->seq > found->seq))
			found = a;
	}
	return found;
}

/* Whoever is there is not off line to the CMS, unless a clock was set back while the
 * lease could not be read. */
static void claim_alive(void)
{
	const struct accepted *last;
	int i, j;

	for(i = 0; i < AORS; i++) {
		for(j = 0; j < CONTACTS; j++) {
			check(!world->gone[i][j]);
			last = newest(i, j);
			if(!world->bound[i][j] || !last || last->kind != CN_KIND_OFFLINE
					|| was_refused(i, j, world->saved[i][j])
					|| is_low(world->saved[i][j]))
				continue;
			fprintf(stderr,
					"%s, contact %d: saved with number %" PRId64
					", off line with number %" PRId64 "\n",
					keys[i], 1 << j, world->saved[i][j], last->seq);
			check(!"who is there is not off line to the CMS");
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
	/* usrloc has read its table */
	memset(world->gone, 0, sizeof(world->gone));
	start();
	if(world->lives > 1 && chance(20))
		world->database = DB_AWAY;
	steps = world->lives > 3 ? 0 : 50 + (int)dice(250);
	for(i = 0; i < steps; i++)
		one_step();
	settle();
	claim_told();
	claim_alive();
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
	long kills = 0, deferred = 0, delivered = 0, db_failures = 0, batches = 0;
	long offline = 0, back = 0, outdated = 0;

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
		batches += world->batches;
		offline += world->offline;
		back += world->back;
		outdated += world->outdated;
	}
	print_message("%d runs: %ld kills, %ld deferred, %ld accepted, %ld failures "
				  "of the database, %ld answers to several events, %ld off "
				  "line, %ld back before, %ld outdated\n",
			i - 1, kills, deferred, delivered, db_failures, batches, offline,
			back, outdated);
	assert_int_equal(failed, 0);
	/* all of it has happened */
	assert_true(kills > n / 10 && deferred > n && delivered > n
				&& db_failures > n / 2 && batches > n / 10 && offline > n / 10
				&& back > n / 10 && outdated > n / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(whatever_happens_what_a_device_was_told_is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
