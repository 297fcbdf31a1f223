/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <limits.h>

#include "stubs.h"

#include "base_conf.h"

static const char *host_name = "sip1";

int __wrap_gethostname(char *name, size_t len)
{
	if(host_name == NULL || strlen(host_name) >= len) {
		errno = host_name ? ENAMETOOLONG : EPERM;
		return -1;
	}
	memcpy(name, host_name, strlen(host_name) + 1);
	return 0;
}

static struct cn_conf defaults;

static int remember_defaults(void **state)
{
	defaults = cn_conf;
	return 0;
}

/* A configuration with what is required, and nothing else. */
static int start(void **state)
{
	cn_conf = defaults;
	host_name = "sip1";
	stub_clear_log();
	return cn_conf_add_url(0, "http://cms.example/register");
}

static void assert_refused(const char *part)
{
	assert_int_equal(cn_conf_check(), -1);
	assert_logged("ERROR", part);
}

static void assert_fine(void)
{
	assert_int_equal(cn_conf_check(), 0);
	assert_nothing_logged();
}

static void defaults_are_the_documented_ones(void **state)
{
	assert_fine();
	assert_int_equal(cn_conf.limits.timeout_ms, 4000);
	assert_int_equal(cn_conf.limits.connect_timeout_ms, 1000);
	assert_int_equal(cn_conf.limits.attempt_timeout_ms, 2000);
	assert_int_equal(cn_conf.http_processes, 2);
	assert_int_equal(cn_conf.verdict_processes, 0);
	assert_int_equal(cn_conf.max_in_flight, 256);
	assert_int_equal(cn_conf.max_connections, 32);
	assert_int_equal(cn_conf.min_connections, 1);
	assert_int_equal(cn_conf.batch_max, 1);
	assert_int_equal(cn_conf.limits.connection_lifetime_s, 300);
	assert_int_equal(cn_conf.queue_size, 8192);
	assert_int_equal(cn_conf.limits.max_answer_size, 16384);
	assert_int_equal(cn_conf.detect_reboot, 0);
	assert_int_equal(cn_conf.cseq_restart, 0);
	assert_int_equal(cn_conf.limits.drain_timeout_ms, 3000);
	assert_int_equal(cn_conf.identity, CN_IDENTITY_CONTACT);
	assert_int_equal(cn_conf.http_version, CN_HTTP_1_1);
	assert_null(cn_conf.body);
	assert_null(cn_conf.tls_ca);
	assert_string_equal(cn_conf.node, "sip1");
}

static void without_a_url_it_does_not_start(void **state)
{
	cn_conf.endpoints = 0;
	assert_refused("cms_url");
}

static void with_a_file_of_settings_no_url_is_needed(void **state)
{
	cn_conf.endpoints = 0;
	cn_conf.settings_file = "/etc/settings";
	assert_fine();
	cn_conf.settings_file = "settings";
	assert_refused("settings_file is no path");
}

static void urls_keep_their_order_up_to_the_limit(void **state)
{
	char name[CN_ENDPOINTS_MAX][32];
	int i;

	cn_conf.endpoints = 0;
	for(i = 0; i < CN_ENDPOINTS_MAX; i++) {
		snprintf(name[i], sizeof(name[i]), "http://cms%d.example/", i);
		assert_int_equal(cn_conf_add_url(0, name[i]), 0);
	}
	assert_fine();
	for(i = 0; i < CN_ENDPOINTS_MAX; i++)
		assert_string_equal(cn_conf.cms_url[i], name[i]);
	assert_int_equal(cn_conf_add_url(0, "http://one.more/"), -1);
	assert_logged("ERROR", "cms_url");
	assert_int_equal(cn_conf.endpoints, CN_ENDPOINTS_MAX);
}

static void each_number_has_a_range(void **state)
{
	const struct
	{
		const char *name;
		int *value;
		int min, max;
	} rows[] = {
			{"timeout", &cn_conf.limits.timeout_ms, 100, 30000},
			{"connect_timeout", &cn_conf.limits.connect_timeout_ms, 10, 30000},
			{"attempt_timeout", &cn_conf.limits.attempt_timeout_ms, 10, 30000},
			{"http_processes", &cn_conf.http_processes, 1, 64},
			{"verdict_processes", &cn_conf.verdict_processes, 0, 64},
			{"max_in_flight", &cn_conf.max_in_flight, 1, 100000},
			{"max_connections", &cn_conf.max_connections, 1, 10000},
			{"min_connections", &cn_conf.min_connections, 1, 10000},
			{"batch_max", &cn_conf.batch_max, 1, 1000},
			{"connection_lifetime", &cn_conf.limits.connection_lifetime_s, 0, 86400},
			{"queue_size", &cn_conf.queue_size, 1, 1000000},
			{"max_answer_size", &cn_conf.limits.max_answer_size, 256, 16777216},
			{"detect_reboot", &cn_conf.detect_reboot, 0, 1},
			{"cseq_restart", &cn_conf.cseq_restart, 0, 1},
			{"drain_timeout", &cn_conf.limits.drain_timeout_ms, 0, 30000},
	};
	char part[64];
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const int wrong[] = {
				rows[i].min - 1, rows[i].max + 1, INT_MIN, INT_MAX};
		size_t j;

		for(j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++) {
			start(NULL);
			*rows[i].value = wrong[j];
			snprintf(part, sizeof(part), "%s is %d", rows[i].name, wrong[j]);
			assert_refused(part);
		}
		start(NULL);
		*rows[i].value = rows[i].min;
		assert_fine();
		*rows[i].value = rows[i].max;
		assert_fine();
	}
}

