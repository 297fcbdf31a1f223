/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Parking, on a tm of our own with one transaction. */

#include "../../core/dset.h"
#include "../../core/route.h"
#include "../../core/script_cb.h"
#include "../../core/timer_ticks.h"
#include "../sl/sl.h"
#include "../tm/tm_load.h"

#include "fake_modules.h"
#include "sip.h"

#include "reg_park.h"

#define NEWTRAN_ERROR (-1)
#define INDEX 17
#define LABEL 4711

/* -------- tm -------- */

static struct
{
	tm_cell_t cell;
	tm_ua_client_t uac[4];
	struct sip_msg request; /* as the transaction has it */
	tm_cell_t *current;		/* of this process */
	tm_cell_t *original;	/* that a CANCEL names */
	int newtran;			/* what t_newtran() returns */
	int suspend;			/* what t_suspend() returns */
	int resume;				/* what t_continue() returns */
	/* what was done */
	int made, suspended, checked, references, unparked;
	struct action *route; /* that it went on with */
	char callback[32];
	transaction_cb *repeated; /* called for each repetition of the request */
	int register_result;
} tm;

static tm_cell_t *get_current(void)
{
	return tm.current;
}

static int make_transaction(struct sip_msg *msg)
{
	tm.made++;
	if(tm.newtran <= 0)
		return tm.newtran;
	tm.request = *msg;
	tm.cell.uas.request = &tm.request;
	tm.cell.uac = tm.uac;
	tm.current = &tm.cell;
	return tm.newtran;
}

static int suspend(struct sip_msg *msg, unsigned *index, unsigned *label)
{
	assert_ptr_equal(tm.current, &tm.cell);
	if(tm.suspend != 0)
		return tm.suspend;
	tm.suspended++;
	tm.cell.async_backup.blind_uac = 2;
	tm.cell.hash_index = *index = INDEX;
	tm.cell.label = *label = LABEL;
	return 0;
}

static int cancel_suspend(unsigned index, unsigned label)
{
	assert_int_equal(index, INDEX);
	assert_int_equal(label, LABEL);
	tm.unparked++;
	return 0;
}

static int go_on(unsigned index, unsigned label, struct action *route)
{
	assert_int_equal(index, INDEX);
	assert_int_equal(label, LABEL);
	tm.route = route;
	return tm.resume;
}

static int go_on_in_callback(
		unsigned index, unsigned label, str *callback, str *event)
{
	assert_int_equal(index, INDEX);
	assert_int_equal(label, LABEL);
	snprintf(tm.callback, sizeof(tm.callback), "%.*s", callback->len,
			callback->s);
	return tm.resume;
}

static tm_cell_t *look_up_original(struct sip_msg *msg)
{
	if(tm.original && tm.original != T_UNDEFINED)
		tm.references++;
	return tm.original;
}

static void forget_cell(tm_cell_t *t)
{
	assert_ptr_equal(t, tm.original);
	tm.references--;
}

static int register_callback(struct sip_msg *msg, tm_cell_t *t, int types,
		transaction_cb f, void *param, release_tmcb_param release)
{
	assert_ptr_equal(t, &tm.cell);
	assert_int_equal(types, TMCB_REQ_RETR_IN);
	tm.repeated = f;
	return tm.register_result;
}

static int check_trans(struct sip_msg *msg)
{
	tm.checked++;
	return 0;
}

static int load_tm_result, load_xtm_result;

static int load_tm_fake(struct tm_binds *to)
{
	memset(to, 0, sizeof(*to));
	to->t_gett = get_current;
	to->t_newtran = make_transaction;
	to->t_suspend = suspend;
	to->t_cancel_suspend = cancel_suspend;
	to->t_continue = go_on;
	to->t_continue_cb = go_on_in_callback;
	to->t_lookup_original = look_up_original;
	to->unref_cell = forget_cell;
	to->register_tmcb = register_callback;
	return load_tm_result;
}

