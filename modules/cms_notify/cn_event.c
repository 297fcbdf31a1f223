/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../core/rand/cryptorand.h"

#include "cn_event.h"

/* 96 random bits a process, then a counter: as unique as a random id, without
 * a system call for each event. */
static struct
{
	pid_t pid;
	uint32_t random[3];
	uint32_t counter;
} ids;

static void seed_ids(void)
{
	int i;

	if(getrandom(ids.random, sizeof(ids.random), 0) != sizeof(ids.random)) {
		for(i = 0; i < 3; i++)
			ids.random[i] = cryptorand();
	}
	ids.pid = getpid();
	ids.counter = 0;
}

void cn_event_stamp(struct cn_event *ev)
{
	struct timeval tv;
	struct tm tm;
	size_t n;

	if(ids.pid != getpid())
		seed_ids();
	snprintf(ev->id, sizeof(ev->id), "%08x%08x%08x%08x", ids.random[0],
			ids.random[1], ids.random[2], ids.counter++);
	gettimeofday(&tv, NULL);
	gmtime_r(&tv.tv_sec, &tm);
	n = strftime(ev->time, sizeof(ev->time), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ev->time + n, sizeof(ev->time) - n, ".%03uZ",
			(unsigned)(tv.tv_usec / 1000) % 1000);
}

static str bare_instance(const str *s)
{
	str bare = *s;

	if(bare.len >= 2 && bare.s[0] == '<' && bare.s[bare.len - 1] == '>') {
		bare.s++;
		bare.len -= 2;
	}
	return bare;
}

bool cn_contact_same_instance(const str *a, const str *b)
{
	str x = bare_instance(a), y = bare_instance(b);

	return x.len > 0 && x.len == y.len && memcmp(x.s, y.s, x.len) == 0;
}
