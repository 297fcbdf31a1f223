/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* All bindings are told again, at a rate; with a usrloc that the test plays. */

#include "stubs.h"

#include "outbox.h"
#include "outbox_resync.h"
#include "reg_usrloc.h"

#define SECOND 1000000
#define INTERVAL (SECOND / 10)

/* -------- usrloc -------- */

#define BINDINGS 40

static struct
{
	int count; /* of bindings: "b0", "b1", ... */
	bool gone[BINDINGS];
	int parts;		  /* looked at */
	int failing_part; /* -1: none */
	char aor[64];
} usrloc;

static void show(int i, cn_usrloc_f each)
{
	char ruid[8];
	str s = {ruid, snprintf(ruid, sizeof(ruid), "b%d", i)};

	each(100 + i, &s);
}

/* Three to a part. */
int cn_usrloc_each(int part, cn_usrloc_f each)
{
	int i;

	assert_int_equal(part, usrloc.parts);
	usrloc.parts++;
	if(part == usrloc.failing_part)
		return -1;
	for(i = 3 * part; i < 3 * part + 3 && i < usrloc.count; i++)
		show(i, each);
	return 0;
}

void cn_usrloc_each_of(const char *aor, cn_usrloc_f each)
{
	snprintf(usrloc.aor, sizeof(usrloc.aor), "%s", aor);
	show(0, each);
	show(1, each);
}

static struct cn_event event;
static char shown[8];

struct cn_event *cn_usrloc_snapshot(unsigned hash, const char *ruid)
{
	int i = atoi(ruid + 1);

	assert_int_equal(hash, 100 + i);
	snprintf(shown, sizeof(shown), "%s", ruid);
	return usrloc.gone[i] ? NULL : &event;
}

/* -------- what the other processes see -------- */

static struct cn_outbox_view view;
static bool locked;

struct cn_outbox_view *cn_outbox_lock_view(void)
{
	assert_false(locked);
	locked = true;
	return &view;
}

void cn_outbox_unlock_view(void)
{
	assert_true(locked);
	locked = false;
}

/* -------- each test -------- */

static int64_t now; /* never behind the clock */

static struct cn_resync_progress progress(void)
{
	struct cn_resync_progress p;

	cn_resync_progress(&p);
	return p;
}

/* The next task when its time has come; NULL: there is none any more. */
static struct cn_task *next(void)
{
	struct cn_task *task = NULL;
	struct cn_event *ev = NULL;
	int64_t due;
	int rounds = 0;

	while(progress().running
			&& (task = cn_resync_next(&ev, now, &due)) == NULL) {
		if(!progress().running)
			break;
		assert_true(due >= now);
		assert_true(rounds++ < 10000);
		now = due > now ? due : now + 1;
	}
	if(task)
		assert_ptr_equal(ev, &event);
	return task;
}

static void finish(void)
{
	struct cn_task *task;
	int n = 0;

	while(n++ < 1000 && (task = next()) != NULL)
		cn_resync_told(task, CN_TOLD);
}

static int start(void **state)
{
	stub_limits.resync_rate = 10;
	memset(&usrloc, 0, sizeof(usrloc));
	usrloc.failing_part = -1;
	if(now < cn_now_us())
		now = cn_now_us();
	memset(&view, 0, sizeof(view));
	return 0;
}

static int end(void **state)
{
	finish();
	stub_clear_log();
	return locked ? -1 : 0;
}

static void all_bindings_are_told_once(void **state)
{
	bool told[BINDINGS] = {false};
	struct cn_task *task;
	int i, n = 0;

	usrloc.count = BINDINGS;
	assert_true(cn_resync_ask(NULL));
	assert_true(progress().running);
	assert_string_equal(progress().aor, "");
	while((task = next()) != NULL) {
		i = atoi(shown + 1);
		assert_false(told[i]);
		told[i] = true;
		n++;
		cn_resync_told(task, CN_TOLD);
	}
	assert_int_equal(n, BINDINGS);
	assert_int_equal(usrloc.parts, CN_USRLOC_PARTS);
	assert_false(progress().running);
	assert_int_equal(progress().sent, BINDINGS);
	assert_int_equal(progress().waiting, 0);
	assert_int_equal(progress().percent, 100);
	assert_logged("NOTICE", "resync: 40 bindings told, 0 refused by the CMS, "
							"0 failed");
}

static void it_keeps_to_the_rate(void **state)
{
	struct cn_task *task;
	int64_t from;
	int n = 0;

	usrloc.count = BINDINGS;
	assert_true(cn_resync_ask(NULL));
	from = now;
	while((task = next()) != NULL) {
		n++;
		/* what was missed while nobody asked is not caught up */
		assert_true(now - from >= (n - 2) * INTERVAL);
		cn_resync_told(task, CN_TOLD);
	}
	assert_in_range(now - from, (BINDINGS - 2) * INTERVAL,
			(BINDINGS + 2) * INTERVAL + SECOND);
	/* after a long time of nothing, too */
	now += 100 * (int64_t)SECOND;
	usrloc.parts = 0;
	assert_true(cn_resync_ask(NULL));
	from = now;
	for(n = 0; (task = next()) != NULL && now < from + SECOND; n++)
		cn_resync_told(task, CN_TOLD);
	if(task)
		cn_resync_told(task, CN_TOLD);
	assert_in_range(n, 8, 12);
}

