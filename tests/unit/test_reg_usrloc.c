/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Who leaves and who is there, as the bindings of a usrloc of our own say. */

#include "../../core/globals.h"
#include "../../core/hashes.h"
#include "../../core/parser/parse_uri.h"
#include "../../core/rand/cryptorand.h"
#include "../../core/tcp_conn.h"

#include "fake_modules.h"
#include "fake_usrloc.h"
#include "stubs.h"

#include "base_conf.h"
#include "job_contacts.h"
#include "outbox.h"
#include "outbox_leaving.h"
#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_request.h"
#include "reg_settings.h"
#include "reg_table.h"
#include "reg_usrloc.h"

struct cn_conf cn_conf;

#define AOR "gzj@telecom.com"
#define CONTACT "sip:gzj@172.16.163.3:7000"
#define CONTACT_2 "sip:gzj@172.16.163.4:7000"
#define PARAM_INT (1u << 1)

static bool keeps_expired;

bool cn_reg_table_keeps_expired(void)
{
	return keeps_expired;
}

/* -------- what it is told -------- */

static struct
{
	int left;	/* by cn_outbox_leave() */
	int stored; /* by cn_leaving_store(), while the server stops */
	enum cn_kind kind;
	char aor[64], username[64], domain[64], uri[64], source_ip[64];
	char user_agent[64], received[64], path[64], instance[64], transport[8];
	char id[CN_ID_LEN + 1], call_id[64], key[64];
	unsigned source_port, cseq, reg_id, hash;
	int live;
	bool has_reg_id;
	int expires, aor_len;
} told;

static void show(char *to, const str *s)
{
	snprintf(to, 64, "%.*s", s->len, s->len > 0 ? s->s : "");
}

static void look_at(const struct cn_event *ev)
{
	const struct cn_contact *c = ev->contacts;

	assert_int_equal(ev->contact_count, 1);
	told.kind = ev->kind;
	told.hash = ev->hash;
	told.aor_len = ev->aor.len;
	show(told.key, &ev->key);
	show(told.aor, &ev->aor);
	show(told.username, &ev->username);
	show(told.domain, &ev->domain);
	show(told.source_ip, &ev->source_ip);
	show(told.user_agent, &ev->user_agent);
	show(told.call_id, &ev->call_id);
	show(told.uri, &c->uri);
	show(told.received, &c->received);
	show(told.path, &c->path);
	show(told.instance, &c->instance);
	snprintf(told.transport, sizeof(told.transport), "%s",
			ev->transport ? ev->transport : "-");
	strcpy(told.id, ev->id);
	told.source_port = ev->source_port;
	told.cseq = ev->cseq;
	told.live = ev->live;
	told.reg_id = c->reg_id;
	told.has_reg_id = c->has_reg_id;
	told.expires = c->expires;
}

static bool outbox_is_full;

int cn_outbox_leave(const struct cn_event *ev)
{
	if(outbox_is_full)
		return -1;
	told.left++;
	look_at(ev);
	return 0;
}

void cn_leaving_store(struct cn_event *ev)
{
	told.stored++;
	look_at(ev);
}

/* -------- the core, and the rest of the module -------- */

static bool stopping;

int destroy_modules_phase(void)
{
	return stopping;
}

static struct tcp_connection connection;
static int alive_connection; /* its number, 0: none */

struct tcp_connection *tcpconn_get(int id, struct ip_addr *ip, int port,
		union sockaddr_union *local, ticks_t timeout)
{
	if(id != alive_connection || id == 0)
		return NULL;
	atomic_inc(&connection.refcnt);
	return &connection;
}

char *get_valid_proto_name(unsigned short proto)
{
	return proto == PROTO_TCP ? "tcp" : "udp";
}

/* sip:HOST:PORT and sip:[HOST]:PORT will do. */
int parse_uri(char *s, int len, struct sip_uri *uri)
{
	char *host = s + 4, *end = s + len, *colon = end;

	memset(uri, 0, sizeof(*uri));
	if(len < 5 || memcmp(s, "sip:", 4) != 0)
		return -1;
	while(colon > host && colon[-1] != ':' && colon[-1] != ']')
		colon--;
	if(colon > host && colon[-1] == ':') {
		uri->port_no = (unsigned short)strtol(colon, NULL, 10);
		colon--;
	} else {
		colon = end;
	}
	uri->host = (str){host, (int)(colon - host)};
	return 0;
}

