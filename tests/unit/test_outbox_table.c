/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The table of the outbox and its connection, on a database in memory. */

#include <inttypes.h>

#include "stubs.h"

#include "base_conf.h"
#include "fake_db.h"
#include "outbox_db.h"
#include "outbox_table.h"

#define TABLE_VERSION 2

struct cn_conf cn_conf;

static const char *const engines[] = {
		"sqlite:///outbox.sqlite", "postgres://db/cms", "mysql://db/cms"};
#define ENGINES 3
#define SQLITE engines[0]
#define POSTGRES engines[1]
#define MYSQL engines[2]

/* -------- rows -------- */

static struct cn_row make_row(int64_t seq)
{
	struct cn_row row = {.seq = seq,
			.contacts = "0123456789abcdef0123456789abcdef",
			.state = CN_ROW_WAITING,
			.kind = CN_KIND_REGISTER,
			.reason = CN_REASON_NEW,
			.created_us = 1795588330000000 + seq,
			.attempts = 3,
			.cause = CN_CAUSE_timeout,
			.status = 503};

	snprintf(row.id, sizeof(row.id), "%032" PRIx64, (uint64_t)seq);
	return row;
}

static const char aor[] = "gzj@telecom.com";

static int insert(int64_t seq, enum cn_row_state state)
{
	struct cn_row row = make_row(seq);
	str body = STR("{\"version\":1}");

	row.state = state;
	return cn_table_insert(aor, &row, &body);
}

/* What has been read. */
static struct
{
	struct cn_row rows[4096];
	char aors[4096][CN_ROW_AOR_MAX + 1];
	int count;
	int most; /* then it ends it */
} got;

static int keep(const char *whose, const struct cn_row *row)
{
	assert_true(got.count < 4096);
	strcpy(got.aors[got.count], whose);
	got.rows[got.count++] = *row;
	return got.count == got.most ? -1 : 0;
}

static int load(void)
{
	got.count = 0;
	return cn_table_load(keep);
}

static int load_elsewhere(int64_t after)
{
	got.count = 0;
	return cn_table_load_elsewhere(keep, after);
}

/* -------- each test: a server with this engine, connected -------- */

static int64_t lease;

static int connect_as(const char *url, const char *node)
{
	cn_conf.outbox_db_url = (char *)url;
	cn_conf.outbox_table = FAKE_TABLE;
	cn_conf.node = (char *)node;
	lease = -1;
	return cn_table_init() < 0 || cn_table_open(2000, true, &lease) < 0 ? -1
																		: 0;
}

static void begin_with(const char *url)
{
	cn_db_close();
	fake_db_start(TABLE_VERSION);
	assert_int_equal(connect_as(url, "sip1"), 0);
	assert_true(cn_db_is_open());
}

static int end(void **state)
{
	cn_db_close();
	assert_false(cn_db_is_open());
	assert_int_equal(fake_db.connections, 0);
	assert_int_equal(fake_db.results, 0);
	fake_db_end();
	stub_clear_log();
	got.most = 0;
	return 0;
}

/* Rows of another server, with its lock or without; who asks has to be
 * connected. @return who owns them */
static int64_t rows_of(const char *node, int64_t from, int count)
{
	const char *url = cn_conf.outbox_db_url;
	int64_t owner, i;
	char id[33];

	cn_db_close();
	assert_int_equal(connect_as(url, node), 0);
	for(i = from; i < from + count; i++)
		assert_int_equal(insert(i, CN_ROW_WAITING), 0);
	snprintf(id, sizeof(id), "%032" PRIx64, (uint64_t)from);
	owner = strtoll(fake_db_value(id, "owner"), NULL, 10);
	cn_db_close();
	assert_int_equal(connect_as(url, "sip1"), 0);
	return owner;
}

/* -------- what is written is read -------- */

