/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What every file of the module may use. */

#ifndef CN_BASE_H
#define CN_BASE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "../../core/str.h"

#define CN_VERSION "2.0.0"
#define CN_MUST __attribute__((warn_unused_result))

/* Microseconds on a clock that nobody can step, the same in all processes. */
static inline int64_t cn_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* The lowest digits of a number. @return after the last one */
static inline char *cn_put_hex(char *to, uint64_t n, int digits)
{
	int i;

	for(i = digits - 1; i >= 0; i--, n >>= 4)
		to[i] = "0123456789abcdef"[n & 15];
	return to + digits;
}

#define CN_DIGEST_BASE 0xcbf29ce484222325ULL

/* FNV-1a: the same in every version of the module, for what is in the table of
 * the outbox. Where others choose the bytes: with a base that they cannot guess. */
static inline uint64_t cn_digest(uint64_t base, const void *bytes, size_t size)
{
	const unsigned char *p = bytes;
	size_t i;

	for(i = 0; i < size; i++)
		base = (base ^ p[i]) * 0x100000001b3ULL;
	return base;
}

#endif
