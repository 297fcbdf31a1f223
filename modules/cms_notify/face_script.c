/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Unpacks what the script gives, natively and by KEMI. In the SIP workers. */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mod_fix.h"
#include "../../core/trim.h"

#include "face_health.h"
#include "face_http.h"
#include "face_notify.h"
#include "face_script.h"
#include "face_step.h"
#include "outbox.h"
#include "reg_classify.h"
#include "reg_heard.h"
#include "reg_park.h"

/* -------- what the script says -------- */

static bool is_register(struct sip_msg *msg)
{
	if(msg->first_line.type == SIP_REQUEST
			&& msg->REQ_METHOD == METHOD_REGISTER)
		return true;
	LM_ERR("called for something else than a REGISTER, correct the script\n");
	return false;
}

/* Words with commas between. @return 0, or -1 with a line in the log */
static int read_options(const str *text, struct cn_goal *goal)
{
	static const char defer[] = "defer";
	const char *p = text->s, *end = text->s + text->len;

	while(p < end) {
		const char *comma = memchr(p, ',', end - p);
		str word = {(char *)p, (int)((comma ? comma : end) - p)};

		p += word.len + (comma != NULL);
		trim(&word);
		if(word.len == 0)
			continue;
		if(word.len != (int)strlen(defer)
				|| memcmp(word.s, defer, word.len) != 0) {
			LM_ERR("cms_notify(): there is no option \"%.*s\", there is "
				   "defer\n",
					word.len, word.s);
			return -1;
		}
		goal->defers = true;
	}
	if(!goal->defers || cn_outbox_exists())
		return 0;
	LM_ERR("cms_notify(): the option defer needs an outbox, set "
		   "outbox_db_url\n");
	return -1;
}

/* Empty is not there. */
static const str *given(const str *s)
{
	return s && s->len > 0 ? s : NULL;
}

/* What is no REGISTER is no step. */
static int note_step(struct sip_msg *msg, const str *why, const str *aor)
{
	bool is_step = msg->first_line.type == SIP_REQUEST
				   && msg->REQ_METHOD == METHOD_REGISTER;

	return is_step && cn_face_step_script(msg, aor, why) ? 1 : -1;
}

/* -------- KEMI -------- */

static int find_callback(const str *callback, struct cn_goal *goal)
{
	if(sr_kemi_eng_get()) {
		goal->callback = *callback;
		return 0;
	}
	goal->route = cn_park_find_route(callback->s);
	if(goal->route >= 0)
		return 0;
	LM_ERR("there is no route[%.*s]\n", callback->len, callback->s);
	return -1;
}

static int ki_notify(
		sip_msg_t *msg, str *table_name, str *callback, str *options, str *aor)
{
	struct udomain *table = cn_classify_table(table_name->s);
	struct cn_goal goal = {.route = -1};

	if(!is_register(msg))
		return cn_notify_refuse(msg);
	if(table == NULL || callback->len == 0) {
		LM_ERR("usrloc has no table \"%.*s\" or no callback\n", table_name->len,
				table_name->s);
		return cn_notify_refuse(msg);
	}
	if(find_callback(callback, &goal) < 0 || read_options(options, &goal) < 0)
		return cn_notify_refuse(msg);
	return cn_notify(msg, table, &goal, given(aor));
}

static int ki_is_new(sip_msg_t *msg, str *table_name, str *aor)
{
	struct udomain *table = cn_classify_table(table_name->s);

	return table && is_register(msg) && cn_notify_is_new(msg, table, given(aor))
				   ? 1
				   : -1;
}

static int ki_alive(sip_msg_t *msg, str *table_name, str *aor)
{
	struct udomain *table = cn_classify_table(table_name->s);

	return table && cn_heard_keep(msg, table, given(aor)) ? 1 : -1;
}

static int ki_metrics(sip_msg_t *msg)
{
	return cn_http_answer_init() == 0 && cn_http_answer(msg) ? 1 : -1;
}

static int ki_step(sip_msg_t *msg, str *why, str *aor)
{
	return note_step(msg, why, given(aor));
}

/* -------- native -------- */

