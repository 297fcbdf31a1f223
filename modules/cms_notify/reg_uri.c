/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads URIs of Contacts. In the SIP workers. */

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "../../core/parser/parse_uri.h"
#include "../../core/ut.h"

#include "reg_uri.h"

static bool has_capitals(const str *s)
{
	int i;

	for(i = 0; i < s->len && !isupper((unsigned char)s->s[i]); i++)
		;
	return i < s->len;
}

bool cn_uri_read(const str *uri, struct sip_uri *parsed, str *changed)
{
	memset(changed, 0, sizeof(*changed));
	if(parse_uri(uri->s, uri->len, parsed) < 0)
		return false;
	if(!has_capitals(&parsed->transport))
		return true;
	strlower(&parsed->transport);
	*changed = parsed->transport;
	return true;
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

bool cn_uri_is_nowhere(const struct sip_uri *uri)
{
	return is_any_address(&uri->host) || (uri->port.len > 0 && !uri->port_no);
}
