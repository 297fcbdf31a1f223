/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Makes what cms_notify.outbox shows. In the outbox process. */

#include <stdio.h>
#include <string.h>

#include "outbox.h"
#include "outbox_db.h"
#include "outbox_rows.h"
#include "outbox_summary.h"

#define CN_PUBLISH_US 1000000
#define CN_LETTERS_US 50000 /* a dead letter more */

static void write_letter(
		struct cn_dead_letter *letter, const struct cn_row *row)
{
	memset(letter, 0, sizeof(*letter));
	memcpy(letter->id, row->id, sizeof(letter->id));
	snprintf(letter->aor, sizeof(letter->aor), "%s", row->of->name);
	letter->kind = row->kind;
	letter->reason = row->reason;
	letter->created_us = row->created_us;
	letter->attempts = row->attempts;
	letter->cause = row->cause;
	letter->status = row->status;
	letter->too_old = row->cause != CN_CAUSE_none;
}

/* Keeps the oldest ones, in order; the rows come in none. */
static void add_letter(struct cn_outbox_view *view, const struct cn_row *row)
{
	struct cn_dead_letter *letters = view->letters;
	int i = view->letter_count;

	while(i > 0 && letters[i - 1].created_us > row->created_us)
		i--;
	if(i == CN_OUTBOX_DEAD_MAX)
		return;
	if(view->letter_count < CN_OUTBOX_DEAD_MAX)
		view->letter_count++;
	memmove(&letters[i + 1], &letters[i],
			(view->letter_count - 1 - i) * sizeof(*letters));
	write_letter(&letters[i], row);
}

static void add(struct cn_row *row, void *arg)
{
	struct cn_outbox_view *view = arg;
	int64_t *oldest_us = &view->state.oldest_us;

	if(row->doomed || row->state == CN_ROW_ELSEWHERE)
		return;
	if(row->state == CN_ROW_DEAD)
		add_letter(view, row);
	else if(*oldest_us == 0 || row->created_us < *oldest_us)
		*oldest_us = row->created_us;
}

/* Counts at once; what takes a look at all rows, now and then. */
int64_t cn_summary_publish(int64_t now, int64_t next_us)
{
	static int64_t looked_us;
	static int dead; /* when all rows were looked at */
	struct cn_row_counts n = cn_rows_count();
	bool any = n.waiting + n.dead > 0;
	int64_t due_us =
			looked_us + (n.dead != dead ? CN_LETTERS_US : CN_PUBLISH_US);
	struct cn_outbox_view *view;

	cn_outbox_publish_counts(n.waiting, n.dead);
	view = cn_outbox_lock_view();
	view->state.ready = cn_db_is_open();
	view->state.next_try_us = next_us == INT64_MAX ? 0 : next_us;
	if(now >= due_us || !any) {
		view->state.oldest_us = 0;
		view->letter_count = 0;
		if(any)
			cn_rows_each(add, view);
		dead = n.dead;
		looked_us = any ? now : 0;
		due_us = now + CN_PUBLISH_US;
	}
	cn_outbox_unlock_view();
	return any ? due_us : INT64_MAX;
}