unsigned int cryptorand(void)
{
	return 1;
}

static struct udomain *tables[CN_TABLES_MAX];
static int table_count;

int cn_classify_tables(struct udomain **to, int max)
{
	assert_true(max >= table_count);
	memcpy(to, tables, table_count * sizeof(tables[0]));
	return table_count;
}

static struct cn_registrar settings;

const struct cn_registrar *cn_registrar(void)
{
	return &settings;
}

/* The part behind the scheme. */
bool cn_request_key(const str *aor, bool use_domain, str *key)
{
	static char text[64];
	const char *colon = memchr(aor->s, ':', aor->len);

	if(aor->len > 60 || strstr(aor->s, "bad"))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)(aor->s + aor->len - colon - 1),
			colon + 1);
	if(!use_domain)
		*strchr(text, '@') = '\0';
	*key = stub_str(text);
	return true;
}

/* -------- each test -------- */

static int db_load, handle_lost_tcp;

static int start(void **state)
{
	fake_modules_start();
	fake_usrloc_start();
	db_load = 1;
	handle_lost_tcp = 0;
	keeps_expired = false;
	fake_param("usrloc", "db_load", PARAM_INT, &db_load);
	fake_param("usrloc", "handle_lost_tcp", PARAM_INT, &handle_lost_tcp);
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.events_unregister = cn_conf.events_expire = true;
	memset(&settings, 0, sizeof(settings));
	memset(&told, 0, sizeof(told));
	stopping = outbox_is_full = false;
	alive_connection = 0;
	tables[0] = fake_usrloc_table("location");
	table_count = 1;
	return cn_usrloc_init();
}

static int end(void **state)
{
	assert_int_equal(atomic_get(&connection.refcnt), 0);
	fake_usrloc_end();
	stub_clear_log();
	return 0;
}

/* -------- leaving -------- */

static void who_is_purged_or_deleted_has_left(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.left, 1);
	assert_int_equal(told.kind, CN_KIND_EXPIRE);
	assert_string_equal(told.aor, "sip:" AOR);
	assert_string_equal(told.key, AOR);
	assert_string_equal(told.uri, CONTACT);
	assert_int_equal(told.hash, core_hash(b->aor, NULL, 0));
	assert_int_equal(strlen(told.id), CN_ID_LEN);
	b = fake_binding(AOR, CONTACT_2, 3600);
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 2);
	assert_int_equal(told.kind, CN_KIND_UNREGISTER);
	assert_string_equal(told.uri, CONTACT_2);
}

/* While usrloc writes back it is told again, and purged later. */
static void what_was_deleted_has_left_once(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.left, 1);
}

static void what_cannot_be_told_is_in_the_log(void **state)
{
	outbox_is_full = true;
	fake_usrloc_tell(fake_binding(AOR, CONTACT, -1), UL_CONTACT_EXPIRE);
	assert_logged("ERROR", "the CMS is not told that sip:" AOR " has left");
}

static void the_operator_chooses_what_is_told(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	cn_conf.events_unregister = false;
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 0);
	/* and it is not taken for expired later */
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.left, 0);
}

static void usrloc_is_listened_to_for_what_is_told(void **state)
{
	assert_int_equal(
			fake_usrloc_types(), UL_CONTACT_DELETE | UL_CONTACT_EXPIRE);
	fake_usrloc_start();
	cn_conf.events_expire = false;
	assert_int_equal(cn_usrloc_init(), 0);
	assert_int_equal(fake_usrloc_types(), UL_CONTACT_DELETE);
	fake_usrloc_start();
	cn_conf.events_unregister = false;
	assert_int_equal(cn_usrloc_init(), 0);
	assert_int_equal(fake_usrloc_types(), 0);
	/* what was deleted must be known to tell it from what has expired */
	cn_conf.events_expire = true;
	assert_int_equal(cn_usrloc_init(), 0);
	assert_int_equal(
			fake_usrloc_types(), UL_CONTACT_DELETE | UL_CONTACT_EXPIRE);
}

