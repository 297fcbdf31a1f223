/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Processes that resume the waiters of decided jobs, and do nothing else. */

#include <stdlib.h>
#include <unistd.h>

#include "../../core/cfg/cfg_struct.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "base_conf.h"
#include "base_stop.h"
#include "base_wait.h"
#include "job_ring.h"
#include "verdict.h"
#include "verdict_proc.h"

/* of one verdict process */
static int number; /* among them, from 0 on */
static int wait_set;

static void resume_all(void)
{
	do
		cfg_update(); /* the log level, for one */
	while(cn_verdict_resume());
}

static void wait_for_verdict(void)
{
	if(!cn_ring_sleep(cn_verdict_ring(), number))
		return;
	cn_wait(wait_set, -1);
	cn_ring_wake(cn_verdict_ring(), number);
}

static void run(void)
{
	while(!cn_stop_asked()) {
		resume_all();
		wait_for_verdict();
	}
	cn_verdict_drain(number);
}

static int set_up(void)
{
	if(cfg_child_init() || cn_stop_init() < 0)
		return -1;
	cn_verdict_begin();
	wait_set = cn_wait_new();
	if(wait_set < 0 || cn_wait_add(wait_set, cn_stop_fd()) < 0
			|| cn_wait_add(wait_set, cn_ring_fd(cn_verdict_ring(), number)) < 0)
		return -1;
	return 0;
}

int cn_verdict_proc_fork(void)
{
	int i, pid;

	for(i = 0; i < cn_conf.verdict_processes; i++) {
		/* as an RPC process: usrloc and the database modules connect there;
		 * with a socket to the TCP process, to answer over TCP */
		pid = fork_process(PROC_RPC, "cms_notify verdict", 1);
		if(pid < 0)
			return -1;
		if(pid == 0) {
			number = i;
			if(set_up() < 0)
				exit(-1);
			run();
			_exit(0);
		}
	}
	return 0;
}
