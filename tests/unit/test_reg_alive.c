/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Who was heard and who was not, as the bindings of a usrloc of our own say, on a
 * clock of our own. */

#include "../../core/hashes.h"
#include "../../core/parser/parse_from.h"
#include "../../core/sr_module.h"
#include "../../core/tcp_conn.h"
#include "../usrloc/udomain.h"

#include "fake_modules.h"
#include "fake_usrloc.h"
#include "sip.h"
#include "stubs.h"

#include "base_conf.h"
#include "base_history.h"
#include "base_stats.h"
#include "job_contacts.h"
#include "outbox.h"
#include "reg_alive.h"
#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_heard.h"
#include "reg_usrloc.h"

struct cn_conf cn_conf;

#define AOR "gzj@telecom.com"
#define CONTACT "sip:gzj@172.16.163.3:7000"
#define CONTACT_2 "sip:gzj@172.16.163.4:7000"
#define TIMEOUT 180

/* -------- the clock -------- */

static time_t now_s, since_s;

time_t __wrap_time(time_t *t)
{
	if(t)
		*t = now_s;
	return now_s;
}

/* -------- the rest of the module -------- */

static struct
{
	int count; /* what the outbox was given */
	char aor[64], contacts[CN_CONTACTS_MAX + 1];
	enum cn_kind kind;
	bool full;
} told;
static int counted;

int cn_outbox_leave(const struct cn_event *ev)
{
	if(told.full)
		return -1;
	told.count++;
	told.kind = ev->kind;
	snprintf(told.aor, sizeof(told.aor), "%.*s", ev->key.len, ev->key.s);
	cn_contacts_write(ev, told.contacts);
	return 0;
}

static int noted;

void cn_history_note(const str *key, enum cn_step_kind kind)
{
	assert_int_equal(kind, CN_STEP_OFFLINE);
	noted++;
}

void cn_stats_count(enum cn_counter counter)
{
	assert_int_equal(counter, CN_COUNTER_offline);
	counted++;
}

int cn_classify_tables(struct udomain **to, int max)
{
	to[0] = fake_usrloc_table("location");
	to[1] = fake_usrloc_table("other");
	return 2;
}

bool cn_usrloc_in_memory(void)
{
	return fake_usrloc.db_mode != DB_ONLY;
}

str cn_usrloc_key(const char *aor)
{
	return stub_str(aor);
}

/* The part behind the scheme. */
bool cn_classify_key(struct sip_msg *of, const str *aor, str *key)
{
	if(aor->len < 5 || memcmp(aor->s, "sip:", 4) != 0)
		return false;
	key->s = aor->s + 4;
	key->len = aor->len - 4;
	return true;
}

unsigned cn_classify_hash(const str *key)
{
	return core_hash(key, NULL, 0);
}

struct urecord *cn_classify_find(
		struct udomain *table, unsigned hash, const str *key)
{
	struct urecord *record = table->table[0].first;

	assert_int_equal(fake_usrloc.locked, 1);
	while(record
			&& (record->aorhash != hash || record->aor.len != key->len
					|| memcmp(record->aor.s, key->s, key->len) != 0))
		record = record->next;
	return record;
}

/* -------- the core -------- */

static struct tcp_connection connection;
static int connected; /* its number, 0: none */

struct tcp_connection *tcpconn_get(int id, struct ip_addr *ip, int port,
		union sockaddr_union *local, ticks_t timeout)
{
	if(id != connected || id == 0)
		return NULL;
	atomic_inc(&connection.refcnt);
	return &connection;
}

/* -------- each test -------- */

static int handle_lost_tcp;
static char text[2048];
static struct sip_msg msg;

static int start(void **state)
{
	fake_modules_start();
	fake_usrloc_start();
	memset(&told, 0, sizeof(told));
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.alive_timeout_s = TIMEOUT;
	counted = connected = handle_lost_tcp = 0;
	now_s = 1700000000;
	since_s = 1;
	fake_param("usrloc", "handle_lost_tcp", 1u << 1, &handle_lost_tcp);
	if(cn_alive_init() < 0 || cn_alive_start() < 0)
		return -1;
	cn_alive_forget_connections();
	return 0;
}

