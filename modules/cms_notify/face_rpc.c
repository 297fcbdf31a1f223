/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Answers cms_notify.* from shared memory. In the processes that serve RPC. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"

#include "reg_alive.h"
#include "reg_usrloc.h"
#include "http_breaker.h"
#include "http_room.h"
#include "http_endpoints.h"
#include "http_reload.h"
#include "base_conf.h"
#include "job_index.h"
#include "job_number.h"
#include "admit.h"
#include "outbox.h"
#include "outbox_resync.h"
#include "face_metrics.h"
#include "face_device.h"
#include "face_drain.h"
#include "face_rpc.h"
#include "base_stats.h"

#define CN_PARKED_DEFAULT 100
/* more does not fit into what kamcmd and the datagram sockets take */
#define CN_PARKED_MAX 1000

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
	static const char *const names[] = {
			"queue_ms", "http_ms", "total_ms", "outbox_ms"};
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

/* @param state NULL: as it is */
static void add_progress(rpc_t *rpc, void *reply, const char *state)
{
	struct cn_resync_progress p;

	cn_resync_progress(&p);
	if(state == NULL)
		state = p.running ? "running" : "idle";
	rpc->struct_add(reply, "ssddddd", "state", state, "aor", cn_shown(p.aor),
			"percent", p.percent, "waiting", p.waiting, "sent", p.sent,
			"refused", p.refused, "failed", p.failed);
}

/* As they are in force. */
static void add_limits(rpc_t *rpc, void *reply)
{
	const struct cn_limit *row;
	void *limits;
	int i;

	if(rpc->struct_add(reply, "{", "limits", &limits) < 0)
		return;
	for(i = 0; (row = cn_limit_row(i)) != NULL; i++)
		rpc->struct_add(limits, "d", (char *)row->name,
				cn_limit_value((const struct cn_limits *)cn_limits, row));
}

/* of a figure that is shown */
static unsigned whole(double value)
{
	return value < UINT32_MAX ? (unsigned)(value + 0.5) : UINT32_MAX;
}

static const char *const status_doc[] = {
		"Counters, gauges, latencies and limits at a glance", NULL};

static void rpc_status(rpc_t *rpc, void *ctx)
{
	void *reply, *drain, *resync;

	if(rpc->add(ctx, "{", &reply) < 0) {
		rpc->fault(ctx, 500, "Internal error");
		return;
	}
	rpc->struct_add(reply, "ssduu", "version", CN_VERSION, "node", cn_conf.node,
			"capacity", cn_conf_capacity(), "rate", whole(cn_admission_rate()),
			"line_s", whole(cn_admission_line_us(cn_now_us()) / 1e6));
	if(cn_conf.alive_timeout_s > 0)
		rpc->struct_add(reply, "d", "alive", cn_alive_count());
	add_counters(rpc, reply);
	add_latencies(rpc, reply);
	add_limits(rpc, reply);
	if(rpc->struct_add(reply, "{", "drain", &drain) >= 0)
		cn_drain_add(rpc, drain);
	if(cn_outbox_exists()
			&& rpc->struct_add(reply, "{", "resync", &resync) >= 0)
		add_progress(rpc, resync, NULL);
}

/* Without a query, which may hold a secret. */
static int shown_length(const char *url)
{
	return (int)strcspn(url, "?");
}

static void add_endpoint(
		rpc_t *rpc, void *row, const struct cn_endpoints *list, int i)
{
	struct cn_endpoint_stats stats;
	char url[512];

	cn_stats_endpoint(list->slot[i], &stats);
	snprintf(
			url, sizeof(url), "%.*s", shown_length(list->url[i]), list->url[i]);
	rpc->struct_add(row, "dssuduusuu", "endpoint", i + 1, "url", url, "state",
			cn_breaker_state_name(cn_breaker_state(list->slot[i])), "in_flight",
			stats.in_flight, "limit", cn_room_number(list->slot[i]), "attempts",
			stats.attempts, "failures", stats.failures, "last_cause",
			cn_cause_name(stats.last_cause), "last_status", stats.last_status,
			"last_ms", stats.last_ms);
}

static const char *const endpoints_doc[] = {
		"What each endpoint of the CMS has been through", NULL};

static void rpc_endpoints(rpc_t *rpc, void *ctx)
{
	struct cn_endpoints list;
	void *row;
	int i;

	cn_endpoints_take(&list);
	for(i = 0; i < list.count && rpc->add(ctx, "{", &row) >= 0; i++)
		add_endpoint(rpc, row, &list, i);
	if(i < list.count)
		rpc->fault(ctx, 500, "Internal error");
	cn_endpoints_give_back(&list);
}

