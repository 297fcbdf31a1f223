/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A sign of life: which contact gave it. */

#ifndef CN_REG_HEARD_H
#define CN_REG_HEARD_H

#include "base.h"

struct sip_msg;
struct udomain;

/**
 * The device was heard of just now: keep the contact that the message came from,
 * by its address or else by its Contact header, or the only one.
 * Process: SIP worker.
 *
 * @param aor URI of the AOR; NULL: of who has sent the message
 * @return false: no contact of the AOR is registered that this can be
 */
bool cn_heard_keep(struct sip_msg *msg, struct udomain *table, const str *aor);

#endif
