/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Bindings that run out in a table that servers share: each is stored as an event and
 * deleted, in one transaction. The table is a list here. */

#include "../../core/rand/cryptorand.h"
#include "../../lib/srdb1/db.h"

#include "events.h"

#include "base_conf.h"
#include "base_history.h"
#include "base_stats.h"
#include "job_index.h"
#include "job_number.h"
#include "outbox_batch.h"
#include "outbox_command.h"
#include "outbox_db.h"
#include "outbox_leaving.h"
#include "outbox_location.h"
#include "outbox_rows.h"
#include "outbox_table.h"
#include "reg_table.h"
#include "reg_usrloc.h"

#define BINDINGS_MAX 1200
#define AT_ONCE 100 /* in a transaction */
#define ROUND_US 50000 /* each takes as long */
#define ROUNDS 4
#define COLUMNS 12
#define CLOCK_US 1800000000000000
#define MARGIN_US 5000000

struct cn_conf cn_conf;

struct binding
{
	char ruid[16];
	char contact[64];
	char instance[64];
	int expires_s;
	int modified_s;
	bool deleted;
};

static struct
{
	struct binding bindings[BINDINGS_MAX];
	int count;
	char select[512];
	int operations, fails_at; /* of the database; 0: none */
	int results;			  /* that were not given back */
	int commits;
	bool in_transaction, closed, unshared;
	bool keeps_none;
	int stored, waiting; /* in the outbox's table, in memory */
	int64_t first_seq;
	bool full, no_memory, busy, no_body, live_in_memory;
	int noted, not_deferred;
} t;

/* -------- the database -------- */

static struct
{
	db1_res_t result;
	db_row_t rows[BINDINGS_MAX];
	db_val_t values[BINDINGS_MAX][COLUMNS];
} found;

static db1_res_t done;

static bool fails(void)
{
	return ++t.operations == t.fails_at;
}

bool cn_db_is_shared(void)
{
	return !t.unshared;
}

void cn_db_close(void)
{
	t.closed = true;
	t.in_transaction = false;
}

int cn_db_begin(void)
{
	assert_false(t.in_transaction);
	t.in_transaction = true;
	return fails() ? -1 : 0;
}

int cn_db_commit(void)
{
	assert_true(t.in_transaction);
	assert_int_equal(t.results, 0);
	t.in_transaction = false;
	t.commits++;
	return fails() ? -1 : 0;
}

int cn_db_forget(db1_res_t *result)
{
	if(result)
		t.results--;
	return result ? 0 : -1;
}

int64_t cn_db_number(const db_val_t *v)
{
	return VAL_NULL(v) ? 0 : VAL_INT(v);
}

str cn_db_str(const db_val_t *v)
{
	return VAL_NULL(v) ? STR("") : stub_str(VAL_STRING(v));
}

static void set_text(db_val_t *v, const char *text)
{
	v->type = DB1_STRING;
	v->nul = 0;
	v->val.string_val = text;
}

static void set_number(db_val_t *v, int number)
{
	v->type = DB1_INT;
	v->nul = 0;
	v->val.int_val = number;
}

/* A row of a new result, with all its columns NULL. */
static db_val_t *add_row(void)
{
	int i = found.result.n++, k;

	for(k = 0; k < COLUMNS; k++)
		found.values[i][k].nul = 1;
	found.rows[i].values = found.values[i];
	found.result.rows = found.rows;
	return found.values[i];
}

static db1_res_t *select_expired(void)
{
	db_val_t *v;
	int i;

	found.result.n = 0;
	for(i = 0; i < t.count && found.result.n < AT_ONCE; i++) {
		if(t.bindings[i].deleted)
			continue;
		v = add_row();
		set_text(&v[0], t.bindings[i].ruid);
		set_text(&v[1], "gzj");
		set_text(&v[2], "telecom.com");
		set_text(&v[3], t.bindings[i].contact);
		set_number(&v[7], 2);
	}
	return &found.result;
}

static db1_res_t *delete_binding(const char *statement)
{
	char ruid[16];
	int i;

	assert_int_equal(sscanf(statement,
							 "DELETE FROM location WHERE ruid = '%15[^']'",
							 ruid),
			1);
	for(i = 0; i < t.count; i++) {
		if(strcmp(t.bindings[i].ruid, ruid) == 0)
			t.bindings[i].deleted = true;
	}
	return &done;
}

