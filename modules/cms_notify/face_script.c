/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mod_fix.h"

#include "base_body.h"
#include "base_conf.h"
#include "reg_classify.h"
#include "job_index.h"
#include "admit.h"
#include "outbox.h"
#include "reg_park.h"
#include "face_pv.h"
#include "face_script.h"
#include "base_stats.h"
#include "admit_reservation.h"
#include "job_order.h"

/* Times that a request is classified again because an event of its slot ended
 * meanwhile; in practice once is rare. */
#define CN_TRIES 8

/* What the script gets. */
enum result
{
	RESULT_NOT_NEW = 1,
	RESULT_PARKED = 0, /* ends the script */
	RESULT_FAILED = -1
};

/* Where a request goes on when there is a verdict. */
struct goal
{
	int route;	  /* -1: see callback */
	str callback; /* KEMI function */
};

static int fail(
		struct sip_msg *msg, const struct cn_event *ev, enum cn_cause cause)
{
	if(cause == CN_CAUSE_busy)
		cn_stats_count(CN_COUNTER_busy);
	else
		cn_stats_cause(cause);
	cn_pv_set_failure(msg, cause, ev);
	return RESULT_FAILED;
}

static enum cn_cause new_job(struct sip_msg *msg, struct cn_event *ev,
		const struct goal *goal, struct cn_waiter **waiter)
{
	struct cn_job *job;
	enum cn_cause cause;
	str body;
	int err;

	if(!cn_job_room()
			|| !cn_load_admits(cn_ticket_device(&ev->key),
					cn_stats_gauge_value(CN_GAUGE_queued), cn_now_us()))
		return CN_CAUSE_busy;
	cn_event_stamp(ev);
	cn_pv_set_event(ev);
	err = cn_body_render(msg, ev, &body);
	cn_pv_set_event(NULL);
	if(err < 0) {
		LM_WARN("no memory for the body of an event of %.*s, or it is longer "
				"than %d bytes\n",
				ev->aor.len, ev->aor.s, CN_BODY_MAX);
		return CN_CAUSE_memory;
	}
	cause = cn_job_new(ev, &body, &goal->callback, &job);
	if(cause == CN_CAUSE_none)
		*waiter = cn_job_waiter(job);
	return cause;
}

/* A block for the request to wait in: a job of its own, or one that is to join
 * another's. */
static enum cn_cause new_waiter(struct sip_msg *msg, struct cn_event *ev,
		const struct goal *goal, struct cn_waiter **waiter)
{
	enum cn_cause cause = CN_CAUSE_none;

	if(cn_device_joinable(ev)) {
		*waiter = cn_waiter_new(ev, &goal->callback);
		if(*waiter == NULL)
			cause = CN_CAUSE_memory;
	} else {
		cause = new_job(msg, ev, goal, waiter);
	}
	if(cause == CN_CAUSE_none)
		(*waiter)->route = goal->route;
	return cause;
}

/* Park the request and give it to the others. Once that is done it may be
 * answered and gone at any moment: nothing of it is touched any more. */
static enum cn_entry park_and_enter(struct sip_msg *msg, struct cn_event *ev,
		unsigned generation, struct cn_waiter *waiter, enum cn_parked *parked)
{
	struct cn_job *job = waiter->block;
	enum cn_entry entry = CN_STALE;

	*parked = cn_park(msg, waiter);
	if(*parked == CN_PARKED) {
		cn_stats_gauge(CN_GAUGE_parked, 1);
		entry = cn_device_enter(ev, generation, waiter);
		if(entry == CN_ENTERED) {
			cn_stats_count(CN_COUNTER_events);
			cn_turn_go(job);
			return entry;
		}
		if(entry == CN_HELD) {
			cn_stats_count(CN_COUNTER_events);
			return entry;
		}
		if(entry == CN_JOINED) {
			cn_stats_count(CN_COUNTER_joined);
			return entry;
		}
		cn_stats_gauge(CN_GAUGE_parked, -1);
		cn_unpark(waiter);
	}
	cn_waiter_free(waiter);
	return entry;
}

/* RESULT_*, or: an event of the device has ended meanwhile, look again. */
#define CN_AGAIN 2

static bool is_news(struct udomain *table, struct cn_event *ev)
{
	cn_detect_classify(table, ev);
	return ev->reason != CN_REASON_NONE || cn_device_joinable(ev);
}

static int try_notify(struct sip_msg *msg, struct udomain *table,
		struct cn_event *ev, const struct goal *goal)
{
	unsigned generation = cn_device_generation(ev->hash);
	struct cn_waiter *waiter = NULL;
	enum cn_parked parked;
	enum cn_cause cause;

