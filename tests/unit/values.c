/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/pvar.h"
#include "../../core/pvapi.h"

#include "values.h"

struct value values[VALUES_MAX];

static int parse_name(pv_spec_p spec, str *in)
{
	int i = in->len > 0 && in->len < 3 ? atoi(in->s) : VALUES_MAX;

	if(i >= VALUES_MAX)
		return -1;
	spec->pvp.pvn.type = PV_NAME_INTSTR;
	spec->pvp.pvn.u.isname.type = 0;
	spec->pvp.pvn.u.isname.name.n = i;
	return 0;
}

static int get(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	struct value *v = &values[param->pvn.u.isname.name.n];

	switch(v->kind) {
		case VALUE_STRING:
			return pv_get_strval(msg, param, res, &v->s);
		case VALUE_NUMBER:
			return pv_get_sintval(msg, param, res, v->n);
		case VALUE_BARE_NUMBER:
			memset(res, 0, sizeof(*res));
			res->ri = v->n;
			res->flags = PV_VAL_INT | PV_TYPE_INT;
			return 0;
		case VALUE_CODE:
			return pv_get_strintval(msg, param, res, &v->s, v->n);
		case VALUE_NULL:
			return pv_get_null(msg, param, res);
		case VALUE_FAILS:
			break;
	}
	return -1;
}

static pv_export_t exports[] = {
		{{"v", 1}, PVT_OTHER, get, 0, parse_name, 0, 0, 0},
		{{0, 0}, 0, 0, 0, 0, 0, 0, 0}};

void values_start(void)
{
	if(pv_init_api() < 0 || register_pvars_mod("test", exports) < 0)
		abort();
}

void values_set(int i, enum kind kind, str s, long n)
{
	values[i] = (struct value){kind, s, n};
}
