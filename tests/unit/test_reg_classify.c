/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* New or refresh, of REGISTERs as they come, against bindings in a usrloc of our
 * own: the table of the contract, a test a line. */

#include <limits.h>

#include "../../core/hashes.h"
#include "../../core/modparam.h"

#include "fake_modules.h"
#include "fake_usrloc.h"
#include "sip.h"

#include "base_conf.h"
#include "base_history.h"
#include "job_index.h"
#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_expired.h"
#include "reg_park.h"
#include "reg_request.h"
#include "reg_settings.h"

struct cn_conf cn_conf;

#define AOR "gzj@telecom.com"
#define CONTACT "sip:gzj@172.16.163.3:7000"
#define CONTACT_2 "sip:gzj@172.16.163.4:7000"
#define CONTACT_3 "sip:gzj@172.16.163.5:7000"

static int expired; /* noted as a step */

void cn_history_note(const str *key, enum cn_step_kind kind)
{
	assert_str(*key, AOR);
	assert_int_equal(kind, CN_STEP_EXPIRED);
	expired++;
}

/* -------- registrar -------- */

static int zero, contact_max_size = 512;
static struct cn_registrar settings = {.use_path = &zero,
		.path_use_received = &zero,
		.outbound_mode = &zero,
		.regid_mode = &zero,
		.min_expires_mode = &zero,
		.contact_max_size = &contact_max_size,
		.default_expires = 3600};
static int max_contacts_here; /* set by the script for this request, -1: no */
static int registrar_result;

const struct cn_registrar *cn_registrar(void)
{
	return &settings;
}

int cn_registrar_init(void)
{
	return registrar_result;
}

int cn_registrar_override(const char *name, int otherwise)
{
	return strcmp(name, "max_contacts") == 0 && max_contacts_here >= 0
				   ? max_contacts_here
				   : otherwise;
}

str cn_registrar_received(struct sip_msg *msg)
{
	return NO_STR;
}

/* -------- tm -------- */

static str amended;

void cn_park_amend(struct sip_msg *msg, const str *part)
{
	amended = *part;
}

/* -------- the index of jobs -------- */

static int saved;

void cn_index_saved(const str *key)
{
	saved++;
	assert_int_equal(key->len, sizeof(AOR) - 1);
	assert_memory_equal(key->s, AOR, key->len);
}

/* -------- requests -------- */

static char text[8192];
static struct sip_msg msg;
static struct cn_event ev;

static struct udomain *location(void)
{
	return cn_classify_table("location");
}

/* What comes of a REGISTER with these Contact header fields, this Call-ID and
 * CSeq: ev. @return its reason */
static enum cn_reason classify(
		const char *contacts, const char *call_id, int cseq)
{
	if(msg.buf)
		sip_free(&msg);
	snprintf(text, sizeof(text),
			"REGISTER sip:telecom.com SIP/2.0\r\n"
			"Via: SIP/2.0/UDP 172.16.163.3:7000;branch=z9hG4bK28145\r\n"
			"From: gzj <sip:" AOR ":7000>;tag=12103\r\n"
			"To: gzj <sip:" AOR ":7000>\r\n"
			"Call-ID: %s\r\nCSeq: %d REGISTER\r\n%s\r\n",
			call_id, cseq, contacts);
	assert_true(sip_read(&msg, text, (int)strlen(text)));
	assert_int_equal(cn_classify_read(&msg, NULL, &ev), 0);
	cn_classify(location(), &ev);
	if(ev.contact_count > 0 || ev.star)
		assert_int_equal(ev.hash, core_hash(&ev.key, NULL, 0));
	return ev.reason;
}

#define REGISTER(uri) "Contact: <" uri ">\r\n"

static enum cn_reason again(const char *call_id, int cseq)
{
	return classify(REGISTER(CONTACT), call_id, cseq);
}

static int handle_lost_tcp;

static int start(void **state)
{
	fake_modules_start();
	fake_usrloc_start();
	handle_lost_tcp = 0;
	fake_param("usrloc", "handle_lost_tcp", PARAM_INT, &handle_lost_tcp);
	memset(&cn_conf, 0, sizeof(cn_conf));
	settings.max_contacts = 0;
	max_contacts_here = -1;
	return cn_expired_init() < 0 ? -1 : cn_classify_init();
}

