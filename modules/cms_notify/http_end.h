/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How one attempt to POST ended: its cause, and whether it is made again at
 * once. Pure: what was seen is the argument. */

#ifndef CN_HTTP_END_H
#define CN_HTTP_END_H

#include <curl/curl.h>

#include "base_policy.h"

/* What was seen of an attempt. */
struct cn_http_end
{
	CURLcode code;
	const char *error; /* libcurl's text */
	long status;
	size_t header_bytes; /* of the answer */
	curl_off_t
			missing; /* bytes of the body, by its Content-Length; -1: unknown */
	bool head_ended; /* of the final answer; what follows are trailers */
	bool kept;		 /* the connection had carried a request before */
	bool sent;		 /* a byte of the request has left */
	bool http_2;
	bool unasked; /* there were bytes to be read that answer nobody */
	bool ended;	  /* the connection had ended before the request was written */
	bool folded;  /* its head begins with the rest of a field */
	bool too_big; /* the answer */
	bool no_memory; /* of ours */
	bool hurried;	/* much less than connect_timeout was left */
	bool resolved; /* the name was looked up for this attempt, not remembered */
};

enum cn_cause cn_http_end_cause(const struct cn_http_end *end);
const char *cn_http_end_text(const struct cn_http_end *end); /* for the log */

enum cn_http_again
{
	CN_AGAIN_NOT,
	CN_AGAIN_FRESH,	   /* on a new connection */
	CN_AGAIN_RESOLVED, /* the same, with the name looked up anew */
	CN_AGAIN_ANYWHERE  /* on any connection; not without end */
};

/**
 * Is the request to be written again? FRESH and RESOLVED happen once each, as
 * their reasons do not hold for the next attempt; of ANYWHERE the caller bounds
 * the number. Where the CMS may have read it, that is what its Idempotency-Key is
 * for.
 */
enum cn_http_again cn_http_end_again(const struct cn_http_end *end);

#endif
