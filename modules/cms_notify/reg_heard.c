/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Notes in usrloc's bindings who was heard. In the SIP workers. */

#include <ctype.h>
#include <string.h>

#include "../../core/parser/contact/parse_contact.h"
#include "../../core/parser/parse_from.h"
#include "../../core/resolve.h"
#include "../../core/strutils.h"
#include "../usrloc/udomain.h"

#include "reg_alive.h"
#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_heard.h"
#include "reg_usrloc.h"

/* -------- which contact -------- */

static bool has_port(const struct sip_uri *uri, unsigned port)
{
	unsigned other =
			uri->type == SIPS_URI_T || uri->proto == PROTO_TLS ? 5061 : 5060;

	return port == (uri->port_no ? uri->port_no : other);
}

static bool came_over(const ucontact_t *b, const struct receive_info *rcv)
{
	return b->tcpconn_id != CN_BINDING_NO_CONNECTION
		   && b->tcpconn_id == rcv->proto_reserved1;
}

static bool came_from(const ucontact_t *b, const struct receive_info *rcv)
{
	str address = b->received.len > 0 ? b->received : b->c;
	struct sip_uri uri;
	struct ip_addr ip;

	if(came_over(b, rcv))
		return true;
	return parse_uri(address.s, address.len, &uri) >= 0
		   && str2ipxbuf(&uri.host, &ip) >= 0 && ip_addr_cmp(&ip, &rcv->src_ip)
		   && has_port(&uri, rcv->src_port);
}

/* The Contact of a message. */
static bool read_contact(struct sip_msg *msg, str *uri)
{
	const contact_body_t *body;

	if(parse_headers(msg, HDR_CONTACT_F, 0) < 0 || msg->contact == NULL
			|| parse_contact(msg->contact) < 0)
		return false;
	body = msg->contact->parsed;
	if(body->contacts == NULL)
		return false;
	*uri = body->contacts->uri;
	return true;
}

/* A lost connection is told, whatever comes over another one. */
static bool can_be_heard(
		const ucontact_t *b, const struct receive_info *rcv, time_t now)
{
	return cn_binding_is_live(b, now)
		   && (came_over(b, rcv) || !cn_alive_has_lost_connection(b));
}

/* @param uri of the message's Contact; NULL: its address says which it is */
static bool keep_those(
		urecord_t *record, struct sip_msg *msg, str *uri, time_t now)
{
	bool kept = false;
	ucontact_t *b;

	for(b = record->contacts; b; b = b->next) {
		if(!can_be_heard(b, &msg->rcv, now)
				|| !(uri ? cmp_uri_light_str(&b->c, uri) == 0
						 : came_from(b, &msg->rcv)))
			continue;
		b->last_keepalive = now;
		kept = true;
	}
	return kept;
}

static bool keep(urecord_t *record, struct sip_msg *msg)
{
	ucontact_t *b, *only = NULL;
	time_t now = time(NULL);
	int n = 0;
	str uri;

	for(b = record->contacts; b; b = b->next) {
		if(!can_be_heard(b, &msg->rcv, now))
			continue;
		only = b;
		n++;
	}
	if(n == 1)
		only->last_keepalive = now;
	return n == 1
		   || (n > 1
				   && (keep_those(record, msg, NULL, now)
						   || (read_contact(msg, &uri)
								   && keep_those(record, msg, &uri, now))));
}

/* -------- whose -------- */

static bool is_of_uri(char c)
{
	return c > ' ' && c != '<' && c != '>' && c != '"';
}

static bool is_of_token(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("-.!%*_+`'~", c));
}

/* <URI>;tag=TOKEN, as most write From: that needs no parser, and no memory. */
static bool read_plain(const str *body, str *uri)
{
	static const str tag = str_init(">;tag=");
	const char *p = body->s, *end = body->s + body->len, *begin;

	if(body->len == 0 || *p++ != '<')
		return false;
	for(begin = p; p < end && is_of_uri(*p); p++)
		;
	uri->s = (char *)begin;
	uri->len = (int)(p - begin);
	if(end - p <= tag.len || memcmp(p, tag.s, tag.len) != 0)
		return false;
	for(p += tag.len; p < end && is_of_token(*p); p++)
		;
	return p == end;
}

static bool read_from(struct sip_msg *msg, str *uri)
{
	if(msg->from == NULL && parse_headers(msg, HDR_FROM_F, 0) < 0)
		return false;
	if(msg->from && msg->from->parsed == NULL
			&& read_plain(&msg->from->body, uri))
		return true;
	if(parse_from_header(msg) < 0)
		return false;
	*uri = get_from(msg)->uri;
	return true;
}

/* Who registers is in To, and who answers; who sends anything else is in From. */
static bool read_sender(struct sip_msg *msg, str *uri)
{
	if(msg->first_line.type != SIP_REPLY && msg->REQ_METHOD != METHOD_REGISTER)
		return read_from(msg, uri);
	if(msg->to == NULL && parse_headers(msg, HDR_TO_F, 0) < 0)
		return false;
	if(msg->to == NULL)
		return false;
	*uri = get_to(msg)->uri;
	return true;
}

/* -------- heard -------- */

/* Devices that send every minute do so in the same order each time. So the next
 * of a slot is found at its beginning, however many there are. */
static void move_to_end(struct hslot *slot, urecord_t *record)
{
	urecord_t *next = record->next, *last = slot->last;

	/* What is written is read before: of memory that it reads for the first time
	 * a process is given more at once. */
	if(next == NULL || next->prev != record || last->next != NULL)
		return;
	next->prev = record->prev;
	if(record->prev)
		record->prev->next = next;
	else
		slot->first = next;
	record->prev = last;
	record->next = NULL;
	last->next = record;
	slot->last = record;
}

bool cn_heard_keep(struct sip_msg *msg, struct udomain *table, const str *aor)
{
	struct hslot *slot;
	urecord_t *record;
	bool heard;
	str uri, key;
	unsigned hash;

	if(!cn_usrloc_in_memory())
		return false;
	if(aor)
		uri = *aor;
	else if(!read_sender(msg, &uri))
		return false;
	if(!cn_classify_key(msg, &uri, &key))
		return false;
	hash = cn_classify_hash(&key);
	slot = &table->table[hash & (table->size - 1)];
	rec_lock_get(&slot->rlock);
	record = cn_classify_find(table, hash, &key);
	heard = record && keep(record, msg);
	if(heard)
		move_to_end(slot, record);
	rec_lock_release(&slot->rlock);
	return heard;
}
