/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>

#include "outbox_retry.h"

#define CN_CHAINS 4096
#define CN_FIRST_MS 1000
#define CN_CAP_MS 300000

struct entry
{
	struct entry *next;
	int failures;
	int64_t due_us;
	char device[];
};

static struct entry *chains[CN_CHAINS];

static struct entry **find(const char *device, unsigned hash)
{
	struct entry **p = &chains[hash % CN_CHAINS];

	while(*p && strcmp((*p)->device, device) != 0)
		p = &(*p)->next;
	return p;
}

void cn_backoff_hold(const char *device, unsigned hash, unsigned pause_s,
		int64_t now_us, unsigned dice)
{
	struct entry **p = find(device, hash);
	size_t len = strlen(device) + 1;
	int ms;

	if(*p == NULL) {
		*p = calloc(1, sizeof(**p) + len);
		if(*p == NULL)
			return;
		memcpy((*p)->device, device, len);
	}
	ms = cn_policy_backoff_ms(++(*p)->failures, CN_FIRST_MS, CN_CAP_MS, dice);
	if(pause_s > 0 && (int64_t)pause_s * 1000 > ms)
		ms = (int)pause_s * 1000; /* at most CN_RETRY_AFTER_MAX_S */
	(*p)->due_us = now_us + (int64_t)ms * 1000;
}

void cn_backoff_forget(const char *device, unsigned hash)
{
	struct entry **p = find(device, hash), *gone = *p;

	if(gone == NULL)
		return;
	*p = gone->next;
	free(gone);
}

void cn_backoff_forget_all(void)
{
	struct entry *entry;
	int i;

	for(i = 0; i < CN_CHAINS; i++) {
		while((entry = chains[i]) != NULL) {
			chains[i] = entry->next;
			free(entry);
		}
	}
}

int64_t cn_backoff_due_us(const char *device, unsigned hash)
{
	const struct entry *entry = *find(device, hash);

	return entry ? entry->due_us : 0;
}