static int load_xtm_fake(tm_xapi_t *to)
{
	memset(to, 0, sizeof(*to));
	to->t_check_trans = check_trans;
	return load_xtm_result;
}

/* -------- sl and the core -------- */

static struct
{
	int code;
	char reason[64];
} reply;

static int zreply(struct sip_msg *msg, int code, char *reason)
{
	assert_int_equal(reply.code, 0);
	reply.code = code;
	snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
	return 1;
}

static int bind_sl(sl_api_t *to)
{
	memset(to, 0, sizeof(*to));
	to->zreply = zreply;
	return 0;
}

static cb_function *before_script;
static int script_cb_result;

int register_script_cb(cb_function f, unsigned int flags, void *param)
{
	assert_int_equal(flags, PRE_SCRIPT_CB | REQUEST_CB);
	before_script = (cb_function *)f;
	return script_cb_result;
}

#define BRANCH_FLAGS 0x55

int getbflagsval(unsigned int branch, flag_t *flags)
{
	assert_int_equal(branch, 0);
	*flags = BRANCH_FLAGS;
	return 0;
}

struct route_list main_rt;
static struct action routes[3];
static struct action *route_table[] = {&routes[0], &routes[1], NULL};

int route_lookup(struct route_list *table, char *name)
{
	assert_ptr_equal(table, &main_rt);
	if(strcmp(name, "0") == 0)
		return DEFAULT_RT;
	if(strcmp(name, "CMS_VERDICT") == 0)
		return 1;
	return strcmp(name, "EMPTY") == 0 ? 2 : -1;
}

/* -------- each test -------- */

static int fr_timer;
static char text[2048];
static struct sip_msg msg;

static void receive(const char *method, const char *more)
{
	if(msg.buf)
		sip_free(&msg);
	snprintf(text, sizeof(text),
			"%s sip:telecom.com SIP/2.0\r\n"
			"Via: SIP/2.0/UDP 172.16.163.3:7000;branch=z9hG4bK28145\r\n"
			"From: <sip:gzj@telecom.com>;tag=1\r\nCall-ID: c\r\n"
			"CSeq: 2 %s\r\n%s\r\n",
			method, method, more);
	assert_true(sip_read(&msg, text, (int)strlen(text)));
}

#define TO "To: <sip:gzj@telecom.com>\r\n"

static int start(void **state)
{
	fake_modules_start();
	fake_export("tm", "load_tm", (void (*)(void))load_tm_fake);
	fake_export("tm", "load_xtm", (void (*)(void))load_xtm_fake);
	fake_export("sl", "bind_sl", (void (*)(void))bind_sl);
	fr_timer = (int)MS_TO_TICKS(30000);
	fake_param("tm", "fr_timer", PARAM_INT, &fr_timer);
	main_rt.rlist = route_table;
	memset(&tm, 0, sizeof(tm));
	memset(&reply, 0, sizeof(reply));
	tm.newtran = 1;
	load_tm_result = load_xtm_result = script_cb_result = 0;
	receive("REGISTER", TO);
	return cn_park_init();
}

static int end(void **state)
{
	sip_free(&msg);
	msg.buf = NULL;
	assert_int_equal(tm.references, 0);
	stub_clear_log();
	return 0;
}

/* -------- parking -------- */

static void a_request_is_parked_in_a_transaction_of_its_own(void **state)
{
	struct cn_waiter waiter = {0};

	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_int_equal(tm.made, 1);
	assert_int_equal(tm.suspended, 1);
	assert_int_equal(waiter.tm_index, INDEX);
	assert_int_equal(waiter.tm_label, LABEL);
	/* NAT flags are there when it is resumed */
	assert_int_equal(tm.uac[2].branch_flags, BRANCH_FLAGS);
}

/* registrar takes id 0 for one that it has an override for. */
static void the_first_message_of_a_process_is_not_resumed_as_number_0(
		void **state)
{
	struct cn_waiter waiter = {0};

	msg.id = 1;
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_int_not_equal(tm.request.id, 1);
	/* and it is still the same request */
	assert_false(cn_park_absorbs(&msg));
	tm.current = NULL;
	msg.id = 2;
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_int_equal(tm.request.id, 2);
}

