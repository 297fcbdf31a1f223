/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sched.h>

#include "events.h"

#include "base_conf.h"
#include "job_index.h"
#include "job_number.h"

struct cn_conf cn_conf;

unsigned int cryptorand(void)
{
	return 1;
}

static const str body = {"{}", 2};
static const str no_callback;

static int start(void **state)
{
	stub_clear_log();
	stub_share_shm(false);
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	stub_limits.timeout_ms = 4000;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	return cn_job_init(100000) < 0 || cn_number_init() < 0
				   || cn_index_init(100) < 0
			   ? -1
			   : 0;
}

static int end(void **state)
{
	cn_index_destroy();
	cn_number_destroy();
	cn_job_destroy();
	if(stub_shm_blocks() == 0)
		return 0;
	print_error("%d blocks of shm are left\n", stub_shm_blocks());
	return -1;
}

/* With a number of its own: as it comes. */
static struct cn_job *new_job(struct cn_event *ev)
{
	struct cn_job *job = NULL;

	ev->seq = cn_number_next();
	assert_int_equal(
			cn_job_new(ev, &body, &no_callback, false, &job), CN_CAUSE_none);
	return job;
}

/* Put a new job of the event into the index. */
static struct cn_job *enter(struct cn_event *ev)
{
	struct cn_job *job = new_job(ev);

	assert_int_equal(cn_index_enter(ev, cn_job_waiter(job)),
			CN_ENTERED);
	return job;
}

static struct cn_waiter *join(
		struct cn_event *ev, const char *call_id, unsigned cseq)
{
	struct cn_waiter *w;

	ev->call_id = stub_str(call_id);
	ev->cseq = cseq;
	w = cn_waiter_new(ev, &no_callback);
	assert_non_null(w);
	assert_int_equal(
			cn_index_enter(ev, w), CN_JOINED);
	return w;
}

/* As a verdict process ends a job. @return how many waited for it */
static int resume_all(struct cn_job *job)
{
	struct cn_waiter *w;
	int n = 0;

	while((w = cn_index_next_waiter(job)) != NULL) {
		n++;
		if(w->block != job)
			cn_waiter_free(w);
	}
	cn_job_free(job);
	return n;
}

static void a_later_request_joins_the_event_under_way(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job;

	assert_false(cn_index_joinable(ev));
	job = enter(ev);
	assert_true(cn_index_joinable(ev));
	join(ev, "5706@172.16.163.3", 3);
	assert_int_equal(resume_all(job), 2);
	assert_false(cn_index_joinable(ev));
}

static void a_job_of_its_own_goes_along_with_who_joins(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *first = enter(ev), *second = new_job(ev);
	int blocks = stub_shm_blocks();

	assert_int_equal(cn_index_enter(ev, cn_job_waiter(second)),
			CN_JOINED);
	assert_int_equal(resume_all(first), 2);
	assert_int_equal(stub_shm_blocks(), blocks - 2);
}

static void other_devices_have_events_of_their_own(void **state)
{
	struct test_event a, b, c;
	struct cn_event *one = make_event(&a), *other = make_event(&b);
	struct cn_event *stranger = make_event(&c);
	struct cn_job *jobs[3];

	/* same AOR, other contact; other AOR in the same slot */
	set_contact(&b.contacts[0], "sip:gzj@10.9.9.9", "");
	stranger->key = STR("other@telecom.com");
	jobs[0] = enter(one);
	assert_false(cn_index_joinable(other));
	assert_false(cn_index_joinable(stranger));
	jobs[1] = enter(other);
	jobs[2] = enter(stranger);
	assert_int_equal(resume_all(jobs[0]), 1);
	assert_false(cn_index_joinable(one));
	assert_true(cn_index_joinable(other));
	assert_true(cn_index_joinable(stranger));
	/* out of the chain's end and front */
	jobs[0] = enter(one);
	assert_int_equal(resume_all(jobs[1]), 1);
	assert_int_equal(resume_all(jobs[0]), 1);
	assert_true(cn_index_joinable(stranger));
	assert_int_equal(resume_all(jobs[2]), 1);
}

