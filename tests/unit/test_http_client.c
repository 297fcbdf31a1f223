/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "server.h"

#include "base_conf.h"
#include "http_client.h"
#include "http_setup.h"
#include "http_sign.h"

struct cn_conf cn_conf;

/* -------- one client a test -------- */

struct result
{
	bool ended;
	int times; /* done() was called for it */
	enum cn_cause cause;
	long status;
	unsigned retry_after;
	unsigned unasked;
	char body[20000];
	int len;
	int64_t us; /* from cn_http_post() on */
	int64_t began_us;
};

static struct cn_http *http;
static struct cn_files_fault fault;
static struct cn_http *all_https[1024]; /* they live as long as the process */
static struct server *server;
static struct result *result; /* of the one request of most tests */
static char urls[2][128];

static void on_done(void *user, const struct cn_http_result *r)
{
	struct result *mine = user;

	check(r->detail != NULL && strlen(r->detail) < 4096);
	check(r->body.len < (int)sizeof(mine->body));
	mine->ended = true;
	mine->times++;
	mine->cause = r->cause;
	mine->status = r->status;
	mine->retry_after = r->retry_after;
	mine->unasked = r->unasked;
	mine->us = cn_now_us() - mine->began_us;
	if(r->body.len > 0)
		memcpy(mine->body, r->body.s, r->body.len);
	mine->body[r->body.len] = '\0';
	mine->len = r->body.len;
}

static int start(void **state)
{
	memset(&cn_conf, 0, sizeof(cn_conf));
	cn_conf.cms_url[0] = urls[0];
	cn_conf.endpoints = 1;
	cn_conf.timeout_ms = 4000;
	cn_conf.connect_timeout_ms = 1000;
	cn_conf.max_connections = 32;
	cn_conf.connection_lifetime_s = 300;
	cn_conf.max_in_flight = 256;
	cn_conf.max_answer_size = 16384;
	free(result);
	result = malloc(sizeof(*result));
	memset(result, 0, sizeof(*result));
	http = NULL;
	server = NULL;
	stub_clear_log();
	return 0;
}

static int end(void **state)
{
	if(server)
		server_stop(server);
	server = NULL;
	return stub_shm_blocks() == 0 && stub_pkg_blocks() == 0 ? 0 : -1;
}

static void set_url(int i, int port)
{
	snprintf(urls[i], sizeof(urls[i]), "http://127.0.0.1:%d/register", port);
	cn_conf.cms_url[i] = urls[i];
}

static struct cn_http *new_http(int most)
{
	static int n;
	struct cn_http *h = cn_http_new(most, on_done, &fault);

	assert_non_null(h);
	assert_true(n < 1023);
	all_https[n++] = h;
	return h;
}

static void set_up(serve_f serve, int most)
{
	server = server_start(serve);
	set_url(0, server->port);
	http = new_http(most);
}

static int post_to(int endpoint, struct result *r, const char *id,
		const char *body, long timeout_ms)
{
	struct cn_http_request request = {.endpoint = endpoint,
			.id = stub_str(id),
			.body = stub_str(body),
			.timeout_ms = timeout_ms};

	memset(r, 0, sizeof(*r));
	r->began_us = cn_now_us();
	return cn_http_post(http, &request, r);
}

/* @return does it end? */
static bool wait_for(struct result *r)
{
	int64_t until = cn_now_us() + 10000000;

	while(!r->ended && cn_now_us() < until)
		cn_http_run(http, 1000);
	return r->ended;
}

static void run_until_ended(struct result *r)
{
	assert_true(wait_for(r));
	assert_int_equal(r->times, 1);
}

#define ID "4f0c0000000000000000000000000001"

static struct result *post_ms(long timeout_ms)
{
	assert_int_equal(post_to(0, result, ID, "{\"a\":1}", timeout_ms), 0);
	assert_false(result->ended);
	run_until_ended(result);
	return result;
}

static struct result *post(void)
{
	return post_ms(3000);
}

static struct result *post_once(serve_f serve)
{
	set_up(serve, 4);
	return post();
}

