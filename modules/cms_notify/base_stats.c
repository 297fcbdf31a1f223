/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Counts, in shared memory, and reads what was counted. In every process. */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/counters.h"
#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "base_stats.h"

/* Latencies are counted in buckets whose width is an eighth of their value. */
#define CN_BUCKET_BITS 3
#define CN_BUCKETS ((32 - CN_BUCKET_BITS) << CN_BUCKET_BITS)

struct endpoint
{
	atomic_t in_flight, attempts, failures;
	atomic_t last_status, last_cause, last_ms;
};

static struct shared
{
	int64_t answered_us;
	atomic_t gauges[CN_GAUGE_COUNT];
	atomic_t latencies[CN_LATENCY_COUNT][CN_BUCKETS];
	struct endpoint endpoints[];
} * shared;

static counter_handle_t counters[CN_COUNTER_COUNT];
static counter_handle_t causes[CN_CAUSE_COUNT];

static const bool is_counted[] = {
#define CN_X(name, counted, text) counted,
		CN_CAUSES(CN_X)
#undef CN_X
};

static const char *const counter_names[] = {
#define CN_X(name, doc) #name,
		CN_COUNTERS(CN_X)
#undef CN_X
};

static const char *const gauge_names[] = {
#define CN_X(name, doc) #name,
		CN_GAUGES(CN_X)
#undef CN_X
};

static counter_val_t read_gauge(counter_handle_t handle, void *gauge)
{
	(void)handle;
	return cn_stats_gauge_value((enum cn_gauge)(long)gauge);
}

static counter_def_t definitions[] = {
#define CN_X(name, doc) {&counters[CN_COUNTER_##name], #name, 0, 0, 0, doc},
		CN_COUNTERS(CN_X)
#undef CN_X
#define CN_X(name, doc) \
	{0, #name, 0, read_gauge, (void *)(long)CN_GAUGE_##name, doc},
				CN_GAUGES(CN_X)
#undef CN_X
						{0, 0, 0, 0, 0, 0}};

static int register_causes(void)
{
	static const struct
	{
		const char *name;
		const char *text;
	} list[] = {
#define CN_X(name, counted, text) {#name, text},
			CN_CAUSES(CN_X)
#undef CN_X
	};
	int i;

	for(i = 0; i < CN_CAUSE_COUNT; i++) {
		if(is_counted[i]
				&& counter_register(&causes[i], "cms_notify", list[i].name, 0,
						   0, 0, list[i].text, 0)
						   < 0)
			return -1;
	}
	return 0;
}

int cn_stats_init(int endpoints)
{
	size_t size = sizeof(*shared) + endpoints * sizeof(struct endpoint);

	if(counter_register_array("cms_notify", definitions) < 0
			|| register_causes() < 0) {
		LM_ERR("cannot register the statistics\n");
		return -1;
	}
	shared = shm_malloc(size);
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(shared, 0, size);
	return 0;
}

void cn_stats_destroy(void)
{
	if(shared)
		shm_free(shared);
	shared = NULL;
}

void cn_stats_count(enum cn_counter counter)
{
	counter_inc(counters[counter]);
}

void cn_stats_cause(enum cn_cause cause)
{
	if(is_counted[cause])
		counter_inc(causes[cause]);
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
	atomic_add(&shared->gauges[gauge], by);
}

/* 0..7 each have a bucket; above, the three bits below the leading one. */
static unsigned bucket_of(uint32_t v)
{
	unsigned shift;

	if(v < (1u << CN_BUCKET_BITS))
		return v;
	shift = 31 - __builtin_clz(v) - CN_BUCKET_BITS;
	return ((shift + 1) << CN_BUCKET_BITS)
		   + ((v >> shift) & ((1u << CN_BUCKET_BITS) - 1));
}

/* The middle of a bucket. */
static double bucket_value(unsigned bucket)
{
	unsigned shift = bucket >> CN_BUCKET_BITS;
	unsigned low = bucket & ((1u << CN_BUCKET_BITS) - 1);

	if(shift == 0)
		return low;
	return ((double)((1u << CN_BUCKET_BITS) + low) + 0.5)
		   * (double)(1u << (shift - 1));
}

void cn_stats_latency(enum cn_latency latency, int64_t us)
{
	uint32_t v = us < 0 ? 0 : us > INT32_MAX ? INT32_MAX : (uint32_t)us;

	atomic_inc(&shared->latencies[latency][bucket_of(v)]);
}

double cn_stats_latency_ms(enum cn_latency latency, double percent)
{
	double total = 0, seen = 0;
	unsigned i;

	for(i = 0; i < CN_BUCKETS; i++)
		total += (unsigned)atomic_get(&shared->latencies[latency][i]);
	if(total == 0)
		return 0;
	for(i = 0; i < CN_BUCKETS; i++) {
		seen += (unsigned)atomic_get(&shared->latencies[latency][i]);
		if(seen > 0 && seen * 100 >= percent * total)
			break;
	}
	return bucket_value(i < CN_BUCKETS ? i : CN_BUCKETS - 1) / 1000;
}

void cn_stats_attempt_begin(int endpoint)
{
	atomic_inc(&shared->endpoints[endpoint].attempts);
	atomic_inc(&shared->endpoints[endpoint].in_flight);
}

void cn_stats_attempt_end(
		int endpoint, enum cn_cause cause, unsigned status, int64_t us)
{
	struct endpoint *e = &shared->endpoints[endpoint];

	atomic_dec(&e->in_flight);
	if(cause != CN_CAUSE_none)
		atomic_inc(&e->failures);
	else
		*(volatile int64_t *)&shared->answered_us = cn_now_us();
	atomic_set(&e->last_cause, cause);
	atomic_set(&e->last_status, status);
	atomic_set(&e->last_ms, us / 1000);
}

int64_t cn_stats_answered_us(void)
{
	return *(volatile int64_t *)&shared->answered_us;
}

const char *cn_stats_counter_name(enum cn_counter counter)
{
	return counter_names[counter];
}

const char *cn_stats_gauge_name(enum cn_gauge gauge)
{
	return gauge_names[gauge];
}

unsigned long cn_stats_counter(enum cn_counter counter)
{
	return counter_get_val(counters[counter]);
}

unsigned long cn_stats_cause_count(enum cn_cause cause)
{
	if(cause == CN_CAUSE_busy)
		return cn_stats_counter(CN_COUNTER_busy);
	return is_counted[cause] ? counter_get_val(causes[cause]) : 0;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return shared ? atomic_get(&shared->gauges[gauge]) : 0;
}

void cn_stats_endpoint_reset(int endpoint)
{
	memset(&shared->endpoints[endpoint], 0, sizeof(struct endpoint));
}

void cn_stats_endpoint(int endpoint, struct cn_endpoint_stats *stats)
{
	struct endpoint *e = &shared->endpoints[endpoint];

	stats->in_flight = atomic_get(&e->in_flight);
	stats->attempts = atomic_get(&e->attempts);
	stats->failures = atomic_get(&e->failures);
	stats->last_status = atomic_get(&e->last_status);
	stats->last_cause = atomic_get(&e->last_cause);
	stats->last_ms = atomic_get(&e->last_ms);
}
