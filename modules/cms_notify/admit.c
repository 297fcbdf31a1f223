/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Measures how fast the CMS takes events, and keeps the line of who comes back when.
 * In SIP workers, HTTP and verdict processes. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "admit.h"
#include "admit_reservation.h"

/* Whether an event is in time depends on what the CMS does now. When a device
 * should come back depends on what it usually does: a stumble of some seconds
 * must not send devices away for minutes. */
#define CN_NOW_US 1e6
#define CN_USUAL_US 10e6
/* A queue begins to be measured with as much of what is guessed from the time of
 * a POST: its first answer may come late, which does not mean that all do. */
#define CN_BEGIN_US 0.1e6
/* How much of what is not measured yet is guessed from the time of a POST. */
#define CN_GUESS_US 0.5e6
#define CN_POST_UNKNOWN_US 50000
/* Weight of the newest answer in that mean: 1 in 16. */
#define CN_MEAN_SHIFT 4

/* The share of the deadline that may pass before the answer: 3/4, since some
 * answers take longer than others. */
#define CN_IN_TIME(us) ((us) - (us) / 4)
/* Without an answer for a quarter of that time the CMS is slower than thought. */
#define CN_SILENCE(us) ((us) / 4)
/* What waits at least while devices are told to come back: the first third of
 * the queue, since Retry-After is in whole seconds and the CMS must have work
 * until they come. */
#define CN_RESERVE(us) ((us) / 3)
/* A device comes so much before its moment, by the same rounding, ... */
#define CN_EARLY_US 1000000
/* ... and after this it has to queue up anew. Most cameras come back after an
 * interval of their own, a minute or more, whatever they were told. */
#define CN_LATE_US 300000000

/* Events that ended while others waited, and how long that took; the older, the
 * less it counts. */
struct drain
{
	double events;
	double us;
};

static struct
{
	gen_lock_t lock;
	int posts;
	int batch;
	int capacity;
	int64_t in_time_us;
	int64_t reserve_us;
	int under_way;				/* events */
	int busy;					/* POSTs */
	bool waiting;				/* when the latest one ended, others waited */
	int64_t began_us, ended_us; /* the latest one */
	double mean_us;				/* of an answered POST; 0: none yet */
	double mean_events;			/* of the same */
	struct drain now;			/* answered or not */
	struct drain usual;			/* answered */
	int64_t next_us;			/* the first moment that is not given away */
} * load;

