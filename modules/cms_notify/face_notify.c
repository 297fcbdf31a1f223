/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Classifies a REGISTER, parks it, gives it a job or lets it join one. In the
 * SIP workers. */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"

#include "admit.h"
#include "admit_reservation.h"
#include "admit_share.h"
#include "base_body.h"
#include "base_history.h"
#include "base_stats.h"
#include "face_notify.h"
#include "face_pv.h"
#include "face_step.h"
#include "job_index.h"
#include "job_line.h"
#include "job_number.h"
#include "job_order.h"
#include "reg_answer.h"
#include "reg_classify.h"
#include "reg_park.h"
#include "reg_request.h"
#include "reg_restart.h"

/* Times that a request is classified again because an event of its slot ended
 * meanwhile; in practice once is rare. */
#define CN_TRIES 8
/* The key of an AOR has at most 129 bytes: see cn_request_key(). */
#define CN_AOR_MAX 160

static void write_line(const struct cn_event *ev, enum cn_cause cause)
{
	char aor[CN_AOR_MAX];
	struct cn_line line = {.verdict = CN_UNAVAILABLE,
			.cause = cause,
			.reason = ev->reason,
			.id = {(char *)ev->id, strlen(ev->id)},
			.aor = {aor, 0}};

	line.aor.len =
			snprintf(aor, sizeof(aor), "sip:%.*s", ev->key.len, ev->key.s);
	if(line.aor.len >= (int)sizeof(aor))
		line.aor.len = sizeof(aor) - 1;
	if(ev->contact_count > 0)
		line.contact = ev->contacts[0].uri;
	cn_line_write(&line);
}

static int fail(
		struct sip_msg *msg, const struct cn_event *ev, enum cn_cause cause)
{
	if(cause == CN_CAUSE_busy)
		cn_stats_count(CN_COUNTER_busy);
	else
		cn_stats_cause(cause);
	if(cause == CN_CAUSE_bad_request)
		cn_face_step_refuse(msg, ev, cn_cause_text(cause));
	else if(cause != CN_CAUSE_none)
		cn_face_step_fail(msg, ev, cause);
	if(cause != CN_CAUSE_none)
		write_line(ev, cause);
	cn_pv_set_failure(msg, cause, ev);
	return CN_FAILED;
}

static enum cn_cause new_job(struct sip_msg *msg, struct cn_event *ev,
		const struct cn_goal *goal, struct cn_waiter **waiter)
{
	struct cn_job *job;
	enum cn_cause cause;
	str body;
	int err;

	if(!cn_job_room()
			|| !cn_admission_admits(cn_reservation_device(&ev->key),
					cn_stats_gauge_value(CN_GAUGE_queued), cn_now_us()))
		return CN_CAUSE_busy;
	cn_request_describe(msg, ev);
	cn_event_stamp(ev);
	ev->flaps = cn_history_flaps(ev->device);
	cn_pv_set_event(ev);
	err = cn_body_render(msg, ev, &body);
	cn_pv_set_event(NULL);
	if(err < 0) {
		LM_WARN("no memory for the body of an event of %.*s, or it is longer "
				"than %d bytes\n",
				ev->aor.len, ev->aor.s, CN_BODY_MAX);
		return CN_CAUSE_memory;
	}
	cause = cn_job_new(ev, &body, &goal->callback, goal->defers, &job);
	if(cause == CN_CAUSE_none)
		*waiter = cn_job_waiter(job);
	return cause;
}

/* A block for the request to wait in, with a place of its address's share: a job
 * of its own, or one that is to join another's. */
static enum cn_cause new_waiter(struct sip_msg *msg, struct cn_event *ev,
		const struct cn_goal *goal, struct cn_waiter **waiter)
{
	enum cn_cause cause = CN_CAUSE_none;

	ev->share = cn_share_of(&msg->rcv.src_ip);
	if(!cn_share_take(ev->share))
		return CN_CAUSE_busy;
	if(cn_index_joinable(ev)) {
		*waiter = cn_waiter_new(ev, &goal->callback);
		if(*waiter == NULL)
			cause = CN_CAUSE_memory;
		else
			/* who is before it may have saved its CSeq by then */
			(*waiter)->gives_way = true;
	} else {
		cause = new_job(msg, ev, goal, waiter);
	}
	if(cause == CN_CAUSE_none)
		(*waiter)->route = goal->route;
	else
		cn_share_give_back(ev->share);
	return cause;
}

/* Give the parked request to the others. Once that is done it may be answered and
 * gone at any moment: nothing of it is touched any more. */
static enum cn_entry enter(
		struct sip_msg *msg, struct cn_event *ev, struct cn_waiter *waiter)
{
	struct cn_job *job = waiter->block;
	enum cn_entry entry;

	cn_face_step_wait(msg, ev, job == NULL);
	waiter->step = ev->step;
	cn_stats_gauge(CN_GAUGE_parked, 1);
	entry = cn_index_enter(ev, waiter);
	switch(entry) {
		case CN_ENTERED:
			cn_stats_news(ev->reason);
			cn_order_go(job);
			break;
		case CN_WAITS:
			cn_stats_news(ev->reason);
			break;
		case CN_JOINED:
			cn_stats_count(CN_COUNTER_joined);
			break;
		case CN_CROWDED:
		case CN_SURPLUS:
		case CN_STALE:
			cn_stats_gauge(CN_GAUGE_parked, -1);
			break;
	}
	return entry;
}

/* @param parked how it went; who finds that something newer was there stays parked
 *               for the next try, since tm has only so many places for it */
static enum cn_entry park_and_enter(struct sip_msg *msg, struct cn_event *ev,
		struct cn_waiter *waiter, enum cn_parked *parked)
{
	enum cn_entry entry = CN_STALE;