static const char *const parked_doc[] = {
		"Who is waiting for the CMS, since when. Optional: how many rows at "
		"the most (100)",
		NULL};

static void rpc_parked(rpc_t *rpc, void *ctx)
{
	int max = CN_PARKED_DEFAULT, n, i;
	struct cn_index_row *rows;
	int64_t now;
	void *row;

	if(rpc->scan(ctx, "*d", &max) > 0 && (max < 1 || max > CN_PARKED_MAX)) {
		rpc->fault(ctx, 400, "How many rows: 1 to 1000");
		return;
	}
	rows = pkg_malloc(max * sizeof(*rows));
	if(rows == NULL) {
		rpc->fault(ctx, 500, "Out of memory, ask for fewer rows");
		return;
	}
	n = cn_index_list(rows, max);
	now = cn_now_us();
	for(i = 0; i < n && rpc->add(ctx, "{", &row) >= 0; i++)
		rpc->struct_add(row, "ssssdd", "aor", cn_shown(rows[i].aor), "id",
				rows[i].id, "reason", cn_reason_name(rows[i].reason), "state",
				cn_parked_state(&rows[i]), "waiting_ms",
				(int)((now - rows[i].parked_us) / 1000), "requests",
				rows[i].waiters);
	pkg_free(rows);
}

static const char *const device_doc[] = {
		"All that is known of a device: contacts, what waits, its last steps. "
		"Needed: the AOR",
		NULL};

/* -------- the outbox -------- */

#define CN_DEAD_DEFAULT 20

static bool has_outbox(rpc_t *rpc, void *ctx)
{
	if(cn_outbox_exists())
		return true;
	rpc->fault(ctx, 400, "There is no outbox, set outbox_db_url");
	return false;
}

static int seconds_since(int64_t created_us)
{
	int64_t since = cn_number_clock_us() - created_us;

	return created_us && since > 0 ? (int)(since / 1000000) : 0;
}

static int next_try_ms(const struct cn_outbox_state *state)
{
	int64_t left = state->next_try_us - cn_now_us();

	return state->next_try_us == 0 || left < 0 ? 0 : (int)(left / 1000);
}

static void add_dead(
		rpc_t *rpc, void *list, const struct cn_dead_letter *letter)
{
	void *one;

	if(rpc->array_add(list, "{", &one) < 0)
		return;
	rpc->struct_add(one, "ssssddsds", "id", letter->id, "aor",
			cn_shown(letter->aor), "event", cn_kind_name(letter->kind),
			"reason", cn_reason_name(letter->reason), "age_s",
			seconds_since(letter->created_us), "attempts", letter->attempts,
			"cause", cn_cause_name(letter->cause), "status", letter->status,
			"why", letter->too_old ? "too old" : "refused");
}

static int add_all_dead(rpc_t *rpc, void *list, int max)
{
	struct cn_dead_letter *letters = pkg_malloc(max * sizeof(*letters));
	int n, i;

	if(letters == NULL)
		return -1;
	n = cn_outbox_dead_letters(letters, max);
	for(i = 0; i < n; i++)
		add_dead(rpc, list, &letters[i]);
	pkg_free(letters);
	return n;
}

static const char *const outbox_doc[] = {
		"What waits in the outbox, and the dead letters. Optional: how many of "
		"these at the most (20)",
		NULL};

static void rpc_outbox(rpc_t *rpc, void *ctx)
{
	struct cn_outbox_state state;
	int max = CN_DEAD_DEFAULT;
	void *reply, *list;

	if(!has_outbox(rpc, ctx))
		return;
	if(rpc->scan(ctx, "*d", &max) > 0
			&& (max < 1 || max > CN_OUTBOX_DEAD_MAX)) {
		rpc->fault(ctx, 400, "How many dead letters: 1 to 100");
		return;
	}
	cn_outbox_state(&state);
	if(rpc->add(ctx, "{", &reply) < 0)
		return;
	rpc->struct_add(reply, "ssdddd", "state",
			state.paused ? "paused" : "running", "database",
			state.ready ? "ready" : "away", "waiting", state.waiting,
			"oldest_s", seconds_since(state.oldest_us), "next_try_ms",
			next_try_ms(&state), "dead", state.dead);
	if(rpc->struct_add(reply, "[", "dead_letters", &list) < 0
			|| add_all_dead(rpc, list, max) < 0)
		rpc->fault(ctx, 500, "Internal error");
}

static const char *const replay_doc[] = {
		"The dead letters are delivered again", NULL};