int cn_admission_init(int posts, int batch, int capacity, int64_t timeout_us)
{
	load = shm_malloc(sizeof(*load));
	if(load == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(load, 0, sizeof(*load));
	load->posts = posts;
	load->batch = batch;
	load->capacity = capacity;
	if(lock_init(&load->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		return -1;
	}
	cn_admission_set_timeout(timeout_us);
	return cn_reservation_init();
}

void cn_admission_destroy(void)
{
	cn_reservation_destroy();
	if(load)
		shm_free(load);
	load = NULL;
}

void cn_admission_set_timeout(int64_t timeout_us)
{
	lock_get(&load->lock);
	load->in_time_us = CN_IN_TIME(timeout_us);
	load->reserve_us = CN_RESERVE(load->in_time_us);
	lock_release(&load->lock);
}

static void note_post(int events, int64_t us)
{
	int weight = load->mean_us == 0 ? 1 : 1 << CN_MEAN_SHIFT;

	load->mean_us += (us - load->mean_us) / weight;
	load->mean_events += (events - load->mean_events) / weight;
}

static void add(struct drain *d, int events, double us, double memory_us)
{
	double fade = 1 / (1 + us / memory_us);

	d->events = d->events * fade + events;
	d->us = d->us * fade + us;
}

void cn_admission_began(int events, int posts, int64_t now_us)
{
	lock_get(&load->lock);
	load->under_way += events;
	load->posts = posts;
	load->busy++;
	load->began_us = now_us;
	lock_release(&load->lock);
}

void cn_admission_ended(
		int events, int64_t answered_us, bool waiting, int64_t now_us)
{
	double us;

	lock_get(&load->lock);
	load->under_way -= events;
	load->busy--;
	/* of two processes the later one may be here first */
	us = now_us > load->ended_us ? now_us - load->ended_us : 0;
	if(load->waiting) {
		add(&load->now, events, us, CN_NOW_US);
		if(answered_us >= 0)
			add(&load->usual, events, us, CN_USUAL_US);
	}
	/* The queue is empty: how it drained is no reason to turn the next crowd
	 * away. */
	if(!waiting)
		memset(&load->now, 0, sizeof(load->now));
	if(answered_us >= 0)
		note_post(events, answered_us + 1);
	load->waiting = waiting;
	load->ended_us = now_us;
	lock_release(&load->lock);
}

void cn_admission_left(int events)
{
	if(events == 0)
		return;
	lock_get(&load->lock);
	load->under_way -= events;
	lock_release(&load->lock);
}

/* By Little's law, what is under way over the time of one; 0: not known.
 *
 * @param events in each POST */
static double rate_guessed(double events)
{
	return load->mean_us > 0 ? load->posts * events * 1e6 / load->mean_us : 0;
}

/* Events a second that have left the queue of late, 0: not known. The longer it
 * has been measured, the less does the guess count. */
static double rate_measured(void)
{
	const struct drain *d = &load->now;
	double rate, guessed = rate_guessed(load->batch), begin_us = 0;

	if(d->us <= 0)
		return guessed;
	rate = d->events * 1e6 / d->us;
	if(guessed <= rate)
		return rate;
	if(d->us < CN_NOW_US)
		begin_us = CN_BEGIN_US * (1 - d->us / CN_NOW_US);
	return (d->events * 1e6 + guessed * begin_us) / (d->us + begin_us);
}

/* For how long there has been no answer, with all connections taken. */
static int64_t silent_us(int64_t now_us)
{
	int64_t latest =
			load->began_us > load->ended_us ? load->began_us : load->ended_us;

	return load->busy < load->posts ? 0 : now_us - latest;
}

/* Events a second that leave the queue at present, 0: not known. After a long
 * silence less than was measured before. */
static double rate_now(int64_t now_us)
{
	double rate = rate_measured(), most;
	int64_t silent = silent_us(now_us);

	if(silent < CN_SILENCE(load->in_time_us))
		return rate;
	most = load->under_way * 1e6 / silent;
	return rate == 0 || most < rate ? most : rate;
}

/* Events a second that the CMS answers when they wait for it. */
static double rate_usual(void)
{
	double guessed = rate_guessed(load->mean_events);

	if(guessed == 0)
		guessed = load->posts * 1e6 / CN_POST_UNKNOWN_US;
	return (load->usual.events * 1e6 + guessed * CN_GUESS_US)
		   / (load->usual.us + CN_GUESS_US);
}

static bool is_due(const struct cn_reservation *r, int64_t now_us)
{
	return r->due_us != 0 && r->due_us - CN_EARLY_US <= now_us
		   && now_us < r->due_us + CN_LATE_US;
}

/* While others have been told to come back, the thirds of the queue are: for
 * everybody; for those whose moment has come; for those who found no room when
 * it had, whenever they come. Who comes late meets those whose moment it is: the
 * longer a device has waited, the more is open to it. */
static int thirds(const struct cn_reservation *r, int64_t now_us)
{
	if(r->overdue && now_us < r->due_us + CN_LATE_US)
		return 3;
	return is_due(r, now_us) ? 2 : 1;
}

/* Of somebody who has found room before it. */
static void return_moment(
		uint64_t device, struct cn_reservation *r, int64_t now_us)
{
	lock_get(&load->lock);
	load->next_us -= (int64_t)(1e6 / rate_usual());
	lock_release(&load->lock);
	r->due_us = now_us;
	cn_reservation_give(device, *r, now_us - CN_LATE_US);
}

static bool has_place(
		uint64_t device, double ahead, double third, int64_t now_us)
{
	struct cn_reservation r = cn_reservation_of(device);

	if(ahead >= third * thirds(&r, now_us))
		return false;
	if(r.due_us > now_us + CN_EARLY_US)
		return_moment(device, &r, now_us);
	return true;
}

bool cn_admission_admits(uint64_t device, int queued, int64_t now_us)
{
	double rate, ahead, third;
	int64_t in_time_us, reserve_us;
	bool line, is_free;

	lock_get(&load->lock);
	is_free = (int64_t)queued + load->busy < load->posts;
	ahead = (double)queued + load->under_way;
	rate = rate_now(now_us);
	in_time_us = load->in_time_us;
	reserve_us = load->reserve_us;
	/* a short one is no reason to leave places free */
	line = load->next_us - now_us > reserve_us;
	lock_release(&load->lock);
	if(is_free)
		return true;
	if(rate != 0 && ahead * 1e6 / rate >= in_time_us)
		return false;
	if(!line)
		return true;
	third = rate * reserve_us / 1e6;
	if(rate == 0 || third > CN_RESERVE(load->capacity))
		third = CN_RESERVE(load->capacity);
	return has_place(device, ahead - load->posts, third, now_us);
}

bool cn_admission_has_time(int64_t left_us)
{
	double post_us;

	lock_get(&load->lock);
	post_us = load->mean_us;
	lock_release(&load->lock);
	return left_us > 0 && left_us >= post_us;
}

/* One after the other, from the moment on at which those that are there already
 * leave no more than the reserve. */
static int64_t next_moment(int queued, int64_t now_us)
{
	int64_t moment;
	double rate;

	lock_get(&load->lock);
	rate = rate_usual();
	moment = now_us - load->reserve_us
			 + (int64_t)(((double)queued + load->under_way) * 1e6 / rate);
	if(moment < now_us)
		moment = now_us;
	if(moment < load->next_us)
		moment = load->next_us;
	load->next_us = moment + (int64_t)(1e6 / rate);
	lock_release(&load->lock);
	return moment;
}

int64_t cn_admission_reserve(uint64_t device, int queued, int64_t now_us)
{
	struct cn_reservation r = cn_reservation_of(device);

	if(r.due_us <= now_us + CN_EARLY_US) {
		r.overdue = is_due(&r, now_us);
		r.due_us = next_moment(queued, now_us);
		cn_reservation_give(device, r, now_us - CN_LATE_US);
	}
	return cn_policy_ask_again_us(r.due_us - now_us);
}

double cn_admission_rate(void)
{
	double rate;

	lock_get(&load->lock);
	rate = rate_usual();
	lock_release(&load->lock);
	return rate;
}

int64_t cn_admission_line_us(int64_t now_us)
{
	int64_t us;

	lock_get(&load->lock);
	us = load->next_us - now_us;
	lock_release(&load->lock);
	return us > 0 ? us : 0;
}