db1_res_t *cn_db_ask(const char *format, ...)
{
	char statement[512];
	va_list args;

	va_start(args, format);
	vsnprintf(statement, sizeof(statement), format, args);
	va_end(args);
	assert_true(t.in_transaction);
	if(fails())
		return NULL;
	t.results++;
	if(strncmp(statement, "DELETE", 6) == 0)
		return delete_binding(statement);
	memcpy(t.select, statement, sizeof(statement));
	return select_expired();
}

db1_res_t *cn_db_find(const str *in, const db_key_t *columns,
		const db_val_t *values, int count, int column_count)
{
	db_val_t *v;
	int i;

	assert_str(*in, "location");
	assert_int_equal(count, 2);
	assert_str(values[0].val.str_val, "gzj");
	assert_str(values[1].val.str_val, "telecom.com");
	if(fails())
		return NULL;
	found.result.n = 0;
	for(i = 0; i < t.count; i++) {
		v = add_row();
		set_text(&v[0], "gzj");
		set_text(&v[1], "telecom.com");
		set_text(&v[2], t.bindings[i].contact);
		set_text(&v[3], t.bindings[i].instance);
		set_number(&v[4], t.bindings[i].expires_s);
		set_number(&v[5], t.bindings[i].modified_s);
	}
	t.results++;
	return &found.result;
}

/* -------- the core and the rest of the module -------- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	ts->tv_sec = 1000;
	ts->tv_nsec = (long)t.commits * ROUND_US * 1000;
	return 0;
}

unsigned int cryptorand(void)
{
	return 1;
}

bool cn_reg_table_keeps_expired(void)
{
	return !t.keeps_none;
}

const str *cn_reg_table_name(int i)
{
	static str name = str_init("location");

	return i == 0 ? &name : NULL;
}

void cn_reg_table_split(const str *key, str *username, str *domain)
{
	*username = stub_str("gzj");
	*domain = stub_str("telecom.com");
}

struct cn_event *cn_reg_table_expire(const struct cn_table_binding *row)
{
	static struct test_event event;
	struct cn_event *ev = make_event(&event);

	assert_str(row->username, "gzj");
	assert_str(row->domain, "telecom.com");
	ev->kind = CN_KIND_EXPIRE;
	event.contacts[0].uri = row->contact;
	event.contacts[0].instance = row->instance;
	return ev;
}

bool cn_usrloc_is_live(const char *aor, const char *about)
{
	return t.live_in_memory;
}

int64_t cn_index_number_event(
		const str *aor, unsigned hash, const char *contacts)
{
	return t.busy ? 0 : 1;
}

int64_t cn_number_clock_us(void)
{
	return CLOCK_US;
}

bool cn_command_has_room(const char *aor, unsigned hash)
{
	assert_string_equal(aor, "gzj@telecom.com");
	return !t.full;
}

int cn_leaving_render(const struct cn_event *ev, str *body)
{
	*body = STR("{}");
	return t.no_body ? -1 : 0;
}

void cn_leaving_fill_row(const struct cn_event *ev, struct cn_row *row)
{
	memset(row, 0, sizeof(*row));
	row->seq = ev->seq;
	row->kind = ev->kind;
}

int cn_table_insert(const char *aor, const struct cn_row *row, const str *body)
{
	assert_true(t.in_transaction);
	assert_int_equal(row->kind, CN_KIND_EXPIRE);
	assert_int_equal(row->seq, CLOCK_US - MARGIN_US + t.stored % AT_ONCE);
	t.stored++;
	return fails() ? -1 : 0;
}

struct cn_row *cn_rows_add(
		const char *aor, unsigned hash, const struct cn_row *values)
{
	static struct cn_row row;

	assert_false(t.in_transaction); /* only what is in the table */
	assert_int_equal(hash, 4711);
	row = *values;
	return t.no_memory ? NULL : &row;
}

void cn_batch_wait(struct cn_row *row)
{
	assert_true(row->stored);
	t.waiting++;
}

void cn_history_note(const str *key, enum cn_step_kind kind)
{
	assert_int_equal(kind, CN_STEP_EXPIRED);
	t.noted++;
}

