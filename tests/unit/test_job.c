/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sched.h>

#include "events.h"

#include "base_conf.h"
#include "job.h"

struct cn_conf cn_conf;

unsigned int cryptorand(void)
{
	return 1;
}

static const str body = {"{\"request\": \"twenty and more\"}", 30};
static const str no_callback;

static int start(void **state)
{
	stub_clear_log();
	stub_share_shm(false);
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	stub_limits.timeout_ms = 4000;
	cn_conf.identity = CN_IDENTITY_CONTACT;
	return cn_job_init(10);
}

/* Nothing may be left. */
static int end(void **state)
{
	cn_job_destroy();
	if(stub_shm_blocks() == 0)
		return 0;
	print_error("%d blocks of shm are left\n", stub_shm_blocks());
	return -1;
}

static struct cn_job *new_job(const struct cn_event *ev)
{
	struct cn_job *job = NULL;

	assert_int_equal(cn_job_new(ev, &body, &no_callback, false, &job), CN_CAUSE_none);
	assert_non_null(job);
	return job;
}

static void a_job_is_one_block_with_copies_of_all(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	int blocks = stub_shm_blocks();
	str key = stub_exact(ev->key.s, ev->key.len);
	str aor = stub_exact(ev->aor.s, ev->aor.len);
	str call_id = stub_exact(ev->call_id.s, ev->call_id.len);
	str uri = stub_exact("sip:gzj@10.0.0.1", 16);
	str instance = stub_exact("<urn:uuid:1>", 12);
	str post = stub_exact(body.s, body.len);
	str callback = stub_exact("ksr_verdict", 11);
	struct cn_event same;
	struct test_event t2;
	struct cn_job *job;

	ev->key = key;
	ev->aor = aor;
	ev->call_id = call_id;
	ev->contacts[0].uri = uri;
	ev->contacts[0].instance = instance;
	assert_int_equal(cn_job_new(ev, &post, &callback, false, &job), CN_CAUSE_none);
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	free(key.s);
	free(aor.s);
	free(call_id.s);
	free(uri.s);
	free(instance.s);
	free(post.s);
	free(callback.s);
	assert_str(*cn_job_id(job), "4f0c0000000000000000000000000001");
	assert_str(*cn_job_aor(job), "sip:gzj@telecom.com");
	assert_str(*cn_job_body(job), "{\"request\": \"twenty and more\"}");
	assert_str(cn_job_waiter(job)->callback, "ksr_verdict");
	assert_string_equal(cn_job_waiter(job)->callback.s, "ksr_verdict");
	assert_int_equal(cn_job_reason(job), CN_REASON_NEW);
	assert_int_equal(cn_job_hash(job), 4711);
	assert_int_equal(cn_job_waiter(job)->cseq, 2);
	assert_ptr_equal(cn_job_waiter(job)->block, job);
	same = *make_event(&t2);
	set_contact(&t2.contacts[0], "sip:gzj@10.0.0.1", "");
	same.contacts = t2.contacts;
	assert_true(cn_job_covers(job, &same));
	cn_job_free(job);
}

static void a_new_job_is_neither_sent_nor_decided(void **state)
{
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));

	assert_false(cn_job_sent(job));
	assert_false(cn_job_decided(job));
	assert_false(cn_job_storing(job));
	assert_false(cn_job_has_row(job));
	assert_false(cn_job_is_delivery(job));
	assert_int_equal(cn_job_link(job)->order, CN_SENDABLE);
	assert_null(cn_job_link(job)->waiters);
	assert_int_equal(cn_job_link(job)->waiter_count, 0);
	cn_job_set_sent(job, cn_now_us());
	assert_true(cn_job_sent(job));
	cn_job_free(job);
}