static int end(void **state)
{
	if(msg.buf)
		sip_free(&msg);
	msg.buf = NULL;
	fake_usrloc_end();
	cn_expired_destroy();
	stub_clear_log();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

/* -------- the table of the contract -------- */

static void without_a_binding_it_is_new(void **state)
{
	assert_int_equal(again("call-1", 1), CN_REASON_NEW);
	assert_int_equal(ev.contact_count, 1);
	assert_int_equal(ev.contacts[0].reason, CN_REASON_NEW);
	assert_str(ev.key, AOR);
	assert_str(ev.contacts[0].uri, CONTACT);
	assert_int_equal(ev.contacts[0].expires, 3600);
	/* somebody else's is none */
	fake_binding("other@telecom.com", CONTACT, 3600);
	fake_binding_in(fake_usrloc_table("other"), AOR, CONTACT, 3600);
	assert_int_equal(again("call-1", 1), CN_REASON_NEW);
}

static void a_binding_that_has_expired_has_returned(void **state)
{
	fake_binding(AOR, CONTACT, -1);
	assert_int_equal(again("call-1", 11), CN_REASON_RETURNED);
	assert_int_equal(again("call-2", 1), CN_REASON_RETURNED);
}

/* To usrloc it is still there. */
static void one_that_is_off_line_has_returned(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	b->last_keepalive = CN_BINDING_GONE;
	assert_int_equal(again("call-1", 11), CN_REASON_RETURNED);
	assert_int_equal(classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_NEW);
	assert_null(ev.refused);
	/* save() counts it */
	settings.max_contacts = 1;
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_NONE);
	assert_string_equal(ev.refused, "too many contacts");
}

static void one_that_has_been_purged_has_returned(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	expired = 0;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(expired, 1);
	b->last_keepalive = CN_BINDING_GONE; /* off line is another step */
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(expired, 1);
	fake_binding_remove(b);
	assert_int_equal(again("call-2", 1), CN_REASON_RETURNED);
	/* it is not the AOR that returns, but the contact */
	assert_int_equal(classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_NEW);
	/* once it is back it may leave for good */
	b = fake_binding(AOR, CONTACT, 3600);
	fake_usrloc_tell(b, UL_CONTACT_INSERT);
	fake_binding_remove(b);
	assert_int_equal(again("call-3", 1), CN_REASON_NEW);
}

/* While usrloc writes back, what was deleted is still there, and is purged
 * later. */
static void one_that_was_deleted_has_gone_and_does_not_return(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, FAKE_DELETED);

	assert_int_equal(again("call-2", 1), CN_REASON_NEW);
	expired = 0;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(expired, 0);
	fake_binding_remove(b);
	assert_int_equal(again("call-2", 1), CN_REASON_NEW);
}

static void a_live_binding_is_refreshed_whatever_the_call_id(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
	assert_int_equal(again("call-2", 1), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
	b->expires = 0; /* for ever */
	assert_int_equal(again("call-2", 1), CN_REASON_NONE);
}

static void with_detect_reboot_another_call_id_is_a_reboot(void **state)
{
	fake_binding(AOR, CONTACT, 3600);
	cn_conf.detect_reboot = 1;
	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	assert_int_equal(again("call-2", 1), CN_REASON_REBOOT);
	/* and not one that begins alike */
	assert_int_equal(again("call-12", 1), CN_REASON_REBOOT);
}

static void identity_contact_another_address_is_new_or_moved(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-1", 11), CN_REASON_MOVED);
	b->expires = time(NULL) - 10; /* nobody else is there any more */
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-1", 11), CN_REASON_NEW);
}

static void identity_aor_another_address_is_the_same_device(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600), *c;

	cn_conf.identity = CN_IDENTITY_AOR;
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_NONE);
	cn_conf.detect_reboot = 1;
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-1", 11), CN_REASON_NONE);
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_REBOOT);
	/* one of its addresses has registered in this Call-ID: that will do */
	c = fake_binding(AOR, CONTACT_3, 3600);
	c->callid = STR("call-3");
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-1", 11), CN_REASON_NONE);
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-3", 11), CN_REASON_NONE);
	c->expires = b->expires = time(NULL) - 10;
	assert_int_equal(classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_NEW);
	assert_int_equal(again("call-2", 1), CN_REASON_RETURNED);
}

