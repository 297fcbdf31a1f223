/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Two rings of steps: those of devices that were let in, and those that the script
 * has refused, so that no flood of strangers pushes out what is known of devices.
 * In every process. */

#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "base_history.h"

#define CN_HOUR_S 3600
/* Of the last steps of a device so many may be counted again. */
#define CN_ALIKE 4
/* Steps in a chain, of other devices among them, that are looked at for the last one
 * of a device; for all. */
#define CN_HOPS 8
#define CN_HOPS_READ 4096
/* Devices of which nothing is known take so much of their ring in a second: it
 * takes minutes to push the others out. */
#define CN_STRANGERS 256

/* Found by its number: what has another one has been overwritten. */
struct record
{
	uint64_t number; /* from 1; 0: it is being written */
	uint32_t back;	 /* so many numbers before is the next one of the chain */
	struct cn_step step;
};

_Static_assert(sizeof(struct record) == 128, "two lines of the cache");

struct ring
{
	gen_lock_t lock;
	unsigned size;
	unsigned mask;		/* of the chains */
	uint64_t last;		/* number */
	int64_t second;		/* of the last step of a stranger */
	unsigned strangers; /* within it */
	uint64_t *newest;	/* of each chain; 0: it is empty */
	struct record records[];
};

static struct
{
	struct ring *devices;
	struct ring *refused;
	uint64_t base;
} history_;

static const char *const names[] = {
#define CN_X(name, text) text,
		CN_STEPS(CN_X)
#undef CN_X
};

static struct ring *new_ring(unsigned size)
{
	unsigned chains = 1;
	struct ring *ring;
	size_t bytes;

	while(chains < size)
		chains *= 2;
	bytes = sizeof(*ring) + size * sizeof(struct record)
			+ chains * sizeof(uint64_t);
	ring = shm_mallocxz(bytes);
	if(ring == NULL || lock_init(&ring->lock) == NULL) {
		LM_ERR("history is %u, there is no room for it in shared memory: lower "
			   "it, or increase that (kamailio -m)\n",
				size);
		if(ring)
			shm_free(ring);
		return NULL;
	}
	ring->size = size;
	ring->mask = chains - 1;
	ring->newest = (uint64_t *)&ring->records[size];
	return ring;
}

int cn_history_init(int size, const char *secret)
{
	if(size == 0)
		return 0;
	history_.base = cn_digest(CN_DIGEST_BASE, secret, strlen(secret));
	history_.devices = new_ring(size);
	if(history_.devices)
		history_.refused = new_ring(size / 4 + 1);
	return history_.refused ? 0 : -1;
}

void cn_history_destroy(void)
{
	if(history_.devices)
		shm_free(history_.devices);
	if(history_.refused)
		shm_free(history_.refused);
	memset(&history_, 0, sizeof(history_));
}

const char *cn_step_name(int kind)
{
	return kind < CN_STEP_COUNT ? names[kind] : "";
}

void cn_step_set_text(struct cn_step *step, const char *text, int len)
{
	memset(step->text, 0, sizeof(step->text));
	if(len > (int)sizeof(step->text))
		len = sizeof(step->text);
	if(len > 0)
		memcpy(step->text, text, len);
}

static unsigned digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

void cn_step_set_id(struct cn_step *step, const str *id)
{
	int i;

	if(id->len != 2 * CN_STEP_ID)
		return;
	for(i = 0; i < CN_STEP_ID; i++)
		step->id[i] = digit(id->s[2 * i]) << 4 | (digit(id->s[2 * i + 1]) & 15);
}

uint64_t cn_history_device(const str *key)
{
	uint64_t hash;

	if(history_.devices == NULL || key->len == 0)
		return 0;
	hash = cn_digest(history_.base, key->s, key->len);
	return hash ^ hash >> 29;
}

static int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* -------- finding, without the lock: what is found may be gone -------- */

static struct record *at(struct ring *ring, uint64_t number)
{
	return &ring->records[number % ring->size];
}

static bool is_there(struct ring *ring, uint64_t number)
{
	return number != 0
		   && __atomic_load_n(&at(ring, number)->number, __ATOMIC_ACQUIRE)
					  == number;
}

static uint64_t *chain_of(struct ring *ring, uint64_t device)
{
	return &ring->newest[device & ring->mask];
}

/* The one behind in the chain. @return 0: there is none */
static uint64_t older(struct ring *ring, uint64_t number)
{
	uint32_t back = __atomic_load_n(&at(ring, number)->back, __ATOMIC_RELAXED);

	return back != 0 && back < number ? number - back : 0;
}