static int end(void **state)
{
	assert_int_equal(atomic_get(&connection.refcnt), 0);
	cn_alive_destroy();
	cn_alive_destroy(); /* twice is allowed */
	fake_usrloc_end();
	stub_clear_log();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

/* A message of this first line and with these headers more.
 * @param aor URI, NULL: as the message says */
static const char *from = "<sip:" AOR ">;tag=12103";
static bool parsed; /* From, by the module */

static bool hear(const char *first, const char *more, const char *aor)
{
	str uri = stub_str(aor ? aor : "");
	bool heard;

	snprintf(text, sizeof(text),
			"%s sip:34020000@telecom.com SIP/2.0\r\n"
			"Via: SIP/2.0/UDP 172.16.163.3:7000;branch=z9hG4bK28145\r\n"
			"From: %s\r\n"
			"To: <sip:34020000@telecom.com>\r\n"
			"Call-ID: 1\r\nCSeq: 20 %s\r\n%s\r\n",
			first, from, first, more);
	assert_true(sip_read(&msg, text, (int)strlen(text)));
	if(connected)
		msg.rcv.proto_reserved1 = connected;
	heard = cn_heard_keep(
			&msg, fake_usrloc_table("location"), aor ? &uri : NULL);
	parsed = msg.from && msg.from->parsed;
	sip_free(&msg);
	return heard;
}

static bool keepalive(void)
{
	return hear("MESSAGE", "", NULL);
}

/* While nobody can be heard. */
static void read_clock(struct cn_alive_look *look)
{
	assert_int_equal(fake_usrloc.locked, 1);
	look->now_s = now_s;
	look->since_s = since_s;
}

static struct cn_alive_look look_at_all(int room)
{
	struct cn_alive_look look = {.read_clock = read_clock, .room = room};

	assert_int_equal(cn_alive_slots(), 1);
	if(cn_alive_look(0, &look))
		assert_true(look.due_s == 0 || look.due_s > now_s);
	return look;
}

static ucontact_t *binding(const char *aor, const char *uri)
{
	ucontact_t *b = fake_binding(aor, uri, 1);

	b->expires = now_s + 36000;
	b->last_keepalive = now_s;
	return b;
}

/* -------- heard -------- */

static void the_only_contact_is_kept_wherever_it_comes_from(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT_2);

	now_s += 60;
	assert_true(keepalive());
	assert_int_equal(b->last_keepalive, now_s);
	now_s += 60;
	assert_true(hear("OPTIONS", "", NULL));
	assert_int_equal(b->last_keepalive, now_s);
}

static void who_is_not_registered_is_not_kept(void **state)
{
	ucontact_t *b;

	assert_false(keepalive());
	b = binding(AOR, CONTACT);
	b->expires = now_s - 1;
	assert_false(keepalive());
	b->expires = now_s + 1;
	assert_true(keepalive());
	b->last_keepalive = CN_BINDING_GONE;
	assert_false(keepalive());
	assert_int_equal(b->last_keepalive, CN_BINDING_GONE);
}

static void of_several_it_is_that_of_the_address(void **state)
{
	ucontact_t *by_uri = binding(AOR, CONTACT);
	ucontact_t *other = binding(AOR, CONTACT_2), *by_received;

	now_s += 60;
	assert_true(keepalive());
	assert_int_equal(by_uri->last_keepalive, now_s);
	assert_int_equal(other->last_keepalive, now_s - 60);
	/* what usrloc was told of NAT says more than the contact */
	by_received = binding(AOR, "sip:gzj@192.168.1.2:5060");
	by_received->received = STR("sip:172.16.163.3:7000");
	by_uri->received = STR("sip:172.16.163.3:7001");
	now_s += 60;
	assert_true(keepalive());
	assert_int_equal(by_received->last_keepalive, now_s);
	assert_int_equal(by_uri->last_keepalive, now_s - 60);
}

