/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A POST with a job, or with a batch of them: to one endpoint after the other, until
 * each job has its outcome. Process: HTTP. */

#ifndef CN_HTTP_POST_H
#define CN_HTTP_POST_H

#include "http_again.h"

struct cn_post;

/**
 * @param process    see cn_room_set_up()
 * @param fds, count see cn_clients_set_up()
 */
int cn_post_set_up(int process, const int *fds, int count) CN_MUST;

/* May another one begin? One for a delivery? Is any under way? */
bool cn_post_is_free(void);
bool cn_post_is_spare(void);
bool cn_post_any(void);

/* -------- filling; one at a time -------- */

/* One that is not under way: there is. */
struct cn_post *cn_post_new(void);

/* Does one more go into it? Not two of an AOR, and not too much for the CMS. Looks
 * and returns. */
bool cn_post_fits(const struct cn_post *post, const struct cn_job *job);
bool cn_post_is_full(const struct cn_post *post);

/* Takes the job. It is ended at once when there is no point in sending it.
 *
 * @param again it has been sent before */
void cn_post_add(struct cn_post *post, struct cn_job *job, bool again);

/* Send what is in it to the first endpoint that takes it; nothing is left of an empty
 * one.
 *
 * @param at from which on; NULL: of all */
void cn_post_send(struct cn_post *post, const struct cn_again_at *at);

/* -------- the server stops -------- */

/* libcurl is not called any more. */
void cn_post_fail_all(enum cn_cause cause);

#endif
