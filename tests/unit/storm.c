/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "storm.h"

#include "admit.h"
#include "admit_reservation.h"
#include "base_policy.h"

#define BATCH_MAX 50
#define DEVICES_MAX 100000
#define STEP_US 1000
#define STEPS_MAX (1200 * 1000)

int64_t now = 1000 * (int64_t)SECOND;

void begin_anew(int batch)
{
	cn_admission_destroy();
	assert_int_equal(cn_admission_init(POSTS, batch, CAPACITY, TIMEOUT_US), 0);
}

int start(void **state)
{
	begin_anew(1);
	return 0;
}

int end(void **state)
{
	cn_admission_destroy();
	cn_admission_destroy(); /* twice is allowed */
	return stub_shm_blocks() == 0 ? 0 : -1;
}

uint64_t device(int n)
{
	char name[32];
	str s = {name, snprintf(name, sizeof(name), "d%d@sip.example.com", n)};

	return cn_reservation_device(&s);
}

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
	int64_t promised[DEVICES_MAX]; /* the first moment that it was given; 0: none */
	int most;
	uint64_t dice;
} play;

enum kind
{
	PATIENT,
	HASTY,
	FIXED,
	GONE
};

static enum kind kind_of(int d)
{
	const struct fleet *fleet = &play.s->fleet;
	int n = d % 100;

	if(n < fleet->hasty)
		return HASTY;
	if(n < fleet->hasty + fleet->fixed)
		return FIXED;
	return n < fleet->hasty + fleet->fixed + fleet->gone ? GONE : PATIENT;
}

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
	int64_t pause = cn_policy_retry_after(wait, 0, dice) * (int64_t)SECOND;

	switch(kind_of(d)) {
		case PATIENT:
			break;
		case HASTY:
			pause = 2 * SECOND;
			break;
		case FIXED:
			pause = 60 * SECOND + d * 7919 % 30000 * (int64_t)STEP_US;
			break;
		case GONE:
			play.s->gone++;
			return;
	}
	if(play.refusals[d]++ == 0)
		play.promised[d] = cn_reservation_of(device(d)).due_us;
	/* after the way there and back */
	comes_at(d, now + pause + 2 * STEP_US);
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

static void comes_on_line(int d)
{
	int64_t late_us = play.promised[d] ? now - play.promised[d] : 0;
	int64_t *most_us = kind_of(d) == FIXED ? &play.s->fixed_late_us
										   : &play.s->patient_late_us;

	play.s->on_line++;
	if(kind_of(d) != HASTY && late_us > *most_us)
		*most_us = late_us;
}

static void end_posts(void)
{
	int i, k;

	for(i = 0; i < play.under_way;) {
		struct post *p = &play.posts[i];
		bool late = end_late(p);

		if(p->done > now && !late) {
			i++;
			continue;
		}
		play.in_service -= p->done != INT64_MAX;
		for(k = 0; k < p->count; k++) {
			if(p->devices[k] >= 0)
				comes_on_line(p->devices[k]);
		}
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
		cn_admission_began(p->count, POSTS, now);
	}
}

static int compare(const void *a, const void *b)
{
	return *(const unsigned short *)a - *(const unsigned short *)b;
}

/* Sorts them. */
static unsigned short percentile(unsigned short *refusals, int n, int percent)
{
	qsort(refusals, n, sizeof(refusals[0]), compare);
	return refusals[percent == 100 ? n - 1 : n / 100 * percent];
}

static void count_refusals(void)
{
	static unsigned short patient[DEVICES_MAX];
	struct storm *s = play.s;
	int d, n = 0;

	for(d = 0; d < s->devices; d++) {
		if(kind_of(d) == PATIENT)
			patient[n++] = play.refusals[d];
	}
	if(n > 0) {
		s->patient_p99_refusals = percentile(patient, n, 99);
		s->patient_most_refusals = percentile(patient, n, 100);
	}
	s->p50_refusals = percentile(play.refusals, s->devices, 50);
	s->p99_refusals = percentile(play.refusals, s->devices, 99);
	s->most_refusals = percentile(play.refusals, s->devices, 100);
}

void run(struct storm *s)
{
	int step, d, next;

	memset(&play, 0, sizeof(play));
	memset(play.first, -1, sizeof(play.first));
	play.s = s;
	play.dice = 1;
	play.began = now;
	for(d = 0; d < s->devices; d++)
		comes_at(d, now + s->within_us * d / s->devices);
	for(step = 0; step < STEPS_MAX && s->on_line + s->gone < s->devices; step++) {
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