static void or_that_of_the_connection(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT_2);
	ucontact_t *other = binding(AOR, "sip:gzj@172.16.163.5:7000");

	b->tcpconn_id = connected = 7;
	other->tcpconn_id = 8;
	now_s += 60;
	assert_true(keepalive());
	assert_int_equal(b->last_keepalive, now_s);
	assert_int_equal(other->last_keepalive, now_s - 60);
}

static void or_else_that_of_the_contact(void **state)
{
	ucontact_t *b = binding(AOR, "sip:gzj@10.0.0.1:5070;transport=udp");
	ucontact_t *other = binding(AOR, "sip:gzj@10.0.0.1:5071;transport=udp");

	now_s += 60;
	assert_false(keepalive());
	assert_false(hear("MESSAGE", "Contact: <sip:gzj@10.0.0.1:5072>\r\n", NULL));
	assert_false(hear("MESSAGE", "Contact: *\r\n", NULL));
	assert_false(hear("MESSAGE", "Contact: <\r\n", NULL));
	assert_int_equal(b->last_keepalive, now_s - 60);
	assert_true(hear("MESSAGE",
			"Contact: <sip:gzj@10.0.0.1:5070;transport=udp;ob>\r\n", NULL));
	assert_int_equal(b->last_keepalive, now_s);
	assert_int_equal(other->last_keepalive, now_s - 60);
}

static void the_aor_is_the_senders_or_the_scripts(void **state)
{
	ucontact_t *b = binding("34020000@telecom.com", CONTACT);

	now_s += 60;
	assert_false(keepalive());
	assert_false(hear("MESSAGE", "", "telecom"));
	assert_true(hear("MESSAGE", "", "sip:34020000@telecom.com"));
	assert_int_equal(b->last_keepalive, now_s);
	/* who registers is in To */
	assert_true(hear("REGISTER", "", NULL));
}

/* However the header is written, it is read as the parser reads it. */
static void a_plain_from_needs_no_parser(void **state)
{
	static const struct
	{
		const char *from;
		bool is_fine, is_plain;
	} headers[] = {
			{"<sip:" AOR ">;tag=12103", true, true},
			{"<sip:" AOR ">;tag=a.-b_C~%", true, true},
			{"\"A <b>\" <sip:" AOR ">;tag=1", true, false},
			{"A <sip:" AOR ">;tag=1", true, false},
			{"sip:" AOR ";tag=1", true, false},
			{"<sip:" AOR ">", true, false},
			{"<sip:" AOR "> ;tag=1", true, false},
			{"<sip:" AOR ">;a=b;tag=1", true, false},
			{"<sip:" AOR ">;tag=1;a=\"b;c\"", true, false},
			{"<sip:" AOR ";a>;tag=1", false, true},
			{"<sip:" AOR ">;tag=", true, false},
			{"<sip:" AOR ">;tag=\"", false, false},
			{"<sip:" AOR, false, false},
			{"<>;tag=1", false, true},
			{"<sip:" AOR "\r\n >;tag=1", false, false},
	};
	ucontact_t *b = binding(AOR, CONTACT);
	int i;

	for(i = 0; i < (int)(sizeof(headers) / sizeof(headers[0])); i++) {
		now_s++;
		from = headers[i].from;
		if(keepalive() != headers[i].is_fine)
			fail_msg("From: %s", from);
		if(headers[i].is_fine)
			assert_int_equal(parsed, !headers[i].is_plain);
		assert_int_equal(b->last_keepalive == now_s, headers[i].is_fine);
	}
	from = headers[0].from;
}

static const char *last_of_slot(void)
{
	static char aor[64];
	const struct urecord *r = fake_usrloc_table("location")->table[0].last;

	snprintf(aor, sizeof(aor), "%.*s", r->aor.len, r->aor.s);
	return aor;
}

/* So that who sends next is found at once. Whether the list is whole is seen
 * where the lock is released. */