	if(*parked == CN_PARKED)
		cn_park_again(waiter);
	else
		*parked = cn_park(msg, waiter);
	if(*parked == CN_PARKED)
		entry = enter(msg, ev, waiter);
	switch(entry) {
		case CN_ENTERED:
		case CN_WAITS:
		case CN_JOINED:
			return entry;
		case CN_CROWDED:
		case CN_SURPLUS:
			cn_unpark();
			*parked = CN_NOT_PARKED;
			break;
		case CN_STALE:
			break;
	}
	cn_share_give_back(waiter->share);
	cn_waiter_free(waiter);
	return entry;
}

/* What the script gets, or: something newer was here in between, look again. */
#define CN_AGAIN 2

static bool is_news(struct udomain *table, struct cn_event *ev)
{
	cn_classify(table, ev);
	return ev->reason != CN_REASON_NONE || cn_index_joinable(ev);
}

static int not_new(struct sip_msg *msg, const struct cn_event *ev)
{
	if(ev->improper)
		return fail(msg, ev, CN_CAUSE_bad_request);
	if(ev->gives_way)
		cn_restart_begin(&ev->key, cn_waiter_dialog(&ev->call_id), ev->cseq);
	cn_face_step_not_new(msg, ev);
	cn_stats_count(CN_COUNTER_refreshes);
	return CN_NOT_NEW;
}

static int try_notify(struct sip_msg *msg, struct udomain *table,
		struct cn_event *ev, const struct cn_goal *goal, enum cn_parked *parked)
{
	struct cn_waiter *waiter = NULL;
	enum cn_cause cause;

	/* before the bindings are looked at: see cn_index_enter() */
	ev->seq = cn_number_next();
	if(!is_news(table, ev))
		return not_new(msg, ev);
	if(msg->len > CN_REQUEST_MAX) {
		cn_face_step_refuse(msg, ev, "too large");
		cn_answer_too_large(msg);
		return CN_ENDS_SCRIPT;
	}
	cause = new_waiter(msg, ev, goal, &waiter);
	if(cause != CN_CAUSE_none)
		return fail(msg, ev, cause);
	switch(park_and_enter(msg, ev, waiter, parked)) {
		case CN_ENTERED:
		case CN_WAITS:
		case CN_JOINED:
			return CN_ENDS_SCRIPT;
		case CN_CROWDED:
			return fail(msg, ev, CN_CAUSE_busy);
		case CN_SURPLUS:
			cn_face_step_refuse(msg, ev, "too many contacts");
			cn_answer_too_many(msg);
			return CN_ENDS_SCRIPT;
		case CN_STALE:
			break;
	}
	if(*parked == CN_ABSORBED)
		return CN_ENDS_SCRIPT;
	return *parked == CN_NOT_PARKED ? fail(msg, ev, CN_CAUSE_memory) : CN_AGAIN;
}

/* The transaction first, and then the request as save() is going to see it.
 * Who it is has been decided before: the script may have taken the credentials
 * out, and that they are good is not in the message.
 *
 * @param before owned by the caller: what the event still points into
 * @return what the script gets, or CN_AGAIN: go on with what was read */
static int read_rewritten(struct sip_msg *msg, const str *aor,
		struct cn_event *ev, struct cn_event **before)
{
	void *place = pkg_malloc(cn_event_size(ev));

	if(place == NULL)
		return fail(msg, ev, CN_CAUSE_memory);
	*before = cn_event_copy(ev, place);
	switch(cn_park_open(msg)) {
		case CN_ABSORBED:
			return CN_ENDS_SCRIPT;
		case CN_NOT_PARKED:
			return fail(msg, *before, CN_CAUSE_memory);
		case CN_PARKED:
			break;
	}
	if(cn_classify_read(msg, aor, ev) < 0)
		return fail(msg, *before, CN_CAUSE_memory);
	ev->device = (*before)->device;
	ev->auth_user = (*before)->auth_user;
	ev->realm = (*before)->realm;
	return CN_AGAIN;
}

int cn_notify(struct sip_msg *msg, struct udomain *table,
		const struct cn_goal *goal, const str *aor)
{
	enum cn_parked parked = CN_NOT_PARKED;
	struct cn_event ev, *before = NULL;
	int i, err, result = CN_AGAIN;

	if(cn_park_absorbs(msg))
		return CN_ENDS_SCRIPT;
	err = cn_classify_read(msg, aor, &ev);
	ev.device = cn_history_device(&ev.key);
	if(err < 0)
		return fail(msg, &ev, CN_CAUSE_memory);
	if(cn_park_rewrites(msg) && is_news(table, &ev))
		result = read_rewritten(msg, aor, &ev, &before);
	for(i = 0; i < CN_TRIES && result == CN_AGAIN; i++)
		result = try_notify(msg, table, &ev, goal, &parked);
	if(result == CN_AGAIN)
		result = fail(msg, &ev, CN_CAUSE_busy);
	if(result != CN_ENDS_SCRIPT && parked == CN_PARKED)
		cn_unpark();
	if(before)
		pkg_free(before);
	return result;
}

int cn_notify_refuse(struct sip_msg *msg)
{
	struct cn_event none;

	memset(&none, 0, sizeof(none));
	return fail(msg, &none, CN_CAUSE_none);
}

bool cn_notify_is_new(
		struct sip_msg *msg, struct udomain *table, const str *aor)
{
	struct cn_event ev;

	if(cn_classify_read(msg, aor, &ev) < 0)
		return false;
	cn_classify(table, &ev);
	return ev.reason != CN_REASON_NONE && !cn_index_joinable(&ev);
}
