/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Shows the verdict or the event that is set around the one call that looks at it. In
 * SIP workers, HTTP, verdict and outbox processes. */

#include <stdio.h>
#include <string.h>

#include "../../core/mem/mem.h"
#include "../../core/parser/msg_parser.h"
#include "../../core/rand/kam_rand.h"

#include "base_answer.h"
#include "base_body.h"
#include "base_conf.h"
#include "base_key.h"
#include "base_secret.h"
#include "admit.h"
#include "face_drain.h"
#include "face_pv.h"
#include "outbox.h"
#include "base_stats.h"
#include "admit_reservation.h"

#define CN_TEXT_MAX 256
/* What Kamailio's own strings hold. */
#define CN_MEMBER_MAX 8192

/* What there is to be seen. Set around the call that looks at it, and, for a
 * failure, bound to the message that it belongs to: nothing is left over for
 * another message. */
static struct
{
	const struct cn_event *event;
	const struct cn_outcome *outcome;
	str id;
	enum cn_reason reason;
	uint64_t device; /* see admit_reservation.h */
	unsigned elapsed_ms;
	unsigned retry_after; /* 0: not asked yet */
	/* a failure's: */
	struct cn_outcome failure;
	char failure_id[CN_ID_LEN + 1];
	unsigned msg_id;
	int pid;
} now;

void cn_pv_set_event(const struct cn_event *ev)
{
	now.event = ev;
}

void cn_pv_set_verdict(struct cn_job *job, const struct cn_waiter *waiter)
{
	now.outcome = job ? cn_job_outcome(job) : NULL;
	now.msg_id = 0;
	now.retry_after = 0;
	if(job == NULL)
		return;
	now.id = *cn_job_id(job);
	now.reason = cn_job_reason(job);
	now.device = cn_reservation_device(cn_job_key(job));
	now.elapsed_ms = (unsigned)((cn_now_us() - waiter->parked_us) / 1000);
}

void cn_pv_set_failure(
		struct sip_msg *msg, enum cn_cause cause, const struct cn_event *ev)
{
	memset(&now.failure, 0, sizeof(now.failure));
	now.failure.verdict = CN_UNAVAILABLE;
	now.failure.cause = cause;
	memcpy(now.failure_id, ev->id, sizeof(now.failure_id));
	now.id.s = now.failure_id;
	now.id.len = strlen(now.failure_id);
	now.reason = ev->reason;
	now.device = cn_reservation_device(&ev->key);
	now.elapsed_ms = 0;
	now.retry_after = 0;
	now.outcome = NULL;
	now.msg_id = msg->id;
	now.pid = msg->pid;
}

static const struct cn_outcome *outcome_for(struct sip_msg *msg)
{
	if(now.outcome)
		return now.outcome;
	if(now.msg_id != 0 && msg->id == now.msg_id && msg->pid == now.pid)
		return &now.failure;
	return NULL;
}

typedef int (*get_f)(struct sip_msg *msg, pv_param_t *param, pv_value_t *res);

/* A name that the script has, for as long as Kamailio runs. */
struct shown
{
	get_f get;
	str member; /* of the answer; empty: none */
};

static int get_name(struct sip_msg *msg, pv_param_t *param, pv_value_t *res,
		const char *name)
{
	return pv_get_strzval(msg, param, res, (char *)name);
}

static int get_name_or_null(struct sip_msg *msg, pv_param_t *param,
		pv_value_t *res, const char *name)
{
	if(name == NULL || name[0] == '\0')
		return pv_get_null(msg, param, res);
	return get_name(msg, param, res, name);
}

static int get_str_or_null(struct sip_msg *msg, pv_param_t *param,
		pv_value_t *res, const str *value)
{
	if(value->len == 0)
		return pv_get_null(msg, param, res);
	return pv_get_strval(msg, param, res, (str *)value);
}

/* Kamailio's integers may be too small for it: its text is the number. */
static int get_seq(
		struct sip_msg *msg, pv_param_t *param, pv_value_t *res, int64_t seq)
{
	static char text[INT2STR_MAX_LEN];
	str s;

	s.s = int2strbuf((unsigned long)seq, text, sizeof(text), &s.len);
	return pv_get_intstrval(msg, param, res, (int)seq, &s);
}

/* -------- of the verdict -------- */

