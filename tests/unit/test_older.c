/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the index of devices knows of older and newer: deliveries, who is held
 * by them, whose turn comes when. */

#include "events.h"

#include "base_conf.h"
#include "job_index.h"

struct cn_conf cn_conf;

unsigned int cryptorand(void)
{
	return 1;
}

static const str body = {"{}", 2};
static const str no_callback;
static const str device = {"gzj@telecom.com", 15};
static const str stranger = {"other@telecom.com", 17};

#define HASH 4711u
#define MANY 64

/* Events of one AOR, each of another contact; and one of another AOR in the
 * same slot. */
static struct test_event events[MANY + 1], other;
static char uris[MANY + 1][32];

static int start(void **state)
{
	int i;

	stub_clear_log();
	stub_share_shm(false);
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.timeout_ms = 4000;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	cn_conf.outbox_db_url = "sqlite:///";
	for(i = 0; i <= MANY; i++) {
		make_event(&events[i]);
		snprintf(uris[i], sizeof(uris[i]), "sip:gzj@10.0.0.%d", i);
		set_contact(&events[i].contacts[0], uris[i], "");
	}
	make_event(&other)->key = stranger;
	return cn_job_init(100000) < 0 || cn_device_init(100) < 0 ? -1 : 0;
}

static int end(void **state)
{
	cn_device_destroy();
	cn_job_destroy();
	if(stub_shm_blocks() == 0)
		return 0;
	print_error("%d blocks of shm are left\n", stub_shm_blocks());
	return -1;
}

static struct cn_job *enter_as(const struct cn_event *ev, enum cn_entry entry)
{
	struct cn_job *job = NULL;

	assert_int_equal(cn_job_new(ev, &body, &no_callback, &job), CN_CAUSE_none);
	assert_int_equal(cn_device_enter(ev, cn_device_generation(ev->hash),
							 cn_job_waiter(job)),
			entry);
	return job;
}

static struct cn_job *enter(int i)
{
	return enter_as(&events[i].ev, CN_ENTERED);
}

static struct cn_job *enter_held(int i)
{
	return enter_as(&events[i].ev, CN_HELD);
}

static void decide(struct cn_job *job, enum cn_verdict verdict)
{
	struct cn_outcome outcome = {.verdict = verdict};

	assert_true(cn_job_decide(job, &outcome));
}

/* The answering side of a job. The sending one still holds it, unless it was
 * over before its turn. */
static void answer(struct cn_job *job)
{
	while(cn_device_next_waiter(job) != NULL)
		;
	cn_job_release(job);
}

/* Both sides of a job whose turn has come. */
static void finish(struct cn_job *job)
{
	int count = cn_job_count();

	answer(job);
	assert_int_equal(cn_job_count(), count);
	cn_job_release(job);
	assert_int_equal(cn_job_count(), count - 1);
}

/* Of one that nobody is going to send. */
static void finish_unsent(struct cn_job *job)
{
	int count = cn_job_count();

	answer(job);
	assert_int_equal(cn_job_count(), count - 1);
}

static struct cn_job *new_delivery(const str *of)
{
	static const str id = {"4f0c0000000000000000000000000002", CN_ID_LEN};
	struct cn_job *job = cn_job_new_delivery(
			1, &id, of, HASH, cn_device_generation(HASH), &body);

	assert_non_null(job);
	return job;
}

static struct cn_job *deliver(const str *of)
{
	struct cn_job *job = new_delivery(of);

	assert_true(cn_device_begin_delivery(job));
	return job;
}

static void end_delivery(struct cn_job *job)
{
	cn_device_end_delivery(job);
	cn_job_free(job);
}

static bool is_quiet(const str *of)
{
	return cn_device_quiet(of, HASH, cn_device_generation(HASH));
}

/* -------- deliveries -------- */

