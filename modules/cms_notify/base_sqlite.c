/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Gives SQLite's connections a busy timeout as they are opened. In the main process,
 * before any fork; for all. */

#include <dlfcn.h>

#include "../../core/dprint.h"

#include "base_sqlite.h"

/* db_sqlite opens its connections itself and says nothing about them; SQLite
 * offers each of them to an "automatic extension". Its library is there when
 * db_sqlite is, and not needed otherwise: hence nothing of its headers. */
#define CN_SQLITE_LIBRARY "libsqlite3.so.0"

struct sqlite3;
typedef int (*busy_timeout_f)(struct sqlite3 *, int);
typedef int (*auto_extension_f)(void (*)(void));

static busy_timeout_f busy_timeout;
static int wait_ms;

static int opened(
		struct sqlite3 *connection, char **error, const void *routines)
{
	(void)error;
	(void)routines;
	return busy_timeout(connection, wait_ms);
}

int cn_sqlite_init(int ms)
{
	auto_extension_f auto_extension;
	void *library;

	if(ms == 0)
		return 0;
	wait_ms = ms;
	library = dlopen(CN_SQLITE_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
	if(library == NULL) {
		LM_ERR("sqlite_busy_timeout is set but SQLite is not loaded: load "
			   "db_sqlite before cms_notify or remove the parameter\n");
		return -1;
	}
	busy_timeout = (busy_timeout_f)dlsym(library, "sqlite3_busy_timeout");
	auto_extension = (auto_extension_f)dlsym(library, "sqlite3_auto_extension");
	if(busy_timeout == NULL || auto_extension == NULL
			|| auto_extension((void (*)(void))opened) != 0) {
		LM_ERR("sqlite_busy_timeout: this SQLite cannot do it, remove the "
			   "parameter\n");
		return -1;
	}
	return 0;
}
