/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>

#include "../../core/cfg/cfg_ctx.h"
#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/parser/contact/parse_contact.h"
#include "../../core/parser/digest/digest.h"
#include "../../core/parser/parse_expires.h"
#include "../../core/parser/parse_require.h"
#include "../../core/parser/parse_rr.h"
#include "../../core/parser/parse_supported.h"
#include "../../core/parser/parse_to.h"
#include "../../core/parser/parse_uri.h"
#include "../../core/pvar.h"
#include "../../core/socket_info.h"
#include "../../core/sr_module.h"
#include "../../core/strutils.h"
#include "../../core/trim.h"
#include "../../core/ut.h"
#include "../../core/xavp.h"
#include "../registrar/registrar.h"
#include "../usrloc/ucontact.h"
#include "../usrloc/usrloc.h"

#include "cn_conf.h"
#include "cn_detect.h"

#define CN_AOR_MAX (USERNAME_MAX_SIZE + DOMAIN_MAX_SIZE + 1)

static usrloc_api_t usrloc;

/* registrar's settings: where its modparams live */
static struct
{
	const int *use_path;
	const int *path_use_received;
	const int *outbound_mode;
	const int *regid_mode;
	const int *min_expires_mode;
	const int *contact_max_size;
	const str *xavp_cfg;
	pv_spec_t *received_avp;
} reg;

/* registrar's settings that can change at run time: copied again whenever the
 * process has got another set of them */
static struct
{
	const void *seen;
	int default_expires;
	int min_expires;
	int max_expires;
	int max_contacts;
	int case_sensitive;
	str realm_prefix;
} run;

static cfg_ctx_t *cfg_ctx;

/* Grows to the largest REGISTER seen, reused for each: no allocation on the
 * way of a request. */
static struct
{
	struct cn_contact *contacts;
	int size;
	char key[CN_AOR_MAX];
	char aor[sizeof("sips:") + CN_AOR_MAX];
	char source_ip[IP_ADDR_MAX_STR_SIZE];
	char path[MAX_PATH_SIZE];
	char path_received[MAX_URI_SIZE];
} scratch;

static const void *registrar_param(const char *name, modparam_t type)
{
	struct sr_module *mod = find_module_by_name("registrar");
	modparam_t found;
	const void *p;

	p = mod ? find_param_export(mod, (char *)name, type, &found) : NULL;
	if(p == NULL)
		LM_ERR("registrar has no parameter %s: load registrar.so before "
			   "cms_notify.so\n",
				name);
	return p;
}

static int bind_received_avp(void)
{
	char *const *name = registrar_param("received_avp", PARAM_STRING);
	str s;

	if(name == NULL)
		return -1;
	if(*name == NULL || **name == '\0')
		return 0;
	s.s = *name;
	s.len = strlen(s.s);
	reg.received_avp = pv_cache_get(&s);
	return reg.received_avp ? 0 : -1;
}

int cn_detect_init(void)
{
	bind_usrloc_t bind_usrloc;

	bind_usrloc = (bind_usrloc_t)find_export("ul_bind_usrloc", 1, 0);
	if(bind_usrloc == NULL || bind_usrloc(&usrloc) < 0) {
		LM_ERR("cannot use usrloc: load usrloc.so before cms_notify.so\n");
		return -1;
	}
	reg.use_path = registrar_param("use_path", INT_PARAM);
	reg.path_use_received = registrar_param("path_use_received", INT_PARAM);
	reg.outbound_mode = registrar_param("outbound_mode", INT_PARAM);
	reg.regid_mode = registrar_param("regid_mode", INT_PARAM);
	reg.min_expires_mode = registrar_param("min_expires_mode", INT_PARAM);
	reg.contact_max_size = registrar_param("contact_max_size", INT_PARAM);
	reg.xavp_cfg = registrar_param("xavp_cfg", PARAM_STR);
	if(!reg.use_path || !reg.path_use_received || !reg.outbound_mode
			|| !reg.regid_mode || !reg.min_expires_mode || !reg.contact_max_size
			|| !reg.xavp_cfg || bind_received_avp() < 0)
		return -1;
	if(cfg_register_ctx(&cfg_ctx, NULL) < 0) {
		LM_ERR("cannot read registrar's settings\n");
		return -1;
	}
	return 0;
}

