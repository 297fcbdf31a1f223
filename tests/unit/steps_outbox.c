/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The outbox process, as it is. */

#include "outbox_proc.c"

#include "steps.h"

void step_outbox(void)
{
	work();
}

int64_t step_outbox_due_us(void)
{
	return next_us();
}
