/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Names and values of headers; pure. In all processes. */

#include <string.h>
#include <strings.h>

#include "base_header.h"

size_t cn_header_name(const char *header)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
								"abcdefghijklmnopqrstuvwxyz"
								"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = strspn(header, token);

	return header[len] == ':' ? len : 0;
}

const char *cn_header_ours(const char *name, size_t len)
{
	static const char *const ours[] = {"Content-Type", "Content-Length",
			"Idempotency-Key", "Host", "Transfer-Encoding", "User-Agent",
			"Connection", "webhook-id", "webhook-timestamp",
			"webhook-signature", "traceparent"};
	size_t i;

	for(i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if(strlen(ours[i]) == len && strncasecmp(name, ours[i], len) == 0)
			return ours[i];
	}
	return NULL;
}

bool cn_header_breaks(const char *value, size_t len)
{
	const unsigned char *p = (const unsigned char *)value;
	size_t i;

	for(i = 0; i < len; i++) {
		if((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
			return true;
	}
	return false;
}

const char *cn_header_value(const char *header, size_t name)
{
	const char *value = header + name + 1;

	return value + strspn(value, " \t");
}