static void one_dialogs_requests_are_resumed_in_cseq_order(void **state)
{
	static const unsigned in[] = {7, 3, 5, 9, 4, 8, 6, 2};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_waiter *w;
	struct cn_job *job;
	unsigned cseq;
	size_t i;

	ev->cseq = 5;
	job = enter(ev);
	for(i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		join(ev, "5705@172.16.163.3", in[i]);
	for(cseq = 2; cseq <= 9; cseq++) {
		w = cn_index_next_waiter(job);
		assert_int_equal(w->cseq, cseq);
		if(cseq == 5) /* the job's own was there first */
			assert_ptr_equal(w->block, job);
		if(w->block != job)
			cn_waiter_free(w);
		if(cseq == 5) {
			w = cn_index_next_waiter(job);
			assert_int_equal(w->cseq, 5);
			assert_null(w->block);
			cn_waiter_free(w);
		}
	}
	assert_null(cn_index_next_waiter(job));
	cn_job_free(job);
}

static void the_highest_cseq_is_last(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job;
	struct cn_waiter *w;

	ev->cseq = UINT32_MAX;
	job = enter(ev);
	join(ev, "5705@172.16.163.3", 1);
	join(ev, "5705@172.16.163.3", 0x80000000u);
	w = cn_index_next_waiter(job);
	assert_int_equal(w->cseq, 1);
	cn_waiter_free(w);
	w = cn_index_next_waiter(job);
	assert_true(w->cseq == 0x80000000u);
	cn_waiter_free(w);
	assert_int_equal(resume_all(job), 1);
}

static void dialogs_are_resumed_as_they_came(void **state)
{
	static const struct
	{
		const char *call_id;
		unsigned cseq;
	} in[] = {{"x", 6}, {"y", 1}, {"x", 4}, {"z", 9}, {"y", 2}, {"x", 5}},
	  out[] = {{"x", 4}, {"x", 5}, {"x", 6}, {"y", 1}, {"z", 9}, {"y", 2}};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = enter(ev);
	struct cn_waiter *w;
	size_t i;

	for(i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		join(ev, in[i].call_id, in[i].cseq);
	assert_ptr_equal(cn_index_next_waiter(job)->block, job);
	for(i = 0; i < sizeof(out) / sizeof(out[0]); i++) {
		w = cn_index_next_waiter(job);
		assert_int_equal(w->cseq, out[i].cseq);
		cn_waiter_free(w);
	}
	assert_null(cn_index_next_waiter(job));
	cn_job_free(job);
}

static void who_comes_between_two_waiters_is_resumed_too(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = enter(ev);
	struct cn_waiter *w;

	assert_non_null(cn_index_next_waiter(job));
	w = join(ev, "5706@172.16.163.3", 1);
	assert_ptr_equal(cn_index_next_waiter(job), w);
	cn_waiter_free(w);
	assert_null(cn_index_next_waiter(job));
	assert_false(cn_index_joinable(ev));
	cn_job_free(job);
}

static void an_event_that_has_ended_since_makes_the_view_stale(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = enter(ev), *late = new_job(ev);
	int64_t seq = ev->seq;

	assert_int_equal(cn_index_newest(ev->hash), cn_job_seq(job));
	assert_int_equal(resume_all(job), 1);
	assert_true(cn_index_newest(ev->hash) > seq);
	assert_int_equal(cn_index_enter(ev, cn_job_waiter(late)), CN_STALE);
	assert_false(cn_index_joinable(ev));
	/* the waiter was left to us */
	cn_job_free(late);
	assert_int_equal(resume_all(enter(ev)), 1);
}

/* Numbers order as the index does. */
static void an_event_that_has_entered_since_makes_the_view_stale(void **state)
{
	struct test_event old, new;
	struct cn_event *ev = make_event(&old);
	struct cn_job *late = new_job(ev), *job;

	make_event(&new)->contacts[0].uri = STR("sip:gzj@10.9.9.9");
	job = enter(&new.ev);
	assert_int_equal(cn_index_enter(ev, cn_job_waiter(late)), CN_STALE);
	/* also beside a stranger in the slot: nobody asks whose it was */
	assert_int_equal(resume_all(job), 1);
	assert_int_equal(cn_index_enter(ev, cn_job_waiter(late)), CN_STALE);
	cn_job_free(late);
}

static void who_wanted_to_join_and_comes_too_late_is_stale(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_waiter *w = cn_waiter_new(ev, &no_callback);

	assert_int_equal(
			cn_index_enter(ev, w), CN_STALE);
	cn_waiter_free(w);
}

static void a_stale_view_is_no_hindrance_to_joining(void **state)
{
	struct test_event t, t2;
	struct cn_event *ev = make_event(&t), *late = make_event(&t2);
	struct cn_waiter *w = cn_waiter_new(late, &no_callback);
	struct cn_job *job;

	late->seq = cn_number_next();
	assert_int_equal(resume_all(enter(ev)), 1);
	job = enter(ev);
	assert_int_equal(cn_index_enter(late, w), CN_JOINED);
	assert_int_equal(resume_all(job), 2);
}

static void a_crowd_is_turned_away(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = enter(ev);
	struct cn_waiter *more;
	enum cn_entry entry;
	int joined = 0;

	do {
		ev->cseq++;
		more = cn_waiter_new(ev, &no_callback);
		entry = cn_index_enter(ev, more);
		joined += entry == CN_JOINED;
		assert_true(joined < 1000);
	} while(entry == CN_JOINED);
	assert_int_equal(entry, CN_CROWDED);
	assert_true(joined >= 20);
	/* where one has gone another may come */
	assert_non_null(cn_index_next_waiter(job));
	assert_int_equal(cn_index_enter(ev, more),
			CN_JOINED);
	assert_int_equal(resume_all(job), joined + 1);
}

/* With so much room besides its own contacts. */
static struct cn_event *event_with_room(
		struct test_event *t, const char *uri, int room)
{
	struct cn_event *ev = make_event(t);

	set_contact(&t->contacts[0], uri, "");
	ev->room = room;
	return ev;
}

static enum cn_entry try_entering(struct cn_event *ev)
{
	struct cn_job *job = new_job(ev);
	enum cn_entry entry = cn_index_enter(ev, cn_job_waiter(job));

	assert_int_not_equal(entry, CN_ENTERED);
	if(entry != CN_JOINED)
		cn_job_free(job);
	return entry;
}

static void contacts_under_way_take_room(void **state)
{
	struct test_event a, b, c, other;
	struct cn_job *one, *two, *stranger;

	one = enter(event_with_room(&a, "sip:1", 1));
	two = enter(event_with_room(&b, "sip:2", 1));
	assert_int_equal(
			try_entering(event_with_room(&c, "sip:3", 1)), CN_SURPLUS);
	/* who joins asks for no more */
	assert_int_equal(try_entering(event_with_room(&c, "sip:2", 0)), CN_JOINED);
	event_with_room(&other, "sip:3", 0)->key = STR("other@telecom.com");
	stranger = enter(&other.ev);
	assert_int_equal(resume_all(one), 1);
	assert_int_equal(resume_all(enter(event_with_room(&c, "sip:3", 1))), 1);
	assert_int_equal(resume_all(two), 2);
	assert_int_equal(resume_all(stranger), 1);
}

static void a_contact_of_its_own_takes_no_room_twice(void **state)
{
	struct test_event a, b;
	struct cn_job *one = enter(event_with_room(&a, "sip:1", 0)), *two;
	struct cn_event *ev = event_with_room(&b, "sip:1", 0);

	set_contact(&b.contacts[1], "sip:2", "");
	ev->contact_count = 2;
	two = new_job(ev);
	assert_int_equal(cn_index_enter(ev, cn_job_waiter(two)), CN_WAITS);
	assert_int_equal(resume_all(one), 1);
	assert_ptr_equal(cn_index_release(&ev->key, ev->hash), two);
	assert_int_equal(resume_all(two), 1);
}

static void what_was_turned_away_takes_no_room(void **state)
{
	struct cn_outcome rejected = {.verdict = CN_REJECTED};
	struct test_event a, b;
	struct cn_job *one = enter(event_with_room(&a, "sip:1", 0));

	assert_true(cn_job_decide(one, &rejected));
	assert_int_equal(resume_all(enter(event_with_room(&b, "sip:2", 0))), 1);
	assert_int_equal(resume_all(one), 1);
}

/* While save() is at work nobody knows whether it is a binding; from then on
 * it is none of what is under way. */
static void what_is_being_saved_is_looked_at_again(void **state)
{
	struct test_event a, b;
	struct cn_event *ev = event_with_room(&a, "sip:1", 0);
	struct cn_job *one = enter(ev), *two;
	struct cn_event *late = event_with_room(&b, "sip:2", 0);
	str other = STR("other@telecom.com");

	assert_non_null(cn_index_next_waiter(one));
	assert_int_equal(try_entering(late), CN_STALE);
	cn_index_saved(&other);
	assert_int_equal(try_entering(late), CN_STALE);
	two = new_job(late);
	cn_index_saved(&late->key);
	assert_int_equal(cn_index_enter(late, cn_job_waiter(two)), CN_STALE);
	cn_job_free(two);
	two = enter(late);
	assert_null(cn_index_next_waiter(one));
	cn_job_free(one);
	cn_index_saved(&late->key);
	assert_int_equal(resume_all(two), 1);
}

static void one_aor_has_so_many_events_at_most(void **state)
{
	static struct test_event t[200];
	struct cn_job *jobs[200], *stranger;
	struct test_event other;
	enum cn_entry entry = CN_ENTERED;
	struct cn_event *ev;
	struct cn_waiter *w;
	char uris[200][16];
	int i, n = 0;

	for(i = 0; i < 200 && entry == CN_ENTERED; i++) {
		ev = make_event(&t[i]);
		snprintf(uris[i], sizeof(uris[i]), "sip:%d", i);
		set_contact(&t[i].contacts[0], uris[i], "");
		jobs[i] = new_job(ev);
		entry = cn_index_enter(ev, cn_job_waiter(jobs[i]));
		n += entry == CN_ENTERED;
	}
	assert_int_equal(entry, CN_CROWDED);
	assert_in_range(n, 10, 199);
	/* joining takes a place as well */
	w = cn_waiter_new(&t[0].ev, &no_callback);
	assert_int_equal(cn_index_enter(&t[0].ev, w), CN_CROWDED);
	cn_waiter_free(w);
	/* others of the slot have theirs */
	make_event(&other)->key = STR("other@telecom.com");
	stranger = enter(&other.ev);
	assert_int_equal(resume_all(jobs[0]), 1);
	cn_job_free(jobs[n]);
	jobs[n] = enter(ev);
	for(i = 1; i <= n; i++)
		assert_int_equal(resume_all(jobs[i]), 1);
	assert_int_equal(resume_all(stranger), 1);
}

static struct cn_job *decided(struct cn_event *ev, enum cn_verdict verdict)
{
	struct cn_outcome outcome = {.verdict = verdict};
	struct cn_job *job = enter(ev);

	assert_true(cn_job_decide(job, &outcome));
	return job;
}

static void what_was_accepted_is_joined_until_it_is_saved(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = decided(ev, CN_ACCEPTED);

	assert_true(cn_index_joinable(ev));
	join(ev, "x", 1);
	assert_int_equal(resume_all(job), 2);
}

/* A device that has its answer leaves and is back before the process that answers
 * has come to the end of the job. */
static void who_is_new_after_it_was_saved_is_told_again(void **state)
{
	struct test_event t, u;
	struct cn_event *ev = make_event(&t), *leaving = make_event(&u);
	struct cn_job *job = decided(ev, CN_ACCEPTED), *again;
	struct cn_waiter *w;

	(void)state;
	assert_non_null(cn_index_next_waiter(job)); /* and it is saved */
	leaving->reason = leaving->contacts[0].reason = CN_REASON_NONE;
	leaving->contacts[0].expires = 0;
	join(leaving, "5705@172.16.163.3", 3);
	w = cn_index_next_waiter(job); /* and it has left */
	assert_non_null(w);
	cn_waiter_free(w);
	ev->seq = cn_number_next();
	assert_false(cn_index_joinable(ev));
	again = new_job(ev);
	assert_int_equal(cn_index_enter(ev, cn_job_waiter(again)), CN_WAITS);
	assert_null(cn_index_next_waiter(job));
	assert_ptr_equal(cn_index_release(&ev->key, ev->hash), again);
	cn_job_free(job);
	assert_int_equal(resume_all(again), 1);
}

static void what_has_failed_is_not_joined(void **state)
{
	static const enum cn_verdict verdicts[] = {CN_REJECTED, CN_UNAVAILABLE};
	size_t i;

	for(i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		struct test_event t;
		struct cn_event *ev = make_event(&t);
		struct cn_job *old = decided(ev, verdicts[i]), *new;

		assert_false(cn_index_joinable(ev));
		/* what has not left yet comes first */
		new = new_job(ev);
		assert_int_equal(cn_index_enter(ev, cn_job_waiter(new)), CN_WAITS);
		join(ev, "x", 1);
		/* each has its own to resume */
		assert_int_equal(resume_all(old), 1);
		assert_true(cn_index_joinable(ev));
		assert_int_equal(resume_all(new), 2);
	}
}

/* -------- deadlines -------- */

static bool always(const struct cn_job *job)
{
	return true;
}

static bool never(const struct cn_job *job)
{
	return false;
}

static void must_not_go(struct cn_job *job)
{
	fail_msg("a job that is neither HELD nor ASKED goes");
}

static struct cn_job *due_jobs[8];
static int due_count;

static void note_due(struct cn_job *job)
{
	assert_true(due_count < 8);
	due_jobs[due_count++] = job;
}

static int64_t look_for_overdue(int64_t before_us)
{
	struct cn_index_watch watch = {.overdue = note_due,
			.overdue_us = before_us,
			.may_go = always,
			.go = must_not_go,
			.asked_us = INT64_MAX,
			.held = true};

	return cn_index_look(&watch);
}

static void only_what_is_overdue_and_undecided_is_due(void **state)
{
	static const struct cn_outcome outcome = {.verdict = CN_ACCEPTED};
	struct test_event t[3];
	struct cn_job *jobs[3];
	int64_t deadline;
	int i;

	for(i = 0; i < 3; i++) {
		struct cn_event *ev = make_event(&t[i]);
		static const char *const keys[] = {"a", "b", "c"};

		ev->key = stub_str(keys[i]);
		ev->hash = i == 2 ? 4711 : 1000003u * (i + 1);
		jobs[i] = enter(ev);
	}
	deadline = cn_job_deadline_us(jobs[0]);
	due_count = 0;
	assert_int_equal(look_for_overdue(deadline - 1), deadline);
	assert_int_equal(due_count, 0);
	look_for_overdue(deadline);
	assert_true(due_count >= 1);
	assert_true(due_jobs[0] == jobs[0] || due_jobs[1] == jobs[0]
				|| due_jobs[2] == jobs[0]);
	assert_true(cn_job_decide(jobs[0], &outcome));
	assert_int_equal(look_for_overdue(0),
			cn_job_deadline_us(jobs[1]));
	assert_true(cn_job_decide(jobs[1], &outcome));
	due_count = 0;
	look_for_overdue(INT64_MAX);
	assert_int_equal(due_count, 1);
	assert_ptr_equal(due_jobs[0], jobs[2]);
	for(i = 0; i < 3; i++)
		assert_int_equal(resume_all(jobs[i]), 1);
	due_count = 0;
	assert_int_equal(look_for_overdue(INT64_MAX), INT64_MAX);
	assert_int_equal(due_count, 0);
}

static void a_deadline_is_met_in_every_slot(void **state)
{
	static struct test_event t[2048];
	static struct cn_job *jobs[2048];
	struct cn_index_row row;
	int i;

	for(i = 0; i < 2048; i++) {
		make_event(&t[i])->hash = (unsigned)i * 2654435761u;
		t[i].ev.hash = (unsigned)i;
		jobs[i] = enter(&t[i].ev);
		due_count = 0;
		look_for_overdue(INT64_MAX);
		assert_int_equal(due_count, 1);
		assert_ptr_equal(due_jobs[0], jobs[i]);
		assert_int_equal(cn_index_list(&row, 1), 1);
		assert_int_equal(resume_all(jobs[i]), 1);
	}
}

/* -------- order -------- */

static const str device = {"gzj@telecom.com", 15};
#define HASH 4711u

static struct cn_event *with_contacts(
		struct test_event *t, const char *first, const char *second)
{
	struct cn_event *ev = make_event(t);

	set_contact(&t->contacts[0], first, "");
	if(second)
		set_contact(&t->contacts[ev->contact_count++], second, "");
	return ev;
}

static struct cn_job *wait_behind(struct cn_event *ev)
{
	struct cn_job *job = new_job(ev);

	assert_int_equal(cn_index_enter(ev, cn_job_waiter(job)), CN_WAITS);
	assert_int_equal(cn_job_link(job)->order, CN_HELD);
	return job;
}

static struct cn_job *new_delivery(int64_t seq, struct cn_event *ev)
{
	static const str text = {"{}", 2};
	char contacts[CN_CONTACTS_MAX + 1];
	struct cn_delivery_facts facts = {.seq = seq,
			.id = "4f0c0000000000000000000000000002",
			.aor = "gzj@telecom.com",
			.hash = HASH,
			.contacts = contacts,
			.body = &text};
	struct cn_job *job;

	cn_contacts_write(ev, contacts);
	job = cn_job_new_delivery(&facts);
	assert_non_null(job);
	return job;
}

static bool enters(struct cn_job *delivery)
{
	return cn_index_enter_delivery(delivery, cn_index_newest(HASH));
}

static void end_delivery(struct cn_job *job)
{
	cn_index_leave(job);
	cn_job_free(job);
}

/* Those that are released, oldest first. @return how many */
static int release(struct cn_job **jobs, int max)
{
	struct cn_job *job;
	int n = 0;

	for(job = cn_index_release(&device, HASH); job;
			job = cn_index_next_released(job)) {
		assert_true(n < max);
		assert_int_equal(cn_job_link(job)->order, CN_SENDABLE);
		jobs[n++] = job;
	}
	return n;
}

static void what_shares_a_contact_waits_for_what_is_older(void **state)
{
	struct test_event t[4];
	struct cn_job *ab, *bc, *c, *d, *jobs[4];

	ab = enter(with_contacts(&t[0], "sip:a", "sip:b"));
	bc = wait_behind(with_contacts(&t[1], "sip:b", "sip:c"));
	/* {c} is new to nobody: it joins the job that is about it */
	c = new_job(with_contacts(&t[2], "sip:c", "sip:x"));
	assert_int_equal(cn_index_enter(&t[2].ev, cn_job_waiter(c)), CN_WAITS);
	d = enter(with_contacts(&t[3], "sip:d", NULL));
	assert_int_equal(release(jobs, 4), 0);
	assert_int_equal(resume_all(ab), 1);
	/* one after the other */
	assert_int_equal(release(jobs, 4), 1);
	assert_ptr_equal(jobs[0], bc);
	assert_int_equal(release(jobs, 4), 0);
	assert_int_equal(resume_all(bc), 1);
	assert_int_equal(release(jobs, 4), 1);
	assert_ptr_equal(jobs[0], c);
	assert_int_equal(resume_all(c), 1);
	assert_int_equal(resume_all(d), 1);
}

static void those_that_waited_for_one_go_together_oldest_first(void **state)
{
	struct test_event t[4];
	struct cn_job *abc, *held[3], *jobs[3];
	static const char *const uris[] = {"sip:a", "sip:b", "sip:c"};
	struct cn_outcome failed = {.verdict = CN_UNAVAILABLE};
	int i;

	with_contacts(&t[3], "sip:a", "sip:b");
	set_contact(&t[3].contacts[2], "sip:c", "");
	t[3].ev.contact_count = 3;
	abc = enter(&t[3].ev);
	assert_true(cn_job_decide(abc, &failed)); /* so that nobody joins it */
	for(i = 0; i < 3; i++)
		held[i] = wait_behind(with_contacts(&t[i], uris[i], NULL));
	assert_int_equal(resume_all(abc), 1);
	assert_int_equal(release(jobs, 3), 3);
	for(i = 0; i < 3; i++) {
		assert_ptr_equal(jobs[i], held[i]);
		assert_int_equal(resume_all(held[i]), 1);
	}
}

/* Whoever releases has no memory of who is there. */
static void another_aor_of_the_slot_is_not_released(void **state)
{
	struct cn_outcome failed = {.verdict = CN_UNAVAILABLE};
	struct test_event t[2];
	struct cn_job *old, *job, *jobs[1];

	make_event(&t[0])->key = STR("other@telecom.com");
	old = enter(&t[0].ev);
	assert_true(cn_job_decide(old, &failed));
	make_event(&t[1])->key = STR("other@telecom.com");
	job = wait_behind(&t[1].ev);
	assert_int_equal(resume_all(old), 1);
	assert_int_equal(release(jobs, 1), 0);
	assert_int_equal(resume_all(job), 1);
}

/* The index has the sending side of what was never given to be sent. */
static void who_leaves_unsent_is_let_go_by_the_index(void **state)
{
	struct cn_outcome failed = {.verdict = CN_UNAVAILABLE};
	struct test_event t[2];
	struct cn_job *first = enter(make_event(&t[0])), *held, *asked;
	int blocks = stub_shm_blocks();

	assert_true(cn_job_decide(first, &failed));
	held = wait_behind(make_event(&t[1]));
	cn_job_hold(held);
	while(cn_index_next_waiter(held) != NULL)
		;
	assert_int_equal(cn_job_link(held)->order, CN_GONE);
	cn_job_release(held);
	cn_job_release(held);
	assert_int_equal(stub_shm_blocks(), blocks);
	assert_int_equal(resume_all(first), 1);
	asked = enter(make_event(&t[1]));
	assert_int_equal(cn_index_asked(), 0);
	assert_true(cn_index_set_order(asked, CN_SENDABLE, CN_ASKED));
	assert_false(cn_index_set_order(asked, CN_SENDABLE, CN_ASKED));
	assert_int_equal(cn_index_asked(), 1);
	while(cn_index_next_waiter(asked) != NULL)
		;
	assert_int_equal(cn_index_asked(), 0);
	assert_false(cn_index_set_order(asked, CN_ASKED, CN_SENDABLE));
	cn_job_release(asked);
}

/* -------- deliveries -------- */

static void a_delivery_waits_for_nobody_but_does_not_enter(void **state)
{
	struct test_event t, t2;
	struct cn_event *ev = make_event(&t);
	struct cn_job *late = new_delivery(1, ev), *job = enter(ev);
	struct cn_job *stranger;

	assert_false(enters(late));
	make_event(&t2)->key = STR("other@telecom.com");
	stranger = enter(&t2.ev);
	assert_int_equal(resume_all(job), 1);
	assert_true(enters(late));
	end_delivery(late);
	assert_int_equal(resume_all(stranger), 1);
}

static void what_has_come_or_gone_since_keeps_a_delivery_out(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *late = new_delivery(1, ev);
	int64_t newest = cn_index_newest(HASH);

	assert_int_equal(resume_all(enter(ev)), 1);
	assert_false(cn_index_enter_delivery(late, newest));
	assert_true(enters(late));
	end_delivery(late);
}

/* F2: it may be HELD for just this row; not one that is older. */
static void who_is_held_and_newer_does_not_keep_a_delivery_out(void **state)
{
	struct test_event t[3];
	struct cn_job *first = enter(make_event(&t[0])), *held, *row, *next;
	struct cn_outcome failed = {.verdict = CN_UNAVAILABLE};

	assert_true(cn_job_decide(first, &failed));
	held = wait_behind(make_event(&t[1]));
	row = new_delivery(cn_job_seq(first), &t[0].ev);
	assert_int_equal(resume_all(first), 1);
	assert_true(enters(row));
	end_delivery(row);
	next = new_delivery(cn_job_seq(held) + 1, &t[0].ev);
	assert_false(enters(next));
	cn_job_free(next);
	assert_int_equal(resume_all(held), 1);
}

static void nobody_joins_a_delivery(void **state)
{
	struct test_event t, t2;
	struct cn_event *ev = make_event(&t);
	struct cn_job *row, *job;
	struct cn_waiter *w;

	cn_conf.identity = CN_IDENTITY_AOR; /* any contact is the device */
	row = new_delivery(1, ev);
	assert_true(enters(row));
	assert_false(cn_index_joinable(ev));
	w = cn_waiter_new(make_event(&t2), &no_callback);
	t2.ev.seq = cn_number_next();
	assert_int_equal(cn_index_enter(&t2.ev, w), CN_STALE);
	cn_waiter_free(w);
	assert_true(cn_job_claim_sending(row));
	job = wait_behind(ev);
	assert_true(cn_index_keeps_waiting(row));
	end_delivery(row);
	assert_int_equal(resume_all(job), 1);
}

static void a_delivery_that_has_ended_is_not_waited_for(void **state)
{
	struct cn_outcome accepted = {.verdict = CN_ACCEPTED};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *row = new_delivery(1, ev), *job, *jobs[1];

	assert_true(enters(row));
	assert_true(cn_job_claim_sending(row));
	job = wait_behind(ev);
	assert_int_equal(release(jobs, 1), 0);
	assert_true(cn_job_decide(row, &accepted));
	assert_int_equal(release(jobs, 1), 1);
	assert_ptr_equal(jobs[0], job);
	assert_int_equal(resume_all(job), 1);
	assert_int_equal(resume_all(enter(make_event(&t))), 1);
	end_delivery(row);
}

static void who_comes_cancels_a_delivery_that_is_not_sent_yet(void **state)
{
	struct test_event t, t2;
	struct cn_event *ev = make_event(&t);
	struct cn_job *row = new_delivery(1, ev), *other, *job;

	assert_true(enters(row));
	other = new_delivery(2, with_contacts(&t2, "sip:b", NULL));
	assert_true(enters(other));
	job = enter(make_event(&t)); /* it waits for nobody */
	assert_true(cn_job_cancelled(row));
	assert_false(cn_job_claim_sending(row));
	assert_false(cn_job_cancelled(other));
	assert_false(cn_index_keeps_waiting(row));
	end_delivery(row);
	assert_int_equal(resume_all(job), 1);
	end_delivery(other);
}

static void a_delivery_that_is_under_way_is_waited_for(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *row = new_delivery(1, ev), *job, *jobs[1];

	assert_true(enters(row));
	assert_false(cn_index_keeps_waiting(row));
	assert_true(cn_job_claim_sending(row));
	job = wait_behind(ev);
	assert_false(cn_job_cancelled(row));
	assert_true(cn_index_keeps_waiting(row));
	assert_false(cn_index_keeps_waiting(job));
	assert_int_equal(release(jobs, 1), 0);
	end_delivery(row);
	assert_int_equal(release(jobs, 1), 1);
	assert_int_equal(resume_all(job), 1);
}

static void deliveries_of_one_contact_come_one_after_the_other(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *first = new_delivery(1, ev), *second = new_delivery(2, ev);

	assert_true(enters(first));
	assert_false(enters(second));
	/* the slot's last number is as it was: it has not been news to anybody */
	end_delivery(first);
	assert_true(enters(second));
	end_delivery(second);
}

static void an_event_without_a_job_gets_its_number_in_order(void **state)
{
	char a[CN_CONTACTS_MAX + 1], b[CN_CONTACTS_MAX + 1];
	struct test_event t, t2;
	struct cn_job *job, *late;
	int64_t seq;

	cn_contacts_write(with_contacts(&t, "sip:a", NULL), a);
	cn_contacts_write(with_contacts(&t2, "sip:b", NULL), b);
	late = new_job(&t.ev);
	seq = cn_index_number_event(&device, HASH, a);
	assert_true(seq > cn_job_seq(late));
	assert_int_equal(cn_index_newest(HASH), seq);
	/* what was classified before it does not know of it */
	assert_int_equal(cn_index_enter(&t.ev, cn_job_waiter(late)), CN_STALE);
	cn_job_free(late);
	job = enter(&t.ev);
	assert_int_equal(cn_index_number_event(&device, HASH, a), 0);
	assert_true(cn_index_number_event(&device, HASH, b) > cn_job_seq(job));
	assert_int_equal(resume_all(job), 1);
	assert_true(cn_index_number_event(&device, HASH, a) > 0);
}

/* -------- the watchdog and those that wait -------- */

static struct cn_job *gone[4];
static int gone_count;

static void note_gone(struct cn_job *job)
{
	assert_int_equal(cn_job_link(job)->order, CN_SENDABLE);
	gone[gone_count++] = job;
}

static int look_for_asked(
		int64_t asked_us, bool (*may_go)(const struct cn_job *job), bool held)
{
	struct cn_index_watch watch = {.overdue = note_due,
			.may_go = may_go,
			.go = note_gone,
			.asked_us = asked_us,
			.held = held};

	gone_count = 0;
	assert_int_not_equal(cn_index_look(&watch), INT64_MAX);
	return gone_count;
}

static void who_is_asked_about_for_too_long_goes(void **state)
{
	struct test_event t[2];
	struct cn_outcome failed = {.verdict = CN_UNAVAILABLE};
	struct cn_job *asked = enter(make_event(&t[0])), *held;
	int64_t before = cn_now_us(), after;

	assert_true(cn_index_set_order(asked, CN_SENDABLE, CN_ASKED));
	after = cn_now_us();
	held = new_job(with_contacts(&t[1], "sip:gzj@172.16.163.3:7000", "sip:b"));
	assert_int_equal(cn_index_enter(&t[1].ev, cn_job_waiter(held)), CN_WAITS);
	assert_int_equal(look_for_asked(before - 1, always, false), 0);
	assert_int_equal(look_for_asked(after, never, true), 0);
	assert_int_equal(cn_index_asked(), 1);
	assert_int_equal(look_for_asked(after, always, false), 1);
	assert_ptr_equal(gone[0], asked);
	assert_int_equal(cn_index_asked(), 0);
	assert_int_equal(look_for_asked(after, always, false), 0);
	/* who is HELD, only when the server stops */
	assert_int_equal(look_for_asked(0, always, true), 1);
	assert_ptr_equal(gone[0], held);
	assert_true(cn_job_decide(asked, &failed));
	assert_int_equal(resume_all(asked), 1);
	assert_int_equal(resume_all(held), 1);
}

/* -------- listing -------- */

static void the_list_says_who_waits(void **state)
{
	static const struct cn_outcome outcome = {.verdict = CN_ACCEPTED};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_index_row row;
	struct cn_job *job;

	ev->reason = CN_REASON_RETURNED;
	job = enter(ev);
	join(ev, "x", 1);
	memset(&row, 0xff, sizeof(row));
	assert_int_equal(cn_index_list(&row, 1), 1);
	assert_string_equal(row.id, "4f0c0000000000000000000000000001");
	assert_string_equal(row.aor, "sip:gzj@telecom.com");
	assert_true(row.parked_us == cn_job_parked_us(job));
	assert_int_equal(row.waiters, 2);
	assert_int_equal(row.reason, CN_REASON_RETURNED);
	assert_false(row.sent);
	assert_false(row.decided);
	cn_job_set_sent(job, cn_now_us());
	assert_int_equal(cn_index_list(&row, 1), 1);
	assert_true(row.sent);
	assert_true(cn_job_decide(job, &outcome));
	assert_int_equal(cn_index_list(&row, 1), 1);
	assert_true(row.decided);
	assert_int_equal(resume_all(job), 2);
	assert_int_equal(cn_index_list(&row, 1), 0);
}

static void a_long_aor_is_cut(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_index_row row[2];
	char aor[2000];
	struct cn_job *job;

	memset(aor, 'a', sizeof(aor));
	ev->aor = (str){aor, sizeof(aor)};
	job = enter(ev);
	assert_int_equal(cn_index_list(row, 2), 1);
	assert_int_equal(strlen(row[0].aor), sizeof(row[0].aor) - 1);
	assert_int_equal(resume_all(job), 1);
}

static void the_list_is_no_longer_than_asked_for(void **state)
{
	struct cn_index_row *rows = calloc(10, sizeof(*rows));
	static struct test_event t[30];
	struct cn_job *jobs[30];
	char keys[30][16];
	int i, max;

	assert_int_equal(cn_index_list(rows, 10), 0);
	for(i = 0; i < 30; i++) {
		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
		make_event(&t[i])->key = stub_str(keys[i]);
		t[i].ev.hash = (unsigned)i / 3; /* some share a slot */
		jobs[i] = enter(&t[i].ev);
	}
	for(max = 0; max <= 10; max++) {
		rows = realloc(rows, (max + 1) * sizeof(*rows));
		memset(rows, 0x5a, (max + 1) * sizeof(*rows));
		assert_int_equal(cn_index_list(rows, max), max);
		assert_int_equal(rows[max].id[0], 0x5a);
	}
	rows = realloc(rows, 40 * sizeof(*rows));
	assert_int_equal(cn_index_list(rows, 40), 30);
	for(i = 0; i < 30; i++)
		assert_int_equal(resume_all(jobs[i]), 1);
	free(rows);
}

/* -------- start, size -------- */

static void start_without_memory(void)
{
	int err = cn_index_init(100);

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_index_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_index_destroy();
	assert_int_equal(stub_each_allocation(start_without_memory), 1);
	cn_index_destroy(); /* twice is allowed */
	assert_int_equal(cn_index_init(100), 0);
}

static void any_capacity_and_any_hash(void **state)
{
	static const unsigned capacities[] = {
			1, 1023, 1024, 1025, 65535, 65536, 65537, 1640000, UINT32_MAX};
	static const unsigned hashes[] = {
			0, 1, 1023, 1024, 65535, 65536, 0x7fffffff, 0x80000000, UINT32_MAX};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	size_t i, j;

	for(i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
		cn_index_destroy();
		assert_int_equal(cn_index_init(capacities[i]), 0);
		for(j = 0; j < sizeof(hashes) / sizeof(hashes[0]); j++) {
			ev->hash = hashes[j];
			assert_int_equal(resume_all(enter(ev)), 1);
		}
	}
}

/* -------- many processes -------- */

#define ROUNDS 400
#define RACERS 4

/* In each round all processes come with a request of one device; one of them
 * ends the job after having waited for nobody. Every request is resumed once,
 * in the one job or in the next. */
struct race
{
	struct barrier *barrier;
	struct test_event t[RACERS];
	struct cn_job *jobs[RACERS][ROUNDS];
	int next_racer;
	int entered, joined, stale, resumed;
};

static int add(int *p, int n)
{
	return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

static void end_in_race(struct race *race, struct cn_job *job)
{
	struct cn_job *next;

	while(cn_index_next_waiter(job) != NULL)
		add(&race->resumed, 1);
	/* those that were too late to join it */
	for(job = cn_index_release(cn_job_key(job), cn_job_hash(job)); job;
			job = next) {
		next = cn_index_next_released(job);
		end_in_race(race, job);
	}
}

static void come_together(void *arg)
{
	struct race *race = arg;
	int me = add(&race->next_racer, 1) - 1, i;
	struct cn_event *ev = make_event(&race->t[me]);

	for(i = 0; i < ROUNDS; i++) {
		struct cn_job *job = race->jobs[me][i];
		enum cn_entry entry = CN_STALE;

		if(i % 10 == 0)
			stub_meet(race->barrier);
		while(entry == CN_STALE) {
			ev->seq = cn_number_next();
			entry = cn_index_enter(ev, cn_job_waiter(job));
			if(entry == CN_STALE)
				add(&race->stale, 1);
		}
		if(entry == CN_JOINED) {
			add(&race->joined, 1);
			continue;
		}
		add(&race->entered, 1);
		if(entry == CN_WAITS)
			continue;
		check(entry == CN_ENTERED);
		sched_yield();
		end_in_race(race, job);
	}
}

static void each_request_is_resumed_once(void **state)
{
	struct race *race = stub_shared(sizeof(*race));
	struct cn_index_row row;
	struct test_event t;
	pid_t pids[RACERS];
	int i, j;

	cn_index_destroy();
	stub_share_shm(true);
	assert_int_equal(cn_index_init(100), 0);
	race->barrier = stub_barrier(RACERS);
	for(i = 0; i < RACERS; i++) {
		for(j = 0; j < ROUNDS; j++)
			race->jobs[i][j] = new_job(make_event(&t));
	}
	for(i = 0; i < RACERS; i++)
		pids[i] = stub_fork(come_together, race);
	for(i = 0; i < RACERS; i++)
		stub_wait(pids[i]);
	assert_int_equal(race->resumed, RACERS * ROUNDS);
	assert_int_equal(race->entered + race->joined, RACERS * ROUNDS);
	assert_true(race->joined > 0);
	assert_int_equal(cn_index_list(&row, 1), 0);
	for(i = 0; i < RACERS; i++) {
		for(j = 0; j < ROUNDS; j++)
			cn_job_free(race->jobs[i][j]);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_later_request_joins_the_event_under_way),
			TEST(a_job_of_its_own_goes_along_with_who_joins),
			TEST(other_devices_have_events_of_their_own),
			TEST(one_dialogs_requests_are_resumed_in_cseq_order),
			TEST(the_highest_cseq_is_last),
			TEST(dialogs_are_resumed_as_they_came),
			TEST(who_comes_between_two_waiters_is_resumed_too),
			TEST(an_event_that_has_ended_since_makes_the_view_stale),
			TEST(an_event_that_has_entered_since_makes_the_view_stale),
			TEST(who_wanted_to_join_and_comes_too_late_is_stale),
			TEST(a_stale_view_is_no_hindrance_to_joining),
			TEST(a_crowd_is_turned_away),
			TEST(one_aor_has_so_many_events_at_most),
			TEST(contacts_under_way_take_room),
			TEST(a_contact_of_its_own_takes_no_room_twice),
			TEST(what_was_turned_away_takes_no_room),
			TEST(what_is_being_saved_is_looked_at_again),
			TEST(what_was_accepted_is_joined_until_it_is_saved),
			TEST(who_is_new_after_it_was_saved_is_told_again),
			TEST(what_has_failed_is_not_joined),
			TEST(only_what_is_overdue_and_undecided_is_due),
			TEST(a_deadline_is_met_in_every_slot),
			TEST(what_shares_a_contact_waits_for_what_is_older),
			TEST(those_that_waited_for_one_go_together_oldest_first),
			TEST(another_aor_of_the_slot_is_not_released),
			TEST(who_leaves_unsent_is_let_go_by_the_index),
			TEST(a_delivery_waits_for_nobody_but_does_not_enter),
			TEST(what_has_come_or_gone_since_keeps_a_delivery_out),
			TEST(who_is_held_and_newer_does_not_keep_a_delivery_out),
			TEST(nobody_joins_a_delivery),
			TEST(a_delivery_that_has_ended_is_not_waited_for),
			TEST(who_comes_cancels_a_delivery_that_is_not_sent_yet),
			TEST(a_delivery_that_is_under_way_is_waited_for),
			TEST(deliveries_of_one_contact_come_one_after_the_other),
			TEST(an_event_without_a_job_gets_its_number_in_order),
			TEST(who_is_asked_about_for_too_long_goes),
			TEST(the_list_says_who_waits),
			TEST(a_long_aor_is_cut),
			TEST(the_list_is_no_longer_than_asked_for),
			TEST(without_memory_it_does_not_start),
			TEST(any_capacity_and_any_hash),
			TEST(each_request_is_resumed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