#define assert_result(r, wanted_cause, wanted_status)                   \
	do {                                                                \
		const struct result *r_ = (r);                                  \
                                                                        \
		assert_string_equal(                                            \
				cn_cause_name(r_->cause), cn_cause_name(wanted_cause)); \
		assert_int_equal(r_->status, wanted_status);                    \
	} while(0)

/* -------- URLs -------- */

static void urls_that_can_be_posted_to(void **state)
{
	static const char *const good[] = {"http://cms.example/",
			"https://cms.example", "http://127.0.0.1:8080/a/b?c=d&e",
			"http://[::1]:8080/", "HTTP://CMS.EXAMPLE/", "https://cms:65535/x"};
	const char *error;
	size_t i;

	for(i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		error = "";
		assert_true(cn_http_url_ok(good[i], &error));
	}
}

static void urls_that_cannot(void **state)
{
	static const char *const bad[] = {"", " ", "cms.example",
			"cms.example/register", "//cms.example/", "/register", "http://",
			"http:///register", "http:/cms.example", "ftp://cms.example/",
			"file:///etc/passwd", "gopher://cms/", "sip:cms.example",
			"http://cms example/", "http://cms.example/\r\nX: y",
			"http://cms:99999/", "http://cms:x/", "http://[::1/",
			"http://cms.example/\x01"};
	const char *error;
	size_t i;

	for(i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error = NULL;
		if(cn_http_url_ok(bad[i], &error))
			fail_msg("\"%s\" is taken", bad[i]);
		assert_non_null(error);
	}
}

static void credentials_do_not_belong_into_a_url(void **state)
{
	static const char *const bad[] = {"http://me@cms.example/",
			"http://me:s3cret@cms.example/", "http://:s3cret@cms.example/",
			"https://me:@cms.example:8080/x"};
	const char *error;
	size_t i;

	for(i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error = NULL;
		if(cn_http_url_ok(bad[i], &error))
			fail_msg("\"%s\" is taken", bad[i]);
		assert_non_null(error);
		assert_null(strstr(error, "s3cret"));
	}
}

/* -------- the request -------- */

static void answer_ok(struct connection *c)
{
	while(server_read(c))
		server_answer(c, 200, "", "{\"text\":\"ok\"}");
}

static int count(const char *text, const char *part)
{
	int n = 0;

	for(; (text = strstr(text, part)) != NULL; text++)
		n++;
	return n;
}

static void the_request_is_as_documented(void **state)
{
	const char *text;

	cn_conf.http_header[0] = "Authorization: Bearer abc";
	cn_conf.http_header[1] = "X-Site: 7";
	cn_conf.http_headers = 2;
	assert_result(post_once(answer_ok), CN_CAUSE_none, 200);
	assert_string_equal(result->body, "{\"text\":\"ok\"}");
	assert_int_equal(result->retry_after, 0);
	assert_int_equal(server->requests, 1);
	text = server->log[0].text;
	assert_ptr_equal(strstr(text, "POST /register HTTP/1.1\r\n"), text);
	assert_int_equal(count(text, "\r\nContent-Type: application/json\r\n"), 1);
	assert_int_equal(count(text, "\r\nContent-Length: 7\r\n"), 1);
	assert_int_equal(count(text, "\r\nIdempotency-Key: \"" ID "\"\r\n"), 1);
	assert_int_equal(count(text, "\r\nUser-Agent: kamailio-cms_notify/"), 1);
	assert_int_equal(count(text, "\r\nAuthorization: Bearer abc\r\n"), 1);
	assert_int_equal(count(text, "\r\nX-Site: 7\r\n"), 1);
	assert_int_equal(count(text, "Expect"), 0);
	assert_string_equal(strstr(text, "\r\n\r\n") + 4, "{\"a\":1}");
}

/* -------- signed -------- */

#define KEY_FILE_TEXT "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"

static char key_file[] = "/tmp/cms_notify-XXXXXX";

static int make_key_file(void **state)
{
	FILE *file = fdopen(mkstemp(key_file), "w");

	if(file == NULL || fputs(KEY_FILE_TEXT, file) < 0 || fclose(file) != 0)
		return -1;
	start(state);
	cn_conf.sign_key_file[0] = key_file;
	cn_conf.sign_key_files = 1;
	return 0;
}

