/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The line of the log that says how a new registration ended, as key=value. What
 * went wrong is a warning, a few of them in a second; all else is information. */

#ifndef CN_JOB_LINE_H
#define CN_JOB_LINE_H

#include "job_event.h"

/* Plain data. */
struct cn_line
{
	enum cn_verdict verdict;
	enum cn_cause cause;
	unsigned status; /* HTTP, 0: none */
	unsigned elapsed_ms;
	enum cn_reason reason;
	str id; /* empty: it has none */
	str aor;
	str contact; /* empty: not known */
};

/* Process: any. */
void cn_line_write(const struct cn_line *line);

#endif
