/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What a server may answer, and what is none. */

#include "client.h"

/* -------- answers -------- */

static int next_status;
static const char *next_headers;

static void answer_next(struct connection *c)
{
	while(server_read(c))
		server_answer(c, next_status, next_headers, "{}");
}

static void answer_with(int status, const char *headers)
{
	start(NULL);
	next_status = status;
	next_headers = headers;
	post_once(answer_next);
	end(NULL);
}

static void each_status_has_its_cause(void **state)
{
	static const int answers[] = {200, 201, 202, 299, 400, 401, 403, 404, 422};
	static const int failures[] = {
			300, 304, 408, 409, 425, 429, 500, 502, 503, 504, 599};
	size_t i;

	for(i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		answer_with(answers[i], "");
		assert_result(result, CN_CAUSE_none, answers[i]);
	}
	for(i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		answer_with(failures[i], "");
		assert_result(result, CN_CAUSE_http, failures[i]);
	}
}

static void an_answer_may_have_no_body(void **state)
{
	assert_result(post_once(answer_204), CN_CAUSE_none, 204);
	assert_int_equal(result->len, 0);
}

static void redirect(struct connection *c)
{
	char location[128];

	snprintf(location, sizeof(location), "Location: http://127.0.0.1:%d/x\r\n",
			c->server->port);
	while(server_read(c))
		server_answer(c, 307, location, "");
}

static void a_redirect_is_not_followed(void **state)
{
	assert_result(post_once(redirect), CN_CAUSE_http, 307);
	assert_int_equal(server->requests, 1);
}

static void retry_after_is_read(void **state)
{
	answer_with(429, "Retry-After: 7\r\n");
	assert_result(result, CN_CAUSE_http, 429);
	assert_int_equal(result->retry_after, 7);
	answer_with(503, "retry-after:   120\r\n");
	assert_int_equal(result->retry_after, 120);
	answer_with(503, "Retry-After: 0\r\n");
	assert_int_equal(result->retry_after, 0);
	answer_with(503, "Retry-After: soon\r\n");
	assert_int_equal(result->retry_after, 0);
	answer_with(503, "Retry-After: -5\r\n");
	assert_int_equal(result->retry_after, 0);
	answer_with(503, "Retry-After: Mon, 23 Nov 1998 06:32:10 GMT\r\n");
	assert_int_equal(result->retry_after, 0);
	answer_with(503, "Retry-After: 99999999999999999999\r\n");
	assert_in_range(result->retry_after, 0, CN_RETRY_AFTER_MAX_S);
	answer_with(503, "Retry-After: 86400\r\n");
	assert_int_equal(result->retry_after, CN_RETRY_AFTER_MAX_S);
}

static void answer_chunked(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
	server_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	server_say(c, "5\r\n{\"a\":\r\n");
	server_pause_ms(20);
	server_say(c, "2\r\n1}\r\n0\r\n\r\n");
	server_read(c);
}

static void an_answer_may_come_in_pieces(void **state)
{
	assert_result(post_once(answer_chunked), CN_CAUSE_none, 200);
	assert_string_equal(result->body, "{\"a\":1}");
}

static void answer_and_close(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.0 200 OK\r\n\r\n{}");
}

static void the_end_of_the_connection_may_end_an_answer(void **state)
{
	assert_result(post_once(answer_and_close), CN_CAUSE_none, 200);
	assert_string_equal(result->body, "{}");
}

/* -------- too big -------- */

static int next_size;

static void answer_size(struct connection *c)
{
	char *body = malloc(next_size + 1);

	memset(body, 'a', next_size);
	body[next_size] = '\0';
	while(server_read(c))
		server_answer(c, 200, "", body);
	free(body);
}

static void an_answer_may_be_as_big_as_allowed(void **state)
{
	next_size = 16384;
	assert_result(post_once(answer_size), CN_CAUSE_none, 200);
	assert_int_equal(result->len, 16384);
}

static void a_bigger_answer_is_not_read(void **state)
{
	next_size = 16385;
	post_once(answer_size);
	assert_int_equal(result->cause, CN_CAUSE_too_big);
	end(NULL);
	start(NULL);
	next_size = 20000000;
	post_once(answer_size);
	assert_int_equal(result->cause, CN_CAUSE_too_big);
	assert_true(result->len <= 16384);
}

