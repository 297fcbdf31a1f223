/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The numbers of events, which give them one order: newer is what has the higher
 * number. They begin with the microseconds since 1970 at the start and go on with
 * the clock that nobody can step. */

#ifndef CN_JOB_NUMBER_H
#define CN_JOB_NUMBER_H

#include "base.h"

/* Process: main, before any fork. */
int cn_number_init(void) CN_MUST;
void cn_number_destroy(void);

/* The next number. Process: any; never blocks. */
int64_t cn_number_next(void) CN_MUST;

/* The highest that was given. */
int64_t cn_number_last(void);

/* From now on numbers are higher than this one, too. */
void cn_number_above(int64_t seq);

/* The moment, on the clock that the numbers are taken from; the moment of
 * cn_now_us() on it. */
int64_t cn_number_clock_us(void);
int64_t cn_number_time_us(int64_t now_us);

#endif