static void each_fault_is_told(void **state)
{
	cn_conf.limits.timeout_ms = 0;
	cn_conf.queue_size = 0;
	cn_conf.identity_name = "mac";
	assert_int_equal(cn_conf_check(), -1);
	assert_non_null(strstr(stub_log(), "timeout is 0"));
	assert_non_null(strstr(stub_log(), "queue_size is 0"));
	assert_non_null(strstr(stub_log(), "identity is \"mac\""));
}

static void identities_by_name(void **state)
{
	const struct
	{
		char *name;
		enum cn_identity identity;
	} rows[] = {{"contact", CN_IDENTITY_CONTACT},
			{"instance", CN_IDENTITY_INSTANCE}, {"aor", CN_IDENTITY_AOR}};
	char *const wrong[] = {"", "Contact ", "uri", "contacts", "aor,instance"};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cn_conf.identity_name = rows[i].name;
		assert_fine();
		assert_int_equal(cn_conf.identity, rows[i].identity);
	}
	for(i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cn_conf.identity_name = wrong[i];
		assert_refused("identity");
	}
}

static void http_versions_by_name(void **state)
{
	const struct
	{
		char *name;
		enum cn_http_version version;
	} rows[] = {{"1.1", CN_HTTP_1_1}, {"2", CN_HTTP_2},
			{"2-prior-knowledge", CN_HTTP_2_PRIOR_KNOWLEDGE}};
	char *const wrong[] = {"", "1", "1.0", "1.1 ", "2.0", "h2", "3"};
	size_t i;

	for(i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cn_conf.http_version_name = rows[i].name;
		assert_fine();
		assert_int_equal(cn_conf.http_version, rows[i].version);
	}
	for(i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		cn_conf.http_version_name = wrong[i];
		assert_refused("http_version");
	}
}

static void check_header(char *header, const char *fault)
{
	start(NULL);
	assert_int_equal(cn_conf_add_header(0, header), 0);
	if(fault)
		assert_refused(fault);
	else
		assert_fine();
}

static void headers_that_may_be_sent(void **state)
{
	check_header("Authorization: Bearer abc.def-123", NULL);
	check_header("X-Key:secret", NULL);
	check_header("x!#$%&'*+-.^_`|~9: a\tb", NULL);
	check_header("X-Name: caf\xc3\xa9", NULL);
	check_header("Hosts: not the Host header", NULL);
	check_header("Content-Type-X: a", NULL);
}

static void headers_that_may_not_be_sent(void **state)
{
	check_header("", "Name: value");
	check_header("no colon", "Name: value");
	check_header(": no name", "Name: value");
	check_header("with blank: a", "Name: value");
	check_header("tail : a", "Name: value");
	check_header("(x): a", "Name: value");
	check_header("X-\xc3\xa9: a", "Name: value");
	check_header("X-A\r\n: a", "Name: value");
	check_header("X-A: b\r\nX-B: c", "line break");
	check_header("X-A: b\n", "line break");
	check_header("X-A: \r", "line break");
	check_header("X-A: b\x01", "control character");
	check_header("X-A: b\x7f", "control character");
	check_header("X-A:", "no value");
	check_header("X-A: \t ", "no value");
}

static void headers_of_the_module_itself(void **state)
{
	check_header("Content-Type: text/plain", "Content-Type");
	check_header("content-type: text/plain", "Content-Type");
	check_header("Content-Length: 0", "Content-Length");
	check_header("Idempotency-Key: 1", "Idempotency-Key");
	check_header("Traceparent: 1", "traceparent");
	check_header("HOST: other", "Host");
	check_header("Transfer-Encoding: chunked", "Transfer-Encoding");
	check_header("User-Agent: me", "User-Agent");
	check_header("Connection: close", "Connection");
}

static void a_secret_in_a_header_is_not_logged(void **state)
{
	static const char *const faults[] = {"Authorization Bearer s3cret",
			"Authorization: s3cret\r\n", "User-Agent: s3cret"};
	size_t i;

	for(i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		start(NULL);
		assert_int_equal(cn_conf_add_header(0, (char *)faults[i]), 0);
		assert_int_equal(cn_conf_check(), -1);
		assert_null(strstr(stub_log(), "s3cret"));
	}
}

static void headers_are_numbered_and_limited(void **state)
{
	int i;

	for(i = 0; i < CN_HEADERS_MAX; i++)
		assert_int_equal(cn_conf_add_header(0, i == 4 ? "wrong" : "X-A: b"), 0);
	assert_refused("number 5");
	assert_int_equal(cn_conf_add_header(0, "X-A: b"), -1);
	assert_logged("ERROR", "http_header");
	assert_int_equal(cn_conf.http_headers, CN_HEADERS_MAX);
}