/* From there on backwards. @return its number; 0: it is not there, or far away */
static uint64_t find(
		struct ring *ring, uint64_t number, uint64_t device, int *hops)
{
	for(; is_there(ring, number) && *hops > 0; --*hops) {
		if(__atomic_load_n(&at(ring, number)->step.device, __ATOMIC_RELAXED)
				== device)
			return number;
		number = older(ring, number);
	}
	return 0;
}

static uint64_t find_last(struct ring *ring, uint64_t device)
{
	int hops = CN_HOPS;

	return find(ring, __atomic_load_n(chain_of(ring, device), __ATOMIC_RELAXED),
			device, &hops);
}

/* -------- writing -------- */

/* What the CMS decides is a step of its own, unless there are very many. */
static bool may_repeat(const struct cn_step *step, unsigned places)
{
	switch((enum cn_step_kind)step->kind) {
		case CN_STEP_REGISTER:
		case CN_STEP_JOINED:
			return step->verdict != 0 && places > CN_HISTORY_SHOWN;
		case CN_STEP_EARLY:
		case CN_STEP_REFRESH:
		case CN_STEP_UNREGISTER:
		case CN_STEP_QUERY:
		case CN_STEP_REFUSED:
		case CN_STEP_SCRIPT:
		case CN_STEP_EXPIRED:
		case CN_STEP_OFFLINE:
		case CN_STEP_DELIVERED:
		case CN_STEP_DEAD:
		case CN_STEP_COUNT:
			break;
	}
	return true;
}

/* The address may be another one: the last one is kept. Who joins gets the reason
 * of another one in the end. */
static bool is_alike(
		const struct cn_step *a, const struct cn_step *b, unsigned places)
{
	bool has_text = a->kind == CN_STEP_REFUSED || a->kind == CN_STEP_SCRIPT;

	return a->kind == b->kind && may_repeat(a, places)
		   && (a->reason == b->reason || a->kind == CN_STEP_JOINED)
		   && (!has_text || memcmp(a->text, b->text, sizeof(a->text)) == 0);
}

static bool hour_is_over(const struct cn_step *last, int64_t now_s)
{
	return (uint32_t)now_s - last->hour_s >= CN_HOUR_S;
}

/* Among the last steps of the device: whoever does two things in turn has two
 * steps. @param last the very last one */
static uint64_t find_alike(
		struct ring *ring, uint64_t last, const struct cn_step *step)
{
	const struct cn_step *newest = &at(ring, last)->step;
	unsigned places =
			hour_is_over(newest, step->time_us / 1000000) ? 0 : newest->places;
	int hops = CN_HOPS, i;

	for(i = 0; i < CN_ALIKE && last != 0; i++) {
		if(is_alike(&at(ring, last)->step, step, places))
			return last;
		last = find(ring, older(ring, last), step->device, &hops);
	}
	return 0;
}

static void copy_hour(struct cn_step *to, const struct cn_step *from)
{
	to->hour_s = from->hour_s;
	to->flaps = from->flaps;
	to->places = from->places;
}

/* Unless it is in the hour that it has. */
static void begin_hour(struct cn_step *step, int64_t now_s)
{
	if(!hour_is_over(step, now_s))
		return;
	step->hour_s = (uint32_t)now_s;
	step->flaps = 0;
	step->places = 0;
}

/* Under the lock. */
static void write_step(
		struct record *r, uint64_t number, const struct cn_step *step)
{
	__atomic_store_n(&r->number, 0, __ATOMIC_RELEASE);
	r->step = *step;
	__atomic_store_n(&r->number, number, __ATOMIC_RELEASE);
}

/* Under the lock. How often it was there, and the device's hour, go on. */
static void overwrite(struct ring *ring, uint64_t number, struct cn_step *step,
		unsigned times)
{
	struct record *r = at(ring, number);

	step->times = r->step.times + times;
	copy_hour(step, &r->step);
	write_step(r, number, step);
}

/* Under the lock. */
static uint64_t append(struct ring *ring, uint64_t last, struct cn_step *step)
{
	uint64_t *newest = chain_of(ring, step->device), number = ring->last + 1;
	struct record *r = at(ring, number);
	uint64_t back = number - *newest;

	if(is_there(ring, last))
		copy_hour(step, &at(ring, last)->step);
	begin_hour(step, step->time_us / 1000000);
	if(step->places < UINT8_MAX)
		step->places++;
	step->times = 1;
	__atomic_store_n(&r->number, 0, __ATOMIC_RELEASE);
	r->back = *newest != 0 && back < ring->size ? (uint32_t)back : 0;
	write_step(r, number, step);
	__atomic_store_n(newest, number, __ATOMIC_RELEASE);
	ring->last = number;
	return number;
}

/* Under the lock. Is there no room in this second for one more stranger? */
static bool is_crowded(struct ring *ring, int64_t now_s)
{
	if(ring->second != now_s)
		ring->strangers = 0;
	ring->second = now_s;
	return ring->strangers++ >= ring->size / CN_STRANGERS + 1;
}