	if(!is_news(table, ev)) {
		cn_stats_count(CN_COUNTER_refreshes);
		return RESULT_NOT_NEW;
	}
	cause = new_waiter(msg, ev, goal, &waiter);
	if(cause != CN_CAUSE_none)
		return fail(msg, ev, cause);
	switch(park_and_enter(msg, ev, generation, waiter, &parked)) {
		case CN_ENTERED:
		case CN_HELD:
		case CN_JOINED:
			return RESULT_PARKED;
		case CN_CROWDED:
			return fail(msg, ev, CN_CAUSE_busy);
		case CN_STALE:
			break;
	}
	if(parked == CN_ABSORBED)
		return RESULT_PARKED;
	return parked == CN_NOT_PARKED ? fail(msg, ev, CN_CAUSE_memory) : CN_AGAIN;
}

/* The transaction first, and then the request as save() is going to see it.
 * Who it is has been decided before: the script may have taken the credentials
 * out, and that they are good is not in the message.
 * @param before owned by the caller: what the event still points into
 * @return RESULT_*, or CN_AGAIN: go on with what was read */
static int read_rewritten(
		struct sip_msg *msg, struct cn_event *ev, struct cn_event **before)
{
	void *place = pkg_malloc(cn_event_size(ev));

	if(place == NULL)
		return fail(msg, ev, CN_CAUSE_memory);
	*before = cn_event_copy(ev, place);
	switch(cn_park_open(msg)) {
		case CN_ABSORBED:
			return RESULT_PARKED;
		case CN_NOT_PARKED:
			return fail(msg, *before, CN_CAUSE_memory);
		case CN_PARKED:
			break;
	}
	if(cn_detect_read(msg, ev) < 0)
		return fail(msg, *before, CN_CAUSE_memory);
	ev->auth_user = (*before)->auth_user;
	ev->realm = (*before)->realm;
	return CN_AGAIN;
}

static int notify(
		struct sip_msg *msg, struct udomain *table, const struct goal *goal)
{
	struct cn_event ev, *before = NULL;
	int i, result = CN_AGAIN;

	if(cn_park_absorbs(msg))
		return RESULT_PARKED;
	if(cn_detect_read(msg, &ev) < 0)
		return fail(msg, &ev, CN_CAUSE_memory);
	if(cn_park_rewrites(msg) && is_news(table, &ev))
		result = read_rewritten(msg, &ev, &before);
	for(i = 0; i < CN_TRIES && result == CN_AGAIN; i++)
		result = try_notify(msg, table, &ev, goal);
	if(result == CN_AGAIN)
		result = fail(msg, &ev, CN_CAUSE_busy);
	if(before)
		pkg_free(before);
	return result;
}

static bool is_register(struct sip_msg *msg)
{
	if(msg->first_line.type == SIP_REQUEST
			&& msg->REQ_METHOD == METHOD_REGISTER)
		return true;
	LM_ERR("called for something else than a REGISTER, correct the script\n");
	return false;
}

/* -------- KEMI -------- */

static int ki_notify(sip_msg_t *msg, str *table_name, str *callback)
{
	struct udomain *table = cn_detect_table(table_name->s);
	struct goal goal = {-1, STR_NULL};
	struct cn_event none;

	memset(&none, 0, sizeof(none));
	if(!is_register(msg))
		return fail(msg, &none, CN_CAUSE_none);
	if(table == NULL || callback->len == 0) {
		LM_ERR("usrloc has no table \"%.*s\" or no callback\n", table_name->len,
				table_name->s);
		return fail(msg, &none, CN_CAUSE_none);
	}
	if(sr_kemi_eng_get()) {
		goal.callback = *callback;
	} else {
		goal.route = cn_park_find_route(callback->s);
		if(goal.route < 0) {
			LM_ERR("there is no route[%.*s]\n", callback->len, callback->s);
			return fail(msg, &none, CN_CAUSE_none);
		}
	}
	return notify(msg, table, &goal);
}

static int is_new(struct sip_msg *msg, struct udomain *table)
{
	struct cn_event ev;

	if(!is_register(msg) || cn_detect_read(msg, &ev) < 0)
		return -1;
	cn_detect_classify(table, &ev);
	return ev.reason != CN_REASON_NONE && !cn_device_joinable(&ev) ? 1 : -1;
}

