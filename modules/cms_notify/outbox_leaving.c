/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/fmsg.h"

#include "base_body.h"
#include "base_conf.h"
#include "outbox_leaving.h"
#include "outbox.h"
#include "outbox_table.h"
#include "job_ring.h"

#define CN_STORE_US 1000000

static cn_event_show_f show_event;

/* of the main process, while the server stops */
static struct
{
	int64_t until_us; /* 0: nothing to be stored yet */
	int room;		  /* in the table; 0 after a failure */
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

/* -------- while the server stops -------- */

/* Shared memory may be gone: the table says how much room there is. */
static bool may_store(void)
{
	struct cn_row_counts counts;

	if(stop.until_us == 0) {
		stop.until_us = cn_now_us() + CN_STORE_US;
		if(cn_outbox_db_count(&counts) == 0)
			stop.room = cn_conf.outbox_max - counts.waiting - counts.dead;
	}
	return stop.room > 0 && cn_now_us() < stop.until_us;
}

static int store(const struct cn_event *ev, int64_t at_us)
{
	struct cn_row row;
	str body;

	if(ev->key.len > CN_ROW_KEY_MAX || !may_store()
			|| cn_leaving_render(ev, &body) < 0)
		return -1;
	memset(&row, 0, sizeof(row));
	strcpy(row.event_id, ev->id);
	memcpy(row.device, ev->key.s, ev->key.len);
	cn_about_write(ev, row.about);
	strcpy(row.event, cn_kind_name(ev->kind));
	strcpy(row.reason, cn_reason_name(ev->reason));
	row.created_us = at_us;
	if(cn_outbox_db_insert(&row, CN_ROW_WAITING, &body) < 0) {
		stop.room = 0;
		return -1;
	}
	stop.room--;
	return 0;
}

static void store_or_say(const struct cn_event *ev, int64_t at_us)
{
	if(store(ev, at_us) < 0)
		LM_ERR("not stored while the server stops: the CMS is not told that "
			   "%.*s has left\n",
				ev->aor.len, ev->aor.s);
}

void cn_leaving_finish(void)
{
	struct cn_note *note;

	while(cn_outbox_notes()
			&& (note = cn_ring_take(cn_outbox_notes())) != NULL) {
		if(note->type == CN_NOTE_LEFT)
			store_or_say(note->event, note->at_us);
		cn_note_free(note);
	}
	cn_outbox_db_close();
}

void cn_leaving_store(const struct cn_event *ev)
{
	store_or_say(ev, cn_outbox_now_us());
	/* The database's module is the next one that ends: SQLite wants to be
	 * closed by then, a server will notice. */
	if(!cn_outbox_db_is_shared())
		cn_outbox_db_close();
}
