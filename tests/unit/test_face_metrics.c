/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <time.h>

#include "stubs.h"

#include "../../core/mem/mem.h"
#include "../../core/mem/shm_mem.h"

#include "admit.h"
#include "base_conf.h"
#include "base_stats.h"
#include "face_drain.h"
#include "face_metrics.h"
#include "http_breaker.h"
#include "http_endpoints.h"
#include "http_room.h"
#include "job_number.h"
#include "outbox.h"
#include "reg_usrloc.h"

struct cn_conf cn_conf;
time_t up_since = 1000;
unsigned long shm_mem_size = 64 << 20;
const char ver_version[] = "5.6.3";

static struct
{
	bool has_outbox, in_memory, alive, draining;
	struct cn_outbox_state outbox;
	struct cn_endpoints list;
	unsigned long counter, more; /* all counters; what they grow by, each time */
	int taken;
} the;

static unsigned long available(void *block)
{
	return 1 << 20;
}

bool cn_drain_is_on(void)
{
	return the.draining;
}

bool cn_outbox_exists(void)
{
	return the.has_outbox;
}

void cn_outbox_state(struct cn_outbox_state *state)
{
	*state = the.outbox;
}

void cn_endpoints_take(struct cn_endpoints *list)
{
	*list = the.list;
	the.taken++;
}

void cn_endpoints_give_back(const struct cn_endpoints *list)
{
	the.taken--;
}

int cn_room_number(int endpoint)
{
	return 30 + endpoint;
}

enum cn_breaker_state cn_breaker_state(int endpoint)
{
	return CN_BREAKER_OPEN;
}

const char *cn_breaker_state_name(enum cn_breaker_state state)
{
	static const char *const names[] = {"closed", "open", "half-open"};

	return names[state];
}

double cn_admission_rate(void)
{
	return 10;
}

int64_t cn_admission_line_us(int64_t now_us)
{
	return 2500000;
}

int64_t cn_number_clock_us(void)
{
	return 90000000;
}

int cn_conf_capacity(void)
{
	return 100;
}

unsigned long cn_usrloc_contacts(void)
{
	return 7;
}

int cn_alive_counted(void)
{
	return 6;
}

bool cn_alive_is_on(void)
{
	return the.alive;
}

bool cn_usrloc_in_memory(void)
{
	return the.in_memory;
}

unsigned long cn_stats_counter(enum cn_counter counter)
{
	return the.counter += the.more;
}

unsigned long cn_stats_cause_count(enum cn_cause cause)
{
	return cause;
}

unsigned long cn_stats_news_count(enum cn_reason reason)
{
	return reason;
}

unsigned long cn_stats_stored_count(enum cn_stored what, enum cn_kind kind)
{
	return 10 * what + kind;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return gauge;
}

void cn_stats_read_latency(
		enum cn_latency latency, struct cn_histogram_counts *counts)
{
	memset(counts, 0, sizeof(*counts));
	counts->all = latency;
}

void cn_stats_read_endpoint(int endpoint, struct cn_histogram_counts *counts)
{
	cn_stats_read_latency(CN_LATENCY_HTTP, counts);
}

void cn_stats_endpoint(int endpoint, struct cn_endpoint_stats *stats)
{
	*stats = (struct cn_endpoint_stats){
			.attempts = 10 + endpoint, .failures = 20 + endpoint};
}

static str text;

static int start(void **state)
{
	memset(&the, 0, sizeof(the));
	the.in_memory = true;
	the.list = (struct cn_endpoints){.count = 3, .slot = {0, 1, 2}};
	the.list.url[0] = "http://cms/a?key=secret";
	the.list.url[1] = "http://cms/b";
	the.list.url[2] = "http://cms/a?key=other";
	cn_conf.node = "sip1";
	cn_conf.outbox_max = 1000;
	_shm_root.xavailable = available;
	text.s = NULL;
	return 0;
}

static int end(void **state)
{
	if(text.s)
		pkg_free(text.s);
	return stub_pkg_blocks() == 0 && the.taken == 0 ? 0 : -1;
}

static void write_it(bool open_metrics)
{
	if(text.s)
		pkg_free(text.s);
	assert_int_equal(cn_metrics_write(open_metrics, &text), 0);
	assert_int_equal(text.len, strlen(text.s));
}

