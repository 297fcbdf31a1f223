/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes the line of a verdict. In the processes that resume, and in SIP workers. */

#include "../../core/dprint.h"
#include "../../core/timer.h"

#include "job_line.h"

/* Warnings in a second and a process: a CMS that is away must not fill the disk. The
 * others are information. */
#define CN_WARNINGS_MAX 10

static bool fits(void)
{
	static unsigned second;
	static int lines;
	unsigned now = get_ticks();

	if(second != now)
		lines = 0;
	second = now;
	return lines++ < CN_WARNINGS_MAX;
}

static bool is_wrong(const struct cn_line *line)
{
	return line->verdict == CN_REJECTED || line->verdict == CN_UNAVAILABLE;
}

void cn_line_write(const struct cn_line *line)
{
	static const str none = {"-", 1};
	const str *id = line->id.len > 0 ? &line->id : &none;
	const str *contact = line->contact.len > 0 ? &line->contact : &none;
	int level = L_INFO;

	if(is_wrong(line) && fits())
		level = L_WARN;
	LOG(level,
			"registration: verdict=%s status=%u cause=%s ms=%u reason=%s "
			"id=%.*s aor=%.*s contact=%.*s\n",
			cn_verdict_name(line->verdict), line->status,
			cn_cause_name(line->cause), line->elapsed_ms,
			cn_reason_name(line->reason), id->len, id->s, line->aor.len,
			line->aor.s, contact->len, contact->s);
}