static void another_servers_binding_is_its_business(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	b->server_id = 2;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	b->server_id = 1;
	b->flags = FL_DMQRPL;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 0);
}

static void what_is_shared_is_told_by_who_deletes_it(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	fake_usrloc.db_mode = DB_ONLY;
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_usrloc_init(), 0);
	b->server_id = 2;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.left, 0);
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 1);
}

/* With handle_lost_tcp usrloc deletes what has lost its connection. */
static void a_lost_connection_is_expiry(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	handle_lost_tcp = 1;
	b->tcpconn_id = 5;
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 1);
	assert_int_equal(told.kind, CN_KIND_EXPIRE);
	assert_int_equal(b->tcpconn_id, -1); /* usrloc forgets it */
	/* who leaves on a connection that is there has left */
	b = fake_binding(AOR, CONTACT_2, 3600);
	b->tcpconn_id = alive_connection = 5;
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 2);
	assert_int_equal(told.kind, CN_KIND_UNREGISTER);
	assert_int_equal(b->tcpconn_id, 5);
	/* not wanted */
	cn_conf.events_expire = false;
	b = fake_binding(AOR, CONTACT, 3600);
	b->tcpconn_id = 6;
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.left, 2);
	/* without the parameter it is an ordinary deletion */
	handle_lost_tcp = 0;
	b = fake_binding(AOR, CONTACT, 3600);
	b->tcpconn_id = 6;
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	assert_int_equal(told.kind, CN_KIND_UNREGISTER);
}

static void all_that_a_binding_tells_is_told(void **state)
{
	struct socket_info sock = {.proto = PROTO_TCP};
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	b->sock = &sock;
	b->received = STR("sip:10.0.0.9:5070");
	b->path = STR("<sip:edge;lr>");
	b->instance = STR("<urn:uuid:1>");
	b->user_agent = STR("TELECOM ncsip/1.0");
	b->reg_id = 3;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_string_equal(told.username, "gzj");
	assert_string_equal(told.domain, "telecom.com");
	assert_string_equal(told.transport, "tcp");
	assert_string_equal(told.source_ip, "10.0.0.9");
	assert_int_equal(told.source_port, 5070);
	assert_string_equal(told.received, "sip:10.0.0.9:5070");
	assert_string_equal(told.path, "<sip:edge;lr>");
	assert_string_equal(told.instance, "<urn:uuid:1>");
	assert_string_equal(told.user_agent, "TELECOM ncsip/1.0");
	assert_string_equal(told.call_id, "call-1");
	assert_int_equal(told.cseq, 10);
	assert_true(told.has_reg_id);
	assert_int_equal(told.reg_id, 3);
}

static void it_is_told_how_many_are_left(void **state)
{
	ucontact_t *b[4];
	int i;

	for(i = 0; i < 4; i++)
		b[i] = fake_binding(AOR, i ? CONTACT_2 : CONTACT, i == 3 ? -1 : 3600);
	for(i = 0; i < 3; i++) {
		b[i]->next = b[i + 1];
		b[i + 1]->prev = b[i];
	}
	fake_usrloc_tell(b[1], UL_CONTACT_DELETE);
	assert_int_equal(told.live, 2);
	fake_usrloc_tell(b[3], UL_CONTACT_EXPIRE);
	assert_int_equal(told.live, 3);
	/* there is only what was looked for */
	fake_usrloc.db_mode = DB_ONLY;
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_usrloc_init(), 0);
	fake_usrloc_tell(b[2], UL_CONTACT_DELETE);
	assert_int_equal(told.live, -1);
}