static void who_is_heard_is_the_last_of_its_slot(void **state)
{
	binding("a@h", CONTACT);
	assert_true(hear("MESSAGE", "", "sip:a@h"));
	binding("b@h", CONTACT);
	binding("expired@h", CONTACT)->expires = now_s - 1;
	assert_true(hear("MESSAGE", "", "sip:a@h"));
	assert_string_equal(last_of_slot(), "a@h");
	assert_true(hear("MESSAGE", "", "sip:a@h"));
	assert_string_equal(last_of_slot(), "a@h");
	assert_true(hear("MESSAGE", "", "sip:b@h"));
	assert_string_equal(last_of_slot(), "b@h");
	assert_false(hear("MESSAGE", "", "sip:expired@h"));
	assert_string_equal(last_of_slot(), "b@h");
	assert_true(hear("MESSAGE", "", "sip:a@h"));
	assert_string_equal(last_of_slot(), "a@h");
}

static void without_bindings_in_memory_nobody_is_heard(void **state)
{
	binding(AOR, CONTACT);
	fake_usrloc.db_mode = DB_ONLY;
	assert_false(keepalive());
	assert_int_equal(cn_alive_count(), 0);
}

/* -------- not heard -------- */

static void who_is_silent_for_longer_is_told(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT);
	struct cn_alive_look look = look_at_all(9);

	assert_int_equal(look.due_s, now_s + TIMEOUT + 1);
	assert_false(look.connected);
	now_s += TIMEOUT;
	look_at_all(9);
	assert_int_equal(told.count, 0);
	now_s++;
	look = look_at_all(9);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.kind, CN_KIND_OFFLINE);
	assert_string_equal(told.aor, AOR);
	assert_int_equal(look.room, 8);
	assert_int_equal(look.due_s, 0);
	assert_int_equal(b->last_keepalive, CN_BINDING_GONE);
	assert_int_equal(counted, 1);
	now_s += 3600;
	look_at_all(9);
	assert_int_equal(told.count, 1);
}

static void who_was_heard_is_not(void **state)
{
	int i;

	binding(AOR, CONTACT);
	for(i = 0; i < 100; i++) {
		now_s += TIMEOUT;
		assert_true(keepalive());
		look_at_all(9);
	}
	assert_int_equal(told.count, 0);
}

static void a_slot_is_due_when_the_first_of_it_is(void **state)
{
	binding(AOR, CONTACT)->last_keepalive -= 50;
	binding("other@h", CONTACT);
	binding("third@h", CONTACT)->last_keepalive -= 20;
	assert_int_equal(look_at_all(9).due_s, now_s - 50 + TIMEOUT + 1);
	/* in each table */
	fake_binding_in(fake_usrloc_table("other"), AOR, CONTACT, FAKE_ALWAYS)
			->last_keepalive = now_s - 70;
	assert_int_equal(look_at_all(9).due_s, now_s - 70 + TIMEOUT + 1);
}

static void who_has_expired_or_is_anothers_is_not_told(void **state)
{
	ucontact_t *expired = binding(AOR, CONTACT);
	ucontact_t *others = binding(AOR, CONTACT_2);

	now_s += TIMEOUT + 1;
	expired->expires = now_s;
	others->server_id = 2;
	assert_int_equal(look_at_all(9).due_s, 0);
	assert_int_equal(told.count, 0);
}

static void after_a_start_everybody_has_the_whole_time(void **state)
{
	binding(AOR, CONTACT);
	since_s = now_s += 30000;
	assert_int_equal(look_at_all(9).due_s, now_s + TIMEOUT + 1);
	assert_int_equal(told.count, 0);
}

/* Whoever seems to be heard of in an hour has not been heard since. */
static void when_the_clock_is_set_back_too(void **state)
{
	binding(AOR, CONTACT)->last_keepalive += 3600;
	since_s = now_s;
	assert_int_equal(look_at_all(9).due_s, now_s + TIMEOUT + 1);
	now_s += TIMEOUT + 1;
	look_at_all(9);
	assert_int_equal(told.count, 1);
	/* a clock that is put right by less than a second was not set */
	binding(AOR, CONTACT_2)->last_keepalive++;
	since_s = 1;
	look_at_all(9);
	assert_int_equal(told.count, 1);
}

static void time_goes_by_and_a_device_is_heard(void)
{
	now_s += TIMEOUT;
	assert_true(keepalive());
}

