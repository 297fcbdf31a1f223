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

struct endpoint
{
	atomic_t in_flight, attempts, failures;
	atomic_t last_status, last_cause, last_ms;
	struct cn_histogram attempt;
};

static struct shared
{
	int64_t answered_us;
	atomic_t gauges[CN_GAUGE_COUNT];
	uint64_t news[CN_REASON_MOVED + 1];
	uint64_t stored[CN_STORED_COUNT][CN_KIND_SNAPSHOT + 1];
	struct cn_histogram latencies[CN_LATENCY_COUNT];
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

static void add_one(uint64_t *count)
{
	__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

void cn_stats_news(enum cn_reason reason)
{
	counter_inc(counters[CN_COUNTER_events]);
	add_one(&shared->news[reason]);
}

void cn_stats_stored(enum cn_stored what, enum cn_kind kind)
{
	static const enum cn_counter counts[] = {
			[CN_STORED_NOW] = CN_COUNTER_deferred,
			[CN_STORED_DELIVERED] = CN_COUNTER_delivered,
			[CN_STORED_DEAD] = CN_COUNTER_dead};

	counter_inc(counters[counts[what]]);
	add_one(&shared->stored[what][kind]);
}

void cn_stats_latency(enum cn_latency latency, int64_t us)
{
	cn_histogram_add(&shared->latencies[latency], us);
}

double cn_stats_latency_ms(enum cn_latency latency, double percent)
{
	return cn_histogram_percentile_us(&shared->latencies[latency], percent)
		   / 1000;
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
	cn_histogram_add(&e->attempt, us);
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
	/* counted under another name */
	if(cause == CN_CAUSE_busy)
		return cn_stats_counter(CN_COUNTER_busy);
	if(cause == CN_CAUSE_outbox)
		return cn_stats_counter(CN_COUNTER_not_deferred);
	return is_counted[cause] ? counter_get_val(causes[cause]) : 0;
}

unsigned long cn_stats_news_count(enum cn_reason reason)
{
	return __atomic_load_n(&shared->news[reason], __ATOMIC_RELAXED);
}

unsigned long cn_stats_stored_count(enum cn_stored what, enum cn_kind kind)
{
	return __atomic_load_n(&shared->stored[what][kind], __ATOMIC_RELAXED);
}

void cn_stats_read_latency(
		enum cn_latency latency, struct cn_histogram_counts *counts)
{
	cn_histogram_read(&shared->latencies[latency], counts);
}

void cn_stats_read_endpoint(int endpoint, struct cn_histogram_counts *counts)
{
	cn_histogram_read(&shared->endpoints[endpoint].attempt, counts);
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