static void what_it_does_not_tell_stays_empty(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_string_equal(told.source_ip, "");
	assert_int_equal(told.source_port, 0);
	assert_string_equal(told.user_agent, ""); /* n/a: registrar's for none */
	assert_string_equal(told.transport, "-");
	assert_false(told.has_reg_id);
	b->received = STR("nonsense");
	b->user_agent = STR("n/A");
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_string_equal(told.source_ip, "");
	assert_string_equal(told.user_agent, "n/A");
	b->received = STR("sip:[2001:db8::1]");
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_string_equal(told.source_ip, "2001:db8::1");
	assert_int_equal(told.source_port, 5060);
}

static void the_domain_is_behind_the_last_at(void **state)
{
	fake_usrloc_tell(fake_binding("a@b@c.com", CONTACT, -1), UL_CONTACT_EXPIRE);
	assert_string_equal(told.username, "a@b");
	assert_string_equal(told.domain, "c.com");
	fake_usrloc_tell(fake_binding("c.com", CONTACT, -1), UL_CONTACT_EXPIRE);
	assert_string_equal(told.username, "c.com");
	assert_string_equal(told.domain, "");
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_usrloc_init(), 0);
	fake_usrloc_tell(fake_binding("a@b", CONTACT, 3600), UL_CONTACT_DELETE);
	assert_string_equal(told.username, "a@b");
	assert_string_equal(told.domain, "");
}

static void a_long_aor_is_cut_and_nothing_is_overwritten(void **state)
{
	char aor[600];

	memset(aor, 'a', sizeof(aor));
	aor[599] = '\0';
	fake_usrloc_tell(fake_binding(aor, CONTACT, -1), UL_CONTACT_EXPIRE);
	assert_int_equal(told.left, 1);
	assert_memory_equal(told.aor, "sip:aaaa", 8);
	assert_int_equal(told.aor_len, 511);
}

/* -------- while the server stops -------- */

static void what_has_a_row_of_usrlocs_is_told_after_the_start(void **state)
{
	static const int modes[] = {WRITE_THROUGH, WRITE_BACK};
	size_t i;

	stopping = true;
	for(i = 0; i < 2; i++) {
		ucontact_t *b;

		fake_usrloc.db_mode = modes[i];
		fake_usrloc_start();
		fake_usrloc.db_mode = modes[i];
		assert_int_equal(cn_usrloc_init(), 0);
		b = fake_binding(AOR, CONTACT, -1);
		fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
		assert_int_equal(told.stored + told.left, 0);
		assert_int_equal(b->state, CS_NEW); /* so that its row stays */
	}
}

static void what_has_none_is_stored(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, -1);

	stopping = true;
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE); /* nothing is written */
	assert_int_equal(told.stored, 1);
	fake_usrloc_start();
	fake_usrloc.db_mode = WRITE_BACK;
	assert_int_equal(cn_usrloc_init(), 0);
	b = fake_binding(AOR, CONTACT, -1);
	b->state = CS_NEW; /* not written yet */
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.stored, 2);
	b->state = CS_SYNC;
	b->expires = UL_EXPIRED_TIME; /* deleted: it is purged, if it is loaded */
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.stored, 3);
	b->expires = time(NULL) - 1;
	db_load = 0; /* it would not be loaded */
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.stored, 4);
	assert_int_equal(told.left, 0);
}

/* -------- being there -------- */

static const char *digest_of(const char *uri)
{
	static char text[CN_CONTACTS_MAX + 1];
	struct cn_contact c = {.uri = stub_str(uri)};
	struct cn_event ev = {
			.contacts = &c, .contact_count = 1, .kind = CN_KIND_SNAPSHOT};

	cn_contacts_write(&ev, text);
	return text;
}