static void one_with_a_transaction_gets_no_second_one(void **state)
{
	struct cn_waiter waiter = {0};

	assert_int_equal(cn_park_open(&msg), CN_PARKED);
	assert_int_equal(cn_park_open(&msg), CN_PARKED);
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_int_equal(tm.made, 1);
	tm.current = T_UNDEFINED; /* as after a look-up in vain */
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_int_equal(tm.made, 2);
}

static void a_retransmission_is_absorbed(void **state)
{
	struct cn_waiter waiter = {0};

	tm.newtran = 0; /* tm has found out */
	assert_int_equal(cn_park_open(&msg), CN_ABSORBED);
	assert_int_equal(cn_park(&msg, &waiter), CN_ABSORBED);
	assert_int_equal(tm.suspended, 0);
	/* the script has looked, and gone on */
	tm.newtran = 1;
	assert_int_equal(cn_park_open(&msg), CN_PARKED);
	msg.id = 9;
	assert_true(cn_park_absorbs(&msg));
	assert_int_equal(tm.checked, 1); /* the answer is repeated */
	msg.id = tm.request.id;
	assert_false(cn_park_absorbs(&msg));
	msg.pid++; /* another process counts, too */
	assert_true(cn_park_absorbs(&msg));
	tm.current = NULL;
	assert_false(cn_park_absorbs(&msg));
	tm.current = T_UNDEFINED;
	assert_false(cn_park_absorbs(&msg));
	assert_int_equal(tm.checked, 2);
}

static void what_tm_refuses_is_not_parked(void **state)
{
	struct cn_waiter waiter = {0};

	tm.newtran = NEWTRAN_ERROR;
	assert_int_equal(cn_park_open(&msg), CN_NOT_PARKED);
	assert_int_equal(cn_park(&msg, &waiter), CN_NOT_PARKED);
	tm.newtran = 1;
	tm.suspend = -1;
	assert_int_equal(cn_park(&msg, &waiter), CN_NOT_PARKED);
	tm.suspend = 1; /* cancelled already: nothing has been set */
	assert_int_equal(cn_park(&msg, &waiter), CN_NOT_PARKED);
	assert_int_equal(waiter.tm_index, 0);
	assert_int_equal(tm.uac[0].branch_flags, 0);
}

static void parking_can_be_undone(void **state)
{
	struct cn_waiter waiter = {0};

	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	cn_unpark();
	assert_int_equal(tm.unparked, 1);
}

static void another_waiter_is_parked_in_its_place(void **state)
{
	struct cn_waiter waiter = {0}, other = {0};

	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	cn_park_again(&other);
	assert_int_equal(other.tm_index, INDEX);
	assert_int_equal(other.tm_label, LABEL);
	assert_int_equal(tm.suspended, 1);
}

/* -------- over another connection -------- */

static struct ip_addr ip(uint32_t address)
{
	struct ip_addr ip = {.af = AF_INET, .len = 4};

	ip.u.addr32[0] = address;
	return ip;
}

/* It comes by TCP, on this connection. */
static void comes(struct receive_info *rcv, int connection, uint32_t address)
{
	rcv->proto = PROTO_TCP;
	rcv->proto_reserved1 = connection;
	rcv->src_ip = ip(address);
	rcv->src_port = (unsigned short)(1000 + connection);
	rcv->src_su.sin.sin_port = htons(rcv->src_port);
}

static void repeats(int connection, uint32_t address, int proto)
{
	struct sip_msg again = msg;
	struct tmcb_params params = {.req = &again};

	comes(&again.rcv, connection, address);
	again.rcv.proto = proto;
	tm.repeated(&tm.cell, TMCB_REQ_RETR_IN, &params);
}

