/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What edge proxies have put into a REGISTER: RFC 3327, RFC 5626. */

#ifndef CN_REG_PATH_H
#define CN_REG_PATH_H

#include "../../core/parser/msg_parser.h"

#include "base.h"

/* Is the reg-id to be looked at? registrar ignores it where the edge in between
 * does not speak RFC 5626. Process: SIP worker. */
bool cn_path_uses_reg_id(struct sip_msg *msg);

/**
 * All Path headers as usrloc stores them: one string, comma between. The first
 * must be a loose router.
 * Process: SIP worker.
 *
 * @param path     in scratch memory that the next call overwrites
 * @param received the same: where the first Path says that the request came
 *                 from; empty: it does not
 * @return false: save() is going to refuse it
 */
bool cn_path_read(struct sip_msg *msg, str *path, str *received) CN_MUST;

#endif