static void who_has_a_live_binding_is_there(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	assert_true(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
	assert_false(cn_usrloc_is_live(AOR, digest_of(CONTACT_2)));
	assert_false(cn_usrloc_is_live("other@h", digest_of(CONTACT)));
	b->expires = 0;
	assert_true(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
	b->expires = time(NULL) - 1;
	assert_false(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
	b = fake_binding(AOR, CONTACT_2, 3600); /* behind one that is not */
	assert_true(cn_usrloc_is_live(AOR, digest_of(CONTACT_2)));
}

/* It is told by who has noticed, see reg_alive.h. */
static void who_is_off_line_is_not_there_and_not_told_again(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	b->last_keepalive = CN_BINDING_GONE;
	fake_usrloc_tell(b, UL_CONTACT_DELETE);
	fake_usrloc_tell(b, UL_CONTACT_EXPIRE);
	assert_int_equal(told.left, 0);
	assert_false(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
	assert_null(cn_usrloc_snapshot(core_hash(b->aor, NULL, 0), "uloc-1"));
}

static void each_table_is_looked_at(void **state)
{
	tables[1] = fake_usrloc_table("other");
	fake_binding_in(tables[1], AOR, CONTACT, 3600);
	assert_false(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
	table_count = 2;
	assert_true(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
	table_count = 0;
	assert_false(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
}

static void where_nothing_is_in_memory_nobody_is_there(void **state)
{
	assert_true(cn_usrloc_in_memory());
	fake_usrloc.db_mode = DB_ONLY;
	cn_conf.events_expire = false;
	assert_int_equal(cn_usrloc_init(), 0);
	assert_false(cn_usrloc_in_memory());
	fake_binding(AOR, CONTACT, 3600);
	assert_false(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
}

static void who_came_here_is_told_from_who_came_elsewhere(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);
	int64_t now = time(NULL);

	b->last_modified = now;
	assert_true(cn_usrloc_came_here(AOR, digest_of(CONTACT), now - 10));
	assert_false(cn_usrloc_came_here(AOR, digest_of(CONTACT), now + 10));
	b->server_id = 2;
	assert_false(cn_usrloc_came_here(AOR, digest_of(CONTACT), now - 10));
	/* nobody can tell them apart */
	b->server_id = server_id = 0;
	assert_false(cn_usrloc_came_here(AOR, digest_of(CONTACT), now - 10));
	assert_true(cn_usrloc_is_live(AOR, digest_of(CONTACT)));
}

/* -------- one after the other -------- */

static struct
{
	unsigned hash[3000];
	char ruid[3000][24];
	int count;
} seen;

static void see(unsigned hash, const str *ruid)
{
	assert_true(seen.count < 3000);
	seen.hash[seen.count] = hash;
	snprintf(seen.ruid[seen.count++], 24, "%.*s", ruid->len, ruid->s);
}

static void add_some(void)
{
	char aor[32];
	int i;

	/* all in the same part: usrloc's own would not be */
	for(i = 0; i < 300; i++) {
		snprintf(aor, sizeof(aor), "later%d@telecom.com", i);
		fake_binding(aor, CONTACT, 3600);
	}
}

static void all_bindings_are_listed_part_by_part(void **state)
{
	char aor[32], uri[64];
	int i, k;

	memset(&seen, 0, sizeof(seen));
	for(i = 0; i < 2000; i++) {
		snprintf(aor, sizeof(aor), "%d@telecom.com", i);
		snprintf(uri, sizeof(uri), "sip:%d@10.0.0.1", i);
		fake_binding(aor, uri, 3600)->received = STR("sip:10.0.0.1:5060");
	}
	for(i = 0; i < CN_USRLOC_PARTS; i++)
		assert_int_equal(cn_usrloc_each(i, see), 0);
	assert_int_equal(seen.count, 2000);
	for(i = 0; i < seen.count; i++) {
		char ruid[24];

		snprintf(ruid, sizeof(ruid), "uloc-%d", i + 1);
		for(k = 0; k < seen.count && strcmp(seen.ruid[k], ruid) != 0; k++)
			;
		assert_true(k < seen.count);
	}
}

/* So many of one AOR that they are in one part, and do not fit at first. */
static void a_part_that_is_large_is_listed_as_a_whole(void **state)
{
	char uri[256];
	int i, part;
	str key = STR(AOR);

	part = (int)(core_hash(&key, NULL, 0) % CN_USRLOC_PARTS);
	for(i = 0; i < 1500; i++) {
		snprintf(uri, sizeof(uri), "sip:%0200d@10.0.0.1", i);
		fake_binding(AOR, uri, 3600);
	}
	/* some come in while there is no room yet */
	fake_usrloc.meanwhile = add_some;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(cn_usrloc_each(part, see), 0);
	assert_true(seen.count >= 1500);
	assert_true(fake_usrloc.lists > 1);
	assert_int_equal(seen.hash[0], core_hash(&key, NULL, 0));
	fake_usrloc.list_fails = true;
	assert_int_equal(cn_usrloc_each(part, see), -1);
}

static void those_of_one_aor_are_listed_however_it_is_written(void **state)
{
	static const char *const names[] = {"sip:" AOR, "sips:" AOR, "SIP:" AOR,
			"tel:" AOR, AOR, "GZJ@Telecom.com"};
	size_t i;

	fake_binding(AOR, CONTACT, 3600);
	fake_binding(AOR, CONTACT_2, -1);
	fake_binding("other@telecom.com", CONTACT, 3600);
	for(i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memset(&seen, 0, sizeof(seen));
		cn_usrloc_each_of(names[i], see);
		assert_int_equal(seen.count, 2);
		assert_string_equal(seen.ruid[0], "uloc-1");
	}
	settings.case_sensitive = 1;
	memset(&seen, 0, sizeof(seen));
	cn_usrloc_each_of("GZJ@Telecom.com", see);
	assert_int_equal(seen.count, 0);
	cn_usrloc_each_of("sip:bad@telecom.com", see); /* as it is */
	assert_int_equal(seen.count, 0);
	/* without domains the user alone */
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_usrloc_init(), 0);
	fake_binding("gzj", CONTACT, 3600);
	cn_usrloc_each_of("gzj@anywhere", see);
	assert_int_equal(seen.count, 1);
	cn_usrloc_each_of("gzj", see);
	assert_int_equal(seen.count, 2);
	cn_usrloc_each_of("sip:gzj@anywhere", see);
	assert_int_equal(seen.count, 3);
}

static struct cn_event *snapshot(const ucontact_t *b)
{
	char ruid[32];

	snprintf(ruid, sizeof(ruid), "%.*s", b->ruid.len, b->ruid.s);
	return cn_usrloc_snapshot(core_hash(b->aor, NULL, 0), ruid);
}

static void a_binding_is_shown_as_it_is_now(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);
	struct cn_event *ev = snapshot(b);

	assert_non_null(ev);
	look_at(ev);
	assert_int_equal(told.kind, CN_KIND_SNAPSHOT);
	assert_string_equal(told.aor, "sip:" AOR);
	assert_string_equal(told.uri, CONTACT);
	assert_in_range(told.expires, 3590, 3600);
	assert_int_equal(strlen(told.id), CN_ID_LEN);
	b->expires = 0;
	ev = snapshot(b);
	fake_binding_remove(b); /* it is a copy */
	look_at(ev);
	assert_int_equal(told.expires, INT_MAX);
	assert_string_equal(told.uri, CONTACT);
}

static void who_is_not_live_or_not_ours_is_not_shown(void **state)
{
	ucontact_t *b = fake_binding(AOR, CONTACT, 3600);

	assert_null(cn_usrloc_snapshot(core_hash(b->aor, NULL, 0), "uloc-77"));
	assert_null(cn_usrloc_snapshot(core_hash(b->aor, NULL, 0) + 1, "uloc-1"));
	b->server_id = 2;
	assert_null(snapshot(b));
	b->server_id = 1;
	b->expires = time(NULL) - 1;
	assert_null(snapshot(b));
	b->expires = time(NULL) + 100;
	assert_non_null(snapshot(b));
	/* in the second table */
	tables[0] = fake_usrloc_table("other");
	assert_null(snapshot(b));
	tables[1] = fake_usrloc_table("location");
	table_count = 2;
	assert_non_null(snapshot(b));
}

/* -------- start -------- */

static void without_what_it_needs_it_does_not_start(void **state)
{
	fake_param_remove("usrloc", "db_load");
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "usrloc has no parameter db_load");
	fake_param("usrloc", "db_load", PARAM_INT, &db_load);
	fake_param_remove("usrloc", "handle_lost_tcp");
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "handle_lost_tcp");
	fake_param("usrloc", "handle_lost_tcp", PARAM_INT, &handle_lost_tcp);
	fake_usrloc.listen_fails = true;
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "cannot listen to usrloc");
	fake_usrloc.bind_fails = true;
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "load usrloc.so before cms_notify.so");
	fake_module_remove("usrloc");
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "load usrloc.so before cms_notify.so");
}