static void who_repeats_it_over_another_connection_is_answered_there(
		void **state)
{
	const struct dest_info *to = &tm.cell.uas.response.dst;
	struct cn_waiter waiter = {0};

	comes(&msg.rcv, 5, 1);
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_non_null(tm.repeated);
	repeats(5, 1, PROTO_TCP);
	assert_int_equal(to->id, 0); /* as it was */
	repeats(6, 2, PROTO_TCP);	 /* somebody else */
	repeats(6, 1, PROTO_TLS);
	assert_int_equal(to->id, 0);
	repeats(6, 1, PROTO_TCP);
	assert_int_equal(to->id, 6);
	assert_int_equal(ntohs(to->to.sin.sin_port), 1006);
	/* the binding is for that one, too */
	assert_int_equal(tm.request.rcv.proto_reserved1, 6);
	assert_int_equal(tm.request.rcv.src_port, 1006);
}

static void over_udp_there_is_no_connection(void **state)
{
	struct cn_waiter waiter = {0};

	msg.rcv.proto = PROTO_UDP;
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_null(tm.repeated);
	tm.current = NULL;
	comes(&msg.rcv, 5, 1);
	tm.register_result = -1;
	assert_int_equal(cn_park(&msg, &waiter), CN_PARKED);
	assert_logged("WARNING", "no memory to answer");
}

static void the_copy_that_is_resumed_is_amended(void **state)
{
	char copy[sizeof(text)];
	str part = {strstr(text, "telecom"), 7};

	cn_park_amend(&msg, &part); /* there is none */
	assert_int_equal(cn_park_open(&msg), CN_PARKED);
	memcpy(copy, text, sizeof(text));
	tm.request.buf = copy;
	memcpy(part.s, "TELECOM", 7);
	cn_park_amend(&msg, &part);
	assert_memory_equal(copy, text, msg.len);
	/* another one than this */
	memcpy(part.s, "telecom", 7);
	tm.request.len++;
	cn_park_amend(&msg, &part);
	tm.request.len--;
	tm.request.id++;
	cn_park_amend(&msg, &part);
	assert_memory_equal(strstr(copy, "sip:") + 4, "TELECOM", 7);
}

/* -------- resuming -------- */

static void it_goes_on_in_its_route(void **state)
{
	struct cn_waiter waiter = {.tm_index = INDEX, .tm_label = LABEL};

	waiter.route = cn_park_find_route("CMS_VERDICT");
	assert_int_equal(waiter.route, 1);
	assert_int_equal(cn_park_resume(&waiter), 0);
	assert_ptr_equal(tm.route, &routes[1]);
	assert_string_equal(tm.callback, "");
}

static void or_in_its_callback(void **state)
{
	struct cn_waiter waiter = {.tm_index = INDEX,
			.tm_label = LABEL,
			.route = -1,
			.callback = STR("on_verdict")};

	assert_int_equal(cn_park_resume(&waiter), 0);
	assert_string_equal(tm.callback, "on_verdict");
	assert_null(tm.route);
}

static void one_that_is_over_is_not_resumed(void **state)
{
	struct cn_waiter waiter = {
			.tm_index = INDEX, .tm_label = LABEL, .route = 1};

	tm.resume = -1;
	assert_int_equal(cn_park_resume(&waiter), -1);
	tm.resume = 1;
	assert_int_equal(cn_park_resume(&waiter), -1);
	waiter.route = -1;
	waiter.callback = STR("f");
	assert_int_equal(cn_park_resume(&waiter), -1);
}

static void a_route_must_be_there_and_not_the_one_it_came_from(void **state)
{
	assert_int_equal(cn_park_find_route("NOWHERE"), -1);
	assert_int_equal(cn_park_find_route("0"), -1);
	assert_int_equal(cn_park_find_route("EMPTY"), -1);
}

/* -------- CANCEL -------- */

/* @return true: the script sees it */
static bool passes(void)
{
	return before_script(&msg, 0, NULL) == 1;
}