static void assert_same(const struct cn_row *a, const struct cn_row *b)
{
	assert_int_equal(a->seq, b->seq);
	assert_string_equal(a->id, b->id);
	assert_string_equal(a->contacts, b->contacts);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->reason, b->reason);
	assert_int_equal(a->created_us, b->created_us);
	assert_int_equal(a->attempts, b->attempts);
	assert_int_equal(a->cause, b->cause);
	assert_int_equal(a->status, b->status);
}

static void write_and_read(void)
{
	struct cn_row rows[32];
	str body = STR("{}");
	int i;

	for(i = 0; i < 32; i++) {
		rows[i] = make_row(INT64_C(7130000000000000) + i);
		rows[i].state = i % 3;
		rows[i].kind = i % (CN_KIND_SNAPSHOT + 1);
		rows[i].reason = i % (CN_REASON_MOVED + 1);
		rows[i].cause = i % CN_CAUSE_COUNT;
		rows[i].attempts = i;
		rows[i].status = i * 100;
		assert_int_equal(cn_table_insert(aor, &rows[i], &body), 0);
	}
	assert_int_equal(load(), 0);
	assert_int_equal(got.count, 32);
	for(i = 0; i < 32; i++) {
		assert_string_equal(got.aors[i], aor);
		assert_same(&got.rows[i], &rows[i]);
		assert_false(got.rows[i].taken);
		assert_false(got.rows[i].doomed);
	}
}

static void what_is_written_is_read_as_it_was(void **state)
{
	static const db_type_t texts[] = {DB1_STRING, DB1_STR, DB1_BLOB};
	static const db_type_t numbers[] = {DB1_BIGINT, DB1_DOUBLE, DB1_UBIGINT};
	int i;

	for(i = 0; i < ENGINES; i++) {
		begin_with(engines[i]);
		fake_db.text_type = texts[i];
		fake_db.number_type = numbers[i];
		write_and_read();
	}
}

static void a_text_from_the_table_never_is_too_long(void **state)
{
	char text[1024];

	begin_with(SQLITE);
	memset(text, 'a', sizeof(text));
	text[1000] = '\0';
	assert_int_equal(insert(1, CN_ROW_WAITING), 0);
	fake_db_set("00000000000000000000000000000001", "aor", text);
	fake_db_set("00000000000000000000000000000001", "contacts", text);
	fake_db_set("00000000000000000000000000000001", "cause", text);
	fake_db_set("00000000000000000000000000000001", "event", NULL);
	assert_int_equal(load(), 0);
	assert_int_equal(got.count, 1);
	assert_int_equal(strlen(got.aors[0]), CN_ROW_AOR_MAX);
	assert_int_equal(strlen(got.rows[0].contacts), CN_CONTACTS_MAX);
	/* what is not known is the first that there is */
	assert_int_equal(got.rows[0].cause, CN_CAUSE_none);
	assert_int_equal(got.rows[0].kind, CN_KIND_REGISTER);
}

/* A page has 1,000 rows, and all with the number at its end. */
static void all_rows_are_read_page_by_page_in_order(void **state)
{
	str body = STR("{}");
	int64_t last = -1;
	int i, n = 0;

	begin_with(POSTGRES);
	for(i = 2400; i > 0; i--) {
		struct cn_row row = make_row(i);

		/* 1,200 of them have the number of which the first page has a part */
		row.seq = i < 500 ? i : i < 1700 ? 500 : i;
		assert_int_equal(cn_table_insert(aor, &row, &body), 0);
	}
	assert_int_equal(load(), 0);
	assert_int_equal(got.count, 2400);
	for(i = 0; i < 2400; i++) {
		assert_true(got.rows[i].seq >= last);
		last = got.rows[i].seq;
		n += last == 500;
	}
	assert_int_equal(n, 1200);
}

static void reading_ends_when_the_reader_wants_it(void **state)
{
	int i;

	begin_with(SQLITE);
	for(i = 1; i <= 10; i++)
		assert_int_equal(insert(i, CN_ROW_WAITING), 0);
	got.most = 4;
	assert_int_equal(load(), -1);
	assert_int_equal(got.count, 4);
	assert_int_equal(fake_db.results, 0);
	assert_true(cn_db_is_open()); /* nothing is wrong with it */
}