static int remove_key_file(void **state)
{
	unlink(key_file);
	strcpy(key_file + strlen(key_file) - 6, "XXXXXX");
	return end(state);
}

/* Is what the server got signed, as of now?
 * @return when it was */
static int64_t assert_signed(const char *text, int64_t since)
{
	char why[64], time[32], line[CN_SIGN_SIZE + 32] = "webhook-signature: ";
	const char *sent = strstr(text, "\r\nwebhook-timestamp: ");
	const char *body = strstr(text, "\r\n\r\n") + 4;
	str signed_body = {(char *)body, (int)strlen(body)};
	struct cn_sign_key key;
	struct cn_signer *signer;

	assert_non_null(sent);
	assert_int_equal(sscanf(sent + 21, "%31[0-9]", time), 1);
	assert_true(atoll(time) >= since);
	assert_int_equal(count(text, "\r\nwebhook-id: " ID "\r\n"), 1);
	assert_int_equal(cn_sign_read_key(&key,
							 "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", why,
							 sizeof(why)),
			0);
	signer = cn_signer_new(&key, 1);
	assert_int_equal(
			cn_sign(signer, ID, time, &signed_body, line + strlen(line)), 0);
	cn_signer_free(signer);
	assert_int_equal(count(text, line), 1);
	return atoll(time);
}

static void hang_up_on_the_second(struct connection *c)
{
	while(server_read(c)) {
		if(c->number == 1 && c->requests == 2) {
			server_pause_ms(1100);
			return;
		}
		server_answer(c, 200, "", "{}");
	}
}

/* The one that is made again as well. */
static void each_attempt_is_signed(void **state)
{
	int64_t since = time(NULL);

	set_up(hang_up_on_the_second, 1);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->requests, 3);
	since = assert_signed(server->log[0].text, since);
	since = assert_signed(server->log[1].text, since);
	assert_true(assert_signed(server->log[2].text, since) > since);
}

/* What is under way ends, and the connections do. */
static void a_client_can_be_freed(void **state)
{
	struct cn_http *h;

	server = server_start(answer_ok);
	set_url(0, server->port);
	http = h = cn_http_new(4, on_done, &fault);
	assert_non_null(h);
	assert_true(cn_http_is_idle(h));
	assert_int_equal(post_to(0, result, ID, "{}", 3000), 0);
	assert_false(cn_http_is_idle(h));
	run_until_ended(result);
	assert_true(cn_http_is_idle(h));
	assert_int_equal(server->open, 1);
	cn_http_free(h);
	while(server->open > 0)
		server_pause_ms(1);
	/* the next one is another */
	http = cn_http_new(4, on_done, &fault);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->connections, 2);
	cn_http_free(http);
}

static void without_its_key_there_is_no_client(void **state)
{
	unlink(key_file);
	assert_null(cn_http_new(1, on_done, &fault));
	assert_non_null(strstr(fault.text, "sign_key_file: cannot read"));
}

