/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Plays CMSs of different shapes, in simulated time. There is always an event that
 * waits, so as many POSTs are under way as may be. What comes of it is compared with
 * the best number that never changes, which is found by trying all. */

#include "stubs.h"

#include "http_concurrency.h"

#define SECOND 1000000.0
#define LEAST 2
#define MOST 64
#define UNDER_WAY_MAX 512
#define RUNS 10
/* What counts: from then on, until then. */
#define FROM (10 * SECOND)
#define UNTIL (40 * SECOND)
/* Answers by which a number that never changes is judged; for as long as that takes, or
 * as stalls take to even out. */
#define TRY_ANSWERS 3000

/* A POST takes between half of post_us and half as much again; where they are uneven,
 * every tenth one takes ten times as long. */
struct cms
{
	const char *name;
	double post_us;
	int slots;		/* so many are served at once; 0: all */
	double linear;	/* each further one under way adds this to a POST's time */
	double squared; /* and this, times how many there are */
	double stall_every_us, stall_us; /* it stalls at the end of each such time */
	bool uneven;
	bool rejects; /* at once, what would wait for one of the slots */
};

static const struct cms fast = {.name = "fast", .post_us = 1000, .slots = 4};
static const struct cms slow = {.name = "slow", .post_us = 300000};
static const struct cms limited = {
		.name = "limited", .post_us = 50000, .slots = 10};
static const struct cms more = {
		.name = "less limited", .post_us = 50000, .slots = 30};
static const struct cms slower = {.name = "slower with each connection",
		.post_us = 20000,
		.squared = 0.008};
static const struct cms shared = {.name = "slower with each, but never in all",
		.post_us = 20000,
		.linear = 0.1};
static const struct cms stalls = {.name = "stalls now and then",
		.post_us = 20000,
		.slots = 10,
		.stall_every_us = 5 * SECOND,
		.stall_us = 0.7 * SECOND};

static const struct cms rejects = {.name = "rejects what is too much",
		.post_us = 50000,
		.slots = 10,
		.rejects = true};
static const struct cms two = {.name = "two", .post_us = 50000, .slots = 2};
static const struct cms stalls_often = {.name = "stalls each second",
		.post_us = 20000,
		.slots = 10,
		.stall_every_us = SECOND,
		.stall_us = 0.3 * SECOND};

static const struct cms uneven_slow = {
		.name = "slow, uneven", .post_us = 150000, .uneven = true};
static const struct cms uneven = {.name = "limited, uneven",
		.post_us = 25000,
		.slots = 10,
		.uneven = true};

struct play
{
	const struct cms *first, *then; /* from `change` on */
	double change, from, until;
	int answers; /* or until there are so many; 0: no matter */
	int fixed;	 /* a number that never changes; 0: one that is found */
	int most;
	int events; /* in each POST */
	uint64_t dice;
};

struct result
{
	double rate; /* POSTs a second */
	double us;	 /* of a POST */
	double number;
	double fewest; /* that were allowed at any time */
};

struct post
{
	double left_us, began_us;
	bool rejected;
};

/* one at a time */
static struct
{
	const struct cms *cms;
	double now;
	struct post posts[UNDER_WAY_MAX];
	int under_way;
	struct cn_concurrency c;
} world;

/* How fast the POST goes on that is the i-th oldest. */
static double speed(int i)
{
	const struct cms *cms = world.cms;
	double others = world.under_way - 1;

	if(cms->slots && i >= cms->slots && !cms->rejects)
		return 0;
	return 1
		   / (1 + cms->linear * others
				   + cms->squared * others * world.under_way);
}

/* @return until the next stall ends, less than nothing: until it begins */
static double stall_us(void)
{
	const struct cms *cms = world.cms;
	double at, rest;

	if(cms->stall_us == 0)
		return -1e12;
	rest = cms->stall_every_us
		   * (int64_t)(world.now / cms->stall_every_us);
	at = world.now - rest;
	if(at < cms->stall_every_us - cms->stall_us)
		return at - (cms->stall_every_us - cms->stall_us) - 1;
	return cms->stall_every_us - at + 1;
}

