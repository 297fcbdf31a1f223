/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Whether a job may be sent now: with the index as it is, and an outbox that is
 * told what to say. */

#include "events.h"

#include "base_conf.h"
#include "job_index.h"
#include "job_number.h"
#include "job_order.h"
#include "outbox.h"

struct cn_conf cn_conf;

unsigned int cryptorand(void)
{
	return 1;
}

static const str body = {"{}", 2};
static const str no_callback;
static const str device = {"gzj@telecom.com", 15};

#define HASH 4711u

/* -------- an outbox -------- */

static struct
{
	bool waits;	 /* something may */
	bool refuses; /* to be asked */
	struct cn_job *asked[4];
	int asked_count;
} outbox;

bool cn_outbox_must_be_asked(const struct cn_job *job)
{
	return outbox.waits;
}

int cn_outbox_ask(struct cn_job *job)
{
	/* it may answer at once */
	assert_int_equal(cn_job_link(job)->order, CN_ASKED);
	if(outbox.refuses)
		return -1;
	assert_true(outbox.asked_count < 4);
	outbox.asked[outbox.asked_count++] = job;
	return 0;
}

/* -------- who sends -------- */

static struct cn_job *given[8];
static int given_count;

static void give(struct cn_job *job)
{
	assert_true(given_count < 8);
	assert_int_equal(cn_job_link(job)->order, CN_SENDABLE);
	given[given_count++] = job;
}

static struct cn_job *given_back;

static void give_back(struct cn_job *job)
{
	given_back = job;
}

static int start(void **state)
{
	stub_clear_log();
	stub_share_shm(false);
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	memset(&outbox, 0, sizeof(outbox));
	given_count = 0;
	stub_limits.timeout_ms = 4000;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	cn_order_init(give, give_back);
	return cn_job_init(100) < 0 || cn_number_init() < 0 || cn_index_init(100) < 0
				   ? -1
				   : 0;
}

static int end(void **state)
{
	int count = cn_job_count();

	cn_index_destroy();
	cn_number_destroy();
	cn_job_destroy();
	return stub_shm_blocks() == 0 && count == 0 ? 0 : -1;
}

/* Enter a job about one or two contacts; it cannot be joined. */
static struct cn_job *enter(
		const char *first, const char *second, enum cn_entry entry)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job;

	set_contact(&t.contacts[0], first, "");
	if(second)
		set_contact(&t.contacts[ev->contact_count++], second, "");
	ev->seq = cn_number_next();
	assert_int_equal(
			cn_job_new(ev, &body, &no_callback, true, &job), CN_CAUSE_none);
	assert_int_equal(cn_index_enter(ev, cn_job_waiter(job)), entry);
	return job;
}

static struct cn_job *go(void)
{
	struct cn_job *job = enter("sip:a", NULL, CN_ENTERED);

	cn_order_go(job);
	return job;
}

/* The answering side, as the verdict process does it. */
static void answer(struct cn_job *job)
{
	while(cn_index_next_waiter(job) != NULL)
		;
	cn_order_left(job);
	cn_job_release(job);
}

/* Both sides of those that were given. */
static void finish(int wanted)
{
	int i;

	assert_int_equal(given_count, wanted);
	for(i = 0; i < wanted; i++) {
		struct cn_job *job = given[i];

		cn_job_release(job);
		answer(job);
	}
}

/* -------- going -------- */

static void where_nothing_waits_it_is_sent_at_once(void **state)
{
	go();
	assert_int_equal(outbox.asked_count, 0);
	finish(1);
}

static void where_something_may_wait_it_is_asked_about(void **state)
{
	struct cn_job *job;

	outbox.waits = true;
	job = go();
	assert_int_equal(given_count, 0);
	assert_int_equal(outbox.asked_count, 1);
	assert_int_equal(cn_index_asked(), 1);
	assert_true(cn_order_answer(job, false));
	assert_int_equal(cn_index_asked(), 0);
	assert_false(cn_job_has_row(job));
	/* once */
	assert_false(cn_order_answer(job, false));
	finish(1);
}

static void what_cannot_be_asked_about_is_sent(void **state)
{
	outbox.waits = outbox.refuses = true;
	go();
	assert_int_equal(cn_index_asked(), 0);
	finish(1);
}

/* Before it can be sent: who ends it must know. */
static void it_has_a_row_before_it_is_sent(void **state)
{
	struct cn_job *job;

	outbox.waits = true;
	job = go();
	assert_true(cn_order_answer(job, true));
	assert_true(cn_job_has_row(job));
	finish(1);
}

