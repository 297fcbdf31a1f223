/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What is wrong with what somebody has written into a file, for the log and for the
 * answer of a command. */

#ifndef CN_BASE_FAULT_H
#define CN_BASE_FAULT_H

#include <stdbool.h>

/* Text: one line. It shows no secret. First the parameter and what is wrong, then the
 * file: jsonrpcs shows the first 127 characters. */
struct cn_fault
{
	char text[512];
	bool passes; /* by itself, in some seconds */
};

/* @return -1 */
int cn_refuse(struct cn_fault *fault, const char *format, ...)
		__attribute__((format(printf, 2, 3)));

#endif
