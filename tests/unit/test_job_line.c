/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How a registration ended, in the log. */

#include "events.h"

#include "job_line.h"

static unsigned second;

unsigned int get_ticks(void)
{
	return second;
}

static struct cn_line line;

static int start(void **state)
{
	second += 2;
	line = (struct cn_line){.verdict = CN_ACCEPTED,
			.status = 200,
			.elapsed_ms = 12,
			.reason = CN_REASON_NEW,
			.id = STR("4f0c"),
			.aor = STR("sip:a@b"),
			.contact = STR("sip:c@d")};
	stub_clear_log();
	return 0;
}

static void it_has_all_that_is_looked_for(void **state)
{
	cn_line_write(&line);
	assert_logged("INFO",
			"registration: verdict=accepted status=200 cause=none ms=12 "
			"reason=new id=4f0c aor=sip:a@b contact=sip:c@d");
}

static void what_is_not_there_is_a_dash(void **state)
{
	line.verdict = CN_UNAVAILABLE;
	line.cause = CN_CAUSE_busy;
	line.status = 0;
	line.id = line.contact = NO_STR;
	cn_line_write(&line);
	assert_logged("WARNING",
			"verdict=unavailable status=0 cause=busy ms=12 reason=new id=- "
			"aor=sip:a@b contact=-");
}

static void only_what_is_wrong_is_a_warning(void **state)
{
	line.verdict = CN_DEFERRED;
	cn_line_write(&line);
	assert_logged("INFO", "deferred");
	stub_clear_log();
	line.verdict = CN_REJECTED;
	cn_line_write(&line);
	assert_logged("WARNING", "rejected");
}

static int warnings(void)
{
	const char *p = stub_log();
	int n = 0;

	while((p = strstr(p, "WARNING: ")) != NULL) {
		p++;
		n++;
	}
	return n;
}

static void there_are_not_too_many_warnings(void **state)
{
	int i;

	line.verdict = CN_UNAVAILABLE;
	for(i = 0; i < 50; i++)
		cn_line_write(&line);
	assert_int_equal(warnings(), 10);
	second++;
	for(i = 0; i < 50; i++)
		cn_line_write(&line);
	assert_int_equal(warnings(), 20);
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(it_has_all_that_is_looked_for),
			TEST(what_is_not_there_is_a_dash),
			TEST(only_what_is_wrong_is_a_warning),
			TEST(there_are_not_too_many_warnings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
