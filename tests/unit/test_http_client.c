/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What a client sends; which URLs, keys and versions of libcurl it takes; when
 * it gives up, and what it does without memory. */

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "client.h"

#include "http_sign.h"

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
	http = h = cn_http_new(4, on_done, &endpoints, &fault);
	assert_non_null(h);
	assert_true(cn_http_is_idle(h));
	assert_int_equal(post_to(0, result, ID, "{}", PATIENCE_MS), 0);
	assert_false(cn_http_is_idle(h));
	run_until_ended(result);
	assert_true(cn_http_is_idle(h));
	assert_int_equal(server->open, 1);
	cn_http_free(h);
	while(server->open > 0)
		server_pause_ms(1);
	/* the next one is another */
	http = cn_http_new(4, on_done, &endpoints, &fault);
	assert_result(post(), CN_CAUSE_none, 200);
	assert_int_equal(server->connections, 2);
	cn_http_free(http);
}

static void without_its_key_there_is_no_client(void **state)
{
	unlink(key_file);
	assert_null(cn_http_new(1, on_done, &endpoints, &fault));
	assert_non_null(strstr(fault.text, "sign_key_file cannot be read"));
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
	server_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
	for(i = 0; i < 3000; i++) {
		server_say(c, "a");
		server_pause_ms(20);
	}
}

static void drip_head(struct connection *c)
{
	int i;

	server_read(c);
	server_say(c, "HTTP/1.1 200 OK\r\nX: ");
	for(i = 0; i < 3000; i++) {
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
		assert_in_range(result->us, 290000, 30000000);
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
	stub_limits.connect_timeout_ms = 200;
	http = new_http(1);
	assert_result(post(), CN_CAUSE_connect, 0);
	assert_in_range(result->us, 190000, 15000000);
	/* where the whole time is shorter it is not the connection that is late */
	stub_limits.connect_timeout_ms = 20000;
	assert_result(post_ms(200), CN_CAUSE_timeout, 0);
	assert_in_range(result->us, 190000, 15000000);
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
	assert_true(result->us < 15000000);
}

/* -------- waiting -------- */

static void it_waits_no_longer_than_told(void **state)
{
	int64_t before = cn_now_us();

	set_url(0, 9);
	http = new_http(1);
	cn_http_run(http, 0);
	assert_true(cn_now_us() - before < 15000000);
	before = cn_now_us();
	cn_http_run(http, 50);
	assert_in_range(cn_now_us() - before, 40000, 15000000);
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
	cn_http_run(http, 30000);
	assert_true(cn_now_us() - before < 15000000);
	before = cn_now_us();
	cn_http_run(http, 100); /* it is still readable, but that is no news */
	assert_true(cn_now_us() - before >= 90000);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	before = cn_now_us();
	cn_http_run(http, 30000);
	assert_true(cn_now_us() - before < 15000000);
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
		err = post_to(0, r, ID, "{\"a\":1}", PATIENCE_MS);
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
	http = cn_http_new(2, on_done, &endpoints, &fault);
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
	check(post_to(0, &a->r, ID, "{}", PATIENCE_MS) == 0);
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
			TEST(the_deadline_is_absolute),
			TEST(a_server_that_takes_no_connection),
			TEST(the_shortest_time_ends_too),
			TEST(it_waits_no_longer_than_told),
			TEST(a_watched_descriptor_wakes_it),
			TEST(what_cannot_be_watched_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
