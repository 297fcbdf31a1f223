/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* One of usrloc's bindings: read as an event, and what it is to this server. */

#ifndef CN_REG_BINDING_H
#define CN_REG_BINDING_H

#include "../usrloc/usrloc.h"
#include "../usrloc/ucontact.h"

#include "../../core/parser/parse_uri.h"

#include "job_event.h"

#define CN_BINDING_AOR_MAX 512

/* The event points into the binding and into the rest of this. */
struct cn_binding_view
{
	struct cn_event ev;
	struct cn_contact contact;
	char aor[CN_BINDING_AOR_MAX];
	struct sip_uri received;
};

/* Under the lock of the binding's slot, like what is read. What a binding does
 * not tell stays empty. */
void cn_binding_read(const usrloc_api_t *usrloc, struct cn_binding_view *view,
		const ucontact_t *binding, enum cn_kind kind);

/* Of a device that is off line, as the CMS is being told, in the place of the time
 * when it was heard last (last_keepalive). A REGISTER brings it back. */
#define CN_BINDING_GONE 1
/* As usrloc has it. */
#define CN_BINDING_NO_CONNECTION (-1)

bool cn_binding_is_gone(const ucontact_t *binding);
/* Is it registered, and not GONE? */
bool cn_binding_is_live(const ucontact_t *binding, time_t now);

/* Seconds until it runs out; INT_MAX: it never does ("kamctl ul add"). */
int cn_binding_expires_s(const ucontact_t *binding, time_t now);

/* It is the server at which the device registered last that tells the CMS. */
bool cn_binding_is_ours(const ucontact_t *binding);

#endif
