/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* One table says what is shown to Prometheus, doc/metrics.md what it means. In the
 * processes that serve RPC and HTTP. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../core/globals.h"
#include "../../core/mem/mem.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/ver.h"

#include "reg_alive.h"
#include "reg_usrloc.h"
#include "http_breaker.h"
#include "http_endpoints.h"
#include "http_room.h"
#include "job_number.h"
#include "admit.h"
#include "outbox.h"
#include "face_drain.h"
#include "face_metrics.h"
#include "base_conf.h"
#include "base_exposition.h"
#include "base_stats.h"

#define NAME_MAX_BYTES 300 /* of an endpoint */

/* What is the same for all metrics of one text. */
struct moment
{
	int64_t now_us;
	struct cn_outbox_state outbox;
	struct cn_endpoints list;
	char endpoint[CN_ENDPOINTS_MAX][NAME_MAX_BYTES];
};

struct row
{
	struct cn_metric metric;
	void (*write)(struct cn_exposition *e, const struct row *row,
			const struct moment *m);
	int of; /* counter, gauge, latency or cn_stored */
	double (*value)(const struct moment *m);
	struct cn_borders borders;
	bool (*exists)(void); /* NULL: always */
};

/* -------- a value -------- */

static void write_value(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	cn_exposition_add(e, &row->metric, NULL, row->value(m));
}

static void write_counter(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	(void)m;
	cn_exposition_add(e, &row->metric, NULL, cn_stats_counter(row->of));
}

static void write_gauge(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	(void)m;
	cn_exposition_add(e, &row->metric, NULL, cn_stats_gauge_value(row->of));
}

static void write_latency(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	struct cn_histogram_counts counts;

	(void)m;
	cn_stats_read_latency(row->of, &counts);
	cn_exposition_add_histogram(e, &row->metric, NULL, &row->borders, &counts);
}

static double start_time(const struct moment *m)
{
	(void)m;
	return up_since;
}

static double capacity(const struct moment *m)
{
	(void)m;
	return cn_conf_capacity();
}

static double line_seconds(const struct moment *m)
{
	return cn_admission_line_us(m->now_us) / 1e6;
}

static double line_devices(const struct moment *m)
{
	return (int64_t)(line_seconds(m) * cn_admission_rate() + 0.5);
}

static double contacts(const struct moment *m)
{
	(void)m;
	return cn_usrloc_contacts();
}

static double alive(const struct moment *m)
{
	(void)m;
	return cn_alive_counted();
}

static double draining(const struct moment *m)
{
	(void)m;
	return cn_drain_is_on();
}

static double memory(const struct moment *m)
{
	(void)m;
	return shm_mem_size;
}

static double memory_free(const struct moment *m)
{
	(void)m;
	return shm_available();
}

static double outbox_capacity(const struct moment *m)
{
	(void)m;
	return cn_conf.outbox_max;
}

static double outbox_waiting(const struct moment *m)
{
	return m->outbox.waiting;
}

static double outbox_dead_letters(const struct moment *m)
{
	return m->outbox.dead;
}

static double outbox_ready(const struct moment *m)
{
	return m->outbox.ready;
}

static double outbox_paused(const struct moment *m)
{
	return m->outbox.paused;
}

static double outbox_oldest(const struct moment *m)
{
	double age = (cn_number_clock_us() - m->outbox.oldest_us) / 1e6;

	/* as of the last look at all rows, which may have gone since */
	return m->outbox.waiting == 0 || m->outbox.oldest_us == 0 || age < 0 ? 0
																		 : age;
}

/* -------- by a label -------- */

static void write_build(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	const struct cn_label labels[] = {{"version", CN_VERSION},
			{"kamailio", ver_version}, {"node", cn_conf.node}, {NULL, NULL}};

	(void)m;
	cn_exposition_add(e, &row->metric, labels, 1);
}

