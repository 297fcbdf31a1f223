/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads registrar's settings from its parameters. In every process. */

#include <string.h>

#include "../../core/cfg/cfg_ctx.h"
#include "../../core/cfg/cfg_struct.h"
#include "../../core/dprint.h"
#include "../../core/pvar.h"
#include "../../core/sr_module.h"
#include "../../core/xavp.h"

#include "reg_settings.h"

/* Kamailio 5.7 made it a long, and gave it another name. */
#if VERSIONVAL < 5007000
#define XAVP_INT(xavp) ((xavp)->val.v.i)
#else
#define XAVP_INT(xavp) ((xavp)->val.v.l)
#endif

static struct cn_registrar reg;
static const void *seen; /* the set of run-time settings that reg shows */
static cfg_ctx_t *cfg_ctx;
static const str *xavp_cfg;
static pv_spec_t *received_avp_spec;

static const void *param(const char *name, modparam_t type)
{
	struct sr_module *mod = find_module_by_name("registrar");
	modparam_t found;
	const void *p;

	p = mod ? find_param_export(mod, (char *)name, type, &found) : NULL;
	if(mod && p == NULL)
		LM_ERR("this version of registrar has no parameter %s\n", name);
	return p;
}

static int bind_received_avp(void)
{
	char *const *name = param("received_avp", PARAM_STRING);
	str s;

	if(name == NULL)
		return -1;
	if(*name == NULL || **name == '\0')
		return 0;
	s.s = *name;
	s.len = strlen(s.s);
	received_avp_spec = pv_cache_get(&s);
	return received_avp_spec ? 0 : -1;
}

int cn_registrar_init(void)
{
	if(find_module_by_name("registrar") == NULL) {
		LM_ERR("cannot use registrar: load registrar.so before "
			   "cms_notify.so\n");
		return -1;
	}
	reg.use_path = param("use_path", PARAM_INT);
	reg.path_use_received = param("path_use_received", PARAM_INT);
	reg.outbound_mode = param("outbound_mode", PARAM_INT);
	reg.regid_mode = param("regid_mode", PARAM_INT);
	reg.min_expires_mode = param("min_expires_mode", PARAM_INT);
	reg.contact_max_size = param("contact_max_size", PARAM_INT);
	xavp_cfg = param("xavp_cfg", PARAM_STR);
	if(!reg.use_path || !reg.path_use_received || !reg.outbound_mode
			|| !reg.regid_mode || !reg.min_expires_mode || !reg.contact_max_size
			|| !xavp_cfg || bind_received_avp() < 0)
		return -1;
	if(cfg_register_ctx(&cfg_ctx, NULL) < 0) {
		LM_ERR("cannot read registrar's settings\n");
		return -1;
	}
	return 0;
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

const struct cn_registrar *cn_registrar(void)
{
	const str *prefix;

	/* the process has got another set of settings when this has changed */
	if(seen != NULL && seen == cfg_local)
		return &reg;
	seen = cfg_local;
	reg.default_expires = int_setting("default_expires");
	reg.min_expires = int_setting("min_expires");
	reg.max_expires = int_setting("max_expires");
	reg.max_contacts = int_setting("max_contacts");
	reg.retry_after = int_setting("retry_after");
	reg.case_sensitive = int_setting("case_sensitive");
	prefix = setting("realm_pref");
	if(prefix)
		reg.realm_prefix = *prefix;
	else
		memset(&reg.realm_prefix, 0, sizeof(reg.realm_prefix));
	return &reg;
}

int cn_registrar_override(const char *name, int otherwise)
{
	sr_xavp_t *xavp;
	str key;

	if(xavp_cfg->s == NULL)
		return otherwise;
	key.s = (char *)name;
	key.len = strlen(name);
	xavp = xavp_get_child_with_ival((str *)xavp_cfg, &key);
	return xavp ? (int)XAVP_INT(xavp) : otherwise;
}

str cn_registrar_received(struct sip_msg *msg)
{
	str none = STR_NULL;
	pv_value_t value;

	if(received_avp_spec == NULL
			|| pv_get_spec_value(msg, received_avp_spec, &value) < 0
			|| !(value.flags & PV_VAL_STR))
		return none;
	return value.rs;
}