/* It becomes a part of statements. */
static void an_id_that_is_not_ours_is_not_used(void **state)
{
	begin_with(SQLITE);
	assert_int_equal(insert(1, CN_ROW_WAITING), 0);
	fake_db_set("x' OR '1'='1", "seq", "2");
	fake_db_set("x' OR '1'='1", "owner",
			fake_db_value("00000000000000000000000000000001", "owner"));
	fake_db_set("x' OR '1'='1", "state", "0");
	assert_int_equal(insert(3, CN_ROW_WAITING), 0);
	assert_int_equal(load(), 0);
	assert_int_equal(got.count, 2);
	assert_int_equal(got.rows[1].seq, 3);
	assert_logged("ERROR", "event_id that is not ours");
}

static void a_row_of_another_node_is_known_as_such(void **state)
{
	begin_with(SQLITE);
	assert_int_equal(insert(1, CN_ROW_WAITING), 0);
	assert_int_equal(insert(2, CN_ROW_WAITING), 0);
	fake_db_set("00000000000000000000000000000002", "node", "sip2");
	assert_int_equal(load(), 0);
	assert_false(got.rows[0].taken);
	assert_true(got.rows[1].taken);
}

/* -------- changes -------- */

static void an_update_is_of_one_row_and_of_what_changes(void **state)
{
	struct cn_row row = make_row(2), other = make_row(1), changed;

	begin_with(MYSQL);
	assert_int_equal(insert(1, CN_ROW_WAITING), 0);
	assert_int_equal(insert(2, CN_ROW_WAITING), 0);
	changed = row;
	changed.state = CN_ROW_DEAD;
	changed.created_us = 5;
	changed.attempts = 9;
	changed.cause = CN_CAUSE_too_big;
	changed.status = 200;
	strcpy(changed.contacts, "something else");
	changed.kind = CN_KIND_EXPIRE;
	changed.reason = CN_REASON_MOVED;
	assert_int_equal(cn_table_update(&changed), 0);
	assert_int_equal(load(), 0);
	assert_int_equal(got.count, 2);
	assert_same(&got.rows[0], &other);
	strcpy(changed.contacts, row.contacts);
	changed.kind = row.kind;
	changed.reason = row.reason;
	assert_same(&got.rows[1], &changed);
}

#define MANY 250

static struct cn_row many[MANY];
static struct cn_row *all[MANY];

static void insert_many(void)
{
	int i;

	for(i = 0; i < MANY; i++) {
		str body = {(char *)&i, sizeof(i)}; /* any bytes */

		many[i] = make_row(i + 1);
		all[i] = &many[i];
		assert_int_equal(cn_table_insert(aor, &many[i], &body), 0);
	}
}

static void any_number_of_rows_is_deleted_and_no_other(void **state)
{
	static const int counts[] = {0, 1, 100, 101, 249, 250};
	size_t i;

	for(i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		begin_with(engines[i % ENGINES]);
		insert_many();
		assert_int_equal(cn_table_delete(all, counts[i]), 0);
		assert_int_equal(load(), 0);
		assert_int_equal(got.count, MANY - counts[i]);
		if(got.count > 0)
			assert_int_equal(got.rows[0].seq, counts[i] + 1);
	}
}

static bool has_body[MANY];

static void see_body(struct cn_row *row, const str *body)
{
	int i = (int)(row - many);

	assert_false(has_body[i]);
	assert_int_equal(body->len, sizeof(i));
	assert_memory_equal(body->s, &i, sizeof(i));
	has_body[i] = true;
}

