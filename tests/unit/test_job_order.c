/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Whose turn it is: with the index of devices, jobs and the ring of notes as
 * they are, and an outbox that is told what to find. */

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

static const str body = {"{\"event\": \"register\"}", 21};
static const str no_callback;
static const str device = {"gzj@telecom.com", 15};

#define HASH 4711u
#define NOTES 4

/* -------- an outbox -------- */

static struct
{
	struct cn_ring *notes;
	bool waits;
	bool older;
	int has_older_err, keep_err;
	/* what happens meanwhile, once */
	void (*before_push)(void);
	void (*in_has_older)(void);
	void (*in_keep)(void);
	/* how often */
	int looked, kept, in_vain;
} outbox;

static void run(void (**what)(void))
{
	void (*f)(void) = *what;

	*what = NULL;
	if(f)
		f();
}

bool cn_outbox_exists(void)
{
	return cn_conf.outbox_db_url != NULL;
}

bool cn_waiting_may(unsigned hash)
{
	assert_true(cn_outbox_exists());
	assert_int_equal(hash, HASH);
	return outbox.waits;
}

struct cn_ring *cn_outbox_notes(void)
{
	return outbox.notes;
}

struct cn_note *cn_outbox_question(struct cn_job *job)
{
	struct cn_note *note = stub_malloc(sizeof(*note));

	if(note) {
		memset(note, 0, sizeof(*note));
		note->type = CN_NOTE_TURN;
		cn_job_hold(job);
		note->job = job;
	}
	return note;
}

void cn_note_free(struct cn_note *note)
{
	if(note == NULL)
		return;
	cn_job_release(note->job);
	free(note);
}

int cn_outbox_has_older(const struct cn_job *job, bool *older)
{
	outbox.looked++;
	*older = false;
	run(&outbox.in_has_older);
	if(outbox.has_older_err == 0)
		*older = outbox.older;
	return outbox.has_older_err;
}

int cn_outbox_keep(const struct cn_job *job, const str *copy)
{
	outbox.kept++;
	assert_int_equal(copy->len, body.len);
	assert_memory_equal(copy->s, body.s, body.len);
	/* it may be overwritten from now on */
	assert_ptr_not_equal(copy->s, cn_job_body(job)->s);
	run(&outbox.in_keep);
	assert_memory_equal(copy->s, body.s, body.len);
	return outbox.keep_err;
}

int __real_cn_ring_push(struct cn_ring *ring, void **item);

int __wrap_cn_ring_push(struct cn_ring *ring, void **item)
{
	run(&outbox.before_push);
	return __real_cn_ring_push(ring, item);
}

void __real_cn_job_set_kept(struct cn_job *job, bool kept);

/* Before its turn comes: then who answers it may be done with it already. */
void __wrap_cn_job_set_kept(struct cn_job *job, bool kept)
{
	assert_int_equal(*cn_job_turn(job), CN_TURN_ASKED);
	__real_cn_job_set_kept(job, kept);
}

/* -------- who sends -------- */

#define GIVEN 8

static struct cn_job *given[GIVEN];
static int given_count;

static void give(struct cn_job *job)
{
	enum cn_turn turn = *cn_job_turn(job);

	assert_true(given_count < GIVEN);
	assert_true(turn == CN_TURN_COME || turn == CN_TURN_OVER);
	given[given_count++] = job;
}

static int start(void **state)
{
	stub_clear_log();
	stub_share_shm(false);
	stub_fail_at(0);
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&outbox, 0, sizeof(outbox));
	given_count = 0;
	cn_conf.timeout_ms = 4000;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	cn_conf.outbox_db_url = "sqlite:///";
	outbox.waits = true;
	outbox.notes = cn_ring_new(NOTES, 1);
	cn_turn_init(give);
	return cn_job_init(100000) < 0 || cn_device_init(100) < 0 ? -1 : 0;
}

static int end(void **state)
{
	int count = cn_job_count();

	cn_ring_free(outbox.notes);
	cn_device_destroy();
	cn_job_destroy();
	if(stub_shm_blocks() == 0 && count == 0)
		return 0;
	print_error(
			"%d blocks of shm, %d jobs are left\n", stub_shm_blocks(), count);
	return -1;
}