static void what_usrloc_does_not_say_cannot_be_told(void **state)
{
	fake_usrloc.db_mode = DB_ONLY;
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "db_mode 3 and use_domain");
	cn_conf.events_expire = false;
	assert_int_equal(cn_usrloc_init(), 0);
	cn_conf.events_expire = true;
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_usrloc_init(), 0);
}

static void what_usrloc_keeps_is_told_from_its_table(void **state)
{
	fake_usrloc_end();
	fake_usrloc_start();
	fake_usrloc.db_mode = DB_ONLY;
	keeps_expired = true;
	assert_int_equal(cn_usrloc_init(), 0);
	assert_int_equal(fake_usrloc_types(), UL_CONTACT_DELETE);
}

static void who_waits_for_the_database_needs_processes(void **state)
{
	static const struct
	{
		int db_mode, verdict_processes;
		bool warned;
	} rows[] = {{NO_DB, 0, false}, {WRITE_BACK, 0, false},
			{WRITE_THROUGH, 0, true}, {DB_ONLY, 0, true},
			{WRITE_THROUGH, 1, false}, {DB_ONLY, 2, false}};
	size_t i;

	cn_conf.events_unregister = cn_conf.events_expire = false;
	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		stub_clear_log();
		fake_usrloc.db_mode = rows[i].db_mode;
		cn_conf.verdict_processes = rows[i].verdict_processes;
		assert_int_equal(cn_usrloc_init(), 0);
		assert_true((strstr(stub_log(), "set verdict_processes") != NULL)
					== rows[i].warned);
	}
	cn_conf.verdict_processes = 0;
}

