/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The rest of the module and of the core, as far as the outbox needs it. */

#include "../../core/cfg/cfg_struct.h"
#include "../../core/pt.h"
#include "../../core/timer.h"

#include "world.h"

#include "admit.h"
#include "base_body.h"
#include "base_stats.h"
#include "base_stop.h"
#include "http_breaker.h"
#include "http_room.h"
#include "job_line.h"
#include "outbox_leaving.h"
#include "outbox_resync.h"
#include "reg_settings.h"

struct cn_conf cn_conf;

int cn_conf_capacity(void)
{
	return 64;
}

int cn_conf_resumers(void)
{
	return 1;
}

int cn_conf_posts_per_process(void)
{
	return 8;
}

const struct cn_registrar *cn_registrar(void)
{
	static const struct cn_registrar registrar = {.max_contacts = 100};

	return &registrar;
}

int cn_body_render(
		struct sip_msg *msg, const struct cn_event *ev, str *body)
{
	static char text[100];

	write_body(ev, text, sizeof(text));
	*body = stub_str(text);
	return 0;
}

int faked_msg_init(void)
{
	return 0;
}

struct sip_msg *faked_msg_next(void)
{
	return NULL;
}

void show_event(const struct cn_event *ev)
{
}

struct cn_task *cn_resync_next(
		struct cn_event **ev, int64_t now_us, int64_t *due_us)
{
	*due_us = INT64_MAX;
	return NULL;
}

void cn_resync_told(struct cn_task *task, enum cn_told told)
{
	check(!"there is nothing to be told again");
}

static int gauges[64];

void cn_line_write(const struct cn_line *line)
{
}

void cn_stats_count(enum cn_counter counter)
{
}

void cn_stats_stored(enum cn_stored what, enum cn_kind kind)
{
}

void cn_stats_cause(enum cn_cause cause)
{
}

void cn_stats_gauge(enum cn_gauge gauge, int by)
{
	gauges[gauge] += by;
}

int cn_stats_gauge_value(enum cn_gauge gauge)
{
	return gauges[gauge];
}

void cn_stats_latency(enum cn_latency latency, int64_t us)
{
}

void cn_stats_attempt_begin(int endpoint)
{
}

void cn_stats_attempt_end(
		int endpoint, enum cn_cause cause, unsigned status, int64_t us)
{
}

int64_t cn_stats_answered_us(void)
{
	return answered_us;
}

bool cn_breaker_pass(int endpoint, int64_t now_us)
{
	return true;
}

int cn_breaker_next(const int *endpoints, int count, int from, int64_t now_us)
{
	return from;
}

/* As many as there are. */
void cn_room_set_up(int process)
{
}

int cn_room_number(int slot)
{
	return cn_conf.http_processes * cn_conf_posts_per_process();
}

int cn_room_share(int slot)
{
	return cn_conf_posts_per_process();
}

/* Another process may have lowered the number meanwhile. */
bool cn_room_is_free(int slot)
{
	return !chance(10);
}

void cn_room_began(int slot)
{
}

void cn_room_ended(int slot, const struct cn_concurrency_answer *answer)
{
}

enum cn_breaker_edge cn_breaker_report(
		int endpoint, enum cn_cause cause, long status, int64_t now_us)
{
	return CN_BREAKER_SAME;
}

/* Nobody is away: world_devices.c sees to it that no job fails for this. */
enum cn_cause cn_breaker_cause(int endpoint)
{
	return CN_CAUSE_tls;
}

void cn_admission_began(int events, int posts, int64_t now_us)
{
}

void cn_admission_ended(
		int events, int64_t answered_us, bool waiting, int64_t now_us)
{
}

void cn_admission_left(int events)
{
}

bool cn_body_has_id(void)
{
	return true;
}

bool cn_admission_has_time(int64_t left_us)
{
	return left_us > 0;
}

int cn_stop_init(void)
{
	return 0;
}

int cn_stop_fd(void)
{
	return 0;
}

bool cn_stop_asked(void)
{
	return false;
}

int64_t cn_stop_left_us(void)
{
	return 0;
}

unsigned int kam_rand(void)
{
	return stub_random(&world->dice);
}

unsigned int cryptorand(void)
{
	return 1;
}

/* -------- the core -------- */

cfg_group_t *cfg_group;
cfg_block_t **cfg_global, *cfg_local;
int cfg_block_size, cfg_ginst_count;
gen_lock_t *cfg_global_lock;
cfg_child_cb_t **cfg_child_cb_first, **cfg_child_cb_last, *cfg_child_cb;

void cfg_move_handle(
		cfg_group_t *group, cfg_group_inst_t *from, cfg_group_inst_t *to)
{
	abort();
}

int fork_process(int child_id, char *desc, int make_sock)
{
	abort();
}

int cfg_child_init(void)
{
	return 0;
}

struct timer_ln *timer_alloc(void)
{
	return calloc(1, sizeof(struct timer_ln));
}

int timer_add_safe(struct timer_ln *tl, ticks_t delta)
{
	return 0;
}
