/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Finds the number of POSTs that a CMS works best with. In the HTTP processes. */

#include "http_concurrency.h"

#define CN_LADDER 1.2
/* How far away the first trial is, and each at the most: half as many. */
#define CN_STRIDE 2
#define CN_STRIDE_MAX 4
/* Windows between two trials. */
#define CN_REST 3
/* A window has at least as many answers, and as many as may be under way; it takes at
 * least as long, at most that long. */
#define CN_WINDOW_POSTS 32
#define CN_WINDOW_US 200000
#define CN_WINDOW_LONG_US 4000000
/* In between it ends when the mean time is known as well as this, or a third of what
 * it would have to differ for another result. */
#define CN_ERROR 0.03
#define CN_CLEAR 3
/* What a window counts in what is kept of its rung. */
#define CN_WEIGHT 0.25
/* If the time with a rung differs by more, the CMS has changed. */
#define CN_LARGE 0.5
/* No answer for so many times the time of a POST: the CMS has stalled. */
#define CN_STALL 4

/* What was sent with another number under way does not count. */
static void begin_window(struct cn_concurrency *c)
{
	c->skip = 2 * c->number;
	c->posts = 0;
}

static void use(struct cn_concurrency *c, int at)
{
	c->posts = 0;
	if(at == c->at)
		return;
	c->at = at;
	c->number = c->rungs[at].number;
	begin_window(c);
}

static int below(int number, int least)
{
	int next = (int)(number / CN_LADDER);

	if(next == number)
		next--;
	return next > least ? next : least;
}

void cn_concurrency_init(struct cn_concurrency *c, int least, int most)
{
	int number = most;

	*c = (struct cn_concurrency){
			.number = most, .stride = CN_STRIDE, .count = 1};
	c->rungs[0].number = most;
	while(number > least && c->count < CN_RUNGS_MAX) {
		number = below(number, least);
		c->rungs[c->count++].number = number;
	}
	begin_window(c);
}

/* -------- which rung -------- */

/* rate^5 / time; the rate by Little's law. 0: not known. */
static double score(const struct cn_rung *rung)
{
	double rate = rung->us > 0 ? rung->number / rung->us : 0;

	return rate > 0 ? rate * rate * rate * rate * rate / rung->us : 0;
}

static int best(const struct cn_concurrency *c)
{
	int found = c->at, i;

	for(i = 0; i < c->count; i++) {
		if(score(&c->rungs[i]) > score(&c->rungs[found]))
			found = i;
	}
	return found;
}

static void turn(struct cn_concurrency *c)
{
	c->stride = c->stride / 2 ? -c->stride / 2 : -c->stride;
	c->rest = CN_REST;
}

static int next_trial(struct cn_concurrency *c)
{
	int at = c->at + c->stride;

	if(c->rest-- > 0)
		return c->at;
	at = at < 0 ? 0 : at < c->count ? at : c->count - 1;
	if(at == c->at)
		turn(c);
	return at;
}

static int next(struct cn_concurrency *c)
{
	int found = best(c);

	if(found != c->at) {
		turn(c);
	} else if(found != c->home) {
		if(c->stride < CN_STRIDE_MAX && c->stride > -CN_STRIDE_MAX)
			c->stride *= 2;
		c->rest = 0;
	}
	c->home = found;
	return found == c->at ? next_trial(c) : found;
}

/* One that has become slow may need more. */
static void forget(struct cn_concurrency *c, bool slower)
{
	int i;

	for(i = 0; i < c->count; i++)
		c->rungs[i].us = 0;
	c->home = c->at;
	c->stride = slower ? -CN_STRIDE : CN_STRIDE;
	c->rest = 0;
}

static double difference(double a, double b)
{
	return a > b ? a / b - 1 : b / a - 1;
}

static void end_window(struct cn_concurrency *c)
{
	struct cn_rung *rung = &c->rungs[c->at];
	double us = c->us / c->events;

	if(rung->us > 0 && difference(us, rung->us) > CN_LARGE)
		forget(c, us > rung->us);
	rung->us = rung->us > 0 ? rung->us + CN_WEIGHT * (us - rung->us) : us;
	use(c, next(c));
}

/* -------- answers -------- */

bool cn_concurrency_is_idle(const struct cn_concurrency *c)
{
	return c->ended_us == 0;
}

static bool has_stalled(const struct cn_concurrency *c, int64_t now_us)
{
	return c->ended_us && c->post_us > 0
		   && now_us - c->ended_us > CN_STALL * c->post_us;
}

/* By how much the time could be another one without another result. */
static double margin(const struct cn_concurrency *c)
{
	struct cn_rung now = {c->number, c->us / c->events};
	double other = score(&c->rungs[c->home]);

	if(other == 0 || c->at == c->home)
		return 0;
	return difference(score(&now), other) / 6;
}

/* Are these answers enough? */
static bool is_sure(const struct cn_concurrency *c)
{
	double mean = c->us / c->posts, error = margin(c) / CN_CLEAR;
	double variance = c->squares / c->posts / (mean * mean) - 1;

	if(error < CN_ERROR)
		error = CN_ERROR;
	return c->posts * error * error >= variance;
}

static void count(
		struct cn_concurrency *c, const struct cn_concurrency_answer *answer)
{
	double us = answer->ended_us - answer->began_us;

	if(c->posts == 0) {
		c->since_us = answer->ended_us;
		c->events = c->us = c->squares = 0;
	}
	c->posts++;
	c->events += answer->events;
	c->us += us;
	c->squares += us * us;
}

void cn_concurrency_answered(
		struct cn_concurrency *c, const struct cn_concurrency_answer *answer)
{
	int64_t now_us = answer->ended_us, took_us;
	bool stalled = has_stalled(c, now_us);

	c->ended_us = answer->waiting ? now_us : 0;
	if(!answer->waiting) {
		use(c, c->home);
		begin_window(c);
		return;
	}
	if(stalled) {
		c->skip = 2 * c->number;
		c->post_us *= 2; /* unless it has only become slower */
	}
	if(c->skip > 0) {
		c->skip--;
		return;
	}
	count(c, answer);
	took_us = now_us - c->since_us;
	if(c->posts < CN_WINDOW_POSTS || c->posts < c->number
			|| took_us < CN_WINDOW_US || c->us <= 0)
		return;
	if(!is_sure(c) && took_us < CN_WINDOW_LONG_US)
		return;
	c->post_us = c->us / c->posts;
	if(c->events > 0)
		end_window(c);
	else /* it only fails */
		c->posts = 0;
}