void cn_stats_count(enum cn_counter counter)
{
	assert_int_equal(counter, CN_COUNTER_not_deferred);
	t.not_deferred++;
}

void cn_stats_stored(enum cn_stored what, enum cn_kind kind)
{
	assert_int_equal(what, CN_STORED_NOW);
}

/* -------- each test -------- */

static struct binding *add_binding(int i)
{
	struct binding *b = &t.bindings[t.count++];

	snprintf(b->ruid, sizeof(b->ruid), "uloc-%d", i);
	snprintf(b->contact, sizeof(b->contact), "sip:gzj@172.16.163.3:%d", i);
	return b;
}

static int left(void)
{
	int i, n = 0;

	for(i = 0; i < t.count; i++)
		n += !t.bindings[i].deleted;
	return n;
}

static int start(void **state)
{
	memset(&t, 0, sizeof(t));
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	stub_limits.timeout_ms = 4000;
	cn_conf.events_expire = true;
	stub_clear_log();
	return cn_location_init();
}

static int end(void **state)
{
	assert_int_equal(t.results, 0);
	assert_false(t.in_transaction);
	stub_clear_log();
	return 0;
}

static void who_has_run_out_is_stored_and_deleted(void **state)
{
	add_binding(7000);
	assert_int_equal(cn_location_take_expired(), 0);
	assert_int_equal(left(), 0);
	assert_int_equal(t.stored, 1);
	assert_int_equal(t.waiting, 1);
	assert_int_equal(t.noted, 1);
	assert_int_equal(t.commits, 1);
	/* other servers take others */
	assert_non_null(strstr(t.select, "FROM location WHERE expires < '"));
	assert_non_null(strstr(t.select, "FOR UPDATE SKIP LOCKED"));
	assert_nothing_logged();
}

/* What is judged now, and saved by its deadline, has not run out. */
static void it_has_been_out_for_longer_than_a_verdict_takes(void **state)
{
	time_t before = time(NULL) - 1 - MARGIN_US / 1000000;
	char text[2][64];
	struct tm tm;
	int i;

	assert_int_equal(cn_location_take_expired(), 0);
	for(i = 0; i < 2; i++) { /* the second may have ended meanwhile */
		time_t when = before + i;

		strftime(text[i], sizeof(text[i]), "expires < '%Y-%m-%d %H:%M:%S'",
				localtime_r(&when, &tm));
	}
	assert_true(strstr(t.select, text[0]) || strstr(t.select, text[1]));
}

static void all_are_taken_but_not_without_end(void **state)
{
	int i;

	for(i = 0; i < 250; i++)
		add_binding(i);
	assert_int_equal(cn_location_take_expired(), 0);
	assert_int_equal(left(), 0);
	assert_int_equal(t.waiting, 250);
	assert_int_equal(t.commits, 3);
	for(i = 250; t.count < BINDINGS_MAX; i++)
		add_binding(i);
	for(i = 0; i < BINDINGS_MAX; i++)
		t.bindings[i].deleted = false;
	t.stored = t.commits = 0;
	assert_int_equal(cn_location_take_expired(), 0);
	assert_int_equal(left(), BINDINGS_MAX - AT_ONCE * ROUNDS);
}

static void who_is_registering_here_is_passed_over(void **state)
{
	add_binding(7000);
	t.busy = true;
	assert_int_equal(cn_location_take_expired(), 0);
	assert_int_equal(left(), 1);
	assert_int_equal(t.stored + t.waiting, 0);
}

static void what_usrloc_has_not_written_is_left_alone(void **state)
{
	strcpy(add_binding(7000)->ruid, "'; DROP");
	strcpy(add_binding(7001)->ruid, "");
	assert_int_equal(cn_location_take_expired(), 0);
	assert_int_equal(left(), 2);
	assert_int_equal(t.stored, 0);
}

static void what_cannot_be_told_is_deleted_and_logged(void **state)
{
	add_binding(7000);
	t.full = true;
	assert_int_equal(cn_location_take_expired(), 0);
	assert_logged("ERROR", "not told that sip:gzj@telecom.com has left");
	stub_clear_log();
	add_binding(7001);
	t.full = false;
	t.no_body = true;
	assert_int_equal(cn_location_take_expired(), 0);
	assert_logged("ERROR", "not told that sip:gzj@telecom.com has left");
	assert_int_equal(left(), 0);
	assert_int_equal(t.stored + t.waiting, 0);
	assert_int_equal(t.not_deferred, 2);
}

