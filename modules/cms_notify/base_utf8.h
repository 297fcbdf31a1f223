/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* UTF-8 (RFC 3629). */

#ifndef CN_BASE_UTF8_H
#define CN_BASE_UTF8_H

#include "base.h"

#define CN_UTF8_WORST 3 /* bytes that one broken byte becomes: U+FFFD */

/**
 * Copy a string, each maximal broken sequence replaced by U+FFFD (Unicode 15,
 * section 3.9, "U+FFFD Substitution of Maximal Subparts").
 *
 * @param to room for CN_UTF8_WORST * from->len bytes
 * @return length of the copy
 */
int cn_utf8_repair(const str *from, char *to);

/** Make a string UTF-8 where it is: each byte of a broken sequence becomes "?".
 * @return whether there was one */
bool cn_utf8_mask(const str *text);

#define CN_UTF8_SHOWN 4 /* bytes that one becomes: \x1b */

/**
 * Copy a string as one line of text, for a log or a terminal: each byte of a
 * control character, of what ends a line, and of what is no UTF-8 as \x and two
 * digits.
 *
 * @param to room for CN_UTF8_SHOWN * from->len bytes
 * @return length of the copy
 */
int cn_utf8_show(const str *from, char *to);

#endif
