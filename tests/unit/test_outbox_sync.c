/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The rows in memory become what the table says: with the rows and the table as
 * they are, on a database in memory, and a batch that only notes. */

#include "../../core/hashes.h"
#include "../../core/rand/cryptorand.h"

#include "fake_db.h"
#include "stubs.h"

#include "base_conf.h"
#include "job_number.h"
#include "outbox.h"
#include "outbox_batch.h"
#include "outbox_db.h"
#include "outbox_rows.h"
#include "outbox_sync.h"
#include "outbox_table.h"

struct cn_conf cn_conf;

static const char aor[] = "gzj@telecom.com";
static unsigned hash;

/* -------- the rest of the module -------- */

static struct
{
	int64_t above;
	int counted; /* rows of AORs, as everybody sees them */
	int dead;	 /* of these */
	int resets, changes, dooms, removals, waits;
} did;

unsigned int cryptorand(void)
{
	return 1;
}

void cn_number_above(int64_t seq)
{
	if(seq > did.above)
		did.above = seq;
}

void cn_outbox_count_row(unsigned of, const char *contacts, int by)
{
	assert_int_equal(of, hash);
	did.counted += by;
	did.dead += contacts[0] == '\0' ? by : 0;
}

void cn_batch_reset(void)
{
	did.resets++;
}

void cn_batch_change(struct cn_row *row)
{
	did.changes++;
}

void cn_batch_doom(struct cn_row *row)
{
	did.dooms++;
	cn_row_doom(row);
}

void cn_batch_remove(struct cn_row *row)
{
	did.removals++;
	cn_rows_remove(row);
}

void cn_batch_wait(struct cn_row *row)
{
	did.waits++;
	cn_row_set_state(row, CN_ROW_WAITING);
}

/* -------- each test -------- */

static int connect_as(const char *node)
{
	int64_t lease;

	cn_db_close();
	cn_conf.node = (char *)node;
	return cn_table_init() < 0 || cn_table_open(2000, true, &lease) < 0 ? -1
																		: 0;
}

/* Rows that a server of this name has stored. */
static void store(const char *node, int64_t from, int count, int state)
{
	str body = STR("{}");
	int64_t i;

	assert_int_equal(connect_as(node), 0);
	for(i = from; i < from + count; i++) {
		struct cn_row row = {.seq = i,
				.contacts = "0123456789abcdef0123456789abcdef",
				.state = state,
				.reason = CN_REASON_NEW};

		snprintf(row.id, sizeof(row.id), "%032llx", (long long)i);
		assert_int_equal(cn_table_insert(aor, &row, &body), 0);
	}
	assert_int_equal(connect_as("sip1"), 0);
	memset(&did, 0, sizeof(did));
}

static void delete(int64_t seq)
{
	struct cn_row row = {.seq = seq}, *rows[] = {&row};

	snprintf(row.id, sizeof(row.id), "%032llx", (long long)seq);
	assert_int_equal(cn_table_delete(rows, 1), 0);
}

static struct cn_row *find(int64_t seq)
{
	return cn_rows_find(aor, hash, seq);
}

static int load(void)
{
	cn_db_close();
	return cn_sync_load(2000);
}

static int start(void **state)
{
	str s = {(char *)aor, sizeof(aor) - 1};

	hash = core_hash(&s, NULL, 0);
	fake_db_start(2);
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.outbox_db_url = "postgres://db/cms";
	cn_conf.outbox_table = FAKE_TABLE;
	memset(&did, 0, sizeof(did));
	return connect_as("sip1");
}

static void remove_row(struct cn_row *row, void *unused)
{
	cn_rows_remove(row);
}

static int end(void **state)
{
	cn_rows_each(remove_row, NULL);
	cn_db_close();
	fake_db_end();
	stub_clear_log();
	return 0;
}

/* -------- this server's -------- */

