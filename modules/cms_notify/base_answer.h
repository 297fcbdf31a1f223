/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The CMS's answer, as far as we understand it. */

#ifndef CN_BASE_ANSWER_H
#define CN_BASE_ANSWER_H

#include "base.h"

#define CN_ANSWER_ID_MAX 64

/* One of the results of several events. */
struct cn_answer_result
{
	char id[CN_ANSWER_ID_MAX + 1];
	int id_len;
	long status; /* 200 to 599; 0: there is none, or another */
	unsigned retry_after;
};

/**
 * Read an element of the answer to a batch. Process: HTTP.
 *
 * @return false: it is no JSON object with an id
 */
bool cn_answer_result(
		const str *element, struct cn_answer_result *result) CN_MUST;

/**
 * The "text" of a CMS's answer that is a JSON object with one: valid UTF-8, one
 * line, cut to size. Asked for by few scripts, for few answers: an answer is
 * not read before.
 * Process: verdict.
 *
 * @param line room for it
 * @return its length, 0: there is none
 */
int cn_answer_text(const str *answer, char *line, int size);

/**
 * A member of a CMS's answer that is a JSON object: a string as one line of text, a
 * number or true or false as text, an object or array as JSON. Process: verdict.
 *
 * @param text room for it
 * @return its length; -1: it is not there, or null, or there is no room for it
 */
int cn_answer_member(
		const str *answer, const str *name, char *text, int size) CN_MUST;

#endif