struct udomain *cn_detect_table(const char *name)
{
	struct udomain *table;

	return usrloc.register_udomain(name, &table) < 0 ? NULL : table;
}

/* @return what cfg_get_by_name() makes of it: an int in a pointer, or a str */
static void *setting(const char *name)
{
	str group = str_init("registrar"), var = {(char *)name, strlen(name)};
	unsigned type;
	void *value;

	if(cfg_get_by_name(cfg_ctx, &group, NULL, &var, &value, &type) == 0)
		return value;
	LM_BUG("registrar has no setting %s\n", name);
	return NULL;
}

static int int_setting(const char *name)
{
	return (int)(long)setting(name);
}

static void read_settings(void)
{
	const str *prefix;

	if(run.seen != NULL && run.seen == cfg_local)
		return;
	run.seen = cfg_local;
	run.default_expires = int_setting("default_expires");
	run.min_expires = int_setting("min_expires");
	run.max_expires = int_setting("max_expires");
	run.max_contacts = int_setting("max_contacts");
	run.case_sensitive = int_setting("case_sensitive");
	prefix = setting("realm_pref");
	if(prefix)
		run.realm_prefix = *prefix;
	else
		memset(&run.realm_prefix, 0, sizeof(run.realm_prefix));
}

/* A value that the script has set for this request in registrar's XAVP. */
static int xavp_int(const char *name, int otherwise)
{
	str key = {(char *)name, strlen(name)};
	sr_xavp_t *xavp;

	if(reg.xavp_cfg->s == NULL)
		return otherwise;
	xavp = xavp_get_child_with_ival((str *)reg.xavp_cfg, &key);
	return xavp && xavp->val.v.i >= 0 ? (int)xavp->val.v.i : otherwise;
}

/* Everything that save() wants parsed. */
static bool parse(struct sip_msg *msg)
{
	if(parse_headers(msg, HDR_EOH_F, 0) < 0 || msg->to == NULL
			|| msg->callid == NULL || msg->cseq == NULL)
		return false;
	if(msg->expires && msg->expires->parsed == NULL
			&& parse_expires(msg->expires) < 0)
		return false;
	return parse_contact_headers(msg) >= 0 && parse_to_uri(msg) != NULL;
}

static void lower(char *s, int len)
{
	str t = {s, len};

	strlower(&t);
}

