/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_exposition.h"

static char text[8192];
static struct cn_exposition e;

static const struct cn_metric counter = {
		"things", CN_METRIC_COUNTER, NULL, "What there was"};
static const struct cn_metric gauge = {
		"age_seconds", CN_METRIC_GAUGE, "seconds", "How old it is"};
static const struct cn_metric info = {
		"build", CN_METRIC_INFO, NULL, "What runs here"};
static const struct cn_metric times = {
		"wait_seconds", CN_METRIC_HISTOGRAM, "seconds", "How long"};

static int start(void **state)
{
	memset(text, 0, sizeof(text));
	e = (struct cn_exposition){.to = text, .size = sizeof(text) - 1};
	return 0;
}

/* Written so far. */
#define assert_text(expected)                  \
	do {                                       \
		assert_int_equal(e.length, strlen(text)); \
		assert_string_equal(text, expected);   \
	} while(0)

static void a_counter_is_a_total(void **state)
{
	cn_exposition_begin(&e, &counter);
	cn_exposition_add(&e, &counter, NULL, 4294967296.0);
	cn_exposition_end(&e);
	assert_text("# HELP cms_notify_things_total What there was\n"
				"# TYPE cms_notify_things_total counter\n"
				"cms_notify_things_total 4294967296\n");
}

/* The name is that of all samples; the text has an end. */
static void open_metrics_has_units_and_an_end(void **state)
{
	e.open_metrics = true;
	cn_exposition_begin(&e, &counter);
	cn_exposition_begin(&e, &gauge);
	cn_exposition_add(&e, &gauge, NULL, 1.5);
	cn_exposition_begin(&e, &info);
	cn_exposition_end(&e);
	assert_text("# HELP cms_notify_things What there was\n"
				"# TYPE cms_notify_things counter\n"
				"# HELP cms_notify_age_seconds How old it is\n"
				"# TYPE cms_notify_age_seconds gauge\n"
				"# UNIT cms_notify_age_seconds seconds\n"
				"cms_notify_age_seconds 1.5\n"
				"# HELP cms_notify_build What runs here\n"
				"# TYPE cms_notify_build info\n"
				"# EOF\n");
}

static void labels_cannot_leave_their_quotes(void **state)
{
	const struct cn_label labels[] = {
			{"a", "x\"} 1\n\\"}, {"b", ""}, {NULL, NULL}};

	cn_exposition_add(&e, &info, labels, 1);
	assert_text("cms_notify_build_info{"
				"a=\"x\\\"} 1\\\\x0a\\\\\",b=\"\"} 1\n");
}

static void a_label_has_an_end(void **state)
{
	char value[1000];
	const struct cn_label labels[] = {{"a", value}, {NULL, NULL}};

	memset(value, 'v', sizeof(value));
	value[999] = '\0';
	cn_exposition_add(&e, &info, labels, 1);
	assert_int_equal(strspn(strchr(text, 'v'), "v"), 255);
}

static void a_histogram_adds_up(void **state)
{
	const struct cn_label labels[] = {{"to", "cms"}, {NULL, NULL}};
	const struct cn_borders borders = {8, 12, 2};
	struct cn_histogram histogram = {.sum_us = 0};
	struct cn_histogram_counts counts;

	cn_histogram_add(&histogram, 255);
	cn_histogram_add(&histogram, 256);
	cn_histogram_add(&histogram, 5000);
	cn_histogram_read(&histogram, &counts);
	cn_exposition_add_histogram(&e, &times, labels, &borders, &counts);
	assert_text("cms_notify_wait_seconds_bucket{to=\"cms\",le=\"0.000256\"} 1\n"
				"cms_notify_wait_seconds_bucket{to=\"cms\",le=\"0.001024\"} 2\n"
				"cms_notify_wait_seconds_bucket{to=\"cms\",le=\"0.004096\"} 2\n"
				"cms_notify_wait_seconds_bucket{to=\"cms\",le=\"+Inf\"} 3\n"
				"cms_notify_wait_seconds_sum{to=\"cms\"} 0.005511\n"
				"cms_notify_wait_seconds_count{to=\"cms\"} 3\n");
	start(NULL);
	cn_exposition_add_histogram(&e, &times, NULL, &borders, &counts);
	assert_non_null(strstr(text, "_bucket{le=\"0.000256\"} 1\n"));
	assert_non_null(strstr(text, "wait_seconds_count 3\n"));
}

static void it_is_measured_and_never_longer_than_its_buffer(void **state)
{
	struct cn_exposition measured = {.to = NULL};
	size_t size;
	char *exact;

	cn_exposition_begin(&measured, &counter);
	cn_exposition_add(&measured, &counter, NULL, 12);
	for(size = 0; size <= measured.length; size++) {
		exact = malloc(size + 1);
		e = (struct cn_exposition){.to = exact, .size = size};
		cn_exposition_begin(&e, &counter);
		cn_exposition_add(&e, &counter, NULL, 12);
		assert_int_equal(e.length, measured.length);
		free(exact);
	}
}

#define TEST(f) cmocka_unit_test_setup(f, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(a_counter_is_a_total),
			TEST(open_metrics_has_units_and_an_end),
			TEST(labels_cannot_leave_their_quotes),
			TEST(a_label_has_an_end),
			TEST(a_histogram_adds_up),
			TEST(it_is_measured_and_never_longer_than_its_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
