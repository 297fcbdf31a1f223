/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../../core/dprint.h"

#include "cn_conf.h"
#include "cn_drain.h"

static int fd = -1;
static int64_t asked_us; /* 0: not yet */

int cn_drain_init(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	/* before any thread is started: they inherit it */
	if(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0)
		fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if(fd >= 0)
		return 0;
	LM_ERR("cannot wait for signals: %s\n", strerror(errno));
	return -1;
}

int cn_drain_fd(void)
{
	return fd;
}

bool cn_drain_asked(void)
{
	struct signalfd_siginfo info;

	if(asked_us == 0 && read(fd, &info, sizeof(info)) == sizeof(info))
		asked_us = cn_now_us();
	return asked_us != 0;
}

int64_t cn_drain_left_us(void)
{
	return asked_us + (int64_t)cn_conf.drain_timeout_ms * 1000 - cn_now_us();
}
