/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the script says, natively and by KEMI, and what is made of it. */

#include "../../core/kemi.h"
#include "../../core/mod_fix.h"
#include "../../core/sr_module.h"

#include "stubs.h"

#include "face_notify.h"
#include "face_health.h"
#include "face_http.h"
#include "face_script.h"
#include "face_step.h"
#include "outbox.h"
#include "reg_classify.h"
#include "reg_heard.h"
#include "reg_park.h"

/* -------- the rest of the module -------- */

static char location; /* stands for usrloc's table */
static bool has_outbox, is_new;

/* What was asked. */
static struct
{
	int notified, refused, asked;
	struct udomain *table;
	struct cn_goal goal;
	char aor[64]; /* "-": none */
	char why[64];
} got;

static bool without_xhttp, answers_http, deferring;

struct udomain *cn_classify_table(const char *name)
{
	return strcmp(name, "location") == 0 ? (struct udomain *)&location : NULL;
}

struct udomain *cn_classify_add_table(const char *name)
{
	return cn_classify_table(name);
}

bool cn_outbox_exists(void)
{
	return has_outbox;
}

int cn_park_find_route(const char *name)
{
	if(strcmp(name, "CMS_VERDICT") == 0)
		return 5;
	return strcmp(name, "OTHER") == 0 ? 6 : -1;
}

static void keep(struct udomain *table, const str *aor)
{
	got.table = table;
	snprintf(got.aor, sizeof(got.aor), "%.*s", aor ? aor->len : 1,
			aor ? aor->s : "-");
}

int cn_notify(struct sip_msg *msg, struct udomain *table,
		const struct cn_goal *goal, const str *aor)
{
	got.notified++;
	got.goal = *goal;
	keep(table, aor);
	return CN_ENDS_SCRIPT;
}

int cn_notify_refuse(struct sip_msg *msg)
{
	got.refused++;
	return CN_FAILED;
}

bool cn_notify_is_new(
		struct sip_msg *msg, struct udomain *table, const str *aor)
{
	got.asked++;
	keep(table, aor);
	return is_new;
}

int cn_http_answer_init(void)
{
	return without_xhttp ? -1 : 0;
}

void cn_health_set_deferring(void)
{
	deferring = true;
}

bool cn_http_answer(struct sip_msg *msg)
{
	return answers_http;
}

bool cn_heard_keep(struct sip_msg *msg, struct udomain *table, const str *aor)
{
	got.asked++;
	keep(table, aor);
	return is_new;
}

bool cn_face_step_script(struct sip_msg *m, const str *aor, const str *why)
{
	keep(NULL, aor);
	snprintf(got.why, sizeof(got.why), "%.*s", why->len, why->s);
	return is_new;
}

/* -------- the core -------- */

static sr_kemi_eng_t engine;
static bool has_engine;

sr_kemi_eng_t *sr_kemi_eng_get(void)
{
	return has_engine ? &engine : NULL;
}

/* A parameter with pseudo-variables is its own text, "$null" has no value. */
int fixup_spve_null(void **param, int number)
{
	assert_int_equal(number, 1);
	return strcmp(*param, "$(broken") == 0 ? E_CFG : 0;
}

int fixup_spve_all(void **param, int number)
{
	return 0;
}

int get_str_fparam(str *to, struct sip_msg *msg, fparam_t *param)
{
	const char *text = (const char *)param;

	if(strcmp(text, "$null") == 0)
		return -1;
	*to = stub_str(text[0] == '$' ? text + 1 : text);
	return 0;
}

/* -------- calls -------- */

static struct sip_msg msg;

static const cmd_export_t *command(const char *name, int parameters)
{
	const cmd_export_t *c = cn_script_functions;

	while(c->name && (strcmp(c->name, name) != 0 || c->param_no != parameters))
		c++;
	assert_non_null(c->name);
	return c;
}

#define MOST 4

/* A line of the script: its parameters as they are fixed at the start. */
struct line
{
	const cmd_export_t *command;
	void *params[MOST];
};

