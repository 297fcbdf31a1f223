/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The answer of a CMS, which may be anything: what comes of it is one line of
 * valid UTF-8 that fits, and it is the answer's text. */

#include <jansson.h>

#include "fuzz.h"
#include "stubs.h"

#include "base_answer.h"
#include "base_body.h"

const char *const fuzz_seeds[] = {"\xff{\"text\": \"refused\"}",
		"\x05{\"text\": \"caf\xc3\xa9 \\u6444\\ud83d\\udcf7\\n\", \"a\": [1, "
		"2.5]}",
		"\x0c[{\"text\": null}, {\"a\": {\"b\": [true, false, -1e9]}}]",
		"\x40{\"a\": \"b\", \"text\": \"\\u0085\\u2028 \\u001b[2J\\t\"}",
		"\x10<html><body>{not json}</body></html>", "", NULL};

const long fuzz_runs = 150000;

const char *const fuzz_words[] = {"{", "}", "[", "]", "\"", ",", ":", "\\",
		"\"text\"", "\"text\":\"", "{\"text\":", "\\u0000", "\\ud83d",
		"\\udcf7", "\\u2029", "\\u000a", "\xc2\x85", "\xe2\x80\xa8",
		"\xe6\x91\x84", "\xf0\x9f\x93\xb7", "\xed\xa0\x80", "\x7f", "1e999",
		"-0", "null", "true", "[[[[[[[[", "{\"a\":", NULL};

static bool is_control(const unsigned char *p)
{
	return p[0] < 0x20 || p[0] == 0x7f;
}

static void claim_good_line(const char *line, int len)
{
	json_t *json = json_stringn(line, len); /* NULL: no valid UTF-8 */
	int i;

	if(json == NULL)
		abort();
	json_decref(json);
	for(i = 0; i < len; i++) {
		if(is_control((const unsigned char *)line + i))
			abort();
	}
}

/* The same characters, but that controls have become blanks. */
static void claim_is_the_text(
		const str *answer, const char *line, int len, int size)
{
	json_t *json = json_loadb(answer->s, answer->len, 0, NULL);
	json_t *text = json_object_get(json, "text");
	const char *s = json_string_value(text);
	int whole = (int)json_string_length(text), i;

	if(s == NULL && len > 0)
		abort();
	if(len > whole || (whole <= size && len < whole))
		abort();
	/* what is cut off is less than a character */
	if(len < whole && size - len > 3)
		abort();
	for(i = 0; i < len; i++) {
		if(line[i] != s[i] && line[i] != ' ')
			abort();
	}
	json_decref(json);
}

static long texts;

bool fuzz_was_worth_it(long runs)
{
	return texts > runs / 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int size = n > 0 ? data[0] + 1 : 0, len;
	str answer = {(char *)data + (n > 0), (int)n - (n > 0)};
	char *line = malloc(size > 0 ? size : 1);

	len = cn_answer_text(&answer, line, size);
	if(len < 0 || len > size)
		abort();
	texts += len > 0;
	claim_good_line(line, len);
	claim_is_the_text(&answer, line, len, size);
	free(line);
	return 0;
}
