/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Ends the step of a waiter and writes its line. In the processes that resume. */

#include <string.h>

#include "../../core/dprint.h"

#include "base_answer.h"
#include "base_conf.h"
#include "base_history.h"
#include "base_stats.h"
#include "job_line.h"
#include "verdict_step.h"

static void write_line(const struct cn_job *job, unsigned elapsed_ms)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);
	struct cn_line line = {.verdict = outcome->verdict,
			.cause = outcome->cause,
			.status = outcome->status,
			.elapsed_ms = elapsed_ms,
			.reason = cn_job_reason(job),
			.id = *cn_job_id(job),
			.aor = *cn_job_aor(job),
			.contact = cn_job_contact(job)};

	cn_line_write(&line);
}

/* The CMS's words, or how its answer begins. To look for the words takes time, which
 * a registration that went well has not. */
static void set_text(struct cn_step *step, const struct cn_outcome *outcome)
{
	char text[CN_STEP_TEXT + 1];
	int len = 0;

	if(outcome->verdict != CN_ACCEPTED)
		len = cn_answer_text(&outcome->body, text, sizeof(text));
	if(len > 0)
		cn_step_set_text(step, text, len);
	else
		cn_step_set_text(step, outcome->body.s, outcome->body.len);
}

static void note_flap(const struct cn_job *job, unsigned flaps)
{
	unsigned limit = cn_conf.flap_limit;

	if(limit == 0 || flaps <= limit)
		return;
	cn_stats_count(CN_COUNTER_flapping);
	if(flaps == limit + 1)
		LM_WARN("event %.*s: %.*s flaps, it has registered anew more than %u "
				"times within the hour\n",
				cn_job_id(job)->len, cn_job_id(job)->s, cn_job_aor(job)->len,
				cn_job_aor(job)->s, limit);
}

void cn_verdict_note(const struct cn_job *job, const struct cn_waiter *waiter)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);
	bool joined = waiter->block != job;
	bool counts = !joined
				  && (outcome->verdict == CN_ACCEPTED
						  || outcome->verdict == CN_DEFERRED);
	struct cn_step end = {0};

	end.elapsed_ms = (unsigned)((cn_now_us() - waiter->parked_us) / 1000);
	write_line(job, end.elapsed_ms);
	if(waiter->step == 0)
		return;
	end.kind = joined ? CN_STEP_JOINED : CN_STEP_REGISTER;
	end.reason = cn_job_reason(job);
	end.verdict = CN_STEP_VERDICT(outcome->verdict);
	end.cause = outcome->cause;
	end.status = outcome->status;
	cn_step_set_id(&end, cn_job_id(job));
	set_text(&end, outcome);
	note_flap(job, cn_history_end(waiter->step, &end, counts));
}