static bool is_stranger(const struct cn_step *step)
{
	return step->kind == CN_STEP_SCRIPT
		   && find_last(history_.devices, step->device) == 0;
}

uint64_t cn_history_put(uint64_t number, struct cn_step *step)
{
	struct ring *ring =
			step->kind == CN_STEP_SCRIPT ? history_.refused : history_.devices;
	uint64_t last, alike = 0;
	bool stranger;

	if(ring == NULL)
		return 0;
	step->time_us = clock_us();
	stranger = is_stranger(step);
	last = find_last(ring, step->device);
	if(last != 0 && number == 0)
		alike = find_alike(ring, last, step);
	lock_get(&ring->lock);
	if(is_there(ring, number)) {
		overwrite(ring, number, step, 0);
	} else if(is_there(ring, alike)) {
		overwrite(ring, alike, step, 1);
		number = alike;
	} else if(stranger && is_crowded(ring, step->time_us / 1000000)) {
		number = 0;
	} else {
		number = append(ring, last, step);
	}
	lock_release(&ring->lock);
	return number;
}

void cn_history_note(const str *key, enum cn_step_kind kind)
{
	struct cn_step step = {.kind = kind};

	step.device = cn_history_device(key);
	cn_history_put(0, &step);
}

/* Under the lock. @return how many there are in the device's hour */
static unsigned count_flap(struct cn_step *last, int64_t now_s)
{
	begin_hour(last, now_s);
	if(last->flaps < UINT16_MAX)
		last->flaps++;
	return last->flaps;
}

/* Under the lock. */
static void end_step(
		struct cn_step *step, const struct cn_step *end, int64_t now_us)
{
	step->time_us = now_us;
	step->kind = end->kind;
	step->reason = end->reason;
	step->verdict = end->verdict;
	step->cause = end->cause;
	step->status = end->status;
	step->elapsed_ms = end->elapsed_ms;
	memcpy(step->id, end->id, sizeof(step->id));
	memcpy(step->text, end->text, sizeof(step->text));
}

unsigned cn_history_end(uint64_t number, const struct cn_step *end, bool counts)
{
	struct ring *ring = history_.devices;
	int64_t now_us = clock_us();
	unsigned flaps = 0;
	uint64_t last;

	if(ring == NULL || !is_there(ring, number))
		return 0;
	last = find_last(ring, at(ring, number)->step.device);
	lock_get(&ring->lock);
	if(is_there(ring, number))
		end_step(&at(ring, number)->step, end, now_us);
	if(counts && is_there(ring, last))
		flaps = count_flap(&at(ring, last)->step, now_us / 1000000);
	lock_release(&ring->lock);
	return flaps;
}

/* -------- reading -------- */

int cn_history_flaps(uint64_t device)
{
	struct ring *ring = history_.devices;
	const struct cn_step *step;
	uint64_t last;

	if(ring == NULL)
		return -1;
	last = find_last(ring, device);
	if(last == 0)
		return 0;
	step = &at(ring, last)->step;
	return hour_is_over(step, clock_us() / 1000000) ? 0 : step->flaps;
}

/* @return false: it has been overwritten in between */
static bool copy(struct ring *ring, uint64_t number, struct cn_step *step)
{
	bool there;

	lock_get(&ring->lock);
	there = is_there(ring, number);
	if(there)
		*step = at(ring, number)->step;
	lock_release(&ring->lock);
	return there;
}

static int read_ring(struct ring *ring, uint64_t device, struct cn_step *steps)
{
	uint64_t number = __atomic_load_n(chain_of(ring, device), __ATOMIC_RELAXED);
	int n = 0, hops = CN_HOPS_READ;

	while(n < CN_HISTORY_SHOWN
			&& (number = find(ring, number, device, &hops)) != 0) {
		if(copy(ring, number, &steps[n]))
			n++;
		number = older(ring, number);
	}
	return n;
}

static int by_time(const void *a, const void *b)
{
	int64_t x = ((const struct cn_step *)a)->time_us;
	int64_t y = ((const struct cn_step *)b)->time_us;

	return (x < y) - (x > y);
}

int cn_history_read(uint64_t device, struct cn_step steps[CN_HISTORY_SHOWN])
{
	struct cn_step all[2 * CN_HISTORY_SHOWN];
	int n;

	if(history_.devices == NULL)
		return 0;
	n = read_ring(history_.devices, device, all);
	n += read_ring(history_.refused, device, all + n);
	qsort(all, n, sizeof(*all), by_time);
	if(n > CN_HISTORY_SHOWN)
		n = CN_HISTORY_SHOWN;
	memcpy(steps, all, n * sizeof(*all));
	return n;
}
