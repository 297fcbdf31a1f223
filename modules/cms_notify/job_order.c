/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"

#include "base_conf.h"
#include "job_index.h"
#include "outbox.h"
#include "job_ring.h"
#include "job_order.h"
#include "outbox_waiting.h"

/* A registration waits for its turn for a quarter of its time, and no longer
 * than this. */
#define CN_WAIT_MS 1000

static void (*give_job)(struct cn_job *job);

/* To look at all devices at each tick would cost more than all else here, and
 * push other processes' data out of the CPU's caches. */
#define CN_LOOK_US 200000

/* Of the timer process. */
static int64_t next_look_us;

void cn_turn_init(void (*give)(struct cn_job *job))
{
	give_job = give;
	next_look_us = 0;
}

void cn_turn_go(struct cn_job *job)
{
	struct cn_note *note;

	if(!cn_outbox_exists() || !cn_waiting_may(cn_job_hash(job))) {
		give_job(job);
		return;
	}
	note = cn_outbox_question(job);
	/* once it is asked about, whoever changes that sends it */
	if(note == NULL || !cn_device_turn(job, CN_TURN_COME, CN_TURN_ASKED)) {
		give_job(job);
	} else if(cn_ring_push(cn_outbox_notes(), (void **)&note) < 0) {
		if(cn_device_turn(job, CN_TURN_ASKED, CN_TURN_COME))
			give_job(job);
	}
	cn_note_free(note);
}

void cn_turn_left(const struct cn_job *job)
{
	struct cn_job *freed, *next;

	if(!cn_outbox_exists())
		return;
	for(freed = cn_device_freed(job); freed; freed = next) {
		next = *cn_job_freed(freed); /* it may be gone once it goes */
		cn_turn_go(freed);
	}
}

/* From a copy, made while it is asked about: once it is sent, the answer may
 * take the place of the body. */
static int keep(struct cn_job *job, bool *kept)
{
	const str *from = cn_job_body(job);
	str body = {malloc(from->len), from->len};
	int err = 0;

	if(body.s == NULL) {
		LM_ERR("no memory for the body of an event\n");
		return -1;
	}
	memcpy(body.s, from->s, body.len);
	if(cn_device_turn(job, CN_TURN_ASKED, CN_TURN_ASKED)) {
		err = cn_outbox_keep(job, &body);
		*kept = err == 0;
	}
	free(body.s);
	return err;
}

int cn_turn_heed(struct cn_job *job, bool *in_vain)
{
	bool older = false, kept = false;
	int err = 0;

	if(cn_waiting_may(cn_job_hash(job)))
		err = cn_outbox_has_older(job, &older);
	if(older)
		err = keep(job, &kept);
	*in_vain = kept;
	if(cn_device_come(job, kept)) {
		*in_vain = false;
		give_job(job);
	}
	return err;
}

void cn_turn_watch(int64_t now_us)
{
	int64_t held_since_us, wait_us = (int64_t)cn_conf.timeout_ms * 1000 / 4;

	if(wait_us > CN_WAIT_MS * 1000)
		wait_us = CN_WAIT_MS * 1000;
	if(!cn_outbox_exists() || now_us < next_look_us)
		return;
	held_since_us = cn_device_hurry(now_us - wait_us, give_job);
	next_look_us = now_us + CN_LOOK_US;
	if(held_since_us < next_look_us - wait_us)
		next_look_us = held_since_us + wait_us;
}

void cn_turn_hurry(void)
{
	if(cn_outbox_exists())
		(void)cn_device_hurry(INT64_MAX, give_job);
}
