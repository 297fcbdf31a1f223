/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The URI of a Contact. */

#ifndef CN_REG_URI_H
#define CN_REG_URI_H

#include "../../core/parser/msg_parser.h"

#include "base.h"

/**
 * Read it, in place. usrloc compares Contacts byte by byte, and so does save():
 * the transport parameter, whose case has no meaning, gets small letters.
 * Process: SIP worker.
 *
 * @param uri     in the message
 * @param changed the part that is another one now; empty: none is
 * @return false: it is no URI
 */
bool cn_uri_read(const str *uri, struct sip_uri *parsed, str *changed) CN_MUST;

/* Is it an address that no device can have? */
bool cn_uri_is_nowhere(const struct sip_uri *uri);

#endif
