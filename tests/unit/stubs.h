/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* As much of Kamailio's core as the module's objects need to be linked, with
 * what a test wants of it: each allocation can be made to fail, what is not
 * freed is known, the log can be read. And help with processes. */

#ifndef STUBS_H
#define STUBS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../core/str.h"

#include "base_limits.h"

/* -------- memory -------- */

/* Blocks of Kamailio's that have not been freed. */
int stub_shm_blocks(void);
int stub_pkg_blocks(void);

/* From now on shm is what children and parent both see; otherwise it is
 * ordinary memory, whose borders are watched to the byte. */
void stub_share_shm(bool shared);

/* Let the n-th allocation from now on fail, and none after it; 0: none. With
 * STUBS_TRACE in the environment it is shown where that is. */
void stub_fail_at(int n);
/* Has it come to that? */
bool stub_has_failed(void);

/* Run the scenario with its first, second, ... allocation failing, until it
 * needs no more; each time all memory of Kamailio's must be free again.
 * @return how many allocations it makes */
int stub_each_allocation(void (*scenario)(void));

/* For libraries that take an allocator, and for --wrap: count as well. */
void *stub_malloc(size_t size);
void *stub_calloc(size_t n, size_t size);
void *stub_realloc(void *p, size_t size);
char *stub_strdup(const char *s);

/* -------- limits -------- */

/* In force, where base_limits is not linked. */
extern struct cn_limits stub_limits;

/* -------- log -------- */

/* Everything logged since the last call of stub_clear_log(), by this process
 * and its children: a line each, "ERROR: text". */
const char *stub_log(void);
void stub_clear_log(void);

/* One line of this level has been logged, with this in it, and no other. */
void assert_logged(const char *level, const char *part);
void assert_nothing_logged(void);

/* -------- processes -------- */

/* Memory that children and parent share; zeroed. */
void *stub_shared(size_t size);

/* Start a child that runs f(arg); it fails when a check() does, a sanitizer
 * finds something, or it takes more than a minute. */
pid_t stub_fork(void (*f)(void *arg), void *arg);
void stub_exit(int status); /* of a child */
void stub_wait(pid_t pid); /* asserts that it did not fail */
void stub_in_child(void (*f)(void *arg), void *arg); /* both */

/* An assertion in a child, where cmocka's cannot work. */
#define check(claim)                                                   \
	do {                                                               \
		if(!(claim)) {                                                 \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
					#claim);                                           \
			_exit(1);                                                  \
		}                                                              \
	} while(0)

/* Let n processes go on together. */
struct barrier;
struct barrier *stub_barrier(int n);
void stub_meet(struct barrier *barrier);

/* -------- strings and dice -------- */

#define STR(literal) ((str){(char *)(literal), sizeof(literal) - 1})
#define NO_STR ((str){NULL, 0})
str stub_str(const char *s);
/* A copy without anything after its last byte, for ASan; freed by free(). */
str stub_exact(const char *s, int len);
#define assert_str(value, literal)                           \
	do {                                                     \
		const str s_ = (value);                              \
		assert_int_equal(s_.len, strlen(literal));           \
		assert_memory_equal(s_.s, literal, strlen(literal)); \
	} while(0)

/* Numbers that are the same in each run with the same seed. */
uint32_t stub_random(uint64_t *state);

#endif
