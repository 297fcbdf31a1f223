/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "admit.h"
#include "base_policy.h"
#include "admit_reservation.h"

#define SECOND 1000000
#define TIMEOUT_US (4 * SECOND)
#define POSTS 64
#define BATCH_MAX 50
#define CAPACITY (8192 + POSTS)
#define DEVICES_MAX 100000
#define STEP_US 1000
#define STEPS_MAX (1200 * 1000)

static int64_t now = 1000 * (int64_t)SECOND;

static void begin_anew(int batch)
{
	cn_admission_destroy();
	assert_int_equal(cn_admission_init(POSTS, batch, CAPACITY, TIMEOUT_US), 0);
}

static int start(void **state)
{
	begin_anew(1);
	return 0;
}

static int end(void **state)
{
	cn_admission_destroy();
	cn_admission_destroy(); /* twice is allowed */
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static uint64_t device(int n)
{
	char name[32];
	str s = {name, snprintf(name, sizeof(name), "d%d@sip.example.com", n)};

	return cn_reservation_device(&s);
}

/* -------- a storm, played in steps of a millisecond -------- */

struct storm
{
	int devices;
	int64_t within_us; /* all come for the first time */
	int slots;		   /* what the CMS serves at once */
	int64_t post_us;   /* and for how long */
	/* for a while each POST takes so many times as long; 0: no answer */
	int64_t slow_since_us, slow_until_us;
	int factor;
	int hasty; /* every so many devices come after two seconds, always; 0: none */
	int batch; /* events in a POST; 0: one */
	int64_t event_us; /* that the CMS needs for each, besides post_us */

	/* what came of it */
	int on_line;
	int p50_refusals, p99_refusals, most_refusals, patient_most_refusals;
	int in_vain; /* no answer before the deadline */
	int wasted;	 /* of those: the CMS had it */
	int64_t lasted_us;
};

struct post
{
	int count, left;
	int devices[BATCH_MAX]; /* -1: was too late */
	int64_t came[BATCH_MAX];
	int64_t began, done; /* done: INT64_MAX: not yet, or never */
};

/* one storm at a time */
static struct
{
	struct storm *s;
	int64_t began;
	int queue[CAPACITY], queue_head, queued;
	int64_t queued_since[CAPACITY];
	struct post posts[POSTS];
	int under_way, in_service;
	/* devices that come at each step: lists */
	int first[STEPS_MAX], next[DEVICES_MAX];
	unsigned short refusals[DEVICES_MAX];
	int most;
	uint64_t dice;
} play;

static void comes_at(int d, int64_t at)
{
	int64_t step = (at - play.began) / STEP_US;

	if(step >= STEPS_MAX)
		fail_msg("device %d is to come after %ld s", d, (long)(step / 1000));
	play.next[d] = play.first[step];
	play.first[step] = d;
}

static void is_refused(int d)
{
	unsigned dice = stub_random(&play.dice);
	int64_t wait = cn_admission_reserve(device(d), play.queued, now);
	unsigned seconds = cn_policy_retry_after(wait, 0, dice);

	if(play.s->hasty && d % play.s->hasty == 0)
		seconds = 2;
	play.refusals[d]++;
	/* after the way there and back */
	comes_at(d, now + seconds * (int64_t)SECOND + 2 * STEP_US);
}

static void comes(int d)
{
	int place = (play.queue_head + play.queued) % CAPACITY;

	if(play.queued + play.under_way >= CAPACITY
			|| !cn_admission_admits(device(d), play.queued, now)) {
		is_refused(d);
		return;
	}
	play.queue[place] = d;
	play.queued_since[place] = now;
	play.queued++;
}

static int64_t service_us(const struct post *p)
{
	const struct storm *s = play.s;
	int64_t at = now - play.began, us = s->post_us + p->count * s->event_us;

	if(at < s->slow_since_us || at >= s->slow_until_us)
		return us;
	return s->factor * us;
}

/* What the CMS takes up next: the oldest that is not being served. */
static void serve(void)
{
	while(play.in_service < play.s->slots) {
		struct post *oldest = NULL;
		int i;

		for(i = 0; i < play.under_way; i++) {
			struct post *p = &play.posts[i];

			if(p->done == INT64_MAX && (!oldest || p->began < oldest->began))
				oldest = p;
		}
		if(oldest == NULL || service_us(oldest) == 0)
			break;
		oldest->done = now + service_us(oldest);
		play.in_service++;
	}
}

/* Those whose deadline has passed. @return is that all of them? */
static bool end_late(struct post *p)
{
	int i;

	for(i = 0; i < p->count; i++) {
		if(p->devices[i] < 0 || now - p->came[i] < TIMEOUT_US)
			continue;
		play.s->in_vain++;
		play.s->wasted++;
		is_refused(p->devices[i]);
		p->devices[i] = -1;
		p->left--;
	}
	return p->left == 0;
}

static void end_posts(void)
{
	int i;

	for(i = 0; i < play.under_way;) {
		struct post *p = &play.posts[i];
		bool late = end_late(p);

		if(p->done > now && !late) {
			i++;
			continue;
		}
		play.in_service -= p->done != INT64_MAX;
		play.s->on_line += p->left;
		cn_admission_ended(
				p->count, late ? -1 : now - p->began, play.queued > 0, now);
		play.posts[i] = play.posts[--play.under_way];
	}
}

/* The next one that has the time. @return false: nobody waits */
static bool find_next(void)
{
	while(play.queued > 0) {
		int at = play.queue_head;

		if(cn_admission_has_time(play.queued_since[at] + TIMEOUT_US - now))
			return true;
		play.queue_head = (at + 1) % CAPACITY;
		play.queued--;
		play.s->in_vain++;
		is_refused(play.queue[at]);
	}
	return false;
}

static void begin_posts(void)
{
	int most = play.s->batch ? play.s->batch : 1;

	while(find_next() && play.under_way < POSTS) {
		struct post *p = &play.posts[play.under_way++];

		for(p->count = 0; p->count < most && find_next(); p->count++) {
			p->devices[p->count] = play.queue[play.queue_head];
			/* its deadline counts from when it came */
			p->came[p->count] = play.queued_since[play.queue_head];
			play.queue_head = (play.queue_head + 1) % CAPACITY;
			play.queued--;
		}
		p->left = p->count;
		p->began = now;
		p->done = INT64_MAX;
		cn_admission_began(p->count, now);
	}
}

static int compare(const void *a, const void *b)
{
	return *(const unsigned short *)a - *(const unsigned short *)b;
}

static void count_refusals(void)
{
	struct storm *s = play.s;
	int d;

	for(d = 0; d < s->devices; d++) {
		if(s->hasty && d % s->hasty != 0
				&& play.refusals[d] > s->patient_most_refusals)
			s->patient_most_refusals = play.refusals[d];
	}
	qsort(play.refusals, s->devices, sizeof(play.refusals[0]), compare);
	s->p50_refusals = play.refusals[s->devices / 2];
	s->p99_refusals = play.refusals[s->devices / 100 * 99];
	s->most_refusals = play.refusals[s->devices - 1];
}

static void run(struct storm *s)
{
	int step, d, next;

	memset(&play, 0, sizeof(play));
	memset(play.first, -1, sizeof(play.first));
	play.s = s;
	play.dice = 1;
	play.began = now;
	for(d = 0; d < s->devices; d++)
		comes_at(d, now + s->within_us * d / s->devices);
	for(step = 0; step < STEPS_MAX && s->on_line < s->devices; step++) {
		now = play.began + step * (int64_t)STEP_US;
		end_posts();
		for(d = play.first[step]; d >= 0; d = next) {
			next = play.next[d];
			comes(d);
		}
		begin_posts();
		serve();
	}
	s->lasted_us = now - play.began;
	count_refusals();
}

/* 1,000 POSTs a second, 50 at once */
#define STORM \
	.devices = 100000, .within_us = 60 * SECOND, .slots = 50, .post_us = 50000

#define assert_lasted(s, seconds)                     \
	do {                                              \
		assert_int_equal((s).on_line, (s).devices);   \
		assert_in_range((s).lasted_us / SECOND, 0, seconds); \
	} while(0)

static void a_storm_keeps_the_cms_busy_and_sends_each_away_once(void **state)
{
	struct storm s = {STORM};

	run(&s);
	assert_lasted(s, 101);
	assert_in_range(s.p99_refusals, 0, 1);
	assert_in_range(s.most_refusals, 0, 3);
	assert_int_equal(s.in_vain, 0);
}

/* However it comes to that rate: as many at once as there are connections, or
 * one after the other. */
static void it_does_not_matter_how_the_cms_works(void **state)
{
	static const struct
	{
		int slots;
		int64_t post_us;
	} rows[] = {{POSTS, POSTS * 1000}, {1, 1000}};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct storm s = {STORM};

		s.slots = rows[i].slots;
		s.post_us = rows[i].post_us;
		begin_anew(1);
		run(&s);
		assert_lasted(s, 101);
		assert_in_range(s.p99_refusals, 0, 1);
		assert_int_equal(s.in_vain, 0);
	}
}

