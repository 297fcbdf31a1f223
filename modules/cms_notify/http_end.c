/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Tells the HTTP processes what an end of libcurl's means. */

#include <string.h>

#include "http_end.h"

/* With TLS 1.3 the CMS refuses our certificate, or that there is none, only
 * after the handshake: to libcurl reading fails. */
static bool is_tls_alert(const struct cn_http_end *end)
{
	return strstr(end->error, "SSL routines") != NULL;
}

static bool is_tls(CURLcode code)
{
	switch(code) {
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_CRL_BADFILE:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_ENGINE_INITFAILED:
		case CURLE_SSL_ENGINE_NOTFOUND:
		case CURLE_SSL_ENGINE_SETFAILED:
		case CURLE_SSL_CLIENTCERT:
			return true;
		default:
			return false;
	}
}

/* HTTP/2: the server may answer before it has read all of the request, and end
 * the stream then (RFC 9113 section 8.1). libcurl 7.88 has the whole answer, and
 * fails because it has not sent all, or waits for the end of the stream. */
static bool is_whole(const struct cn_http_end *end)
{
	if(end->code == CURLE_OK)
		return true;
	if(!end->head_ended || !end->http_2)
		return false;
	if(end->code == CURLE_HTTP2_STREAM)
		return end->error[0] == '\0' && end->missing <= 0;
	return (end->code == CURLE_PARTIAL_FILE
				   || end->code == CURLE_OPERATION_TIMEDOUT)
		   && end->missing == 0;
}

enum cn_cause cn_http_end_cause(const struct cn_http_end *end)
{
	if(end->no_memory)
		return CN_CAUSE_memory;
	if(end->too_big)
		return CN_CAUSE_too_big;
	if(end->unasked || end->folded)
		return CN_CAUSE_bad_answer;
	if(end->ended)
		return CN_CAUSE_connect;
	if(is_whole(end)) /* but cut off in its head, which libcurl does not mind */
		return end->head_ended ? CN_CAUSE_none : CN_CAUSE_connect;
	if(is_tls(end->code))
		return CN_CAUSE_tls;
	switch(end->code) {
		case CURLE_FILESIZE_EXCEEDED:
#if LIBCURL_VERSION_NUM >= 0x080600
		case CURLE_TOO_LARGE: /* a header line without an end */
#endif
			return CN_CAUSE_too_big;
		case CURLE_OPERATION_TIMEDOUT:
			/* when it never left, the connection was late */
			return end->sent || end->hurried ? CN_CAUSE_timeout
											 : CN_CAUSE_connect;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
			return is_tls_alert(end) ? CN_CAUSE_tls : CN_CAUSE_connect;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_ABORTED_BY_CALLBACK:
			return CN_CAUSE_connect;
		case CURLE_OUT_OF_MEMORY:
			/* before libcurl 8.6 also: a header line without an end */
			return end->head_ended || !end->sent ? CN_CAUSE_memory
												 : CN_CAUSE_too_big;
		case CURLE_WRITE_ERROR:
			return CN_CAUSE_memory;
		default:
			return CN_CAUSE_bad_answer;
	}
}

const char *cn_http_end_text(const struct cn_http_end *end)
{
	if(end->unasked)
		return "an answer came before the request";
	if(end->ended)
		return "the connection was closed before the request";
	if(end->folded)
		return "the first header field begins with a blank";
	return end->error[0] ? end->error : curl_easy_strerror(end->code);
}

/* The connection ended, or was useless, before a byte of an answer came. */
static enum cn_http_again after_no_answer(const struct cn_http_end *end)
{
	switch(end->code) {
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_GOT_NOTHING:
			/* closed while it was idle, or as the request went out. libcurl
			 * tries again by itself, but on the next kept one, five times in
			 * the life of a handle */
			return end->kept ? CN_AGAIN_FRESH : CN_AGAIN_NOT;
		case CURLE_COULDNT_CONNECT:
			return end->resolved ? CN_AGAIN_NOT : CN_AGAIN_RESOLVED;
		case CURLE_OPERATION_TIMEDOUT:
			return end->sent || end->resolved ? CN_AGAIN_NOT
											  : CN_AGAIN_RESOLVED;
		default:
			return CN_AGAIN_NOT;
	}
}

/* The server reset this one stream, for a reason of its own: that is its answer.
 * Streams that it refused it has not processed (RFC 9113 section 8.7). */
static bool was_reset(const struct cn_http_end *end)
{
	return strstr(end->error, "was not closed cleanly") != NULL
		   && strstr(end->error, "REFUSED_STREAM") == NULL;
}

/* The server ends a connection of HTTP/2 after so many requests, and has not
 * processed those behind the last that it names (GOAWAY, RFC 9113 section 6.8).
 * libcurl 7.88 mixes up how the others of that connection end: some answers it
 * has read it does not hand over. The Idempotency-Key makes up for that. */
static bool ended_with_others(const struct cn_http_end *end)
{
	switch(end->code) {
		case CURLE_HTTP2_STREAM:
			return !was_reset(end);
		case CURLE_HTTP2:
			return end->kept && !was_reset(end);
		case CURLE_PARTIAL_FILE:
			return end->http_2 || end->header_bytes == 0;
		default:
			return false;
	}
}

enum cn_http_again cn_http_end_again(const struct cn_http_end *end)
{
	if(end->no_memory)
		return CN_AGAIN_NOT;
	if(end->unasked || end->ended)
		return end->kept ? CN_AGAIN_FRESH : CN_AGAIN_NOT;
	/* 408 on a kept connection: the CMS gave up waiting before it had read the
	 * request (RFC 9110 section 15.5.9) */
	if(end->code == CURLE_OK && end->status == 408 && end->kept && !end->http_2)
		return CN_AGAIN_FRESH;
	if(!is_whole(end) && ended_with_others(end))
		return CN_AGAIN_ANYWHERE;
	return end->header_bytes > 0 ? CN_AGAIN_NOT : after_no_answer(end);
}
