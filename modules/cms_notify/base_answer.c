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

/* -------- results -------- */

static bool set_id(struct cn_answer_result *result, const char *id, size_t len)
{
	if(len == 0 || len > CN_ANSWER_ID_MAX)
		return false;
	memcpy(result->id, id, len);
	result->id_len = (int)len;
	return true;
}

/* 200.0 is the number 200. */
static void set_numbers(
		struct cn_answer_result *result, double status, double retry_after)
{
	if(status >= 200 && status < 600 && status == (long)status)
		result->status = (long)status;
	if(retry_after > 0)
		result->retry_after = retry_after < CN_RETRY_AFTER_MAX_S
									  ? (unsigned)retry_after
									  : CN_RETRY_AFTER_MAX_S;
}

static bool read_by_library(const str *element, struct cn_answer_result *result)
{
	json_t *json = json_loadb(element->s, element->len,
			JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	const json_t *id = json_object_get(json, "id");
	bool found;

	memset(result, 0, sizeof(*result));
	found = id && set_id(result, json_string_value(id), json_string_length(id));
	if(found)
		set_numbers(result, json_number_value(json_object_get(json, "status")),
				json_number_value(json_object_get(json, "retry_after")));
	json_decref(json);
	return found;
}

/* What is left of an element. */
struct reader
{
	const char *at;
	const char *end;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Blanks, and then this. */
static bool takes(struct reader *r, const char *word)
{
	size_t len = strlen(word);

	while(r->at < r->end && is_blank(*r->at))
		r->at++;
	if((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* A string without escapes, in ASCII. */
static bool take_id(struct reader *r, struct cn_answer_result *result)
{
	const char *id;

	if(result->id_len > 0 || !takes(r, ":") || !takes(r, "\""))
		return false;
	id = r->at;
	while(r->at < r->end && *r->at >= ' ' && *r->at <= '~' && *r->at != '\\'
			&& *r->at != '"')
		r->at++;
	if(r->at == r->end || *r->at != '"')
		return false;
	r->at++;
	return set_id(result, id, r->at - 1 - id);
}

/* A few digits. @param n -1: there was none yet */
static bool take_number(struct reader *r, int *n)
{
	const char *first;

	if(*n >= 0 || !takes(r, ":") || !takes(r, ""))
		return false;
	first = r->at;
	for(*n = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9'
				&& r->at - first < 9;
			r->at++)
		*n = *n * 10 + (*r->at - '0');
	return r->at > first && (*first != '0' || r->at == first + 1);
}

static bool take_member(struct reader *r, struct cn_answer_result *result,
		int *status, int *retry_after)
{
	if(takes(r, "\"id\""))
		return take_id(r, result);
	if(takes(r, "\"status\""))
		return take_number(r, status);
	return takes(r, "\"retry_after\"") && take_number(r, retry_after);
}

/* Most results are no more than that. The library takes thirty times as long for
 * them, which is the most that a process does with a batch.
 *
 * @return false: this one may be more, or none */
static bool read_plain(const str *element, struct cn_answer_result *result)
{
	struct reader r = {element->s, element->s + element->len};
	int status = -1, retry_after = -1;

	memset(result, 0, sizeof(*result));
	if(!takes(&r, "{"))
		return false;
	do {
		if(!take_member(&r, result, &status, &retry_after))
			return false;
	} while(takes(&r, ","));
	if(!takes(&r, "}") || !takes(&r, "") || r.at < r.end || result->id_len == 0)
		return false;
	set_numbers(result, status, retry_after);
	return true;
}

bool cn_answer_result(const str *element, struct cn_answer_result *result)
{
	return read_plain(element, result) || read_by_library(element, result);
}
