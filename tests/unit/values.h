/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Kamailio's own engine of pseudo-variables with one class of our making:
 * $v(0), $v(1), ... are what the test has put there. */

#ifndef VALUES_H
#define VALUES_H

#include "stubs.h"

enum kind
{
	VALUE_STRING,	   /* $si */
	VALUE_NUMBER,	   /* a number that is also known as text: $sp */
	VALUE_BARE_NUMBER, /* one that is not */
	VALUE_CODE,		   /* a text that has a number, too: $rm */
	VALUE_NULL,
	VALUE_FAILS
};

struct value
{
	enum kind kind;
	str s;
	long n;
};

#define VALUES_MAX 16
extern struct value values[VALUES_MAX];

void values_start(void); /* once a process */
void values_set(int i, enum kind kind, str s, long n);

#endif