/* In the verdict route of an event that the CMS did not get. */
static int ki_defer(sip_msg_t *msg)
{
	struct cn_job *job = cn_pv_verdict_job();

	(void)msg;
	if(job == NULL || cn_job_outcome(job)->verdict != CN_UNAVAILABLE) {
		LM_ERR("cms_defer() is for the verdict \"unavailable\" in the verdict "
			   "route, correct the script\n");
		return -1;
	}
	return cn_outbox_defer(job) == 0 ? 1 : -1;
}

static int ki_is_new(sip_msg_t *msg, str *table_name)
{
	struct udomain *table = cn_detect_table(table_name->s);

	return table ? is_new(msg, table) : -1;
}

/* -------- native -------- */

/* A route: an index where the script names it, looked up for each request
 * where it is computed. */
struct route_param
{
	int route;
	fparam_t *computed;
};

static int fix_table(void **param)
{
	struct udomain *table = cn_detect_add_table((char *)*param);

	if(table == NULL) {
		LM_ERR("cannot use the table \"%s\"\n", (char *)*param);
		return E_CFG;
	}
	*param = table;
	return 0;
}

static int fill_route(struct route_param *p, char *name)
{
	void *computed = name;

	memset(p, 0, sizeof(*p));
	if(strchr(name, '$') != NULL) {
		if(fixup_spve_null(&computed, 1) < 0)
			return E_CFG;
		p->computed = computed;
		return 0;
	}
	p->route = cn_park_find_route(name);
	if(p->route >= 0)
		return 0;
	LM_ERR("cms_notify(): there is no route[%s], add it or correct the name\n",
			name);
	return E_CFG;
}

static int fix_route(void **param)
{
	struct route_param *p = pkg_malloc(sizeof(*p));
	int err;

	if(p == NULL) {
		PKG_MEM_ERROR;
		return E_OUT_OF_MEM;
	}
	err = fill_route(p, *param);
	if(err < 0) {
		pkg_free(p);
		return err;
	}
	*param = p;
	return 0;
}

static int fix_notify(void **param, int param_no)
{
	return param_no == 1 ? fix_table(param) : fix_route(param);
}

static int fix_is_new(void **param, int param_no)
{
	(void)param_no;
	return fix_table(param);
}

static int find_computed_route(struct sip_msg *msg, struct route_param *p)
{
	char name[128];
	str s;

	if(get_str_fparam(&s, msg, p->computed) < 0 || s.len >= (int)sizeof(name))
		return -1;
	memcpy(name, s.s, s.len);
	name[s.len] = '\0';
	return cn_park_find_route(name);
}

static int w_notify(struct sip_msg *msg, char *table, char *route)
{
	struct route_param *p = (struct route_param *)route;
	struct goal goal = {p->route, STR_NULL};
	struct cn_event none;

	memset(&none, 0, sizeof(none));
	if(!is_register(msg))
		return fail(msg, &none, CN_CAUSE_none);
	if(p->computed)
		goal.route = find_computed_route(msg, p);
	if(goal.route < 0) {
		LM_ERR("cms_notify(): the verdict route does not exist\n");
		return fail(msg, &none, CN_CAUSE_none);
	}
	return notify(msg, (struct udomain *)table, &goal);
}

static int w_is_new(struct sip_msg *msg, char *table, char *unused)
{
	(void)unused;
	return is_new(msg, (struct udomain *)table);
}

static int w_defer(struct sip_msg *msg, char *unused1, char *unused2)
{
	(void)unused1;
	(void)unused2;
	return ki_defer(msg);
}

cmd_export_t cn_script_functions[] = {
		{"cms_notify", (cmd_function)w_notify, 2, fix_notify, 0, REQUEST_ROUTE},
		{"cms_is_new", (cmd_function)w_is_new, 1, fix_is_new, 0,
				REQUEST_ROUTE | FAILURE_ROUTE},
		{"cms_defer", (cmd_function)w_defer, 0, 0, 0,
				REQUEST_ROUTE | FAILURE_ROUTE},
		{0, 0, 0, 0, 0, 0}};

/* clang-format off */
sr_kemi_t cn_script_kemi[] = {
	{ str_init("cms_notify"), str_init("notify"),
		SR_KEMIP_INT, ki_notify,
		{ SR_KEMIP_STR, SR_KEMIP_STR, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("cms_notify"), str_init("is_new"),
		SR_KEMIP_INT, ki_is_new,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("cms_notify"), str_init("defer"),
		SR_KEMIP_INT, ki_defer,
		{ SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ {0, 0}, {0, 0}, 0, NULL, { 0, 0, 0, 0, 0, 0 } }
};
/* clang-format on */
