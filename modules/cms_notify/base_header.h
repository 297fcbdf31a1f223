/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What may be sent as a header of HTTP (RFC 9110 5.1, 5.5, 5.6.2). Process: any. */

#ifndef CN_BASE_HEADER_H
#define CN_BASE_HEADER_H

#include "base.h"

/* How long the name in "Name: value" is; 0: there is none, or no colon. */
size_t cn_header_name(const char *header) CN_MUST;

/* The name as we write it, if the module sets that header itself; or else NULL. */
const char *cn_header_ours(const char *name, size_t len) CN_MUST;

/* Are there line breaks or other control characters in it? */
bool cn_header_breaks(const char *value, size_t len) CN_MUST;

/* The value in "Name: value", without the blanks before it. */
const char *cn_header_value(const char *header, size_t name) CN_MUST;

#endif
