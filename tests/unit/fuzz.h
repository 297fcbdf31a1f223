/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A fuzz test is a function that takes any bytes and aborts when a claim does
 * not hold. fuzz.c calls it with bytes of its own making, the same for the same
 * seed; libFuzzer could as well. */

#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_SIZE 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How often, unless FUZZ_RUNS says otherwise: a few seconds. */
extern const long fuzz_runs;

/* After that: has what the test is about happened often enough? */
bool fuzz_was_worth_it(long runs);

/* What it begins with, and what it mixes in; each list ends with NULL. */
extern const char *const fuzz_seeds[];
extern const char *const fuzz_words[];

#endif
