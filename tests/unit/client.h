/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* One client a test, and the server that it talks to. Each test has its own;
 * what most need has short names. */

#ifndef CLIENT_H
#define CLIENT_H

#include "server.h"

#include "base_conf.h"
#include "http_client.h"
#include "http_setup.h"

struct result
{
	bool ended;
	int times; /* done() was called for it */
	enum cn_cause cause;
	long status;
	unsigned retry_after;
	unsigned unasked;
	char body[60000];
	int len;
	int64_t us; /* from cn_http_post() on */
	int64_t began_us;
};

extern struct cn_http *http;
extern struct cn_fault fault;
extern struct cn_endpoints endpoints;
extern struct cn_http *all_https[1024]; /* they live as long as the process */
extern struct server *server;
extern struct result *result; /* of the one request of most tests */
extern int connections; /* as they are counted */
extern int answers; /* that a request is about */
extern char urls[2][128];

int start(void **state);
int end(void **state);
#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

void on_done(void *user, const struct cn_http_result *r);
void set_url(int i, int port);
struct cn_http *new_http(int most);
void set_up(serve_f serve, int most);
int post_to(int endpoint, struct result *r, const char *id,
		const char *body, long timeout_ms);
/* @return does it end? */
bool wait_for(struct result *r);
void run_until_ended(struct result *r);

#define ID "4f0c0000000000000000000000000001"
#define PATIENCE_MS 20000 /* for what comes, late on a busy machine */

struct result *post_ms(long timeout_ms);
struct result *post(void);
struct result *post_once(serve_f serve);
void run_ms(int ms); /* whatever happens */

#define assert_result(r, wanted_cause, wanted_status)                   \
	do {                                                                \
		const struct result *r_ = (r);                                  \
                                                                        \
		assert_string_equal(                                            \
				cn_cause_name(r_->cause), cn_cause_name(wanted_cause)); \
		assert_int_equal(r_->status, wanted_status);                    \
	} while(0)

/* -------- what servers do -------- */

void answer_ok(struct connection *c);
void answer_204(struct connection *c);
void answer_endlessly(struct connection *c);
void close_in_the_head(struct connection *c);
int unused_port(void);

#endif
