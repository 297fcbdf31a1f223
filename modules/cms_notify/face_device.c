/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Gathers what is known of a device from shared memory. In the processes that serve
 * RPC. */

#include <string.h>

#include "../../core/ip_addr.h"
#include "../../core/socket_info.h"

#include "admit_reservation.h"
#include "base_conf.h"
#include "base_history.h"
#include "base_utf8.h"
#include "face_device.h"
#include "outbox.h"
#include "reg_alive.h"
#include "reg_classify.h"
#include "reg_usrloc.h"

#define CN_DEVICE_MAX 32 /* contacts that are shown, and requests that wait */
#define CN_SHOWN_MAX 255 /* bytes that a device has chosen */
/* A moment that has passed is kept so long for its device. */
#define CN_RESERVATION_US 300000000

char *cn_shown(const char *what)
{
	static char line[CN_UTF8_SHOWN * CN_SHOWN_MAX + 1];
	str text = {(char *)what, (int)strnlen(what, CN_SHOWN_MAX)};

	line[cn_utf8_show(&text, line)] = '\0';
	return line;
}

const char *cn_parked_state(const struct cn_index_row *row)
{
	if(row->decided)
		return "decided";
	return row->sent ? "in_flight" : "queued";
}

static void add_contacts(rpc_t *rpc, void *reply, const char *aor)
{
	struct cn_alive_contact contacts[CN_DEVICE_MAX];
	int n = cn_alive_contacts(aor, contacts, CN_DEVICE_MAX), i;
	void *list, *one;

	if(rpc->struct_add(reply, "[", "contacts", &list) < 0)
		return;
	for(i = 0; i < n && rpc->array_add(list, "{", &one) >= 0; i++) {
		rpc->struct_add(one, "s", "contact", cn_shown(contacts[i].uri));
		rpc->struct_add(one, "ssdd", "received", cn_shown(contacts[i].received),
				"state", contacts[i].gone ? "off line" : "registered",
				"expires_s", contacts[i].expires_s, "heard_s",
				contacts[i].heard_s);
	}
}

static void add_parked(rpc_t *rpc, void *reply, const str *key, unsigned hash)
{
	struct cn_index_row rows[CN_DEVICE_MAX];
	int n = cn_index_list_of(key, hash, rows, CN_DEVICE_MAX), i;
	int64_t now = cn_now_us();
	void *list, *one;

	if(rpc->struct_add(reply, "[", "parked", &list) < 0)
		return;
	for(i = 0; i < n && rpc->array_add(list, "{", &one) >= 0; i++)
		rpc->struct_add(one, "sssdd", "id", rows[i].id, "reason",
				cn_reason_name(rows[i].reason), "state",
				cn_parked_state(&rows[i]), "waiting_ms",
				(int)((now - rows[i].parked_us) / 1000), "requests",
				rows[i].waiters);
}

/* Its place in the line. */
static void add_reservation(rpc_t *rpc, void *reply, const str *key)
{
	int64_t due_us = cn_reservation_of(cn_reservation_device(key)).due_us;
	int64_t left_us = due_us - cn_now_us();

	if(due_us != 0 && left_us > -CN_RESERVATION_US)
		rpc->struct_add(reply, "d", "reservation_s", (int)(left_us / 1000000));
}

/* -------- its steps -------- */

static void add_source(rpc_t *rpc, void *one, const struct cn_step *step)
{
	struct ip_addr ip = {.len = step->ip_len};
	const char *transport = get_valid_proto_name(step->transport);

	if(step->ip_len == 0)
		return;
	ip.af = step->ip_len == 4 ? AF_INET : AF_INET6;
	memcpy(ip.u.addr, step->ip, sizeof(ip.u.addr));
	rpc->struct_add(one, "sds", "source", ip_addr2a(&ip), "port", step->port,
			"transport", transport);
}

static void add_id(rpc_t *rpc, void *one, const struct cn_step *step)
{
	static const unsigned char none[CN_STEP_ID];
	char id[2 * CN_STEP_ID + 1], *p = id;
	int i;

	if(memcmp(step->id, none, sizeof(none)) == 0)
		return;
	for(i = 0; i < CN_STEP_ID; i++)
		p = cn_put_hex(p, step->id[i], 2);
	*p = '\0';
	rpc->struct_add(one, "s", "id", id);
}