static void the_deadline_is_timeout_after_parking(void **state)
{
	struct test_event t;
	int64_t before = cn_now_us(), after;
	struct cn_job *job;

	stub_limits.timeout_ms = 30000;
	job = new_job(make_event(&t));
	after = cn_now_us();
	assert_true(cn_job_parked_us(job) >= before);
	assert_true(cn_job_parked_us(job) <= after);
	assert_true(cn_job_waiter(job)->parked_us == cn_job_parked_us(job));
	assert_true(cn_job_deadline_us(job) - cn_job_parked_us(job) == 30000000);
	cn_job_free(job);
}

static void dialogs_are_told_apart(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_waiter *a = cn_waiter_new(ev, &no_callback), *b, *c;

	ev->call_id = stub_exact("5705@172.16.163.3", 17);
	b = cn_waiter_new(ev, &no_callback);
	free(ev->call_id.s);
	ev->call_id = STR("5706@172.16.163.3");
	ev->cseq = UINT32_MAX;
	c = cn_waiter_new(ev, &no_callback);
	assert_int_equal(a->call_id_hash, b->call_id_hash);
	assert_int_not_equal(a->call_id_hash, c->call_id_hash);
	assert_true(c->cseq == UINT32_MAX);
	cn_waiter_free(a);
	cn_waiter_free(b);
	cn_waiter_free(c);
}

static void a_call_id_may_be_any_bytes(void **state)
{
	char any[256];
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	int i, len;

	for(i = 0; i < 256; i++)
		any[i] = (char)(255 - i);
	for(len = 0; len < 256; len++) {
		ev->call_id = stub_exact(any, len);
		cn_waiter_free(cn_waiter_new(ev, &no_callback));
		free(ev->call_id.s);
	}
}

static void a_waiter_of_its_own_is_one_block(void **state)
{
	struct test_event t;
	int blocks = stub_shm_blocks();
	str callback = stub_exact("ksr_verdict", 11);
	struct cn_waiter *w = cn_waiter_new(make_event(&t), &callback);

	free(callback.s);
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	assert_null(w->block);
	assert_null(w->next);
	assert_str(w->callback, "ksr_verdict");
	assert_string_equal(w->callback.s, "ksr_verdict"); /* as KEMI wants it */
	assert_true(cn_now_us() - w->parked_us < 60000000);
	cn_waiter_free(w);
	assert_int_equal(stub_shm_blocks(), blocks);
	cn_waiter_free(NULL);
}

static void a_waiter_goes_with_the_job_that_it_lives_in(void **state)
{
	struct test_event t;
	int blocks = stub_shm_blocks();

	cn_waiter_free(cn_job_waiter(new_job(make_event(&t))));
	assert_int_equal(stub_shm_blocks(), blocks);
	cn_job_free(NULL);
}

static void both_sides_let_go(void **state)
{
	struct test_event t;
	int blocks = stub_shm_blocks();
	struct cn_job *job = new_job(make_event(&t));

	cn_job_release(job);
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	assert_str(*cn_job_aor(job), "sip:gzj@telecom.com");
	cn_job_release(job);
	assert_int_equal(stub_shm_blocks(), blocks);
}

static void there_are_no_more_jobs_than_fit(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *jobs[10], *more = (void *)1;
	int i, blocks;

	for(i = 0; i < 10; i++) {
		assert_true(cn_job_room());
		assert_int_equal(cn_job_count(), i);
		jobs[i] = new_job(ev);
	}
	assert_int_equal(cn_job_count(), 10);
	blocks = stub_shm_blocks();
	assert_false(cn_job_room());
	for(i = 0; i < 3; i++) {
		assert_int_equal(
				cn_job_new(ev, &body, &no_callback, false, &more), CN_CAUSE_busy);
		assert_null(more);
	}
	assert_int_equal(stub_shm_blocks(), blocks);
	assert_int_equal(cn_job_count(), 10);
	cn_job_free(jobs[0]);
	assert_true(cn_job_room());
	jobs[0] = new_job(ev);
	assert_false(cn_job_room());
	cn_job_release(jobs[1]);
	assert_false(cn_job_room());
	cn_job_release(jobs[1]);
	assert_true(cn_job_room());
	jobs[1] = new_job(ev);
	for(i = 0; i < 10; i++)
		cn_job_free(jobs[i]);
}