static void all_within_a_second(void **state)
{
	struct storm s = {STORM};

	s.within_us = SECOND;
	run(&s);
	assert_lasted(s, 101);
	assert_in_range(s.p99_refusals, 0, 3);
	assert_in_range(s.in_vain, 0, s.devices / 100);
	assert_in_range(s.wasted, 0, s.devices / 1000);
}

static void what_can_be_answered_in_time_is_not_turned_away(void **state)
{
	struct storm s = {STORM};

	s.devices = 2800;
	s.within_us = SECOND / 10;
	run(&s);
	/* so many before the first answer that it cannot be known */
	assert_in_range(s.p99_refusals, 0, 0);
	assert_in_range(s.in_vain, 0, 0);
	assert_lasted(s, 3);
}

/* Of 10 seconds at a fifth of the rate 8 are lost. */
static void a_cms_that_stumbles(void **state)
{
	struct storm s = {STORM, .slow_since_us = 20 * SECOND,
			.slow_until_us = 30 * SECOND, .factor = 5};

	run(&s);
	assert_lasted(s, 125);
	assert_in_range(s.p99_refusals, 0, 2);
	/* what was in the queue when that began */
	assert_in_range(s.in_vain, 0, 1500);
	assert_in_range(s.wasted, 0, 5 * POSTS);
}

