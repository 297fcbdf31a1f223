/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The text of the file of settings: lines "name = value" for parameters that may
 * change while the server runs. Pure. */

#ifndef CN_BASE_SETTINGS_H
#define CN_BASE_SETTINGS_H

#include "base_conf.h"

#define CN_SETTINGS_MAX 65536 /* bytes, with the NUL behind the text */

/* What was read, or is to be in force. */
struct cn_settings
{
	struct cn_limits limits;
	const char *url[CN_ENDPOINTS_MAX];
	int url_line[CN_ENDPOINTS_MAX]; /* where it was found; 0: a parameter */
	int urls;
};

/**
 * Read lines. What they do not name stays as it is in settings; URLs take the
 * place of all that were there.
 *
 * @param text  written to; settings points into it afterwards
 * @param len   without the NUL behind it
 * @param fault begins with the number of the line, shows no value
 */
int cn_settings_parse(struct cn_settings *settings, char *text, size_t len,
		struct cn_fault *fault) CN_MUST;

#endif