static int served(void)
{
	int count = 0, i;

	for(i = 0; i < world.under_way; i++)
		count += !world.posts[i].rejected;
	return count;
}

static void begin_posts(int number, uint64_t *dice)
{
	while(world.under_way < number) {
		struct post *p = &world.posts[world.under_way++];

		p->began_us = world.now;
		p->rejected = true; /* not served yet */
		p->left_us = world.cms->post_us
					 * (0.5 + stub_random(dice) / (double)UINT32_MAX);
		if(world.cms->uneven && stub_random(dice) % 10 == 0)
			p->left_us *= 10;
		p->rejected = world.cms->rejects && served() >= world.cms->slots;
		if(p->rejected)
			p->left_us = 1000;
	}
}

/* Until the next answer, or a stall. */
static void pass_time(void)
{
	double stall = stall_us(), us = stall < 0 ? -stall : stall;
	int i;

	for(i = 0; stall < 0 && i < world.under_way; i++) {
		double v = speed(i);

		if(v > 0 && world.posts[i].left_us / v < us)
			us = world.posts[i].left_us / v;
	}
	for(i = 0; stall < 0 && i < world.under_way; i++)
		world.posts[i].left_us -= us * speed(i);
	world.now += us;
}

/* Answers that have come, to `ended`. */
static int take_ended(struct post *ended)
{
	int count = 0, left = 0, i;

	for(i = 0; i < world.under_way; i++) {
		if(world.posts[i].left_us <= 1e-6)
			ended[count++] = world.posts[i];
		else
			world.posts[left++] = world.posts[i];
	}
	world.under_way = left;
	return count;
}

static void answer(const struct post *post, int events, bool waiting)
{
	const struct cn_concurrency_answer a = {.began_us = (int64_t)post->began_us,
			.ended_us = (int64_t)world.now,
			.events = events,
			.waiting = waiting};

	cn_concurrency_answered(&world.c, &a);
	assert_in_range(world.c.number, world.c.rungs[world.c.count - 1].number,
			world.c.rungs[0].number);
}

static void answer_all(struct play *p, struct result *r)
{
	struct post ended[UNDER_WAY_MAX];
	int count = take_ended(ended), i;

	for(i = 0; i < count; i++) {
		if(world.now > p->from && !ended[i].rejected) {
			r->rate++;
			r->us += world.now - ended[i].began_us;
		}
		if(p->fixed == 0)
			answer(&ended[i],
					ended[i].rejected ? 0
					: p->events		  ? p->events
									  : 1,
					true);
	}
}

static struct result play(struct play p)
{
	struct result r = {.fewest = UNDER_WAY_MAX};
	double before;

	world.now = world.under_way = 0;
	cn_concurrency_init(&world.c, LEAST, p.most ? p.most : MOST);
	while(world.now < p.until && (p.answers == 0 || r.rate < p.answers)) {
		int number = p.fixed ? p.fixed : world.c.number;

		world.cms = p.then && world.now >= p.change ? p.then : p.first;
		begin_posts(number, &p.dice);
		before = world.now;
		pass_time();
		if(world.now > p.from)
			r.number += number * (world.now - before);
		if(number < r.fewest)
			r.fewest = number;
		answer_all(&p, &r);
	}
	r.us /= r.rate;
	r.rate *= SECOND / (world.now - p.from);
	r.number /= world.now - p.from;
	return r;
}

/* The fewest whose rate is within a hundredth of the highest. */
static struct result best_fixed(const struct cms *cms, int most)
{
	struct result r[UNDER_WAY_MAX + 1], best = {0};
	int n;

	for(n = LEAST; n <= most; n++) {
		r[n] = play((struct play){.first = cms,
				.fixed = n,
				.from = cms->stall_every_us,
				.until = cms->stall_us ? 3 * cms->stall_every_us
									   : 1000 * SECOND,
				.answers = cms->stall_us ? 0 : TRY_ANSWERS,
				.dice = 1});
		if(r[n].rate > best.rate)
			best = r[n];
	}
	for(n = LEAST; r[n].rate < best.rate * 0.99; n++)
		;
	r[n].rate = best.rate;
	return r[n];
}