static void bodies_are_those_of_rows_that_are_there_and_ours(void **state)
{
	int i, n = 0;

	begin_with(POSTGRES);
	insert_many();
	memset(has_body, 0, sizeof(has_body));
	assert_int_equal(cn_table_delete(&all[7], 1), 0);
	fake_db_set(many[120].id, "owner", "4711");
	fake_db_set(many[199].id, "body", NULL);
	assert_int_equal(cn_table_bodies(all, MANY, see_body), 0);
	for(i = 0; i < MANY; i++)
		n += has_body[i];
	assert_int_equal(n, MANY - 3);
	assert_false(has_body[7] || has_body[120] || has_body[199]);
}

/* -------- the lease -------- */

static void the_lease_is_known_at_the_next_start(void **state)
{
	int i;

	for(i = 0; i < ENGINES; i++) {
		begin_with(engines[i]);
		assert_int_equal(lease, 0);
		assert_int_equal(cn_table_set_lease(1000), 0);
		assert_int_equal(cn_table_set_lease(2000), 0);
		assert_int_equal(fake_db_rows(), 1); /* and no second row */
		cn_db_close();
		assert_int_equal(connect_as(engines[i], "sip1"), 0);
		assert_int_equal(lease, 2000);
		assert_int_equal(load(), 0);
		assert_int_equal(got.count, 0); /* it is no event */
		assert_nothing_logged();
		assert_int_equal(insert(2500, CN_ROW_WAITING), 0);
		cn_db_close();
		assert_int_equal(connect_as(engines[i], "sip1"), 0);
		assert_int_equal(lease, 2500);
	}
}

/* Its clock is its own, and may be behind: where its numbers end is not known. */
static void the_lease_of_another_server_is_its_own(void **state)
{
	int i;

	for(i = 1; i < ENGINES; i++) {
		begin_with(engines[i]);
		assert_int_equal(cn_table_set_lease(2000), 0);
		assert_int_equal(insert(1500, CN_ROW_WAITING), 0);
		cn_db_close();
		assert_int_equal(connect_as(engines[i], "sip2"), 0);
		assert_int_equal(lease, 1500); /* but what it has stored counts */
	}
}

/* -------- whose rows these are -------- */

static void with_sqlite_all_rows_are_ours_whatever_the_node(void **state)
{
	begin_with(SQLITE);
	assert_false(cn_db_is_shared());
	assert_int_equal(insert(1, CN_ROW_WAITING), 0);
	assert_int_equal(insert(2, CN_ROW_WAITING), 0);
	cn_db_close();
	assert_nothing_logged();
	assert_int_equal(connect_as(SQLITE, "renamed"), 0);
	assert_logged("NOTICE", "2 rows of the outbox were another node's before");
	assert_int_equal(load(), 0);
	assert_int_equal(got.count, 2);
	assert_true(got.rows[0].taken);
}

static void where_servers_share_it_rows_are_of_their_node(void **state)
{
	int i;

	for(i = 1; i < ENGINES; i++) {
		begin_with(engines[i]);
		assert_true(cn_db_is_shared());
		rows_of("sip2", 100, 5);
		assert_int_equal(insert(1, CN_ROW_WAITING), 0);
		assert_int_equal(load(), 0);
		assert_int_equal(got.count, 1);
		assert_int_equal(got.rows[0].seq, 1);
		/* what waits there, and is newer than what is known already */
		fake_db_set("00000000000000000000000000000065", "state", "1");
		assert_int_equal(load_elsewhere(-1), 0);
		assert_int_equal(got.count, 4);
		assert_int_equal(load_elsewhere(102), 0);
		assert_int_equal(got.count, 2);
		assert_int_equal(got.rows[0].seq, 103);
	}
}