static void add_by(struct cn_exposition *e, const struct row *row,
		const char *label, const char *value, unsigned long count)
{
	const struct cn_label labels[] = {{label, value}, {NULL, NULL}};

	cn_exposition_add(e, &row->metric, labels, count);
}

static void write_reasons(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	int i;

	(void)m;
	for(i = CN_REASON_NEW; i <= CN_REASON_MOVED; i++)
		add_by(e, row, "reason", cn_reason_name(i), cn_stats_news_count(i));
}

static void write_verdicts(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	(void)m;
	add_by(e, row, "verdict", cn_verdict_name(CN_ACCEPTED),
			cn_stats_counter(CN_COUNTER_accepted));
	add_by(e, row, "verdict", cn_verdict_name(CN_REJECTED),
			cn_stats_counter(CN_COUNTER_rejected));
	add_by(e, row, "verdict", cn_verdict_name(CN_DEFERRED),
			cn_stats_stored_count(CN_STORED_NOW, CN_KIND_REGISTER));
	add_by(e, row, "verdict", cn_verdict_name(CN_UNAVAILABLE),
			cn_stats_counter(CN_COUNTER_unavailable));
}

static void write_causes(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	int i;

	(void)m;
	for(i = CN_CAUSE_none + 1; i < CN_CAUSE_COUNT; i++)
		add_by(e, row, "cause", cn_cause_name(i), cn_stats_cause_count(i));
}

/* Of those that may be in the outbox. */
static void write_kinds(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	int i;

	(void)m;
	for(i = CN_KIND_REGISTER; i <= CN_KIND_OFFLINE; i++)
		add_by(e, row, "event", cn_kind_name(i),
				cn_stats_stored_count(row->of, i));
}

/* -------- by endpoint -------- */

enum figure
{
	ATTEMPTS,
	FAILURES,
	IN_FLIGHT,
	LIMIT
};

static unsigned long figure_of(int slot, enum figure figure)
{
	struct cn_endpoint_stats stats;

	cn_stats_endpoint(slot, &stats);
	switch(figure) {
		case ATTEMPTS:
			return stats.attempts;
		case FAILURES:
			return stats.failures;
		case IN_FLIGHT:
			return stats.in_flight;
		case LIMIT:
			return cn_room_number(slot);
	}
	return 0;
}

static void write_endpoints(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	int i;

	for(i = 0; i < m->list.count; i++)
		add_by(e, row, "endpoint", m->endpoint[i],
				figure_of(m->list.slot[i], row->of));
}

static void write_states(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	int i, state;

	for(i = 0; i < m->list.count; i++) {
		enum cn_breaker_state now = cn_breaker_state(m->list.slot[i]);

		for(state = CN_BREAKER_CLOSED; state <= CN_BREAKER_HALF; state++) {
			const struct cn_label labels[] = {{"endpoint", m->endpoint[i]},
					{"state", cn_breaker_state_name(state)}, {NULL, NULL}};

			cn_exposition_add(e, &row->metric, labels, state == (int)now);
		}
	}
}

static void write_attempts(
		struct cn_exposition *e, const struct row *row, const struct moment *m)
{
	struct cn_histogram_counts counts;
	int i;

	for(i = 0; i < m->list.count; i++) {
		const struct cn_label labels[] = {
				{"endpoint", m->endpoint[i]}, {NULL, NULL}};

		cn_stats_read_endpoint(m->list.slot[i], &counts);
		cn_exposition_add_histogram(
				e, &row->metric, labels, &row->borders, &counts);
	}
}

/* -------- the table -------- */

#define COUNTER(n, h) .metric = {n, CN_METRIC_COUNTER, NULL, h}
#define GAUGE(n, h) .metric = {n, CN_METRIC_GAUGE, NULL, h}
#define SECONDS(n, h) .metric = {n "_seconds", CN_METRIC_GAUGE, "seconds", h}
#define BYTES(n, h) .metric = {n "_bytes", CN_METRIC_GAUGE, "bytes", h}
#define HISTOGRAM(n, h) \
	.metric = {n "_seconds", CN_METRIC_HISTOGRAM, "seconds", h}
