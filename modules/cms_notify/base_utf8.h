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

#endif
