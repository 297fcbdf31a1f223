/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Bindings that are in usrloc's table and nowhere else (its db_mode 3): servers share
 * them. */

#ifndef CN_REG_TABLE_H
#define CN_REG_TABLE_H

#include "job_event.h"

/* A row of the table. Empty: NULL. */
struct cn_table_binding
{
	str ruid;
	str username;
	str domain;
	str contact;
	str received;
	str path;
	str call_id;
	str user_agent;
	str instance;
	str socket; /* udp:192.0.2.1:5060 */
	int cseq;
	unsigned reg_id;
};

/* Process: main, in mod_init. */
int cn_reg_table_init(void) CN_MUST;

/* Does usrloc leave there what has run out (rm_expired_delay), for one of the servers to
 * tell the CMS? */
bool cn_reg_table_keeps_expired(void);

/* The name of a table. @return NULL: there are no more */
const str *cn_reg_table_name(int i);

/* By what its column domain says, or the AOR alone. */
void cn_reg_table_split(const str *key, str *username, str *domain);

/**
 * That this binding has run out. Process: any.
 *
 * @return in memory of this process that the next call overwrites, and in that of the
 *         row
 */
struct cn_event *cn_reg_table_expire(const struct cn_table_binding *row);

#endif