#define GET_OUTCOME(name, expression)                                \
	static int show_##name(                                          \
			struct sip_msg *msg, pv_param_t *param, pv_value_t *res) \
	{                                                                \
		const struct cn_outcome *o = outcome_for(msg);               \
                                                                     \
		if(o == NULL)                                                \
			return pv_get_null(msg, param, res);                     \
		return expression;                                           \
	}

GET_OUTCOME(verdict, get_name(msg, param, res, cn_verdict_name(o->verdict)))
GET_OUTCOME(cause, get_name(msg, param, res, cn_cause_name(o->cause)))
GET_OUTCOME(status, pv_get_uintval(msg, param, res, o->status))
GET_OUTCOME(body, get_str_or_null(msg, param, res, &o->body))
GET_OUTCOME(elapsed_ms, pv_get_uintval(msg, param, res, now.elapsed_ms))

/* The CMS's own words where it has answered, or else what the cause means. */
static int show_text(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	const struct cn_outcome *o = outcome_for(msg);
	static char line[CN_TEXT_MAX];
	str text = {line, 0};

	if(o == NULL)
		return pv_get_null(msg, param, res);
	if(o == &now.failure && o->cause == CN_CAUSE_none)
		return get_name(msg, param, res, "called wrongly, the log says how");
	if(o->cause != CN_CAUSE_outbox)
		text.len = cn_answer_text(&o->body, line, sizeof(line));
	if(text.len == 0)
		return get_name(msg, param, res, cn_cause_text(o->cause));
	return pv_get_strval(msg, param, res, &text);
}

/* $cms(answer.NAME) */
static int show_answer(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	const struct cn_outcome *o = outcome_for(msg);
	const struct shown *name = param->pvn.u.dname;
	static char value[CN_MEMBER_MAX];
	str text = {value, -1};

	if(o)
		text.len =
				cn_answer_member(&o->body, &name->member, value, sizeof(value));
	if(text.len < 0)
		return pv_get_null(msg, param, res);
	return pv_get_strval(msg, param, res, &text);
}

/* Asked once for each request, however often the script reads it: to ask is to
 * give a moment away. Not to those that the CMS has decided about. */
static unsigned retry_after(const struct cn_outcome *o)
{
	int64_t wait_us = 0;

	if(now.retry_after != 0)
		return now.retry_after;
	if(o->verdict == CN_UNAVAILABLE)
		wait_us = cn_admission_reserve(
				now.device, cn_stats_gauge_value(CN_GAUGE_queued), cn_now_us());
	now.retry_after = cn_policy_retry_after(
			wait_us, o->retry_after, (unsigned)kam_rand());
	return now.retry_after;
}
GET_OUTCOME(retry_after, pv_get_uintval(msg, param, res, retry_after(o)))

/* -------- of both -------- */

static int show_id(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	if(now.event)
		return get_name(msg, param, res, now.event->id);
	if(outcome_for(msg) == NULL)
		return pv_get_null(msg, param, res);
	return pv_get_strval(msg, param, res, &now.id);
}

static int show_reason(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	if(now.event)
		return get_name_or_null(
				msg, param, res, cn_reason_name(now.event->reason));
	if(outcome_for(msg) == NULL)
		return pv_get_null(msg, param, res);
	return get_name(msg, param, res, cn_reason_name(now.reason));
}

/* -------- of the event -------- */

#define GET_EVENT(name, expression)                                  \
	static int show_##name(                                          \
			struct sip_msg *msg, pv_param_t *param, pv_value_t *res) \
	{                                                                \
		const struct cn_event *ev = now.event;                       \
                                                                     \
		if(ev == NULL)                                               \
			return pv_get_null(msg, param, res);                     \
		return expression;                                           \
	}

GET_EVENT(event, get_name(msg, param, res, cn_kind_name(ev->kind)))
GET_EVENT(seq, get_seq(msg, param, res, ev->seq))
GET_EVENT(time, get_name(msg, param, res, ev->time))
GET_EVENT(aor, pv_get_strval(msg, param, res, (str *)&ev->aor))
GET_EVENT(username, pv_get_strval(msg, param, res, (str *)&ev->username))
GET_EVENT(domain, get_str_or_null(msg, param, res, &ev->domain))
GET_EVENT(auth_user, get_str_or_null(msg, param, res, &ev->auth_user))
GET_EVENT(realm, get_str_or_null(msg, param, res, &ev->realm))
GET_EVENT(source_ip, get_str_or_null(msg, param, res, &ev->source_ip))
GET_EVENT(source_port,
		ev->source_port ? pv_get_uintval(msg, param, res, ev->source_port)
						: pv_get_null(msg, param, res))