static void a_database_that_fails_has_stored_nothing(void **state)
{
	int at;

	for(at = 1; at < 100; at++) {
		memset(&t, 0, sizeof(t));
		add_binding(7000);
		add_binding(7001);
		t.fails_at = at;
		if(cn_location_take_expired() == 0)
			break;
		assert_true(t.closed);
		assert_int_equal(t.waiting, 0); /* in memory */
		assert_int_equal(t.results, 0);
	}
	/* BEGIN, SELECT, two times INSERT and DELETE, COMMIT */
	assert_int_equal(at, 8);
	assert_false(t.closed);
}

static void without_memory_the_table_is_read_again(void **state)
{
	add_binding(7000);
	t.no_memory = true;
	assert_int_equal(cn_location_take_expired(), -1);
	assert_true(t.closed);
	assert_logged("ERROR", "out of memory");
}

static void usrloc_may_tell_it_itself(void **state)
{
	add_binding(7000);
	t.keeps_none = true;
	assert_int_equal(cn_location_take_expired(), 0);
	t.keeps_none = false;
	cn_conf.events_expire = false;
	assert_int_equal(cn_location_take_expired(), 0);
	assert_int_equal(t.operations, 0);
}

static void the_outbox_must_be_shared_too(void **state)
{
	t.unshared = true;
	assert_int_equal(cn_location_init(), -1);
	assert_logged("ERROR", "outbox_db_url must be that database");
	t.keeps_none = true;
	assert_int_equal(cn_location_init(), 0);
	t.keeps_none = false;
	cn_conf.events_expire = false;
	assert_int_equal(cn_location_init(), 0);
}

/* -------- who is there -------- */

static bool is_back(const char *contact, int64_t since_s)
{
	struct test_event event;
	char about[CN_CONTACTS_MAX + 1];

	make_event(&event);
	set_contact(&event.contacts[0], contact, "");
	cn_contacts_write(&event.ev, about);
	return cn_location_is_back("gzj@telecom.com", about, since_s);
}

static void who_has_registered_since_is_back(void **state)
{
	struct binding *b = add_binding(7000);

	b->expires_s = (int)time(NULL) + 3600;
	b->modified_s = 1000;
	assert_true(is_back(b->contact, 999));
	assert_false(is_back(b->contact, 1000)); /* registered before, perhaps */
	assert_false(is_back("sip:gzj@172.16.163.3:7001", 0));
	b->expires_s = 0; /* for ever */
	assert_true(is_back(b->contact, 999));
	b->expires_s = (int)time(NULL) - 1;
	assert_false(is_back(b->contact, 999));
	t.count = 0;
	assert_false(is_back(b->contact, 0));
}

static void a_database_that_fails_says_no(void **state)
{
	struct binding *b = add_binding(7000);

	b->modified_s = 1000;
	t.fails_at = 1;
	assert_false(is_back(b->contact, 0));
	assert_true(is_back(b->contact, 0));
}

static void usrlocs_memory_is_asked_where_bindings_are_there(void **state)
{
	t.keeps_none = true;
	assert_false(is_back("sip:gzj@172.16.163.3:7000", 0));
	t.live_in_memory = true;
	assert_true(is_back("sip:gzj@172.16.163.3:7000", 0));
	assert_int_equal(t.operations, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(who_has_run_out_is_stored_and_deleted),
			TEST(it_has_been_out_for_longer_than_a_verdict_takes),
			TEST(all_are_taken_but_not_without_end),
			TEST(who_is_registering_here_is_passed_over),
			TEST(what_usrloc_has_not_written_is_left_alone),
			TEST(what_cannot_be_told_is_deleted_and_logged),
			TEST(a_database_that_fails_has_stored_nothing),
			TEST(without_memory_the_table_is_read_again),
			TEST(usrloc_may_tell_it_itself),
			TEST(the_outbox_must_be_shared_too),
			TEST(who_has_registered_since_is_back),
			TEST(a_database_that_fails_says_no),
			TEST(usrlocs_memory_is_asked_where_bindings_are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
