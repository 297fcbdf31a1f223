/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Metrics as text: the format of Prometheus, 0.0.4, or OpenMetrics 1.0. Pure.
 *
 * It is written twice: first without a buffer, which says how long it is, then into
 * one of that length. So there is one allocation for all of it. */

#ifndef CN_BASE_EXPOSITION_H
#define CN_BASE_EXPOSITION_H

#include "base_histogram.h"

enum cn_metric_type
{
	CN_METRIC_COUNTER,
	CN_METRIC_GAUGE,
	CN_METRIC_HISTOGRAM,
	CN_METRIC_INFO
};

/* All samples of one name. */
struct cn_metric
{
	/* without "cms_notify_", "_total" and "_info"; ends with its unit */
	const char *name;
	enum cn_metric_type type;
	const char *unit; /* NULL: it has none */
	const char *help;
};

struct cn_label
{
	const char *name; /* NULL: there are no more */
	const char *value;
};

struct cn_exposition
{
	char *to; /* NULL: it is measured */
	size_t size;
	size_t length; /* of all that was written; above size: some is missing */
	bool open_metrics;
};

/* What comes before the samples of a metric. */
void cn_exposition_begin(
		struct cn_exposition *e, const struct cn_metric *metric);

/* One sample of it. Values of labels are shown as the log shows them. */
void cn_exposition_add(struct cn_exposition *e, const struct cn_metric *metric,
		const struct cn_label *labels, double value);

/* Which borders a histogram has: powers of two, in microseconds. */
struct cn_borders
{
	int first, last, step;
};

void cn_exposition_add_histogram(struct cn_exposition *e,
		const struct cn_metric *metric, const struct cn_label *labels,
		const struct cn_borders *borders,
		const struct cn_histogram_counts *counts);

void cn_exposition_end(struct cn_exposition *e);

#endif