static struct cn_job *enter_contact(const char *uri, enum cn_entry entry)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job;

	set_contact(&t.contacts[0], uri, "");
	assert_int_equal(cn_job_new(ev, &body, &no_callback, &job), CN_CAUSE_none);
	assert_int_equal(cn_device_enter(ev, cn_device_generation(ev->hash),
							 cn_job_waiter(job)),
			entry);
	return job;
}

/* A job that nothing holds, on its way. */
static struct cn_job *go(void)
{
	struct cn_job *job = enter_contact("sip:gzj@10.0.0.1", CN_ENTERED);

	cn_turn_go(job);
	return job;
}

static void decide(struct cn_job *job, enum cn_verdict verdict)
{
	struct cn_outcome outcome = {.verdict = verdict};

	assert_true(cn_job_decide(job, &outcome));
}

/* The answering side is done with a job. */
static void answer(struct cn_job *job)
{
	while(cn_device_next_waiter(job) != NULL)
		;
	cn_job_release(job);
}

/* Both sides are done with those that were given: nobody holds them any more.
 */
static void finish(int wanted)
{
	int i, count = cn_job_count();

	assert_int_equal(given_count, wanted);
	for(i = 0; i < wanted; i++) {
		cn_job_release(given[i]);
		assert_int_equal(cn_job_count(), count - i);
		answer(given[i]);
		assert_int_equal(cn_job_count(), count - i - 1);
	}
	given_count = 0;
}

static struct cn_note *take_note(void)
{
	struct cn_note *note = cn_ring_take(outbox.notes);

	assert_non_null(note);
	return note;
}

/* As the outbox process does. */
static int heed(void)
{
	struct cn_note *note = take_note();
	bool in_vain;
	int err = cn_turn_heed(note->job, &in_vain);

	outbox.in_vain += in_vain;
	cn_note_free(note);
	return err;
}

static void hurry(void)
{
	int count = given_count;

	cn_turn_hurry();
	assert_int_equal(given_count, count + 1);
}

static bool is_asked(const struct cn_job *job)
{
	return *cn_job_turn((struct cn_job *)job) == CN_TURN_ASKED
		   && cn_ring_count(outbox.notes) == 1 && given_count == 0;
}

/* -------- going -------- */

static void without_an_outbox_it_is_sent_at_once(void **state)
{
	cn_conf.outbox_db_url = NULL;
	go();
	finish(1);
}

static void where_nothing_waits_it_is_sent_at_once(void **state)
{
	outbox.waits = false;
	go();
	assert_int_equal(cn_ring_count(outbox.notes), 0);
	finish(1);
}

static void where_something_may_wait_it_is_asked_about(void **state)
{
	struct cn_job *job = go();
	struct cn_note *note;

	assert_true(is_asked(job));
	note = take_note();
	assert_int_equal(note->type, CN_NOTE_TURN);
	assert_ptr_equal(note->job, job);
	/* the note holds it, too */
	hurry();
	cn_job_release(job);
	answer(job);
	assert_int_equal(cn_job_count(), 1);
	cn_note_free(note);
	assert_int_equal(cn_job_count(), 0);
}

static void without_memory_for_the_question_it_is_sent(void **state)
{
	struct cn_job *job = enter_contact("sip:gzj@10.0.0.1", CN_ENTERED);

	stub_fail_at(1);
	cn_turn_go(job);
	assert_true(stub_has_failed());
	assert_int_equal(cn_ring_count(outbox.notes), 0);
	finish(1);
}

static void fill_notes(void)
{
	int i;

	for(i = 0; i < NOTES; i++) {
		void *p = &outbox;

		assert_int_equal(__real_cn_ring_push(outbox.notes, &p), 0);
	}
}

static void where_the_question_has_no_room_it_is_sent(void **state)
{
	fill_notes();
	go();
	finish(1);
}

static void it_is_sent_once_though_hurried_while_being_asked_about(void **state)
{
	outbox.before_push = hurry;
	go();
	assert_int_equal(given_count, 1);
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.kept, 0);
	finish(1);
	fill_notes();
	outbox.before_push = hurry;
	go();
	finish(1);
}

