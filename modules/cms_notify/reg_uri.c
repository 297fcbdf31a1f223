/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Looks at URIs of Contacts. In the SIP workers. */

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "../../core/parser/parse_uri.h"
#include "../../core/ut.h"

#include "reg_uri.h"

static const str TRANSPORT = str_init("transport=");

static bool has_capitals(const str *s)
{
	int i;

	for(i = 0; i < s->len && !isupper((unsigned char)s->s[i]); i++)
		;
	return i < s->len;
}

/* Up to the next one, or to the URI's headers. */
static str parameter(const char *from, const char *end)
{
	const char *p = from;

	while(p < end && *p != ';' && *p != '?')
		p++;
	return (str){(char *)from, p - from};
}

void cn_uri_lower_transport(const str *uri, str *changed)
{
	const char *end = uri->s + uri->len;
	const char *p = memchr(uri->s, ';', uri->len), *at;
	str part;

	memset(changed, 0, sizeof(*changed));
	if(p == NULL)
		return;
	/* a user's name may have semicolons, and its case counts */
	at = memchr(uri->s, '@', uri->len);
	if(at && at > p)
		p = memchr(at, ';', end - at);
	while(p && p < end && *p == ';') {
		part = parameter(p + 1, end);
		p = part.s + part.len;
		if(part.len < TRANSPORT.len
				|| strncasecmp(part.s, TRANSPORT.s, TRANSPORT.len) != 0)
			continue;
		if(has_capitals(&part)) {
			strlower(&part);
			*changed = part;
		}
		return;
	}
}

/* 0.0.0.0, or [::] however it is written. */
static bool is_any_address(const str *host)
{
	struct in6_addr ip = IN6ADDR_ANY_INIT;
	char text[INET6_ADDRSTRLEN];
	bool is_6 = host->len > 2 && host->s[0] == '[';
	str bare = {host->s + is_6, host->len - 2 * is_6};

	if(bare.len <= 0 || bare.len >= (int)sizeof(text))
		return false;
	memcpy(text, bare.s, bare.len);
	text[bare.len] = '\0';
	return inet_pton(is_6 ? AF_INET6 : AF_INET, text, &ip) == 1
		   && IN6_IS_ADDR_UNSPECIFIED(&ip);
}

bool cn_uri_is_proper(const str *uri, bool is_way)
{
	struct sip_uri parsed;

	if(parse_uri(uri->s, uri->len, &parsed) < 0)
		return false;
	return !is_way
		   || !(is_any_address(&parsed.host)
				   || (parsed.port.len > 0 && !parsed.port_no));
}
