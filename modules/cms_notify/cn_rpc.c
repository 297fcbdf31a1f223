/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"

#include "cn_breaker.h"
#include "cn_conf.h"
#include "cn_device.h"
#include "cn_rpc.h"
#include "cn_stats.h"

#define CN_PARKED_DEFAULT 100
#define CN_PARKED_MAX 10000

static void add_counters(rpc_t *rpc, void *reply)
{
	int i;

	for(i = 0; i < CN_COUNTER_COUNT; i++)
		rpc->struct_add(reply, "u", (char *)cn_stats_counter_name(i),
				(unsigned)cn_stats_counter(i));
	for(i = CN_CAUSE_none + 1; i < CN_CAUSE_COUNT; i++) {
		/* a counter of that name is above, a gauge below */
		if(i != CN_CAUSE_busy && i != CN_CAUSE_outbox)
			rpc->struct_add(reply, "u", (char *)cn_cause_name(i),
					(unsigned)cn_stats_cause_count(i));
	}
	for(i = 0; i < CN_GAUGE_COUNT; i++)
		rpc->struct_add(reply, "d", (char *)cn_stats_gauge_name(i),
				cn_stats_gauge_value(i));
}

static void add_latencies(rpc_t *rpc, void *reply)
{
	static const char *const names[] = {"queue_ms", "http_ms", "total_ms"};
	void *latency;
	int i;

	for(i = 0; i < CN_LATENCY_COUNT; i++) {
		if(rpc->struct_add(reply, "{", names[i], &latency) < 0)
			return;
		rpc->struct_add(latency, "fff", "p50", cn_stats_latency_ms(i, 50),
				"p95", cn_stats_latency_ms(i, 95), "p99",
				cn_stats_latency_ms(i, 99));
	}
}

static const char *const status_doc[] = {
		"Counters, gauges and latencies at a glance", NULL};

static void rpc_status(rpc_t *rpc, void *ctx)
{
	void *reply;

	if(rpc->add(ctx, "{", &reply) < 0) {
		rpc->fault(ctx, 500, "Internal error");
		return;
	}
	rpc->struct_add(reply, "ssd", "version", CN_VERSION, "node", cn_conf.node,
			"capacity", cn_conf_capacity());
	add_counters(rpc, reply);
	add_latencies(rpc, reply);
}

/* Without a query, which may hold a secret. */
static int shown_length(const char *url)
{
	return (int)strcspn(url, "?");
}

static const char *const endpoints_doc[] = {
		"What each endpoint of the CMS has been through", NULL};

static void rpc_endpoints(rpc_t *rpc, void *ctx)
{
	struct cn_endpoint_stats stats;
	char url[512];
	void *row;
	int i;

	for(i = 0; i < cn_conf.endpoints; i++) {
		if(rpc->add(ctx, "{", &row) < 0) {
			rpc->fault(ctx, 500, "Internal error");
			return;
		}
		cn_stats_endpoint(i, &stats);
		snprintf(url, sizeof(url), "%.*s", shown_length(cn_conf.cms_url[i]),
				cn_conf.cms_url[i]);
		rpc->struct_add(row, "dssuuusuu", "endpoint", i + 1, "url", url,
				"state", cn_breaker_state_name(cn_breaker_state(i)),
				"in_flight", stats.in_flight, "attempts", stats.attempts,
				"failures", stats.failures, "last_cause",
				cn_cause_name(stats.last_cause), "last_status",
				stats.last_status, "last_ms", stats.last_ms);
	}
}

static const char *state_name(const struct cn_device_row *row)
{
	if(row->decided)
		return "decided";
	return row->sent ? "in_flight" : "queued";
}

static const char *const parked_doc[] = {
		"Who is waiting for the CMS, since when. Optional: how many rows at "
		"the most (100)",
		NULL};

static void rpc_parked(rpc_t *rpc, void *ctx)
{
	int max = CN_PARKED_DEFAULT, n, i;
	struct cn_device_row *rows;
	int64_t now;
	void *row;

	if(rpc->scan(ctx, "*d", &max) > 0 && (max < 1 || max > CN_PARKED_MAX)) {
		rpc->fault(ctx, 400, "How many rows: 1 to 10000");
		return;
	}
	rows = pkg_malloc(max * sizeof(*rows));
	if(rows == NULL) {
		rpc->fault(ctx, 500, "Out of memory, ask for fewer rows");
		return;
	}
	n = cn_device_list(rows, max);
	now = cn_now_us();
	for(i = 0; i < n && rpc->add(ctx, "{", &row) >= 0; i++)
		rpc->struct_add(row, "ssssdd", "aor", rows[i].aor, "id", rows[i].id,
				"reason", cn_reason_name(rows[i].reason), "state",
				state_name(&rows[i]), "waiting_ms",
				(int)((now - rows[i].parked_us) / 1000), "requests",
				rows[i].waiters);
	pkg_free(rows);
}

rpc_export_t cn_rpc_commands[] = {
		{"cms_notify.status", rpc_status, (const char **)status_doc, 0},
		{"cms_notify.endpoints", rpc_endpoints, (const char **)endpoints_doc,
				RET_ARRAY},
		{"cms_notify.parked", rpc_parked, (const char **)parked_doc, RET_ARRAY},
		{0, 0, 0, 0}};