static void tls_files_go_together(void **state)
{
	cn_conf.tls_ca = "/ca.pem";
	assert_fine();
	cn_conf.tls_cert = "/client.pem";
	assert_refused("tls_key is missing");
	cn_conf.tls_key = "/client.key";
	assert_fine();
	cn_conf.tls_cert = NULL;
	assert_refused("tls_cert is missing");
}

static void the_node_is_the_host_unless_it_is_set(void **state)
{
	cn_conf.node = "sip7";
	assert_fine();
	assert_string_equal(cn_conf.node, "sip7");
	cn_conf.node = "";
	assert_fine();
	assert_string_equal(cn_conf.node, "sip1");
	cn_conf.node = NULL;
	host_name = NULL;
	assert_refused("node");
}

static void the_longest_host_name_fits(void **state)
{
	char name[HOST_NAME_MAX + 1];

	memset(name, 'h', HOST_NAME_MAX);
	name[HOST_NAME_MAX] = '\0';
	host_name = name;
	assert_fine();
	assert_string_equal(cn_conf.node, name);
}

static void the_deadline_comes_before_fr_timer(void **state)
{
	struct cn_fault fault;

	assert_int_equal(cn_conf_check_timeout(4000, 30000, &fault), 0);
	assert_int_equal(cn_conf_check_timeout(4000, 4500, &fault), 0);
	assert_int_equal(cn_conf_check_timeout(4000, 4499, &fault), -1);
	assert_non_null(strstr(fault.text, "fr_timer"));
	assert_int_equal(cn_conf_check_timeout(4000, 4000, &fault), -1);
	assert_non_null(strstr(fault.text, "timeout to at most 3500"));
	assert_int_equal(cn_conf_check_timeout(4000, 0, &fault), -1);
	assert_non_null(strstr(fault.text, "at least 4500"));
	/* what is stored is stored a little later */
	cn_conf.outbox_db_url = "sqlite:///x";
	assert_int_equal(cn_conf_check_timeout(4000, 4749, &fault), -1);
	assert_int_equal(cn_conf_check_timeout(4000, 4750, &fault), 0);
}

static void who_is_off_line_is_told_through_the_outbox(void **state)
{
	cn_conf.alive_timeout_s = 180;
	assert_refused("alive_timeout is 180");
	cn_conf.outbox_db_url = "sqlite:///x";
	assert_fine();
}

static void posts_under_way_are_bounded_by_connections(void **state)
{
	cn_conf.max_in_flight = 256;
	cn_conf.max_connections = 32;
	cn_conf.http_version = CN_HTTP_1_1;
	assert_int_equal(cn_conf_posts_per_process(), 32);
	cn_conf.max_connections = 300;
	assert_int_equal(cn_conf_posts_per_process(), 256);
	cn_conf.max_connections = 1;
	cn_conf.http_version = CN_HTTP_2;
	assert_int_equal(cn_conf_posts_per_process(), 256);
	cn_conf.http_version = CN_HTTP_2_PRIOR_KNOWLEDGE;
	assert_int_equal(cn_conf_posts_per_process(), 256);
}

static void who_runs_the_verdict_route(void **state)
{
	cn_conf.http_processes = 3;
	assert_int_equal(cn_conf_resumers(), 3);
	cn_conf.verdict_processes = 5;
	assert_int_equal(cn_conf_resumers(), 5);
}

static void the_capacity_is_queue_and_posts(void **state)
{
	cn_conf.queue_size = 1000;
	cn_conf.http_processes = 3;
	cn_conf.max_connections = 10;
	assert_int_equal(cn_conf_capacity(), 1030);
	cn_conf.queue_size = 1000000;
	cn_conf.http_processes = 64;
	cn_conf.max_connections = 10000;
	cn_conf.max_in_flight = 100000;
	assert_int_equal(cn_conf_capacity(), 1640000);
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(defaults_are_the_documented_ones),
			TEST(without_a_url_it_does_not_start),
			TEST(with_a_file_of_settings_no_url_is_needed),
			TEST(urls_keep_their_order_up_to_the_limit),
			TEST(each_number_has_a_range),
			TEST(each_fault_is_told),
			TEST(identities_by_name),
			TEST(http_versions_by_name),
			TEST(headers_that_may_be_sent),
			TEST(headers_that_may_not_be_sent),
			TEST(headers_of_the_module_itself),
			TEST(a_secret_in_a_header_is_not_logged),
			TEST(headers_are_numbered_and_limited),
			TEST(tls_files_go_together),
			TEST(the_node_is_the_host_unless_it_is_set),
			TEST(the_longest_host_name_fits),
			TEST(the_deadline_comes_before_fr_timer),
			TEST(who_is_off_line_is_told_through_the_outbox),
			TEST(posts_under_way_are_bounded_by_connections),
			TEST(who_runs_the_verdict_route),
			TEST(the_capacity_is_queue_and_posts),
	};

	return cmocka_run_group_tests(tests, remember_defaults, NULL);
}
