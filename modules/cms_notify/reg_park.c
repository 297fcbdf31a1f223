/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Suspends and resumes transactions of tm. In SIP workers; in processes
 * that run the verdict route. */

#include <limits.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/dset.h"
#include "../../core/globals.h"
#include "../../core/parser/msg_parser.h"
#include "../../core/route.h"
#include "../../core/script_cb.h"
#include "../../core/sr_module.h"
#include "../../core/timer_ticks.h"
#include "../sl/sl.h"
#include "../tm/tm_load.h"

#include "reg_park.h"

/* What a worker's first message is called in its transaction, see cn_park(). */
#define CN_FIRST_ID UINT_MAX

static struct tm_binds tm;
static tm_xapi_t tmx;
static sl_api_t sl;
static const int *fr_timer; /* tm's parameter; ticks, once tm has started */

static const int *find_tm_param(const char *name)
{
	struct sr_module *mod = find_module_by_name("tm");
	modparam_t type;

	return mod ? find_param_export(mod, (char *)name, PARAM_INT, &type) : NULL;
}

static bool is_cancel(struct sip_msg *msg)
{
	return msg->first_line.type == SIP_REQUEST
		   && msg->REQ_METHOD == METHOD_CANCEL
		   && parse_headers(msg, HDR_EOH_F, 0) == 0 && msg->via1 && msg->from
		   && msg->to && msg->callid && msg->cseq;
}

/* Before the script: tm ends whatever the CANCEL names, and it names it by what
 * everybody on the way has seen. @return 0: the request has been dealt with */
static int ignore_cancel(struct sip_msg *msg, unsigned int flags, void *param)
{
	tm_cell_t *t;
	bool ends_it;

	(void)flags;
	(void)param;
	if(!is_cancel(msg))
		return 1;
	t = tm.t_lookup_original(msg);
	if(t == NULL || t == T_UNDEFINED)
		return 1;
	ends_it = is_invite(t);
	tm.unref_cell(t);
	if(ends_it)
		return 1;
	sl.zreply(msg, 200, "OK, without effect");
	return 0;
}

int cn_park_init(void)
{
	if(load_tm_api(&tm) < 0 || tm_load_xapi(&tmx) < 0) {
		LM_ERR("cannot use tm: load tm.so before cms_notify.so\n");
		return -1;
	}
	if(sl_load_api(&sl) < 0) {
		LM_ERR("cannot use sl: load sl.so before cms_notify.so\n");
		return -1;
	}
	if(register_script_cb(ignore_cancel, PRE_SCRIPT_CB | REQUEST_CB, NULL)
			< 0) {
		LM_ERR("cannot look at requests before the script\n");
		return -1;
	}
	fr_timer = find_tm_param("fr_timer");
	if(fr_timer == NULL) {
		LM_ERR("cannot read tm's fr_timer\n");
		return -1;
	}
	return 0;
}

int cn_park_fr_timer_ms(void)
{
	return (int)TICKS_TO_MS((ticks_t)*fr_timer);
}

/* Or is it the transaction of an earlier copy of the message, which the script
 * has looked up? */
static bool is_of(const tm_cell_t *t, const struct sip_msg *msg)
{
	const struct sip_msg *request = t->uas.request;

	return request && request->pid == msg->pid
		   && (request->id == msg->id
				   || (request->id == CN_FIRST_ID && msg->id == 1));
}

static bool has_transaction(void)
{
	return tm.t_gett() != NULL && tm.t_gett() != T_UNDEFINED;
}

bool cn_park_rewrites(const struct sip_msg *msg)
{
#ifdef FL_MSG_APPLY_CHANGES /* Kamailio 6.1 */
	return !has_transaction()
		   && (ksr_msg_apply_changes_mode == 1
				   || (msg->msg_flags & FL_MSG_APPLY_CHANGES));
#else
	(void)msg;
	return false;
#endif
}

bool cn_park_absorbs(struct sip_msg *msg)
{
	if(!has_transaction() || is_of(tm.t_gett(), msg))
		return false;
	tmx.t_check_trans(msg); /* repeats the answer, if there is one */
	return true;
}