static void several_answers_may_be_as_big_together(void **state)
{
	static const struct
	{
		int size, answers;
		enum cn_cause cause;
	} rows[] = {{3 * 16384, 3, CN_CAUSE_none},
			{3 * 16384 + 1, 3, CN_CAUSE_too_big}, {16385, 1, CN_CAUSE_too_big}};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		end(NULL);
		start(NULL);
		cn_conf.batch_max = 3;
		answers = rows[i].answers;
		next_size = rows[i].size;
		assert_result(post_once(answer_size), rows[i].cause, 200);
	}
}

static void an_answer_without_a_length_is_limited_too(void **state)
{
	post_once(answer_endlessly);
	assert_int_equal(result->cause, CN_CAUSE_too_big);
	assert_true(result->len <= 16384);
}

static void answer_with_headers(struct connection *c)
{
	char line[1024];
	int i;

	memset(line, 'h', sizeof(line));
	memcpy(line, "X: ", 3);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\n");
	for(i = 0; i < 20000; i++)
		server_say_n(c, line, sizeof(line));
	server_say(c, "\r\n");
}

static void answer_with_one_header(struct connection *c)
{
	char part[1024];
	int i;

	memset(part, 'h', sizeof(part));
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nX: ");
	for(i = 0; i < 20000; i++)
		server_say_n(c, part, sizeof(part));
	server_say(c, "\r\n\r\n");
}

static void headers_are_limited(void **state)
{
	post_once(answer_with_headers);
	assert_int_equal(result->cause, CN_CAUSE_too_big);
	end(NULL);
	start(NULL);
	post_once(answer_with_one_header);
	assert_int_equal(result->cause, CN_CAUSE_too_big);
}

/* -------- no answer -------- */

static void a_refused_connection(void **state)
{
	set_url(0, unused_port());
	http = new_http(1);
	assert_result(post(), CN_CAUSE_connect, 0);
	assert_true(result->us < 1000000);
}

static void close_before(struct connection *c)
{
}

static void close_unanswered(struct connection *c)
{
	server_read(c);
}

static void reset_unanswered(struct connection *c)
{
	server_read(c);
	server_reset(c);
}

static void close_after_the_first_line(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\n");
}

static void close_in_the_body(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\"");
}

static void close_in_a_chunk(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				  "9\r\n{\"a\"");
}

static void reset_in_the_body(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\"");
	server_pause_ms(20);
	server_reset(c);
}

static void a_connection_that_ends_is_no_answer(void **state)
{
	static const serve_f ways[] = {close_before, close_unanswered,
			reset_unanswered, close_in_the_head, close_after_the_first_line,
			close_in_the_body, close_in_a_chunk, reset_in_the_body};
	size_t i;

	for(i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		start(NULL);
		post_once(ways[i]);
		if(result->cause != CN_CAUSE_connect)
			fail_msg("way %zu: %s", i, cn_cause_name(result->cause));
		/* a new connection that fails is not tried again */
		assert_int_equal(server->connections, 1);
		end(NULL);
	}
}

static const char *next_garbage;
static size_t next_garbage_len;

static void answer_garbage(struct connection *c)
{
	server_read(c);
	server_say_n(c, next_garbage, next_garbage_len);
	server_pause_ms(100);
}

static void garbage_is_a_bad_answer(void **state)
{
	static const char *const garbage[] = {"\x01\xff\xfegarbage\r\n\r\n",
			"<html>hello</html>\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n",
			"220 mail.example ESMTP\r\n"};
	size_t i;

	for(i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		start(NULL);
		next_garbage = garbage[i];
		next_garbage_len = strlen(garbage[i]);
		post_once(answer_garbage);
		assert_result(result, CN_CAUSE_bad_answer, 0);
		end(NULL);
	}
}

static const char *next_head[2];

/* First a good answer, then the head in its pieces. */
static void answer_head(struct connection *c)
{
	server_read(c);
	server_answer(c, 200, "X-Site: 7\r\n", "{}");
	server_read(c);
	server_say(c, next_head[0]);
	if(next_head[1]) {
		server_pause_ms(20);
		server_say(c, next_head[1]);
	}
	server_say(c, "Content-Length: 2\r\n\r\n{}");
	server_read(c);
}

