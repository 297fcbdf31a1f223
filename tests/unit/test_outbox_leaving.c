/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Who leaves while the server stops is stored by the main process, in a
 * database in memory. */

#include "../../core/fmsg.h"
#include "../../core/rand/cryptorand.h"

#include "events.h"
#include "fake_db.h"

#include "base_body.h"
#include "base_conf.h"
#include "base_stats.h"
#include "base_stop.h"
#include "job_number.h"
#include "job_ring.h"
#include "outbox.h"
#include "outbox_leaving.h"
#include "outbox_table.h"

struct cn_conf cn_conf;

/* -------- the clock, the core and the rest of the module -------- */

static int64_t now_us = 1000000000;
static int64_t each_look_us; /* how long everything takes */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	now_us += each_look_us;
	ts->tv_sec = now_us / 1000000;
	ts->tv_nsec = now_us % 1000000 * 1000;
	return 0;
}

unsigned int cryptorand(void)
{
	return 1;
}

static int faked_result, render_result;
static struct sip_msg message;

int faked_msg_init(void)
{
	return faked_result;
}

struct sip_msg *faked_msg_next(void)
{
	return &message;
}

static const struct cn_event *shown;

static void show(const struct cn_event *ev)
{
	shown = ev;
}

int cn_body_render(struct sip_msg *msg, const struct cn_event *ev, str *body)
{
	static char text[64];

	assert_ptr_equal(msg, &message);
	assert_ptr_equal(shown, ev); /* $cms(...) shows it meanwhile */
	snprintf(text, sizeof(text), "{\"seq\":%lld}", (long long)ev->seq);
	*body = stub_str(text);
	return render_result;
}

int cn_conf_capacity(void)
{
	return 8;
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return 0;
}

/* -------- each test -------- */

static struct test_event event;

static struct cn_event *leaving(int i)
{
	struct cn_event *ev = make_event(&event);

	snprintf(ev->id, sizeof(ev->id), "%032x", i);
	ev->kind = CN_KIND_EXPIRE;
	ev->reason = CN_REASON_NONE;
	return ev;
}

static const char *stored(int i, const char *column)
{
	char id[33];

	snprintf(id, sizeof(id), "%032x", i);
	return fake_db_value(id, column);
}

static int start(void **state)
{
	fake_db_start(2);
	memset(&cn_conf, 0, sizeof(cn_conf));
	memset(&stub_limits, 0, sizeof(stub_limits));
	cn_conf.outbox_db_url = "postgres://db/cms";
	cn_conf.outbox_table = FAKE_TABLE;
	cn_conf.node = "sip1";
	cn_conf.outbox_max = 100;
	stub_limits.timeout_ms = 4000;
	each_look_us = 0;
	faked_result = render_result = 0;
	now_us += 100000000; /* another server's end */
	return cn_job_init(8) < 0 || cn_number_init() < 0 || cn_outbox_init() < 0
						   || cn_table_init() < 0
				   ? -1
				   : cn_leaving_init(show);
}

static int end(void **state)
{
	assert_null(shown);
	assert_int_equal(fake_db.connections, 0);
	assert_int_equal(fake_db.results, 0);
	cn_outbox_destroy();
	cn_number_destroy();
	cn_job_destroy();
	fake_db_end();
	stub_clear_log();
	return stub_shm_blocks() == 0 ? 0 : -1;
}

static void who_leaves_is_stored_and_waits(void **state)
{
	cn_leaving_store(leaving(1));
	assert_int_equal(fake_db_rows(), 1);
	assert_string_equal(stored(1, "aor"), "gzj@telecom.com");
	assert_string_equal(stored(1, "event"), "expire");
	assert_string_equal(stored(1, "state"), "0");
	assert_string_equal(stored(1, "attempts"), "0");
	assert_string_equal(stored(1, "cause"), "none");
	assert_non_null(strstr(stored(1, "body"), stored(1, "seq")));
	/* the database's module ends next: nothing is left open */
	assert_int_equal(fake_db.connections, 0);
	cn_leaving_store(leaving(2));
	assert_int_equal(fake_db_rows(), 2);
	assert_true(strtoll(stored(2, "seq"), NULL, 10)
				> strtoll(stored(1, "seq"), NULL, 10));
	assert_nothing_logged();
}

static void its_number_is_above_all_events_of_the_table(void **state)
{
	fake_db_set("0123abcd", "seq", "8888888888888888888");
	cn_leaving_store(leaving(1));
	assert_true(strtoll(stored(1, "seq"), NULL, 10) > 8888888888888888888);
}

