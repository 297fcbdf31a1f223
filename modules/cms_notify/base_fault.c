/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Says what is wrong. In every process. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base_fault.h"

int cn_refuse(struct cn_fault *fault, const char *format, ...)
{
	va_list args;

	memset(fault, 0, sizeof(*fault));
	va_start(args, format);
	vsnprintf(fault->text, sizeof(fault->text), format, args);
	va_end(args);
	return -1;
}