/* Whoever has the lock may keep it for long. */
static void who_is_heard_while_a_look_waits_is_not_told(void **state)
{
	struct cn_alive_look look;

	binding(AOR, CONTACT);
	now_s += 60;
	fake_usrloc.waits = time_goes_by_and_a_device_is_heard;
	look = look_at_all(9);
	assert_int_equal(look.due_s, now_s + TIMEOUT + 1);
	assert_int_equal(told.count, 0);
}

static void more_than_there_is_room_for_wait(void **state)
{
	binding(AOR, CONTACT);
	binding(AOR, CONTACT_2);
	binding("other@h", CONTACT);
	now_s += TIMEOUT + 1;
	assert_int_equal(look_at_all(0).room, 0);
	assert_int_equal(told.count, 0);
	assert_int_equal(look_at_all(2).room, 0);
	assert_int_equal(told.count, 2);
	told.full = true;
	look_at_all(9);
	told.full = false;
	assert_int_equal(told.count, 2);
	assert_int_equal(counted, 2);
	look_at_all(9);
	assert_int_equal(told.count, 3);
}

/* -------- connections -------- */

static void who_loses_its_connection_is_told_at_once(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT);
	struct cn_alive_look look;

	b->tcpconn_id = connected = 7;
	look = look_at_all(9);
	assert_true(look.connected);
	assert_int_equal(look.due_s, now_s + TIMEOUT + 1);
	connected = 0;
	look_at_all(9);
	assert_int_equal(told.count, 1);
	assert_int_equal(b->last_keepalive, CN_BINDING_GONE);
}

/* It is going to be told, so it is not heard, and registers. */
static void nor_is_it_heard_over_another_one(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT);

	b->tcpconn_id = connected = 7;
	now_s += 60;
	assert_true(keepalive());
	assert_int_equal(b->last_keepalive, now_s);
	connected = 8;
	assert_false(keepalive());
	/* what comes from elsewhere over UDP says nothing of the connection */
	connected = 0;
	assert_false(keepalive());
	look_at_all(9);
	assert_int_equal(told.count, 1);
	assert_false(keepalive());
}

static void a_proxys_connection_is_not_the_devices(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT);

	b->tcpconn_id = 7;
	b->path = STR("<sip:edge;lr>");
	assert_false(look_at_all(9).connected);
	assert_int_equal(told.count, 0);
	assert_true(keepalive());
}

static void a_slot_is_called_for_who_is_saved_with_a_connection(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT);

	assert_false(cn_alive_is_called(0));
	fake_usrloc_tell(b, UL_CONTACT_INSERT);
	assert_false(cn_alive_is_called(0));
	b->tcpconn_id = 7;
	fake_usrloc_tell(b, UL_CONTACT_UPDATE);
	assert_true(cn_alive_is_called(0));
	assert_false(cn_alive_is_called(0));
}

/* usrloc reads them with its bindings; nobody is told before that is known. */
static void connections_of_before_the_start_are_none(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT), *here = binding(AOR, CONTACT_2);

	cn_alive_destroy();
	assert_int_equal(cn_alive_start(), 0);
	b->tcpconn_id = 6;
	here->tcpconn_id = connected = 7;
	assert_true(look_at_all(9).connected); /* to be looked at again */
	assert_int_equal(told.count, 0);
	cn_alive_forget_connections();
	assert_int_equal(b->tcpconn_id, CN_BINDING_NO_CONNECTION);
	assert_int_equal(here->tcpconn_id, 7);
	assert_true(look_at_all(9).connected);
	assert_int_equal(told.count, 0);
}

/* -------- the end -------- */

static void what_is_stored_ends(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT), *other = binding(AOR, CONTACT_2);
	time_t expires = other->expires;

	now_s += TIMEOUT + 1;
	other->last_keepalive = now_s;
	look_at_all(9);
	assert_int_equal(told.count, 1);
	assert_true(VALID_CONTACT(b, now_s));
	cn_alive_end("other@h", told.contacts);
	assert_true(VALID_CONTACT(b, now_s));
	cn_alive_end(AOR, told.contacts);
	assert_false(VALID_CONTACT(b, now_s));
	/* to usrloc it has expired, and was not deleted */
	assert_int_not_equal(b->expires, UL_EXPIRED_TIME);
	assert_int_equal(other->expires, expires);
}

