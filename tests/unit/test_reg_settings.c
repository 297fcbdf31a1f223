/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* registrar's settings, as its parameters and Kamailio's cfg framework have
 * them. */

#include "../../core/cfg/cfg_ctx.h"
#include "../../core/cfg/cfg_struct.h"
#include "../../core/pvar.h"
#include "../../core/xavp.h"

#include "fake_modules.h"
#include "stubs.h"

#include "reg_settings.h"

#define A_STRING (1u << 0)
#define AN_INT (1u << 1)
#define A_STR (1u << 2)

/* -------- the core -------- */

cfg_block_t *cfg_local;

static struct
{
	int default_expires, min_expires, max_expires, max_contacts;
	int retry_after;
	int case_sensitive;
	str realm_pref;
	const char *missing; /* a setting that there is not */
	int reads;
} cfg;

static int register_result;

int cfg_register_ctx(cfg_ctx_t **handle, cfg_on_declare on_declare)
{
	return register_result;
}

int cfg_get_by_name(cfg_ctx_t *ctx, str *group, unsigned int *group_id,
		str *name, void **value, unsigned int *type)
{
	const struct
	{
		const char *name;
		int value;
	} ints[] = {{"default_expires", cfg.default_expires},
			{"min_expires", cfg.min_expires}, {"max_expires", cfg.max_expires},
			{"max_contacts", cfg.max_contacts},
			{"retry_after", cfg.retry_after},
			{"case_sensitive", cfg.case_sensitive}};
	size_t i;

	assert_str(*group, "registrar");
	cfg.reads++;
	if(cfg.missing && strncmp(cfg.missing, name->s, name->len) == 0)
		return -1;
	if(strncmp(name->s, "realm_pref", name->len) == 0) {
		*value = &cfg.realm_pref;
		return 0;
	}
	for(i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
		if(strncmp(ints[i].name, name->s, name->len) == 0) {
			*value = (void *)(long)ints[i].value;
			return 0;
		}
	}
	fail_msg("a setting %.*s", name->len, name->s);
	return -1;
}

/* What the script has set for this request; NULL: nothing. */
static const char *override_name;
static sr_xavp_t override;

sr_xavp_t *xavp_get_child_with_ival(str *root, str *name)
{
	assert_str(*root, "reg");
	return override_name && strlen(override_name) == (size_t)name->len
						   && memcmp(override_name, name->s, name->len) == 0
				   ? &override
				   : NULL;
}

static pv_spec_t received_spec;
static pv_value_t received_value;
static int received_result;
static bool avp_is_wrong;

pv_spec_t *pv_cache_get(str *name)
{
	assert_str(*name, "$avp(RECEIVED)");
	return avp_is_wrong ? NULL : &received_spec;
}

int pv_get_spec_value(struct sip_msg *msg, pv_spec_t *spec, pv_value_t *value)
{
	assert_ptr_equal(spec, &received_spec);
	*value = received_value;
	return received_result;
}

/* -------- each test -------- */

static int numbers[6] = {1, 2, 3, 4, 5, 512};
static const char *const names[6] = {"use_path", "path_use_received",
		"outbound_mode", "regid_mode", "min_expires_mode", "contact_max_size"};
static str xavp_cfg;
static char *received_avp;

static int start(void **state)
{
	static cfg_block_t blocks[16];
	static int n;
	int i;

	fake_modules_start();
	for(i = 0; i < 6; i++)
		fake_param("registrar", names[i], AN_INT, &numbers[i]);
	fake_param("registrar", "xavp_cfg", A_STR, &xavp_cfg);
	fake_param("registrar", "received_avp", A_STRING, &received_avp);
	memset(&cfg, 0, sizeof(cfg));
	xavp_cfg = STR("reg");
	received_avp = "$avp(RECEIVED)";
	override_name = NULL;
	avp_is_wrong = false;
	register_result = 0;
	cfg_local = &blocks[n++]; /* another set of settings */
	return cn_registrar_init();
}

static int end(void **state)
{
	stub_clear_log();
	return 0;
}

static void parameters_are_where_registrar_has_them(void **state)
{
	const struct cn_registrar *reg = cn_registrar();

	assert_ptr_equal(reg->use_path, &numbers[0]);
	assert_ptr_equal(reg->path_use_received, &numbers[1]);
	assert_ptr_equal(reg->outbound_mode, &numbers[2]);
	assert_ptr_equal(reg->regid_mode, &numbers[3]);
	assert_ptr_equal(reg->min_expires_mode, &numbers[4]);
	assert_ptr_equal(reg->contact_max_size, &numbers[5]);
}

