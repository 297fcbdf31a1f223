/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sanitizer/common_interface_defs.h>

#include "stubs.h"

#include "fuzz.h"

static struct
{
	uint64_t seed;
	uint64_t dice;
	long runs;
	uint8_t data[FUZZ_SIZE];
	int size;
} fuzz;

static int below(int n)
{
	return (int)(stub_random(&fuzz.dice) % (unsigned)n);
}

static int length_of(const char *const *list)
{
	int n = 0;

	while(list[n])
		n++;
	return n;
}

/* Put bytes in the place of others. */
static void splice(int at, int old, const void *bytes, int n)
{
	if(fuzz.size - old + n > FUZZ_SIZE)
		return;
	memmove(fuzz.data + at + n, fuzz.data + at + old, fuzz.size - at - old);
	memcpy(fuzz.data + at, bytes, n);
	fuzz.size += n - old;
}

static void mutate(void)
{
	int at = below(fuzz.size + 1), left = fuzz.size - at, n, i;
	uint8_t bytes[256];
	const char *word;

	switch(below(7)) {
		case 0:
			if(left > 0)
				fuzz.data[at] ^= 1 << below(8);
			break;
		case 1:
			bytes[0] = below(256);
			splice(at, left > 0 ? below(2) : 0, bytes, 1);
			break;
		case 2:
			splice(at, left > 0 ? below(left < 64 ? left : 64) : 0, "", 0);
			break;
		case 3:
			n = left < 256 ? left : 256;
			memcpy(bytes, fuzz.data + at, n);
			splice(below(fuzz.size + 1), 0, bytes, n > 0 ? below(n) : 0);
			break;
		case 4:
			n = below((int)sizeof(bytes));
			for(i = 0; i < n; i++)
				bytes[i] = below(256);
			splice(at, 0, bytes, n);
			break;
		default:
			word = fuzz_words[below(length_of(fuzz_words))];
			for(n = below(8) == 0 ? below(200) : 1; n > 0; n--)
				splice(at, 0, word, strlen(word));
	}
}

static void say_where(void)
{
	int i;

	fprintf(stderr, "FUZZ_SEED=%llu, run %ld, %d bytes:\n",
			(unsigned long long)fuzz.seed, fuzz.runs, fuzz.size);
	for(i = 0; i < fuzz.size; i++)
		fprintf(stderr, "\\x%02x", fuzz.data[i]);
	fprintf(stderr, "\n");
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

/* Bytes in a block of exactly their size, so that reading on is seen. */
static void run_once(void)
{
	str copy = stub_exact((char *)fuzz.data, fuzz.size);

	LLVMFuzzerTestOneInput((uint8_t *)copy.s, copy.len);
	free(copy.s);
	fuzz.runs++;
}

static void whatever_comes(void **state)
{
	long runs = (long)number("FUZZ_RUNS", fuzz_runs);
	int seeds = length_of(fuzz_seeds), n;
	const char *seed;

	fuzz.seed = fuzz.dice = number("FUZZ_SEED", 20261123);
	__sanitizer_set_death_callback(say_where);
	while(fuzz.runs < runs) {
		seed = fuzz_seeds[fuzz.runs < seeds ? fuzz.runs : below(seeds)];
		fuzz.size = strlen(seed);
		memcpy(fuzz.data, seed, fuzz.size);
		/* the seeds themselves first */
		for(n = fuzz.runs < seeds ? 0 : 1 + below(12); n > 0; n--)
			mutate();
		run_once();
	}
	assert_true(fuzz_was_worth_it(runs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_comes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
