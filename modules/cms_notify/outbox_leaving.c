/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Makes the body of events that no request made. In the outbox process; in the
 * main process, when the others have ended. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/fmsg.h"

#include "base_body.h"
#include "job_index.h"
#include "job_number.h"
#include "job_ring.h"
#include "outbox.h"
#include "outbox_leaving.h"
#include "outbox_db.h"
#include "outbox_table.h"

#define CN_END_US 1000000
#define CN_STATEMENT_MS 500

static cn_event_show_f show_event;

/* of the main process, while the server stops */
static struct
{
	int64_t until_us; /* 0: nothing to be stored yet */
	bool failed;
	int64_t failed_us; /* since when nothing could be stored, 0: it could */
} stop;

int cn_leaving_init(cn_event_show_f show)
{
	if(!cn_outbox_exists())
		return 0;
	show_event = show;
	if(faked_msg_init() == 0)
		return 0;
	LM_ERR("cannot make a message\n");
	return -1;
}

int cn_leaving_render(const struct cn_event *ev, str *body)
{
	int err;

	show_event(ev);
	err = cn_body_render(faked_msg_next(), ev, body);
	show_event(NULL);
	if(err < 0)
		LM_ERR("event %s of %.*s: no memory for its body\n", ev->id,
				ev->aor.len, ev->aor.s);
	return err;
}

void cn_leaving_fill_row(const struct cn_event *ev, struct cn_row *row)
{
	memset(row, 0, sizeof(*row));
	row->seq = ev->seq;
	memcpy(row->id, ev->id, sizeof(row->id));
	cn_contacts_write(ev, row->contacts);
	row->kind = ev->kind;
	row->reason = ev->reason;
	row->created_us = cn_number_clock_us();
	row->state = CN_ROW_WAITING;
}

/* -------- while the server stops -------- */

static bool may_store(void)
{
	int64_t lease;

	if(stop.until_us == 0) {
		stop.until_us = cn_now_us() + CN_END_US;
		stop.failed = cn_table_open(CN_STATEMENT_MS, false, &lease) < 0;
		if(!stop.failed)
			cn_number_above(lease);
	}
	return !stop.failed && cn_now_us() < stop.until_us;
}

static int store(struct cn_event *ev)
{
	char aor[CN_ROW_AOR_MAX + 1];
	struct cn_row row;
	str body;

	if(ev->key.len > CN_ROW_AOR_MAX || !may_store())
		return -1;
	ev->seq = cn_number_next();
	if(cn_leaving_render(ev, &body) < 0)
		return -1;
	memcpy(aor, ev->key.s, ev->key.len);
	aor[ev->key.len] = '\0';
	cn_leaving_fill_row(ev, &row);
	stop.failed = cn_db_begin() < 0 || cn_table_insert(aor, &row, &body) < 0
				  || cn_db_commit() < 0;
	return stop.failed ? -1 : 0;
}

static void store_or_say(struct cn_event *ev)
{
	if(store(ev) < 0)
		LM_ERR("not stored while the server stops: the CMS is not told that "
			   "%.*s has left\n",
				ev->aor.len, ev->aor.s);
}

void cn_leaving_finish(void)
{
	struct cn_command *command;

	if(!cn_outbox_exists() || cn_outbox_ring() == NULL)
		return;
	for(command = *cn_outbox_kept(); command; command = command->next) {
		if(command->type == CN_LEAVE && !command->done)
			store_or_say(command->event);
	}
	while((command = cn_ring_take_last(cn_outbox_ring())) != NULL) {
		if(command->type == CN_LEAVE)
			store_or_say(command->event);
		cn_command_free(command);
	}
	cn_db_close();
}

void cn_leaving_store(struct cn_event *ev)
{
	/* closed by the one before; one that fails is tried for a moment */
	if(stop.until_us != 0 && !cn_db_is_open()
			&& (stop.failed_us == 0
					|| cn_now_us() < stop.failed_us + CN_END_US))
		stop.until_us = 0;
	store_or_say(ev);
	if(!stop.failed)
		stop.failed_us = 0;
	else if(stop.failed_us == 0)
		stop.failed_us = cn_now_us();
	/* The database's module is the next one that ends: it wants its connections
	 * to be closed by then. */
	cn_db_close();
}