void cn_park_amend(struct sip_msg *msg, const str *part)
{
	const tm_cell_t *t = tm.t_gett();

	if(has_transaction() && is_of(t, msg) && t->uas.request->len == msg->len)
		memcpy(t->uas.request->buf + (part->s - msg->buf), part->s, part->len);
}

static bool is_stream(int proto)
{
	return proto == PROTO_TCP || proto == PROTO_TLS || proto == PROTO_WS
		   || proto == PROTO_WSS;
}

/* The parked request has come once more. Its connection may be dead: a device
 * repeats nothing over one that works. The answer, and the binding, are for the
 * connection that it has now; another address is somebody else's. */
static void follow(tm_cell_t *t, int type, struct tmcb_params *params)
{
	struct receive_info *now = &params->req->rcv;
	struct receive_info *before = &t->uas.request->rcv;

	(void)type;
	if(now->proto != before->proto
			|| now->proto_reserved1 == before->proto_reserved1
			|| !ip_addr_cmp(&now->src_ip, &before->src_ip))
		return;
	before->src_port = now->src_port;
	before->src_su = now->src_su;
	before->proto_reserved1 = now->proto_reserved1;
	t->uas.response.dst.to = now->src_su;
	t->uas.response.dst.id = now->proto_reserved1;
}

enum cn_parked cn_park_open(struct sip_msg *msg)
{
	int err;

	if(has_transaction())
		return CN_PARKED;
	err = tm.t_newtran(msg);
	if(err == 0)
		return CN_ABSORBED;
	return err < 0 ? CN_NOT_PARKED : CN_PARKED;
}

enum cn_parked cn_park(struct sip_msg *msg, struct cn_waiter *waiter)
{
	enum cn_parked opened = cn_park_open(msg);
	tm_cell_t *t;

	if(opened != CN_PARKED)
		return opened;
	t = tm.t_gett();
	/* 1 is "already cancelled": not parked either, and nothing is set */
	if(tm.t_suspend(msg, &waiter->tm_index, &waiter->tm_label) != 0)
		return CN_NOT_PARKED;
	/* NAT flags and the like: tm gives the resumed request those of the
	 * suspended branch, which t_suspend() leaves empty */
	getbflagsval(0, &t->uac[t->async_backup.blind_uac].branch_flags);
	if(is_stream(msg->rcv.proto)
			&& tm.register_tmcb(msg, t, TMCB_REQ_RETR_IN, follow, NULL, NULL)
					   < 0)
		LM_WARN("no memory to answer a REGISTER over another connection\n");
	/* tm resumes with the id less one; registrar takes id 0 for a message that
	 * its set_q_override() was called for, and would store q=0 */
	if(t->uas.request->id == 1)
		t->uas.request->id = CN_FIRST_ID;
	return CN_PARKED;
}

void cn_park_again(struct cn_waiter *waiter)
{
	const tm_cell_t *t = tm.t_gett();

	waiter->tm_index = t->hash_index;
	waiter->tm_label = t->label;
}

void cn_unpark(void)
{
	const tm_cell_t *t = tm.t_gett();

	tm.t_cancel_suspend(t->hash_index, t->label);
}

int cn_park_resume(const struct cn_waiter *waiter)
{
	str callback = waiter->callback;
	int err;

	if(waiter->route >= 0)
		err = tm.t_continue(waiter->tm_index, waiter->tm_label,
				main_rt.rlist[waiter->route]);
	else
		err = tm.t_continue_cb(
				waiter->tm_index, waiter->tm_label, &callback, NULL);
	/* 1: it was over already when its turn came */
	return err != 0 ? -1 : 0;
}

int cn_park_find_route(const char *name)
{
	int route = route_lookup(&main_rt, (char *)name);

	/* the request route has number 0 and a name like the others, but a request
	 * must not go through it twice */
	return route > DEFAULT_RT && main_rt.rlist[route] != NULL ? route : -1;
}
