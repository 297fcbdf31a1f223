/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Everybody at once: registrations come, are held, asked about, sent, hurried
 * and answered while the outbox delivers, by several threads. Each job is sent
 * once, or is over before its turn and never sent; none is left. */

#include <pthread.h>
#include <sched.h>

#include "events.h"

#include "base_conf.h"
#include "job_index.h"
#include "outbox.h"
#include "job_ring.h"
#include "job_order.h"
#include "outbox_waiting.h"

struct cn_conf cn_conf;

unsigned int cryptorand(void)
{
	return 1;
}

#define SIP 2
#define HTTP 2
#define VERDICT 2
#define THREADS (SIP + HTTP + VERDICT + 2) /* outbox, watchdog */
#define REQUESTS 6000					   /* of each SIP worker */
#define JOBS (SIP * REQUESTS)
#define DEVICES 3 /* in one slot, so that they meet */
#define CONTACTS 4
#define LIMIT_US 60000000

static const str body = {"{\"event\": \"register\"}", 21};
static const str no_callback;
static const char *const keys[DEVICES] = {"a@h", "b@h", "c@h"};

static struct
{
	struct cn_ring *notes, *jobs, *verdicts, *spare, *ended;
	int64_t end_us;
	int coming; /* SIP workers that still send */
	int entered, joined, held, crowded, answered, deliveries;
	int has[JOBS]; /* this number has a job in the index */
	int sent[JOBS];
	int kept[JOBS]; /* rows */
	int in_vain;
} race;

