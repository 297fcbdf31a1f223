/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads a binding of usrloc as an event. In every process. */

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "../../core/globals.h"
#include "../../core/socket_info.h"

#include "reg_binding.h"

/* Stored by registrar for a request without the header. */
#define CN_NO_USER_AGENT "n/a"

static void read_aor(const usrloc_api_t *usrloc, struct cn_binding_view *v,
		const ucontact_t *b)
{
	struct cn_event *ev = &v->ev;
	const char *at = NULL;
	int i;

	ev->key = *b->aor;
	ev->hash = usrloc->get_aorhash(b->aor);
	ev->aor.s = v->aor;
	ev->aor.len = snprintf(
			v->aor, sizeof(v->aor), "sip:%.*s", b->aor->len, b->aor->s);
	if(ev->aor.len >= (int)sizeof(v->aor))
		ev->aor.len = sizeof(v->aor) - 1;
	for(i = 0; usrloc->use_domain && i < b->aor->len; i++) {
		if(b->aor->s[i] == '@')
			at = b->aor->s + i;
	}
	ev->username = *b->aor;
	if(at) {
		ev->username.len = at - b->aor->s;
		ev->domain.s = (char *)at + 1;
		ev->domain.len = b->aor->len - ev->username.len - 1;
	}
}

/* Where the last REGISTER came from, if the script noted that for usrloc. */
static void read_source(struct cn_binding_view *v, const ucontact_t *b)
{
	if(b->sock)
		v->ev.transport = get_valid_proto_name(b->sock->proto);
	if(b->received.len == 0
			|| parse_uri(b->received.s, b->received.len, &v->received) < 0)
		return;
	v->ev.source_ip = v->received.host;
	if(v->ev.source_ip.len > 2 && v->ev.source_ip.s[0] == '[') {
		v->ev.source_ip.s++;
		v->ev.source_ip.len -= 2;
	}
	v->ev.source_port = v->received.port_no ? v->received.port_no : 5060;
}

/* Of the AOR, without the one that leaves. In db_mode 3 what is shown may be the
 * only one that was looked for. */
static int count_live(
		const usrloc_api_t *usrloc, const ucontact_t *b, enum cn_kind kind)
{
	const ucontact_t *other;
	time_t now = time(NULL);
	int n = kind == CN_KIND_SNAPSHOT;

	if(usrloc->db_mode == DB_ONLY)
		return -1;
	for(other = b->prev; other; other = other->prev)
		n += cn_binding_is_live(other, now);
	for(other = b->next; other; other = other->next)
		n += cn_binding_is_live(other, now);
	return n;
}

void cn_binding_read(const usrloc_api_t *usrloc, struct cn_binding_view *v,
		const ucontact_t *b, enum cn_kind kind)
{
	struct cn_event *ev = &v->ev;
	struct cn_contact *c = &v->contact;

	memset(v, 0, sizeof(*v));
	ev->kind = kind;
	ev->contacts = c;
	ev->contact_count = 1;
	ev->live = count_live(usrloc, b, kind);
	ev->flaps = -1;
	read_aor(usrloc, v, b);
	read_source(v, b);
	ev->call_id = b->callid;
	ev->cseq = (unsigned)b->cseq;
	if(b->user_agent.len != (int)strlen(CN_NO_USER_AGENT)
			|| memcmp(b->user_agent.s, CN_NO_USER_AGENT, b->user_agent.len)
					   != 0)
		ev->user_agent = b->user_agent;
	c->uri = b->c;
	c->received = b->received;
	c->path = b->path;
	c->instance = b->instance;
	c->reg_id = b->reg_id;
	c->has_reg_id = b->reg_id > 0;
}

bool cn_binding_is_gone(const ucontact_t *b)
{
	return b->last_keepalive == CN_BINDING_GONE;
}

int cn_binding_expires_s(const ucontact_t *b, time_t now)
{
	return b->expires ? (int)(b->expires - now) : INT_MAX;
}

bool cn_binding_is_live(const ucontact_t *b, time_t now)
{
	return VALID_CONTACT(b, now) && !cn_binding_is_gone(b);
}

bool cn_binding_is_ours(const ucontact_t *b)
{
	return b->server_id == server_id && !(b->flags & FL_DMQRPL);
}
