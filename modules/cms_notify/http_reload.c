/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Looks at the files, puts settings in force, and raises a number in shared memory. In
 * the first HTTP process and in those that serve RPC; the number is for all HTTP
 * processes. */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "http_files.h"
#include "http_reload.h"
#include "http_settings.h"

struct reload
{
	gen_lock_t lock; /* one at a time puts in force */
	unsigned number;
	uint64_t stamp; /* of the files that are in force */
	/* readings, as they have begun; and the one that is in force */
	unsigned begun, in_force;
};

static struct reload *reload;
static int wake = -1;

static int first_settings(void)
{
	struct cn_fault fault;
	struct cn_settings *settings = cn_settings_load(&fault);
	int err = settings ? cn_settings_put_in_force(settings, &fault) : -1;

	cn_settings_free(settings);
	if(err)
		LM_ERR("%s\n", fault.text);
	return err;
}

int cn_reload_init(void)
{
	reload = shm_malloc(sizeof(*reload));
	if(reload == NULL) {
		LM_ERR("no shared memory\n");
		return -1;
	}
	memset(reload, 0, sizeof(*reload));
	reload->stamp = cn_files_stamp();
	if(lock_init(&reload->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		return -1;
	}
	wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if(wake >= 0)
		return first_settings();
	LM_ERR("cannot make an eventfd: %s\n", strerror(errno));
	return -1;
}

void cn_reload_destroy(void)
{
	if(wake >= 0)
		close(wake);
	if(reload)
		shm_free(reload);
	reload = NULL;
	wake = -1;
}

unsigned cn_reload_number(void)
{
	return __atomic_load_n(&reload->number, __ATOMIC_ACQUIRE);
}

int cn_reload_fd(void)
{
	return wake;
}

static void tell(uint64_t stamp)
{
	uint64_t one = 1;

	__atomic_store_n(&reload->stamp, stamp, __ATOMIC_RELAXED);
	__atomic_add_fetch(&reload->number, 1, __ATOMIC_RELEASE);
	(void)!write(wake, &one, sizeof(one));
}

/* Unless a reading that began later, and so has seen what this one has, was faster. */
static int put_in_force(const struct cn_settings *settings, unsigned reading,
		uint64_t stamp, struct cn_fault *fault)
{
	int err = 0;

	lock_get(&reload->lock);
	if((int)(reading - reload->in_force) > 0) {
		err = cn_settings_put_in_force(settings, fault);
		if(err == 0) {
			reload->in_force = reading;
			tell(stamp);
		}
	}
	lock_release(&reload->lock);
	return err;
}

static int load_files(struct cn_fault *fault)
{
	struct cn_files files;

	if(cn_files_load(&files, fault) < 0)
		return -1;
	cn_files_forget(&files);
	return 0;
}

int cn_reload_ask(struct cn_fault *fault)
{
	unsigned reading = __atomic_add_fetch(&reload->begun, 1, __ATOMIC_SEQ_CST);
	/* first: what changes meanwhile is noticed */
	uint64_t stamp = cn_files_stamp();
	struct cn_settings *settings = cn_settings_load(fault);
	int err = settings ? load_files(fault) : -1;

	if(err == 0)
		err = put_in_force(settings, reading, stamp, fault);
	cn_settings_free(settings);
	return err;
}

/* Not before two looks have found the same: whoever writes a file, or puts several in
 * place, takes a moment. */
void cn_reload_look(int64_t now_us)
{
	static uint64_t seen, wrong;
	static int64_t next_us;
	struct cn_fault fault;
	uint64_t stamp;

	if(now_us < next_us)
		return;
	next_us = now_us + CN_RELOAD_LOOK_MS * 1000;
	stamp = cn_files_stamp();
	if(stamp == __atomic_load_n(&reload->stamp, __ATOMIC_RELAXED)
			|| stamp == wrong)
		return;
	if(stamp != seen) {
		seen = stamp;
		return;
	}
	if(cn_reload_ask(&fault) == 0) {
		wrong = 0;
		LM_NOTICE("files have changed: settings, certificates, keys and "
				  "headers are as they say now\n");
	} else if(!fault.passes) {
		wrong = stamp;
		LM_ERR("%s; settings, certificates, keys and headers stay as they "
			   "were\n",
				fault.text);
	}
}
