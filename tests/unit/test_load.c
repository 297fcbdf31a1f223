/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "cn_load.h"
#include "cn_policy.h"
#include "cn_ticket.h"

#define SECOND 1000000
#define TIMEOUT_US (4 * SECOND)
#define POSTS 64
#define CAPACITY (8192 + POSTS)
#define DEVICES_MAX 100000
#define STEP_US 1000
#define STEPS_MAX (1200 * 1000)

static int64_t now = 1000 * (int64_t)SECOND;

static void begin_anew(int posts, int capacity)
{
	cn_load_destroy();
	assert_int_equal(cn_load_init(posts, capacity, TIMEOUT_US), 0);
}

static int start(void **state)
{
	begin_anew(POSTS, CAPACITY);
	return 0;
}

static int end(void **state)
{
	cn_load_destroy();
	cn_load_destroy(); /* twice is allowed */
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static uint64_t device(int n)
{
	char name[32];
	str s = {name, snprintf(name, sizeof(name), "d%d@sip.example.com", n)};

	return cn_ticket_device(&s);
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

	/* what came of it */
	int on_line, most_refusals, p50_refusals, p99_refusals, in_vain, wasted;
	int patient_most_refusals;
	int64_t lasted_us, idle_us; /* the CMS could have had more to do */
};

struct post
{
	int device;
	int64_t came, began, done; /* done: INT64_MAX: not yet, or never */
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
	int64_t wait = cn_load_reserve(device(d), play.queued, now);
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
			|| !cn_load_admits(device(d), play.queued, now)) {
		is_refused(d);
		return;
	}
	play.queue[place] = d;
	play.queued_since[place] = now;
	play.queued++;
}

static int64_t service_us(void)
{
	const struct storm *s = play.s;
	int64_t at = now - play.began;

	if(at < s->slow_since_us || at >= s->slow_until_us)
		return s->post_us;
	return s->factor * s->post_us;
}

/* What the CMS takes up next: the oldest that is not being served. */
static void serve(void)
{
	while(play.in_service < play.s->slots) {
		struct post *oldest = NULL;
		int64_t us = service_us();
		int i;

		for(i = 0; us > 0 && i < play.under_way; i++) {
			struct post *p = &play.posts[i];

			if(p->done == INT64_MAX && (!oldest || p->began < oldest->began))
				oldest = p;
		}
		if(oldest == NULL)
			break;
		oldest->done = now + us;
		play.in_service++;
	}
}

static void end_posts(void)
{
	int i;

	for(i = 0; i < play.under_way;) {
		struct post p = play.posts[i];
		bool late = now - p.came >= TIMEOUT_US;

		if(p.done > now && !late) {
			i++;
			continue;
		}
		play.in_service -= p.done != INT64_MAX;
		play.posts[i] = play.posts[--play.under_way];
		cn_load_ended(late ? -1 : now - p.began, play.queued > 0, now);
		if(late) {
			play.s->in_vain++;
			play.s->wasted++;
			is_refused(p.device);
		} else {
			play.s->on_line++;
		}
	}
}

static void begin_posts(void)
{
	while(play.queued > 0) {
		int at = play.queue_head;
		int64_t left = play.queued_since[at] + TIMEOUT_US - now;
		bool late = !cn_load_has_time(left);

		if(play.under_way == POSTS && !late)
			break;
		play.queue_head = (at + 1) % CAPACITY;
		play.queued--;
		if(late) {
			play.s->in_vain++;
			is_refused(play.queue[at]);
			continue;
		}
		/* its deadline counts from when it came */
		play.posts[play.under_way++] = (struct post){
				play.queue[at], play.queued_since[at], now, INT64_MAX};
		cn_load_began(now);
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
		s->idle_us += STEP_US * (s->slots - play.in_service) / s->slots;
	}
	s->lasted_us = now - play.began;
	count_refusals();
	if(getenv("STORM"))
		fprintf(stderr,
				"on line %d after %.1f s, idle %.1f s; refusals: %d, 99 %% %d, "
				"most %d (patient %d), in vain %d, wasted %d\n",
				s->on_line, s->lasted_us / 1e6, s->idle_us / 1e6,
				s->p50_refusals, s->p99_refusals, s->most_refusals,
				s->patient_most_refusals, s->in_vain, s->wasted);
}

/* 1,000 a second */
#define USUAL .devices = 100000, .within_us = 60 * SECOND, .slots = 50,        \
			  .post_us = 50000

static void t1(void **state)
{
	struct storm s = {USUAL};
	run(&s);
}
static void t1b(void **state)
{
	struct storm s = {.devices = 100000, .within_us = 60 * SECOND, .slots = 64, .post_us = 64000};
	run(&s);
}
static void t1c(void **state)
{
	struct storm s = {.devices = 100000, .within_us = 60 * SECOND, .slots = 1, .post_us = 1000};
	run(&s);
}
static void t2(void **state)
{
	struct storm s = {USUAL}; s.within_us = SECOND;
	run(&s);
}
static void t3(void **state)
{
	struct storm s = {USUAL, .slow_since_us = 20*SECOND, .slow_until_us=30*SECOND, .factor=5};
	run(&s);
}
static void t4(void **state)
{
	struct storm s = {USUAL, .slow_since_us = 20*SECOND, .slow_until_us=1000*SECOND, .factor=5};
	run(&s);
}
static void t5(void **state)
{
	struct storm s = {USUAL, .slow_since_us = 0*SECOND, .slow_until_us=30*SECOND, .factor=5};
	run(&s);
}
static void t6(void **state)
{
	struct storm s = {USUAL, .slow_since_us = 20*SECOND, .slow_until_us=30*SECOND, .factor=0};
	run(&s);
}
static void t7(void **state)
{
	struct storm s = {USUAL, .hasty=20};
	run(&s);
}
static void t8(void **state)
{
	struct storm s = {.devices = 5000, .within_us = SECOND, .slots = 100, .post_us = 2000000};
	run(&s);
}
static void t9(void **state)
{
	struct storm s = {.devices = 3000, .within_us = SECOND, .slots = 50, .post_us = 50000};
	run(&s);
}
#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(t1),TEST(t1b),TEST(t1c),TEST(t2),TEST(t3),TEST(t4),TEST(t5),TEST(t6),TEST(t7),TEST(t8),TEST(t9)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