/* What the CMS has said, or is still to say. */
static void add_verdict(rpc_t *rpc, void *one, const struct cn_step *step)
{
	bool asks = step->kind == CN_STEP_REGISTER || step->kind == CN_STEP_JOINED;

	if(step->verdict != 0)
		rpc->struct_add(one, "ssdd", "verdict",
				cn_verdict_name(step->verdict - CN_STEP_VERDICT(0)), "cause",
				cn_cause_name(step->cause), "status", step->status, "ms",
				(int)step->elapsed_ms);
	else if(asks)
		rpc->struct_add(one, "s", "verdict", "waiting");
	else if(step->status != 0)
		rpc->struct_add(one, "d", "status", step->status);
	add_id(rpc, one, step);
}

/* Of an event from the outbox the text is what happened. */
static const char *text_name(const struct cn_step *step)
{
	bool is_event =
			step->kind == CN_STEP_DELIVERED || step->kind == CN_STEP_DEAD;

	return is_event ? "event" : "text";
}

static void add_step(rpc_t *rpc, void *one, const struct cn_step *step)
{
	char text[CN_STEP_TEXT + 1] = "";
	char time[32];
	time_t s = step->time_us / 1000000;
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &tm);
	rpc->struct_add(one, "ssd", "time", time, "step", cn_step_name(step->kind),
			"times", (int)step->times);
	if(step->reason != CN_REASON_NONE)
		rpc->struct_add(one, "s", "reason", cn_reason_name(step->reason));
	add_verdict(rpc, one, step);
	memcpy(text, step->text, sizeof(step->text));
	if(text[0] != '\0')
		rpc->struct_add(one, "s", text_name(step), cn_shown(text));
	add_source(rpc, one, step);
	if(step->cseq != 0)
		rpc->struct_add(one, "ddd", "cseq", (int)step->cseq, "expires",
				(int)step->expires, "contacts", step->contacts);
}

static void add_steps(rpc_t *rpc, void *reply, const str *key)
{
	uint64_t device = cn_history_device(key);
	struct cn_step steps[CN_HISTORY_SHOWN];
	int n = cn_history_read(device, steps), i;
	int flaps = cn_history_flaps(device);
	void *list, *one;

	if(flaps >= 0)
		rpc->struct_add(reply, "ds", "flaps", flaps, "flapping",
				cn_conf.flap_limit > 0 && flaps > cn_conf.flap_limit ? "yes"
																	 : "no");
	if(rpc->struct_add(reply, "[", "steps", &list) < 0)
		return;
	for(i = 0; i < n && rpc->array_add(list, "{", &one) >= 0; i++)
		add_step(rpc, one, &steps[i]);
}

void cn_device_show(rpc_t *rpc, void *ctx)
{
	char text[CN_SHOWN_MAX + 1];
	str aor, key = {text, 0}, found;
	unsigned hash;
	void *reply;

	if(rpc->scan(ctx, "*.S", &aor) < 1 || aor.len == 0) {
		rpc->fault(ctx, 400, "Which AOR?");
		return;
	}
	found = cn_usrloc_key(aor.s);
	if(found.len > CN_SHOWN_MAX) {
		rpc->fault(ctx, 400, "The AOR is too long");
		return;
	}
	/* its memory is used again */
	key.len = found.len;
	memcpy(text, found.s, found.len);
	text[found.len] = '\0';
	hash = cn_classify_hash(&key);
	if(rpc->add(ctx, "{", &reply) < 0
			|| rpc->struct_add(reply, "s", "aor", aor.s) < 0) {
		rpc->fault(ctx, 500, "Internal error");
		return;
	}
	add_contacts(rpc, reply, aor.s);
	add_parked(rpc, reply, &key, hash);
	if(cn_outbox_exists())
		rpc->struct_add(reply, "d", "outbox", cn_outbox_rows_of(hash));
	add_reservation(rpc, reply, &key);
	add_steps(rpc, reply, &key);
}
