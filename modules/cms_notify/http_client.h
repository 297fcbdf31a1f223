/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* POST bytes to an endpoint; get bytes, or a named cause, exactly once. libcurl
 * multi handles on one epoll set; knows nothing of SIP or of jobs. */

#ifndef CN_HTTP_CLIENT_H
#define CN_HTTP_CLIENT_H

#include "base_policy.h"
#include "http_endpoints.h"
#include "http_files.h"

struct cn_http; /* one of a process, never shared */

struct cn_http_request
{
	int endpoint;	 /* its place in the list of the client */
	str id;			 /* for Idempotency-Key */
	str body;		 /* must stay until the request has ended */
	int answers;	 /* that are in the answer, each of max_answer_size */
	long timeout_ms; /* > 0: for all of it, from the name look-up on */
};

struct cn_http_result
{
	enum cn_cause cause; /* none: there is a usable answer */
	long status;		 /* 0: no answer */
	unsigned retry_after;
	bool lost;			/* a request has left whose answer did not come */
	unsigned unasked;	/* what came that was no answer to it */
	str body;			/* as far as it was read */
	const char *detail; /* for the log */
};

/* The end of a request. May call cn_http_post(), after which body and detail are
 * no longer valid. */
typedef void (*cn_http_done_f)(void *user, const struct cn_http_result *result);

/* Process: main, in mod_init. Is libcurl new enough? -1: with a line in the log */
int cn_http_check(void) CN_MUST;

/**
 * Process: HTTP, after the fork (libcurl and TLS are started here). Reads the
 * files that the parameters name, as they are now.
 *
 * @param most  requests that may be under way at once
 * @param list  where they may go; copied, what it points to stays
 * @param fault what is wrong, when NULL is returned
 */
struct cn_http *cn_http_new(int most, cn_http_done_f done,
		const struct cn_endpoints *list, struct cn_fault *fault) CN_MUST;

/* The list that it was made with. */
const struct cn_endpoints *cn_http_endpoints(const struct cn_http *http);

/* Is nothing under way? */
bool cn_http_is_idle(const struct cn_http *http) CN_MUST;

/* Close its connections. Nothing is under way. */
void cn_http_free(struct cn_http *http);

/* Wake cn_http_run() whenever somebody writes to fd, which nobody reads. */
int cn_http_watch(struct cn_http *http, int fd) CN_MUST;

/**
 * Begin a POST. Its end is reported by done(), later, from cn_http_run().
 *
 * @return 0, or -1: out of memory, or too many are under way; done() is not
 *         called then
 */
int cn_http_post(struct cn_http *http, const struct cn_http_request *request,
		void *user) CN_MUST;

/* Wait for something to happen, at most timeout_ms (-1: no limit), and do it. */
void cn_http_run(struct cn_http *http, int timeout_ms);

#endif