#define VALUE(f) .write = write_value, .value = f
#define COUNT(c) .write = write_counter, .of = CN_COUNTER_##c
#define NOW(g) .write = write_gauge, .of = CN_GAUGE_##g
#define LATENCY(l) .write = write_latency, .of = CN_LATENCY_##l
#define STORED(s) .write = write_kinds, .of = CN_STORED_##s
#define TO_34_S .borders = {8, 25, 1}	 /* from 0.25 ms on */
#define TO_3_DAYS .borders = {16, 38, 2} /* from 66 ms on */
#define OF_OUTBOX .exists = cn_outbox_exists

static const struct row rows[] = {
		{.metric = {"build", CN_METRIC_INFO, NULL, "What runs here"},
				.write = write_build},
		{SECONDS("start_time", "When Kamailio started, since 1970"),
				VALUE(start_time)},
		/* registrations */
		{COUNTER("registrations",
				 "New registrations that the CMS was to be told of"),
				.write = write_reasons},
		{COUNTER("verdicts", "How new registrations ended"),
				.write = write_verdicts},
		{COUNTER("failures", "Registrations without an answer of the CMS"),
				.write = write_causes},
		{COUNTER("joined",
				 "Requests that waited for the verdict of another one"),
				COUNT(joined)},
		{COUNTER("refreshes", "Requests that were no new registration"),
				COUNT(refreshes)},
		{COUNTER("offline",
				 "Contacts that fell silent, or lost their connection"),
				COUNT(offline)},
		{COUNTER("flapping", "New registrations beyond flap_limit"),
				COUNT(flapping)},
		{GAUGE("parked", "REGISTER requests that wait for a verdict"),
				NOW(parked)},
		{GAUGE("queued", "Events that wait for a free connection"),
				NOW(queued)},
		{GAUGE("capacity", "Events that fit, waiting or under way"),
				VALUE(capacity)},
		{SECONDS("line",
				 "Until the last device that was turned away has its turn"),
				VALUE(line_seconds)},
		{GAUGE("line_devices", "Devices that were told when to come back"),
				VALUE(line_devices)},
		{GAUGE("contacts", "Contacts that are registered"), VALUE(contacts),
				.exists = cn_usrloc_in_memory},
		{GAUGE("alive", "Contacts that were heard of within alive_timeout"),
				VALUE(alive), .exists = cn_alive_is_on},
		{HISTOGRAM("queue", "From parking until the POST begins"),
				LATENCY(QUEUE), TO_34_S},
		{HISTOGRAM("verdict", "From parking until the verdict"), LATENCY(TOTAL),
				TO_34_S},
		/* endpoints */
		{COUNTER("attempts", "POSTs to an endpoint"), .write = write_endpoints,
				.of = ATTEMPTS},
		{COUNTER("attempt_failures", "POSTs without a usable answer"),
				.write = write_endpoints, .of = FAILURES},
		{GAUGE("attempts_in_flight", "POSTs under way to an endpoint"),
				.write = write_endpoints, .of = IN_FLIGHT},
		{GAUGE("attempts_limit",
				 "POSTs that may be under way to an endpoint now"),
				.write = write_endpoints, .of = LIMIT},
		{HISTOGRAM("attempt", "From the beginning of a POST until its end"),
				.write = write_attempts, TO_34_S},
		{GAUGE("endpoint_state",
				 "1 for the state of the breaker of an endpoint"),
				.write = write_states},
		{COUNTER("unasked", "POSTs that found an answer that nobody asked for"),
				COUNT(unasked)},
		{GAUGE("in_flight", "POSTs under way"), NOW(in_flight)},
		{GAUGE("connections", "Open connections to the CMS"), NOW(connections)},
		/* the outbox */
		{GAUGE("outbox_ready", "1: the database of the outbox answers"),
				VALUE(outbox_ready), OF_OUTBOX},
		{GAUGE("outbox_paused", "1: cms_notify.pause is in force"),
				VALUE(outbox_paused), OF_OUTBOX},
		{GAUGE("outbox_waiting", "Events that wait in the outbox"),
				VALUE(outbox_waiting), OF_OUTBOX},
		{GAUGE("outbox_capacity", "Events that fit into the outbox"),
				VALUE(outbox_capacity), OF_OUTBOX},
		{SECONDS("outbox_oldest", "Age of the oldest event that waits there"),
				VALUE(outbox_oldest), OF_OUTBOX},
		{GAUGE("outbox_dead_letters", "Dead letters that are there"),
				VALUE(outbox_dead_letters), OF_OUTBOX},
		{COUNTER("outbox_stored", "Events that were stored in the outbox"),
				STORED(NOW), OF_OUTBOX},
		{COUNTER("outbox_delivered",
				 "Events that the CMS accepted from the outbox"),
				STORED(DELIVERED), OF_OUTBOX},
		{COUNTER("outbox_dead", "Events that became dead letters"),
				STORED(DEAD), OF_OUTBOX},
		{HISTOGRAM("outbox",
				 "From an event until the CMS accepted it from the outbox"),
				LATENCY(OUTBOX), TO_3_DAYS, OF_OUTBOX},
		/* this server */
		{GAUGE("draining", "1: cms_notify.drain is in force"), VALUE(draining)},
		{BYTES("shared_memory", "Size of Kamailio's shared memory"),
				VALUE(memory)},
		{BYTES("shared_memory_free", "What is free of it"),
				VALUE(memory_free)}};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* -------- the text -------- */

