/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* SIP requests, read by Kamailio's own parser; for programs that are linked with
 * it. */

#ifndef SIP_H
#define SIP_H

#include "stubs.h"

#include "../../core/parser/msg_parser.h"

/* Once a process, before anything is read. */
void sip_start(void);

/* Read a request in place, as if it had come by UDP from 172.16.163.3:7000.
 * @param text has a NUL behind it; must stay as it is until sip_free()
 * @return false: it is none */
bool sip_read(struct sip_msg *msg, char *text, int len);
void sip_free(struct sip_msg *msg);

#endif
