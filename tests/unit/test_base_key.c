/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <ctype.h>
#include <errno.h>

#include "fake_modules.h"
#include "stubs.h"

#include "base_key.h"

#define A_STRING (1u << 0)

/* -------- the kernel, and the generator that others use -------- */

static struct
{
	int fails_in; /* the n-th call; 0: none */
	bool is_short;
	unsigned char next;
	int seeds; /* that the generator was given */
	unsigned seed;
} the;

ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags)
{
	size_t i;

	assert_int_equal(flags, 0); /* waits until there is enough of it */
	if(the.fails_in > 0 && --the.fails_in == 0) {
		errno = ENOSYS;
		return the.is_short ? (ssize_t)size - 1 : -1;
	}
	for(i = 0; i < size; i++)
		((unsigned char *)to)[i] = the.next++;
	return (ssize_t)size;
}

void __wrap_srandom(unsigned seed)
{
	the.seeds++;
	the.seed = seed;
}

static char *secret;

static int start(void **state)
{
	memset(&the, 0, sizeof(the));
	the.next = 0xa0;
	fake_modules_start();
	secret = NULL;
	fake_param("auth", "secret", A_STRING, &secret);
	return 0;
}

static int end(void **state)
{
	stub_clear_log();
	return 0;
}

static void the_key_is_the_kernels_in_hex(void **state)
{
	assert_int_equal(cn_key_init(), 0);
	assert_string_equal(cn_key(),
			"a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2"
			"c3");
	assert_int_equal(strlen(cn_key()), CN_KEY_LEN);
	/* and the generator's seed is another one than before */
	assert_int_equal(the.seeds, 1);
	assert_int_equal(the.seed, 0xa3a2a1a0);
}

static void without_the_kernel_it_does_not_start(void **state)
{
	int i;

	for(i = 1; i <= 2; i++) {
		the.fails_in = i;
		assert_int_equal(cn_key_init(), -1);
		assert_logged("ERROR", "no random bytes from the kernel");
		the.fails_in = i;
		the.is_short = true; /* half a key is none */
		assert_int_equal(cn_key_init(), -1);
		assert_logged("ERROR", "no random bytes from the kernel");
		the.is_short = false;
	}
}

static void auth_gets_a_secret_of_its_own(void **state)
{
	char set[CN_KEY_LEN + 16];

	assert_int_equal(cn_key_init(), 0);
	assert_int_equal(cn_key_give_auth(0, (void *)1), 0);
	assert_non_null(fake_param_set());
	assert_memory_equal(fake_param_set(), "auth.secret=", 12);
	assert_int_equal(strlen(fake_param_set()), 12 + CN_KEY_LEN);
	snprintf(set, sizeof(set), "auth.secret=%s", cn_key());
	assert_string_not_equal(fake_param_set(), set);
	assert_int_equal(the.seeds, 2);
}

static void auth_is_left_alone_when_that_is_wanted(void **state)
{
	fake_module_remove("auth");
	assert_int_equal(cn_key_give_auth(0, (void *)0), 0);
	assert_null(fake_param_set());
	assert_int_equal(the.seeds, 0);
}

static void auth_must_be_there_and_have_no_secret(void **state)
{
	secret = "of the operator";
	assert_int_equal(cn_key_give_auth(0, (void *)1), -1);
	assert_logged("ERROR", "auth has a secret already");
	fake_param_remove("auth", "secret");
	assert_int_equal(cn_key_give_auth(0, (void *)1), -1);
	assert_logged("ERROR", "load auth before this line");
	fake_module_remove("auth");
	assert_int_equal(cn_key_give_auth(0, (void *)1), -1);
	assert_logged("ERROR", "load auth before this line");
	assert_null(fake_param_set());
}

static void without_the_kernel_auth_gets_none(void **state)
{
	int i;

	for(i = 1; i <= 2; i++) {
		the.fails_in = i;
		assert_int_equal(cn_key_give_auth(0, (void *)1), -1);
		assert_logged("ERROR", "no random bytes from the kernel");
		assert_null(fake_param_set());
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(the_key_is_the_kernels_in_hex),
			TEST(without_the_kernel_it_does_not_start),
			TEST(auth_gets_a_secret_of_its_own),
			TEST(auth_is_left_alone_when_that_is_wanted),
			TEST(auth_must_be_there_and_have_no_secret),
			TEST(without_the_kernel_auth_gets_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
