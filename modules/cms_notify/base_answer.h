/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The CMS's answer, as far as we understand it. */

#ifndef CN_BASE_ANSWER_H
#define CN_BASE_ANSWER_H

#include "base.h"

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

#endif