static void servers_that_replicate_need_names(void **state)
{
	fake_module("dmq_usrloc");
	assert_int_equal(cn_usrloc_init(), 0);
	server_id = 0;
	assert_int_equal(cn_usrloc_init(), -1);
	assert_logged("ERROR", "each server must have a server_id");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(who_is_purged_or_deleted_has_left),
			TEST(what_was_deleted_has_left_once),
			TEST(what_cannot_be_told_is_in_the_log),
			TEST(the_operator_chooses_what_is_told),
			TEST(usrloc_is_listened_to_for_what_is_told),
			TEST(another_servers_binding_is_its_business),
			TEST(what_is_shared_is_told_by_who_deletes_it),
			TEST(a_lost_connection_is_expiry),
			TEST(all_that_a_binding_tells_is_told),
			TEST(it_is_told_how_many_are_left),
			TEST(what_it_does_not_tell_stays_empty),
			TEST(the_domain_is_behind_the_last_at),
			TEST(a_long_aor_is_cut_and_nothing_is_overwritten),
			TEST(what_has_a_row_of_usrlocs_is_told_after_the_start),
			TEST(what_has_none_is_stored),
			TEST(who_has_a_live_binding_is_there),
			TEST(who_is_off_line_is_not_there_and_not_told_again),
			TEST(each_table_is_looked_at),
			TEST(where_nothing_is_in_memory_nobody_is_there),
			TEST(who_came_here_is_told_from_who_came_elsewhere),
			TEST(all_bindings_are_listed_part_by_part),
			TEST(a_part_that_is_large_is_listed_as_a_whole),
			TEST(those_of_one_aor_are_listed_however_it_is_written),
			TEST(a_binding_is_shown_as_it_is_now),
			TEST(who_is_not_live_or_not_ours_is_not_shown),
			TEST(without_what_it_needs_it_does_not_start),
			TEST(what_usrloc_does_not_say_cannot_be_told),
			TEST(what_usrloc_keeps_is_told_from_its_table),
			TEST(who_waits_for_the_database_needs_processes),
			TEST(servers_that_replicate_need_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