#define INSTANCE(uri, urn) \
	"Contact: <" uri ">;+sip.instance=\"<urn:uuid:" urn ">\"\r\n"

static void identity_instance_another_address_is_the_same_device(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	cn_conf.identity = CN_IDENTITY_INSTANCE;
	b->instance = STR("<urn:uuid:1>");
	b->reg_id = 1; /* another one than the request's: no match in usrloc */
	assert_int_equal(
			classify(INSTANCE(CONTACT_2, "1"), "call-2", 1), CN_REASON_NONE);
	assert_int_equal(
			classify(INSTANCE(CONTACT_2, "2"), "call-2", 1), CN_REASON_MOVED);
	/* without an instance it is nobody that is known */
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-2", 1), CN_REASON_MOVED);
	cn_conf.detect_reboot = 1;
	assert_int_equal(
			classify(INSTANCE(CONTACT_2, "1"), "call-2", 1), CN_REASON_REBOOT);
	assert_int_equal(
			classify(INSTANCE(CONTACT_2, "1"), "call-1", 11), CN_REASON_NONE);
	/* the binding that usrloc itself finds */
	b->reg_id = 0;
	cn_conf.detect_reboot = 0;
	assert_int_equal(
			classify(INSTANCE(CONTACT_2, "1"), "call-2", 1), CN_REASON_NONE);
}

/* usrloc finds the binding by its instance; the address is another. */
static void identity_contact_an_instance_has_moved(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	b->instance = STR("<urn:uuid:1>");
	assert_int_equal(
			classify(INSTANCE(CONTACT_2, "1"), "call-2", 1), CN_REASON_MOVED);
	assert_int_equal(
			classify(INSTANCE(CONTACT, "1"), "call-2", 1), CN_REASON_NONE);
	/* of two Contacts of one instance usrloc keeps the last */
	assert_int_equal(classify(INSTANCE(CONTACT_2, "1") INSTANCE(CONTACT, "1"),
							 "call-2", 1),
			CN_REASON_NONE);
	/* one that leaves is not the one that is kept */
	assert_int_equal(classify(INSTANCE(CONTACT_2, "1") "Contact: <" CONTACT
													   ">;expires=0\r\n",
							 "call-2", 1),
			CN_REASON_MOVED);
}

