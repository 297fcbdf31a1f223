/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Counts times, and reads what was counted. In every process. */

#include "base_histogram.h"

#define PER_DOUBLING (1u << CN_HISTOGRAM_WIDTH_BITS)

/* 0..7 each have a bucket; above, the three bits below the leading one. */
static unsigned bucket_of(uint64_t us)
{
	unsigned shift;

	if(us < PER_DOUBLING)
		return (unsigned)us;
	shift = 63 - __builtin_clzll(us) - CN_HISTOGRAM_WIDTH_BITS;
	return ((shift + 1) << CN_HISTOGRAM_WIDTH_BITS)
		   + (unsigned)((us >> shift) & (PER_DOUBLING - 1));
}

/* The middle of a bucket. */
static double bucket_value(unsigned bucket)
{
	unsigned shift = bucket >> CN_HISTOGRAM_WIDTH_BITS;
	unsigned low = bucket & (PER_DOUBLING - 1);

	if(shift == 0)
		return low;
	return ((double)(PER_DOUBLING + low) + 0.5) * (double)(1ull << (shift - 1));
}

static uint64_t count_of(const struct cn_histogram *histogram, unsigned bucket)
{
	return __atomic_load_n(&histogram->buckets[bucket], __ATOMIC_RELAXED);
}

void cn_histogram_add(struct cn_histogram *histogram, int64_t us)
{
	const int64_t most = (1ll << CN_HISTOGRAM_BITS) - 1;
	uint64_t v = us < 0 ? 0 : us > most ? most : us;

	__atomic_fetch_add(&histogram->buckets[bucket_of(v)], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&histogram->sum_us, v, __ATOMIC_RELAXED);
}

double cn_histogram_percentile_us(
		const struct cn_histogram *histogram, double percent)
{
	double total = 0, seen = 0;
	unsigned i;

	for(i = 0; i < CN_HISTOGRAM_BUCKETS; i++)
		total += count_of(histogram, i);
	if(total == 0)
		return 0;
	for(i = 0; i < CN_HISTOGRAM_BUCKETS; i++) {
		seen += count_of(histogram, i);
		if(seen > 0 && seen * 100 >= percent * total)
			break;
	}
	return bucket_value(i < CN_HISTOGRAM_BUCKETS ? i : i - 1);
}

void cn_histogram_read(const struct cn_histogram *histogram,
		struct cn_histogram_counts *counts)
{
	unsigned bucket = 0;
	uint64_t seen = 0;
	int bits;

	counts->sum_s = __atomic_load_n(&histogram->sum_us, __ATOMIC_RELAXED) / 1e6;
	for(bits = 0; bits < CN_HISTOGRAM_BITS; bits++) {
		for(; bucket < bucket_of(1ull << bits); bucket++)
			seen += count_of(histogram, bucket);
		counts->below[bits] = seen;
	}
	for(; bucket < CN_HISTOGRAM_BUCKETS; bucket++)
		seen += count_of(histogram, bucket);
	counts->all = seen;
}
