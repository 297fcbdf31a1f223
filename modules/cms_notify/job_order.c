/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Sends jobs in their order. In whatever process a job enters, leaves or is
 * answered. */

#include "job_index.h"
#include "job_order.h"
#include "outbox.h"

static void (*give_job)(struct cn_job *job);
static void (*give_job_back)(struct cn_job *job);

void cn_order_init(
		void (*give)(struct cn_job *job), void (*give_back)(struct cn_job *job))
{
	give_job = give;
	give_job_back = give_back;
}

void cn_order_send(struct cn_job *job)
{
	give_job(job);
}

void cn_order_give_back(struct cn_job *delivery)
{
	give_job_back(delivery);
}

void cn_order_go(struct cn_job *job)
{
	if(!cn_outbox_must_be_asked(job)
			|| !cn_index_set_order(job, CN_SENDABLE, CN_ASKED)) {
		give_job(job);
		return;
	}
	/* from here on it is whoever changes the order that sends it */
	if(cn_outbox_ask(job) < 0 && cn_index_set_order(job, CN_ASKED, CN_SENDABLE))
		give_job(job);
}

void cn_order_release(const str *key, unsigned hash)
{
	struct cn_job *job, *next;

	for(job = cn_index_release(key, hash); job; job = next) {
		next = cn_index_next_released(job); /* it may be gone once it goes */
		cn_order_go(job);
	}
}

void cn_order_left(const struct cn_job *job)
{
	cn_order_release(cn_job_key(job), cn_job_hash(job));
}

bool cn_order_answer(struct cn_job *job, bool has_row)
{
	/* before it can be sent: who ends it must know */
	if(has_row)
		cn_job_set_row(job);
	if(!cn_index_set_order(job, CN_ASKED, CN_SENDABLE))
		return false;
	give_job(job);
	return true;
}

void cn_order_hold(struct cn_job *job)
{
	(void)cn_index_set_order(job, CN_ASKED, CN_HELD);
}
