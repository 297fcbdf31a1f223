/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Does what other processes ask the outbox process for. In that process. */

#include "../../core/dprint.h"

#include "base_conf.h"
#include "job_order.h"
#include "outbox_batch.h"
#include "outbox_command.h"
#include "reg_settings.h"

#define CN_FULL_LOG_US 10000000
#define CN_SHARE_MIN 20

/* -------- room -------- */

static bool is_full(void)
{
	static int64_t logged_us;
	struct cn_row_counts n = cn_rows_count();

	if(n.waiting + n.dead < cn_conf.outbox_max)
		return false;
	if(logged_us == 0 || cn_now_us() - logged_us > CN_FULL_LOG_US) {
		logged_us = cn_now_us();
		LM_ERR("the outbox is full: %d events wait, %d are dead letters "
			   "(cms_notify.outbox), outbox_max is %d\n",
				n.waiting, n.dead, cn_conf.outbox_max);
	}
	return true;
}

/* One account must not take everybody's place. */
static int share(void)
{
	int most = cn_registrar()->max_contacts;

	most = most > 0 ? 2 * most : cn_conf.outbox_max / 10;
	return most > CN_SHARE_MIN ? most : CN_SHARE_MIN;
}

bool cn_command_has_room(const char *aor, unsigned hash)
{
	return !is_full() && cn_rows_of(aor, hash) < share();
}

/* What takes the place of something else has its room. */
static bool fits(const struct cn_command *c)
{
	return cn_rows_any_replaced(c->aor, c->hash, c->seq, c->contacts)
		   || cn_rows_find(c->aor, c->hash, c->seq)
		   || cn_command_has_room(c->aor, c->hash);
}

/* -------- taking commands: true, it is in the batch -------- */

static bool take_store(struct cn_command *c)
{
	if(!cn_job_decided(c->job) && fits(c)
			&& cn_batch_add(c, CN_ROW_WAITING) == 0)
		return true;
	(void)cn_batch_end_job(c->job, false);
	return false;
}

static bool take_ask(struct cn_command *c)
{
	/* it ends without being sent: at its deadline it has been given to be
	 * stored */
	if(cn_job_decided(c->job) || cn_job_storing(c->job))
		return false;
	switch(cn_rows_older(c->aor, c->hash, c->seq, c->contacts)) {
		case CN_OLDER_NONE:
			break;
		case CN_OLDER_FIRST:
			cn_order_hold(c->job);
			cn_rows_hurry(c->aor, c->hash);
			return false;
		case CN_OLDER_DOOMED:
		case CN_OLDER_COVERED:
			if(cn_batch_add(c, CN_ROW_HELD) == 0)
				return true;
			break;
	}
	(void)cn_order_answer(c->job, false);
	return false;
}

/* The CMS may have heard of it: it is told again, rather than what is older. */
static bool take_wait(struct cn_command *c)
{
	struct cn_row *row = cn_rows_find(c->aor, c->hash, c->seq);

	if(row == NULL)
		return cn_rows_older(c->aor, c->hash, c->seq, c->contacts)
					   == CN_OLDER_COVERED
			   && cn_batch_add(c, CN_ROW_WAITING) == 0;
	if(row->state == CN_ROW_HELD && !row->doomed)
		cn_batch_wait(row);
	return false;
}

static void take_withdraw(const struct cn_command *c)
{
	struct cn_row *row = cn_rows_find(c->aor, c->hash, c->seq);

	if(row && row->state == CN_ROW_HELD)
		cn_batch_doom(row);
}

void cn_command_do(struct cn_command *command)
{
	bool taken = false;

	switch(command->type) {
		case CN_ASK:
			taken = take_ask(command);
			break;
		case CN_STORE:
			taken = take_store(command);
			break;
		case CN_WAIT:
			taken = take_wait(command);
			break;
		case CN_SETTLE:
			cn_batch_settle(command->aor, command->hash, command->seq,
					command->contacts);
			break;
		case CN_WITHDRAW:
			take_withdraw(command);
			break;
		case CN_LOOK:
		case CN_LEAVE:
			break;
	}
	if(!taken)
		cn_command_free(command);
}
