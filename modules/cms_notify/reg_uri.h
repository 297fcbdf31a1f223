/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The URI of a Contact. */

#ifndef CN_REG_URI_H
#define CN_REG_URI_H

#include "../../core/parser/msg_parser.h"

#include "base.h"

/**
 * usrloc compares Contacts byte by byte, and so does save(): the transport
 * parameter, whose case has no meaning, gets small letters, in place.
 * Process: SIP worker.
 *
 * @param uri     in the message
 * @param changed the part that is another one now; empty: none is
 */
void cn_uri_lower_transport(const str *uri, str *changed);

/* Is it a URI, and, where it is the only way to the device, an address that a
 * device can have? It parses: for contacts that are not bound yet. */
bool cn_uri_is_proper(const str *uri, bool is_way);

#endif