static void a_delivery_is_in_the_index_until_it_ends(void **state)
{
	unsigned generation = cn_device_generation(HASH);
	struct cn_job *job;

	assert_true(is_quiet(&device));
	job = deliver(&device);
	assert_false(is_quiet(&device));
	assert_true(is_quiet(&stranger));
	cn_device_end_delivery(job);
	assert_true(is_quiet(&device));
	/* what ends there is no news to who classifies a REGISTER */
	assert_int_equal(cn_device_generation(HASH), generation);
	cn_job_free(job);
}

static void a_slot_is_not_quiet_once_something_has_ended(void **state)
{
	unsigned generation = cn_device_generation(HASH);

	finish(enter_as(&other.ev, CN_ENTERED));
	assert_false(cn_device_quiet(&device, HASH, generation));
	assert_true(is_quiet(&device));
}

static void nothing_is_delivered_beside_something_of_the_device(void **state)
{
	struct cn_job *late = new_delivery(&device), *job = enter(0), *first;

	assert_false(cn_device_begin_delivery(late));
	/* where it has not begun there is nothing to end */
	cn_device_end_delivery(late);
	assert_true(cn_device_joinable(&events[0].ev));
	finish(job);
	cn_job_free(late);
	first = deliver(&device);
	late = new_delivery(&device);
	assert_false(cn_device_begin_delivery(late));
	cn_device_end_delivery(late);
	assert_false(is_quiet(&device));
	cn_device_end_delivery(first);
	assert_true(cn_device_begin_delivery(late));
	end_delivery(late);
	cn_job_free(first);
}

static void strangers_do_not_keep_a_delivery_back(void **state)
{
	struct cn_job *theirs = enter_as(&other.ev, CN_ENTERED);
	struct cn_job *ours = deliver(&device);

	assert_false(cn_device_is_overtaken(ours));
	end_delivery(ours);
	finish(theirs);
	theirs = deliver(&stranger);
	ours = deliver(&device);
	assert_false(cn_device_is_overtaken(ours));
	/* out of the middle of the chain, and its end */
	finish_unsent(enter_held(0));
	end_delivery(theirs);
	end_delivery(ours);
	assert_true(is_quiet(&stranger) && is_quiet(&device));
}

static void what_has_ended_since_the_row_was_taken_prevents_it(void **state)
{
	struct cn_job *late = new_delivery(&device);

	finish(enter(0));
	assert_false(cn_device_begin_delivery(late));
	assert_true(is_quiet(&device));
	cn_job_free(late);
	end_delivery(deliver(&device));
}

static void a_delivery_is_overtaken_by_what_waits_or_has_ended(void **state)
{
	struct cn_job *old = deliver(&device), *new;

	assert_false(cn_device_is_overtaken(old));
	new = enter_held(0);
	assert_true(cn_device_is_overtaken(old));
	answer(new);
	/* it has ended: the generation tells */
	assert_true(cn_device_is_overtaken(old));
	end_delivery(old);
	old = deliver(&device);
	new = enter_as(&other.ev, CN_ENTERED);
	assert_false(cn_device_is_overtaken(old));
	finish(new);
	end_delivery(old);
}

static void nobody_joins_a_delivery(void **state)
{
	struct cn_job *old = deliver(&device), *job;
	struct cn_event leaves = events[0].ev;
	struct cn_waiter *w;

	cn_conf.identity = CN_IDENTITY_AOR; /* any contact is the device */
	leaves.star = true;
	leaves.contact_count = 0;
	leaves.reason = CN_REASON_NONE;
	assert_false(cn_device_joinable(&events[0].ev));
	assert_false(cn_device_joinable(&leaves));
	w = cn_waiter_new(&leaves, &no_callback);
	assert_int_equal(
			cn_device_enter(&leaves, cn_device_generation(HASH), w), CN_STALE);
	cn_waiter_free(w);
	/* but who is held by it may be joined */
	job = enter_held(0);
	assert_true(cn_device_joinable(&events[0].ev));
	assert_true(cn_device_joinable(&leaves));
	w = cn_waiter_new(&events[0].ev, &no_callback);
	assert_int_equal(cn_device_enter(&events[0].ev, 0, w), CN_JOINED);
	assert_ptr_equal(cn_device_next_waiter(job), cn_job_waiter(job));
	assert_ptr_equal(cn_device_next_waiter(job), w);
	cn_waiter_free(w);
	finish_unsent(job);
	end_delivery(old);
}