/* @return what the fixup says */
static int write_line(struct line *line, const char *name,
		const char *const *params, int count)
{
	int i, err = 0;

	memset(line, 0, sizeof(*line));
	line->command = command(name, count);
	for(i = 0; i < count && err == 0; i++) {
		line->params[i] = (void *)params[i];
		err = line->command->fixup(&line->params[i], i + 1);
	}
	return err;
}

static void free_line(struct line *line)
{
	int i;

	for(i = 1; i <= 2; i++) { /* those that the fixups allocate */
		if(strcmp(line->command->name, "cms_notify") == 0
				&& i < line->command->param_no)
			pkg_free(line->params[i]);
	}
}

static int run_line(struct line *line)
{
	char **p = (char **)line->params;

	if(line->command->param_no == 4)
		return ((int (*)(struct sip_msg *, char *, char *, char *,
				char *))line->command->function)(&msg, p[0], p[1], p[2], p[3]);
	if(line->command->param_no == 3)
		return ((int (*)(struct sip_msg *, char *, char *,
				char *))line->command->function)(&msg, p[0], p[1], p[2]);
	return line->command->function(&msg, p[0], p[1]);
}

#define WRITE(line, name, ...)                                 \
	write_line(line, name, (const char *const[]){__VA_ARGS__}, \
			sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* Written and run. */
#define RUN(name, ...)                                         \
	({                                                         \
		struct line line_;                                     \
		int result_;                                           \
		assert_int_equal(WRITE(&line_, name, __VA_ARGS__), 0); \
		result_ = run_line(&line_);                            \
		free_line(&line_);                                     \
		result_;                                               \
	})

static int start(void **state)
{
	memset(&got, 0, sizeof(got));
	memset(&msg, 0, sizeof(msg));
	msg.first_line.type = SIP_REQUEST;
	msg.REQ_METHOD = METHOD_REGISTER;
	has_outbox = true;
	has_engine = is_new = false;
	return 0;
}

static int end(void **state)
{
	stub_clear_log();
	return stub_pkg_blocks() == 0 ? 0 : -1;
}

/* -------- native -------- */

static void table_route_options_and_address_arrive(void **state)
{
	assert_int_equal(
			RUN("cms_notify", "location", "CMS_VERDICT"), CN_ENDS_SCRIPT);
	assert_ptr_equal(got.table, &location);
	assert_int_equal(got.goal.route, 5);
	assert_false(got.goal.defers);
	assert_string_equal(got.aor, "-");
	RUN("cms_notify", "location", "OTHER", "defer");
	assert_int_equal(got.goal.route, 6);
	assert_true(got.goal.defers);
	assert_string_equal(got.aor, "-");
	RUN("cms_notify", "location", "OTHER", "", "sip:a@b");
	assert_false(got.goal.defers);
	assert_string_equal(got.aor, "sip:a@b");
	RUN("cms_notify", "location", "OTHER", "defer", "$");
	assert_true(got.goal.defers);
	assert_string_equal(got.aor, "-"); /* empty is not there */
	assert_int_equal(got.notified, 4);
}

static void options_are_words_with_commas_between(void **state)
{
	static const char *const good[] = {
			"defer", " defer ", "defer,defer", ",defer,", "", " , "};
	static const char *const bad[] = {
			"Defer", "defe", "deferr", "defer sure", "defer;x", "no"};
	struct line line;
	size_t i;

	for(i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		RUN("cms_notify", "location", "CMS_VERDICT", good[i]);
		assert_int_equal(got.goal.defers, i < 4);
	}
	for(i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
				WRITE(&line, "cms_notify", "location", "CMS_VERDICT", bad[i]),
				E_CFG);
		assert_logged("ERROR", "there is no option");
		pkg_free(line.params[1]);
	}
}

static void deferring_needs_an_outbox(void **state)
{
	struct line line;

	has_outbox = deferring = false;
	assert_int_equal(
			WRITE(&line, "cms_notify", "location", "CMS_VERDICT", "defer"),
			E_CFG);
	assert_logged("ERROR", "needs an outbox, set outbox_db_url");
	pkg_free(line.params[1]);
	RUN("cms_notify", "location", "CMS_VERDICT", "");
	assert_int_equal(got.notified, 1);
	assert_false(deferring);
	has_outbox = true;
	RUN("cms_notify", "location", "CMS_VERDICT", "defer");
	assert_true(deferring);
}

