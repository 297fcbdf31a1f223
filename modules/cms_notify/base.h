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

#endif