static int due_count;

static void note_due(struct cn_job *job)
{
	due_count++;
}

static void a_delivery_is_neither_listed_nor_overdue(void **state)
{
	struct cn_job *old = deliver(&device), *job = enter_held(0);
	struct cn_device_row rows[2];

	cn_job_set_sent(old, 1);
	assert_true(cn_job_deadline_us(old) < cn_now_us());
	due_count = 0;
	cn_device_overdue(cn_now_us(), note_due);
	assert_int_equal(due_count, 0);
	assert_int_equal(cn_device_list(rows, 2), 1);
	assert_int_equal(rows[0].waiters, 1);
	/* who is held has a deadline */
	cn_device_overdue(INT64_MAX, note_due);
	assert_int_equal(due_count, 1);
	finish_unsent(job);
	end_delivery(old);
}

static void a_delivery_takes_no_place_in_the_crowd(void **state)
{
	struct cn_job *jobs[MANY], *more, *old = deliver(&device);
	int i;

	for(i = 0; i < MANY; i++)
		jobs[i] = enter_held(i);
	more = enter_as(&events[MANY].ev, CN_CROWDED);
	finish_unsent(jobs[0]);
	assert_int_equal(cn_device_enter(&events[MANY].ev,
							 cn_device_generation(HASH), cn_job_waiter(more)),
			CN_HELD);
	finish_unsent(more);
	for(i = 1; i < MANY; i++)
		finish_unsent(jobs[i]);
	end_delivery(old);
}

/* -------- who is held -------- */

static void a_delivery_holds_what_is_new_of_its_device(void **state)
{
	struct cn_job *old = deliver(&device), *held = enter_held(0);
	struct cn_job *theirs = enter_as(&other.ev, CN_ENTERED);

	cn_device_end_delivery(old);
	/* what comes before it has been freed does not wait for it */
	finish(enter(1));
	finish_unsent(held);
	finish(theirs);
	cn_job_free(old);
}

static void who_has_failed_holds_until_all_are_answered(void **state)
{
	static const enum cn_verdict failures[] = {CN_REJECTED, CN_UNAVAILABLE};
	size_t i;

	for(i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		struct cn_job *old = enter(0), *beside = enter(1), *again;

		decide(old, failures[i]);
		again = enter_held(0);
		assert_int_equal(*cn_job_turn(again), CN_TURN_HELD);
		assert_int_equal(*cn_job_turn(beside), CN_TURN_COME);
		assert_null(cn_device_freed(beside));
		assert_non_null(cn_device_next_waiter(old));
		assert_null(cn_device_freed(beside));
		assert_null(cn_device_next_waiter(old));
		assert_ptr_equal(cn_device_freed(old), again);
		cn_job_free(old);
		finish(again);
		finish(beside);
	}
}

static void who_is_sent_or_saved_holds_nobody(void **state)
{
	struct cn_job *sent = enter(0), *beside = enter(1);

	decide(sent, CN_ACCEPTED);
	finish(enter(2));
	finish(sent);
	finish(beside);
}

static void without_an_outbox_nobody_is_held(void **state)
{
	struct cn_job *old = enter(0);

	cn_conf.outbox_db_url = NULL;
	decide(old, CN_UNAVAILABLE);
	finish(enter(0));
	finish(old);
}

/* -------- whose turn comes -------- */