static void a_cms_that_hangs_for_a_while(void **state)
{
	struct storm s = {STORM, .slow_since_us = 20 * SECOND,
			.slow_until_us = 30 * SECOND, .factor = 0};

	run(&s);
	assert_lasted(s, 115);
	assert_in_range(s.p99_refusals, 0, 2);
	assert_in_range(s.in_vain, 0, 4500);
}

/* 20 s at 1,000 a second, and 400 s at 200. */
static void a_cms_that_becomes_slow(void **state)
{
	struct storm s = {STORM, .slow_since_us = 20 * SECOND,
			.slow_until_us = INT64_MAX, .factor = 5};

	run(&s);
	assert_lasted(s, 430);
	assert_in_range(s.p50_refusals, 0, 3);
	assert_in_range(s.p99_refusals, 0, 8);
	assert_in_range(s.in_vain, 0, 1500);
}

/* Devices have been told to come back after minutes, and then it is fast. */
static void a_cms_that_has_to_warm_up(void **state)
{
	struct storm s = {
			STORM, .slow_until_us = 30 * SECOND, .factor = 5};

	run(&s);
	assert_lasted(s, 180);
	assert_in_range(s.p99_refusals, 0, 2);
	assert_int_equal(s.in_vain, 0);
}

/* Half of the deadline is what a POST needs; 32 a second. */
static void a_cms_that_needs_long_for_each(void **state)
{
	struct storm s = {.devices = 5000,
			.within_us = SECOND,
			.slots = 100,
			.post_us = 2 * SECOND};

	run(&s);
	assert_lasted(s, 185);
	assert_in_range(s.p99_refusals, 0, 7);
	assert_int_equal(s.wasted, 0);
}

static void who_ignores_retry_after_does_not_push_in(void **state)
{
	struct storm s = {STORM, .hasty = 20};

	run(&s);
	assert_lasted(s, 104);
	assert_true(s.most_refusals > 10);
	assert_in_range(s.patient_most_refusals, 0, 3);
	assert_int_equal(s.in_vain, 0);
}

/* -------- storms in batches of 50 -------- */

#define IN_A_MINUTE .devices = 100000, .within_us = 60 * SECOND, .batch = 50
#define IN_BETWEEN .slow_since_us = 20 * SECOND, .slow_until_us = 30 * SECOND