static int add(int *p, int n)
{
	return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

static int load(int *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

/* Where n threads have their own dice. */
static bool one_in(uint64_t *dice, unsigned n)
{
	return stub_random(dice) % n == 0;
}

static void push(struct cn_ring *ring, void *item)
{
	check(cn_ring_push(ring, &item) == 0);
}

static int number_of(const struct cn_job *job)
{
	char id[CN_ID_LEN + 1] = "";
	int n;

	memcpy(id, cn_job_id(job)->s, CN_ID_LEN);
	n = atoi(id);
	check(n >= 0 && n < JOBS);
	return n;
}

static bool is_asked(const struct cn_job *job)
{
	return *(volatile enum cn_turn *)cn_job_turn((struct cn_job *)job)
		   == CN_TURN_ASKED;
}

/* Something is left to be done. */
static bool go_on(void)
{
	check(cn_now_us() < race.end_us);
	return load(&race.coming) > 0 || cn_job_count() > 0
		   || load(&race.deliveries) > 0;
}

/* -------- an outbox -------- */

bool cn_outbox_exists(void)
{
	return true;
}

bool cn_waiting_may(unsigned hash)
{
	return cn_now_us() % 4 != 0;
}

struct cn_ring *cn_outbox_notes(void)
{
	return race.notes;
}

struct cn_note *cn_outbox_question(struct cn_job *job)
{
	struct cn_note *note = calloc(1, sizeof(*note));

	note->type = CN_NOTE_TURN;
	cn_job_hold(job);
	note->job = job;
	return note;
}

void cn_note_free(struct cn_note *note)
{
	if(note)
		cn_job_release(note->job);
	free(note);
}

int cn_outbox_has_older(const struct cn_job *job, bool *older)
{
	*older = cn_now_us() % 4 != 0;
	/* now and then it takes so long that the watchdog comes first */
	while(number_of(job) % 8 == 2 && is_asked(job))
		sched_yield();
	return 0;
}

int cn_outbox_keep(const struct cn_job *job, const str *copy)
{
	check(copy->len == body.len && memcmp(copy->s, body.s, body.len) == 0);
	if(number_of(job) % 16 == 0)
		return -1;
	while(number_of(job) % 8 == 1 && is_asked(job))
		sched_yield();
	check(add(&race.kept[number_of(job)], 1) == 1);
	return 0;
}

/* -------- who does what -------- */

static void give(struct cn_job *job)
{
	check(add(&race.sent[number_of(job)], 1) == 1);
	push(race.jobs, job);
}

static struct cn_event *make(struct test_event *t, int number, unsigned dice)
{
	static const char *const uris[CONTACTS] = {
			"sip:1", "sip:2", "sip:3", "sip:4"};
	struct cn_event *ev = make_event(t);

	snprintf(ev->id, sizeof(ev->id), "%032d", number);
	ev->key = stub_str(keys[dice % DEVICES]);
	set_contact(&t->contacts[0], uris[dice / DEVICES % CONTACTS], "");
	return ev;
}

/* A REGISTER, until it has found its place. */
static void come(int number, unsigned dice)
{
	struct test_event t;
	struct cn_event *ev = make(&t, number, dice);
	enum cn_entry entry = CN_STALE;
	struct cn_job *job;

	check(cn_job_new(ev, &body, &no_callback, &job) == CN_CAUSE_none);
	while(entry == CN_STALE)
		entry = cn_device_enter(
				ev, cn_device_generation(ev->hash), cn_job_waiter(job));
	switch(entry) {
		case CN_ENTERED:
			race.has[number] = 1;
			add(&race.entered, 1);
			cn_turn_go(job);
			break;
		case CN_HELD:
			race.has[number] = 1;
			add(&race.held, 1);
			break;
		case CN_JOINED:
			add(&race.joined, 1);
			break;
		case CN_CROWDED:
			add(&race.crowded, 1);
			cn_job_free(job);
			break;
		case CN_STALE:
			break;
	}
}

static void *be_sip(void *arg)
{
	int me = (int)(intptr_t)arg, i;
	uint64_t dice = me + 1;

	for(i = 0; i < REQUESTS; i++) {
		come(me * REQUESTS + i, stub_random(&dice));
		/* not all at once: what has ended has to be seen, too */
		while(cn_job_count() > 20 && go_on())
			sched_yield();
	}
	add(&race.coming, -1);
	return NULL;
}

static void end_job(struct cn_job *job, enum cn_verdict verdict)
{
	struct cn_outcome outcome = {.verdict = verdict, .body = STR("0123456789")};

	if(cn_job_decide(job, &outcome))
		push(cn_job_row(job) ? race.ended : race.verdicts, job);
	cn_job_release(job);
}

static void *be_http(void *arg)
{
	uint64_t dice = 100 + (intptr_t)arg;
	struct cn_job *job;

	while(go_on()) {
		while((job = cn_ring_take(race.jobs)) != NULL) {
			if(one_in(&dice, 4))
				sched_yield();
			end_job(job, one_in(&dice, 2) ? CN_ACCEPTED : CN_UNAVAILABLE);
		}
		job = cn_ring_take(race.spare);
		if(job && cn_device_begin_delivery(job)) {
			sched_yield();
			cn_device_is_overtaken(job);
			end_job(job, CN_ACCEPTED);
		} else if(job) {
			end_job(job, CN_UNAVAILABLE);
		}
		sched_yield();
	}
	return NULL;
}

static void answer(struct cn_job *job)
{
	int number = number_of(job), n = 0;
	struct cn_waiter *w;

	while((w = cn_device_next_waiter(job)) != NULL) {
		n++;
		if(w->block != job)
			cn_waiter_free(w);
	}
	add(&race.answered, n);
	/* who is told of a row takes it back, or leaves it to who kept it */
	if(cn_job_is_kept(job))
		check(add(&race.kept[number], -1) == 0);
	cn_turn_left(job);
	cn_job_release(job);
}

static void *be_verdict(void *unused)
{
	struct cn_job *job;

	while(go_on()) {
		while((job = cn_ring_take(race.verdicts)) != NULL)
			answer(job);
		sched_yield();
	}
	return NULL;
}

static void heed(struct cn_note *note)
{
	bool in_vain;

	if(cn_turn_heed(note->job, &in_vain) < 0)
		check(!in_vain);
	if(in_vain) {
		check(add(&race.kept[number_of(note->job)], -1) == 0);
		add(&race.in_vain, 1);
	}
	cn_note_free(note);
}

static void deliver(uint64_t *dice)
{
	static const str id = {"4f0c0000000000000000000000000002", CN_ID_LEN};
	str device = stub_str(keys[stub_random(dice) % DEVICES]);
	struct cn_job *job = cn_job_new_delivery(
			1, &id, &device, 4711, cn_device_generation(4711), &body);

	add(&race.deliveries, 1);
	push(race.spare, job);
}

static void *be_outbox(void *unused)
{
	uint64_t dice = 200;
	struct cn_note *note;
	struct cn_job *job;

	while(go_on()) {
		while((note = cn_ring_take(race.notes)) != NULL)
			heed(note);
		while((job = cn_ring_take(race.ended)) != NULL) {
			cn_device_end_delivery(job);
			cn_turn_left(job);
			cn_job_release(job);
			add(&race.deliveries, -1);
		}
		if(load(&race.coming) > 0 && load(&race.deliveries) < 3)
			deliver(&dice);
		sched_yield();
	}
	return NULL;
}

/* Only what is not sent: to be over before its turn. */
static void lose(struct cn_job *job)
{
	static const struct cn_outcome outcome = {.verdict = CN_UNAVAILABLE};

	if(*cn_job_turn(job) != CN_TURN_COME && cn_job_decide(job, &outcome))
		push(race.verdicts, job);
}

static void *be_watchdog(void *unused)
{
	uint64_t dice = 300;

	while(go_on()) {
		if(one_in(&dice, 2))
			cn_device_overdue(INT64_MAX, lose);
		else if(one_in(&dice, 2))
			cn_turn_hurry();
		else
			cn_turn_watch(cn_now_us() - 20);
		sched_yield();
		sched_yield();
	}
	return NULL;
}

/* -------- one chain -------- */

#define LINKS 50000
#define LINKERS 4

/* Each with a device of its own, all in one slot: what is in there is found,
 * until it leaves. */
static void *register_and_leave(void *arg)
{
	const int me = (int)(intptr_t)arg;
	struct test_event t;
	int i;

	for(i = 0; i < LINKS; i++) {
		struct cn_event *ev = make(&t, i % JOBS, 0);
		enum cn_entry entry = CN_STALE;
		struct cn_job *job;

		ev->key = stub_str(me ? "d@h" : "e@h");
		check(cn_job_new(ev, &body, &no_callback, &job) == CN_CAUSE_none);
		while(entry == CN_STALE)
			entry = cn_device_enter(
					ev, cn_device_generation(ev->hash), cn_job_waiter(job));
		check(entry == CN_ENTERED);
		check(cn_device_joinable(ev));
		while(cn_device_next_waiter(job) != NULL)
			;
		check(!cn_device_joinable(ev));
		cn_job_free(job);
	}
	return NULL;
}

static void *deliver_and_end(void *arg)
{
	static const str id = {"4f0c0000000000000000000000000002", CN_ID_LEN};
	str key = stub_str(keys[(intptr_t)arg % DEVICES]);
	int i;

	for(i = 0; i < LINKS; i++) {
		unsigned now = cn_device_generation(4711);
		struct cn_job *job =
				cn_job_new_delivery(1, &id, &key, 4711, now, &body);

		if(cn_device_begin_delivery(job))
			check(!cn_device_quiet(&key, 4711, cn_device_generation(4711)));
		check(cn_device_turn(job, CN_TURN_COME, CN_TURN_COME));
		check(!cn_device_come(job, false));
		check(cn_device_freed(job) == NULL);
		cn_device_end_delivery(job);
		cn_job_free(job);
	}
	return NULL;
}

/* -------- the tests -------- */

static void start(void)
{
	stub_clear_log();
	cn_conf.timeout_ms = 0; /* the watchdog lets go at once */
	cn_conf.identity = CN_IDENTITY_CONTACT;
	cn_conf.outbox_db_url = "sqlite:///";
	cn_turn_init(give);
	assert_int_equal(cn_job_init(100000), 0);
	assert_int_equal(cn_device_init(100), 0);
	race.notes = cn_ring_new(2, 1); /* it is full now and then */
	race.jobs = cn_ring_new(JOBS, 1);
	race.verdicts = cn_ring_new(JOBS, 1);
	race.spare = cn_ring_new(16, 1);
	race.ended = cn_ring_new(16, 1);
	race.coming = SIP;
	race.end_us = cn_now_us() + LIMIT_US;
}

static void run_threads(void)
{
	static void *(*const all[THREADS])(void *) = {be_sip, be_sip, be_http,
			be_http, be_verdict, be_verdict, be_outbox, be_watchdog};
	pthread_t threads[THREADS];
	intptr_t i;

	for(i = 0; i < THREADS; i++)
		assert_int_equal(
				pthread_create(&threads[i], NULL, all[i], (void *)i), 0);
	for(i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void each_job_is_sent_once_or_let_go_of_once(void **state)
{
	struct cn_device_row row;
	int i, sent = 0;

	start();
	run_threads();
	assert_int_equal(cn_job_count(), 0);
	assert_int_equal(cn_device_list(&row, 1), 0);
	for(i = 0; i < JOBS; i++) {
		assert_true(race.sent[i] <= race.has[i]);
		assert_int_equal(race.kept[i], 0);
		sent += race.sent[i];
	}
	assert_int_equal(
			race.entered + race.held + race.joined + race.crowded, JOBS);
	assert_int_equal(race.answered, JOBS - race.crowded);
	/* all that it is about has happened */
	assert_true(race.joined > 0 && race.held > 0 && race.entered > 0);
	assert_true(sent < race.entered + race.held);
	assert_true(race.in_vain > 0);
	cn_device_destroy();
	cn_job_destroy();
	cn_ring_free(race.notes);
	cn_ring_free(race.jobs);
	cn_ring_free(race.verdicts);
	cn_ring_free(race.spare);
	cn_ring_free(race.ended);
	assert_int_equal(stub_shm_blocks(), 0);
}

static void a_chain_loses_nobody(void **state)
{
	static void *(*const all[LINKERS])(void *) = {register_and_leave,
			register_and_leave, deliver_and_end, deliver_and_end};
	struct cn_device_row row;
	pthread_t threads[LINKERS];
	intptr_t i;

	cn_conf.outbox_db_url = "sqlite:///";
	assert_int_equal(cn_job_init(100000), 0);
	assert_int_equal(cn_device_init(100), 0);
	for(i = 0; i < LINKERS; i++)
		assert_int_equal(
				pthread_create(&threads[i], NULL, all[i], (void *)i), 0);
	for(i = 0; i < LINKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(cn_device_list(&row, 1), 0);
	assert_int_equal(cn_job_count(), 0);
	cn_device_destroy();
	cn_job_destroy();
	assert_int_equal(stub_shm_blocks(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(a_chain_loses_nobody),
			cmocka_unit_test(each_job_is_sent_once_or_let_go_of_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