/* By the watchdog, as whoever was to send it was stopped meanwhile. */
static void what_is_over_before_it_goes_is_sent_to_no_harm(void **state)
{
	struct cn_job *job = enter_contact("sip:gzj@10.0.0.1", CN_ENTERED);

	decide(job, CN_UNAVAILABLE);
	answer(job);
	outbox.older = true;
	cn_turn_go(job);
	/* not kept: nobody would take it back */
	assert_int_equal(cn_ring_count(outbox.notes), 0);
	assert_int_equal(given_count, 1);
	assert_int_equal(cn_job_count(), 1);
	cn_job_release(job);
}

/* -------- the answer -------- */

static void where_nothing_older_waits_it_is_sent(void **state)
{
	struct cn_job *job = go();

	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.looked, 1);
	assert_int_equal(outbox.kept, 0);
	assert_false(cn_job_is_kept(job));
	finish(1);
}

static void where_nothing_waits_any_more_the_table_is_not_asked(void **state)
{
	go();
	outbox.waits = false;
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.looked, 0);
	finish(1);
}

static struct cn_job *kept_job;

static void is_not_sent_yet(void)
{
	assert_int_equal(given_count, 0);
	assert_int_equal(*cn_job_turn(kept_job), CN_TURN_ASKED);
	assert_false(cn_job_is_kept(kept_job));
}

static void give_kept(struct cn_job *job)
{
	assert_true(cn_job_is_kept(job));
	give(job);
}

static void behind_something_older_it_is_kept_before_it_is_sent(void **state)
{
	cn_turn_init(give_kept);
	outbox.older = true;
	outbox.in_keep = is_not_sent_yet;
	kept_job = go();
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.kept, 1);
	assert_int_equal(outbox.in_vain, 0);
	finish(1);
}

static void it_is_sent_though_the_database_fails(void **state)
{
	struct cn_job *job = go();

	outbox.older = true;
	outbox.has_older_err = -1;
	assert_int_equal(heed(), -1);
	assert_int_equal(outbox.kept, 0);
	assert_false(cn_job_is_kept(job));
	finish(1);
	outbox.has_older_err = 0;
	outbox.keep_err = -1;
	job = go();
	assert_int_equal(heed(), -1);
	assert_int_equal(outbox.kept, 1);
	assert_int_equal(outbox.in_vain, 0);
	assert_false(cn_job_is_kept(job));
	finish(1);
}

static void it_is_sent_without_memory_for_a_copy(void **state)
{
	struct cn_job *job = go();

	outbox.older = true;
	stub_fail_at(1);
	assert_int_equal(heed(), -1);
	assert_true(stub_has_failed());
	assert_logged("ERROR", "no memory");
	assert_int_equal(outbox.kept, 0);
	assert_false(cn_job_is_kept(job));
	finish(1);
}

/* Sent, and answered with more than the request had. */
static void hurry_and_answer(void)
{
	struct cn_outcome outcome = {
			.verdict = CN_ACCEPTED, .body = STR("0123456789012345678")};

	hurry();
	assert_true(cn_job_decide(given[0], &outcome));
}

static void what_was_sent_meanwhile_is_not_kept(void **state)
{
	struct cn_job *job = go();

	outbox.older = true;
	outbox.in_has_older = hurry_and_answer;
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.kept, 0);
	assert_int_equal(outbox.in_vain, 0);
	assert_false(cn_job_is_kept(job));
	finish(1);
}

static void what_was_sent_while_being_kept_is_taken_back(void **state)
{
	struct cn_job *job;

	outbox.older = true;
	outbox.in_keep = hurry_and_answer;
	job = go();
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.kept, 1);
	assert_int_equal(outbox.in_vain, 1);
	assert_false(cn_job_is_kept(job));
	finish(1);
	/* where it was not kept there is nothing to take back */
	outbox.in_keep = hurry_and_answer;
	outbox.keep_err = -1;
	go();
	assert_int_equal(heed(), -1);
	assert_int_equal(outbox.in_vain, 1);
	finish(1);
}

