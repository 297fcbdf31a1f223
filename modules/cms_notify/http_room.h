/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Whether there is room for a POST: how many may be under way to an endpoint now.
 * http_concurrency finds that number from the answers that all HTTP processes get: each
 * by itself, they would take each other's place. Each process has its share of it, so
 * that one that hangs holds no more than that. */

#ifndef CN_HTTP_ROOM_H
#define CN_HTTP_ROOM_H

#include "http_concurrency.h"

/**
 * Process: main, before any fork.
 *
 * @param slots     see http_endpoints.h
 * @param processes of HTTP
 * @param least     POSTs under way that each of them may have at any time
 * @param most      that it may have at all
 */
int cn_room_init(int slots, int processes, int least, int most) CN_MUST;
void cn_room_destroy(void);

/* Another endpoint has its place: as at the start. Process: any. */
void cn_room_reset(int slot);

/* How many POSTs may be under way to it, from all processes. Process: any. */
int cn_room_number(int slot);

/* -------- Process: HTTP -------- */

/* Which of the processes this is, from 0 on. */
void cn_room_set_up(int process);

/* How many this process may have under way to this endpoint. */
int cn_room_share(int slot);

/* May it begin one more? */
bool cn_room_is_free(int slot);

/* A POST has begun, and has ended. One that has been taken may go to any endpoint,
 * whatever room there is. */
void cn_room_began(int slot);
/* @param answer NULL: says nothing */
void cn_room_ended(int slot, const struct cn_concurrency_answer *answer);

#endif
