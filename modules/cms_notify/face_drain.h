/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Draining: this server is being emptied before maintenance. Where its devices go is
 * for the script to say, which asks for $cms(draining). */

#ifndef CN_FACE_DRAIN_H
#define CN_FACE_DRAIN_H

#include "../../core/rpc.h"

#include "base.h"

/* Not draining. Process: main, before any fork. */
int cn_drain_init(void) CN_MUST;
void cn_drain_destroy(void);

/* Until an operator ends it, also when it is done. Process: any. */
bool cn_drain_is_on(void);

/* How far it is, into a structure of an answer. Process: any that serves RPC. */
void cn_drain_add(rpc_t *rpc, void *reply);

/* The command cms_notify.drain. Process: any that serves RPC. */
void cn_drain_command(rpc_t *rpc, void *ctx);

#endif