/* A route: an index where the script names it, looked up for each request
 * where it is computed. */
struct route_param
{
	int route;
	fparam_t *computed;
};

static int fix_table(void **param)
{
	struct udomain *table = cn_classify_add_table((char *)*param);

	if(table == NULL) {
		LM_ERR("cannot use the table \"%s\"\n", (char *)*param);
		return E_CFG;
	}
	*param = table;
	return 0;
}

static int fill_route(struct route_param *p, char *name)
{
	void *computed = name;

	memset(p, 0, sizeof(*p));
	if(strchr(name, '$') != NULL) {
		if(fixup_spve_null(&computed, 1) < 0)
			return E_CFG;
		p->computed = computed;
		return 0;
	}
	p->route = cn_park_find_route(name);
	if(p->route >= 0)
		return 0;
	LM_ERR("cms_notify(): there is no route[%s], add it or correct the name\n",
			name);
	return E_CFG;
}

static int fix_route(void **param)
{
	struct route_param *p = pkg_malloc(sizeof(*p));
	int err;

	if(p == NULL) {
		PKG_MEM_ERROR;
		return E_OUT_OF_MEM;
	}
	err = fill_route(p, *param);
	if(err < 0) {
		pkg_free(p);
		return err;
	}
	*param = p;
	return 0;
}

/* Options are fixed: what is wrong with them is said at the start. */
static int fix_options(void **param)
{
	struct cn_goal *goal = pkg_malloc(sizeof(*goal));
	str text = {*param, strlen(*param)};

	if(goal == NULL) {
		PKG_MEM_ERROR;
		return E_OUT_OF_MEM;
	}
	memset(goal, 0, sizeof(*goal));
	if(read_options(&text, goal) < 0) {
		pkg_free(goal);
		return E_CFG;
	}
	if(goal->defers)
		cn_health_set_deferring();
	*param = goal;
	return 0;
}

static int fix_notify(void **param, int param_no)
{
	switch(param_no) {
		case 1:
			return fix_table(param);
		case 2:
			return fix_route(param);
		case 3:
			return fix_options(param);
		default:
			return fixup_spve_null(param, 1);
	}
}

static int fix_table_and_uri(void **param, int param_no)
{
	return param_no == 1 ? fix_table(param) : fixup_spve_null(param, 1);
}

static int find_computed_route(struct sip_msg *msg, struct route_param *p)
{
	char name[128];
	str s;

	if(get_str_fparam(&s, msg, p->computed) < 0 || s.len >= (int)sizeof(name))
		return -1;
	memcpy(name, s.s, s.len);
	name[s.len] = '\0';
	return cn_park_find_route(name);
}

/* @return false: it has no value */
static bool read_aor(struct sip_msg *msg, char *param, str *aor)
{
	memset(aor, 0, sizeof(*aor));
	return param == NULL || get_str_fparam(aor, msg, (fparam_t *)param) == 0;
}

static int w_notify4(
		struct sip_msg *msg, char *table, char *route, char *options, char *uri)
{
	struct route_param *p = (struct route_param *)route;
	struct cn_goal goal = {.route = p->route};
	str aor;

	if(options)
		goal.defers = ((struct cn_goal *)options)->defers;
	if(!is_register(msg))
		return cn_notify_refuse(msg);
	if(p->computed)
		goal.route = find_computed_route(msg, p);
	if(goal.route < 0) {
		LM_ERR("cms_notify(): the verdict route does not exist\n");
		return cn_notify_refuse(msg);
	}
	if(!read_aor(msg, uri, &aor)) {
		LM_ERR("cms_notify(): the address has no value\n");
		return cn_notify_refuse(msg);
	}
	return cn_notify(msg, (struct udomain *)table, &goal, given(&aor));
}

static int w_notify3(
		struct sip_msg *msg, char *table, char *route, char *options)
{
	return w_notify4(msg, table, route, options, NULL);
}

static int w_notify2(struct sip_msg *msg, char *table, char *route)
{
	return w_notify4(msg, table, route, NULL, NULL);
}