/* Two that look the same would be one sample, twice: the second has its place behind
 * it. Without a query, which may hold a secret. */
static void name_endpoint(struct moment *m, int i)
{
	const char *url = m->list.url[i];
	char *name = m->endpoint[i];
	int length = (int)strcspn(url, "?"), j;

	snprintf(name, NAME_MAX_BYTES, "%.*s", length < 240 ? length : 240, url);
	for(j = 0; j < i; j++) {
		if(strcmp(m->endpoint[j], name) == 0) {
			snprintf(name + strlen(name), 16, "#%d", i + 1);
			break;
		}
	}
}

static void write_all(struct cn_exposition *e, const struct moment *m)
{
	const struct row *row;

	e->length = 0;
	for(row = rows; row < rows + ROWS; row++) {
		if(row->exists && !row->exists())
			continue;
		cn_exposition_begin(e, &row->metric);
		row->write(e, row, m);
	}
	cn_exposition_end(e);
}

/* Numbers grow meanwhile: by a digit each, at the most. */
static int write_measured(struct cn_exposition *e, const struct moment *m)
{
	write_all(e, m);
	e->size = e->length + e->length / 8;
	e->to = pkg_malloc(e->size + 1);
	if(e->to == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	write_all(e, m);
	if(e->length <= e->size)
		return 0;
	LM_ERR("the metrics have become longer than %zu bytes\n", e->size);
	pkg_free(e->to);
	return -1;
}

int cn_metrics_write(bool open_metrics, str *text)
{
	struct cn_exposition e = {.open_metrics = open_metrics};
	struct moment m = {.now_us = cn_now_us()};
	int i, err;

	if(cn_outbox_exists())
		cn_outbox_state(&m.outbox);
	cn_endpoints_take(&m.list);
	for(i = 0; i < m.list.count; i++)
		name_endpoint(&m, i);
	err = write_measured(&e, &m);
	cn_endpoints_give_back(&m.list);
	if(err < 0)
		return -1;
	e.to[e.length] = '\0';
	text->s = e.to;
	text->len = (int)e.length;
	return 0;
}