static void the_environment_names_no_proxy(void **state)
{
	setenv("http_proxy", "http://127.0.0.1:9/", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:9/", 1);
	assert_result(post_once(answer_ok), CN_CAUSE_none, 200);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

/* -------- the libcurl that runs -------- */

curl_version_info_data *__real_curl_version_info(CURLversion version);

static const curl_version_info_data *other; /* than the installed one */

curl_version_info_data *__wrap_curl_version_info(CURLversion version)
{
	return other ? (curl_version_info_data *)other
				 : __real_curl_version_info(version);
}

static void a_libcurl_that_is_too_old_is_refused(void **state)
{
	static const curl_version_info_data libcurls[] = {
			{.version_num = 0x075600, .version = "7.86.0"},
			{.version_num = 0x0756ff, .version = "7.86.255"},
			{.version_num = 0x075700, .version = "7.87.0"},
			{.version_num = 0x080e01, .version = "8.14.1"}};

	char text[80];

	set_url(0, 80);
	for(other = libcurls; other < libcurls + 2; other++) {
		stub_clear_log();
		assert_int_equal(cn_http_check(), -1);
		snprintf(text, sizeof(text), "libcurl is %s, 7.87 or newer is needed",
				other->version);
		assert_logged("ERROR", text);
	}
	stub_clear_log();
	for(; other < libcurls + 4; other++)
		assert_int_equal(cn_http_check(), 0);
	assert_nothing_logged();
	other = NULL;
	assert_int_equal(cn_http_check(), 0);
}

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

static void answer_204(struct connection *c)
{
	while(server_read(c))
		server_say(c, "HTTP/1.1 204 No Content\r\n\r\n");
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

static void answer_endlessly(struct connection *c)
{
	char block[4096];
	int i;

	memset(block, 'a', sizeof(block));
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\n\r\n");
	for(i = 0; i < 5000; i++)
		server_say_n(c, block, sizeof(block));
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

static int unused_port(void)
{
	struct server *s = server_start(answer_ok);
	int port = s->port;

	server_stop(s);
	return port;
}

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

static void close_in_the_head(struct connection *c)
{
	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Le");
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
	assert_true(result->len <= cn_conf.max_answer_size);
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
	assert_null(cn_http_new(1, on_done, &fault));
	assert_non_null(strstr(fault.text, "tls_ca"));
}

/* -------- time -------- */

static void hang(struct connection *c)
{
	while(server_read(c))
		;
}

static void drip(struct connection *c)
{
	int i;

	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	for(i = 0; i < 300; i++) {
		server_say(c, "a");
		server_pause_ms(20);
	}
}

static void drip_head(struct connection *c)
{
	int i;

	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nX: ");
	for(i = 0; i < 300; i++) {
		server_say(c, "a");
		server_pause_ms(20);
	}
}

static void the_deadline_is_absolute(void **state)
{
	static const serve_f ways[] = {hang, drip, drip_head};
	size_t i;

	for(i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		start(NULL);
		set_up(ways[i], 1);
		post_ms(300);
		assert_int_equal(result->cause, CN_CAUSE_timeout);
		assert_in_range(result->us, 290000, 2000000);
		end(NULL);
	}
}

/* Its queue is full: it answers no SYN. */
static void a_server_that_takes_no_connection(void **state)
{
	struct sockaddr_in address = {
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fillers[4], i;
	socklen_t len = sizeof(address);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 0), 0);
	getsockname(listener, (struct sockaddr *)&address, &len);
	for(i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&address, len);
	}
	set_url(0, ntohs(address.sin_port));
	cn_conf.connect_timeout_ms = 200;
	http = new_http(1);
	assert_result(post(), CN_CAUSE_connect, 0);
	assert_in_range(result->us, 190000, 900000);
	/* where the whole time is shorter it is not the connection that is late */
	cn_conf.connect_timeout_ms = 5000;
	assert_result(post_ms(200), CN_CAUSE_timeout, 0);
	assert_in_range(result->us, 190000, 900000);
	for(i = 0; i < 4; i++)
		close(fillers[i]);
	close(listener);
}

static void the_shortest_time_ends_too(void **state)
{
	set_up(hang, 1);
	post_ms(1);
	assert_true(result->cause == CN_CAUSE_timeout
				|| result->cause == CN_CAUSE_connect);
	assert_true(result->us < 2000000);
}

/* -------- connections -------- */

static void connections_are_used_again(void **state)
{
	int i;

	set_up(answer_ok, 4);
	for(i = 0; i < 50; i++)
		assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->requests, 50);
	assert_int_equal(server->connections, 1);
}

static void answer_by_number(struct connection *c)
{
	while(server_read(c)) {
		switch(c->server->requests) {
			case 1:
				server_answer(
						c, 429, "Retry-After: 30\r\n", "{\"text\":\"a\"}");
				break;
			case 2:
				server_answer(c, 200, "", "b");
				break;
			default:
				server_say(c, "HTTP/1.1 204 No Content\r\n\r\n");
		}
	}
}

static void one_answer_leaves_nothing_to_the_next(void **state)
{
	set_up(answer_by_number, 1);
	assert_result(post(), CN_CAUSE_http, 429);
	assert_int_equal(result->retry_after, 30);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(result->retry_after, 0);
	assert_string_equal(result->body, "b");
	assert_result(post(), CN_CAUSE_none, 204);
	assert_int_equal(result->len, 0);
	server_stop(server);
	server = NULL;
	assert_result(post(), CN_CAUSE_connect, 0);
	assert_int_equal(result->len, 0);
	assert_int_equal(result->retry_after, 0);
}

static void too_big_leaves_nothing_to_the_next(void **state)
{
	struct server *second = server_start(answer_ok);

	set_url(1, second->port);
	cn_conf.endpoints = 2;
	set_up(answer_endlessly, 1);
	assert_int_equal(post()->cause, CN_CAUSE_too_big);
	assert_int_equal(post_to(1, result, ID, "{}", 1000), 0);
	run_until_ended(result);
	assert_result(result, CN_CAUSE_none, 200);
	assert_string_equal(result->body, "{\"text\":\"ok\"}");
	server_stop(second);
}

/* A used connection is closed on as its next request comes. */
static void close_on_reuse(struct connection *c)
{
	if(server_read(c)) {
		server_answer(c, 200, "", "{}");
		server_read(c);
	}
}

static void reset_on_reuse(struct connection *c)
{
	close_on_reuse(c);
	server_reset(c);
}

static void an_idle_connection_that_was_closed_is_no_failure(void **state)
{
	static const serve_f ways[] = {close_on_reuse, reset_on_reuse};
	size_t w;
	int i;

	for(w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		start(NULL);
		set_up(ways[w], 1);
		/* more often than libcurl itself would try in the life of a handle */
		for(i = 0; i < 12; i++)
			assert_result(post(), CN_CAUSE_none, 200);
		assert_int_equal(server->connections, 12);
		assert_int_equal(server->requests, 23);
		assert_non_null(strstr(server->log[22].text, ID));
		end(NULL);
	}
}

static void close_when_idle(struct connection *c)
{
	if(server_read(c))
		server_answer(c, 200, "", "{}");
}

static void a_connection_closed_while_idle_is_no_failure(void **state)
{
	int i;

	set_up(close_when_idle, 1);
	for(i = 0; i < 10; i++)
		assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->connections, 10);
}

