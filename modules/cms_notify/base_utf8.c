/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Replaces what is no valid UTF-8. In every process. */

#include <string.h>

#include "base_utf8.h"

/* The well-formed sequences by their first byte: how many bytes follow, and
 * what the second one may be (Unicode, table 3-7). */
static int lead(unsigned char c, unsigned char *low, unsigned char *high)
{
	*low = 0x80;
	*high = 0xbf;
	if(c < 0x80)
		return 0;
	if(c >= 0xc2 && c <= 0xdf)
		return 1;
	if(c >= 0xe0 && c <= 0xef) {
		if(c == 0xe0)
			*low = 0xa0; /* overlong */
		if(c == 0xed)
			*high = 0x9f; /* surrogates */
		return 2;
	}
	if(c >= 0xf0 && c <= 0xf4) {
		if(c == 0xf0)
			*low = 0x90; /* overlong */
		if(c == 0xf4)
			*high = 0x8f; /* above U+10FFFF */
		return 3;
	}
	return -1;
}

int cn_utf8_repair(const str *from, char *to)
{
	const unsigned char *p = (const unsigned char *)from->s;
	const unsigned char *end = p + from->len;
	char *start = to;

	while(p < end) {
		unsigned char low, high;
		int rest = lead(*p, &low, &high), n = 1;

		while(n <= rest && p + n < end && p[n] >= low && p[n] <= high) {
			low = 0x80;
			high = 0xbf;
			n++;
		}
		if(rest >= 0 && n == rest + 1) {
			memcpy(to, p, n);
			to += n;
		} else {
			memcpy(to, "\xef\xbf\xbd", 3);
			to += 3;
		}
		p += n;
	}
	return to - start;
}