static void a_storm_has_what_batches_give(void **state)
{
	static const struct
	{
		const char *what;
		struct storm storm;
		int seconds;	  /* that it may last */
		int most_refusals;
		int in_vain;
	} rows[] = {
			{"1,000 POSTs a second",
					{IN_A_MINUTE, .slots = 50, .post_us = 50000}, 61, 0, 0},
			{"100 a second, slow ones",
					{IN_A_MINUTE, .slots = 64, .post_us = 640000}, 61, 0, 0},
			{"each event takes its time, too",
					{IN_A_MINUTE, .slots = 50, .post_us = 25000,
							.event_us = 25000},
					61, 0, 0},
			{"each event takes as long as a POST: 1,000 events a second",
					{IN_A_MINUTE, .slots = 1, .event_us = 1000}, 101, 5, 0},
			{"the same, four POSTs at once",
					{IN_A_MINUTE, .slots = 4, .event_us = 4000}, 101, 6, 0},
			{"for a while five times as slow",
					{IN_A_MINUTE, .slots = 50, .post_us = 50000, IN_BETWEEN,
							.factor = 5},
					61, 0, 0},
			/* what waits at the beginning, and what comes before that is known */
			{"for a while not at all",
					{IN_A_MINUTE, .slots = 50, .post_us = 50000, IN_BETWEEN}, 61,
					8, 9500},
	};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct storm s = rows[i].storm;

		begin_anew(s.batch);
		run(&s);
		if(s.on_line < s.devices || s.lasted_us / SECOND >= rows[i].seconds
				|| s.most_refusals > rows[i].most_refusals
				|| s.in_vain > rows[i].in_vain)
			fail_msg("%s: %d on line in %ld s, refused %d times, %d in vain",
					rows[i].what, s.on_line, (long)(s.lasted_us / SECOND),
					s.most_refusals, s.in_vain);
	}
}

static void a_batch_for_all_that_come_at_once(void **state)
{
	struct storm s = {.devices = 100000, .within_us = SECOND, .batch = 50,
			.slots = 50, .post_us = 50000};

	begin_anew(s.batch);
	run(&s);
	assert_lasted(s, 4);
	assert_in_range(s.most_refusals, 0, 2);
	assert_int_equal(s.in_vain, 0);
}

/* -------- step by step -------- */

static void take(int posts)
{
	while(posts-- > 0)
		cn_admission_began(1, now);
}

/* Others wait, and the CMS answers so many, so far apart, each after us. */
static void answer(int n, int64_t apart_us, int64_t us)
{
	while(n-- > 0) {
		now += apart_us;
		cn_admission_ended(1, us, true, now);
		cn_admission_began(1, now);
	}
}

static void nobody_waits(void)
{
	now += 1000;
	cn_admission_ended(1, 50000, false, now);
	cn_admission_began(1, now);
}

static int most_admitted(uint64_t d)
{
	int queued = 0;

	while(queued < CAPACITY && cn_admission_admits(d, queued, now))
		queued++;
	return queued;
}

static void without_an_answer_nobody_is_turned_away(void **state)
{
	assert_true(cn_admission_admits(1, 0, now));
	assert_true(cn_admission_admits(1, CAPACITY, now));
	take(POSTS);
	assert_true(cn_admission_admits(1, CAPACITY, now));
}

static void but_not_for_long(void **state)
{
	take(POSTS);
	now += SECOND; /* at best 64 a second */
	assert_in_range(most_admitted(1), 64, 3 * 64);
}

static void the_queue_is_as_long_as_there_is_time(void **state)
{
	take(POSTS);
	answer(5000, 1000, 50000); /* 1,000 a second */
	assert_in_range(most_admitted(1), 2800, 3000);
	answer(2000, 5000, 250000); /* 200 */
	assert_in_range(most_admitted(1), 450, 600);
	answer(5000, 1000, 50000);
	assert_in_range(most_admitted(1), 2700, 3000);
}

static void a_free_connection_is_used_however_slow_the_cms_is(void **state)
{
	take(POSTS);
	answer(100, SECOND, 3 * SECOND);
	assert_false(cn_admission_admits(1, 0, now));
	cn_admission_ended(1, 3 * SECOND, true, now + SECOND);
	assert_true(cn_admission_admits(1, 0, now + SECOND));
	assert_false(cn_admission_admits(1, 1, now + SECOND));
}