static void post_for_head(const char *head, const char *more)
{
	start(NULL);
	next_head[0] = head;
	next_head[1] = more;
	set_up(answer_head, 1); /* both on one handle */
	assert_result(post(), CN_CAUSE_none, 200);
	post();
}

/* The rest of no field: libcurl before 8.1 takes the last answer's, which it
 * has freed; later ones drop it. */
static void a_blank_before_the_first_field_is_a_bad_answer(void **state)
{
	static const char *const heads[][2] = {{"HTTP/1.1 200 OK\r\n X: y\r\n"},
			{"HTTP/1.1 200 OK\r\n\tX: y\r\n"},
			{"HTTP/1.1 200 OK\r\n", " X: y\r\n"},
			{"HTTP/1.1 200 OK\r\n ", ":\r\n"},
			{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n X: y\r\n"},
			{"HTTP/1.1 100 Continue\r\n X: y\r\n\r\n",
					"HTTP/1.1 200 OK\r\n"}};
	size_t i;

	for(i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		post_for_head(heads[i][0], heads[i][1]);
		assert_int_equal(result->cause, CN_CAUSE_bad_answer);
		assert_int_equal(server->requests, 2);
		end(NULL);
	}
}

static void fields_may_be_folded_and_long(void **state)
{
	static char head[40000];
	int n;

	post_for_head("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n", "\tz\r\n");
	assert_result(result, CN_CAUSE_none, 200);
	assert_string_equal(result->body, "{}");
	end(NULL);
	/* libcurl hands a line over in pieces of 16 KB: each begins with a blank */
	n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nX:");
	memset(head + n, ' ', 33000);
	strcpy(head + n + 33000, "y\r\n");
	post_for_head(head, NULL);
	assert_result(result, CN_CAUSE_none, 200);
	assert_string_equal(result->body, "{}");
	end(NULL);
}

static void answer_101(struct connection *c)
{
	int i;

	server_read(c);
	server_say(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
	for(i = 0; i < 2000; i++)
		server_say(c, "{\"text\": \"as good as any\"}");
	server_read(c);
}

/* Nor is more of it read than of an answer. */
static void another_protocol_is_no_answer(void **state)
{
	post_once(answer_101);
	assert_int_not_equal(result->cause, CN_CAUSE_none);
	assert_int_not_equal(result->cause, CN_CAUSE_timeout);
	assert_true(result->len <= stub_limits.max_answer_size);
}

static void answer_twice_the_length(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Length: banana\r\n\r\n{}");
}

static void a_length_that_is_none_is_a_bad_answer(void **state)
{
	post_once(answer_twice_the_length);
	assert_int_equal(result->cause, CN_CAUSE_bad_answer);
}

static void answer_at_once(struct connection *c)
{
	server_answer(c, 400, "", "no TLS here");
	server_read(c);
}

static void a_plain_server_is_no_tls_server(void **state)
{
	server = server_start(answer_at_once);
	snprintf(urls[0], sizeof(urls[0]), "https://127.0.0.1:%d/", server->port);
	http = new_http(1);
	assert_result(post(), CN_CAUSE_tls, 0);
}

static void without_its_authorities_there_is_no_client(void **state)
{
	cn_conf.tls_ca = "/dev/null";
	assert_null(cn_http_new(1, on_done, &endpoints, &fault));
	assert_non_null(strstr(fault.text, "tls_ca"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(each_status_has_its_cause),
			TEST(an_answer_may_have_no_body),
			TEST(a_redirect_is_not_followed),
			TEST(retry_after_is_read),
			TEST(an_answer_may_come_in_pieces),
			TEST(the_end_of_the_connection_may_end_an_answer),
			TEST(an_answer_may_be_as_big_as_allowed),
			TEST(a_bigger_answer_is_not_read),
			TEST(several_answers_may_be_as_big_together),
			TEST(an_answer_without_a_length_is_limited_too),
			TEST(headers_are_limited),
			TEST(a_refused_connection),
			TEST(a_connection_that_ends_is_no_answer),
			TEST(garbage_is_a_bad_answer),
			TEST(a_length_that_is_none_is_a_bad_answer),
			TEST(a_blank_before_the_first_field_is_a_bad_answer),
			TEST(fields_may_be_folded_and_long),
			TEST(another_protocol_is_no_answer),
			TEST(a_plain_server_is_no_tls_server),
			TEST(without_its_authorities_there_is_no_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