static void end_kept(void)
{
	decide(kept_job, CN_UNAVAILABLE);
	answer(kept_job);
}

static void what_is_over_while_asked_about_is_never_sent(void **state)
{
	outbox.older = true;
	kept_job = go();
	end_kept();
	assert_int_equal(cn_job_count(), 1); /* the note's */
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.kept, 0);
	assert_int_equal(cn_job_count(), 0);
	outbox.in_keep = end_kept;
	kept_job = go();
	assert_int_equal(heed(), 0);
	assert_int_equal(outbox.kept, 1);
	assert_int_equal(outbox.in_vain, 1);
	assert_int_equal(given_count, 0);
}

/* -------- who has left -------- */

static struct cn_job *deliver(void)
{
	static const str id = {"4f0c0000000000000000000000000002", CN_ID_LEN};
	struct cn_job *job = cn_job_new_delivery(
			1, &id, &device, HASH, cn_device_generation(HASH), &body);

	assert_non_null(job);
	assert_true(cn_device_begin_delivery(job));
	return job;
}

static void hold_three(struct cn_job **held)
{
	held[0] = enter_contact("sip:gzj@10.0.0.1", CN_HELD);
	held[1] = enter_contact("sip:gzj@10.0.0.2", CN_HELD);
	held[2] = enter_contact("sip:gzj@10.0.0.3", CN_HELD);
}

static void those_that_were_held_go_in_order(void **state)
{
	struct cn_job *old = deliver(), *held[3];
	int i;

	outbox.waits = false;
	hold_three(held);
	cn_turn_left(old); /* it has not */
	assert_int_equal(given_count, 0);
	cn_device_end_delivery(old);
	cn_turn_left(old);
	for(i = 0; i < 3; i++)
		assert_ptr_equal(given[i], held[i]);
	finish(3);
	cn_turn_left(old);
	finish(0);
	cn_job_free(old);
}

static void those_that_were_held_are_asked_about_in_order(void **state)
{
	struct cn_job *old = deliver(), *held[3];
	int i;

	hold_three(held);
	cn_device_end_delivery(old);
	cn_turn_left(old);
	cn_job_free(old);
	assert_int_equal(cn_ring_count(outbox.notes), 3);
	for(i = 0; i < 3; i++) {
		assert_int_equal(given_count, i);
		assert_int_equal(heed(), 0);
		assert_ptr_equal(given[i], held[i]);
	}
	finish(3);
}

/* Sent, answered and gone, before it returns. */
static void give_and_end(struct cn_job *job)
{
	given_count++;
	decide(job, CN_ACCEPTED);
	answer(job);
	cn_job_release(job);
}

static void who_goes_may_be_gone_at_once(void **state)
{
	struct cn_job *old = deliver(), *held[3];

	cn_turn_init(give_and_end);
	outbox.waits = false;
	hold_three(held);
	cn_device_end_delivery(old);
	cn_turn_left(old);
	cn_job_free(old);
	assert_int_equal(given_count, 3);
}

static void without_an_outbox_nobody_was_held(void **state)
{
	struct cn_job *old = deliver(), *held[3];

	hold_three(held);
	cn_device_end_delivery(old);
	cn_conf.outbox_db_url = NULL;
	cn_turn_left(old);
	cn_turn_hurry();
	cn_turn_watch(INT64_MAX / 2);
	assert_int_equal(given_count, 0);
	cn_conf.outbox_db_url = "sqlite:///";
	cn_turn_hurry();
	finish(3);
	cn_job_free(old);
}

static void who_was_held_and_is_over_is_let_go_of(void **state)
{
	struct cn_job *old = deliver(), *held[3];
	int i;

	hold_three(held);
	for(i = 0; i < 3; i++) {
		decide(held[i], CN_UNAVAILABLE);
		answer(held[i]);
		assert_int_equal(cn_job_count(), 2 - i);
	}
	cn_device_end_delivery(old);
	cn_turn_left(old);
	assert_int_equal(given_count, 0);
	cn_job_free(old);
}

