/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Bindings that expired and that usrloc has purged since: what tells a device
 * that returns from a new one. A fixed piece of shared memory, the latest
 * CN_EXPIRED_MAX of them at best; forgotten by a restart. */

#ifndef CN_REG_EXPIRED_H
#define CN_REG_EXPIRED_H

#include "base.h"

#define CN_EXPIRED_MAX 131072

/* Process: main, before any fork. */
int cn_expired_init(void) CN_MUST;
void cn_expired_destroy(void);

/* Process: any. Never block. */
void cn_expired_note(const str *key, const str *contact);
void cn_expired_forget(const str *key, const str *contact);
bool cn_expired_has(const str *key, const str *contact);

#endif
