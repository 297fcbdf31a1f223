/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads SIGTERM from a descriptor, and says how much of drain_timeout is left, in the
 * module's processes. Holds it back until a request has been served, in SIP workers. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/script_cb.h"

#include "base_limits.h"
#include "base_stop.h"

/* On top of drain_timeout: for the last verdicts, and a script that hangs. */
#define CN_HARD_END_S 2

static int fd = -1;
static volatile sig_atomic_t asked;
static int64_t asked_us; /* 0: not noticed yet */

/* Kamailio's other processes end in the middle of what they do, and may leave
 * a lock behind: whoever waits for it is ended here. */
static void on_hard_end(int signal)
{
	(void)signal;
	_exit(0);
}

static void end_later(void)
{
	asked = 1;
	alarm((cn_limits->drain_timeout_ms + 999) / 1000 + CN_HARD_END_S);
}

static void on_stop(int signal)
{
	const uint64_t one = 1;
	int error = errno;

	(void)signal;
	if(!asked) {
		end_later();
		if(write(fd, &one, sizeof(one)) < 0)
			_exit(0);
	}
	errno = error;
}

static int handle(int signal, void (*handler)(int))
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	action.sa_flags = SA_RESTART;
	return sigaction(signal, &action, NULL);
}

int cn_stop_init(void)
{
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if(fd >= 0 && handle(SIGALRM, on_hard_end) == 0
			&& handle(SIGTERM, on_stop) == 0 && handle(SIGINT, on_stop) == 0)
		return 0;
	LM_ERR("cannot wait for signals: %s\n", strerror(errno));
	return -1;
}

int cn_stop_fd(void)
{
	return fd;
}

bool cn_stop_asked(void)
{
	uint64_t count;

	if(!asked)
		return false;
	if(asked_us == 0) {
		asked_us = cn_now_us();
		/* readable once, or every wait would end at once */
		if(read(fd, &count, sizeof(count)) < 0)
			LM_DBG("nothing to read: %s\n", strerror(errno));
	}
	return true;
}

int64_t cn_stop_left_us(void)
{
	return asked_us + (int64_t)cn_limits->drain_timeout_ms * 1000 - cn_now_us();
}

/* -------- SIP workers -------- */

static volatile sig_atomic_t serving;
static bool holds_back; /* in this process */

static int begin(struct sip_msg *msg, unsigned flags, void *unused)
{
	(void)msg;
	(void)flags;
	(void)unused;
	serving = 1;
	return 1;
}

static int end(struct sip_msg *msg, unsigned flags, void *unused)
{
	(void)msg;
	(void)flags;
	(void)unused;
	serving = 0;
	if(holds_back && asked)
		_exit(0);
	return 1;
}

static void on_worker_stop(int signal)
{
	(void)signal;
	if(!serving)
		_exit(0);
	if(!asked)
		end_later();
}

int cn_stop_watch_requests(void)
{
	if(register_script_cb(begin, PRE_SCRIPT_CB | REQUEST_CB, NULL) == 0
			&& register_script_cb(end, POST_SCRIPT_CB | REQUEST_CB, NULL) == 0)
		return 0;
	LM_ERR("cannot watch where a request's script begins and ends\n");
	return -1;
}

int cn_stop_hold_back(void)
{
	holds_back = true;
	if(handle(SIGALRM, on_hard_end) == 0 && handle(SIGTERM, on_worker_stop) == 0
			&& handle(SIGINT, on_worker_stop) == 0)
		return 0;
	LM_ERR("cannot wait for signals: %s\n", strerror(errno));
	return -1;
}
