/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What cms_notify() and cms_is_new() do, natively and by KEMI alike. Process: SIP
 * worker. */

#ifndef CN_FACE_NOTIFY_H
#define CN_FACE_NOTIFY_H

#include "../../core/parser/msg_parser.h"

#include "base.h"

struct udomain;

/* What the script gets. */
enum cn_result
{
	CN_NOT_NEW = 1,
	CN_ENDS_SCRIPT = 0,
	CN_FAILED = -1
};

/* Where a request goes on when there is a verdict, and how. */
struct cn_goal
{
	int route;	  /* -1: see callback */
	str callback; /* KEMI function */
	bool defers;
};

/**
 * Tell the CMS if the REGISTER is a new registration.
 *
 * @param aor URI of the AOR; NULL: the To header's
 * @return what the script gets
 */
int cn_notify(struct sip_msg *msg, struct udomain *table,
		const struct cn_goal *goal, const str *aor) CN_MUST;

/* The script is wrong; the log has said how. @return what the script gets */
int cn_notify_refuse(struct sip_msg *msg) CN_MUST;

/* Would it be told? No side effect. */
bool cn_notify_is_new(
		struct sip_msg *msg, struct udomain *table, const str *aor) CN_MUST;

#endif
