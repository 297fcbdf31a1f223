/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Makes steps of REGISTERs. In the SIP workers. */

#include <stdio.h>
#include <string.h>

#include "admit_reservation.h"
#include "base_history.h"
#include "face_step.h"
#include "reg_classify.h"

static void read_source(struct cn_step *step, const struct sip_msg *msg)
{
	const struct ip_addr *ip = &msg->rcv.src_ip;

	step->ip_len = ip->len;
	memcpy(step->ip, ip->u.addr, sizeof(step->ip));
	step->port = msg->rcv.src_port;
	step->transport = msg->rcv.proto;
}

/* Of its contacts the longest. */
static uint32_t expires_of(const struct cn_event *ev)
{
	int i, most = 0;

	for(i = 0; i < ev->contact_count; i++) {
		if(ev->contacts[i].expires > most)
			most = ev->contacts[i].expires;
	}
	return most;
}

static void put(struct sip_msg *msg, const struct cn_event *ev,
		struct cn_step *step, uint64_t *number)
{
	if(ev->device == 0)
		return;
	step->device = ev->device;
	step->cseq = ev->cseq;
	step->expires = expires_of(ev);
	step->contacts =
			ev->contact_count < UINT8_MAX ? ev->contact_count : UINT8_MAX;
	step->reason = ev->reason;
	read_source(step, msg);
	*number = cn_history_put(*number, step);
}

void cn_face_step_wait(struct sip_msg *msg, struct cn_event *ev, bool joins)
{
	struct cn_step step = {.kind = joins ? CN_STEP_JOINED : CN_STEP_REGISTER};

	put(msg, ev, &step, &ev->step);
}

/* @param text NULL: none */
static void note(struct sip_msg *msg, const struct cn_event *ev,
		struct cn_step *step, const char *text)
{
	uint64_t number = ev->step;

	if(text)
		cn_step_set_text(step, text, strlen(text));
	put(msg, ev, step, &number);
}

static enum cn_step_kind kind_of(const struct cn_event *ev)
{
	if(ev->refused)
		return CN_STEP_REFUSED;
	if(ev->contact_count == 0 && !ev->star)
		return CN_STEP_QUERY;
	return expires_of(ev) > 0 ? CN_STEP_REFRESH : CN_STEP_UNREGISTER;
}

void cn_face_step_not_new(struct sip_msg *msg, const struct cn_event *ev)
{
	struct cn_step step;

	/* a refresh is to cost nothing where nothing is kept */
	if(ev->device == 0)
		return;
	memset(&step, 0, sizeof(step));
	step.kind = kind_of(ev);
	note(msg, ev, &step, ev->refused);
}

void cn_face_step_refuse(
		struct sip_msg *msg, const struct cn_event *ev, const char *why)
{
	struct cn_step step = {.kind = CN_STEP_REFUSED};

	note(msg, ev, &step, why);
}

void cn_face_step_fail(
		struct sip_msg *msg, const struct cn_event *ev, enum cn_cause cause)
{
	int64_t early_us = cn_reservation_of(cn_reservation_device(&ev->key)).due_us
					   - cn_now_us();
	struct cn_step step = {.kind = CN_STEP_REGISTER, .cause = cause};
	char text[CN_STEP_TEXT + 1] = "";

	step.verdict = CN_STEP_VERDICT(CN_UNAVAILABLE);
	if(cause == CN_CAUSE_busy && early_us > 0) {
		step.kind = CN_STEP_EARLY;
		snprintf(text, sizeof(text), "%u s before its moment",
				(unsigned)(early_us / 1000000));
	}
	note(msg, ev, &step, text);
}

bool cn_face_step_script(struct sip_msg *msg, const str *aor, const str *why)
{
	struct cn_step step = {.kind = CN_STEP_SCRIPT};
	str key;

	if(!cn_classify_key(msg, aor, &key))
		return false;
	step.device = cn_history_device(&key);
	read_source(&step, msg);
	cn_step_set_text(&step, why->s, why->len);
	cn_history_put(0, &step);
	return true;
}
