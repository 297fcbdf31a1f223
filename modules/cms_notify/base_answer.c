/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads the CMS's answer. In whatever process runs the verdict route. */

#include <jansson.h>
#include <string.h>

#include "base_answer.h"

/* How many bytes of valid UTF-8 make a character that ends a line, moves a
 * cursor or otherwise is none for a log: C0, DEL, C1, U+2028, U+2029. */
static int control_length(const unsigned char *p, int left)
{
	if(p[0] < 0x20 || p[0] == 0x7f)
		return 1;
	if(left >= 2 && p[0] == 0xc2 && p[1] <= 0x9f)
		return 2;
	if(left >= 3 && p[0] == 0xe2 && p[1] == 0x80
			&& (p[2] == 0xa8 || p[2] == 0xa9))
		return 3;
	return 0;
}

static int one_line(const str *text, char *line, int size)
{
	int len = text->len < size ? text->len : size, i, n;

	/* not in the middle of a character */
	while(len > 0 && len < text->len && (text->s[len] & 0xc0) == 0x80)
		len--;
	memcpy(line, text->s, len);
	for(i = 0; i<len; i += n> 0 ? n : 1) {
		n = control_length((unsigned char *)line + i, len - i);
		memset(line + i, ' ', n);
	}
	return len;
}

int cn_answer_text(const str *answer, char *line, int size)
{
	json_t *json, *text;
	int len = 0;

	if(answer->len == 0 || memchr(answer->s, '{', answer->len) == NULL)
		return 0;
	json = json_loadb(answer->s, answer->len, 0, NULL);
	if(json == NULL)
		return 0;
	text = json_object_get(json, "text");
	if(text && json_is_string(text)) {
		str s = {(char *)json_string_value(text), json_string_length(text)};

		len = one_line(&s, line, size);
	}
	json_decref(json);
	return len;
}