static void a_cancel_has_no_effect_on_a_register(void **state)
{
	receive("CANCEL", TO);
	tm.original = &tm.cell;
	assert_false(passes());
	assert_int_equal(reply.code, 200);
}

static void other_requests_are_left_to_the_script(void **state)
{
	tm.original = &tm.cell;
	assert_true(passes()); /* a REGISTER */
	receive("CANCEL", ""); /* without To */
	assert_true(passes());
	receive("CANCEL", TO);
	tm.cell.flags = T_IS_INVITE_FLAG;
	assert_true(passes());
	tm.original = NULL; /* of nothing that we know */
	assert_true(passes());
	tm.original = T_UNDEFINED;
	assert_true(passes());
	assert_int_equal(reply.code, 0);
}

/* -------- Kamailio 6.1 -------- */

static void before_6_1_a_transaction_changes_no_message(void **state)
{
#ifndef FL_MSG_APPLY_CHANGES
	assert_false(cn_park_rewrites(&msg));
#else
	ksr_msg_apply_changes_mode = 0;
	assert_false(cn_park_rewrites(&msg));
	msg.msg_flags |= FL_MSG_APPLY_CHANGES;
	assert_true(cn_park_rewrites(&msg));
	msg.msg_flags &= ~FL_MSG_APPLY_CHANGES;
	ksr_msg_apply_changes_mode = 1;
	assert_true(cn_park_rewrites(&msg));
	assert_int_equal(cn_park_open(&msg), CN_PARKED);
	assert_false(cn_park_rewrites(&msg)); /* that is done */
#endif
}

/* -------- start -------- */

static void tms_timer_is_known(void **state)
{
	assert_int_equal(cn_park_fr_timer_ms(), 30000);
}

static void without_its_modules_it_does_not_start(void **state)
{
	script_cb_result = -1;
	assert_int_equal(cn_park_init(), -1);
	assert_logged("ERROR", "before the script");
	script_cb_result = 0;
	fake_param_remove("tm", "fr_timer");
	assert_int_equal(cn_park_init(), -1);
	assert_logged("ERROR", "cannot read tm's fr_timer");
	load_xtm_result = -1;
	assert_int_equal(cn_park_init(), -1);
	assert_non_null(strstr(stub_log(), "load tm.so before cms_notify.so"));
	load_xtm_result = 0;
	load_tm_result = -1;
	stub_clear_log();
	assert_int_equal(cn_park_init(), -1);
	assert_logged("ERROR", "load tm.so before cms_notify.so");
	load_tm_result = 0;
	fake_module_remove("sl");
	assert_int_equal(cn_park_init(), -1);
	assert_non_null(strstr(stub_log(), "load sl.so before cms_notify.so"));
	fake_module_remove("tm");
	stub_clear_log();
	assert_int_equal(cn_park_init(), -1);
	assert_non_null(strstr(stub_log(), "load tm.so before cms_notify.so"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_request_is_parked_in_a_transaction_of_its_own),
			TEST(the_first_message_of_a_process_is_not_resumed_as_number_0),
			TEST(one_with_a_transaction_gets_no_second_one),
			TEST(a_retransmission_is_absorbed),
			TEST(what_tm_refuses_is_not_parked),
			TEST(parking_can_be_undone),
			TEST(another_waiter_is_parked_in_its_place),
			TEST(who_repeats_it_over_another_connection_is_answered_there),
			TEST(over_udp_there_is_no_connection),
			TEST(the_copy_that_is_resumed_is_amended),
			TEST(it_goes_on_in_its_route),
			TEST(or_in_its_callback),
			TEST(one_that_is_over_is_not_resumed),
			TEST(a_route_must_be_there_and_not_the_one_it_came_from),
			TEST(a_cancel_has_no_effect_on_a_register),
			TEST(other_requests_are_left_to_the_script),
			TEST(before_6_1_a_transaction_changes_no_message),
			TEST(tms_timer_is_known),
			TEST(without_its_modules_it_does_not_start),
	};

	sip_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