/* Late enough to be waited for. */
static void answer_late(struct connection *c)
{
	while(server_read(c)) {
		server_pause_ms(20);
		server_answer(c, 200, "", "{}");
	}
}

/* What comes of a connection that nobody waits for is heard of once. */
static void a_connection_closed_while_idle_keeps_nobody_busy(void **state)
{
	int64_t until;
	int runs = 0, i;

	set_up(close_when_idle, 1);
	for(i = 0; i < 3; i++) {
		assert_result(post(), CN_CAUSE_none, 200);
		while(server->open > 0)
			sched_yield();
		until = cn_now_us() + 100000;
		for(runs = 0; cn_now_us() < until; runs++)
			cn_http_run(http, 20);
		assert_in_range(runs, 1, 20);
	}
}

/* By a request that begins later, too: it is watched again. */
static void an_idle_connection_is_watched_when_it_is_used_again(void **state)
{
	int64_t until;
	int i;

	set_up(answer_late, 1);
	for(i = 0; i < 5; i++) {
		assert_result(post(), CN_CAUSE_none, 200);
		assert_true(result->us < 400000);
		until = cn_now_us() + 20000;
		while(cn_now_us() < until)
			cn_http_run(http, 10);
	}
	assert_int_equal(server->connections, 1);
}

static void answer_first_connection(struct connection *c)
{
	if(server_read(c) && c->number == 1) {
		server_answer(c, 200, "", "{}");
		server_read(c);
	}
}

static void it_is_tried_again_once(void **state)
{
	set_up(answer_first_connection, 1);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_result(post(), CN_CAUSE_connect, 0);
	assert_int_equal(server->connections, 2);
	assert_int_equal(server->requests, 3);
}

