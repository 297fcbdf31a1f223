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

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

struct summary
{
	struct cn_outbox_state state;
	struct cn_dead_letter letters[CN_OUTBOX_DEAD_MAX];
	int count;
};

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
static void add_letter(struct summary *sum, const struct cn_row *row)
{
	struct cn_dead_letter *letters = sum->letters;
	int i = sum->count;

	while(i > 0 && letters[i - 1].created_us > row->created_us)
		i--;
	if(i == CN_OUTBOX_DEAD_MAX)
		return;
	if(sum->count < CN_OUTBOX_DEAD_MAX)
		sum->count++;
	memmove(&letters[i + 1], &letters[i],
			(sum->count - 1 - i) * sizeof(*letters));
	write_letter(&letters[i], row);
}

static void add_to_summary(struct cn_row *row, void *arg)
{
	struct summary *sum = arg;

	if(row->doomed)
		return;
	if(row->state == CN_ROW_DEAD)
		add_letter(sum, row);
	else if(row->state != CN_ROW_ELSEWHERE)
		sum->state.oldest_us = sum->state.oldest_us ? earlier(
									   sum->state.oldest_us, row->created_us)
													: row->created_us;
}

/* Counts at once; what takes a look at all rows, now and then. */
int64_t cn_summary_publish(int64_t now, int64_t next_us)
{
	static struct summary sum;
	static int64_t looked_us;
	static int dead; /* when all rows were looked at */
	struct cn_row_counts n = cn_rows_count();
	bool any = n.waiting + n.dead > 0, all;
	int64_t publish_us;

	publish_us = looked_us + (n.dead != dead ? CN_LETTERS_US : CN_PUBLISH_US);
	all = now >= publish_us;
	if(all || !any) {
		sum.state.oldest_us = 0;
		sum.count = 0;
	}
	if(all && any)
		cn_rows_each(add_to_summary, &sum);
	if(all) {
		dead = n.dead;
		looked_us = now;
		publish_us = now + CN_PUBLISH_US;
	}
	if(!any)
		publish_us = INT64_MAX;
	sum.state.ready = cn_db_is_open();
	cn_outbox_publish_counts(n.waiting, n.dead);
	sum.state.next_try_us = next_us == INT64_MAX ? 0 : next_us;
	cn_outbox_publish(&sum.state, all || !any ? sum.letters : NULL, sum.count);
	return publish_us;
}
