/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Bindings that give way, in a usrloc of our own. */

#include "fake_modules.h"
#include "fake_usrloc.h"
#include "stubs.h"

#include "base_conf.h"
#include "job_waiter.h"
#include "reg_classify.h"
#include "reg_restart.h"

struct cn_conf cn_conf;

#define AOR "gzj@telecom.com"

static const str aor = STR(AOR);
static ucontact_t *b; /* call-1, CSeq 10 */

int cn_classify_tables(struct udomain **tables, int max)
{
	tables[0] = fake_usrloc_table("location");
	tables[1] = fake_usrloc_table("other");
	return 2;
}

static unsigned dialog(const char *call_id)
{
	str s = {(char *)call_id, (int)strlen(call_id)};

	return cn_waiter_dialog(&s);
}

static int start(void **state)
{
	fake_modules_start();
	fake_usrloc_start();
	memset(&cn_conf, 0, sizeof(cn_conf));
	b = fake_binding(AOR, "sip:gzj@172.16.163.3:7000", 3600);
	return cn_restart_init();
}

static int end(void **state)
{
	fake_usrloc_end();
	stub_clear_log();
	return 0;
}

/* @return does the binding stand in the way of this CSeq? */
static bool stands(int cseq)
{
	return cseq <= b->cseq;
}

static void an_equal_cseq_finds_it_out_of_the_way(void **state)
{
	cn_restart_begin(&aor, dialog("call-1"), 10);
	assert_false(stands(10));
	assert_false(stands(0));
	cn_restart_end(&aor, dialog("call-1"));
	assert_int_equal(b->cseq, 10);
}

static void a_lower_one_only_with_cseq_restart(void **state)
{
	cn_restart_begin(&aor, dialog("call-1"), 9);
	assert_int_equal(b->cseq, 10);
	cn_conf.cseq_restart = 1;
	cn_restart_begin(&aor, dialog("call-1"), 9);
	assert_false(stands(0));
	/* and another time */
	cn_restart_begin(&aor, dialog("call-1"), 0);
	assert_false(stands(0));
	cn_restart_end(&aor, dialog("call-1"));
	assert_int_equal(b->cseq, 10);
}

static void what_has_been_saved_stays_saved(void **state)
{
	cn_conf.cseq_restart = 1;
	cn_restart_begin(&aor, dialog("call-1"), 1);
	b->cseq = 1; /* save() */
	cn_restart_end(&aor, dialog("call-1"));
	assert_int_equal(b->cseq, 1);
}

static void others_are_left_alone(void **state)
{
	ucontact_t *other = fake_binding("other@telecom.com", "sip:o@1", 3600);
	ucontact_t *elsewhere = fake_binding_in(
			fake_usrloc_table("other"), AOR, "sip:gzj@1", 3600);

	cn_conf.cseq_restart = 1;
	cn_restart_begin(&aor, dialog("call-2"), 1);
	cn_restart_begin(&aor, dialog("call-1"), 11);
	assert_int_equal(b->cseq, 10);
	cn_restart_begin(&aor, dialog("call-1"), 1);
	assert_int_equal(other->cseq, 10);
	assert_int_equal(elsewhere->cseq, b->cseq);
	/* usrloc's int is below zero for what no device should count up to */
	b->cseq = -5;
	cn_restart_begin(&aor, dialog("call-1"), 1);
	assert_int_equal(b->cseq, -5);
}

static void without_bindings_in_memory_there_is_nothing_to_do(void **state)
{
	fake_usrloc.db_mode = DB_ONLY;
	cn_conf.cseq_restart = 1;
	assert_int_equal(cn_restart_init(), 0);
	assert_logged("WARNING", "no effect with usrloc's db_mode 3");
	cn_restart_begin(&aor, dialog("call-1"), 1);
	assert_int_equal(b->cseq, 10);
}

static void without_usrloc_it_does_not_start(void **state)
{
	fake_usrloc.bind_fails = true;
	assert_int_equal(cn_restart_init(), -1);
	assert_logged("ERROR", "load usrloc.so before cms_notify.so");
	fake_usrloc.bind_fails = false;
	fake_module_remove("usrloc");
	assert_int_equal(cn_restart_init(), -1);
	assert_logged("ERROR", "load usrloc.so before cms_notify.so");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(an_equal_cseq_finds_it_out_of_the_way),
			TEST(a_lower_one_only_with_cseq_restart),
			TEST(what_has_been_saved_stays_saved),
			TEST(others_are_left_alone),
			TEST(without_bindings_in_memory_there_is_nothing_to_do),
			TEST(without_usrloc_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