/* Two idle ones, and both are dead. */
static void every_idle_connection_may_be_dead(void **state)
{
	struct result *r = calloc(2, sizeof(*r));
	int round, i;

	set_up(close_on_reuse, 2);
	for(round = 0; round < 5; round++) {
		for(i = 0; i < 2; i++)
			assert_int_equal(post_to(0, &r[i], ID, "{}", 2000), 0);
		for(i = 0; i < 2; i++) {
			run_until_ended(&r[i]);
			assert_result(&r[i], CN_CAUSE_none, 200);
		}
	}
	free(r);
}

static void after_a_byte_of_an_answer_it_is_not_tried_again(void **state)
{
	set_up(close_in_the_head, 1);
	assert_result(post(), CN_CAUSE_connect, 200);
	end(NULL);
	start(NULL);
	set_up(answer_first_connection, 1);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->requests, 1);
}

/* -------- whose answer is it -------- */

static void run_ms(int ms)
{
	int64_t until = cn_now_us() + (int64_t)ms * 1000;

	while(cn_now_us() < until)
		cn_http_run(http, 10);
}

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

static const char *next_greeting;

static void greet(struct connection *c)
{
	server_say(c, next_greeting);
	server_pause_ms(100);
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
		assert_int_equal(post_to(0, result, ID, "{}", 1000), 0);
		cn_http_run(http, 0); /* it connects, no more */
		for(n = 0; n < 1000 && server->open == 0; n++)
			server_pause_ms(1);
		server_pause_ms(20);
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

static void a_connection_does_not_live_for_ever(void **state)
{
	int64_t until = cn_now_us() + 3500000;

	cn_conf.connection_lifetime_s = 1;
	set_up(answer_ok, 1);
	while(cn_now_us() < until) {
		assert_result(post(), CN_CAUSE_none, 200);
		run_ms(50);
	}
	/* libcurl counts whole seconds: each lives for less than two */
	assert_in_range(server->connections, 2, 4);
	end(NULL);
	start(NULL);
	cn_conf.connection_lifetime_s = 0;
	set_up(answer_ok, 1);
	until = cn_now_us() + 2500000;
	while(cn_now_us() < until) {
		assert_result(post(), CN_CAUSE_none, 200);
		run_ms(50);
	}
	assert_int_equal(server->connections, 1);
}

static void answer_slowly(struct connection *c)
{
	while(server_read(c)) {
		server_pause_ms(20);
		server_answer(c, 200, "", strstr(c->request, "\r\n\r\n") + 4);
	}
}

static void answers_find_their_requests(void **state)
{
	enum
	{
		MANY = 24
	};
	struct result *r = calloc(MANY, sizeof(*r));
	char bodies[MANY][32], ids[MANY][40];
	int i;

	cn_conf.max_connections = 3;
	set_up(answer_slowly, MANY);
	for(i = 0; i < MANY; i++) {
		snprintf(bodies[i], sizeof(bodies[i]), "{\"n\":%d}", i);
		snprintf(ids[i], sizeof(ids[i]), "%032d", i);
		assert_int_equal(post_to(0, &r[i], ids[i], bodies[i], 5000), 0);
	}
	for(i = 0; i < MANY; i++) {
		run_until_ended(&r[i]);
		assert_result(&r[i], CN_CAUSE_none, 200);
		assert_string_equal(r[i].body, bodies[i]);
	}
	assert_int_equal(server->requests, MANY);
	assert_in_range(server->connections, 1, 3);
	for(i = 0; i < MANY; i++) {
		char *id = strstr(server->log[i].text, "Idempotency-Key: \"");

		assert_non_null(id);
		/* the id and the body of one request belong together */
		assert_int_equal(atoi(strstr(server->log[i].text, "{\"n\":") + 5),
				strtol(id + 18, NULL, 10));
	}
	free(r);
}

static void more_than_fit_are_refused(void **state)
{
	struct result *r = calloc(3, sizeof(*r));

	set_up(answer_slowly, 2);
	assert_int_equal(post_to(0, &r[0], ID, "{}", 2000), 0);
	assert_int_equal(post_to(0, &r[1], ID, "{}", 2000), 0);
	assert_int_equal(post_to(0, &r[2], ID, "{}", 2000), -1);
	run_until_ended(&r[0]);
	run_until_ended(&r[1]);
	assert_int_equal(r[2].times, 0);
	assert_int_equal(post_to(0, &r[2], ID, "{}", 2000), 0);
	run_until_ended(&r[2]);
	assert_result(&r[2], CN_CAUSE_none, 200);
	free(r);
}

static void endpoints_are_told_apart(void **state)
{
	struct server *second = server_start(answer_204);
	int i;

	set_url(1, second->port);
	cn_conf.endpoints = 2;
	set_up(answer_ok, 1);
	for(i = 0; i < 6; i++) {
		assert_int_equal(post_to(i & 1, result, ID, "{}", 2000), 0);
		run_until_ended(result);
		assert_result(result, CN_CAUSE_none, i & 1 ? 204 : 200);
	}
	assert_int_equal(server->connections, 1);
	assert_int_equal(second->connections, 1);
	server_stop(second);
}

static struct result again;

static void post_again(void *user, const struct cn_http_result *r)
{
	on_done(user, r);
	if(user != &again)
		check(post_to(1, &again, ID, "{}", 2000) == 0);
}

static void a_request_may_begin_as_another_ends(void **state)
{
	server = server_start(answer_ok);
	set_url(0, unused_port());
	set_url(1, server->port);
	cn_conf.endpoints = 2;
	http = all_https[1023] = cn_http_new(1, post_again, &fault);
	assert_non_null(http);
	post();
	assert_result(result, CN_CAUSE_connect, 0);
	run_until_ended(&again);
	assert_result(&again, CN_CAUSE_none, 200);
}

/* -------- waiting -------- */

static void it_waits_no_longer_than_told(void **state)
{
	int64_t before = cn_now_us();

	set_url(0, 9);
	http = new_http(1);
	cn_http_run(http, 0);
	assert_true(cn_now_us() - before < 1000000);
	before = cn_now_us();
	cn_http_run(http, 50);
	assert_in_range(cn_now_us() - before, 40000, 2000000);
}

static void a_watched_descriptor_wakes_it(void **state)
{
	uint64_t one = 1;
	int fd = eventfd(0, EFD_NONBLOCK);
	int64_t before;

	set_url(0, 9);
	http = new_http(1);
	assert_int_equal(cn_http_watch(http, fd), 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	before = cn_now_us();
	cn_http_run(http, 5000);
	assert_true(cn_now_us() - before < 1000000);
	before = cn_now_us();
	cn_http_run(http, 100); /* it is still readable, but that is no news */
	assert_true(cn_now_us() - before >= 90000);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	before = cn_now_us();
	cn_http_run(http, 5000);
	assert_true(cn_now_us() - before < 1000000);
	assert_nothing_logged();
	close(fd);
}

static void what_cannot_be_watched_is_told(void **state)
{
	set_url(0, 9);
	http = new_http(1);
	stub_clear_log();
	assert_int_equal(cn_http_watch(http, -1), -1);
	assert_logged("ERROR", "watch");
}

/* -------- no memory -------- */

/* libcurl's allocations fail where we call it to make or to begin something;
 * libcurl 7.88 itself does not survive that everywhere while it runs. */
static bool curl_may_fail;

static void *curl_take(size_t size)
{
	return curl_may_fail ? stub_malloc(size) : malloc(size);
}

static void *curl_take_zeroed(size_t n, size_t size)
{
	return curl_may_fail ? stub_calloc(n, size) : calloc(n, size);
}

static void *curl_resize(void *p, size_t size)
{
	return curl_may_fail ? stub_realloc(p, size) : realloc(p, size);
}

static char *curl_copy(const char *s)
{
	return curl_may_fail ? stub_strdup(s) : strdup(s);
}

static void post_twice(struct result *r)
{
	int i, err;

	for(i = 0; i < 2; i++) {
		curl_may_fail = true;
		err = post_to(0, r, ID, "{\"a\":1}", 1000);
		curl_may_fail = false;
		check(err == 0 || stub_has_failed());
		check(err < 0 || wait_for(r));
		check(r->times == (err < 0 ? 0 : 1));
		check(err < 0 || r->cause == CN_CAUSE_none || stub_has_failed());
		check(err < 0 || r->cause == CN_CAUSE_none
				|| r->cause == CN_CAUSE_memory);
	}
}

struct attempt
{
	int fail_at;
	bool failed;
	bool started;
	struct result r;
};

static void fail_at(void *arg)
{
	struct attempt *a = arg;

	check(curl_global_init_mem(CURL_GLOBAL_ALL, curl_take, free, curl_resize,
				  curl_copy, curl_take_zeroed)
			== 0);
	stub_fail_at(a->fail_at);
	curl_may_fail = true;
	http = cn_http_new(2, on_done, &fault);
	curl_may_fail = false;
	a->started = http != NULL;
	check(a->started || stub_has_failed());
	if(http)
		post_twice(&a->r);
	a->failed = stub_has_failed();
	if(!http)
		return;
	/* what failed once works the next time */
	stub_fail_at(0);
	check(post_to(0, &a->r, ID, "{}", 2000) == 0);
	check(wait_for(&a->r));
	check(a->r.cause == CN_CAUSE_none && a->r.status == 200);
}

static void any_allocation_may_fail(void **state)
{
	struct attempt *a = stub_shared(sizeof(*a));
	int not_started = 0;

	server = server_start(answer_ok);
	set_url(0, server->port);
	do {
		a->fail_at++;
		stub_in_child(fail_at, a);
		not_started += !a->started;
	} while(a->failed);
	assert_true(a->fail_at > 15);
	assert_true(not_started > 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(urls_that_can_be_posted_to),
			TEST(urls_that_cannot),
			TEST(credentials_do_not_belong_into_a_url),
			TEST(any_allocation_may_fail),
			TEST(the_request_is_as_documented),
			cmocka_unit_test_setup_teardown(
					each_attempt_is_signed, make_key_file, remove_key_file),
			cmocka_unit_test_setup_teardown(without_its_key_there_is_no_client,
					make_key_file, remove_key_file),
			cmocka_unit_test_setup_teardown(
					a_client_can_be_freed, make_key_file, remove_key_file),
			TEST(the_environment_names_no_proxy),
			TEST(a_libcurl_that_is_too_old_is_refused),
			TEST(each_status_has_its_cause),
			TEST(an_answer_may_have_no_body),
			TEST(a_redirect_is_not_followed),
			TEST(retry_after_is_read),
			TEST(an_answer_may_come_in_pieces),
			TEST(the_end_of_the_connection_may_end_an_answer),
			TEST(an_answer_may_be_as_big_as_allowed),
			TEST(a_bigger_answer_is_not_read),
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
			TEST(the_deadline_is_absolute),
			TEST(a_server_that_takes_no_connection),
			TEST(the_shortest_time_ends_too),
			TEST(connections_are_used_again),
			TEST(one_answer_leaves_nothing_to_the_next),
			TEST(too_big_leaves_nothing_to_the_next),
			TEST(an_idle_connection_that_was_closed_is_no_failure),
			TEST(a_connection_closed_while_idle_is_no_failure),
			TEST(a_connection_closed_while_idle_keeps_nobody_busy),
			TEST(an_idle_connection_is_watched_when_it_is_used_again),
			TEST(it_is_tried_again_once),
			TEST(every_idle_connection_may_be_dead),
			TEST(after_a_byte_of_an_answer_it_is_not_tried_again),
			TEST(what_came_before_the_request_is_no_answer_to_it),
			TEST(what_comes_with_an_answer_is_no_other_answer),
			TEST(a_body_that_may_not_be_is_no_answer),
			TEST(an_answer_on_a_new_connection_is_no_answer_either),
			TEST(a_408_on_a_kept_connection_means_again_on_a_new_one),
			TEST(a_408_on_a_new_connection_is_the_answer),
			TEST(trailers_change_nothing),
			TEST(a_connection_does_not_live_for_ever),
			TEST(answers_find_their_requests),
			TEST(more_than_fit_are_refused),
			TEST(endpoints_are_told_apart),
			TEST(a_request_may_begin_as_another_ends),
			TEST(it_waits_no_longer_than_told),
			TEST(a_watched_descriptor_wakes_it),
			TEST(what_cannot_be_watched_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
