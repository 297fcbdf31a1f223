/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Makes and frees waiters. In SIP workers; wherever a request is resumed. */

#include <string.h>

#include "../../core/hashes.h"
#include "../../core/mem/shm_mem.h"

#include "job_waiter.h"

/* Kamailio's KEMI engines take the name of a function as a C string. */
char *cn_put_name(str *to, const str *from, char *p)
{
	to->s = p;
	to->len = from->len;
	if(from->len > 0)
		memcpy(p, from->s, from->len);
	p[from->len] = '\0';
	return p + from->len + 1;
}

unsigned cn_waiter_dialog(const str *call_id)
{
	return get_hash1_raw(call_id->s, call_id->len);
}

void cn_waiter_init(struct cn_waiter *w, const struct cn_event *ev)
{
	w->call_id_hash = cn_waiter_dialog(&ev->call_id);
	w->cseq = ev->cseq;
	w->share = ev->share;
	w->gives_way = ev->gives_way;
	w->parked_us = cn_now_us();
}

struct cn_waiter *cn_waiter_new(const struct cn_event *ev, const str *callback)
{
	struct cn_waiter *w = shm_malloc(sizeof(*w) + callback->len + 1);

	if(w == NULL)
		return NULL;
	memset(w, 0, sizeof(*w));
	cn_put_name(&w->callback, callback, (char *)(w + 1));
	cn_waiter_init(w, ev);
	return w;
}