static void who_has_ended_is_not_sent(void **state)
{
	struct cn_job *job;

	outbox.waits = true;
	job = go();
	cn_job_hold(job); /* as the question does */
	answer(job);
	assert_int_equal(cn_job_count(), 1);
	assert_false(cn_order_answer(job, false));
	cn_order_hold(job);
	assert_int_equal(cn_job_link(job)->order, CN_GONE);
	cn_job_release(job);
	finish(0);
}

static void the_watchdog_sends_and_gives_back(void **state)
{
	struct cn_job *job = enter("sip:a", NULL, CN_ENTERED);

	cn_order_send(job);
	assert_ptr_equal(given[0], job);
	cn_order_give_back(job);
	assert_ptr_equal(given_back, job);
	finish(1);
}

/* -------- waiting for a row -------- */

static void it_waits_for_a_row_and_is_asked_about_again(void **state)
{
	struct cn_job *job;

	outbox.waits = true;
	job = go();
	cn_order_hold(job);
	assert_int_equal(cn_job_link(job)->order, CN_HELD);
	assert_int_equal(cn_index_asked(), 0);
	cn_order_release(&device, HASH);
	assert_int_equal(outbox.asked_count, 2);
	outbox.waits = false;
	cn_order_hold(job);
	cn_order_release(&device, HASH);
	finish(1);
}

static void who_waits_at_its_end_is_let_go(void **state)
{
	struct cn_job *job;

	outbox.waits = true;
	job = go();
	cn_order_hold(job);
	answer(job); /* the index has had its sending side */
	cn_order_release(&device, HASH);
	finish(0);
}

static void who_was_sent_meanwhile_does_not_wait(void **state)
{
	struct cn_job *job;

	outbox.waits = true;
	job = go();
	assert_true(cn_index_set_order(job, CN_ASKED, CN_SENDABLE));
	give(job); /* as the watchdog does */
	cn_order_hold(job);
	assert_int_equal(cn_job_link(job)->order, CN_SENDABLE);
	assert_false(cn_order_answer(job, true));
	assert_true(cn_job_has_row(job));
	finish(1);
}

/* -------- waiting for a job -------- */

static void what_waited_goes_when_the_older_one_has_left(void **state)
{
	struct cn_job *ab = enter("sip:a", "sip:b", CN_ENTERED);
	struct cn_job *bc = enter("sip:b", "sip:c", CN_WAITS);
	struct cn_job *cd = enter("sip:c", "sip:d", CN_WAITS);

	cn_order_go(ab);
	assert_int_equal(given_count, 1);
	cn_order_release(&device, HASH);
	assert_int_equal(given_count, 1); /* nobody goes before its turn */
	cn_job_release(ab);
	answer(ab);
	assert_int_equal(given_count, 2);
	assert_ptr_equal(given[1], bc);
	cn_job_release(bc);
	answer(bc);
	assert_ptr_equal(given[2], cd);
	cn_job_release(cd);
	answer(cd);
	assert_int_equal(given_count, 3);
}

static void those_that_go_are_asked_about_oldest_first(void **state)
{
	struct cn_job *ab = enter("sip:a", "sip:b", CN_ENTERED);
	struct cn_job *first = enter("sip:a", "sip:x", CN_WAITS);
	struct cn_job *second = enter("sip:b", "sip:y", CN_WAITS);

	cn_order_go(ab);
	outbox.waits = true;
	cn_job_release(ab);
	answer(ab);
	assert_int_equal(outbox.asked_count, 2);
	assert_ptr_equal(outbox.asked[0], first);
	assert_ptr_equal(outbox.asked[1], second);
	given_count = 0;
	assert_true(cn_order_answer(first, false));
	assert_true(cn_order_answer(second, false));
	finish(2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(where_nothing_waits_it_is_sent_at_once),
			TEST(where_something_may_wait_it_is_asked_about),
			TEST(what_cannot_be_asked_about_is_sent),
			TEST(it_has_a_row_before_it_is_sent),
			TEST(who_has_ended_is_not_sent),
			TEST(the_watchdog_sends_and_gives_back),
			TEST(it_waits_for_a_row_and_is_asked_about_again),
			TEST(who_waits_at_its_end_is_let_go),
			TEST(who_was_sent_meanwhile_does_not_wait),
			TEST(what_waited_goes_when_the_older_one_has_left),
			TEST(those_that_go_are_asked_about_oldest_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
