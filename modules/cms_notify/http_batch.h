/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Several events in one POST: the array of their documents goes out, the array of
 * results comes in. Text alone, nothing of jobs. Process: HTTP. */

#ifndef CN_HTTP_BATCH_H
#define CN_HTTP_BATCH_H

#include "base_policy.h"

/* How long an array of several may become: many HTTP servers read 1 MB. */
#define CN_HTTP_BATCH_BYTES_MAX 1000000

/* An event, and the answer to it alone. */
struct cn_http_batch_event
{
	str id;
	str body;
	enum cn_cause cause; /* none: there is a usable result */
	long status;		 /* 0: no result */
	unsigned retry_after;
	str answer; /* its element of the array */
};

/* The length of the array with one more document. */
#define CN_HTTP_BATCH_BYTES(array_bytes, body_len) \
	((array_bytes) + (body_len) + 2)

/**
 * The array of their documents, in order.
 *
 * @param text to be freed
 * @return -1: no memory
 */
int cn_http_batch_write(
		const struct cn_http_batch_event *events, int count, str *text) CN_MUST;

/**
 * What tells this set of events from all others, the same for each attempt: of one
 * its id; of several the first id, their number, and a check of all their ids.
 */
#define CN_HTTP_BATCH_KEY_SIZE 65 /* with a NUL */
str cn_http_batch_key(const struct cn_http_batch_event *events, int count,
		char key[CN_HTTP_BATCH_KEY_SIZE]);

/**
 * Read the array of results. An event with none, with two, or with one that cannot
 * be understood has the cause bad_answer; what is wrong with one result touches no
 * other.
 *
 * @param max_bytes a larger result is too_big
 * @return how many results belong to no event; -1: the answer is no array, and no
 *         event has a result
 */
int cn_http_batch_read(const str *answer, struct cn_http_batch_event *events,
		int count, int max_bytes) CN_MUST;

#endif
