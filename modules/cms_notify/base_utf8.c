/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Replaces what is no valid UTF-8, or no text. In every process. */

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

/* @return the length of the sequence; -1: less than it has broken bytes */
static int sequence(
		const unsigned char *p, const unsigned char *end, int *broken)
{
	unsigned char low, high;
	int rest = lead(*p, &low, &high), n = 1;

	while(n <= rest && p + n < end && p[n] >= low && p[n] <= high) {
		low = 0x80;
		high = 0xbf;
		n++;
	}
	*broken = n;
	return rest >= 0 && n == rest + 1 ? n : -1;
}

int cn_utf8_repair(const str *from, char *to)
{
	const unsigned char *p = (const unsigned char *)from->s;
	const unsigned char *end = p + from->len;
	char *start = to;
	int broken;

	for(; p < end; p += broken) {
		int n = sequence(p, end, &broken);

		if(n > 0) {
			memcpy(to, p, n);
			to += n;
		} else {
			memcpy(to, "\xef\xbf\xbd", 3);
			to += 3;
		}
	}
	return to - start;
}

/* As nearly everything is: eight bytes at a time. */
static const unsigned char *skip_ascii(
		const unsigned char *p, const unsigned char *end)
{
	uint64_t eight;

	for(; end - p >= (int)sizeof(eight); p += sizeof(eight)) {
		memcpy(&eight, p, sizeof(eight));
		if(eight & 0x8080808080808080u)
			break;
	}
	while(p < end && *p < 0x80)
		p++;
	return p;
}

bool cn_utf8_mask(const str *text)
{
	unsigned char *end = (unsigned char *)text->s + text->len;
	unsigned char *p = (unsigned char *)text->s;
	bool changes = false;
	int broken;

	while((p = (unsigned char *)skip_ascii(p, end)) < end) {
		if(sequence(p, end, &broken) < 0) {
			memset(p, '?', broken);
			changes = true;
		}
		p += broken;
	}
	return changes;
}

/* Controls (C0, DEL, C1) and the two that end a line in Unicode. */
static bool is_text(const unsigned char *p, int n)
{
	if(n == 1)
		return *p >= 0x20 && *p != 0x7f;
	if(n == 2)
		return p[0] != 0xc2 || p[1] >= 0xa0;
	return n != 3 || p[0] != 0xe2 || p[1] != 0x80
		   || (p[2] != 0xa8 && p[2] != 0xa9);
}

static char *put_bytes(char *to, const unsigned char *p, int n)
{
	static const char digits[] = "0123456789abcdef";
	int i;

	for(i = 0; i < n; i++) {
		*to++ = '\\';
		*to++ = 'x';
		*to++ = digits[p[i] >> 4];
		*to++ = digits[p[i] & 15];
	}
	return to;
}

int cn_utf8_show(const str *from, char *to)
{
	const unsigned char *p = (const unsigned char *)from->s;
	const unsigned char *end = p + from->len;
	char *start = to;
	int n, broken;

	while(p < end) {
		n = sequence(p, end, &broken);
		if(n > 0 && is_text(p, n)) {
			memcpy(to, p, n);
			to += n;
		} else {
			n = broken;
			to = put_bytes(to, p, n);
		}
		p += n;
	}
	return to - start;
}