static void what_is_found_waits_also_what_was_held(void **state)
{
	store("sip1", 1, 2, CN_ROW_WAITING);
	store("sip1", 3, 1, CN_ROW_HELD);
	store("sip1", 4, 1, CN_ROW_DEAD);
	assert_int_equal(load(), 0);
	assert_int_equal(did.resets, 1);
	assert_int_equal(did.waits, 3);
	assert_int_equal(find(3)->state, CN_ROW_WAITING);
	assert_int_equal(find(4)->state, CN_ROW_DEAD);
	assert_int_equal(did.counted, 4);
	assert_int_equal(did.dead, 1);
	assert_int_equal(did.above, 4); /* new events come after it */
}

static void what_is_known_stays_as_it_is_known(void **state)
{
	store("sip1", 1, 2, CN_ROW_WAITING);
	assert_int_equal(load(), 0);
	memset(&did, 0, sizeof(did));
	find(1)->attempts = 7;
	cn_row_set_state(find(2), CN_ROW_DEAD); /* not stored yet */
	assert_int_equal(load(), 0);
	assert_int_equal(find(1)->attempts, 7);
	assert_int_equal(find(2)->state, CN_ROW_DEAD);
	assert_int_equal(did.changes, 1); /* it is stored again */
	assert_int_equal(did.waits, 1);   /* what it replaces goes, if it has not */
	assert_int_equal(did.counted, 0);
}

static void what_is_not_there_any_more_goes(void **state)
{
	store("sip1", 1, 3, CN_ROW_WAITING);
	assert_int_equal(load(), 0);
	memset(&did, 0, sizeof(did));
	cn_row_doom(find(3));
	find(2)->sent = true; /* it is on its way: when that has ended */
	delete(1);
	delete(2);
	assert_int_equal(load(), 0);
	assert_null(find(1));
	assert_true(find(2)->doomed);
	assert_int_equal(did.removals, 1);
	/* what is there and doomed will be deleted, and does not wait */
	assert_int_equal(did.dooms, 2);
	assert_int_equal(did.waits, 0);
	assert_true(find(3)->doomed);
}

static void add(int64_t seq, enum cn_row_state state)
{
	struct cn_row row = {.seq = seq, .state = state};

	assert_non_null(cn_rows_add(aor, hash, &row));
}

/* The transaction has failed, or only its answer. */
static void what_may_be_stored_is_or_goes(void **state)
{
	store("sip1", 1, 1, CN_ROW_WAITING);
	store("sip1", 3, 1, CN_ROW_HELD);
	add(1, CN_ROW_WAITING);
	add(2, CN_ROW_WAITING);
	add(3, CN_ROW_HELD);
	add(4, CN_ROW_HELD);
	assert_int_equal(load(), 0);
	assert_true(find(1)->stored);
	assert_int_equal(did.waits, 1);
	assert_null(find(2));
	assert_true(find(3)->stored); /* its job is under way */
	assert_int_equal(find(3)->state, CN_ROW_HELD);
	assert_null(find(4));
}

static void a_failure_changes_nothing_and_closes_it(void **state)
{
	int n = 0, err;

	do {
		store("sip1", 10 * (n + 1), 1, CN_ROW_WAITING);
		cn_db_close();
		fake_db_fail_at(++n, FAKE_ERROR);
		err = cn_sync_load(2000);
		assert_int_equal(err, fake_db_has_failed() ? -1 : 0);
		assert_int_equal(cn_db_is_open(), !fake_db_has_failed());
		if(fake_db_has_failed())
			assert_int_equal(did.waits + did.removals, 0);
	} while(fake_db_has_failed());
	assert_int_equal(did.waits, n);
}

static void load_without_memory(void)
{
	int err = load();

	assert_int_equal(err, stub_has_failed() ? -1 : 0);
	assert_int_equal(cn_db_is_open(), err == 0);
	cn_rows_each(remove_row, NULL);
	stub_clear_log();
}

static void each_allocation_may_fail(void **state)
{
	store("sip1", 1, 3, CN_ROW_WAITING);
	assert_in_range(stub_each_allocation(load_without_memory), 3, 8);
}

/* -------- other servers' -------- */

/* All are read now and then, others with the latest alone: as the first look
 * does it, and each twentieth. */
