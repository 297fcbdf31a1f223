/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* An answer is that of the request before it, and of no other. */

#include <sys/epoll.h>

#include "client.h"

/* -------- whose answer is it -------- */

/* What comes too much on the first connection, behind its first answer, with it
 * or a moment later. */
static const char *next_extra, *next_answer;
static int extra_ms; /* > 0: later; 0: in one piece with it */
static bool extra_ends;

static void answer_and_more(struct connection *c)
{
	char both[4096];

	if(!server_read(c))
		return;
	if(c->number > 1) {
		do
			server_answer(c, 200, "", "its own");
		while(server_read(c));
		return;
	}
	snprintf(both, sizeof(both), "%s%s", next_answer,
			extra_ms == 0 ? next_extra : "");
	server_say(c, both);
	if(extra_ms > 0) {
		/* not to be read in one piece with the answer */
		while(__atomic_load_n(&c->server->seen, __ATOMIC_SEQ_CST) == 0)
			server_pause_ms(1);
		server_say(c, next_extra);
	}
	if(extra_ends)
		server_end(c);
	server_mark(c);
	/* a CMS that is one answer ahead */
	while(server_read(c))
		server_answer(c, 403, "", "of the one before");
}

/* @param idle what the client does until the next POST: it looks at its
 * connections, or not at all */
static void post_behind(const char *answer, const char *extra, int ms, bool ends,
		void (*idle)(int ms))
{
	start(NULL);
	next_answer = answer;
	next_extra = extra;
	extra_ms = ms;
	extra_ends = ends;
	set_up(answer_and_more, 1);
	assert_int_equal(post()->cause, CN_CAUSE_none);
	__atomic_store_n(&server->seen, 1, __ATOMIC_SEQ_CST);
	while(__atomic_load_n(&server->marks, __ATOMIC_SEQ_CST) == 0)
		idle(1);
	idle(10); /* for the way */
	post();
	if(result->cause != CN_CAUSE_none || result->status != 200
			|| strcmp(result->body, "its own") != 0)
		fail_msg("\"%s\" then \"%s\" after %d ms, end %d: %s, %ld \"%s\"", answer,
				extra, ms, ends, cn_cause_name(result->cause), result->status,
				result->body);
	/* each POST was read once */
	assert_int_equal(server->requests, 2);
	assert_int_equal(server->connections, 2);
	/* What is read in one piece with an answer libcurl has seen already, and
	 * libcurl 8 sees for itself that a connection is not as it was left. */
	if(ms > 0)
		assert_int_equal(
				result->unasked, curl_version_info(CURLVERSION_NOW)->version_num
												 < 0x080000);
	/* and the new connection is a good one */
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(result->unasked, 0);
	assert_int_equal(server->connections, 2);
	end(NULL);
}

#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void what_came_before_the_request_is_no_answer_to_it(void **state)
{
	static const char *const extras[] = {
			"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nleft",
			"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 204 No Content\r\n\r\n",
			"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n"
			"Content-Length: 0\r\n\r\n",
			"HTTP/1.0 400 Bad request\r\nConnection: close\r\n\r\n<html>",
			"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.", "\r\n", "x"};
	size_t i;

	for(i = 0; i < sizeof(extras) / sizeof(extras[0]); i++) {
		post_behind(OK_2, extras[i], 20, false, run_ms);
		post_behind(OK_2, extras[i], 20, false, server_pause_ms);
		post_behind(OK_2, extras[i], 20, true, run_ms);
		post_behind(OK_2, extras[i], 20, true, server_pause_ms);
	}
}