static void the_held_are_freed_oldest_first(void **state)
{
	struct cn_job *old = deliver(&device), *theirs = deliver(&stranger);
	struct cn_job *held[3], *their_own, *freed;
	int i;

	held[0] = enter_held(0);
	their_own = enter_as(&other.ev, CN_HELD);
	held[1] = enter_held(1);
	held[2] = enter_held(2);
	assert_null(cn_device_freed(old)); /* it has not left */
	cn_device_end_delivery(old);
	freed = cn_device_freed(old);
	for(i = 0; i < 3; i++) {
		assert_ptr_equal(freed, held[i]);
		assert_int_equal(*cn_job_turn(freed), CN_TURN_COME);
		freed = *cn_job_freed(freed);
	}
	assert_null(freed);
	assert_null(cn_device_freed(old)); /* once */
	assert_int_equal(*cn_job_turn(their_own), CN_TURN_HELD);
	for(i = 0; i < 3; i++)
		finish(held[i]);
	cn_device_end_delivery(theirs);
	assert_ptr_equal(cn_device_freed(theirs), their_own);
	assert_null(*cn_job_freed(their_own));
	finish(their_own);
	assert_null(cn_device_freed(old));
	cn_job_free(old);
	cn_job_free(theirs);
}

static void who_is_held_twice_is_freed_by_the_last(void **state)
{
	struct cn_job *job = enter(0), *again, *last;

	/* a failed one, and one that was held by it and has failed meanwhile */
	decide(job, CN_UNAVAILABLE);
	again = enter_held(0);
	decide(again, CN_UNAVAILABLE);
	last = enter_held(0);
	answer(job);
	assert_null(cn_device_freed(job));
	assert_int_equal(*cn_job_turn(again), CN_TURN_HELD);
	cn_job_hold(again); /* to be able to look at it */
	answer(again);
	assert_ptr_equal(cn_device_freed(again), last);
	assert_null(*cn_job_freed(last));
	cn_job_release(again);
	cn_job_release(job);
	finish(last);
}

static void who_is_asked_about_is_not_freed(void **state)
{
	struct cn_job *old = deliver(&device), *asked = enter_held(0);

	assert_true(cn_device_turn(asked, CN_TURN_HELD, CN_TURN_ASKED));
	cn_device_end_delivery(old);
	assert_null(cn_device_freed(old));
	assert_int_equal(*cn_job_turn(asked), CN_TURN_ASKED);
	finish_unsent(asked);
	cn_job_free(old);
}

static void a_turn_is_changed_by_who_knows_it(void **state)
{
	static const enum cn_turn turns[] = {
			CN_TURN_COME, CN_TURN_HELD, CN_TURN_ASKED, CN_TURN_OVER};
	struct cn_job *job = enter(0);
	int is, from, to;

	for(is = 0; is < 4; is++) {
		for(from = 0; from < 4; from++) {
			for(to = 0; to < 4; to++) {
				*cn_job_turn(job) = turns[is];
				assert_int_equal(cn_device_turn(job, turns[from], turns[to]),
						is == from);
				assert_int_equal(
						*cn_job_turn(job), turns[is == from ? to : is]);
			}
		}
	}
	*cn_job_turn(job) = CN_TURN_COME;
	finish(job);
}

static void what_was_never_sent_is_let_go_of(void **state)
{
	struct cn_job *old = deliver(&device), *held, *asked, *come, *gone;

	held = enter_held(0);
	asked = enter_held(1);
	come = enter_held(2);
	gone = enter_held(3);
	*cn_job_turn(asked) = CN_TURN_ASKED;
	*cn_job_turn(come) = CN_TURN_COME;
	finish_unsent(held);
	cn_job_hold(asked); /* who asked */
	answer(asked);
	/* nobody sends what has left */
	assert_false(cn_device_turn(asked, CN_TURN_ASKED, CN_TURN_COME));
	cn_job_release(asked);
	finish(come);
	cn_device_end_delivery(old);
	assert_ptr_equal(cn_device_freed(old), gone);
	finish(gone);
	assert_int_equal(cn_job_count(), 0);
	cn_job_free(old);
}

