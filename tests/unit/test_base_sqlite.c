/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dlfcn.h>

#include "stubs.h"

#include "base_sqlite.h"

/* -------- SQLite -------- */

static struct
{
	bool loaded;
	const char *missing; /* a function that it has not got */
	int register_result;
	void (*opened)(void); /* what it calls for each connection */
	void *connection;
	int waits_ms;
} sqlite;

static int busy_timeout(void *connection, int ms)
{
	sqlite.connection = connection;
	sqlite.waits_ms = ms;
	return 0;
}

static int auto_extension(void (*f)(void))
{
	sqlite.opened = f;
	return sqlite.register_result;
}

void *__wrap_dlopen(const char *name, int flags)
{
	assert_string_equal(name, "libsqlite3.so.0");
	assert_true(flags & RTLD_NOLOAD); /* it is db_sqlite that brings it */
	return sqlite.loaded ? &sqlite : NULL;
}

void *__wrap_dlsym(void *library, const char *name)
{
	assert_ptr_equal(library, &sqlite);
	if(sqlite.missing && strcmp(name, sqlite.missing) == 0)
		return NULL;
	if(strcmp(name, "sqlite3_busy_timeout") == 0)
		return (void *)busy_timeout;
	return strcmp(name, "sqlite3_auto_extension") == 0 ? (void *)auto_extension
													   : NULL;
}

static int start(void **state)
{
	memset(&sqlite, 0, sizeof(sqlite));
	sqlite.loaded = true;
	return 0;
}

static void whatever_connects_waits_so_long(void **state)
{
	int (*opened)(void *, char **, const void *);
	int connection;

	assert_int_equal(cn_sqlite_init(1500), 0);
	assert_non_null(sqlite.opened);
	opened = (int (*)(void *, char **, const void *))sqlite.opened;
	assert_int_equal(opened(&connection, NULL, NULL), 0);
	assert_ptr_equal(sqlite.connection, &connection);
	assert_int_equal(sqlite.waits_ms, 1500);
}

static void where_it_is_not_wanted_nothing_is_looked_for(void **state)
{
	sqlite.loaded = false;
	assert_int_equal(cn_sqlite_init(0), 0);
	assert_null(sqlite.opened);
	assert_nothing_logged();
}

static void where_it_cannot_be_it_does_not_start(void **state)
{
	sqlite.loaded = false;
	assert_int_equal(cn_sqlite_init(1500), -1);
	assert_logged("ERROR", "load db_sqlite before cms_notify");
	sqlite.loaded = true;
	sqlite.missing = "sqlite3_busy_timeout";
	assert_int_equal(cn_sqlite_init(1500), -1);
	assert_logged("ERROR", "this SQLite cannot do it");
	sqlite.missing = "sqlite3_auto_extension";
	assert_int_equal(cn_sqlite_init(1500), -1);
	assert_logged("ERROR", "this SQLite cannot do it");
	sqlite.missing = NULL;
	sqlite.register_result = 7;
	assert_int_equal(cn_sqlite_init(1500), -1);
	assert_logged("ERROR", "this SQLite cannot do it");
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(whatever_connects_waits_so_long),
			TEST(where_it_is_not_wanted_nothing_is_looked_for),
			TEST(where_it_cannot_be_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
