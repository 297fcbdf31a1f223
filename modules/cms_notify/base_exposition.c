/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes metrics as text. In the process that was asked for them; pure. */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base_exposition.h"
#include "base_utf8.h"

#define LABEL_MAX 255 /* bytes of a value that are shown */

static void put(struct cn_exposition *e, const char *text, size_t length)
{
	if(e->to && e->length + length <= e->size)
		memcpy(e->to + e->length, text, length);
	e->length += length;
}

static void put_text(struct cn_exposition *e, const char *text)
{
	put(e, text, strlen(text));
}

static void put_format(struct cn_exposition *e, const char *format, ...)
		__attribute__((format(printf, 2, 3)));

/* Short: numbers. */
static void put_format(struct cn_exposition *e, const char *format, ...)
{
	char text[64];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if(length > 0 && length < (int)sizeof(text))
		put(e, text, length);
}

static void put_value(struct cn_exposition *e, double value)
{
	if(floor(value) == value && fabs(value) < 1e15)
		put_format(e, " %.0f\n", value);
	else
		put_format(e, " %.12g\n", value);
}

static void put_name(
		struct cn_exposition *e, const char *name, const char *ending)
{
	put_text(e, "cms_notify_");
	put_text(e, name);
	put_text(e, ending);
}

/* Of samples; OpenMetrics has it not in what comes before them. */
static const char *ending_of(const struct cn_metric *metric)
{
	switch(metric->type) {
		case CN_METRIC_COUNTER:
			return "_total";
		case CN_METRIC_INFO:
			return "_info";
		case CN_METRIC_GAUGE:
		case CN_METRIC_HISTOGRAM:
			break;
	}
	return "";
}

static const char *type_name(
		const struct cn_exposition *e, enum cn_metric_type t)
{
	switch(t) {
		case CN_METRIC_COUNTER:
			return "counter";
		case CN_METRIC_HISTOGRAM:
			return "histogram";
		case CN_METRIC_INFO:
			return e->open_metrics ? "info" : "gauge";
		case CN_METRIC_GAUGE:
			break;
	}
	return "gauge";
}

static void put_line(struct cn_exposition *e, const struct cn_metric *metric,
		const char *what, const char *text)
{
	put_text(e, what);
	put_name(e, metric->name, e->open_metrics ? "" : ending_of(metric));
	put_text(e, " ");
	put_text(e, text);
	put_text(e, "\n");
}

void cn_exposition_begin(
		struct cn_exposition *e, const struct cn_metric *metric)
{
	put_line(e, metric, "# HELP ", metric->help);
	put_line(e, metric, "# TYPE ", type_name(e, metric->type));
	if(metric->unit && e->open_metrics)
		put_line(e, metric, "# UNIT ", metric->unit);
}

static void put_escaped(struct cn_exposition *e, const char *value)
{
	char shown[CN_UTF8_SHOWN * LABEL_MAX];
	str text = {(char *)value, (int)strnlen(value, LABEL_MAX)};
	int length = cn_utf8_show(&text, shown), i;

	for(i = 0; i < length; i++) {
		if(shown[i] == '"' || shown[i] == '\\')
			put_text(e, "\\");
		put(e, &shown[i], 1);
	}
}

/* @param border of a bucket, in microseconds; 0: none is meant, INFINITY: the last */
static void put_labels(
		struct cn_exposition *e, const struct cn_label *labels, double border)
{
	const char *before = "{";

	for(; labels && labels->name; labels++) {
		put_text(e, before);
		put_text(e, labels->name);
		put_text(e, "=\"");
		put_escaped(e, labels->value);
		put_text(e, "\"");
		before = ",";
	}
	if(border > 0) {
		put_text(e, before);
		if(isinf(border))
			put_text(e, "le=\"+Inf\"");
		else
			put_format(e, "le=\"%.12g\"", border / 1e6);
		before = ",";
	}
	if(before[0] == ',')
		put_text(e, "}");
}

void cn_exposition_add(struct cn_exposition *e, const struct cn_metric *metric,
		const struct cn_label *labels, double value)
{
	put_name(e, metric->name, ending_of(metric));
	put_labels(e, labels, 0);
	put_value(e, value);
}

void cn_exposition_add_histogram(struct cn_exposition *e,
		const struct cn_metric *metric, const struct cn_label *labels,
		const struct cn_borders *borders,
		const struct cn_histogram_counts *counts)
{
	int bits;

	for(bits = borders->first; bits <= borders->last; bits += borders->step) {
		put_name(e, metric->name, "_bucket");
		put_labels(e, labels, (double)(1ull << bits));
		put_value(e, counts->below[bits]);
	}
	put_name(e, metric->name, "_bucket");
	put_labels(e, labels, INFINITY);
	put_value(e, counts->all);
	put_name(e, metric->name, "_sum");
	put_labels(e, labels, 0);
	put_value(e, counts->sum_s);
	put_name(e, metric->name, "_count");
	put_labels(e, labels, 0);
	put_value(e, counts->all);
}

void cn_exposition_end(struct cn_exposition *e)
{
	if(e->open_metrics)
		put_text(e, "# EOF\n");
}