static void make_and_end_a_job(void)
{
	static const struct cn_outcome outcome = {.verdict = CN_REJECTED,
			.body = {"an answer that is longer than the request was", 45}};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_waiter *w;
	struct cn_job *job;

	if(cn_job_new(ev, &body, &no_callback, false, &job) != CN_CAUSE_none) {
		assert_true(stub_has_failed());
		assert_null(job);
	} else {
		assert_true(cn_job_decide(job, &outcome));
		assert_int_equal(cn_job_outcome(job)->verdict, CN_REJECTED);
		cn_job_release(job);
		cn_job_release(job);
	}
	w = cn_waiter_new(ev, &no_callback);
	cn_waiter_free(w);
	assert_true(cn_job_room());
}

static void memory_may_end_at_any_moment(void **state)
{
	struct cn_job *jobs[10];
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	int i;

	assert_int_equal(stub_each_allocation(make_and_end_a_job), 3);
	stub_fail_at(1);
	assert_int_equal(
			cn_job_new(ev, &body, &no_callback, false, &jobs[0]), CN_CAUSE_memory);
	stub_fail_at(1);
	assert_null(cn_waiter_new(ev, &no_callback));
	/* what failed takes no place */
	for(i = 0; i < 10; i++)
		jobs[i] = new_job(ev);
	for(i = 0; i < 10; i++)
		cn_job_free(jobs[i]);
}

static void start_without_memory(void)
{
	int err = cn_job_init(10);

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	cn_job_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_job_destroy();
	assert_int_equal(stub_each_allocation(start_without_memory), 1);
	cn_job_destroy(); /* twice is allowed */
	assert_int_equal(cn_job_init(10), 0);
}

/* -------- the outcome -------- */

static struct cn_outcome answer(const char *answer_body)
{
	struct cn_outcome outcome = {.verdict = CN_REJECTED,
			.cause = CN_CAUSE_none,
			.status = 403,
			.retry_after = 7};

	outcome.body = stub_exact(answer_body, strlen(answer_body));
	return outcome;
}

static void decide(struct cn_job *job, struct cn_outcome outcome)
{
	assert_true(cn_job_decide(job, &outcome));
	free(outcome.body.s);
}

static void assert_in(const str *s, const void *start, size_t size)
{
	assert_true(s->s >= (const char *)start);
	assert_true(s->s + s->len <= (const char *)start + size);
}

static void the_answer_takes_the_place_of_the_request(void **state)
{
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));
	const struct cn_outcome *o = cn_job_outcome(job);
	const char *place = cn_job_body(job)->s;
	int blocks = stub_shm_blocks();

	/* exactly as long as the request */
	decide(job, answer("123456789012345678901234567890"));
	assert_int_equal(stub_shm_blocks(), blocks);
	assert_int_equal(o->verdict, CN_REJECTED);
	assert_int_equal(o->cause, CN_CAUSE_none);
	assert_int_equal(o->status, 403);
	assert_int_equal(o->retry_after, 7);
	assert_str(o->body, "123456789012345678901234567890");
	assert_in(&o->body, place, body.len);
	assert_str(*cn_job_aor(job), "sip:gzj@telecom.com");
	cn_job_free(job);
}

static void a_bigger_answer_gets_memory_of_its_own(void **state)
{
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));
	int blocks = stub_shm_blocks();

	decide(job, answer("1234567890123456789012345678901"));
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	assert_str(cn_job_outcome(job)->body, "1234567890123456789012345678901");
	cn_job_release(job);
	cn_job_release(job);
	assert_int_equal(stub_shm_blocks(), blocks - 1);
}

