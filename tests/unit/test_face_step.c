/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What a REGISTER is as a step of its device. */

#include "events.h"

#include "admit_reservation.h"
#include "base_history.h"
#include "face_step.h"
#include "reg_classify.h"

static struct test_event event;
static struct sip_msg msg;
static int64_t due_us;
static struct cn_step steps[CN_HISTORY_SHOWN], *last = &steps[0];

uint64_t cn_reservation_device(const str *key)
{
	assert_str(*key, "gzj@telecom.com");
	return 12;
}

struct cn_reservation cn_reservation_of(uint64_t device)
{
	struct cn_reservation r = {.due_us = due_us};

	return r;
}

bool cn_classify_key(struct sip_msg *m, const str *aor, str *key)
{
	*key = STR("gzj@telecom.com");
	return aor == NULL || aor->len > 0;
}

static int start(void **state)
{
	make_event(&event);
	memset(&msg, 0, sizeof(msg));
	msg.rcv.src_ip.af = AF_INET;
	msg.rcv.src_ip.len = 4;
	memcpy(msg.rcv.src_ip.u.addr, "\x0a\0\0\x01", 4);
	msg.rcv.src_port = 7000;
	msg.rcv.proto = PROTO_TCP;
	due_us = 0;
	if(cn_history_init(100, "secret") < 0)
		return -1;
	event.ev.device = cn_history_device(&event.ev.key);
	return 0;
}

static int end(void **state)
{
	cn_history_destroy();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static int count(void)
{
	str key = STR("gzj@telecom.com");

	return cn_history_read(cn_history_device(&key), steps);
}

static void it_says_what_was_sent_and_from_where(void **state)
{
	set_contact(&event.contacts[1], "sip:gzj@172.16.163.4:7000", "");
	event.contacts[1].expires = 60;
	event.ev.contact_count = 2;
	cn_face_step_wait(&msg, &event.ev, false);
	assert_int_equal(count(), 1);
	assert_int_equal(last->kind, CN_STEP_REGISTER);
	assert_int_equal(last->reason, CN_REASON_NEW);
	assert_int_equal(last->verdict, 0);
	assert_int_equal(last->expires, 3600);
	assert_int_equal(last->contacts, 2);
	assert_int_equal(last->cseq, 2);
	assert_int_equal(last->ip_len, 4);
	assert_memory_equal(last->ip, "\x0a\0\0\x01", 4);
	assert_int_equal(last->port, 7000);
	assert_int_equal(last->transport, PROTO_TCP);
}

static void who_looks_again_has_one_step(void **state)
{
	cn_face_step_wait(&msg, &event.ev, false);
	cn_face_step_wait(&msg, &event.ev, true);
	assert_int_equal(count(), 1);
	assert_int_equal(last->kind, CN_STEP_JOINED);
	cn_face_step_not_new(&msg, &event.ev);
	assert_int_equal(count(), 1);
	assert_int_equal(last->kind, CN_STEP_REFRESH);
}

static int kind_of(int expires, bool star, int contacts, const char *refused)
{
	int i;

	for(i = 0; i < contacts; i++)
		set_contact(&event.contacts[i], "sip:x@y", "");
	event.contacts[0].expires = expires;
	event.ev.star = star;
	event.ev.contact_count = contacts;
	event.ev.refused = refused;
	cn_face_step_not_new(&msg, &event.ev);
	assert_true(count() > 0);
	return last->kind;
}

static void what_is_not_new_is_one_of_these(void **state)
{
	assert_int_equal(kind_of(60, false, 1, NULL), CN_STEP_REFRESH);
	assert_int_equal(kind_of(0, false, 1, NULL), CN_STEP_UNREGISTER);
	assert_int_equal(kind_of(0, true, 0, NULL), CN_STEP_UNREGISTER);
	assert_int_equal(kind_of(0, false, 0, NULL), CN_STEP_QUERY);
	assert_int_equal(kind_of(0, false, 0, "too many"), CN_STEP_REFUSED);
	assert_string_equal(last->text, "too many");
	/* of one that leaves and one that stays */
	assert_int_equal(kind_of(0, false, 2, NULL), CN_STEP_REFRESH);
}

static void who_comes_too_early_is_told_from_who_is_busy(void **state)
{
	cn_face_step_fail(&msg, &event.ev, CN_CAUSE_busy);
	assert_int_equal(count(), 1);
	assert_int_equal(last->kind, CN_STEP_REGISTER);
	assert_int_equal(last->verdict, CN_STEP_VERDICT(CN_UNAVAILABLE));
	assert_int_equal(last->cause, CN_CAUSE_busy);
	assert_int_equal(last->text[0], 0);
	due_us = cn_now_us() - 1;
	cn_face_step_fail(&msg, &event.ev, CN_CAUSE_busy);
	assert_int_equal(count(), 2);
	assert_int_equal(last->kind, CN_STEP_REGISTER);
	due_us = cn_now_us() + 90500000;
	cn_face_step_fail(&msg, &event.ev, CN_CAUSE_busy);
	assert_int_equal(count(), 3);
	assert_int_equal(last->kind, CN_STEP_EARLY);
	assert_string_equal(last->text, "90 s before its moment");
	cn_face_step_fail(&msg, &event.ev, CN_CAUSE_memory);
	assert_int_equal(count(), 4);
	assert_int_equal(last->kind, CN_STEP_REGISTER);
}

static void this_server_says_why_it_refuses(void **state)
{
	cn_face_step_refuse(&msg, &event.ev, "too large");
	assert_int_equal(count(), 1);
	assert_int_equal(last->kind, CN_STEP_REFUSED);
	assert_string_equal(last->text, "too large");
}

static void the_script_says_why_it_refuses(void **state)
{
	str why = STR("wrong password"), none = NO_STR, aor = STR("sip:a@b");

	assert_false(cn_face_step_script(&msg, &none, &why));
	assert_int_equal(count(), 0);
	assert_true(cn_face_step_script(&msg, NULL, &why));
	assert_true(cn_face_step_script(&msg, &aor, &why));
	assert_int_equal(count(), 1);
	assert_int_equal(last->kind, CN_STEP_SCRIPT);
	assert_int_equal(last->times, 2);
	assert_int_equal(last->port, 7000);
	assert_string_equal(last->text, "wrong password");
}

static void who_is_nobody_has_no_steps(void **state)
{
	event.ev.key = NO_STR;
	event.ev.device = cn_history_device(&event.ev.key);
	cn_face_step_wait(&msg, &event.ev, false);
	assert_int_equal(event.ev.step, 0);
	cn_face_step_not_new(&msg, &event.ev);
	assert_int_equal(count(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(it_says_what_was_sent_and_from_where),
			TEST(who_looks_again_has_one_step),
			TEST(what_is_not_new_is_one_of_these),
			TEST(who_comes_too_early_is_told_from_who_is_busy),
			TEST(this_server_says_why_it_refuses),
			TEST(the_script_says_why_it_refuses),
			TEST(who_is_nobody_has_no_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
