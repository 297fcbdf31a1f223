/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How long things took: counts in buckets, from which both percentiles and the
 * buckets of a Prometheus histogram are read. In shared memory, without a lock. */

#ifndef CN_BASE_HISTOGRAM_H
#define CN_BASE_HISTOGRAM_H

#include "base.h"

/* A bucket is an eighth as wide as the value where it begins; so each power of two
 * is where one begins. */
#define CN_HISTOGRAM_WIDTH_BITS 3
#define CN_HISTOGRAM_BITS 40 /* up to 2^40 us, which is 12 days */
#define CN_HISTOGRAM_BUCKETS                           \
	((CN_HISTOGRAM_BITS - CN_HISTOGRAM_WIDTH_BITS + 1) \
			<< CN_HISTOGRAM_WIDTH_BITS)

/* All zero: nothing was counted. For base_histogram.c alone. */
struct cn_histogram
{
	uint64_t sum_us;
	uint64_t buckets[CN_HISTOGRAM_BUCKETS];
};

/* Process: any. */
void cn_histogram_add(struct cn_histogram *histogram, int64_t us);

/* @param percent 0 to 100; @return within an eighth; 0: nothing was counted */
double cn_histogram_percentile_us(
		const struct cn_histogram *histogram, double percent);

/* What was counted until a moment. */
struct cn_histogram_counts
{
	uint64_t below[CN_HISTOGRAM_BITS]; /* [n]: what took less than 2^n us */
	uint64_t all;
	double sum_s;
};
void cn_histogram_read(const struct cn_histogram *histogram,
		struct cn_histogram_counts *counts);

#endif