static void each_cause_is_kept(void **state)
{
	struct test_event t;
	int cause;

	for(cause = 0; cause < CN_CAUSE_COUNT; cause++) {
		struct cn_outcome o = {.verdict = CN_UNAVAILABLE, .cause = cause};
		struct cn_job *job = new_job(make_event(&t));

		o.body = STR("{}");
		assert_true(cn_job_decide(job, &o));
		assert_str(cn_job_outcome(job)->body, "{}");
		assert_int_equal(cn_job_outcome(job)->cause, cause);
		/* it may be told again */
		assert_str(*cn_job_body(job), "{\"request\": \"twenty and more\"}");
		cn_job_free(job);
	}
}

static void an_outcome_may_be_empty(void **state)
{
	struct cn_outcome o = {.verdict = CN_ACCEPTED, .status = 204};
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));

	assert_true(cn_job_decide(job, &o));
	assert_int_equal(cn_job_outcome(job)->body.len, 0);
	assert_int_equal(cn_job_outcome(job)->verdict, CN_ACCEPTED);
	cn_job_free(job);
}

static void when_memory_is_short_the_verdict_stays(void **state)
{
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));

	stub_fail_at(1);
	decide(job, answer("an answer that is longer than the request was"));
	assert_true(stub_has_failed());
	assert_logged("WARNING", "4f0c0000000000000000000000000001");
	assert_int_equal(cn_job_outcome(job)->verdict, CN_REJECTED);
	assert_int_equal(cn_job_outcome(job)->status, 403);
	assert_int_equal(cn_job_outcome(job)->body.len, 0);
	cn_job_free(job);
}

static void the_first_to_decide_wins(void **state)
{
	struct cn_outcome late = {
			.verdict = CN_UNAVAILABLE, .cause = CN_CAUSE_timeout};
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));

	decide(job, answer("{}"));
	assert_true(cn_job_decided(job));
	late.body = STR("somebody else's");
	assert_false(cn_job_decide(job, &late));
	assert_int_equal(cn_job_outcome(job)->verdict, CN_REJECTED);
	assert_str(cn_job_outcome(job)->body, "{}");
	cn_job_free(job);
}

#define RACES 5000
#define RACERS 2

struct race
{
	struct cn_job *jobs[RACES];
	int next_racer;
	int arrived[RACES];
	int winners[RACES];
	int winner[RACES];
};

static int add(int *p)
{
	return __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST);
}

/* At the same moment for each job, as far as there are processors. */
static void decide_all(void *arg)
{
	struct race *race = arg;
	int me = add(&race->next_racer) - 1, i, n;
	struct cn_outcome o = {.verdict = CN_REJECTED};
	char text[2] = {(char)('a' + me), '\0'};

	o.status = 100 + me;
	o.body = stub_str(text);
	for(i = 0; i < RACES; i++) {
		add(&race->arrived[i]);
		for(n = 0;
				__atomic_load_n(&race->arrived[i], __ATOMIC_SEQ_CST) < RACERS;
				n++) {
			if(n % 1000 == 999)
				sched_yield();
		}
		if(cn_job_decide(race->jobs[i], &o)) {
			add(&race->winners[i]);
			race->winner[i] = me;
		}
		check(cn_job_decided(race->jobs[i]));
	}
}

static void one_process_decides(void **state)
{
	struct race *race = stub_shared(sizeof(*race));
	struct test_event t;
	pid_t pids[RACERS];
	int i;

	cn_job_destroy();
	assert_int_equal(cn_job_init(RACES), 0);
	stub_share_shm(true);
	for(i = 0; i < RACES; i++)
		race->jobs[i] = new_job(make_event(&t));
	for(i = 0; i < RACERS; i++)
		pids[i] = stub_fork(decide_all, race);
	for(i = 0; i < RACERS; i++)
		stub_wait(pids[i]);
	for(i = 0; i < RACES; i++) {
		const struct cn_outcome *o = cn_job_outcome(race->jobs[i]);

		assert_int_equal(race->winners[i], 1);
		assert_int_equal(o->status, 100 + race->winner[i]);
		assert_int_equal(o->body.len, 1);
		assert_int_equal(o->body.s[0], 'a' + race->winner[i]);
		cn_job_free(race->jobs[i]);
	}
}

