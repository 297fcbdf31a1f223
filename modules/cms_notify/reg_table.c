/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads rows of usrloc's table as events. In the outbox process. */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/resolve.h"
#include "../../core/socket_info.h"
#include "../../core/sr_module.h"
#include "../usrloc/udomain.h"
#include "../usrloc/usrloc.h"

#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_table.h"

static usrloc_api_t usrloc;
static const int *delay_s; /* usrloc's parameter */

int cn_reg_table_init(void)
{
	struct sr_module *mod = find_module_by_name("usrloc");
	bind_usrloc_t bind_usrloc;
	modparam_t type;

	bind_usrloc = (bind_usrloc_t)find_export("ul_bind_usrloc", 1, 0);
	if(mod == NULL || bind_usrloc == NULL || bind_usrloc(&usrloc) < 0) {
		LM_ERR("cannot use usrloc: load usrloc.so before cms_notify.so\n");
		return -1;
	}
	delay_s = find_param_export(mod, "rm_expired_delay", PARAM_INT, &type);
	return 0;
}

bool cn_reg_table_keeps_expired(void)
{
	return usrloc.db_mode == DB_ONLY && delay_s && *delay_s > 0;
}

const str *cn_reg_table_name(int i)
{
	struct udomain *tables[CN_TABLES_MAX];

	return i < cn_classify_tables(tables, CN_TABLES_MAX) ? tables[i]->name
														 : NULL;
}

void cn_reg_table_split(const str *key, str *username, str *domain)
{
	const char *at = NULL;
	int i;

	for(i = 0; usrloc.use_domain && i < key->len; i++) {
		if(key->s[i] == '@')
			at = key->s + i;
	}
	*username = *key;
	domain->s = key->s;
	domain->len = 0;
	if(at == NULL)
		return;
	username->len = (int)(at - key->s);
	domain->s = (char *)at + 1;
	domain->len = key->len - username->len - 1;
}

/* As usrloc knows it. */
static str key_of(const struct cn_table_binding *row)
{
	static char text[CN_BINDING_AOR_MAX];
	str key = {text, 0};

	if(!usrloc.use_domain)
		return row->username;
	key.len = snprintf(text, sizeof(text), "%.*s@%.*s", row->username.len,
			row->username.s, row->domain.len, row->domain.s);
	if(key.len >= (int)sizeof(text))
		key.len = sizeof(text) - 1;
	return key;
}

static const char *transport_of(str *socket)
{
	sr_phostp_t at;

	if(socket->len == 0 || parse_protohostport(socket, &at) < 0)
		return NULL;
	return get_valid_proto_name(at.proto);
}

struct cn_event *cn_reg_table_expire(const struct cn_table_binding *row)
{
	static struct cn_binding_view view;
	static str key;
	str socket = row->socket;
	ucontact_t b;

	key = key_of(row);
	memset(&b, 0, sizeof(b));
	b.aor = &key;
	b.c = row->contact;
	b.received = row->received;
	b.path = row->path;
	b.callid = row->call_id;
	b.user_agent = row->user_agent;
	b.instance = row->instance;
	b.cseq = row->cseq;
	b.reg_id = row->reg_id;
	cn_binding_read(&usrloc, &view, &b, CN_KIND_EXPIRE);
	view.ev.transport = transport_of(&socket);
	return &view.ev;
}