static void what_does_not_exist_is_refused_at_the_start(void **state)
{
	struct line line;

	assert_int_equal(
			WRITE(&line, "cms_notify", "nowhere", "CMS_VERDICT"), E_CFG);
	assert_logged("ERROR", "cannot use the table \"nowhere\"");
	assert_int_equal(WRITE(&line, "cms_notify", "location", "TYPO"), E_CFG);
	assert_logged("ERROR", "there is no route[TYPO]");
	assert_int_equal(WRITE(&line, "cms_notify", "location", "$(broken"), E_CFG);
	assert_int_equal(WRITE(&line, "cms_is_new", "nowhere"), E_CFG);
	stub_clear_log();
}

static void fix_a_line(void)
{
	struct line line;
	int err = WRITE(&line, "cms_notify", "location", "CMS_VERDICT", "defer");

	assert_int_equal(err, stub_has_failed() ? E_OUT_OF_MEM : 0);
	if(err == 0)
		pkg_free(line.params[2]);
	if(err == 0 || line.params[2] != NULL)
		pkg_free(line.params[1]);
	stub_clear_log();
}

static void without_memory_it_does_not_start(void **state)
{
	assert_int_equal(stub_each_allocation(fix_a_line), 2);
}

static void a_computed_route_is_looked_up_for_each_request(void **state)
{
	char name[200];

	RUN("cms_notify", "location", "$CMS_VERDICT");
	assert_int_equal(got.goal.route, 5);
	assert_int_equal(RUN("cms_notify", "location", "$TYPO"), CN_FAILED);
	assert_logged("ERROR", "the verdict route does not exist");
	assert_int_equal(RUN("cms_notify", "location", "$null"), CN_FAILED);
	assert_logged("ERROR", "the verdict route does not exist");
	memset(name, 'A', sizeof(name));
	name[0] = '$';
	name[199] = '\0';
	assert_int_equal(RUN("cms_notify", "location", name), CN_FAILED);
	assert_int_equal(got.refused, 3);
	assert_int_equal(got.notified, 1);
}

static void an_address_without_a_value_is_refused(void **state)
{
	assert_int_equal(RUN("cms_notify", "location", "CMS_VERDICT", "", "$null"),
			CN_FAILED);
	assert_logged("ERROR", "the address has no value");
	assert_int_equal(got.refused, 1);
	assert_int_equal(RUN("cms_is_new", "location", "$null"), -1);
	assert_int_equal(got.asked, 0);
}

static void it_is_for_registers_alone(void **state)
{
	msg.REQ_METHOD = METHOD_OPTIONS;
	assert_int_equal(RUN("cms_notify", "location", "CMS_VERDICT"), CN_FAILED);
	assert_logged("ERROR", "something else than a REGISTER");
	assert_int_equal(RUN("cms_is_new", "location"), -1);
	msg.first_line.type = SIP_REPLY;
	assert_int_equal(RUN("cms_is_new", "location"), -1);
	assert_int_equal(got.refused, 1);
	assert_int_equal(got.notified + got.asked, 0);
}

static void is_new_is_true_or_false_for_the_script(void **state)
{
	assert_int_equal(RUN("cms_is_new", "location"), -1);
	is_new = true;
	assert_int_equal(RUN("cms_is_new", "location"), 1);
	assert_ptr_equal(got.table, &location);
	assert_string_equal(got.aor, "-");
	assert_int_equal(RUN("cms_is_new", "location", "sip:a@b"), 1);
	assert_string_equal(got.aor, "sip:a@b");
	assert_int_equal(got.asked, 3);
}

