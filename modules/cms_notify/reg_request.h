/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What a REGISTER says: who, where from, which contacts. */

#ifndef CN_REG_REQUEST_H
#define CN_REG_REQUEST_H

#include "../../core/parser/msg_parser.h"

#include "job_event.h"

/**
 * Read a REGISTER.
 * Process: SIP worker.
 *
 * @param aor        URI of the AOR; NULL: the To header's
 * @param use_domain usrloc's setting: is the domain a part of the AOR?
 * @param ev filled but for the hash, the reasons, and what
 *           cn_request_describe() adds; points into msg and into scratch
 *           memory that the next call overwrites. A request that save() is
 *           going to refuse for its form has no contacts here: there is nothing
 *           to tell the CMS.
 * @return 0, or -1: out of memory
 */
int cn_request_read(struct sip_msg *msg, const str *aor, bool use_domain,
		struct cn_event *ev) CN_MUST;

/* What the CMS is told, and a refresh need not know: the AOR as a URI, where the
 * request comes from, what sent it.
 *
 * @param ev with contacts, from the last cn_request_read(), of the same request */
void cn_request_describe(struct sip_msg *msg, struct cn_event *ev);

/**
 * What usrloc knows an AOR by. Process: any that the cfg framework serves.
 *
 * @param aor a URI
 * @param key in the scratch memory
 * @return false: it is no URI
 */
bool cn_request_key(const str *aor, bool use_domain, str *key) CN_MUST;

#endif