static void who_is_back_by_then_stays(void **state)
{
	ucontact_t *b = binding(AOR, CONTACT);

	now_s += TIMEOUT + 1;
	look_at_all(9);
	b->last_keepalive = now_s; /* as usrloc does for a REGISTER */
	cn_alive_end(AOR, told.contacts);
	assert_true(VALID_CONTACT(b, now_s));
}

static void only_the_contact_that_was_told_of_ends(void **state)
{
	char first[CN_CONTACTS_MAX + 1];
	ucontact_t *b = binding(AOR, CONTACT), *other;

	now_s += TIMEOUT + 1;
	look_at_all(9);
	strcpy(first, told.contacts);
	other = binding(AOR, CONTACT_2);
	other->last_keepalive = CN_BINDING_GONE; /* its event waits */
	cn_alive_end(AOR, first);
	assert_false(VALID_CONTACT(b, now_s));
	assert_true(VALID_CONTACT(other, now_s));
}

/* -------- for an operator -------- */

static void an_operator_sees_who_is_alive(void **state)
{
	struct cn_alive_contact list[3];
	ucontact_t *gone;

	binding(AOR, CONTACT)->received = STR("sip:10.0.0.9:5070");
	gone = binding(AOR, CONTACT_2);
	binding("other@h", CONTACT);
	binding("foreign@h", CONTACT)->server_id = 2;
	binding("expired@h", CONTACT)->expires = now_s;
	now_s += 7;
	gone->last_keepalive = CN_BINDING_GONE;
	assert_int_equal(cn_alive_count(), 2);
	assert_int_equal(cn_alive_contacts("nobody@h", list, 3), 0);
	assert_int_equal(cn_alive_contacts("expired@h", list, 3), 0);
	assert_int_equal(cn_alive_contacts(AOR, list, 1), 1);
	assert_int_equal(cn_alive_contacts(AOR, list, 3), 2);
	assert_string_equal(list[0].uri, CONTACT);
	assert_string_equal(list[0].received, "sip:10.0.0.9:5070");
	assert_int_equal(list[0].heard_s, 7);
	assert_int_equal(list[0].expires_s, 36000 - 7);
	assert_false(list[0].gone);
	assert_string_equal(list[1].received, "");
	assert_true(list[1].gone);
}

/* -------- the start -------- */

static void what_does_not_go_with_it_is_refused(void **state)
{
	cn_alive_destroy();
	fake_usrloc.db_mode = DB_ONLY;
	assert_int_equal(cn_alive_init(), -1);
	assert_logged("ERROR", "its db_mode must not be 3");
	stub_clear_log();
	fake_usrloc.db_mode = WRITE_BACK;
	handle_lost_tcp = 1;
	assert_int_equal(cn_alive_init(), -1);
	assert_logged("ERROR", "remove handle_lost_tcp");
	stub_clear_log();
	handle_lost_tcp = 0;
	fake_usrloc.listen_fails = true;
	assert_int_equal(cn_alive_init(), -1);
	assert_logged("ERROR", "cannot listen");
	stub_clear_log();
	fake_usrloc.bind_fails = true;
	assert_int_equal(cn_alive_init(), -1);
	assert_logged("ERROR", "load usrloc.so before");
}

static void without_the_parameter_nobody_is_looked_after(void **state)
{
	int types = fake_usrloc_types();

	cn_alive_destroy();
	cn_conf.alive_timeout_s = 0;
	fake_usrloc_start();
	handle_lost_tcp = 1;
	assert_int_equal(cn_alive_init(), 0);
	assert_int_equal(cn_alive_start(), 0);
	cn_alive_forget_connections();
	assert_int_not_equal(types, 0);
	assert_int_equal(fake_usrloc_types(), 0);
	assert_int_equal(cn_alive_slots(), 0);
	assert_int_equal(stub_shm_blocks(), 0);
	/* a script may note signs of life all the same */
	binding(AOR, CONTACT);
	assert_true(keepalive());
}

