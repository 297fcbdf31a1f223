/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Rows of usrloc's table, as events. */

#include "../../core/globals.h"
#include "../../core/parser/parse_uri.h"
#include "../../core/socket_info.h"

#include "../usrloc/udomain.h"

#include "fake_modules.h"
#include "fake_usrloc.h"
#include "stubs.h"

#include "base_conf.h"
#include "reg_classify.h"
#include "reg_table.h"

#define PARAM_INT (1u << 1)

struct cn_conf cn_conf;

static int delay_s;

int cn_classify_tables(struct udomain **tables, int max)
{
	static str name = str_init("location");
	static struct udomain table = {.name = &name};

	tables[0] = &table;
	return 1;
}

int parse_protohostport(str *s, sr_phostp_t *r)
{
	memset(r, 0, sizeof(*r));
	r->proto = strncmp(s->s, "tcp:", 4) == 0 ? PROTO_TCP : PROTO_UDP;
	return strchr(s->s, ':') ? 0 : -1;
}

int parse_uri(char *buf, int len, struct sip_uri *uri)
{
	memset(uri, 0, sizeof(*uri));
	uri->host = stub_str("172.16.163.3");
	uri->port_no = 7000;
	return 0;
}

char *get_valid_proto_name(unsigned short proto)
{
	return proto == PROTO_TCP ? "tcp" : "udp";
}

unsigned int cryptorand(void)
{
	return 1;
}

static int start(void **state)
{
	fake_modules_start();
	fake_usrloc_start();
	fake_usrloc.db_mode = DB_ONLY;
	delay_s = 3600;
	fake_param("usrloc", "rm_expired_delay", PARAM_INT, &delay_s);
	return cn_reg_table_init();
}

static int end(void **state)
{
	fake_usrloc_end();
	stub_clear_log();
	return 0;
}

static struct cn_table_binding a_row(void)
{
	struct cn_table_binding row;

	memset(&row, 0, sizeof(row));
	row.ruid = stub_str("uloc-1-1");
	row.username = stub_str("gzj");
	row.domain = stub_str("telecom.com");
	row.contact = stub_str("sip:gzj@172.16.163.3:7000");
	row.received = stub_str("sip:172.16.163.3:7000");
	row.call_id = stub_str("call-1");
	row.user_agent = stub_str("n/a");
	row.socket = stub_str("tcp:192.0.2.1:5060");
	row.cseq = 7;
	return row;
}

static bool is(const str *s, const char *text)
{
	return s->len == (int)strlen(text) && memcmp(s->s, text, s->len) == 0;
}

static void a_row_is_an_event(void **state)
{
	struct cn_table_binding row = a_row();
	struct cn_event *ev = cn_reg_table_expire(&row);

	assert_int_equal(ev->kind, CN_KIND_EXPIRE);
	assert_true(is(&ev->key, "gzj@telecom.com"));
	assert_true(is(&ev->aor, "sip:gzj@telecom.com"));
	assert_true(is(&ev->username, "gzj"));
	assert_true(is(&ev->domain, "telecom.com"));
	assert_true(is(&ev->call_id, "call-1"));
	assert_true(is(&ev->source_ip, "172.16.163.3"));
	assert_string_equal(ev->transport, "tcp");
	assert_int_equal(ev->cseq, 7);
	assert_int_equal(ev->live, -1);
	assert_int_equal(ev->user_agent.len, 0);
	assert_int_equal(ev->contact_count, 1);
	assert_true(is(&ev->contacts[0].uri, "sip:gzj@172.16.163.3:7000"));
	assert_int_equal(ev->contacts[0].expires, 0);
}

static void what_it_does_not_tell_stays_empty(void **state)
{
	struct cn_table_binding row = a_row();
	struct cn_event *ev;

	row.socket = row.received = (str){NULL, 0};
	ev = cn_reg_table_expire(&row);
	assert_null(ev->transport);
	assert_int_equal(ev->source_ip.len, 0);
	row.socket = stub_str("nonsense");
	assert_null(cn_reg_table_expire(&row)->transport);
}

static void without_use_domain_the_user_is_the_aor(void **state)
{
	struct cn_table_binding row = a_row();
	str key = stub_str("gzj@telecom.com"), username, domain;

	cn_reg_table_split(&key, &username, &domain);
	assert_true(is(&username, "gzj") && is(&domain, "telecom.com"));
	fake_usrloc.use_domain = 0;
	assert_int_equal(cn_reg_table_init(), 0);
	assert_true(is(&cn_reg_table_expire(&row)->key, "gzj"));
	key = stub_str("gzj");
	cn_reg_table_split(&key, &username, &domain);
	assert_true(is(&username, "gzj") && domain.len == 0);
}

static void it_is_told_from_the_table_when_usrloc_leaves_it_there(void **state)
{
	assert_true(cn_reg_table_keeps_expired());
	delay_s = 0;
	assert_false(cn_reg_table_keeps_expired());
	delay_s = 60;
	fake_usrloc.db_mode = WRITE_BACK;
	assert_int_equal(cn_reg_table_init(), 0);
	assert_false(cn_reg_table_keeps_expired());
	assert_true(is(cn_reg_table_name(0), "location"));
	assert_null(cn_reg_table_name(1));
	fake_usrloc.bind_fails = true;
	assert_int_equal(cn_reg_table_init(), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_row_is_an_event),
			TEST(what_it_does_not_tell_stays_empty),
			TEST(without_use_domain_the_user_is_the_aor),
			TEST(it_is_told_from_the_table_when_usrloc_leaves_it_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
