/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* registrar's own settings: what save() is going to go by. */

#ifndef CN_REG_SETTINGS_H
#define CN_REG_SETTINGS_H

#include "../../core/parser/msg_parser.h"

#include "base.h"

struct cn_registrar
{
	/* its modparams; they point to where it keeps them */
	const int *use_path;
	const int *path_use_received;
	const int *outbound_mode;
	const int *regid_mode;
	const int *min_expires_mode;
	const int *contact_max_size;
	/* these can change at run time */
	int default_expires;
	unsigned min_expires;
	unsigned max_expires;
	int max_contacts;
	int retry_after;
	int case_sensitive;
	str realm_prefix;
};

/* Process: main, in mod_init. Needs registrar loaded. */
int cn_registrar_init(void) CN_MUST;

/* The settings as they are now. Process: any that Kamailio's cfg framework
 * serves. */
const struct cn_registrar *cn_registrar(void);

/* What the script has set for this one request in registrar's xavp_cfg. */
int cn_registrar_override(const char *name, int otherwise);

/* Where the script saw the request come from, as noted for usrloc in
 * registrar's received_avp; empty: nowhere else than its Contact says. */
str cn_registrar_received(struct sip_msg *msg);

#endif