static void what_has_been_is_no_reason_to_turn_a_crowd_away(void **state)
{
	take(POSTS);
	answer(500, 100000, 50000);
	assert_in_range(most_admitted(1), 0, 30);
	nobody_waits();
	assert_in_range(most_admitted(1), 2500, 4000);
}

/* The CMS, or the machine, may stop for a moment just as a queue begins. */
static void a_first_answer_that_is_late_is_no_reason(void **state)
{
	int64_t pause;

	for(pause = 1000; pause <= SECOND / 2; pause *= 2) {
		begin_anew(1);
		take(POSTS);
		answer(200, 500, 30000); /* some 2,000 a second */
		nobody_waits();
		cn_admission_ended(1, 30000, true, now);
		now += pause;
		cn_admission_ended(1, 30000, true, now);
		assert_in_range(most_admitted(1), 300, 10000);
	}
}

/* A POST ends, its events are sent again: none of them has left. */
static void what_is_sent_again_is_under_way(void **state)
{
	begin_anew(50);
	cn_admission_began(POSTS, now);
	cn_admission_ended(0, 1000, false, now);
	assert_true(cn_admission_admits(1, 0, now));
	take(POSTS);
	now += 100 * (int64_t)SECOND; /* at best so many in that time */
	assert_false(cn_admission_admits(1, 0, now));
	cn_admission_ended(2 * POSTS, 1000, false, now);
	assert_true(cn_admission_admits(1, 0, now));
}

/* Until the moments that were given away have passed. */
static void the_end_of_the_queue_is_for_those_that_were_sent_away(void **state)
{
	int64_t wait;
	int i;

	take(POSTS);
	answer(5000, 1000, 50000);
	for(i = 0; i < 4000; i++)
		wait = cn_admission_reserve(device(i), 2900, now);
	assert_in_range(wait / 1000, 5500, 6500);
	assert_in_range(most_admitted(device(5000)), 900, 1001);
	assert_in_range(most_admitted(device(0)), 900, 1001);
	answer(1000, 1000, 50000); /* almost its turn */
	assert_in_range(most_admitted(device(0)), 2800, 3000);
	assert_in_range(most_admitted(device(3999)), 900, 1001);
	answer(6000, 1000, 50000); /* all had their turn */
	assert_in_range(most_admitted(device(3999)), 2800, 3000);
	assert_in_range(most_admitted(device(5000)), 2800, 3000);
}

static void who_comes_late_queues_up_anew(void **state)
{
	int i;

	take(POSTS);
	cn_admission_reserve(device(1), 2000, now);
	answer(60000, 1000, 50000);
	cn_admission_reserve(device(2), 3000, now);
	assert_in_range(most_admitted(device(1)), 2800, 3000);
	answer(3000, 1000, 50000);
	for(i = 3; i < 10; i++)
		cn_admission_reserve(device(i), 3000, now);
	assert_in_range(most_admitted(device(1)), 900, 1001);
}

static void who_comes_early_keeps_its_moment(void **state)
{
	int64_t due, after;
	int i;

	take(POSTS);
	answer(5000, 1000, 50000);
	cn_admission_reserve(device(1), 4000, now);
	due = now + cn_admission_reserve(device(2), 4000, now);
	for(i = 0; i < 1000; i++) {
		answer(1, 1000, 50000);
		after = now + cn_admission_reserve(device(2), 4000, now);
		assert_in_range(due - after + SECOND / 4, 0, SECOND / 2);
	}
	/* and took nobody's */
	after = now + cn_admission_reserve(device(3), 0, now);
	assert_in_range(after - due, 0, SECOND / 100);
}

/* Each behind the other, as far apart as the CMS needs. */
static void moments_are_as_far_apart_as_the_cms_needs(void **state)
{
	int64_t wait, before = -1;
	int i;

	take(POSTS);
	answer(20000, 10000, 640000);
	for(i = 0; i < 1000; i++) {
		wait = cn_admission_reserve(device(i), 0, now);
		assert_true(wait > before);
		before = wait;
	}
	assert_in_range(wait / 1000, 9500, 10500);
	assert_in_range(cn_admission_rate(), 95, 105);
	assert_in_range(cn_admission_line_us(now) - wait, 9000, 11000);
	assert_int_equal(cn_admission_line_us(now + 20 * SECOND), 0);
}

