/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The other modules that are loaded, as the core tells of them: their names,
 * parameters and exported functions, as a test has put them there. */

#ifndef FAKE_MODULES_H
#define FAKE_MODULES_H

#include "stubs.h"

void fake_modules_start(void); /* none is loaded */
void fake_module(const char *name);
void fake_module_remove(const char *name); /* with all that it has */

/* @param type  PARAM_INT, ...
 * @param value what it points to stays the test's */
void fake_param(
		const char *module, const char *name, unsigned type, const void *value);
void fake_param_remove(const char *module, const char *name);

void fake_export(const char *module, const char *name, void (*function)(void));

/* What set_mod_param() was last called for; NULL: not yet. */
const char *fake_param_set(void); /* "module.name=text" */

#endif