static void a_second_server_of_the_same_node_does_not_use_it(void **state)
{
	int64_t owner;
	int i;

	for(i = 1; i < ENGINES; i++) {
		begin_with(engines[i]);
		owner = rows_of("twin", 1, 1);
		fake_db_lock(owner, true);
		cn_db_close();
		assert_int_equal(connect_as(engines[i], "twin"), -1);
		assert_false(cn_db_is_open());
		assert_logged("ERROR", "another server is connected as node \"twin\"");
		/* without owning the rows, as while the server stops */
		assert_int_equal(cn_table_open(500, false, &lease), 0);
		assert_int_equal(lease, 1);
		cn_db_close();
		fake_db_lock(owner, false);
		assert_int_equal(cn_table_open(2000, true, &lease), 0);
		assert_true(fake_db_is_locked(owner));
	}
}

static void rows_of_a_dead_server_are_taken_over_and_of_no_other(void **state)
{
	int64_t dead, alive;
	int i;

	for(i = 1; i < ENGINES; i++) {
		begin_with(engines[i]);
		dead = rows_of("dead", 100, 3);
		alive = rows_of("alive", 200, 2);
		fake_db_lock(alive, true);
		fake_db_set("server:dead", "seq", "900");
		fake_db_set("server:dead", "owner",
				fake_db_value("00000000000000000000000000000064", "owner"));
		fake_db_set("server:dead", "state", "3");
		assert_int_equal(cn_table_take_over(), 3);
		assert_false(fake_db_is_locked(dead)); /* it may come back */
		assert_int_equal(load(), 0);
		assert_int_equal(got.count, 3);
		assert_true(got.rows[0].taken);
		assert_int_equal(load_elsewhere(-1), 0);
		assert_int_equal(got.count, 2);
		/* its lease stays its own */
		assert_int_equal(
				strtoll(fake_db_value("server:dead", "owner"), NULL, 10), dead);
		assert_int_equal(cn_table_take_over(), 0);
	}
}

static void a_hundred_dead_servers_are_taken_over(void **state)
{
	char id[33], owner[16];
	int i, n, sum = 0;

	begin_with(POSTGRES);
	for(i = 1; i <= 100; i++) {
		snprintf(id, sizeof(id), "%032x", i);
		snprintf(owner, sizeof(owner), "%d", i);
		assert_int_equal(insert(i, CN_ROW_WAITING), 0);
		fake_db_set(id, "owner", owner);
	}
	while((n = cn_table_take_over()) > 0)
		sum += n;
	assert_int_equal(n, 0);
	assert_int_equal(sum, 100);
}

/* -------- connecting -------- */

static void each_engine_is_told_how_long_it_may_take(void **state)
{
	begin_with(SQLITE);
	assert_true(fake_db_was_asked("PRAGMA busy_timeout = 2000"));
	cn_db_set_limit(200);
	assert_true(fake_db_was_asked("PRAGMA busy_timeout = 200"));
	begin_with(POSTGRES);
	assert_true(fake_db_was_asked("SET statement_timeout = 2000"));
	assert_true(fake_db_was_asked("SET synchronous_commit = on"));
	assert_true(fake_db_was_asked("SET tcp_keepalives_idle = 1"));
	assert_true(fake_db_was_asked("SET tcp_keepalives_interval = 1"));
	assert_true(fake_db_was_asked("SET tcp_keepalives_count = 2"));
	assert_true(fake_db_was_asked("SELECT set_config(name, '3000', false)"));
	begin_with(MYSQL);
	assert_true(fake_db_was_asked("SET SESSION innodb_lock_wait_timeout = 2,"
								  " SESSION wait_timeout = 8"));
	cn_db_set_limit(200); /* whole seconds, and not none */
	assert_true(fake_db_was_asked("SET SESSION innodb_lock_wait_timeout = 1,"));
}

static void a_limit_that_cannot_be_set_closes_it(void **state)
{
	begin_with(POSTGRES);
	fake_db_fail_at(2, FAKE_ERROR);
	cn_db_set_limit(200);
	assert_false(cn_db_is_open());
	cn_db_set_limit(200); /* nobody to tell */
	assert_false(cn_db_is_open());
}

