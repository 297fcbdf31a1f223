/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Counters and gauges (group "cms_notify"), latencies, and what each endpoint
 * has been through. All in shared memory, none behind a lock. */

#ifndef CN_BASE_STATS_H
#define CN_BASE_STATS_H

#include "base_histogram.h"
#include "base_policy.h"

/* name, documentation. The causes have counters of their own besides these. */
#define CN_COUNTERS(X)                                                \
	X(events, "new registrations that the CMS was to be told of")     \
	X(accepted, "events that the CMS accepted")                       \
	X(rejected, "events that the CMS refused")                        \
	X(unavailable, "events that got no usable answer")                \
	X(busy, "new registrations turned away at once")                  \
	X(joined, "requests that waited for another one's verdict")       \
	X(refreshes, "requests that were no new registration")            \
	X(unasked, "answers of the CMS that nobody asked for")            \
	X(deferred, "events stored in the outbox")                        \
	X(not_deferred, "events that the outbox could not take")          \
	X(delivered, "events delivered from the outbox")                  \
	X(dead, "events that became dead letters")                        \
	X(offline, "contacts that fell silent, or lost their connection") \
	X(flapping, "new registrations beyond flap_limit")

#define CN_GAUGES(X)                                     \
	X(queued, "events waiting for a free connection")    \
	X(in_flight, "POSTs under way")                      \
	X(connections, "open connections to the CMS")        \
	X(parked, "REGISTER requests waiting for a verdict") \
	X(outbox, "events waiting in the outbox")

enum cn_counter
{
#define CN_X(name, doc) CN_COUNTER_##name,
	CN_COUNTERS(CN_X)
#undef CN_X
			CN_COUNTER_COUNT
};

enum cn_gauge
{
#define CN_X(name, doc) CN_GAUGE_##name,
	CN_GAUGES(CN_X)
#undef CN_X
			CN_GAUGE_COUNT
};

enum cn_latency
{
	CN_LATENCY_QUEUE, /* parked until a POST began */
	CN_LATENCY_HTTP,  /* POST until its answer */
	CN_LATENCY_TOTAL, /* parked until the verdict */
	CN_LATENCY_OUTBOX, /* created until the CMS has accepted it from the outbox */
	CN_LATENCY_COUNT
};

/* One endpoint at a moment. */
struct cn_endpoint_stats
{
	unsigned in_flight;
	unsigned attempts;
	unsigned failures;	  /* attempts that gave no usable answer */
	unsigned last_status; /* HTTP status of the last attempt, 0: none */
	enum cn_cause last_cause;
	unsigned last_ms; /* how long the last attempt took */
};

/* What becomes of an event in the outbox. */
enum cn_stored
{
	CN_STORED_NOW,
	CN_STORED_DELIVERED,
	CN_STORED_DEAD,
	CN_STORED_COUNT
};

/* Process: main, before any fork. */
int cn_stats_init(int endpoints) CN_MUST;
void cn_stats_destroy(void);

/* Process: any. Nothing here blocks or fails. */
void cn_stats_count(enum cn_counter counter);
/* A registration that is news: events, by its reason. */
void cn_stats_news(enum cn_reason reason);
/* deferred, delivered or dead, by what the event says. */
void cn_stats_stored(enum cn_stored what, enum cn_kind kind);
void cn_stats_cause(enum cn_cause cause);
void cn_stats_gauge(enum cn_gauge gauge, int by);
void cn_stats_latency(enum cn_latency latency, int64_t us);

void cn_stats_attempt_begin(int endpoint);
void cn_stats_attempt_end(
		int endpoint, enum cn_cause cause, unsigned status, int64_t us);

/* When an endpoint last gave a usable answer; 0: never. */
int64_t cn_stats_answered_us(void);

/* Reading, for an operator. */
const char *cn_stats_counter_name(enum cn_counter counter);
const char *cn_stats_gauge_name(enum cn_gauge gauge);
unsigned long cn_stats_counter(enum cn_counter counter);
unsigned long cn_stats_cause_count(enum cn_cause cause);
int cn_stats_gauge_value(enum cn_gauge gauge);
unsigned long cn_stats_news_count(enum cn_reason reason);
unsigned long cn_stats_stored_count(enum cn_stored what, enum cn_kind kind);
void cn_stats_read_latency(
		enum cn_latency latency, struct cn_histogram_counts *counts);
/* Its attempts, whatever came of them. */
void cn_stats_read_endpoint(int endpoint, struct cn_histogram_counts *counts);
/* @param percent 0 to 100; @return milliseconds, within an eighth */
double cn_stats_latency_ms(enum cn_latency latency, double percent);
/* Another one has its place; nothing is under way to it. */
void cn_stats_endpoint_reset(int endpoint);
void cn_stats_endpoint(int endpoint, struct cn_endpoint_stats *stats);

#endif