static void one_aor_alone(void **state)
{
	str aor = STR("gzj@telecom.com");

	usrloc.count = BINDINGS;
	assert_true(cn_resync_ask(&aor));
	assert_string_equal(progress().aor, "gzj@telecom.com");
	finish();
	assert_string_equal(usrloc.aor, "gzj@telecom.com");
	assert_int_equal(usrloc.parts, 0);
	assert_int_equal(progress().sent, 2);
	assert_int_equal(progress().percent, 100);
}

static void one_at_a_time(void **state)
{
	str aor = STR("gzj@telecom.com");

	usrloc.count = 3;
	assert_true(cn_resync_ask(NULL));
	assert_false(cn_resync_ask(NULL));
	assert_false(cn_resync_ask(&aor));
	assert_string_equal(progress().aor, "");
	finish();
	assert_true(cn_resync_ask(&aor));
	assert_int_equal(progress().sent, 0); /* it counts from the beginning */
}

static void an_aor_that_is_too_long_is_refused(void **state)
{
	char text[CN_RESYNC_AOR_MAX + 1];
	str aor = {text, CN_RESYNC_AOR_MAX};

	memset(text, 'a', sizeof(text));
	assert_false(cn_resync_ask(&aor));
	assert_false(progress().running);
	aor.len--;
	assert_true(cn_resync_ask(&aor));
	assert_int_equal(strlen(progress().aor), CN_RESYNC_AOR_MAX - 1);
}

static void what_has_gone_meanwhile_is_left_out(void **state)
{
	usrloc.count = 5;
	usrloc.gone[1] = usrloc.gone[4] = true;
	assert_true(cn_resync_ask(NULL));
	finish();
	assert_int_equal(progress().sent, 3);
	assert_int_equal(progress().failed, 0);
	assert_int_equal(progress().waiting, 0);
}

static void what_the_cms_refuses_is_counted(void **state)
{
	struct cn_task *task;

	usrloc.count = 2;
	assert_true(cn_resync_ask(NULL));
	task = next();
	assert_int_equal(progress().waiting, 2);
	cn_resync_told(task, CN_TOLD_REFUSED);
	assert_int_equal(progress().waiting, 1);
	finish();
	assert_int_equal(progress().refused, 1);
	assert_int_equal(progress().sent, 1);
}

static void one_that_fails_is_tried_ten_times_behind_the_others(void **state)
{
	struct cn_task *task;
	int tries = 0, before = 0;

	usrloc.count = 3;
	assert_true(cn_resync_ask(NULL));
	while(tries <= 10 && (task = next()) != NULL) {
		if(strcmp(shown, "b0") == 0) {
			tries++;
			cn_resync_told(task, CN_TOLD_FAILED);
		} else {
			before += tries == 1;
			cn_resync_told(task, CN_TOLD);
		}
	}
	assert_int_equal(tries, 10);
	assert_int_equal(before, 2);
	assert_int_equal(progress().failed, 1);
	assert_int_equal(progress().sent, 2);
}

/* The first, while the rate is no reason to wait. */
static void what_cannot_be_told_now_is_tried_for_ever(void **state)
{
	struct cn_task *task;
	int64_t told_us = 0;
	int i;

	stub_limits.resync_rate = 1000000;
	usrloc.count = 1;
	assert_true(cn_resync_ask(NULL));
	for(i = 0; i < 100; i++) {
		task = next();
		assert_non_null(task);
		/* a tenth of a second after it was told so */
		assert_true(now >= told_us + SECOND / 10);
		told_us = cn_now_us();
		cn_resync_told(task, CN_TOLD_NOT_NOW);
	}
	stub_limits.resync_rate = 10;
	assert_true(progress().running);
	finish();
	assert_int_equal(progress().sent, 1);
}

static void it_ends_when_all_have_been_answered(void **state)
{
	struct cn_task *task;
	struct cn_event *ev;
	int64_t due;

	usrloc.count = 1;
	assert_true(cn_resync_ask(NULL));
	task = next();
	assert_null(cn_resync_next(&ev, now, &due));
	assert_true(due > now); /* there is nothing to wait for before */
	assert_true(progress().running);
	cn_resync_told(task, CN_TOLD);
	assert_null(cn_resync_next(&ev, now, &due));
	assert_false(progress().running);
	assert_null(cn_resync_next(&ev, now, &due));
}

static void a_part_that_cannot_be_read_is_counted(void **state)
{
	usrloc.count = 6;
	usrloc.failing_part = 0;
	assert_true(cn_resync_ask(NULL));
	finish();
	assert_int_equal(progress().failed, 1);
	assert_int_equal(progress().sent, 3);
}

static void a_binding_without_memory_is_counted(void **state)
{
	usrloc.count = 3;
	assert_true(cn_resync_ask(NULL));
	stub_fail_at(2);
	finish();
	stub_fail_at(0);
	assert_int_equal(progress().failed, 1);
	assert_int_equal(progress().sent, 2);
	assert_int_equal(progress().waiting, 0);
	assert_non_null(strstr(
			stub_log(), "no memory for a binding, run cms_notify.resync"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_cannot_be_told_now_is_tried_for_ever),
			TEST(all_bindings_are_told_once),
			TEST(it_keeps_to_the_rate),
			TEST(one_aor_alone),
			TEST(one_at_a_time),
			TEST(an_aor_that_is_too_long_is_refused),
			TEST(what_has_gone_meanwhile_is_left_out),
			TEST(what_the_cms_refuses_is_counted),
			TEST(one_that_fails_is_tried_ten_times_behind_the_others),
			TEST(it_ends_when_all_have_been_answered),
			TEST(a_part_that_cannot_be_read_is_counted),
			TEST(a_binding_without_memory_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
