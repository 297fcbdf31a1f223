/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* An operator who calls RPC commands: what he gives, what he gets. */

#ifndef FAKE_RPC_H
#define FAKE_RPC_H

#include "stubs.h"

#include "../../core/rpc.h"

/* Call the command of this name in the table.
 * @param parameter a number or text; NULL: none
 * @return its fault; 0: none */
int fake_rpc_call(
		rpc_export_t *commands, const char *name, const char *parameter);

/* What it answered, by paths: "0.node" is member node of the first structure,
 * "0.dead_letters.1.aor" of the second one in an array of it. Numbers are
 * written as "%d", "%u" and "%.3f" do. @return NULL: it is not there */
const char *fake_rpc_value(const char *path);
#define assert_answer(path, value) \
	assert_string_equal(fake_rpc_value(path), value)
const char *fake_rpc_fault(void); /* its text */

/* No room for the n-th structure, array or element of the next calls; 0: for
 * all. */
void fake_rpc_fail_at(int n);
bool fake_rpc_has_failed(void);

#endif
