/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads headers and Contacts of a REGISTER as save() is going to. In the SIP workers. */

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/mem/mem.h"
#include "../../core/parser/contact/parse_contact.h"
#include "../../core/parser/digest/digest.h"
#include "../../core/parser/parse_expires.h"
#include "../../core/parser/parse_methods.h"
#include "../../core/parser/parse_require.h"
#include "../../core/parser/parse_supported.h"
#include "../../core/parser/parse_to.h"
#include "../../core/parser/parse_uri.h"
#include "../../core/qvalue.h"
#include "../../core/socket_info.h"
#include "../../core/strutils.h"
#include "../../core/trim.h"
#include "../../core/ut.h"
#include "../registrar/registrar.h"

#include "base_utf8.h"
#include "reg_park.h"
#include "reg_path.h"
#include "reg_settings.h"
#include "reg_uri.h"
#include "reg_request.h"

#define CN_AOR_MAX (USERNAME_MAX_SIZE + DOMAIN_MAX_SIZE + 1)

/* Grows to the largest REGISTER seen, reused for each: no allocation on the
 * way of a request. */
static struct
{
	struct cn_contact *contacts;
	int size;
	struct sip_uri *uri; /* of the AOR that was read last */
	char key[CN_AOR_MAX];
	char aor[sizeof("sips:") + CN_AOR_MAX];
	char source_ip[IP_ADDR_MAX_STR_SIZE];
} scratch;

/* What save() wants parsed, but for the Contacts. */
static bool parse(struct sip_msg *msg)
{
	return parse_headers(msg, HDR_EOH_F, 0) >= 0 && msg->to && msg->callid
		   && msg->cseq
		   && (msg->expires == NULL || msg->expires->parsed
				   || parse_expires(msg->expires) >= 0);
}

/* PostgreSQL and MySQL take no row with anything else, and usrloc would try again
 * and again. Some devices have GBK in there. */
static void mask_user_agent(struct sip_msg *msg)
{
	if(msg->user_agent && cn_utf8_mask(&msg->user_agent->body))
		cn_park_amend(msg, &msg->user_agent->body);
}

static void lower(char *s, int len)
{
	str t = {s, len};

	strlower(&t);
}

static const char *scheme_of(const struct sip_uri *uri)
{
	switch(uri->type) {
		case SIPS_URI_T:
			return "sips";
		case TEL_URI_T:
		case TELS_URI_T:
			return "tel";
		default:
			return "sip";
	}
}

static char *put(char *to, const str *s)
{
	memcpy(to, s->s, s->len);
	return to + s->len;
}

/* The AOR as a URI for people; unescaped, as it is in the events about a binding. */
static void write_aor(struct cn_event *ev)
{
	const struct sip_uri *uri = scratch.uri;
	char *p = stpcpy(scratch.aor, scheme_of(uri));

	*p++ = ':';
	if(ev->username.len > 0)
		p = put(p, &ev->username);
	if(ev->username.len > 0 && uri->host.len > 0)
		*p++ = '@';
	ev->domain.s = p;
	ev->domain.len = uri->host.len;
	if(uri->host.len > 0)
		p = put(p, &uri->host);
	ev->aor.s = scratch.aor;
	ev->aor.len = (int)(p - scratch.aor);
	if(cn_registrar()->case_sensitive)
		lower(ev->domain.s, ev->domain.len);
	else
		lower(scratch.aor, ev->aor.len);
}

/* Most names have nothing to be unescaped. */
static bool unescape(str *from, str *to)
{
	if(from->len > 0 && memchr(from->s, '%', from->len))
		return un_escape(from, to) >= 0;
	to->len = from->len;
	if(from->len > 0)
		memcpy(to->s, from->s, from->len);
	return true;
}

/* The AOR as registrar computes it for usrloc. */
static bool read_key(struct sip_uri *uri, bool use_domain, struct cn_event *ev)
{
	const struct cn_registrar *reg = cn_registrar();
	str user;
	int n;

	if(uri->user.len > USERNAME_MAX_SIZE || uri->host.len > DOMAIN_MAX_SIZE)
		return false;
	user.s = scratch.key;
	if(!unescape(&uri->user, &user))
		return false;
	ev->username = user;
	n = user.len;
	if(use_domain) {
		str host = uri->host;

		if(reg->realm_prefix.len > 0 && reg->realm_prefix.len < host.len
				&& memcmp(host.s, reg->realm_prefix.s, reg->realm_prefix.len)
						   == 0) {
			host.s += reg->realm_prefix.len;
			host.len -= reg->realm_prefix.len;
		}
		if(n > 0)
			scratch.key[n++] = '@';
		memcpy(scratch.key + n, host.s, host.len);
		n += host.len;
	}
	ev->key.s = scratch.key;
	ev->key.len = n;
	if(reg->case_sensitive)
		lower(scratch.key + user.len, n - user.len);
	else
		lower(scratch.key, n);
	return true;
}