/* -------- in a hurry -------- */

static struct cn_job *given[8];
static int given_count;

static void note_given(struct cn_job *job)
{
	assert_true(given_count < 8);
	assert_int_equal(*cn_job_turn(job), CN_TURN_COME);
	given[given_count++] = job;
}

static void hurry(int64_t before_us, int wanted)
{
	given_count = 0;
	cn_device_hurry(before_us, note_given);
	assert_int_equal(given_count, wanted);
}

static void who_has_waited_too_long_is_given_once(void **state)
{
	struct cn_job *old = deliver(&device), *held, *asked, *sent;

	sent = enter_as(&other.ev, CN_ENTERED);
	held = enter_held(0);
	asked = enter_held(1);
	*cn_job_turn(asked) = CN_TURN_ASKED;
	hurry(cn_job_parked_us(held), 0);
	hurry(cn_job_parked_us(held) + 1,
			cn_job_parked_us(asked) == cn_job_parked_us(held) ? 2 : 1);
	assert_ptr_equal(given[given_count - 1], held);
	hurry(INT64_MAX, given_count == 2 ? 0 : 1);
	assert_true(given_count == 0 || given[0] == asked);
	hurry(INT64_MAX, 0);
	cn_device_end_delivery(old);
	assert_null(cn_device_freed(old));
	finish(held);
	finish(asked);
	finish(sent);
	cn_job_free(old);
}

static void every_slot_is_hurried(void **state)
{
	struct test_event t;
	unsigned slot;

	for(slot = 0; slot < 1024; slot++) {
		struct cn_job *old, *again;

		make_event(&t)->hash = slot;
		old = enter_as(&t.ev, CN_ENTERED);
		decide(old, CN_UNAVAILABLE);
		again = enter_as(&t.ev, CN_HELD);
		hurry(INT64_MAX, 1);
		assert_ptr_equal(given[0], again);
		finish(again);
		finish(old);
	}
}

/* Ended while its slot's lock is held, as at the end of the server. */
static void fail_at_once(struct cn_job *job)
{
	given_count++;
	decide(job, CN_UNAVAILABLE);
	cn_job_release(job);
}

static void who_is_given_may_be_ended_at_once(void **state)
{
	struct cn_job *old = deliver(&device), *held[3];
	int i;

	for(i = 0; i < 3; i++)
		held[i] = enter_held(i);
	given_count = 0;
	cn_device_hurry(INT64_MAX, fail_at_once);
	assert_int_equal(given_count, 3);
	for(i = 0; i < 3; i++)
		finish_unsent(held[i]);
	end_delivery(old);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_delivery_is_in_the_index_until_it_ends),
			TEST(a_slot_is_not_quiet_once_something_has_ended),
			TEST(nothing_is_delivered_beside_something_of_the_device),
			TEST(strangers_do_not_keep_a_delivery_back),
			TEST(what_has_ended_since_the_row_was_taken_prevents_it),
			TEST(a_delivery_is_overtaken_by_what_waits_or_has_ended),
			TEST(nobody_joins_a_delivery),
			TEST(a_delivery_is_neither_listed_nor_overdue),
			TEST(a_delivery_takes_no_place_in_the_crowd),
			TEST(a_delivery_holds_what_is_new_of_its_device),
			TEST(who_has_failed_holds_until_all_are_answered),
			TEST(who_is_sent_or_saved_holds_nobody),
			TEST(without_an_outbox_nobody_is_held),
			TEST(the_held_are_freed_oldest_first),
			TEST(who_is_held_twice_is_freed_by_the_last),
			TEST(who_is_asked_about_is_not_freed),
			TEST(a_turn_is_changed_by_who_knows_it),
			TEST(what_was_never_sent_is_let_go_of),
			TEST(who_has_waited_too_long_is_given_once),
			TEST(every_slot_is_hurried),
			TEST(who_is_given_may_be_ended_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