static void assert_sample(const char *sample)
{
	char line[256];

	snprintf(line, sizeof(line), "\n%s\n", sample);
	if(strstr(text.s, line) == NULL)
		fail_msg("no \"%s\" in:\n%s", sample, text.s);
}

static void the_table_is_written(void **state)
{
	write_it(false);
	assert_sample("cms_notify_build_info{version=\"" CN_VERSION
				  "\",kamailio=\"5.6.3\",node=\"sip1\"} 1");
	assert_sample("cms_notify_start_time_seconds 1000");
	assert_sample("cms_notify_registrations_total{reason=\"moved\"} 4");
	assert_sample("cms_notify_line_seconds 2.5");
	assert_sample("cms_notify_line_devices 25");
	assert_sample("cms_notify_contacts 7");
	assert_null(strstr(text.s, "cms_notify_alive"));
	assert_sample("cms_notify_draining 0");
	assert_sample("cms_notify_shared_memory_bytes 67108864");
	assert_sample("cms_notify_shared_memory_free_bytes 1048576");
	assert_sample("cms_notify_verdict_seconds_bucket{le=\"33.554432\"} 0");
	assert_null(strstr(text.s, "cms_notify_outbox"));
	write_it(true);
	assert_string_equal(text.s + text.len - 6, "# EOF\n");
	the.in_memory = false;
	the.alive = the.draining = true;
	write_it(false);
	assert_sample("cms_notify_alive 6");
	assert_sample("cms_notify_draining 1");
	assert_null(strstr(text.s, "cms_notify_contacts"));
}

static void endpoints_have_names_that_differ(void **state)
{
	write_it(false);
	assert_sample("cms_notify_attempts_total{endpoint=\"http://cms/a\"} 10");
	assert_sample("cms_notify_attempts_total{endpoint=\"http://cms/b\"} 11");
	assert_sample("cms_notify_attempts_total{endpoint=\"http://cms/a#3\"} 12");
	assert_sample("cms_notify_attempt_failures_total{endpoint=\"http://cms/b\"} 21");
	assert_sample("cms_notify_attempts_limit{endpoint=\"http://cms/b\"} 31");
	assert_sample("cms_notify_endpoint_state{endpoint=\"http://cms/b\","
				  "state=\"open\"} 1");
	assert_sample("cms_notify_endpoint_state{endpoint=\"http://cms/b\","
				  "state=\"half-open\"} 0");
	assert_null(strstr(text.s, "secret"));
}

static void an_outbox_is_shown_where_there_is_one(void **state)
{
	the.has_outbox = true;
	the.outbox = (struct cn_outbox_state){
			.ready = true, .waiting = 3, .dead = 2, .oldest_us = 30000000};
	write_it(false);
	assert_sample("cms_notify_outbox_ready 1");
	assert_sample("cms_notify_outbox_paused 0");
	assert_sample("cms_notify_outbox_waiting 3");
	assert_sample("cms_notify_outbox_capacity 1000");
	assert_sample("cms_notify_outbox_dead_letters 2");
	assert_sample("cms_notify_outbox_oldest_seconds 60");
	assert_sample("cms_notify_outbox_delivered_total{event=\"offline\"} 13");
	the.outbox.waiting = 0; /* and the rows have not been looked at since */
	write_it(false);
	assert_sample("cms_notify_outbox_oldest_seconds 0");
	the.outbox = (struct cn_outbox_state){.waiting = 1, .oldest_us = 99000000};
	write_it(false);
	assert_sample("cms_notify_outbox_oldest_seconds 0"); /* another's clock */
}

static void what_grows_meanwhile_fits(void **state)
{
	the.counter = 9;
	the.more = 1000000;
	write_it(false);
	assert_non_null(strstr(text.s, "cms_notify_shared_memory_free_bytes"));
}

static void without_memory_there_is_none(void **state)
{
	stub_fail_at(1);
	assert_int_equal(cn_metrics_write(false, &text), -1);
	stub_fail_at(0);
	text.s = NULL;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(the_table_is_written),
			TEST(endpoints_have_names_that_differ),
			TEST(an_outbox_is_shown_where_there_is_one),
			TEST(what_grows_meanwhile_fits),
			TEST(without_memory_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