bool cn_request_key(const str *aor, bool use_domain, str *key)
{
	struct cn_event ev;
	struct sip_uri uri;

	if(parse_uri(aor->s, aor->len, &uri) < 0
			|| !read_key(&uri, use_domain, &ev))
		return false;
	*key = ev.key;
	return true;
}

/* The credentials that an auth module found good; where the script has
 * verified them by other means, the ones that came first. */
static void read_credentials(struct sip_msg *msg, struct cn_event *ev)
{
	struct hdr_field *h = NULL;
	dig_cred_t *digest;

	if(msg->authorization == NULL)
		return;
	get_authorized_cred(msg->authorization, &h);
	if(h == NULL) {
		h = msg->authorization;
		if(h->parsed == NULL && parse_credentials(h) != 0)
			return;
	}
	if(h->parsed == NULL)
		return;
	digest = &((auth_body_t *)h->parsed)->digest;
	ev->auth_user = digest->username.whole;
	ev->realm = digest->realm;
}

void cn_request_describe(struct sip_msg *msg, struct cn_event *ev)
{
	write_aor(ev);
	ev->source_ip.s = scratch.source_ip;
	ev->source_ip.len = ip_addr2sbuf(
			&msg->rcv.src_ip, scratch.source_ip, sizeof(scratch.source_ip));
	ev->source_port = msg->rcv.src_port;
	ev->transport = get_valid_proto_name(msg->rcv.proto);
	if(msg->user_agent) {
		ev->user_agent = msg->user_agent->body;
		trim(&ev->user_agent);
	}
}

/* What the Expires header field says, as registrar understands it: a number
 * above 2^31 is none. */
static int header_expires(struct sip_msg *msg, int otherwise)
{
	const exp_body_t *body;

	if(msg->expires == NULL)
		return otherwise;
	body = msg->expires->parsed;
	return body->valid && (int)body->val >= 0 ? (int)body->val : otherwise;
}

/* Seconds that registrar will grant, without its random spread. Its limits are
 * unsigned, and so is the comparison. @return -1: too short for it */
static int contact_expires(struct sip_msg *msg, const contact_t *c)
{
	const struct cn_registrar *reg = cn_registrar();
	int override = cn_registrar_override("expires", -1);
	unsigned expires;

	if(override >= 0)
		expires = override;
	else if(c->expires == NULL || c->expires->body.len == 0)
		expires = header_expires(msg, reg->default_expires);
	else if(str2int(&c->expires->body, &expires) < 0)
		expires = reg->default_expires;
	if(expires == 0)
		return 0;
	if(expires < reg->min_expires)
		return *reg->min_expires_mode ? -1 : (int)reg->min_expires;
	if(reg->max_expires && expires > reg->max_expires)
		return (int)reg->max_expires;
	return expires < INT_MAX ? (int)expires : INT_MAX;
}

static struct cn_contact *add_contact(struct cn_event *ev)
{
	struct cn_contact *more;
	int size;

	if(ev->contact_count == scratch.size) {
		size = scratch.size ? scratch.size * 2 : 8;
		more = pkg_realloc(scratch.contacts, size * sizeof(*more));
		if(more == NULL)
			return NULL;
		scratch.contacts = more;
		scratch.size = size;
	}
	ev->contacts = scratch.contacts;
	memset(&ev->contacts[ev->contact_count], 0, sizeof(struct cn_contact));
	return &ev->contacts[ev->contact_count++];
}

/* RFC 5626, as far as registrar takes or wants it. */
static bool outbound_fits(struct sip_msg *msg)
{
	const int mode = *cn_registrar()->outbound_mode;

	if(msg->supported && parse_supported(msg) == 0
			&& !(get_supported(msg) & F_OPTION_TAG_OUTBOUND)
			&& mode == REG_OUTBOUND_REQUIRE)
		return false;
	return msg->require == NULL || parse_require(msg) != 0
		   || !(get_require(msg) & F_OPTION_TAG_OUTBOUND)
		   || mode != REG_OUTBOUND_NONE;
}

/* What registrar wants to be able to read of a Contact. */
static bool is_fine(const contact_t *c)
{
	unsigned methods;
	qvalue_t q;

	return c->uri.len <= *cn_registrar()->contact_max_size
		   && (c->q == NULL || c->q->body.len == 0
				   || str2q(&q, c->q->body.s, c->q->body.len) == 0)
		   && (c->methods == NULL
				   || parse_methods(&c->methods->body, &methods) == 0)
		   && (c->received == NULL
				   || c->received->body.len <= RECEIVED_MAX_SIZE);
}

/* All point into the message. */
static int by_place(const void *a, const void *b)
{
	const char *p = ((const struct cn_contact *)a)->uri.s;
	const char *q = ((const struct cn_contact *)b)->uri.s;

	return p < q ? -1 : p > q;
}

/* What all Contacts of a request have in common. */
struct common
{
	str path;
	str path_received;
	str avp_received;
	bool uses_reg_id;
};

/* save() would answer 200 all the same. @return as read_contact() */
static int improper(struct cn_event *ev)
{
	ev->improper = true;
	return 0;
}