static void an_absent_cms_does_not_make_the_line_longer(void **state)
{
	int64_t wait = 0;
	int i;

	take(POSTS);
	answer(5000, 1000, 50000);
	for(i = 0; i < 200; i++) { /* none answers */
		now += SECOND;
		cn_admission_ended(1, -1, true, now);
		cn_admission_began(1, now);
	}
	for(i = 0; i < 1000; i++)
		wait = cn_admission_reserve(device(i), 0, now);
	assert_in_range(wait / 1000, 900, 1100);
}

static void the_shortest_and_the_longest(void **state)
{
	int64_t wait = 0;
	int i;

	assert_int_equal(cn_admission_reserve(device(1), 0, now), 0);
	take(POSTS);
	answer(200, 60 * (int64_t)SECOND, 60 * (int64_t)SECOND);
	for(i = 0; i < 5000; i++)
		wait = cn_admission_reserve(device(i), INT32_MAX, now);
	assert_int_equal(cn_policy_retry_after(wait, 0, 0), CN_RETRY_AFTER_MAX_S);
	assert_false(cn_admission_admits(device(1), INT32_MAX, now));
}

/* -------- what has no time left -------- */

static void a_post_needs_the_time_that_posts_need(void **state)
{
	assert_true(cn_admission_has_time(1));
	assert_false(cn_admission_has_time(0));
	assert_false(cn_admission_has_time(-1));
	take(POSTS);
	answer(1000, 1000, 300000);
	assert_false(cn_admission_has_time(200000));
	assert_true(cn_admission_has_time(400000));
	answer(1000, 1000, 3000);
	assert_true(cn_admission_has_time(200000));
}

static void two_processes_may_be_a_moment_apart(void **state)
{
	take(2);
	cn_admission_ended(1, 1000, true, now);
	cn_admission_ended(1, 1000, true, now - 500);
	take(POSTS);
	answer(5000, 1000, 50000);
	assert_in_range(most_admitted(1), 2700, 3000);
}

static void scenario(void)
{
	if(cn_admission_init(POSTS, 1, CAPACITY, TIMEOUT_US) == 0)
		cn_admission_admits(1, 0, now);
	cn_admission_destroy();
}

static void without_memory_it_does_not_start(void **state)
{
	cn_admission_destroy();
	assert_int_equal(stub_each_allocation(scenario), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_storm_keeps_the_cms_busy_and_sends_each_away_once),
			TEST(it_does_not_matter_how_the_cms_works),
			TEST(all_within_a_second),
			TEST(what_can_be_answered_in_time_is_not_turned_away),
			TEST(a_cms_that_stumbles),
			TEST(a_cms_that_hangs_for_a_while),
			TEST(a_cms_that_becomes_slow),
			TEST(a_cms_that_has_to_warm_up),
			TEST(a_cms_that_needs_long_for_each),
			TEST(who_ignores_retry_after_does_not_push_in),
			TEST(a_storm_has_what_batches_give),
			TEST(a_batch_for_all_that_come_at_once),
			TEST(without_an_answer_nobody_is_turned_away),
			TEST(but_not_for_long),
			TEST(the_queue_is_as_long_as_there_is_time),
			TEST(a_free_connection_is_used_however_slow_the_cms_is),
			TEST(what_has_been_is_no_reason_to_turn_a_crowd_away),
			TEST(a_first_answer_that_is_late_is_no_reason),
			TEST(what_is_sent_again_is_under_way),
			TEST(the_end_of_the_queue_is_for_those_that_were_sent_away),
			TEST(who_comes_late_queues_up_anew),
			TEST(who_comes_early_keeps_its_moment),
			TEST(moments_are_as_far_apart_as_the_cms_needs),
			TEST(an_absent_cms_does_not_make_the_line_longer),
			TEST(the_shortest_and_the_longest),
			TEST(a_post_needs_the_time_that_posts_need),
			TEST(two_processes_may_be_a_moment_apart),
			TEST(without_memory_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
