/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_conf.h"
#include "face_drain.h"
#include "face_health.h"
#include "http_breaker.h"
#include "http_endpoints.h"
#include "outbox.h"

struct cn_conf cn_conf;

static struct
{
	bool kemi, has_outbox, would_pass, draining;
	struct cn_outbox_state outbox;
	enum cn_breaker_state states[2];
	int taken;
} the;

struct sr_kemi_eng *sr_kemi_eng_get(void)
{
	return the.kemi ? (struct sr_kemi_eng *)&the : NULL;
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
	*list = (struct cn_endpoints){.count = 2, .slot = {0, 1}};
	the.taken++;
}

void cn_endpoints_give_back(const struct cn_endpoints *list)
{
	the.taken--;
}

enum cn_breaker_state cn_breaker_state(int endpoint)
{
	return the.states[endpoint];
}

bool cn_breaker_would_pass(int endpoint, int64_t now_us)
{
	return the.would_pass;
}

static int start(void **state)
{
	memset(&the, 0, sizeof(the));
	cn_conf.outbox_max = 10;
	the.outbox.ready = true;
	return 0;
}

static void assert_health(const char *expected)
{
	char why[CN_HEALTH_TEXT_MAX];
	bool ready = cn_health_is_ready(why);

	assert_string_equal(why, expected);
	assert_int_equal(ready, strcmp(expected, "ready\n") == 0);
	assert_int_equal(the.taken, 0);
}

static void all_away(void)
{
	the.states[0] = the.states[1] = CN_BREAKER_OPEN;
}

static void one_endpoint_is_enough(void **state)
{
	assert_health("ready\n");
	the.states[0] = CN_BREAKER_OPEN;
	assert_health("ready\n");
	all_away();
	assert_health("the CMS is away\n");
	the.states[1] = CN_BREAKER_HALF; /* somebody is finding out */
	assert_health("ready\n");
}

static void after_the_cooldown_it_may_be_back(void **state)
{
	all_away();
	the.would_pass = true;
	assert_health("ready\n");
}

/* Before the script has said that it defers, which stays. */
static void who_does_not_defer_needs_the_cms(void **state)
{
	all_away();
	the.has_outbox = true;
	assert_health("the CMS is away\n");
	the.kemi = true; /* it may */
	assert_health("ready\n");
}

static void who_defers_needs_the_outbox(void **state)
{
	cn_health_set_deferring();
	all_away();
	assert_health("the CMS is away\n");
	the.has_outbox = true;
	assert_health("ready\n");
	the.outbox.ready = false;
	assert_health("the CMS is away\n"
				  "the database of the outbox does not answer\n");
	the.states[0] = CN_BREAKER_CLOSED;
	assert_health("ready\n");
}

static void a_full_outbox_is_a_reason(void **state)
{
	the.outbox.waiting = 10;
	assert_health("ready\n"); /* there is none */
	the.has_outbox = true;
	assert_health("the outbox is full\n");
	the.outbox.waiting = 9;
	assert_health("ready\n");
	the.outbox.waiting = 11;
	all_away();
	the.outbox.ready = false;
	cn_health_set_deferring();
	assert_health("the outbox is full\nthe CMS is away\n"
				  "the database of the outbox does not answer\n");
	the.draining = true;
	assert_health("draining\nthe outbox is full\nthe CMS is away\n"
				  "the database of the outbox does not answer\n");
}

static void who_drains_is_not_ready(void **state)
{
	the.draining = true;
	assert_health("draining\n");
}

/* They may lie there for weeks. */
static void dead_letters_matter_when_events_cannot_be_deferred(void **state)
{
	the.has_outbox = true;
	the.outbox.waiting = 4;
	the.outbox.dead = 6;
	cn_health_set_deferring();
	assert_health("ready\n");
	all_away();
	assert_health("the outbox is full\nthe CMS is away\n");
	the.outbox.dead = 5;
	assert_health("ready\n");
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(one_endpoint_is_enough),
			TEST(after_the_cooldown_it_may_be_back),
			TEST(who_does_not_defer_needs_the_cms),
			TEST(who_defers_needs_the_outbox),
			TEST(a_full_outbox_is_a_reason),
			TEST(dead_letters_matter_when_events_cannot_be_deferred),
			TEST(who_drains_is_not_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