/* @return 1: fine; 0: the request is refused, by save() unless it is improper;
 * -1: no memory */
static int read_contact(struct sip_msg *msg, const contact_t *from,
		const struct common *common, struct cn_event *ev)
{
	struct cn_contact *c = add_contact(ev);
	str changed;

	if(c == NULL)
		return -1;
	c->uri = from->uri;
	cn_uri_lower_transport(&c->uri, &changed);
	if(changed.len > 0)
		cn_park_amend(msg, &changed);
	c->path = common->path;
	c->expires = contact_expires(msg, from);
	if(c->expires < 0 || !is_fine(from))
		return 0;
	if(from->instance)
		c->instance = from->instance->body;
	if(common->uses_reg_id && c->instance.len > 0 && from->reg_id
			&& from->reg_id->body.len > 0) {
		if(str2int(&from->reg_id->body, &c->reg_id) < 0 || c->reg_id == 0)
			return improper(ev);
		c->has_reg_id = true;
	}
	if(common->path_received.len > 0)
		c->received = common->path_received;
	else if(from->received)
		c->received = from->received->body;
	else
		c->received = common->avp_received;
	return 1;
}

/* @return as read_contact() */
static int read_contacts(struct sip_msg *msg, struct cn_event *ev)
{
	struct common common = {.uses_reg_id = cn_path_uses_reg_id(msg)};
	const contact_t *from;
	struct hdr_field *h;
	int found;

	if(!outbound_fits(msg)
			|| !cn_path_read(msg, &common.path, &common.path_received))
		return 0;
	common.avp_received = cn_registrar_received(msg);
	if(common.avp_received.len > RECEIVED_MAX_SIZE)
		return 0;
	for(h = msg->contact; h; h = next_sibling_hdr(h)) {
		for(from = ((contact_body_t *)h->parsed)->contacts; from;
				from = from->next) {
			found = read_contact(msg, from, &common, ev);
			if(found != 1)
				return found;
		}
	}
	/* the parser has those of one header field in reverse */
	if(ev->contact_count > 1)
		qsort(ev->contacts, ev->contact_count, sizeof(*ev->contacts), by_place);
	return 1;
}

/* Parses them. Contact: * goes with Expires: 0 and with no other Contact (RFC
 * 3261 10.2.2). @return false: save() is going to refuse the request */
static bool read_contact_headers(struct sip_msg *msg, struct cn_event *ev)
{
	struct hdr_field *h;
	int headers = 0, stars = 0;

	for(h = msg->contact; h; h = next_sibling_hdr(h)) {
		if(parse_contact(h) < 0)
			return false;
		headers++;
		if(((contact_body_t *)h->parsed)->star)
			stars++;
	}
	ev->star = stars > 0;
	return stars == 0 || (headers == 1 && stars == 1);
}

static void forget_contacts(struct cn_event *ev)
{
	ev->contact_count = 0;
	ev->star = false;
}

/* "sip:", user and host of the To header, and no more: as most scripts write it. */
static bool is_from_to(const str *aor, const struct sip_uri *to)
{
	static const str scheme = str_init("sip:");
	const char *user = aor->s + scheme.len;
	const char *at = user + to->user.len;

	return to->type == SIP_URI_T && to->user.len > 0
		   && aor->len == scheme.len + to->user.len + 1 + to->host.len
		   && memcmp(aor->s, scheme.s, scheme.len) == 0
		   && memcmp(user, to->user.s, to->user.len) == 0 && *at == '@'
		   && memcmp(at + 1, to->host.s, to->host.len) == 0;
}

/* As save() finds it: what the script gives, or else the To header. Is the latter
 * parsed already, it may do for both. */
static struct sip_uri *find_aor(struct sip_msg *msg, const str *aor)
{
	struct sip_uri *to = &get_to(msg)->parsed_uri;
	static struct sip_uri given;

	if(aor == NULL)
		return parse_to_uri(msg);
	if(to->host.len > 0 && is_from_to(aor, to))
		return to;
	return parse_uri(aor->s, aor->len, &given) == 0 ? &given : NULL;
}

int cn_request_read(struct sip_msg *msg, const str *aor, bool use_domain,
		struct cn_event *ev)
{
	int err;

	memset(ev, 0, sizeof(*ev));
	if(!parse(msg))
		return 0;
	mask_user_agent(msg);
	if((scratch.uri = find_aor(msg, aor)) == NULL
			|| !read_key(scratch.uri, use_domain, ev)
			|| str2int(&get_cseq(msg)->number, &ev->cseq) < 0)
		return 0;
	ev->call_id = msg->callid->body;
	trim_trailing(&ev->call_id);
	if(ev->call_id.len > CALLID_MAX_SIZE)
		return 0;
	read_credentials(msg, ev);
	if(msg->contact == NULL)
		return 0;
	if(!read_contact_headers(msg, ev)) {
		forget_contacts(ev);
	} else if(!ev->star) {
		err = read_contacts(msg, ev);
		if(err < 0)
			return -1;
		if(err == 0)
			forget_contacts(ev);
	}
	return 0;
}