static void the_connection_is_its_own_where_the_driver_can(void **state)
{
	begin_with(POSTGRES); /* the fake sees to it that it is */
	cn_db_close();
	fake_db.has_init2 = false;
	assert_int_equal(connect_as(SQLITE, "sip1"), 0);
}

static void a_table_of_another_version_is_not_used(void **state)
{
	begin_with(SQLITE);
	cn_db_close();
	fake_db.version = 1;
	assert_int_equal(cn_table_open(2000, true, &lease), -1);
	assert_false(cn_db_is_open());
	assert_logged("ERROR", "outbox_table " FAKE_TABLE " cannot be used");
}

static void a_database_without_module_is_refused_at_the_start(void **state)
{
	fake_db_start(TABLE_VERSION);
	fake_db_fail_at(1, FAKE_ERROR);
	assert_int_equal(connect_as(SQLITE, "sip1"), -1);
	assert_logged("ERROR", "load its database module");
	fake_db.capabilities &= ~DB_CAP_RAW_QUERY;
	assert_int_equal(connect_as(SQLITE, "sip1"), -1);
	assert_logged("ERROR", "understands SQL");
	assert_false(cn_db_is_open());
}

static void who_is_not_connected_gets_an_error(void **state)
{
	struct cn_row row = make_row(1), *rows[] = {&row};
	str body = STR("{}");
	int before;

	begin_with(POSTGRES);
	cn_db_close();
	cn_db_close(); /* twice is allowed */
	before = fake_db.operations;
	assert_int_equal(cn_db_begin(), -1);
	assert_int_equal(cn_db_commit(), -1);
	assert_int_equal(cn_table_insert(aor, &row, &body), -1);
	assert_int_equal(cn_table_update(&row), -1);
	assert_int_equal(cn_table_delete(rows, 1), -1);
	assert_int_equal(cn_table_bodies(rows, 1, see_body), -1);
	assert_int_equal(cn_table_set_lease(1), -1);
	assert_int_equal(cn_table_take_over(), -1);
	assert_int_equal(load(), -1);
	assert_int_equal(load_elsewhere(-1), -1);
	assert_int_equal(fake_db.operations, before);
}

/* -------- transactions -------- */

static void a_transaction_is_all_or_nothing(void **state)
{
	int i;

	for(i = 0; i < ENGINES; i++) {
		begin_with(engines[i]);
		assert_int_equal(cn_db_begin(), 0);
		assert_int_equal(insert(1, CN_ROW_WAITING), 0);
		assert_int_equal(cn_table_set_lease(10), 0);
		assert_int_equal(fake_db_rows(), 0);
		cn_db_close();
		assert_int_equal(fake_db_rows(), 0);
		assert_int_equal(connect_as(engines[i], "sip1"), 0);
		assert_int_equal(cn_db_begin(), 0);
		assert_int_equal(insert(1, CN_ROW_WAITING), 0);
		assert_int_equal(cn_table_set_lease(10), 0);
		assert_int_equal(cn_db_commit(), 0);
		assert_int_equal(fake_db_rows(), 2);
		cn_db_close();
		assert_int_equal(fake_db_rows(), 2);
	}
}

/* Everything that there is in one transaction. */
static int change_all(void)
{
	struct cn_row old = make_row(1), waiting = make_row(2), *rows[] = {&old};

	waiting.state = CN_ROW_DEAD;
	if(cn_db_begin() < 0 || insert(3, CN_ROW_WAITING) < 0
			|| cn_table_update(&waiting) < 0 || cn_table_delete(rows, 1) < 0
			|| cn_table_set_lease(10) < 0)
		return -1;
	return cn_db_commit();
}

static bool is_as_before(void)
{
	return fake_db_rows() == 2
		   && strcmp(fake_db_value("00000000000000000000000000000002", "state"),
					  "0")
					  == 0;
}

static bool is_as_after(void)
{
	return fake_db_rows() == 3 /* with the lease */
		   && strcmp(fake_db_value("00000000000000000000000000000002", "state"),
					  "1")
					  == 0;
}