static void who_leaves_or_asks_is_not_told(void **state)
{
	assert_int_equal(classify("Contact: <" CONTACT ">;expires=0\r\n", "c", 1),
			CN_REASON_NONE);
	assert_int_equal(classify(REGISTER(CONTACT) "Expires: 0\r\n", "c", 1),
			CN_REASON_NONE);
	assert_int_equal(
			classify("Contact: *\r\nExpires: 0\r\n", "c", 1), CN_REASON_NONE);
	assert_true(ev.star);
	assert_int_equal(classify("", "c", 1), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	fake_binding(AOR, CONTACT, 3600);
	assert_int_equal(classify("Contact: <" CONTACT ">;expires=0\r\n", "c", 1),
			CN_REASON_NONE);
}

static void of_several_contacts_each_has_its_reason(void **state)
{
	fake_binding(AOR, CONTACT, 3600);
	fake_binding(AOR, CONTACT_2, -1);
	assert_int_equal(
			classify(REGISTER(CONTACT) REGISTER(CONTACT_2) REGISTER(CONTACT_3),
					"call-2", 1),
			CN_REASON_RETURNED);
	assert_int_equal(ev.contact_count, 3);
	assert_int_equal(ev.contacts[0].reason, CN_REASON_NONE);
	assert_int_equal(ev.contacts[1].reason, CN_REASON_RETURNED);
	assert_int_equal(ev.contacts[2].reason, CN_REASON_MOVED);
	/* the first new one speaks for all */
	assert_int_equal(classify("Contact: <" CONTACT_3 ">, <" CONTACT_2
							  ">, <" CONTACT ">;expires=0\r\n",
							 "call-2", 1),
			CN_REASON_MOVED);
	assert_int_equal(ev.contacts[0].reason, CN_REASON_MOVED);
	assert_int_equal(ev.contacts[1].reason, CN_REASON_RETURNED);
	assert_int_equal(ev.contacts[2].reason, CN_REASON_NONE);
}

/* usrloc takes it for a retransmission. */
static void an_equal_cseq_is_a_refresh_and_done(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	cn_conf.detect_reboot = 1;
	assert_int_equal(again("call-1", 10), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
	assert_true(ev.gives_way);
	assert_int_equal(classify(REGISTER(CONTACT) "Expires: 0\r\n", "call-1", 10),
			CN_REASON_NONE);
	assert_true(ev.gives_way);
	b->expires = time(NULL) - 1; /* briefly registered */
	assert_int_equal(again("call-1", 10), CN_REASON_RETURNED);
	assert_true(ev.gives_way);
	/* what the binding does not stand in the way of */
	assert_int_equal(again("call-1", 11), CN_REASON_RETURNED);
	assert_false(ev.gives_way);
	assert_int_equal(again("call-2", 10), CN_REASON_RETURNED);
	assert_false(ev.gives_way);
	assert_false(ev.improper);
}

static void where_no_binding_can_give_way_an_equal_cseq_is_refused(
		void **state)
{
	fake_usrloc.db_mode = DB_ONLY;
	assert_int_equal(cn_classify_init(), 0);
	fake_binding(AOR, CONTACT, 3600);
	cn_conf.cseq_restart = 1;
	assert_int_equal(again("call-1", 10), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	assert_true(ev.improper);
	/* save() does that by itself */
	assert_int_equal(again("call-1", 9), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	assert_false(ev.improper);
}

static void a_cseq_from_the_beginning_is_a_restart(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);
	int cseq;

	cn_conf.cseq_restart = 1;
	for(cseq = 9; cseq <= 10; cseq++) {
		b->last_modified = time(NULL) - 100; /* longer than usrloc's delay */
		cn_conf.detect_reboot = 0;
		assert_int_equal(again("call-1", cseq), CN_REASON_NONE);
		assert_int_equal(ev.contact_count, 1);
		assert_true(ev.gives_way);
		cn_conf.detect_reboot = 1;
		assert_int_equal(again("call-1", cseq), CN_REASON_REBOOT);
		assert_true(ev.gives_way);
		b->last_modified = time(NULL);
		assert_int_equal(again("call-1", cseq), CN_REASON_REBOOT);
		assert_true(ev.gives_way);
	}
	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	assert_false(ev.gives_way);
	/* whatever its CSeq, an expired one has returned */
	b->expires = time(NULL) - 1;
	assert_int_equal(again("call-1", 1), CN_REASON_RETURNED);
	assert_true(ev.gives_way);
}

static void a_restart_at_another_address_or_of_an_instance(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	cn_conf.detect_reboot = cn_conf.cseq_restart = 1;
	cn_conf.identity = CN_IDENTITY_AOR;
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-1", 11), CN_REASON_NONE);
	assert_int_equal(
			classify(REGISTER(CONTACT_2), "call-1", 1), CN_REASON_REBOOT);
	assert_false(ev.gives_way); /* usrloc finds no binding */
	cn_conf.identity = CN_IDENTITY_INSTANCE;
	b->instance = STR("<urn:uuid:1>");
	assert_int_equal(
			classify(INSTANCE(CONTACT, "1"), "call-1", 11), CN_REASON_NONE);
	assert_int_equal(
			classify(INSTANCE(CONTACT, "1"), "call-1", 10), CN_REASON_REBOOT);
	assert_false(ev.gives_way); /* usrloc does not look at its CSeq */
	cn_conf.cseq_restart = 0;
	assert_int_equal(
			classify(INSTANCE(CONTACT, "1"), "call-1", 10), CN_REASON_NONE);
}

static void a_cseq_that_is_too_low_is_left_to_save(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	assert_int_equal(again("call-1", 9), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	assert_string_equal(ev.refused, "its CSeq is not higher");
	b->last_modified = time(NULL) - 100;
	assert_int_equal(again("call-1", 10), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	/* one of several is enough: save() refuses them all */
	assert_int_equal(
			classify(REGISTER(CONTACT_2) REGISTER(CONTACT), "call-1", 9),
			CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
}

static void the_index_hears_what_was_saved(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	saved = 0;
	fake_usrloc_tell(b, UL_CONTACT_INSERT);
	assert_int_equal(saved, 1);
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(saved, 1);
}

static void how_many_more_there_may_be(void **state)
{
	(void)again("call-1", 1);
	assert_int_equal(ev.room, INT_MAX);
	settings.max_contacts = 4;
	(void)again("call-1", 1);
	assert_int_equal(ev.room, 3);
	fake_binding(AOR, CONTACT, 3600);
	fake_binding(AOR, CONTACT_2, 3600);
	(void)again("call-1", 11);
	assert_int_equal(ev.room, 2);
	(void)classify(REGISTER(CONTACT_3), "call-1", 11);
	assert_int_equal(ev.room, 1);
	max_contacts_here = 3;
	(void)classify(REGISTER(CONTACT_3), "call-1", 11);
	assert_int_equal(ev.room, 0);
}

static void more_than_max_contacts_are_left_to_save(void **state)
{
	fake_binding(AOR, CONTACT, 3600);
	fake_binding(AOR, CONTACT_2, -1); /* does not count */
	settings.max_contacts = 1;
	assert_int_equal(
			classify(REGISTER(CONTACT_3), "call-2", 1), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	assert_int_equal(again("call-2", 1), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
	/* one comes, one goes */
	assert_int_equal(
			classify(REGISTER(CONTACT_3) "Contact: <" CONTACT ">;expires=0\r\n",
					"call-2", 1),
			CN_REASON_MOVED);
	max_contacts_here = 2;
	assert_int_equal(
			classify(REGISTER(CONTACT_3), "call-2", 1), CN_REASON_MOVED);
	max_contacts_here = 0; /* as many as they like */
	assert_int_equal(
			classify(REGISTER(CONTACT_3), "call-2", 1), CN_REASON_MOVED);
}

static void how_many_there_will_be(void **state)
{
	ucontact_t *b;

	(void)again("call-1", 1);
	assert_int_equal(ev.live, 1);
	b = fake_binding(AOR, CONTACT, 3600);
	fake_binding(AOR, CONTACT_2, 3600);
	(void)again("call-1", 11);
	assert_int_equal(ev.live, 2);
	(void)classify(REGISTER(CONTACT_3), "call-1", 11);
	assert_int_equal(ev.live, 3);
	b->expires = time(NULL) - 1; /* one that comes back */
	(void)again("call-1", 11);
	assert_int_equal(ev.live, 2);
	(void)classify(REGISTER(CONTACT) "Contact: <" CONTACT_2
									 ">;expires=0\r\n",
			"call-1", 11);
	assert_int_equal(ev.live, 1);
}

/* save() answers 200 to all of these. */
static void what_nobody_can_reach_is_improper(void **state)
{
	static const char *const rows[] = {"<sip:gzj@0.0.0.0:5060>",
			"<sip:gzj@[::]>", "<sip:gzj@[0:0:0:0:0:0:0:0]:5060>",
			"<sip:gzj@10.0.0.1:0>", "<nonsense>", "<http://10.0.0.1/>",
			"<sip:gzj@10.0.0.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=0",
			"<sip:gzj@10.0.0.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=x"};
	char line[200];
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(line, sizeof(line), REGISTER(CONTACT) "Contact: %s\r\n",
				rows[i]);
		assert_int_equal(classify(line, "call-1", 1), CN_REASON_NONE);
		assert_int_equal(ev.contact_count, 0);
		if(!ev.improper)
			fail_msg("%s", rows[i]);
	}
	/* by its address behind the NAT it can be reached */
	assert_int_equal(
			classify("Contact: <sip:gzj@0.0.0.0>;received=\"sip:1.2.3.4:5\"\r\n",
					"call-1", 1),
			CN_REASON_NEW);
	assert_false(ev.improper);
	/* and it may leave */
	assert_int_equal(
			classify("Contact: <sip:gzj@0.0.0.0>;expires=0\r\n", "call-1", 1),
			CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
	assert_false(ev.improper);
}

static void the_case_of_the_transport_makes_no_other_contact(void **state)
{
	fake_binding(AOR, "sip:gzj@10.0.0.1;transport=tls;X=Y", 3600);
	amended = NO_STR;
	assert_int_equal(
			classify(REGISTER("sip:gzj@10.0.0.1;transport=tls;X=Y"), "c", 1),
			CN_REASON_NONE);
	assert_int_equal(amended.len, 0);
	assert_int_equal(
			classify(REGISTER("sip:gzj@10.0.0.1;Transport=TLS;X=Y"), "c", 1),
			CN_REASON_NONE);
	assert_str(ev.contacts[0].uri, "sip:gzj@10.0.0.1;transport=tls;X=Y");
	assert_str(amended, "transport=tls");
	assert_int_equal(
			classify(REGISTER("sip:gzj@10.0.0.1;transport=TLS;x=y"), "c", 1),
			CN_REASON_MOVED);
}

/* save() finds it so, and the parked copy, too. */
static void a_user_agent_becomes_utf8_in_the_message(void **state)
{
	amended = NO_STR;
	(void)classify("User-Agent: \xe6\x91\x84 1.0\r\n" REGISTER(CONTACT), "c", 1);
	assert_int_equal(amended.len, 0);
	(void)classify("User-Agent: \xba\xa3\xbf\xb5 1.0\r\n" REGISTER(CONTACT), "c", 2);
	assert_str(msg.user_agent->body, "???? 1.0");
	assert_str(amended, "???? 1.0");
}

static void when_usrloc_cannot_answer_save_has_to(void **state)
{
	fake_usrloc.db_mode = DB_ONLY;
	assert_int_equal(cn_classify_init(), 0);
	assert_int_equal(again("call-1", 1), CN_REASON_NEW);
	fake_usrloc.query_fails = true;
	assert_int_equal(again("call-1", 1), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	assert_string_equal(ev.refused, "usrloc failed");
}

/* Which it does in that function alone. */
static void where_usrloc_ends_lost_connections_it_is_asked(void **state)
{
	fake_usrloc.query_fails = true;
	assert_int_equal(again("call-1", 1), CN_REASON_NEW);
	handle_lost_tcp = 1;
	assert_int_equal(cn_classify_init(), 0);
	assert_int_equal(again("call-1", 1), CN_REASON_NONE);
	assert_string_equal(ev.refused, "usrloc failed");
}

static void another_aor_of_the_slot_is_another_one(void **state)
{
	fake_binding("gzk@telecom.com", CONTACT, 3600);
	assert_int_equal(again("call-1", 1), CN_REASON_NEW);
	fake_binding(AOR, CONTACT, 3600);
	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
}

static void it_may_be_repeated(void **state)
{
	ucontact_t *b;

	assert_int_equal(again("call-2", 1), CN_REASON_NEW);
	b = fake_binding(AOR, CONTACT, 3600);
	cn_classify(location(), &ev);
	assert_int_equal(ev.reason, CN_REASON_NONE);
	assert_int_equal(ev.contacts[0].reason, CN_REASON_NONE);
	fake_binding_remove(b);
	cn_classify(location(), &ev);
	assert_int_equal(ev.reason, CN_REASON_NEW);
}

static void nothing_is_read_of_what_is_no_aor(void **state)
{
	static char bad[] =
			"REGISTER sip:telecom.com SIP/2.0\r\n"
			"Via: SIP/2.0/UDP 172.16.163.3:7000;branch=z9hG4bK1\r\n"
			"From: <sip:" AOR ">;tag=1\r\nTo: <mailto:gzj>\r\n"
			"Call-ID: c\r\nCSeq: 1 REGISTER\r\n" REGISTER(CONTACT) "\r\n";
	str uri = STR("sip:other@telecom.com");

	assert_true(sip_read(&msg, bad, (int)strlen(bad)));
	assert_int_equal(cn_classify_read(&msg, NULL, &ev), 0);
	cn_classify(location(), &ev);
	assert_int_equal(ev.reason, CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 0);
	/* what the script gives goes before it */
	assert_int_equal(cn_classify_read(&msg, &uri, &ev), 0);
	assert_str(ev.key, "other@telecom.com");
	cn_classify(location(), &ev);
	assert_int_equal(ev.reason, CN_REASON_NEW);
}

static void an_escaped_name_is_the_same_aor(void **state)
{
	str uri = STR("sip:%67zj@Telecom.com"), broken = STR("sip:%6@telecom.com");

	fake_binding(AOR, CONTACT, 3600);
	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	assert_int_equal(cn_classify_read(&msg, &uri, &ev), 0);
	assert_str(ev.key, AOR);
	assert_str(ev.username, "gzj");
	cn_classify(location(), &ev);
	assert_int_equal(ev.reason, CN_REASON_NONE);
	assert_int_equal(ev.contact_count, 1);
	/* as the events about its binding say */
	cn_request_describe(&msg, &ev);
	assert_str(ev.aor, "sip:gzj@telecom.com");
	assert_str(ev.domain, "telecom.com");
	assert_int_equal(cn_classify_read(&msg, &broken, &ev), 0);
	assert_int_equal(ev.contact_count, 0);
}

static void the_script_may_give_what_is_nearly_the_to_header(void **state)
{
	static const struct
	{
		const char *given, *aor;
	} rows[] = {{"sip:gzj@telecom.com", "sip:gzj@telecom.com"},
			{"sip:gzk@telecom.com", "sip:gzk@telecom.com"},
			{"sip:gzj@telecom.net", "sip:gzj@telecom.net"},
			{"sip:gzj.telecom.com", "sip:gzj.telecom.com"},
			{"sip:gz@jtelecom.com", "sip:gz@jtelecom.com"},
			{"sip:gzj@telecom.comm", "sip:gzj@telecom.comm"},
			{"SIP:gzj@telecom.com", "sip:gzj@telecom.com"}};
	int i;

	for(i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		str given = stub_str(rows[i].given);

		(void)again("c", 1); /* the To header is parsed */
		assert_int_equal(cn_classify_read(&msg, &given, &ev), 0);
		cn_request_describe(&msg, &ev);
		assert_str(ev.aor, rows[i].aor);
	}
}

/* The scheme that the script gives is the one that counts. */
static void a_secure_to_header_is_another_address(void **state)
{
	static char secure[] =
			"REGISTER sip:telecom.com SIP/2.0\r\n"
			"Via: SIP/2.0/UDP 172.16.163.3:7000;branch=z9hG4bK1\r\n"
			"From: <sips:" AOR ">;tag=1\r\nTo: <sips:" AOR ">\r\n"
			"Call-ID: c\r\nCSeq: 1 REGISTER\r\n" REGISTER(CONTACT) "\r\n";
	str given = STR("sip:" AOR);

	assert_true(sip_read(&msg, secure, (int)strlen(secure)));
	assert_int_equal(cn_classify_read(&msg, NULL, &ev), 0);
	cn_request_describe(&msg, &ev);
	assert_str(ev.aor, "sips:" AOR);
	assert_int_equal(cn_classify_read(&msg, &given, &ev), 0);
	cn_request_describe(&msg, &ev);
	assert_str(ev.aor, "sip:" AOR);
}

static void the_domain_counts_where_usrloc_says_so(void **state)
{
	assert_int_equal(again("call-1", 1), CN_REASON_NEW);
	assert_str(ev.key, AOR);
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_classify_init(), 0);
	fake_binding("gzj", CONTACT, 3600);
	assert_int_equal(again("call-1", 11), CN_REASON_NONE);
	assert_str(ev.key, "gzj");
}

/* -------- start -------- */

static void without_its_modules_it_does_not_start(void **state)
{
	fake_usrloc.bind_fails = true;
	assert_int_equal(cn_classify_init(), -1);
	assert_logged("ERROR", "load usrloc.so before cms_notify.so");
	fake_usrloc.bind_fails = false;
	fake_usrloc.listen_fails = true;
	assert_int_equal(cn_classify_init(), -1);
	assert_logged("ERROR", "cannot listen to usrloc");
	fake_usrloc.listen_fails = false;
	registrar_result = -1;
	assert_int_equal(cn_classify_init(), -1);
	registrar_result = 0;
	fake_module_remove("usrloc");
	assert_int_equal(cn_classify_init(), -1);
	assert_logged("ERROR", "load usrloc.so before cms_notify.so");
}

/* What the script names is kept: last, since it stays. */
static void the_tables_are_those_that_the_script_names(void **state)
{
	struct udomain *tables[CN_TABLES_MAX];

	assert_int_equal(cn_classify_tables(tables, CN_TABLES_MAX), 1);
	assert_ptr_equal(tables[0], fake_usrloc_table("location"));
	assert_null(cn_classify_table("other"));
	assert_null(cn_classify_add_table("not there"));
	assert_ptr_equal(
			cn_classify_add_table("other"), fake_usrloc_table("other"));
	assert_ptr_equal(cn_classify_table("other"), fake_usrloc_table("other"));
	assert_int_equal(cn_classify_tables(tables, CN_TABLES_MAX), 1);
	assert_ptr_equal(tables[0], fake_usrloc_table("other"));
	assert_non_null(cn_classify_add_table("location"));
	assert_non_null(cn_classify_add_table("other")); /* again */
	assert_int_equal(cn_classify_tables(tables, CN_TABLES_MAX), 2);
	assert_int_equal(cn_classify_tables(tables, 1), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(without_a_binding_it_is_new),
			TEST(a_binding_that_has_expired_has_returned),
			TEST(one_that_is_off_line_has_returned),
			TEST(one_that_has_been_purged_has_returned),
			TEST(one_that_was_deleted_has_gone_and_does_not_return),
			TEST(a_live_binding_is_refreshed_whatever_the_call_id),
			TEST(with_detect_reboot_another_call_id_is_a_reboot),
			TEST(identity_contact_another_address_is_new_or_moved),
			TEST(identity_aor_another_address_is_the_same_device),
			TEST(identity_instance_another_address_is_the_same_device),
			TEST(identity_contact_an_instance_has_moved),
			TEST(who_leaves_or_asks_is_not_told),
			TEST(of_several_contacts_each_has_its_reason),
			TEST(an_equal_cseq_is_a_refresh_and_done),
			TEST(where_no_binding_can_give_way_an_equal_cseq_is_refused),
			TEST(a_cseq_from_the_beginning_is_a_restart),
			TEST(a_restart_at_another_address_or_of_an_instance),
			TEST(a_cseq_that_is_too_low_is_left_to_save),
			TEST(more_than_max_contacts_are_left_to_save),
			TEST(how_many_more_there_may_be),
			TEST(how_many_there_will_be),
			TEST(what_nobody_can_reach_is_improper),
			TEST(the_case_of_the_transport_makes_no_other_contact),
			TEST(a_user_agent_becomes_utf8_in_the_message),
			TEST(the_index_hears_what_was_saved),
			TEST(when_usrloc_cannot_answer_save_has_to),
			TEST(where_usrloc_ends_lost_connections_it_is_asked),
			TEST(another_aor_of_the_slot_is_another_one),
			TEST(it_may_be_repeated),
			TEST(nothing_is_read_of_what_is_no_aor),
			TEST(an_escaped_name_is_the_same_aor),
			TEST(the_script_may_give_what_is_nearly_the_to_header),
			TEST(a_secure_to_header_is_another_address),
			TEST(the_domain_counts_where_usrloc_says_so),
			TEST(without_its_modules_it_does_not_start),
			TEST(the_tables_are_those_that_the_script_names),
	};

	sip_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
