/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Notices that the clock was set, or that the server has stood still. In the
 * alive process. */

#include <stdlib.h>

#include "alive_clock.h"

/* More than a clock is corrected by without being set. */
#define CN_STEP_US 1000000

bool cn_alive_clock_read(
		struct cn_alive_clock *clock, int64_t system_us, int64_t now_us)
{
	int64_t ahead_us = system_us - now_us;
	bool anew = clock->current_us == 0
				|| llabs(ahead_us - clock->ahead_us) > CN_STEP_US
				|| now_us - clock->current_us > clock->still_us;

	clock->now_s = system_us / 1000000;
	clock->ahead_us = ahead_us;
	clock->current_us = now_us;
	if(anew)
		clock->since_s = clock->now_s;
	return anew;
}
