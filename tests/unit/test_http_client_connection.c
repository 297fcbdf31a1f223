/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Which connection a request takes, and what becomes of it. */

#include <sched.h>

#include "client.h"

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
	endpoints.count = 2;
	set_up(answer_endlessly, 1);
	assert_int_equal(post()->cause, CN_CAUSE_too_big);
	assert_int_equal(post_to(1, result, ID, "{}", PATIENCE_MS), 0);
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
		assert_in_range(runs, 0, 20);
	}
}

/* By a request that begins later, too: it is watched again. */
static void an_idle_connection_is_watched_when_it_is_used_again(void **state)
{
	int64_t until;
	int i;

	set_up(answer_late, 1);
	for(i = 0; i < 5; i++) {
		assert_int_equal(post_to(0, result, ID, "{}", PATIENCE_MS), 0);
		while(!result->ended)
			cn_http_run(http, PATIENCE_MS);
		assert_result(result, CN_CAUSE_none, 200);
		assert_true(result->us < 15000000);
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
			assert_int_equal(post_to(0, &r[i], ID, "{}", PATIENCE_MS), 0);
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

static void a_connection_does_not_live_for_ever(void **state)
{
	int64_t began = cn_now_us(), until = began + 3500000;

	stub_limits.connection_lifetime_s = 1;
	set_up(answer_ok, 1);
	while(cn_now_us() < until || server->connections < 2) {
		assert_result(post(), CN_CAUSE_none, 200);
		run_ms(50);
	}
	/* each lives for a second */
	assert_in_range(
			server->connections, 2, 1 + (cn_now_us() - began) / 1000000);
	end(NULL);
	start(NULL);
	stub_limits.connection_lifetime_s = 0;
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
		assert_int_equal(post_to(0, &r[i], ids[i], bodies[i], PATIENCE_MS), 0);
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
	assert_int_equal(post_to(0, &r[0], ID, "{}", PATIENCE_MS), 0);
	assert_int_equal(post_to(0, &r[1], ID, "{}", PATIENCE_MS), 0);
	assert_int_equal(post_to(0, &r[2], ID, "{}", PATIENCE_MS), -1);
	run_until_ended(&r[0]);
	run_until_ended(&r[1]);
	assert_int_equal(r[2].times, 0);
	assert_int_equal(post_to(0, &r[2], ID, "{}", PATIENCE_MS), 0);
	run_until_ended(&r[2]);
	assert_result(&r[2], CN_CAUSE_none, 200);
	free(r);
}

static void endpoints_are_told_apart(void **state)
{
	struct server *second = server_start(answer_204);
	int i;

	set_url(1, second->port);
	endpoints.count = 2;
	set_up(answer_ok, 1);
	for(i = 0; i < 6; i++) {
		assert_int_equal(post_to(i & 1, result, ID, "{}", PATIENCE_MS), 0);
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
		check(post_to(1, &again, ID, "{}", PATIENCE_MS) == 0);
}

static void a_request_may_begin_as_another_ends(void **state)
{
	server = server_start(answer_ok);
	set_url(0, unused_port());
	set_url(1, server->port);
	endpoints.count = 2;
	http = all_https[1023] = cn_http_new(1, post_again, &endpoints, &fault);
	assert_non_null(http);
	post();
	assert_result(result, CN_CAUSE_connect, 0);
	run_until_ended(&again);
	assert_result(&again, CN_CAUSE_none, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
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
			TEST(a_connection_does_not_live_for_ever),
			TEST(answers_find_their_requests),
			TEST(more_than_fit_are_refused),
			TEST(endpoints_are_told_apart),
			TEST(a_request_may_begin_as_another_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
