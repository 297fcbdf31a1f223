/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Keeps the limits in shared memory. Read in every process; written in the one that
 * has read the file of settings. */

#include <stddef.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"

#include "base_limits.h"

#define CN_ROW(name, field, min, max)                     \
	{                                                     \
		name, offsetof(struct cn_limits, field), min, max \
	}

static const struct cn_limit rows[CN_LIMIT_ROWS] = {
		CN_ROW("timeout", timeout_ms, 100, CN_TIMEOUT_MAX_MS),
		CN_ROW("connect_timeout", connect_timeout_ms, 10, CN_TIMEOUT_MAX_MS),
		CN_ROW("attempt_timeout", attempt_timeout_ms, 10, CN_TIMEOUT_MAX_MS),
		CN_ROW("connection_lifetime", connection_lifetime_s, 0, 86400),
		CN_ROW("max_answer_size", max_answer_size, 256, 16777216),
		CN_ROW("breaker_failures", breaker_failures, 1, 1000000),
		CN_ROW("breaker_cooldown", breaker_cooldown_ms, 10, 600000),
		CN_ROW("outbox_max_age", outbox_max_age_s, 1, 31536000),
		CN_ROW("resync_rate", resync_rate, 1, 100000),
		CN_ROW("drain_timeout", drain_timeout_ms, 0, CN_TIMEOUT_MAX_MS),
};

static struct cn_limits *shared;
const volatile struct cn_limits *cn_limits;

int cn_limits_init(const struct cn_limits *limits)
{
	shared = shm_malloc(sizeof(*shared));
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	*shared = *limits;
	cn_limits = shared;
	return 0;
}

void cn_limits_destroy(void)
{
	if(shared)
		shm_free(shared);
	shared = NULL;
	cn_limits = NULL;
}

void cn_limits_set(const struct cn_limits *limits)
{
	const struct cn_limit *row;
	int i;

	for(i = 0; (row = cn_limit_row(i)) != NULL; i++)
		cn_limit_set_value(shared, row, cn_limit_value(limits, row));
}

const struct cn_limit *cn_limit_row(int i)
{
	return i < CN_LIMIT_ROWS ? &rows[i] : NULL;
}

const struct cn_limit *cn_limit_find(const char *name)
{
	const struct cn_limit *row;
	int i;

	for(i = 0; (row = cn_limit_row(i)) != NULL; i++) {
		if(strcmp(row->name, name) == 0)
			return row;
	}
	return NULL;
}

int cn_limit_index(const struct cn_limit *row)
{
	return (int)(row - rows);
}

int cn_limit_value(const struct cn_limits *limits, const struct cn_limit *row)
{
	return __atomic_load_n(
			(const int *)((const char *)limits + row->at), __ATOMIC_RELAXED);
}

void cn_limit_set_value(
		struct cn_limits *limits, const struct cn_limit *row, int value)
{
	__atomic_store_n(
			(int *)((char *)limits + row->at), value, __ATOMIC_RELAXED);
}