static void what_changes_at_run_time_is_seen_when_it_has_changed(void **state)
{
	cfg_block_t other;
	int reads;

	cfg.default_expires = 3600;
	cfg.min_expires = 60;
	cfg.max_expires = 7200;
	cfg.max_contacts = 10;
	cfg.retry_after = 30;
	cfg.case_sensitive = 1;
	cfg.realm_pref = STR("sip.");
	assert_int_equal(cn_registrar()->default_expires, 3600);
	assert_int_equal(cn_registrar()->min_expires, 60);
	assert_int_equal(cn_registrar()->max_expires, 7200);
	assert_int_equal(cn_registrar()->max_contacts, 10);
	assert_int_equal(cn_registrar()->retry_after, 30);
	assert_int_equal(cn_registrar()->case_sensitive, 1);
	assert_str(cn_registrar()->realm_prefix, "sip.");
	/* not read again for each request */
	reads = cfg.reads;
	cfg.default_expires = 600;
	assert_int_equal(cn_registrar()->default_expires, 3600);
	assert_int_equal(cfg.reads, reads);
	cfg_local = &other;
	assert_int_equal(cn_registrar()->default_expires, 600);
}

static void a_setting_that_is_not_there_is_a_bug_and_none(void **state)
{
	cfg.realm_pref = STR("sip.");
	cfg.missing = "realm_pref";
	assert_int_equal(cn_registrar()->realm_prefix.len, 0);
	assert_logged("BUG", "registrar has no setting realm_pref");
}

static void the_script_may_override_it_for_a_request(void **state)
{
	assert_int_equal(cn_registrar_override("max_contacts", 3), 3);
	override_name = "max_contacts";
#if VERSIONVAL < 5007000
	override.val.v.i = 8;
#else
	override.val.v.l = 8;
#endif
	assert_int_equal(cn_registrar_override("max_contacts", 3), 8);
	assert_int_equal(cn_registrar_override("expires", 3), 3);
	xavp_cfg = NO_STR; /* the script has no such means */
	assert_int_equal(cn_registrar_override("max_contacts", 3), 3);
}

static void where_a_request_came_from_is_in_received_avp(void **state)
{
	received_value = (pv_value_t){
			.flags = PV_VAL_STR, .rs = STR("sip:172.16.163.3:7000")};
	assert_str(cn_registrar_received(NULL), "sip:172.16.163.3:7000");
	received_value.flags = PV_VAL_NULL;
	assert_int_equal(cn_registrar_received(NULL).len, 0);
	received_value.flags = PV_VAL_STR;
	received_result = -1;
	assert_int_equal(cn_registrar_received(NULL).len, 0);
	received_result = 0;
}

static void without_what_it_needs_it_does_not_start(void **state)
{
	int i;

	avp_is_wrong = true;
	assert_int_equal(cn_registrar_init(), -1);
	avp_is_wrong = false;
	register_result = -1;
	assert_int_equal(cn_registrar_init(), -1);
	assert_logged("ERROR", "cannot read registrar's settings");
	register_result = 0;
	for(i = 0; i < 6; i++) {
		fake_param_remove("registrar", names[i]);
		assert_int_equal(cn_registrar_init(), -1);
		assert_logged("ERROR", names[i]);
		fake_param("registrar", names[i], AN_INT, &numbers[i]);
	}
	fake_param_remove("registrar", "xavp_cfg");
	assert_int_equal(cn_registrar_init(), -1);
	assert_logged(
			"ERROR", "this version of registrar has no parameter xavp_cfg");
	fake_param("registrar", "xavp_cfg", A_STR, &xavp_cfg);
	fake_param_remove("registrar", "received_avp");
	assert_int_equal(cn_registrar_init(), -1);
	assert_logged("ERROR", "received_avp");
	fake_module_remove("registrar");
	assert_int_equal(cn_registrar_init(), -1);
	assert_logged("ERROR", "load registrar.so before");
}

/* Before any other: what it finds stays. */
static void without_received_avp_nothing_was_seen(void **state)
{
	int i;

	received_value = (pv_value_t){
			.flags = PV_VAL_STR, .rs = STR("sip:172.16.163.3:7000")};
	fake_modules_start();
	for(i = 0; i < 6; i++)
		fake_param("registrar", names[i], AN_INT, &numbers[i]);
	fake_param("registrar", "xavp_cfg", A_STR, &xavp_cfg);
	fake_param("registrar", "received_avp", A_STRING, &received_avp);
	received_avp = NULL;
	assert_int_equal(cn_registrar_init(), 0);
	assert_int_equal(cn_registrar_received(NULL).len, 0);
	received_avp = "";
	assert_int_equal(cn_registrar_init(), 0);
	assert_int_equal(cn_registrar_received(NULL).len, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(without_received_avp_nothing_was_seen),
			TEST(parameters_are_where_registrar_has_them),
			TEST(what_changes_at_run_time_is_seen_when_it_has_changed),
			TEST(a_setting_that_is_not_there_is_a_bug_and_none),
			TEST(the_script_may_override_it_for_a_request),
			TEST(where_a_request_came_from_is_in_received_avp),
			TEST(without_what_it_needs_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