/* -------- which device -------- */

static bool covers(struct cn_job *job, const char *uri, const char *instance,
		enum cn_reason reason)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);

	set_contact(&t.contacts[0], uri, instance);
	t.contacts[0].reason = ev->reason = reason;
	return cn_job_covers(job, ev);
}

static struct cn_job *job_for(const char *uri, const char *instance)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);

	set_contact(&t.contacts[0], uri, instance);
	return new_job(ev);
}

#define NEW CN_REASON_NEW
#define NONE CN_REASON_NONE

static void by_contact_the_address_is_the_device(void **state)
{
	struct cn_job *job = job_for("sip:gzj@10.0.0.1", "<urn:uuid:1>");

	assert_true(covers(job, "sip:gzj@10.0.0.1", "<urn:uuid:1>", NEW));
	assert_true(covers(job, "sip:gzj@10.0.0.1", "", NEW));
	assert_true(covers(job, "sip:gzj@10.0.0.1", "<urn:uuid:2>", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.2", "<urn:uuid:1>", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.10", "", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.", "", NEW));
	assert_false(covers(job, "", "", NEW));
	cn_job_free(job);
}

static void by_instance_the_instance_is_the_device(void **state)
{
	struct cn_job *job;

	cn_conf.identity = CN_IDENTITY_INSTANCE;
	job = job_for("sip:gzj@10.0.0.1", "<urn:uuid:1>");
	assert_true(covers(job, "sip:gzj@10.0.0.2", "<urn:uuid:1>", NEW));
	assert_true(covers(job, "sip:gzj@10.0.0.2", "urn:uuid:1", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.1", "<urn:uuid:2>", NEW));
	/* who has none is known by the address */
	assert_true(covers(job, "sip:gzj@10.0.0.1", "", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.2", "", NEW));
	cn_job_free(job);
	job = job_for("sip:gzj@10.0.0.1", "");
	assert_true(covers(job, "sip:gzj@10.0.0.1", "<urn:uuid:1>", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.2", "<urn:uuid:1>", NEW));
	cn_job_free(job);
	/* nor has this one any */
	job = job_for("sip:gzj@10.0.0.1", "<>");
	assert_true(covers(job, "sip:gzj@10.0.0.1", "<>", NEW));
	assert_true(covers(job, "sip:gzj@10.0.0.1", "", NEW));
	assert_false(covers(job, "sip:gzj@10.0.0.2", "<>", NEW));
	cn_job_free(job);
}

static void by_aor_there_is_one_device(void **state)
{
	struct cn_job *job;
	struct test_event t;
	struct cn_event *query = make_event(&t);

	cn_conf.identity = CN_IDENTITY_AOR;
	job = job_for("sip:gzj@10.0.0.1", "<urn:uuid:1>");
	assert_true(covers(job, "sip:gzj@10.0.0.2", "<urn:uuid:2>", NEW));
	assert_true(covers(job, "sip:gzj@10.0.0.2", "", NONE));
	query->contact_count = 0;
	query->reason = NONE;
	assert_false(cn_job_covers(job, query));
	cn_job_free(job);
}

static void another_aor_is_another_device(void **state)
{
	static const enum cn_identity all[] = {
			CN_IDENTITY_CONTACT, CN_IDENTITY_INSTANCE, CN_IDENTITY_AOR};
	static const char *const others[] = {
			"gzk@telecom.com", "gzj@telecom.co", "gzj@telecom.com.cn", ""};
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = new_job(ev);
	size_t i, j;

	for(i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		cn_conf.identity = all[i];
		for(j = 0; j < sizeof(others) / sizeof(others[0]); j++) {
			ev->key = stub_str(others[j]);
			ev->star = false;
			assert_false(cn_job_covers(job, ev));
			ev->star = true;
			assert_false(cn_job_covers(job, ev));
		}
	}
	cn_job_free(job);
}

/* An event with several contacts; those whose name begins with '+' are new. */
static bool covers_all(struct cn_job *job, const char *const uris[])
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	int i;

	ev->reason = NONE;
	for(i = 0; uris[i]; i++) {
		set_contact(&t.contacts[i], uris[i] + 1, "");
		t.contacts[i].reason = uris[i][0] == '+' ? NEW : NONE;
		if(t.contacts[i].reason == NEW)
			ev->reason = NEW;
	}
	ev->contact_count = i;
	return cn_job_covers(job, ev);
}

#define COVERS(job, ...) \
	covers_all(job, (const char *const[]){__VA_ARGS__, NULL})

static void every_new_contact_must_be_on_its_way(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job;

	set_contact(&t.contacts[0], "sip:a", "");
	set_contact(&t.contacts[1], "sip:b", "");
	ev->contact_count = 2;
	job = new_job(ev);
	assert_true(COVERS(job, "+sip:a"));
	assert_true(COVERS(job, "+sip:b"));
	assert_true(COVERS(job, "+sip:b", "+sip:a"));
	assert_false(COVERS(job, "+sip:a", "+sip:c"));
	assert_false(COVERS(job, "+sip:c", "+sip:a"));
	assert_false(COVERS(job, "+sip:c"));
	/* what is not new does not count where something is */
	assert_true(COVERS(job, "-sip:c", "+sip:a"));
	assert_false(COVERS(job, "-sip:a", "+sip:c"));
	cn_job_free(job);
}

static void a_refresh_or_leave_joins_by_one_contact(void **state)
{
	struct cn_job *job = job_for("sip:a", "");
	struct test_event t;
	struct cn_event *ev = make_event(&t);

	assert_true(COVERS(job, "-sip:a"));
	assert_true(COVERS(job, "-sip:b", "-sip:a"));
	assert_false(COVERS(job, "-sip:b"));
	/* a query has none */
	ev->contact_count = 0;
	ev->reason = NONE;
	assert_false(cn_job_covers(job, ev));
	/* Contact: * means all of them */
	ev->star = true;
	assert_true(cn_job_covers(job, ev));
	cn_job_free(job);
}

/* The job is about sip:new; sip:old was in its request, too, a refresh. */
static void a_refresh_of_what_was_refreshed_joins_in_its_dialog(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job;

	set_contact(&t.contacts[0], "sip:old", "");
	t.contacts[0].reason = NONE;
	set_contact(&t.contacts[1], "sip:new", "");
	ev->contact_count = 2;
	job = new_job(ev);
	ev = make_event(&t);
	set_contact(&t.contacts[0], "sip:old", "");
	ev->reason = t.contacts[0].reason = NONE;
	assert_true(cn_job_covers(job, ev));
	ev->call_id = STR("another@dialog");
	assert_false(cn_job_covers(job, ev));
	t.contacts[0].uri = STR("sip:new");
	assert_true(cn_job_covers(job, ev));
	/* that sip:old is new now is on its way nowhere */
	t.contacts[0].uri = STR("sip:old");
	ev->reason = t.contacts[0].reason = NEW;
	assert_false(cn_job_covers(job, ev));
	ev->call_id = STR("5705@172.16.163.3");
	assert_false(cn_job_covers(job, ev));
	cn_job_free(job);
}

/* What could not be read has no Call-ID, nor anything else. */
static void what_could_not_be_read_is_no_device(void **state)
{
	static const enum cn_identity all[] = {
			CN_IDENTITY_CONTACT, CN_IDENTITY_INSTANCE, CN_IDENTITY_AOR};
	struct cn_event nothing, no_contacts;
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));
	size_t i;

	memset(&nothing, 0, sizeof(nothing));
	no_contacts = nothing;
	no_contacts.key = t.ev.key;
	for(i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		cn_conf.identity = all[i];
		assert_false(cn_job_covers(job, &nothing));
		assert_false(cn_job_covers(job, &no_contacts));
	}
	cn_job_free(job);
}

static void jobs_of_one_aor(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	struct cn_job *job = new_job(ev);

	set_contact(&t.contacts[0], "sip:any", "");
	assert_true(cn_job_same_aor(job, &ev->key));
	ev->key = STR("gzj@telecom.co");
	assert_false(cn_job_same_aor(job, &ev->key));
	ev->key = STR("gzk@telecom.com");
	assert_false(cn_job_same_aor(job, &ev->key));
	cn_job_free(job);
}

/* -------- what goes to the outbox -------- */

static void a_job_knows_what_its_event_is(void **state)
{
	struct test_event t;
	struct cn_event *ev = make_event(&t);
	char contacts[CN_CONTACTS_MAX + 1];
	struct cn_job *job;

	ev->seq = 1795588330123456;
	assert_int_equal(
			cn_job_new(ev, &body, &no_callback, true, &job), CN_CAUSE_none);
	assert_true(cn_job_defers(job));
	assert_int_equal(cn_job_seq(job), 1795588330123456);
	assert_str(*cn_job_key(job), "gzj@telecom.com");
	assert_string_equal(cn_job_key(job)->s, "gzj@telecom.com");
	cn_contacts_write(ev, contacts);
	memset(t.contacts, 0, sizeof(t.contacts));
	assert_string_equal(cn_job_contacts(job), contacts);
	cn_job_free(job);
	job = new_job(make_event(&t));
	assert_false(cn_job_defers(job));
	cn_job_free(job);
}

static void one_stores_it(void **state)
{
	struct cn_outcome failure = {.verdict = CN_UNAVAILABLE,
			.cause = CN_CAUSE_http,
			.status = 503,
			.body = STR("who frees this")};
	struct cn_outcome other = {.cause = CN_CAUSE_timeout};
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));
	int blocks = stub_shm_blocks();

	assert_false(cn_job_storing(job));
	assert_true(cn_job_begin_storing(job, &failure));
	assert_true(cn_job_storing(job));
	assert_false(cn_job_begin_storing(job, &other));
	assert_int_equal(cn_job_failure(job)->cause, CN_CAUSE_http);
	assert_int_equal(cn_job_failure(job)->status, 503);
	assert_int_equal(cn_job_failure(job)->body.len, 0);
	assert_false(cn_job_decided(job));
	/* the outbox process may be reading the request just now */
	decide(job, answer("{}"));
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	assert_str(*cn_job_body(job), "{\"request\": \"twenty and more\"}");
	assert_str(cn_job_outcome(job)->body, "{}");
	cn_job_free(job);
}

static void who_was_asked_about_keeps_its_request(void **state)
{
	struct test_event t;
	struct cn_job *job = new_job(make_event(&t));
	int blocks = stub_shm_blocks();

	cn_job_link(job)->asked_us = 1; /* as the index does */
	decide(job, answer("{}"));
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	assert_str(*cn_job_body(job), "{\"request\": \"twenty and more\"}");
	assert_false(cn_job_has_row(job));
	cn_job_set_row(job);
	assert_true(cn_job_has_row(job));
	cn_job_free(job);
}

/* -------- deliveries -------- */

static struct cn_job *new_delivery(void)
{
	static int tag;
	char id[] = "4f0c0000000000000000000000000002", aor[] = "gzj@telecom.com",
		 contacts[] = "000000000000000a";
	str copy = stub_exact(body.s, body.len);
	struct cn_delivery_facts facts = {.seq = 77,
			.id = id,
			.aor = aor,
			.hash = 4711,
			.contacts = contacts,
			.body = &copy,
			.tag = &tag};
	struct cn_job *job = cn_job_new_delivery(&facts);

	free(copy.s);
	memset(id, 'x', sizeof(id));
	memset(aor, 'x', sizeof(aor));
	memset(contacts, 'x', sizeof(contacts));
	if(job)
		assert_ptr_equal(cn_job_tag(job), &tag);
	return job;
}

static void a_delivery_counts_not_and_hurries_not(void **state)
{
	struct cn_job *job = new_delivery();
	int64_t now = cn_now_us();

	assert_int_equal(cn_job_count(), 0);
	assert_true(cn_job_is_delivery(job));
	assert_int_equal(cn_job_seq(job), 77);
	assert_int_equal(cn_job_hash(job), 4711);
	assert_str(*cn_job_id(job), "4f0c0000000000000000000000000002");
	assert_str(*cn_job_key(job), "gzj@telecom.com");
	assert_string_equal(cn_job_contacts(job), "000000000000000a");
	assert_str(*cn_job_body(job), "{\"request\": \"twenty and more\"}");
	assert_false(cn_job_defers(job));
	assert_int_equal(cn_job_deadline_us(job), INT64_MAX);
	cn_job_set_sent(job, now);
	assert_int_equal(cn_job_deadline_us(job), now + 4000000);
	cn_job_release(job);
	cn_job_release(job);
	assert_int_equal(cn_job_count(), 0);
	stub_fail_at(1);
	assert_null(new_delivery());
}

static void it_is_sent_or_cancelled(void **state)
{
	struct cn_job *job = new_delivery();

	assert_false(cn_job_cancelled(job));
	assert_true(cn_job_claim_sending(job));
	assert_false(cn_job_cancel_sending(job));
	assert_false(cn_job_cancelled(job));
	cn_job_free(job);
	job = new_delivery();
	assert_true(cn_job_cancel_sending(job));
	assert_true(cn_job_cancelled(job));
	assert_false(cn_job_cancel_sending(job));
	assert_false(cn_job_claim_sending(job));
	assert_true(cn_job_cancelled(job));
	cn_job_free(job);
}

static void a_third_holder(void **state)
{
	struct test_event t;
	int blocks = stub_shm_blocks();
	struct cn_job *job = new_job(make_event(&t));

	cn_job_hold(job);
	cn_job_release(job);
	cn_job_release(job);
	assert_int_equal(stub_shm_blocks(), blocks + 1);
	cn_job_release(job);
	assert_int_equal(stub_shm_blocks(), blocks);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_job_is_one_block_with_copies_of_all),
			TEST(a_new_job_is_neither_sent_nor_decided),
			TEST(the_deadline_is_timeout_after_parking),
			TEST(dialogs_are_told_apart),
			TEST(a_call_id_may_be_any_bytes),
			TEST(a_waiter_of_its_own_is_one_block),
			TEST(a_waiter_goes_with_the_job_that_it_lives_in),
			TEST(both_sides_let_go),
			TEST(there_are_no_more_jobs_than_fit),
			TEST(memory_may_end_at_any_moment),
			TEST(without_memory_it_does_not_start),
			TEST(the_answer_takes_the_place_of_the_request),
			TEST(a_bigger_answer_gets_memory_of_its_own),
			TEST(each_cause_is_kept),
			TEST(an_outcome_may_be_empty),
			TEST(when_memory_is_short_the_verdict_stays),
			TEST(the_first_to_decide_wins),
			TEST(one_process_decides),
			TEST(by_contact_the_address_is_the_device),
			TEST(by_instance_the_instance_is_the_device),
			TEST(by_aor_there_is_one_device),
			TEST(another_aor_is_another_device),
			TEST(every_new_contact_must_be_on_its_way),
			TEST(a_refresh_or_leave_joins_by_one_contact),
			TEST(a_refresh_of_what_was_refreshed_joins_in_its_dialog),
			TEST(what_could_not_be_read_is_no_device),
			TEST(jobs_of_one_aor),
			TEST(a_job_knows_what_its_event_is),
			TEST(one_stores_it),
			TEST(who_was_asked_about_keeps_its_request),
			TEST(a_delivery_counts_not_and_hurries_not),
			TEST(it_is_sent_or_cancelled),
			TEST(a_third_holder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