static void alive_is_for_any_message(void **state)
{
	msg.REQ_METHOD = METHOD_MESSAGE;
	assert_int_equal(RUN("cms_alive", "location"), -1);
	is_new = true; /* or heard */
	assert_int_equal(RUN("cms_alive", "location"), 1);
	assert_ptr_equal(got.table, &location);
	assert_string_equal(got.aor, "-");
	assert_int_equal(RUN("cms_alive", "location", "sip:a@b"), 1);
	assert_string_equal(got.aor, "sip:a@b");
	assert_int_equal(RUN("cms_alive", "location", "$null"), -1);
	assert_int_equal(got.asked, 3);
	msg.first_line.type = SIP_REPLY;
	assert_int_equal(RUN("cms_alive", "location"), 1);
}

static void a_step_is_of_a_register(void **state)
{
	assert_int_equal(RUN("cms_step", "wrong password"), -1);
	is_new = true; /* it is an address */
	assert_int_equal(RUN("cms_step", "wrong password"), 1);
	assert_string_equal(got.why, "wrong password");
	assert_string_equal(got.aor, "-");
	assert_int_equal(RUN("cms_step", "flood", "sip:a@b"), 1);
	assert_string_equal(got.why, "flood");
	assert_string_equal(got.aor, "sip:a@b");
	assert_int_equal(RUN("cms_step", "$null", "sip:a@b"), -1);
	assert_int_equal(RUN("cms_step", "x", "$null"), -1);
	assert_string_equal(got.why, "flood");
	msg.REQ_METHOD = METHOD_MESSAGE;
	assert_int_equal(RUN("cms_step", "x"), -1);
	msg.REQ_METHOD = METHOD_REGISTER;
	msg.first_line.type = SIP_REPLY;
	assert_int_equal(RUN("cms_step", "x"), -1);
	assert_string_equal(got.why, "flood");
}

static void each_may_be_called_where_it_makes_sense(void **state)
{
	int i;

	for(i = 2; i <= 4; i++)
		assert_int_equal(command("cms_notify", i)->flags, REQUEST_ROUTE);
	for(i = 1; i <= 2; i++)
		assert_int_equal(
				command("cms_is_new", i)->flags, REQUEST_ROUTE | FAILURE_ROUTE);
	for(i = 1; i <= 2; i++)
		assert_int_equal(command("cms_alive", i)->flags, ANY_ROUTE);
}

/* -------- KEMI -------- */

static void *kemi(const char *name)
{
	const sr_kemi_t *k = cn_script_kemi;

	while(k->func && strncmp(k->fname.s, name, k->fname.len) != 0)
		k++;
	assert_non_null(k->func);
	return k->func;
}

static int ki_notify(const char *table, const char *callback,
		const char *options, const char *aor)
{
	int (*f)(struct sip_msg *, str *, str *, str *, str *) = kemi("notify");
	str s[] = {stub_str(table), stub_str(callback), stub_str(options),
			stub_str(aor)};

	return f(&msg, &s[0], &s[1], &s[2], &s[3]);
}

static int ki_ask(const char *name, const char *table, const char *aor)
{
	int (*f)(struct sip_msg *, str *, str *) = kemi(name);
	str s[] = {stub_str(table), stub_str(aor)};

	return f(&msg, &s[0], &s[1]);
}

static void kemi_gives_the_same(void **state)
{
	has_engine = true;
	assert_int_equal(ki_notify("location", "on_verdict", "defer", "sip:a@b"),
			CN_ENDS_SCRIPT);
	assert_ptr_equal(got.table, &location);
	assert_str(got.goal.callback, "on_verdict");
	assert_int_equal(got.goal.route, -1);
	assert_true(got.goal.defers);
	assert_string_equal(got.aor, "sip:a@b");
	ki_notify("location", "on_verdict", "", "");
	assert_false(got.goal.defers);
	assert_string_equal(got.aor, "-");
	is_new = true;
	assert_int_equal(ki_ask("is_new", "location", ""), 1);
	assert_string_equal(got.aor, "-");
	assert_int_equal(ki_ask("is_new", "location", "sip:a@b"), 1);
	assert_string_equal(got.aor, "sip:a@b");
	assert_int_equal(ki_ask("alive", "location", ""), 1);
	assert_string_equal(got.aor, "-");
	assert_int_equal(ki_ask("alive", "location", "sip:a@b"), 1);
	assert_string_equal(got.aor, "sip:a@b");
	is_new = false;
	assert_int_equal(ki_ask("is_new", "location", ""), -1);
	assert_int_equal(ki_ask("alive", "location", ""), -1);
	assert_int_equal(ki_ask("alive", "nowhere", ""), -1);
	is_new = true;
	assert_int_equal(ki_ask("step", "flood", "sip:a@b"), 1);
	assert_string_equal(got.why, "flood");
	assert_string_equal(got.aor, "sip:a@b");
	assert_int_equal(ki_ask("step", "flood", ""), 1);
	assert_string_equal(got.aor, "-");
}