static void look_at_all(void)
{
	int i;

	for(i = 0; i < 40; i++)
		assert_int_equal(cn_sync_look_elsewhere(), 0);
}

static void what_waits_elsewhere_is_known_and_left_alone(void **state)
{
	store("sip2", 100, 2, CN_ROW_WAITING);
	store("sip2", 102, 1, CN_ROW_DEAD);
	assert_int_equal(load(), 0);
	look_at_all();
	assert_int_equal(find(100)->state, CN_ROW_ELSEWHERE);
	assert_int_equal(find(101)->state, CN_ROW_ELSEWHERE);
	assert_null(find(102)); /* a dead letter keeps nobody */
	assert_int_equal(did.counted, 2);
	assert_int_equal(did.above, 102); /* by the highest of the table */
	assert_int_equal(did.waits, 0);
	assert_int_equal(cn_rows_count().waiting, 0);
	/* once is enough */
	look_at_all();
	assert_int_equal(did.counted, 2);
}

static void what_was_told_there_is_forgotten_here(void **state)
{
	store("sip2", 100, 2, CN_ROW_WAITING);
	assert_int_equal(load(), 0);
	look_at_all();
	delete(100);
	look_at_all();
	assert_null(find(100));
	assert_non_null(find(101));
	assert_int_equal(did.counted, 1);
	/* a reading of ours leaves it, too */
	assert_int_equal(load(), 0);
	assert_non_null(find(101));
	cn_row_doom(find(101)); /* something newer was accepted here */
	assert_int_equal(load(), 0);
	assert_int_equal(did.dooms, 1);
	delete(101);
	look_at_all();
	assert_non_null(find(101)); /* whoever deletes it removes it */
}

static void what_is_taken_over_waits_here(void **state)
{
	store("sip2", 100, 1, CN_ROW_WAITING);
	assert_int_equal(load(), 0);
	look_at_all();
	assert_int_equal(cn_table_take_over(), 1);
	did.above = 0;
	assert_int_equal(cn_sync_read(), 0);
	assert_int_equal(find(100)->state, CN_ROW_WAITING);
	assert_true(find(100)->taken);
	assert_int_equal(did.above, 100);
	assert_int_equal(did.waits, 1);
	assert_int_equal(did.counted, 1); /* it was counted already */
	assert_int_equal(did.dead, 0);
}

/* It waited when that server was looked at last. */
static void what_is_taken_over_may_be_dead(void **state)
{
	store("sip2", 100, 1, CN_ROW_WAITING);
	assert_int_equal(load(), 0);
	look_at_all();
	delete(100);
	store("sip2", 100, 1, CN_ROW_DEAD);
	assert_int_equal(cn_table_take_over(), 1);
	assert_int_equal(cn_sync_read(), 0);
	assert_int_equal(find(100)->state, CN_ROW_DEAD);
	assert_int_equal(did.waits, 0);
	assert_int_equal(did.dead, 1);
}

static void a_failure_elsewhere_is_told(void **state)
{
	int i;

	store("sip2", 100, 1, CN_ROW_WAITING);
	assert_int_equal(load(), 0);
	for(i = 0; i < 40; i++) { /* whichever look it is */
		if(!cn_db_is_open())
			assert_int_equal(load(), 0);
		fake_db_fail_at(1, FAKE_ERROR);
		assert_int_equal(cn_sync_look_elsewhere(), -1);
		assert_false(cn_db_is_open());
	}
	assert_int_equal(did.removals, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_is_found_waits_also_what_was_held),
			TEST(what_is_known_stays_as_it_is_known),
			TEST(what_is_not_there_any_more_goes),
			TEST(what_may_be_stored_is_or_goes),
			TEST(a_failure_changes_nothing_and_closes_it),
			TEST(each_allocation_may_fail),
			TEST(what_waits_elsewhere_is_known_and_left_alone),
			TEST(what_was_told_there_is_forgotten_here),
			TEST(what_is_taken_over_waits_here),
			TEST(what_is_taken_over_may_be_dead),
			TEST(a_failure_elsewhere_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