/* The AOR as registrar computes it for usrloc, and as a URI for people. */
static bool read_aor(struct sip_msg *msg, struct cn_event *ev)
{
	struct sip_uri uri;
	str user;
	int n;

	if(parse_uri(get_to(msg)->uri.s, get_to(msg)->uri.len, &uri) < 0
			|| uri.user.len > USERNAME_MAX_SIZE
			|| uri.host.len > DOMAIN_MAX_SIZE)
		return false;
	user.s = scratch.key;
	user.len = uri.user.len;
	if(un_escape(&uri.user, &user) < 0)
		return false;
	ev->username = user;
	n = user.len;
	if(usrloc.use_domain) {
		str host = uri.host;

		if(run.realm_prefix.len > 0 && run.realm_prefix.len < host.len
				&& memcmp(host.s, run.realm_prefix.s, run.realm_prefix.len)
						   == 0) {
			host.s += run.realm_prefix.len;
			host.len -= run.realm_prefix.len;
		}
		if(n > 0)
			scratch.key[n++] = '@';
		memcpy(scratch.key + n, host.s, host.len);
		n += host.len;
	}
	ev->key.s = scratch.key;
	ev->key.len = n;
	n = snprintf(scratch.aor, sizeof(scratch.aor), "%s:%.*s%s%.*s",
			uri.type == SIPS_URI_T ? "sips" : "sip", uri.user.len, uri.user.s,
			uri.user.len > 0 ? "@" : "", uri.host.len, uri.host.s);
	ev->aor.s = scratch.aor;
	ev->aor.len = n;
	ev->domain.s = scratch.aor + n - uri.host.len;
	ev->domain.len = uri.host.len;
	if(run.case_sensitive) {
		lower(scratch.key + user.len, ev->key.len - user.len);
		lower(ev->domain.s, ev->domain.len);
	} else {
		lower(scratch.key, ev->key.len);
		lower(scratch.aor, ev->aor.len);
	}
	ev->hash = usrloc.get_aorhash(&ev->key);
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

static void read_source(struct sip_msg *msg, struct cn_event *ev)
{
	ev->source_ip.s = scratch.source_ip;
	ev->source_ip.len = ip_addr2sbuf(
			&msg->rcv.src_ip, scratch.source_ip, sizeof(scratch.source_ip));
	ev->source_port = msg->rcv.src_port;
	ev->transport = get_valid_proto_name(msg->rcv.proto);
	if(msg->user_agent)
		ev->user_agent = msg->user_agent->body;
}

/* Seconds that registrar will grant, without its random spread. */
static int contact_expires(struct sip_msg *msg, const contact_t *c)
{
	int expires = xavp_int("expires", -1);
	unsigned u;

	if(expires < 0) {
		if(c->expires && c->expires->body.len > 0)
			expires = str2int(&c->expires->body, &u) < 0 ? run.default_expires
														 : (int)u;
		else if(msg->expires && ((exp_body_t *)msg->expires->parsed)->valid)
			expires = ((exp_body_t *)msg->expires->parsed)->val;
		else
			expires = run.default_expires;
	}
	if(expires == 0)
		return 0;
	if(expires < run.min_expires)
		return *reg.min_expires_mode ? -1 : run.min_expires;
	if(run.max_expires && expires > run.max_expires)
		return run.max_expires;
	return expires;
}

/* Is the reg-id to be looked at? registrar ignores it where the edge in between
 * does not speak RFC 5626. */
static bool uses_reg_id(struct sip_msg *msg)
{
	struct sip_uri uri;
	rr_t *route = NULL;
	param_hooks_t hooks;
	param_t *params = NULL;
	bool ob = false;

	if(*reg.outbound_mode == REG_OUTBOUND_NONE
			|| *reg.regid_mode == REG_REGID_ALWAYS)
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

/* All Path headers as usrloc stores them: one string, comma between. */
static bool read_path(struct sip_msg *msg, str *path, str *received)
{
	struct hdr_field *h;
	rr_t *route = NULL;
	struct sip_uri uri;
	param_hooks_t hooks;
	param_t *params = NULL;
	int n = 0;

	path->len = received->len = 0;
	if(!*reg.use_path)
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
	if(n == 0 || !*reg.path_use_received)
		return true;
	if(parse_rr_body(path->s, path->len, &route) < 0)
		return false;
	if(parse_uri(route->nameaddr.uri.s, route->nameaddr.uri.len, &uri) == 0
			&& parse_params(&uri.params, CLASS_CONTACT, &hooks, &params) == 0) {
		if(hooks.contact.received
				&& hooks.contact.received->body.len < MAX_URI_SIZE) {
			received->s = scratch.path_received;
			received->len = MAX_URI_SIZE;
			if(unescape_user(&hooks.contact.received->body, received) < 0)
				received->len = 0;
		}
		free_params(params);
	}
	free_rr(&route);
	return true;
}

/* Where the script saw the request come from, if it noted that for usrloc. */
static str noted_source(struct sip_msg *msg)
{
	str none = STR_NULL;
	pv_value_t value;

	if(reg.received_avp == NULL
			|| pv_get_spec_value(msg, reg.received_avp, &value) < 0
			|| !(value.flags & PV_VAL_STR) || value.rs.len > RECEIVED_MAX_SIZE)
		return none;
	return value.rs;
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

/* @return 1: fine; 0: save() is going to refuse the request; -1: no memory */
static int read_contacts(struct sip_msg *msg, struct cn_event *ev)
{
	str path, path_received, avp;
	bool reg_id = uses_reg_id(msg);
	contact_t *from;

	if(!read_path(msg, &path, &path_received))
		return 0;
	avp = noted_source(msg);
	for(from = NULL; contact_iterator(&from, msg, from) == 0 && from;) {
		struct cn_contact *c = add_contact(ev);

		if(c == NULL)
			return -1;
		c->uri = from->uri;
		c->path = path;
		c->expires = contact_expires(msg, from);
		if(c->expires < 0 || c->uri.len > *reg.contact_max_size)
			return 0;
		if(from->instance)
			c->instance = from->instance->body;
		if(reg_id && c->instance.len > 0 && from->reg_id
				&& from->reg_id->body.len > 0) {
			if(str2int(&from->reg_id->body, &c->reg_id) < 0 || c->reg_id == 0)
				return 0;
			c->has_reg_id = true;
		}
		if(path_received.len > 0)
			c->received = path_received;
		else if(from->received)
			c->received = from->received->body;
		else
			c->received = avp;
	}
	return 1;
}

/* Contact: * goes with Expires: 0 and with no other Contact (RFC 3261 10.2.2).
 * @return false: save() is going to refuse the request */
static bool check_star(struct sip_msg *msg, struct cn_event *ev)
{
	struct hdr_field *h;
	int headers = 0, stars = 0;

	for(h = msg->contact; h; h = next_sibling_hdr(h)) {
		headers++;
		if(((contact_body_t *)h->parsed)->star)
			stars++;
	}
	ev->star = stars > 0;
	return stars == 0 || (headers == 1 && stars == 1);
}

static bool is_live(const ucontact_t *b, time_t now)
{
	return VALID_CONTACT(b, now);
}

static bool same_str(const str *a, const str *b)
{
	return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

/* How the contact stands to the live bindings of the AOR. */
struct relation
{
	const ucontact_t *device; /* of the same device at another address */
	bool same_call_id;		  /* one of these has the request's Call-ID */
	bool other;				  /* of any device */
};

static struct relation relate(const urecord_t *record,
		const struct cn_contact *c, const struct cn_event *ev, time_t now)
{
	struct relation rel = {NULL, false, false};
	const ucontact_t *b;

	for(b = record ? record->contacts : NULL; b; b = b->next) {
		if(!is_live(b, now))
			continue;
		rel.other = true;
		if(cn_conf.identity == CN_IDENTITY_AOR
				|| (cn_conf.identity == CN_IDENTITY_INSTANCE
						&& cn_contact_same_instance(
								&c->instance, &b->instance))) {
			rel.device = b;
			rel.same_call_id |= same_str(&b->callid, &ev->call_id);
		}
	}
	return rel;
}

/* No live binding of its own: is it the device under another address? */
static enum cn_reason classify_unbound(const urecord_t *record,
		const struct cn_contact *c, const struct cn_event *ev, time_t now,
		bool expired)
{
	struct relation rel = relate(record, c, ev, now);

	if(rel.device)
		return cn_conf.detect_reboot && !rel.same_call_id ? CN_REASON_REBOOT
														  : CN_REASON_NONE;
	if(expired)
		return CN_REASON_RETURNED;
	return rel.other ? CN_REASON_MOVED : CN_REASON_NEW;
}

enum found
{
	FOUND_NOTHING,
	FOUND_BINDING,
	FOUND_SAME,	  /* this very request has been saved already */
	FOUND_REFUSED /* its CSeq is too low */
};

static enum found find_binding(urecord_t *record, const struct cn_event *ev,
		const struct cn_contact *c, ucontact_t **binding)
{
	ucontact_info_t info;
	str uri = c->uri, call_id = ev->call_id, path = c->path;

	*binding = NULL;
	if(record == NULL)
		return FOUND_NOTHING;
	memset(&info, 0, sizeof(info));
	info.callid = &call_id;
	info.cseq = (int)ev->cseq;
	info.instance = c->instance;
	info.reg_id = c->reg_id;
	info.path = path.len > 0 ? &path : NULL;
	switch(usrloc.get_ucontact_by_instance(record, &uri, &info, binding)) {
		case 0:
			return FOUND_BINDING;
		case -1:
			return FOUND_REFUSED;
		case -2:
			return FOUND_SAME;
		default:
			return FOUND_NOTHING;
	}
}

static enum cn_reason classify_bound(const urecord_t *record,
		const struct cn_contact *c, const struct cn_event *ev, time_t now,
		const ucontact_t *binding)
{
	if(!is_live(binding, now)) {
		/* what has left stays a while when usrloc writes back: it is gone */
		return classify_unbound(
				record, c, ev, now, binding->expires != UL_EXPIRED_TIME);
	}
	if(cn_conf.identity == CN_IDENTITY_CONTACT && c->instance.len > 0
			&& !same_str(&binding->c, &c->uri))
		return CN_REASON_MOVED;
	if(cn_conf.detect_reboot && !same_str(&binding->callid, &ev->call_id))
		return CN_REASON_REBOOT;
	return CN_REASON_NONE;
}

static int live_bindings(const urecord_t *record, time_t now)
{
	const ucontact_t *b;
	int n = 0;

	for(b = record ? record->contacts : NULL; b; b = b->next)
		n += is_live(b, now);
	return n;
}

/* Under usrloc's lock. @return false: save() is going to refuse the request */
static bool classify(urecord_t *record, struct cn_event *ev)
{
	int max = xavp_int("max_contacts", run.max_contacts);
	time_t now = time(NULL);
	int count = live_bindings(record, now), i;
	ucontact_t *binding;

	for(i = 0; i < ev->contact_count; i++) {
		struct cn_contact *c = &ev->contacts[i];
		enum found found = find_binding(record, ev, c, &binding);

		c->reason = CN_REASON_NONE;
		if(found == FOUND_REFUSED)
			return false;
		if(found == FOUND_SAME)
			continue;
		if(c->expires == 0) {
			count -= found == FOUND_BINDING;
			continue;
		}
		count += found == FOUND_NOTHING;
		c->reason = found == FOUND_BINDING
							? classify_bound(record, c, ev, now, binding)
							: classify_unbound(record, c, ev, now, false);
		if(ev->reason == CN_REASON_NONE)
			ev->reason = c->reason;
	}
	return max <= 0 || count <= max;
}

static void forget_contacts(struct cn_event *ev)
{
	ev->contact_count = 0;
	ev->star = false;
	ev->reason = CN_REASON_NONE;
}

void cn_detect_classify(struct udomain *table, struct cn_event *ev)
{
	urecord_t *record = NULL;

	ev->reason = CN_REASON_NONE;
	if(ev->contact_count == 0)
		return;
	usrloc.lock_udomain(table, &ev->key);
	if(usrloc.get_urecord(table, &ev->key, &record) != 0)
		record = NULL;
	if(!classify(record, ev))
		forget_contacts(ev);
	if(record)
		usrloc.release_urecord(record);
	usrloc.unlock_udomain(table, &ev->key);
}

int cn_detect_read(struct sip_msg *msg, struct cn_event *ev)
{
	int err;

	memset(ev, 0, sizeof(*ev));
	read_settings();
	if(!parse(msg) || !read_aor(msg, ev)
			|| str2int(&get_cseq(msg)->number, &ev->cseq) < 0)
		return 0;
	ev->call_id = msg->callid->body;
	trim_trailing(&ev->call_id);
	if(ev->call_id.len > CALLID_MAX_SIZE)
		return 0;
	read_credentials(msg, ev);
	read_source(msg, ev);
	if(msg->contact == NULL)
		return 0;
	if(!check_star(msg, ev)) {
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