static void rpc_replay(rpc_t *rpc, void *ctx)
{
	struct cn_outbox_state state;
	void *reply;

	if(!has_outbox(rpc, ctx))
		return;
	cn_outbox_state(&state);
	if(!state.ready) {
		rpc->fault(ctx, 500, "The database of the outbox does not answer");
		return;
	}
	cn_outbox_replay();
	if(rpc->add(ctx, "{", &reply) >= 0)
		rpc->struct_add(reply, "d", "replayed", state.dead);
}

static void switch_outbox(rpc_t *rpc, void *ctx, bool paused)
{
	void *reply;

	if(!has_outbox(rpc, ctx))
		return;
	cn_outbox_pause(paused);
	if(rpc->add(ctx, "{", &reply) >= 0)
		rpc->struct_add(reply, "s", "state", paused ? "paused" : "running");
}

static const char *const pause_doc[] = {
		"Nothing is delivered from the outbox until cms_notify.resume; "
		"registrations are not affected",
		NULL};

static void rpc_pause(rpc_t *rpc, void *ctx)
{
	switch_outbox(rpc, ctx, true);
}

static const char *const resume_doc[] = {"The outbox is delivered again", NULL};

static void rpc_resume(rpc_t *rpc, void *ctx)
{
	switch_outbox(rpc, ctx, false);
}

static const char *const resync_doc[] = {
		"Tell the CMS again who is registered. Optional: of one AOR only. "
		"cms_notify.status shows how far it is, and starts none",
		NULL};

static void rpc_resync(rpc_t *rpc, void *ctx)
{
	bool started, one;
	void *reply;
	str aor;

	if(!has_outbox(rpc, ctx))
		return;
	if(!cn_usrloc_in_memory()) {
		rpc->fault(ctx, 400, "usrloc has no bindings in memory (db_mode 3)");
		return;
	}
	one = rpc->scan(ctx, "*.S", &aor) > 0 && aor.len > 0;
	if(one && aor.len >= CN_RESYNC_AOR_MAX) {
		rpc->fault(ctx, 400, "The AOR is too long");
		return;
	}
	started = cn_resync_ask(one ? &aor : NULL);
	cn_outbox_look();
	if(rpc->add(ctx, "{", &reply) >= 0)
		add_progress(rpc, reply, started ? "started" : NULL);
}

/* -------- files and settings -------- */

static const char *const reload_doc[] = {
		"Read settings, certificates, keys and headers again from their files",
		NULL};

static void rpc_reload(rpc_t *rpc, void *ctx)
{
	struct cn_fault fault;
	void *reply;

	if(cn_reload_ask(&fault) < 0) {
		rpc->fault(ctx, 400, "%s", fault.text);
		return;
	}
	if(rpc->add(ctx, "{", &reply) >= 0)
		rpc->struct_add(reply, "d", "reloads", (int)cn_reload_number());
}

/* -------- maintenance -------- */

static const char *const drain_doc[] = {
		"Empty this server: no new devices. Optional: how many seconds at the "
		"most; off: take them again. cms_notify.status shows how far it is",
		NULL};

/* -------- metrics -------- */

static const char *const metrics_doc[] = {
		"All counters and histograms as text for Prometheus", NULL};

static void rpc_metrics(rpc_t *rpc, void *ctx)
{
	str text;

	if(cn_metrics_write(false, &text) < 0) {
		rpc->fault(ctx, 500, "Out of memory");
		return;
	}
	rpc->add(ctx, "s", text.s);
	pkg_free(text.s);
}

rpc_export_t cn_rpc_commands[] = {
		{"cms_notify.status", rpc_status, (const char **)status_doc, 0},
		{"cms_notify.endpoints", rpc_endpoints, (const char **)endpoints_doc,
				RET_ARRAY},
		{"cms_notify.parked", rpc_parked, (const char **)parked_doc, RET_ARRAY},
		{"cms_notify.device", cn_device_show, (const char **)device_doc, 0},
		{"cms_notify.outbox", rpc_outbox, (const char **)outbox_doc, 0},
		{"cms_notify.replay", rpc_replay, (const char **)replay_doc, 0},
		{"cms_notify.pause", rpc_pause, (const char **)pause_doc, 0},
		{"cms_notify.resume", rpc_resume, (const char **)resume_doc, 0},
		{"cms_notify.resync", rpc_resync, (const char **)resync_doc, 0},
		{"cms_notify.metrics", rpc_metrics, (const char **)metrics_doc, 0},
		{"cms_notify.reload", rpc_reload, (const char **)reload_doc, 0},
		{"cms_notify.drain", cn_drain_command, (const char **)drain_doc, 0},
		{0, 0, 0, 0}};
