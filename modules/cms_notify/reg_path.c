/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads what edge proxies have put into a REGISTER, as save() is going to. In the
 * SIP workers. */

#include <string.h>

#include "../../core/parser/parse_param.h"
#include "../../core/parser/parse_rr.h"
#include "../../core/parser/parse_uri.h"
#include "../../core/strutils.h"
#include "../registrar/registrar.h"

#include "reg_path.h"
#include "reg_settings.h"

static struct
{
	char path[MAX_PATH_SIZE];
	char received[MAX_URI_SIZE];
} scratch;

bool cn_path_uses_reg_id(struct sip_msg *msg)
{
	const struct cn_registrar *reg = cn_registrar();
	struct sip_uri uri;
	rr_t *route = NULL;
	param_hooks_t hooks;
	param_t *params = NULL;
	bool ob = false;

	if(*reg->outbound_mode == REG_OUTBOUND_NONE
			|| *reg->regid_mode == REG_REGID_ALWAYS)
		return true;
	if(parse_headers(msg, HDR_VIA2_F, 0) == -1 || msg->via2 == NULL
			|| msg->via2->error != PARSE_OK)
		return true; /* the edge is us */
	if(parse_headers(msg, HDR_PATH_F, 0) == -1 || msg->path == NULL)
		return false;
	if(parse_rr_body(msg->path->body.s, msg->path->body.len, &route) < 0)
		return false;
	if(parse_uri(route->nameaddr.uri.s, route->nameaddr.uri.len, &uri) == 0
			&& parse_params(&uri.params, CLASS_URI, &hooks, &params) == 0) {
		ob = hooks.uri.ob != NULL;
		free_params(params);
	}
	free_rr(&route);
	return ob;
}

/* Where the first Path says that the request came from. */
static void read_path_received(const struct sip_uri *uri, str *received)
{
	str parameters = uri->params;
	param_t *params = NULL;
	param_hooks_t hooks;

	if(parse_params(&parameters, CLASS_CONTACT, &hooks, &params) < 0)
		return;
	if(hooks.contact.received
			&& hooks.contact.received->body.len < MAX_URI_SIZE) {
		received->s = scratch.received;
		received->len = MAX_URI_SIZE;
		if(unescape_user(&hooks.contact.received->body, received) < 0)
			received->len = 0;
	}
	free_params(params);
}

bool cn_path_read(struct sip_msg *msg, str *path, str *received)
{
	const struct cn_registrar *reg = cn_registrar();
	struct hdr_field *h;
	rr_t *route = NULL;
	struct sip_uri uri;
	bool fine;
	int n = 0;

	path->len = received->len = 0;
	if(!*reg->use_path)
		return true;
	for(h = msg->path; h; h = next_sibling_hdr(h)) {
		if(n + h->body.len + 1 >= MAX_PATH_SIZE)
			return false;
		if(n > 0)
			scratch.path[n++] = ',';
		memcpy(scratch.path + n, h->body.s, h->body.len);
		n += h->body.len;
	}
	path->s = scratch.path;
	path->len = n;
	if(n == 0)
		return true;
	if(parse_rr_body(path->s, path->len, &route) < 0)
		return false;
	fine = parse_uri(route->nameaddr.uri.s, route->nameaddr.uri.len, &uri) == 0
		   && uri.lr.s != NULL;
	if(fine && *reg->path_use_received)
		read_path_received(&uri, received);
	free_rr(&route);
	return fine;
}
