/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads the table into memory. In the outbox process. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/hashes.h"

#include "job_number.h"
#include "outbox.h"
#include "outbox_batch.h"
#include "outbox_db.h"
#include "outbox_rows.h"
#include "outbox_sync.h"
#include "outbox_table.h"

/* What waits at other servers is read anew after so many looks. */
#define CN_ELSEWHERE_LOOKS 40
#define CN_CLOCKS_US 5000000

static int64_t elsewhere_seq; /* highest number seen of other servers */

/* @return NULL: out of memory */
static struct cn_row *have_read(
		const char *aor, const struct cn_row *read, enum cn_row_state state)
{
	str s = {(char *)aor, strlen(aor)};
	unsigned hash = core_hash(&s, NULL, 0);
	struct cn_row *row = cn_rows_find(aor, hash, read->seq), copy = *read;

	cn_number_above(read->seq); /* the clock of its server may be ahead */
	copy.state = state;
	if(row == NULL)
		row = cn_rows_add(aor, hash, &copy);
	if(row)
		row->seen = row->stored = true;
	else
		LM_ERR("out of memory for the rows of the outbox\n");
	return row;
}

/* What is known already stays as it is known. What was held waits: its job is no
 * more. */
static int load_row(const char *aor, const struct cn_row *read)
{
	enum cn_row_state state =
			read->state == CN_ROW_HELD ? CN_ROW_WAITING : read->state;
	struct cn_row *row = have_read(aor, read, state);

	if(row == NULL)
		return -1;
	if(row->state == CN_ROW_ELSEWHERE) {
		row->taken = true;
		cn_row_set_state(row, state);
	}
	if(row->state != read->state)
		cn_batch_change(row);
	return 0;
}

static void not_seen(struct cn_row *row, void *unused)
{
	(void)unused;
	row->seen = false;
}

static void sort_out(struct cn_row *row, void *unused)
{
	(void)unused;
	if(row->state == CN_ROW_ELSEWHERE) {
		if(row->doomed)
			cn_batch_doom(row);
		return;
	}
	/* that of a delivery is removed when it has ended */
	if(row->seen ? row->doomed : row->sent)
		cn_batch_doom(row);
	else if(!row->seen)
		cn_batch_remove(row);
}

static void let_wait(struct cn_row *row, void *unused)
{
	(void)unused;
	if(row->state == CN_ROW_WAITING && !row->doomed)
		cn_batch_wait(row);
}

int cn_sync_load(int statement_ms)
{
	int64_t highest;

	if(cn_table_open(statement_ms, true, &highest) < 0)
		return -1;
	cn_number_above(highest);
	return cn_sync_read();
}

int cn_sync_read(void)
{
	cn_batch_reset();
	cn_rows_each(not_seen, NULL);
	if(cn_table_load(load_row) < 0) {
		cn_db_close();
		return -1;
	}
	cn_rows_each(sort_out, NULL);
	cn_rows_each(let_wait, NULL);
	return 0;
}

/* -------- the other servers -------- */

/* What waits there comes before what is new here, too. */
static int load_elsewhere(const char *aor, const struct cn_row *read)
{
	if(read->seq > elsewhere_seq)
		elsewhere_seq = read->seq;
	return have_read(aor, read, CN_ROW_ELSEWHERE) ? 0 : -1;
}

static void drop_unseen(struct cn_row *row, void *unused)
{
	(void)unused;
	if(row->state == CN_ROW_ELSEWHERE && !row->seen && !row->doomed)
		cn_batch_remove(row);
}

/* What has come since the last look; now and then all, as some has gone. Clocks
 * of servers differ a little. */
int cn_sync_look_elsewhere(void)
{
	static unsigned looks;

	if(looks++ % CN_ELSEWHERE_LOOKS != 0)
		return cn_table_load_elsewhere(
				load_elsewhere, elsewhere_seq - CN_CLOCKS_US);
	cn_rows_each(not_seen, NULL);
	if(cn_table_load_elsewhere(load_elsewhere, -1) < 0)
		return -1;
	cn_rows_each(drop_unseen, NULL);
	return 0;
}