/* The n-th operation of a transaction goes wrong, for every n.
 * @return how many there are */
static int each_fault(const char *engine, enum fake_fault fault)
{
	int n = 0, err;

	do {
		begin_with(engine);
		assert_int_equal(insert(1, CN_ROW_WAITING), 0);
		assert_int_equal(insert(2, CN_ROW_WAITING), 0);
		fake_db_fail_at(++n, fault);
		err = change_all();
		assert_int_equal(err, fake_db_has_failed() ? -1 : 0);
		assert_int_equal(cn_db_is_open(), !fake_db_has_failed());
		assert_int_equal(fake_db.results, 0);
		assert_int_equal(fake_db.connections, cn_db_is_open());
		/* what is not known after a COMMIT may be there */
		if(fake_db_has_failed() && fault == FAKE_ERROR)
			assert_true(is_as_before() || (engine != SQLITE && is_as_after()));
	} while(fake_db_has_failed());
	assert_true(is_as_after());
	return n - 1;
}

static void what_fails_in_a_transaction_changes_nothing_of_it(void **state)
{
	int i;

	for(i = 0; i < ENGINES; i++)
		assert_in_range(each_fault(engines[i], FAKE_ERROR), 7, 12);
}

static void no_result_is_a_failure(void **state)
{
	int i;

	for(i = 0; i < ENGINES; i++)
		each_fault(engines[i], FAKE_NO_RESULT);
}

/* The driver connects again in the middle: what was before is undone, what comes
 * after stands alone, and nothing of it is an error to the driver. It must not
 * be taken for stored. */
static void a_connection_that_was_lost_is_never_taken_for_whole(void **state)
{
	int i;

	for(i = 1; i < ENGINES; i++)
		assert_in_range(each_fault(engines[i], FAKE_RECONNECT), 8, 12);
}

static void what_was_lost_is_used_again_after_connecting_anew(void **state)
{
	begin_with(POSTGRES);
	assert_int_equal(insert(1, CN_ROW_WAITING), 0);
	assert_int_equal(insert(2, CN_ROW_WAITING), 0);
	fake_db_fail_at(1, FAKE_RECONNECT);
	assert_int_equal(change_all(), -1);
	assert_logged("WARNING", "connected to again");
	assert_int_equal(cn_table_open(2000, true, &lease), 0);
	assert_int_equal(change_all(), 0);
	assert_true(is_as_after());
}

/* Reading, connecting, taking over. */
static void each_fault_of(const char *engine, int (*f)(void), bool connects)
{
	int n = 0, err;

	do {
		begin_with(engine);
		rows_of("sip2", 1000, 2);
		insert_many();
		if(connects)
			cn_db_close();
		stub_clear_log();
		fake_db_fail_at(++n, FAKE_ERROR);
		err = f();
		assert_int_equal(err < 0, fake_db_has_failed());
		assert_int_equal(cn_db_is_open(), !fake_db_has_failed());
		assert_int_equal(fake_db.results, 0);
	} while(fake_db_has_failed());
	assert_true(n > 1);
}

static int open_again(void)
{
	return cn_table_open(2000, true, &lease);
}

static void no_body(struct cn_row *row, const str *body)
{
}

static int read_bodies(void)
{
	return cn_table_bodies(all, MANY, no_body);
}

static int delete_all(void)
{
	return cn_table_delete(all, MANY);
}

static int unlock_a_lock(void)
{
	int64_t mine;

	return cn_db_try_lock(4711, &mine) < 0 ? -1 : cn_db_unlock(4711);
}

static void whatever_fails_is_told_and_closes_it(void **state)
{
	int i;

	for(i = 0; i < ENGINES; i++) {
		each_fault_of(engines[i], open_again, true);
		each_fault_of(engines[i], load, false);
		each_fault_of(engines[i], read_bodies, false);
		each_fault_of(engines[i], delete_all, false);
		if(engines[i] != SQLITE) {
			each_fault_of(engines[i], cn_table_take_over, false);
			each_fault_of(engines[i], unlock_a_lock, false);
		}
	}
}

