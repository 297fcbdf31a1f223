/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads the CMS's answer. In whatever process runs the verdict route; of a batch in
 * the HTTP processes. */

#include <jansson.h>
#include <string.h>

#include "base_answer.h"
#include "base_policy.h"

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

/* NULL: it is no JSON. The caller gives it back. */
static json_t *read_answer(const str *answer)
{
	if(answer->len == 0 || memchr(answer->s, '{', answer->len) == NULL)
		return NULL;
	return json_loadb(answer->s, answer->len, 0, NULL);
}

static int write_member(const json_t *member, char *text, int size)
{
	str s = {
			(char *)json_string_value(member), (int)json_string_length(member)};
	size_t len;

	if(json_is_string(member))
		return s.len > size ? -1 : one_line(&s, text, size);
	len = json_dumpb(member, text, size, JSON_ENCODE_ANY | JSON_COMPACT);
	return len == 0 || len > (size_t)size ? -1 : (int)len;
}

int cn_answer_member(const str *answer, const str *name, char *text, int size)
{
	json_t *json = read_answer(answer), *value;
	const char *key;
	int len = -1;

	json_object_foreach(json, key, value)
	{
		if((int)strlen(key) == name->len && memcmp(key, name->s, name->len) == 0
				&& !json_is_null(value))
			len = write_member(value, text, size);
	}
	json_decref(json);
	return len;
}

int cn_answer_text(const str *answer, char *line, int size)
{
	json_t *json = read_answer(answer), *text;
	int len = 0;

	text = json_object_get(json, "text");
	if(text && json_is_string(text)) {
		str s = {(char *)json_string_value(text), json_string_length(text)};

		len = one_line(&s, line, size);
	}
	json_decref(json);
	return len;
}

static bool read_id(const json_t *json, struct cn_answer_result *result)
{
	const json_t *id = json_object_get(json, "id");
	size_t len = id ? json_string_length(id) : 0;

	if(len == 0 || len > CN_ANSWER_ID_MAX)
		return false;
	memcpy(result->id, json_string_value(id), len);
	result->id_len = (int)len;
	return true;
}

/* 200.0 is the number 200. */
static long read_status(const json_t *json)
{
	double status = json_number_value(json_object_get(json, "status"));

	if(!(status >= 200 && status < 600) || status != (long)status)
		return 0;
	return (long)status;
}

static unsigned read_retry_after(const json_t *json)
{
	double seconds = json_number_value(json_object_get(json, "retry_after"));

	if(!(seconds > 0))
		return 0;
	return seconds < CN_RETRY_AFTER_MAX_S ? (unsigned)seconds
										  : CN_RETRY_AFTER_MAX_S;
}

bool cn_answer_result(const str *element, struct cn_answer_result *result)
{
	json_t *json = json_loadb(element->s, element->len,
			JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	bool found;

	memset(result, 0, sizeof(*result));
	found = read_id(json, result);
	if(found) {
		result->status = read_status(json);
		result->retry_after = read_retry_after(json);
	}
	json_decref(json);
	return found;
}