static void what_comes_with_an_answer_is_no_other_answer(void **state)
{
	static const char *const extras[] = {
			"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "x"};
	size_t i;

	for(i = 0; i < sizeof(extras) / sizeof(extras[0]); i++)
		post_behind(OK_2, extras[i], 0, false, run_ms);
}

/* An answer that can have no body has one: it comes later. */
static void a_body_that_may_not_be_is_no_answer(void **state)
{
	static const char *const heads[] = {
			"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			"2\r\nok\r\n0\r\n\r\n"};
	size_t i;

	for(i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
		post_behind(heads[i], "ok", 20, false, server_pause_ms);
}

int __real_epoll_wait(
		int epoll, struct epoll_event *events, int most, int timeout_ms);

static bool blind; /* the next look shows nothing */

int __wrap_epoll_wait(
		int epoll, struct epoll_event *events, int most, int timeout_ms)
{
	if(!blind)
		return __real_epoll_wait(epoll, events, most, timeout_ms);
	blind = false;
	return 0;
}

static const char *next_greeting;

static void greet(struct connection *c)
{
	server_say(c, next_greeting);
	server_mark(c);
	if(server_read(c))
		server_answer(c, 200, "", "late");
}

/* It is idle for the client until there is a greeting to be read. */
static void an_answer_on_a_new_connection_is_no_answer_either(void **state)
{
	static const char *const greetings[] = {
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"};
	size_t i;
	int n;

	for(i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
		start(NULL);
		next_greeting = greetings[i];
		set_up(greet, 1);
		assert_int_equal(post_to(0, result, ID, "{}", PATIENCE_MS), 0);
		blind = true;
		cn_http_run(http, 0); /* it connects, no more */
		for(n = 0; n < 30000 && server->marks == 0; n++)
			server_pause_ms(1);
		run_until_ended(result);
		assert_result(result, CN_CAUSE_bad_answer, 0);
		assert_int_equal(server->requests, 0);
		assert_int_equal(server->connections, 1);
		end(NULL);
	}
}

static void time_out_then_answer(struct connection *c)
{
	if(c->number > 1) {
		answer_ok(c);
		return;
	}
	if(server_read(c))
		server_answer(c, 200, "", "");
	if(server_read(c))
		server_say(c, "HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n"
					  "Content-Length: 0\r\n\r\n");
}

static void a_408_on_a_kept_connection_means_again_on_a_new_one(void **state)
{
	set_up(time_out_then_answer, 1);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->connections, 2);
	assert_int_equal(server->requests, 3);
}

static void always_time_out(struct connection *c)
{
	if(c->number == 1 && server_read(c))
		server_answer(c, 200, "", "");
	while(server_read(c))
		server_answer(c, 408, "", "");
}

static void a_408_on_a_new_connection_is_the_answer(void **state)
{
	set_up(always_time_out, 1);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_result(post(), CN_CAUSE_http, 408);
	assert_int_equal(server->connections, 2);
	assert_int_equal(server->requests, 3);
}

static const char *next_trailers;

static void answer_with_trailers(struct connection *c)
{
	while(server_read(c)) {
		server_say(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
					  "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n"
					  "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n");
		server_pause_ms(5);
		server_say(c, next_trailers);
	}
}

static void trailers_change_nothing(void **state)
{
	static const char *const trailers[] = {"X-Sum: 1\r\n\r\n",
			"X-Sum: 1\r\nX-Other: 2\r\n\r\n", "Retry-After: 5\r\n\r\n"};
	size_t i;
	int n;

	for(i = 0; i < sizeof(trailers) / sizeof(trailers[0]); i++) {
		start(NULL);
		next_trailers = trailers[i];
		set_up(answer_with_trailers, 1);
		for(n = 0; n < 6; n++) {
			assert_result(post(), CN_CAUSE_none, 200);
			assert_string_equal(result->body, "ok");
			assert_int_equal(result->retry_after, 0);
		}
		assert_int_equal(server->connections, 1);
		end(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_came_before_the_request_is_no_answer_to_it),
			TEST(what_comes_with_an_answer_is_no_other_answer),
			TEST(a_body_that_may_not_be_is_no_answer),
			TEST(an_answer_on_a_new_connection_is_no_answer_either),
			TEST(a_408_on_a_kept_connection_means_again_on_a_new_one),
			TEST(a_408_on_a_new_connection_is_the_answer),
			TEST(trailers_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
