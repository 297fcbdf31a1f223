/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Since when this server has been listening. usrloc's time is the system's, which
 * somebody may set; and whoever was not listening has not heard. Pure. */

#ifndef CN_ALIVE_CLOCK_H
#define CN_ALIVE_CLOCK_H

#include "base.h"

struct cn_alive_clock
{
	int64_t still_us;	/* nobody has looked for so long: nobody has listened */
	time_t now_s;		/* seconds since 1970 */
	time_t since_s;		/* what was not heard before says nothing */
	int64_t ahead_us;	/* of the clock that nobody can step */
	int64_t current_us; /* on that, when it was read last; 0: never */
};

/* @param system_us microseconds since 1970
 * @return true: since_s has changed */
bool cn_alive_clock_read(
		struct cn_alive_clock *clock, int64_t system_us, int64_t now_us);

#endif