/* As in a native script that calls KEMI functions. */
static void without_an_engine_the_callback_is_a_route(void **state)
{
	ki_notify("location", "CMS_VERDICT", "", "");
	assert_int_equal(got.goal.route, 5);
	assert_int_equal(got.goal.callback.len, 0);
	assert_int_equal(ki_notify("location", "TYPO", "", ""), CN_FAILED);
	assert_logged("ERROR", "there is no route[TYPO]");
}

static void what_kemi_gets_wrong_is_refused_at_once(void **state)
{
	has_engine = true;
	assert_int_equal(ki_notify("nowhere", "f", "", ""), CN_FAILED);
	assert_logged("ERROR", "usrloc has no table \"nowhere\"");
	assert_int_equal(ki_notify("location", "", "", ""), CN_FAILED);
	assert_logged("ERROR", "or no callback");
	assert_int_equal(ki_notify("location", "f", "no", ""), CN_FAILED);
	assert_logged("ERROR", "there is no option \"no\"");
	has_outbox = false;
	assert_int_equal(ki_notify("location", "f", "defer", ""), CN_FAILED);
	assert_logged("ERROR", "needs an outbox");
	assert_int_equal(ki_ask("is_new", "nowhere", ""), -1);
	msg.REQ_METHOD = METHOD_INVITE;
	assert_int_equal(ki_notify("location", "f", "", ""), CN_FAILED);
	assert_logged("ERROR", "something else than a REGISTER");
	assert_int_equal(ki_ask("is_new", "location", ""), -1);
	assert_int_equal(got.refused, 5);
	assert_int_equal(got.notified + got.asked, 0);
}

static void metrics_are_answered_or_not(void **state)
{
	const cmd_export_t *c = command("cms_metrics", 0);
	int (*native)(struct sip_msg *, char *, char *) = (void *)c->function;
	int (*same)(struct sip_msg *) = kemi("metrics");

	assert_int_equal(c->flags, EVENT_ROUTE);
	without_xhttp = false;
	answers_http = true;
	assert_int_equal(c->fixup(NULL, 0), 0);
	assert_int_equal(native(&msg, NULL, NULL), 1);
	assert_int_equal(same(&msg), 1);
	answers_http = false;
	assert_int_equal(native(&msg, NULL, NULL), -1);
	assert_int_equal(same(&msg), -1);
	answers_http = without_xhttp = true;
	assert_int_equal(c->fixup(NULL, 0), E_CFG);
	assert_int_equal(same(&msg), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(table_route_options_and_address_arrive),
			TEST(options_are_words_with_commas_between),
			TEST(deferring_needs_an_outbox),
			TEST(what_does_not_exist_is_refused_at_the_start),
			TEST(without_memory_it_does_not_start),
			TEST(a_computed_route_is_looked_up_for_each_request),
			TEST(an_address_without_a_value_is_refused),
			TEST(it_is_for_registers_alone),
			TEST(is_new_is_true_or_false_for_the_script),
			TEST(alive_is_for_any_message),
			TEST(a_step_is_of_a_register),
			TEST(each_may_be_called_where_it_makes_sense),
			TEST(kemi_gives_the_same),
			TEST(metrics_are_answered_or_not),
			TEST(without_an_engine_the_callback_is_a_route),
			TEST(what_kemi_gets_wrong_is_refused_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