/* -------- the watchdog -------- */

static void who_is_held_waits_a_quarter_of_the_time(void **state)
{
	static const struct
	{
		int timeout_ms, wait_ms;
	} cases[] = {
			{100, 25}, {2000, 500}, {4000, 1000}, {4004, 1000}, {25000, 1000}};
	size_t i;

	for(i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cn_job *old = deliver(), *job;
		int64_t wait_us = cases[i].wait_ms * 1000;

		cn_turn_init(give);
		cn_conf.timeout_ms = cases[i].timeout_ms;
		job = enter_contact("sip:gzj@10.0.0.1", CN_HELD);
		cn_turn_watch(cn_job_parked_us(job) + wait_us);
		assert_int_equal(given_count, 0);
		cn_turn_watch(cn_job_parked_us(job) + wait_us + 1);
		assert_int_equal(given_count, 1);
		cn_turn_watch(INT64_MAX / 2);
		cn_device_end_delivery(old);
		cn_turn_left(old);
		finish(1);
		cn_job_free(old);
	}
}

/* It does not look at each tick, but in time for whoever came meanwhile. */
static void nobody_waits_longer_for_the_watchdog(void **state)
{
	struct cn_job *old = deliver(), *first, *second;
	int64_t us;

	cn_turn_watch(cn_now_us()); /* finds nobody */
	first = enter_contact("sip:gzj@10.0.0.1", CN_HELD);
	cn_turn_watch(cn_job_parked_us(first) + 1000);
	while(cn_now_us() < cn_job_parked_us(first) + 2000)
		;
	second = enter_contact("sip:gzj@10.0.0.2", CN_HELD);
	for(us = 1000; us <= 1000000; us += 1000)
		cn_turn_watch(cn_job_parked_us(first) + us);
	assert_int_equal(given_count, 0);
	cn_turn_watch(cn_job_parked_us(first) + 1000001);
	assert_int_equal(given_count, 1);
	cn_turn_watch(cn_job_parked_us(second) + 1000000);
	assert_int_equal(given_count, 1);
	cn_turn_watch(cn_job_parked_us(second) + 1000001);
	assert_int_equal(given_count, 2);
	cn_device_end_delivery(old);
	cn_turn_left(old);
	finish(2);
	cn_job_free(old);
}

static void who_is_asked_about_waits_no_longer(void **state)
{
	struct cn_job *job = go();

	cn_turn_watch(cn_job_parked_us(job) + 1000000);
	assert_true(is_asked(job));
	cn_turn_watch(cn_job_parked_us(job) + 1000001);
	assert_int_equal(given_count, 1);
	assert_int_equal(heed(), 0);
	finish(1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(without_an_outbox_it_is_sent_at_once),
			TEST(where_nothing_waits_it_is_sent_at_once),
			TEST(where_something_may_wait_it_is_asked_about),
			TEST(without_memory_for_the_question_it_is_sent),
			TEST(where_the_question_has_no_room_it_is_sent),
			TEST(it_is_sent_once_though_hurried_while_being_asked_about),
			TEST(what_is_over_before_it_goes_is_sent_to_no_harm),
			TEST(where_nothing_older_waits_it_is_sent),
			TEST(where_nothing_waits_any_more_the_table_is_not_asked),
			TEST(behind_something_older_it_is_kept_before_it_is_sent),
			TEST(it_is_sent_though_the_database_fails),
			TEST(it_is_sent_without_memory_for_a_copy),
			TEST(what_was_sent_meanwhile_is_not_kept),
			TEST(what_was_sent_while_being_kept_is_taken_back),
			TEST(what_is_over_while_asked_about_is_never_sent),
			TEST(those_that_were_held_go_in_order),
			TEST(those_that_were_held_are_asked_about_in_order),
			TEST(who_goes_may_be_gone_at_once),
			TEST(without_an_outbox_nobody_was_held),
			TEST(who_was_held_and_is_over_is_let_go_of),
			TEST(who_is_held_waits_a_quarter_of_the_time),
			TEST(nobody_waits_longer_for_the_watchdog),
			TEST(who_is_asked_about_waits_no_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