/* In the mean of the runs; no run may be far off.
 *
 * @param rate at least so much of the best one's
 * @param time at most so many times that of the best one */
static void assert_as_good(
		struct play p, const struct cms *cms, double rate, double time)
{
	struct result best = best_fixed(cms, MOST), mean = {0};
	int i;

	for(i = 0; i < RUNS; i++) {
		struct result r;

		p.dice = 1000 + i;
		r = play(p);
		assert_true(r.rate > best.rate * 0.7);
		assert_true(r.us < best.us * 2);
		mean.rate += r.rate / RUNS;
		mean.us += r.us / RUNS;
		mean.number += r.number / RUNS;
	}
	print_message("%s: best %.0f connections, %.0f/s, %.1f ms; found %.1f "
				  "connections, %.3f of the rate, %.2f of the time\n",
			cms->name, best.number, best.rate, best.us / 1000, mean.number,
			mean.rate / best.rate, mean.us / best.us);
	assert_true(mean.rate >= best.rate * rate);
	assert_true(mean.us <= best.us * time);
}

static void is_as_good_as_the_best_fixed_number(const struct cms *cms)
{
	assert_as_good((struct play){.first = cms, .from = FROM, .until = UNTIL},
			cms, 0.95, 1.2);
}

static void at_a_fast_cms(void **state)
{
	is_as_good_as_the_best_fixed_number(&fast);
}

static void at_a_slow_cms(void **state)
{
	is_as_good_as_the_best_fixed_number(&slow);
}

static void at_a_limited_cms(void **state)
{
	is_as_good_as_the_best_fixed_number(&limited);
}

static void at_a_cms_that_each_connection_slows(void **state)
{
	is_as_good_as_the_best_fixed_number(&slower);
}

static void at_a_cms_that_rejects(void **state)
{
	is_as_good_as_the_best_fixed_number(&rejects);
}

/* More connections always pay, but ever less: fewer are good enough, and quicker. */
static void at_a_cms_that_connections_share(void **state)
{
	assert_as_good(
			(struct play){.first = &shared, .from = FROM, .until = UNTIL},
			&shared, 0.92, 1.2);
}

static void at_a_cms_that_stalls(void **state)
{
	is_as_good_as_the_best_fixed_number(&stalls);
}

/* Where many answers are needed to tell chance from loss, nothing is lost meanwhile:
 * there are too many connections for longer. */
static void loses_nothing(struct play p, const struct cms *cms)
{
	struct result best = best_fixed(cms, MOST), mean = {0}, r;
	int i;

	for(i = 0; i < RUNS; i++) {
		p.dice = 1000 + i;
		r = play(p);
		mean.rate += r.rate / RUNS;
		mean.number += r.number / RUNS;
	}
	print_message("%s: best %.0f/s; found %.1f connections, %.3f of the rate\n",
			cms->name, best.rate, mean.number, mean.rate / best.rate);
	assert_true(mean.rate >= best.rate * 0.9);
}

static void at_a_slow_cms_whose_times_vary_much(void **state)
{
	loses_nothing(
			(struct play){.first = &uneven_slow, .from = FROM, .until = UNTIL},
			&uneven_slow);
}

static void at_a_limited_cms_whose_times_vary_much(void **state)
{
	loses_nothing(
			(struct play){.first = &uneven, .from = FROM, .until = UNTIL},
			&uneven);
}

/* -------- the CMS changes -------- */

/* It is found again within 15 s. */
static void changes(const struct cms *first, const struct cms *then)
{
	assert_as_good((struct play){.first = first,
						   .then = then,
						   .change = 30 * SECOND,
						   .from = 45 * SECOND,
						   .until = 75 * SECOND},
			then, 0.95, 1.4);
}

static void it_serves_more_at_once(void **state)
{
	changes(&limited, &more);
}

static void it_serves_fewer_at_once(void **state)
{
	changes(&more, &limited);
}

static void it_becomes_slow(void **state)
{
	changes(&limited, &slow);
}

/* What it is only seldom seen at work does not keep it at the fewest. */
static void it_serves_more_and_stalls_often(void **state)
{
	loses_nothing((struct play){.first = &two,
						  .then = &stalls_often,
						  .change = 30 * SECOND,
						  .from = 40 * SECOND,
						  .until = 70 * SECOND},
			&stalls_often);
}