static void without_memory_it_does_not_start(void **state)
{
	cn_alive_destroy();
	stub_fail_at(1);
	assert_int_equal(cn_alive_start(), -1);
	stub_fail_at(0);
	stub_clear_log();
}

/* -------- an hour with losses -------- */

/* A keepalive a minute, each repeated until it is answered as RFC 3261 17.1.2.2
 * has it (T1 0.5 s, T2 4 s, 32 s), of each packet, there and back, one in a
 * hundred is lost. Nobody who is there is told off line. A device that does not
 * repeat itself loses three in a row once in a million minutes. */

#define DEVICES 300
#define SILENT 10 /* of these, from the middle of the hour on */

static bool is_lost(void)
{
	static uint64_t seed = 20261127;

	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % 100 == 0;
}

static void send_keepalive(const char *uri)
{
	const time_t began_s = now_s;
	double at_s = 0, pause_s = 0.5;

	for(; at_s < 32; at_s += pause_s, pause_s = pause_s < 2 ? pause_s * 2 : 4) {
		if(is_lost())
			continue;
		now_s = began_s + (time_t)at_s;
		assert_true(hear("MESSAGE", "", uri));
		if(!is_lost())
			break;
	}
	now_s = began_s;
}

static void one_packet_in_a_hundred_may_be_lost(void **state)
{
	char aor[DEVICES][32], uri[DEVICES][40];
	int i, s;

	for(i = 0; i < DEVICES; i++) {
		snprintf(aor[i], sizeof(aor[i]), "cam%d@telecom.com", i);
		snprintf(uri[i], sizeof(uri[i]), "sip:%s", aor[i]);
		binding(aor[i], CONTACT);
	}
	for(s = 0; s < 3600; s++, now_s++) {
		for(i = s % 60; i < DEVICES; i += 60) {
			if(s < 1800 || i >= SILENT)
				send_keepalive(uri[i]);
		}
		if(s % 5 == 0)
			look_at_all(DEVICES);
		if(s < 1800 + TIMEOUT - 60)
			assert_int_equal(told.count, 0);
	}
	assert_int_equal(told.count, SILENT);
	assert_int_equal(cn_alive_count(), DEVICES - SILENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(the_only_contact_is_kept_wherever_it_comes_from),
			TEST(who_is_not_registered_is_not_kept),
			TEST(of_several_it_is_that_of_the_address),
			TEST(or_that_of_the_connection),
			TEST(or_else_that_of_the_contact),
			TEST(the_aor_is_the_senders_or_the_scripts),
			TEST(a_plain_from_needs_no_parser),
			TEST(who_is_heard_is_the_last_of_its_slot),
			TEST(without_bindings_in_memory_nobody_is_heard),
			TEST(who_is_silent_for_longer_is_told),
			TEST(who_was_heard_is_not),
			TEST(a_slot_is_due_when_the_first_of_it_is),
			TEST(who_has_expired_or_is_anothers_is_not_told),
			TEST(after_a_start_everybody_has_the_whole_time),
			TEST(when_the_clock_is_set_back_too),
			TEST(more_than_there_is_room_for_wait),
			TEST(who_is_heard_while_a_look_waits_is_not_told),
			TEST(who_loses_its_connection_is_told_at_once),
			TEST(nor_is_it_heard_over_another_one),
			TEST(a_proxys_connection_is_not_the_devices),
			TEST(a_slot_is_called_for_who_is_saved_with_a_connection),
			TEST(connections_of_before_the_start_are_none),
			TEST(what_is_stored_ends),
			TEST(who_is_back_by_then_stays),
			TEST(only_the_contact_that_was_told_of_ends),
			TEST(an_operator_sees_who_is_alive),
			TEST(what_does_not_go_with_it_is_refused),
			TEST(without_the_parameter_nobody_is_looked_after),
			TEST(without_memory_it_does_not_start),
			TEST(one_packet_in_a_hundred_may_be_lost),
	};

	sip_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
