/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "http_end.h"

/* What was seen of an attempt that went as it should; n: bytes that are missing. */
#define WELL(n)                                                   \
	.error = "", .status = 200, .header_bytes = 50, .sent = true, \
	.head_ended = true, .missing = (n)

/* What was seen where no answer came. */
#define MUTE(c) .code = c, .error = "", .missing = -1

struct row
{
	const char *what;
	struct cn_http_end end;
	enum cn_cause cause;
	enum cn_http_again again;
};

static const struct row rows[] = {
		{"an answer", {WELL(-1)}, CN_CAUSE_none, CN_AGAIN_NOT},
		{"an answer on a kept connection", {WELL(-1), .kept = true},
				CN_CAUSE_none, CN_AGAIN_NOT},
		{"cut off in its head",
				{.error = "", .status = 200, .header_bytes = 20, .sent = true},
				CN_CAUSE_connect, CN_AGAIN_NOT},
		{"bytes were there before the request, kept",
				{MUTE(CURLE_ABORTED_BY_CALLBACK), .unasked = true,
						.kept = true},
				CN_CAUSE_bad_answer, CN_AGAIN_FRESH},
		{"bytes were there before the request, new",
				{MUTE(CURLE_ABORTED_BY_CALLBACK), .unasked = true},
				CN_CAUSE_bad_answer, CN_AGAIN_NOT},
		{"an answer before the request was confirmed, kept",
				{MUTE(CURLE_WRITE_ERROR), .unasked = true, .kept = true,
						.header_bytes = 17, .sent = true},
				CN_CAUSE_bad_answer, CN_AGAIN_FRESH},
		{"its first field begins with a blank",
				{MUTE(CURLE_WRITE_ERROR), .folded = true, .kept = true,
						.status = 200, .header_bytes = 17, .sent = true},
				CN_CAUSE_bad_answer, CN_AGAIN_NOT},
		{"it had ended before the request, kept",
				{MUTE(CURLE_ABORTED_BY_CALLBACK), .ended = true, .kept = true},
				CN_CAUSE_connect, CN_AGAIN_FRESH},
		{"it had ended before the request, new",
				{MUTE(CURLE_ABORTED_BY_CALLBACK), .ended = true},
				CN_CAUSE_connect, CN_AGAIN_NOT},
		{"408 on a kept connection",
				{.error = "",
						.status = 408,
						.header_bytes = 40,
						.sent = true,
						.head_ended = true,
						.kept = true},
				CN_CAUSE_none, CN_AGAIN_FRESH},
		{"408 on a new connection",
				{.error = "",
						.status = 408,
						.header_bytes = 40,
						.sent = true,
						.head_ended = true},
				CN_CAUSE_none, CN_AGAIN_NOT},
		{"408 by HTTP/2",
				{.error = "",
						.status = 408,
						.header_bytes = 40,
						.sent = true,
						.head_ended = true,
						.kept = true,
						.http_2 = true},
				CN_CAUSE_none, CN_AGAIN_NOT},
		{"closed as the request went out, kept",
				{MUTE(CURLE_RECV_ERROR), .sent = true, .kept = true},
				CN_CAUSE_connect, CN_AGAIN_FRESH},
		{"the same, without a byte sent",
				{MUTE(CURLE_SEND_ERROR), .kept = true}, CN_CAUSE_connect,
				CN_AGAIN_FRESH},
		{"closed without an answer, kept",
				{MUTE(CURLE_GOT_NOTHING), .sent = true, .kept = true},
				CN_CAUSE_connect, CN_AGAIN_FRESH},
		{"closed without an answer, new",
				{MUTE(CURLE_GOT_NOTHING), .sent = true}, CN_CAUSE_connect,
				CN_AGAIN_NOT},
		{"closed in the answer, kept",
				{MUTE(CURLE_RECV_ERROR), .sent = true, .kept = true,
						.header_bytes = 10},
				CN_CAUSE_connect, CN_AGAIN_NOT},
		{"closed in the body, kept",
				{WELL(-1), .code = CURLE_PARTIAL_FILE, .kept = true},
				CN_CAUSE_connect, CN_AGAIN_NOT},
		{"refused at a remembered address", {MUTE(CURLE_COULDNT_CONNECT)},
				CN_CAUSE_connect, CN_AGAIN_RESOLVED},
		{"refused at an address just looked up",
				{MUTE(CURLE_COULDNT_CONNECT), .resolved = true},
				CN_CAUSE_connect, CN_AGAIN_NOT},
		{"no connection in time at a remembered address",
				{MUTE(CURLE_OPERATION_TIMEDOUT)}, CN_CAUSE_connect,
				CN_AGAIN_RESOLVED},
		{"no answer in time", {MUTE(CURLE_OPERATION_TIMEDOUT), .sent = true},
				CN_CAUSE_timeout, CN_AGAIN_NOT},
		{"no time for a connection",
				{MUTE(CURLE_OPERATION_TIMEDOUT), .hurried = true,
						.resolved = true},
				CN_CAUSE_timeout, CN_AGAIN_NOT},
		{"no such name", {MUTE(CURLE_COULDNT_RESOLVE_HOST)}, CN_CAUSE_connect,
				CN_AGAIN_NOT},
		{"a certificate", {MUTE(CURLE_PEER_FAILED_VERIFICATION)}, CN_CAUSE_tls,
				CN_AGAIN_NOT},
		{"an alert of TLS 1.3",
				{.code = CURLE_RECV_ERROR,
						.sent = true,
						.error = "OpenSSL SSL_read: error:0A000412:SSL "
								 "routines::sslv3 alert bad certificate"},
				CN_CAUSE_tls, CN_AGAIN_NOT},
		{"too big", {WELL(-1), .code = CURLE_WRITE_ERROR, .too_big = true},
				CN_CAUSE_too_big, CN_AGAIN_NOT},
		{"no memory for the body", {WELL(-1), .code = CURLE_WRITE_ERROR},
				CN_CAUSE_memory, CN_AGAIN_NOT},
		{"no memory for a connection",
				{MUTE(CURLE_COULDNT_CONNECT), .no_memory = true},
				CN_CAUSE_memory, CN_AGAIN_NOT},
		{"garbage", {MUTE(CURLE_UNSUPPORTED_PROTOCOL), .sent = true},
				CN_CAUSE_bad_answer, CN_AGAIN_NOT},
		/* HTTP/2 */
		{"a stream that ended with its connection",
				{MUTE(CURLE_HTTP2_STREAM), .sent = true}, CN_CAUSE_bad_answer,
				CN_AGAIN_ANYWHERE},
		{"the same, with a part of its answer",
				{WELL(5), .code = CURLE_HTTP2_STREAM, .http_2 = true},
				CN_CAUSE_bad_answer, CN_AGAIN_ANYWHERE},
		{"a stream that was refused",
				{.code = CURLE_HTTP2_STREAM,
						.sent = true,
						.error = "HTTP/2 stream 7 was not closed cleanly: "
								 "REFUSED_STREAM (err 7)"},
				CN_CAUSE_bad_answer, CN_AGAIN_ANYWHERE},
		{"a stream that the server has reset",
				{.code = CURLE_HTTP2_STREAM,
						.sent = true,
						.kept = true,
						.error = "HTTP/2 stream 7 was not closed cleanly: "
								 "INTERNAL_ERROR (err 2)"},
				CN_CAUSE_bad_answer, CN_AGAIN_NOT},
		{"a connection that broke", {MUTE(CURLE_HTTP2), .kept = true},
				CN_CAUSE_bad_answer, CN_AGAIN_ANYWHERE},
		{"a server that speaks no HTTP/2", {MUTE(CURLE_HTTP2)},
				CN_CAUSE_bad_answer, CN_AGAIN_NOT},
		{"an answer that came before all was sent",
				{WELL(-1), .code = CURLE_HTTP2_STREAM, .http_2 = true},
				CN_CAUSE_none, CN_AGAIN_NOT},
		{"the same, its stream reset",
				{WELL(0), .code = CURLE_PARTIAL_FILE, .http_2 = true},
				CN_CAUSE_none, CN_AGAIN_NOT},
		{"the same, its stream not ended",
				{WELL(0), .code = CURLE_OPERATION_TIMEDOUT, .http_2 = true},
				CN_CAUSE_none, CN_AGAIN_NOT},
		{"an answer of unknown length whose stream was reset",
				{WELL(-1), .code = CURLE_PARTIAL_FILE, .http_2 = true},
				CN_CAUSE_connect, CN_AGAIN_ANYWHERE},
};

static void each_end_has_its_cause_and_its_repetition(void **state)
{
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct cn_http_end end = r->end;
		enum cn_cause cause;
		enum cn_http_again again;

		cause = cn_http_end_cause(&end);
		again = cn_http_end_again(&end);
		if(cause != r->cause || again != r->again)
			fail_msg("%s: %s, again %d instead of %s, %d", r->what,
					cn_cause_name(cause), again, cn_cause_name(r->cause),
					r->again);
	}
}

/* On a connection that is new, to an address just looked up, nothing is repeated
 * but what a server has not processed: repeating ends. */
static void a_repetition_is_not_repeated(void **state)
{
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cn_http_end end = rows[i].end;

		end.kept = false;
		end.resolved = true;
		if(cn_http_end_again(&end) != CN_AGAIN_NOT
				&& cn_http_end_again(&end) != CN_AGAIN_ANYWHERE)
			fail_msg("%s", rows[i].what);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(each_end_has_its_cause_and_its_repetition),
			cmocka_unit_test(a_repetition_is_not_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
