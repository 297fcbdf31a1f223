/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* An HTTP process, as it is, without libcurl. */

#include "http_post.c"
#include "http_proc.c"

#include "steps.h"

int step_http_start(void)
{
	return cn_http_proc_init() < 0 || set_up() < 0 ? -1 : 0;
}

void step_http(void)
{
	begin_again();
	begin_jobs();
	begin_spare();
}

void step_http_done(void *user, const struct cn_http_result *result)
{
	on_done(user, result);
}

bool step_http_is_decided(const void *user, int i)
{
	return cn_job_decided(((const struct cn_post *)user)->jobs[i]);
}