static int w_is_new2(struct sip_msg *msg, char *table, char *uri)
{
	str aor;

	if(!is_register(msg) || !read_aor(msg, uri, &aor))
		return -1;
	return cn_notify_is_new(msg, (struct udomain *)table, given(&aor)) ? 1 : -1;
}

static int w_is_new1(struct sip_msg *msg, char *table, char *unused)
{
	(void)unused;
	return w_is_new2(msg, table, NULL);
}

static int w_alive2(struct sip_msg *msg, char *table, char *uri)
{
	str aor;

	if(!read_aor(msg, uri, &aor))
		return -1;
	return cn_heard_keep(msg, (struct udomain *)table, given(&aor)) ? 1 : -1;
}

static int w_alive1(struct sip_msg *msg, char *table, char *unused)
{
	(void)unused;
	return w_alive2(msg, table, NULL);
}

static int fix_metrics(void **unused, int none)
{
	(void)unused;
	(void)none;
	return cn_http_answer_init() == 0 ? 0 : E_CFG;
}

static int w_metrics(struct sip_msg *msg, char *unused, char *none)
{
	(void)unused;
	(void)none;
	return cn_http_answer(msg) ? 1 : -1;
}

static int w_step2(struct sip_msg *msg, char *text, char *uri)
{
	str why, aor;

	if(get_str_fparam(&why, msg, (fparam_t *)text) < 0
			|| !read_aor(msg, uri, &aor))
		return -1;
	return note_step(msg, &why, given(&aor));
}

static int w_step1(struct sip_msg *msg, char *text, char *unused)
{
	(void)unused;
	return w_step2(msg, text, NULL);
}

#define CN_IN_ANY (REQUEST_ROUTE | FAILURE_ROUTE)

cmd_export_t cn_script_functions[] = {{"cms_notify", (cmd_function)w_notify2, 2,
											  fix_notify, 0, REQUEST_ROUTE},
		{"cms_notify", (cmd_function)w_notify3, 3, fix_notify, 0,
				REQUEST_ROUTE},
		{"cms_notify", (cmd_function)w_notify4, 4, fix_notify, 0,
				REQUEST_ROUTE},
		{"cms_is_new", (cmd_function)w_is_new1, 1, fix_table_and_uri, 0,
				CN_IN_ANY},
		{"cms_is_new", (cmd_function)w_is_new2, 2, fix_table_and_uri, 0,
				CN_IN_ANY},
		{"cms_alive", (cmd_function)w_alive1, 1, fix_table_and_uri, 0,
				ANY_ROUTE},
		{"cms_alive", (cmd_function)w_alive2, 2, fix_table_and_uri, 0,
				ANY_ROUTE},
		{"cms_metrics", (cmd_function)w_metrics, 0, fix_metrics, 0,
				EVENT_ROUTE},
		{"cms_step", (cmd_function)w_step1, 1, fixup_spve_null, 0, CN_IN_ANY},
		{"cms_step", (cmd_function)w_step2, 2, fixup_spve_all, 0, CN_IN_ANY},
		{0, 0, 0, 0, 0, 0}};

/* clang-format off */
sr_kemi_t cn_script_kemi[] = {
	{ str_init("cms_notify"), str_init("notify"),
		SR_KEMIP_INT, ki_notify,
		{ SR_KEMIP_STR, SR_KEMIP_STR, SR_KEMIP_STR,
			SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("cms_notify"), str_init("is_new"),
		SR_KEMIP_INT, ki_is_new,
		{ SR_KEMIP_STR, SR_KEMIP_STR, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("cms_notify"), str_init("alive"),
		SR_KEMIP_INT, ki_alive,
		{ SR_KEMIP_STR, SR_KEMIP_STR, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("cms_notify"), str_init("metrics"),
		SR_KEMIP_INT, ki_metrics,
		{ SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("cms_notify"), str_init("step"),
		SR_KEMIP_INT, ki_step,
		{ SR_KEMIP_STR, SR_KEMIP_STR, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ {0, 0}, {0, 0}, 0, NULL, { 0, 0, 0, 0, 0, 0 } }
};
/* clang-format on */