/* What the outbox process had taken, and what is still in the ring. */
static void finish_what_is_left(void *unused)
{
	struct cn_command *done, *taken;

	check(cn_outbox_leave(leaving(1)) == 0);
	check(cn_outbox_leave(leaving(2)) == 0);
	done = cn_ring_take(cn_outbox_ring());
	taken = cn_ring_take(cn_outbox_ring());
	done->done = true;
	done->next = taken;
	taken->next = NULL;
	*cn_outbox_kept() = done;
	check(cn_outbox_leave(leaving(3)) == 0);
	cn_outbox_look(); /* and what is not about leaving */
	cn_leaving_finish();
	check(fake_db_rows() == 2);
	check(stored(1, "seq") == NULL);
	check(stored(2, "seq") && stored(3, "seq"));
	check(cn_ring_count(cn_outbox_ring()) == 0);
	check(fake_db.connections == 0);
	check(end(NULL) == 0);
}

/* A process ends once: each in one of its own. */
static void what_the_outbox_process_left_behind_is_stored(void **state)
{
	stub_in_child(finish_what_is_left, NULL);
}

static void without_an_outbox_there_is_nothing_to_do(void **state)
{
	cn_leaving_finish();
	assert_int_equal(fake_db.operations, 1); /* that of the start */
	cn_conf.outbox_db_url = NULL;
	cn_leaving_finish();
	assert_int_equal(cn_leaving_init(show), 0);
	faked_result = -1;
	assert_int_equal(cn_leaving_init(show), 0);
	cn_conf.outbox_db_url = "postgres://db/cms";
	assert_int_equal(cn_leaving_init(show), -1);
	assert_logged("ERROR", "cannot make a message");
}

static void finish_with_a_failure(void *arg)
{
	int *n = arg, before;

	check(cn_outbox_leave(leaving(1)) == 0);
	check(cn_outbox_leave(leaving(2)) == 0);
	fake_db_fail_at(*n, FAKE_ERROR);
	before = fake_db.operations;
	cn_leaving_finish();
	if(fake_db_has_failed()) {
		/* who stops is not kept waiting by it again */
		check(fake_db.operations == before + *n);
		check(strstr(stub_log(), "not stored while the server stops: the CMS "
								 "is not told that sip:gzj@telecom.com has "
								 "left"));
	} else {
		check(fake_db_rows() == 2);
		check(stub_log()[0] == '\0');
		*n = 0; /* that was the last */
	}
	check(end(NULL) == 0);
}

static void each_failure_is_told_and_ends_it(void **state)
{
	int *n = stub_shared(sizeof(*n)), count = 0;

	do {
		*n = ++count;
		stub_in_child(finish_with_a_failure, n);
	} while(*n > 0);
	assert_true(count > 8);
}

/* It must end within a second, whatever the database does. */
static void finish_slowly(void *unused)
{
	int i;

	each_look_us = 150000;
	for(i = 1; i <= 20; i++)
		check(cn_outbox_leave(leaving(i)) == 0);
	cn_leaving_finish();
	check(fake_db_rows() >= 1 && fake_db_rows() <= 7);
	check(strstr(stub_log(), "not stored while the server stops"));
	check(end(NULL) == 0);
}

static void after_a_second_nothing_is_stored_any_more(void **state)
{
	stub_in_child(finish_slowly, NULL);
}

/* @return was the database asked? */
static bool store_after(int ms, int version, int i)
{
	int before = fake_db.operations;

	now_us += ms * 1000;
	fake_db.version = version; /* one that it does not know cannot be used */
	cn_leaving_store(leaving(i));
	return fake_db.operations > before;
}

static void store_in_trouble(void *unused)
{
	check(store_after(0, 1, 1));
	check(store_after(600, 2, 2));
	check(fake_db_rows() == 1);
	check(store_after(600, 1, 3));
	check(store_after(600, 1, 4));
	/* else each that leaves would make the end later */
	check(!store_after(600, 1, 5));
	check(!store_after(600, 2, 6));
	check(fake_db_rows() == 1);
	check(end(NULL) == 0);
}

static void a_database_that_fails_is_tried_for_a_second(void **state)
{
	stub_in_child(store_in_trouble, NULL);
}

static void what_cannot_be_a_row_is_told(void **state)
{
	struct cn_event *ev = leaving(1);
	char key[CN_ROW_AOR_MAX + 2];

	memset(key, 'a', sizeof(key));
	ev->key = (str){key, CN_ROW_AOR_MAX + 1};
	cn_leaving_store(ev);
	assert_int_equal(fake_db_rows(), 0);
	assert_logged("ERROR", "not stored while the server stops");
	ev->key.len--;
	cn_leaving_store(ev);
	assert_int_equal(fake_db_rows(), 1);
	render_result = -1;
	cn_leaving_store(leaving(2));
	assert_int_equal(fake_db_rows(), 1);
	assert_non_null(strstr(stub_log(), "no memory for its body"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			/* first, as nothing has been stored yet */
			TEST(what_the_outbox_process_left_behind_is_stored),
			TEST(each_failure_is_told_and_ends_it),
			TEST(after_a_second_nothing_is_stored_any_more),
			TEST(a_database_that_fails_is_tried_for_a_second),
			TEST(who_leaves_is_stored_and_waits),
			TEST(its_number_is_above_all_events_of_the_table),
			TEST(without_an_outbox_there_is_nothing_to_do),
			TEST(what_cannot_be_a_row_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