GET_EVENT(transport, get_name_or_null(msg, param, res, ev->transport))
GET_EVENT(call_id, get_str_or_null(msg, param, res, &ev->call_id))
GET_EVENT(cseq_number, pv_get_uintval(msg, param, res, ev->cseq))
GET_EVENT(live, ev->live < 0 ? pv_get_null(msg, param, res)
							 : pv_get_sintval(msg, param, res, ev->live))
GET_EVENT(flaps, ev->flaps < 0 ? pv_get_null(msg, param, res)
							   : pv_get_sintval(msg, param, res, ev->flaps))
GET_EVENT(user_agent, get_str_or_null(msg, param, res, &ev->user_agent))

static int show_contacts(
		struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	str text;

	if(now.event == NULL || cn_body_contacts(now.event, &text) < 0)
		return pv_get_null(msg, param, res);
	return pv_get_strval(msg, param, res, &text);
}

/* -------- of this server -------- */

static int show_node(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	return get_name(msg, param, res, cn_conf.node);
}

static int show_draining(
		struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	return pv_get_uintval(msg, param, res, cn_drain_is_on());
}

static int show_outbox_ready(
		struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	struct cn_outbox_state outbox = {.ready = false};

	if(cn_outbox_exists())
		cn_outbox_state(&outbox);
	return pv_get_uintval(msg, param, res, outbox.ready);
}

static int show_password(
		struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	return get_str_or_null(msg, param, res, cn_secret());
}

static int show_key(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	return get_name(msg, param, res, cn_key());
}

static const struct
{
	const char *name;
	get_f get;
} names[] = {
		{"verdict", show_verdict},
		{"status", show_status},
		{"cause", show_cause},
		{"text", show_text},
		{"body", show_body},
		{"answer", show_answer},
		{"id", show_id},
		{"reason", show_reason},
		{"retry_after", show_retry_after},
		{"elapsed_ms", show_elapsed_ms},
		{"event", show_event},
		{"seq", show_seq},
		{"time", show_time},
		{"aor", show_aor},
		{"username", show_username},
		{"domain", show_domain},
		{"auth_user", show_auth_user},
		{"realm", show_realm},
		{"contacts", show_contacts},
		{"live", show_live},
		{"flaps", show_flaps},
		{"source_ip", show_source_ip},
		{"source_port", show_source_port},
		{"transport", show_transport},
		{"call_id", show_call_id},
		{"cseq", show_cseq_number},
		{"user_agent", show_user_agent},
		{"node", show_node},
		{"draining", show_draining},
		{"outbox_ready", show_outbox_ready},
		{"key", show_key},
		{"password", show_password},
};

static get_f find(const str *name)
{
	size_t i;

	for(i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if(name->len == (int)strlen(names[i].name)
				&& memcmp(name->s, names[i].name, name->len) == 0)
			return names[i].get;
	}
	return NULL;
}

static int parse_name(pv_spec_p spec, str *in)
{
	const char *dot = memchr(in->s, '.', in->len);
	str name = {in->s, dot ? (int)(dot - in->s) : in->len};
	str member = {in->s + name.len + 1, dot ? in->len - name.len - 1 : 0};
	struct shown *shown;
	get_f get = find(&name);

	/* a member is what answer has, and nothing else */
	if(get == NULL || (get == show_answer) != (member.len > 0)) {
		LM_ERR("$cms(%.*s): there is no such name\n", in->len, in->s);
		return -1;
	}
	shown = pkg_malloc(sizeof(*shown) + member.len);
	if(shown == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	shown->get = get;
	shown->member.s = (char *)(shown + 1);
	shown->member.len = member.len;
	memcpy(shown->member.s, member.s, member.len);
	spec->pvp.pvn.type = PV_NAME_OTHER;
	spec->pvp.pvn.u.dname = shown;
	return 0;
}

static int get(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	const struct shown *shown;

	if(msg == NULL || param == NULL)
		return -1;
	shown = param->pvn.u.dname;
	return shown->get(msg, param, res);
}

pv_export_t cn_pv_exports[] = {
		{{"cms", sizeof("cms") - 1}, PVT_OTHER, get, 0, parse_name, 0, 0, 0},
		{{0, 0}, 0, 0, 0, 0, 0, 0, 0}};