static void it_becomes_fast(void **state)
{
	changes(&slow, &fast);
}

/* -------- other things -------- */

static void a_batch_is_one_post(void **state)
{
	struct result r = play((struct play){.first = &limited,
			.from = FROM,
			.until = UNTIL,
			.events = 50,
			.dice = 1});

	assert_true(r.number > 9.5 && r.number < 12);
}

static void streams_are_as_many_as_are_useful(void **state)
{
	struct result r = play((struct play){.first = &limited,
			.from = 4 * FROM,
			.until = 2 * UNTIL,
			.most = UNDER_WAY_MAX,
			.dice = 1});

	assert_true(r.number > 9.5 && r.number < 13);
}

/* No trial with just a few, to see how fast the CMS might be. */
static void no_trial_throttles(void **state)
{
	struct result r = play((struct play){
			.first = &slow, .until = UNTIL, .dice = 1});

	assert_in_range((int)r.fewest, MOST * 2 / 3, MOST);
	r = play((struct play){.first = &limited, .until = UNTIL, .dice = 1});
	assert_in_range((int)r.fewest, 4, 10);
}

static void it_begins_with_the_most(void **state)
{
	cn_concurrency_init(&world.c, LEAST, MOST);
	assert_int_equal(world.c.number, MOST);
	assert_true(cn_concurrency_is_idle(&world.c));
}

static void what_does_not_wait_changes_nothing(void **state)
{
	struct post post = {.left_us = 0};
	int i;

	play((struct play){.first = &limited, .until = 2 * FROM, .dice = 1});
	post.began_us = world.now;
	answer(&post, 1, false);
	assert_true(cn_concurrency_is_idle(&world.c));
	assert_int_equal(world.c.at, world.c.home);
	assert_in_range(world.c.number, 9, 13);
	for(i = 0; i < 100000; i++) {
		struct cn_concurrency before = world.c;

		post.began_us = world.now;
		world.now += i % 2 ? 500000 : 100;
		answer(&post, 1, i % 10 == 0);
		assert_int_equal(world.c.number, before.number);
	}
}

static void who_only_fails_changes_nothing(void **state)
{
	struct post post = {.left_us = 0};
	int i;

	cn_concurrency_init(&world.c, LEAST, MOST);
	for(i = 0; i < 100000; i++) {
		post.began_us = world.now;
		world.now += 10000;
		answer(&post, 0, true);
		assert_int_equal(world.c.number, MOST);
	}
}

static void one_is_all_there_may_be(void **state)
{
	struct post post = {.left_us = 0};
	int i;

	cn_concurrency_init(&world.c, 1, 1);
	for(i = 0; i < 100000; i++) {
		post.began_us = world.now;
		world.now += 10000;
		answer(&post, 1, true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(at_a_fast_cms),
			cmocka_unit_test(at_a_slow_cms),
			cmocka_unit_test(at_a_limited_cms),
			cmocka_unit_test(at_a_cms_that_each_connection_slows),
			cmocka_unit_test(at_a_cms_that_rejects),
			cmocka_unit_test(at_a_cms_that_connections_share),
			cmocka_unit_test(at_a_cms_that_stalls),
			cmocka_unit_test(at_a_slow_cms_whose_times_vary_much),
			cmocka_unit_test(at_a_limited_cms_whose_times_vary_much),
			cmocka_unit_test(it_serves_more_at_once),
			cmocka_unit_test(it_serves_fewer_at_once),
			cmocka_unit_test(it_becomes_slow),
			cmocka_unit_test(it_serves_more_and_stalls_often),
			cmocka_unit_test(it_becomes_fast),
			cmocka_unit_test(a_batch_is_one_post),
			cmocka_unit_test(streams_are_as_many_as_are_useful),
			cmocka_unit_test(no_trial_throttles),
			cmocka_unit_test(it_begins_with_the_most),
			cmocka_unit_test(what_does_not_wait_changes_nothing),
			cmocka_unit_test(who_only_fails_changes_nothing),
			cmocka_unit_test(one_is_all_there_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