static void a_statement_that_is_too_long_is_not_made(void **state)
{
	char text[CN_SQL_MAX + 1];
	int before;

	begin_with(SQLITE);
	before = fake_db.operations;
	memset(text, ' ', CN_SQL_MAX);
	text[CN_SQL_MAX] = '\0';
	assert_null(cn_db_ask("%s", text));
	assert_false(cn_db_is_open());
	assert_int_equal(fake_db.operations, before);
	assert_logged("BUG", "statement of 8192 bytes");
}

/* -------- values -------- */

static void a_number_is_a_number_of_whatever_type(void **state)
{
	db_val_t v = {.type = DB1_INT};

	VAL_INT(&v) = -7;
	assert_int_equal(cn_db_number(&v), -7);
	VAL_TYPE(&v) = DB1_UINT;
	VAL_UINT(&v) = 4000000000u;
	assert_int_equal(cn_db_number(&v), 4000000000);
	VAL_TYPE(&v) = DB1_BIGINT;
	VAL_BIGINT(&v) = INT64_MIN;
	assert_true(cn_db_number(&v) == INT64_MIN);
	VAL_TYPE(&v) = DB1_UBIGINT;
	VAL_UBIGINT(&v) = INT64_MAX;
	assert_true(cn_db_number(&v) == INT64_MAX);
	VAL_TYPE(&v) = DB1_DOUBLE;
	VAL_DOUBLE(&v) = 4503599627370497.0;
	assert_int_equal(cn_db_number(&v), 4503599627370497);
	VAL_TYPE(&v) = DB1_STRING;
	VAL_STRING(&v) = "5";
	assert_int_equal(cn_db_number(&v), 0);
	VAL_NULL(&v) = 1;
	VAL_TYPE(&v) = DB1_INT;
	assert_int_equal(cn_db_number(&v), 0);
}

#define TEST(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_is_written_is_read_as_it_was),
			TEST(a_text_from_the_table_never_is_too_long),
			TEST(all_rows_are_read_page_by_page_in_order),
			TEST(reading_ends_when_the_reader_wants_it),
			TEST(an_id_that_is_not_ours_is_not_used),
			TEST(a_row_of_another_node_is_known_as_such),
			TEST(an_update_is_of_one_row_and_of_what_changes),
			TEST(any_number_of_rows_is_deleted_and_no_other),
			TEST(bodies_are_those_of_rows_that_are_there_and_ours),
			TEST(the_lease_is_known_at_the_next_start),
			TEST(the_lease_of_another_server_is_its_own),
			TEST(with_sqlite_all_rows_are_ours_whatever_the_node),
			TEST(where_servers_share_it_rows_are_of_their_node),
			TEST(a_second_server_of_the_same_node_does_not_use_it),
			TEST(rows_of_a_dead_server_are_taken_over_and_of_no_other),
			TEST(a_hundred_dead_servers_are_taken_over),
			TEST(each_engine_is_told_how_long_it_may_take),
			TEST(a_limit_that_cannot_be_set_closes_it),
			TEST(the_connection_is_its_own_where_the_driver_can),
			TEST(a_table_of_another_version_is_not_used),
			TEST(a_database_without_module_is_refused_at_the_start),
			TEST(who_is_not_connected_gets_an_error),
			TEST(a_transaction_is_all_or_nothing),
			TEST(what_fails_in_a_transaction_changes_nothing_of_it),
			TEST(no_result_is_a_failure),
			TEST(a_connection_that_was_lost_is_never_taken_for_whole),
			TEST(what_was_lost_is_used_again_after_connecting_anew),
			TEST(whatever_fails_is_told_and_closes_it),
			TEST(a_statement_that_is_too_long_is_not_made),
			TEST(a_number_is_a_number_of_whatever_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
