/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Answers requests by sl, which uses their transaction where there is one. In SIP
 * workers. */

#include <stdio.h>
#include <string.h>

#include "../../core/data_lump_rpl.h"
#include "../../core/dprint.h"
#include "../sl/sl.h"

#include "reg_answer.h"
#include "reg_settings.h"

static sl_api_t sl;

int cn_answer_init(void)
{
	if(sl_load_api(&sl) < 0) {
		LM_ERR("cannot use sl: load sl.so before cms_notify.so\n");
		return -1;
	}
	return 0;
}

static void answer(struct sip_msg *msg, int code, char *reason)
{
	str text = {reason, strlen(reason)};

	if(sl.freply(msg, code, &text) < 0)
		LM_WARN("cannot answer %d to a REGISTER\n", code);
}

void cn_answer_too_many(struct sip_msg *msg)
{
	char headers[128];
	int retry_after = cn_registrar()->retry_after, n;

	n = snprintf(headers, sizeof(headers),
			"P-Registrar-Error: Too many registered contacts\r\n");
	if(retry_after > 0)
		n += snprintf(headers + n, sizeof(headers) - n, "Retry-After: %d\r\n",
				retry_after);
	if(add_lump_rpl(msg, headers, n, LUMP_RPL_HDR) == NULL)
		LM_WARN("no memory for the headers of an answer\n");
	answer(msg, 503, "Service Unavailable");
}

void cn_answer_too_large(struct sip_msg *msg)
{
	answer(msg, 513, "Message Too Large");
}
