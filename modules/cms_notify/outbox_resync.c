/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Goes through the bindings that are to be told again. In the outbox process;
 * asked for in any. */

#include <stdlib.h>
#include <string.h>

#include "../../core/clist.h"
#include "../../core/dprint.h"

#include "reg_usrloc.h"
#include "base_limits.h"
#include "outbox_resync.h"

/* Attempts, while other events succeed. */
#define CN_TRIES 10
#define CN_IDLE_US 1000000
/* Something else of the device comes first: not again before. */
#define CN_PAUSE_US 100000
/* What was missed of the rate is not caught up beyond this. */
#define CN_BURST_US 100000

struct cn_task
{
	struct cn_task *next, *prev;
	int tries;
	unsigned hash;
	int64_t due_us; /* not before */
	char ruid[];
};

/* of the outbox process */
static struct cn_task tasks = {.next = &tasks, .prev = &tasks}; /* their head */
static struct
{
	struct cn_resync_progress *progress; /* as everybody sees it */
	int under_way;
	int64_t next_us; /* by the rate */
} work;

bool cn_resync_ask(const str *aor)
{
	struct cn_resync_progress *p;
	bool mine;

	if(aor && aor->len >= (int)sizeof(p->aor))
		return false;
	p = &cn_outbox_lock_view()->resync;
	mine = !p->running;
	if(mine) {
		memset(p, 0, sizeof(*p));
		if(aor)
			memcpy(p->aor, aor->s, aor->len);
		p->running = true;
	}
	cn_outbox_unlock_view();
	return mine;
}

void cn_resync_progress(struct cn_resync_progress *progress)
{
	*progress = cn_outbox_lock_view()->resync;
	cn_outbox_unlock_view();
}

/* -------- in the outbox process -------- */

static void add(unsigned hash, const str *ruid)
{
	struct cn_task *task = calloc(1, sizeof(*task) + ruid->len + 1);

	if(task == NULL) {
		LM_ERR("no memory for a binding, run cms_notify.resync again\n");
		work.progress->failed++;
		return;
	}
	task->hash = hash;
	memcpy(task->ruid, ruid->s, ruid->len);
	clist_append(&tasks, task, next, prev);
	work.progress->waiting++;
}

/* Fill the list from the next piece of usrloc's table. */
static void look_further(void)
{
	struct cn_resync_progress *p = work.progress;

	if(p->aor[0] != '\0') {
		cn_usrloc_each_of(p->aor, add);
		p->part = CN_USRLOC_PARTS;
	} else {
		if(cn_usrloc_each(p->part, add) < 0)
			p->failed++;
		p->part++;
	}
	p->percent = 100 * p->part / CN_USRLOC_PARTS;
}

static void finish(void)
{
	struct cn_resync_progress *p = work.progress;

	LM_NOTICE("resync: %d bindings told, %d refused by the CMS, %d failed\n",
			p->sent, p->refused, p->failed);
	cn_outbox_lock_view();
	p->running = false;
	cn_outbox_unlock_view();
}

static bool is_running(void)
{
	bool running;

	work.progress = &cn_outbox_lock_view()->resync;
	running = work.progress->running;
	cn_outbox_unlock_view();
	return running;
}

static void keep_rate(int64_t now_us)
{
	if(work.next_us < now_us - CN_BURST_US)
		work.next_us = now_us - CN_BURST_US;
	work.next_us += 1000000 / cn_limits->resync_rate;
}

struct cn_task *cn_resync_next(
		struct cn_event **ev, int64_t now_us, int64_t *due_us)
{
	struct cn_task *task;

	*due_us = now_us + CN_IDLE_US;
	if(!is_running())
		return NULL;
	while(clist_empty(&tasks, next) && work.progress->part < CN_USRLOC_PARTS)
		look_further();
	if(clist_empty(&tasks, next)) {
		if(work.under_way == 0)
			finish();
		return NULL;
	}
	task = tasks.next;
	*due_us = work.next_us > task->due_us ? work.next_us : task->due_us;
	if(now_us < *due_us)
		return NULL;
	*due_us = now_us;
	clist_rm(task, next, prev);
	*ev = cn_usrloc_snapshot(task->hash, task->ruid);
	if(*ev == NULL) { /* it has gone meanwhile */
		work.progress->waiting--;
		free(task);
		return NULL;
	}
	work.under_way++;
	keep_rate(now_us);
	return task;
}

void cn_resync_told(struct cn_task *task, enum cn_told told)
{
	struct cn_resync_progress *p = work.progress;

	work.under_way--;
	if(told == CN_TOLD_NOT_NOW
			|| (told == CN_TOLD_FAILED && ++task->tries < CN_TRIES)) {
		task->due_us = cn_now_us() + CN_PAUSE_US;
		clist_append(&tasks, task, next, prev);
		return;
	}
	p->waiting--;
	if(told == CN_TOLD)
		p->sent++;
	else if(told == CN_TOLD_REFUSED)
		p->refused++;
	else
		p->failed++;
	free(task);
}
