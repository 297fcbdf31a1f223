/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_settings.h"

/* -------- Kamailio's core -------- */

/* Without core/sr_module.h, whose prototypes differ between versions. */

static int module, parameter;

void *find_module_by_name(const char *name)
{
	assert_string_equal(name, "cms_notify");
	return &module;
}

void *find_param_export(
		void *of, const char *name, unsigned mask, unsigned *type)
{
	assert_ptr_equal(of, &module);
	return strcmp(name, "queue_size") == 0 ? &parameter : NULL;
}

/* -------- help -------- */

static char *text; /* of the last call; settings points into it */
static struct cn_settings settings;
static struct cn_fault fault;

static int start(void **state)
{
	memset(&settings, 0, sizeof(settings));
	settings.limits.timeout_ms = 4000;
	settings.limits.resync_rate = 100;
	settings.url[0] = "http://parameter/1";
	settings.url[1] = "http://parameter/2";
	settings.urls = 2;
	return 0;
}

static int end(void **state)
{
	free(text);
	text = NULL;
	return 0;
}

/* @param size with what is not seen of it: NUL bytes */
static int parse_bytes(const char *bytes, size_t size)
{
	free(text);
	text = malloc(size + 1); /* to the byte */
	memcpy(text, bytes, size);
	text[size] = '\0';
	start(NULL);
	fault.text[0] = '\0';
	return cn_settings_parse(&settings, text, size, &fault);
}

static void parse(const char *bytes)
{
	if(parse_bytes(bytes, strlen(bytes)) < 0)
		fail_msg("%s", fault.text);
}

static void refuse_bytes(const char *bytes, size_t size, const char *what)
{
	assert_int_equal(parse_bytes(bytes, size), -1);
	assert_string_equal(fault.text, what);
}

static void refuse(const char *bytes, const char *what)
{
	refuse_bytes(bytes, strlen(bytes), what);
}

/* -------- tests -------- */

static void what_is_not_named_stays(void **state)
{
	static const char *const nothing[] = {"", "\n", "\n\n", "#", "# timeout = 1",
			"  \t# a = b\n \t \n", "\r\n#\r\n", "\xef\xbb\xbf",
			"\xef\xbb\xbf# with a mark\r\n"};
	size_t i;

	for(i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
		parse(nothing[i]);
		assert_int_equal(settings.limits.timeout_ms, 4000);
		assert_int_equal(settings.limits.resync_rate, 100);
		assert_int_equal(settings.urls, 2);
		assert_string_equal(settings.url[0], "http://parameter/1");
	}
}

static void numbers_are_read_however_they_are_written(void **state)
{
	static const char *const ways[] = {"timeout=250", "timeout = 250\n",
			"timeout = 250\r\n", " \ttimeout\t=\t250 \t", "timeout = 0250",
			"\xef\xbb\xbftimeout = 250\r\n", "\n\n# a\ntimeout = 250\n#"};
	size_t i;

	for(i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		parse(ways[i]);
		assert_int_equal(settings.limits.timeout_ms, 250);
		assert_int_equal(settings.limits.resync_rate, 100);
		assert_int_equal(settings.urls, 2);
	}
}

static void each_limit_has_its_place_and_its_range(void **state)
{
	const struct cn_limit *row, *other;
	char line[80], what[120];
	int i, j;

	for(i = 0; (row = cn_limit_row(i)) != NULL; i++) {
		assert_ptr_equal(cn_limit_find(row->name), row);
		for(j = 0; j < 2; j++) {
			int value = j ? row->max : row->min, k;

			snprintf(line, sizeof(line), "%s = %d", row->name, value);
			parse(line);
			assert_int_equal(cn_limit_value(&settings.limits, row), value);
			for(k = 0; (other = cn_limit_row(k)) != NULL; k++) {
				if(other != row && strcmp(other->name, "timeout") != 0
						&& strcmp(other->name, "resync_rate") != 0)
					assert_int_equal(
							cn_limit_value(&settings.limits, other), 0);
			}
		}
		snprintf(what, sizeof(what), "line 1: %s must be from %d to %d",
				row->name, row->min, row->max);
		snprintf(line, sizeof(line), "%s = %ld", row->name, row->max + 1L);
		refuse(line, what);
		snprintf(line, sizeof(line), "%s = 99999999999999999999", row->name);
		refuse(line, what);
		if(row->min > 0) {
			snprintf(line, sizeof(line), "%s = %d", row->name, row->min - 1);
			refuse(line, what);
		}
	}
	assert_int_equal(i, CN_LIMIT_ROWS);
}

static void urls_take_the_place_of_all(void **state)
{
	parse("cms_url = https://a/x?y=z&w=#1 \r\ntimeout = 500\ncms_url=http://b");
	assert_int_equal(settings.urls, 2);
	assert_string_equal(settings.url[0], "https://a/x?y=z&w=#1");
	assert_int_equal(settings.url_line[0], 1);
	assert_string_equal(settings.url[1], "http://b");
	assert_int_equal(settings.url_line[1], 3);
	parse("cms_url = http://b");
	assert_int_equal(settings.urls, 1);
	assert_string_equal(settings.url[0], "http://b");
}

static void there_may_be_so_many_urls(void **state)
{
	char lines[(CN_ENDPOINTS_MAX + 1) * 20 + 1] = "";
	int i;

	for(i = 0; i < CN_ENDPOINTS_MAX; i++)
		strcat(lines, "cms_url = http://a\n");
	parse(lines);
	assert_int_equal(settings.urls, CN_ENDPOINTS_MAX);
	strcat(lines, "cms_url = http://a\n");
	refuse(lines, "line 9: at most 8 cms_url, remove some");
}

static void a_fault_says_where_and_what_to_do(void **state)
{
	static const char form[] = "line 2 is not of the form \"name = value\"";
	static const char number[] =
			"line 1: timeout must be a number, with nothing behind it";

	refuse("\ntimeout", form);
	refuse("\n= 5", form);
	refuse("\nhttps://secret@cms/?key=secret", form);
	refuse("\ntime out = 5", form);
	refuse("\nTimeout = 5", form);
	refuse("\nmodparam(\"cms_notify\", \"timeout\", 5)", form);
	refuse("\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 5", form);
	refuse("#\r\n\xff\xfe", form);
	refuse("timeout =", "line 1: timeout has no value");
	refuse("cms_url = \t\r\n", "line 1: cms_url has no value");
	refuse("timeout = 4 s", number);
	refuse("timeout = 4000 # ms", number);
	refuse("timeout = \"4000\"", number);
	refuse("timeout = -1", number);
	refuse("timeout = +400", number);
	refuse("timeout = 0x400", number);
	refuse("timeout = 4e3", number);
	refuse("timeout = = 400", number);
	refuse("no_such = 5", "line 1: there is no setting no_such");
	refuse("queue_size = 5",
			"line 1: queue_size cannot change while Kamailio runs, set it by "
			"modparam() and restart");
	refuse("timeout = 400\n\nresync_rate = 5\ntimeout = 400",
			"line 4: timeout is also in line 1, remove one");
}

static void what_is_no_text_is_refused(void **state)
{
	static const char what[] = "line 2 has a control character, it is no text";

#define BYTES(literal) literal, sizeof(literal) - 1
	refuse_bytes(BYTES("\ntimeout = 400\0\n"), what);
	refuse_bytes(BYTES("\n\0"), what);
	refuse_bytes(BYTES("\n# \x1b[0m"), what);
	refuse_bytes(BYTES("\ntimeout = 4\x7f"), what);
	refuse_bytes(BYTES("\ntimeout = 400\r\r\n"), what);
	/* lines as they were ended long ago */
	refuse_bytes(BYTES("\ntimeout = 400\rresync_rate = 5\r"), what);
	/* UTF-16 */
	refuse_bytes(BYTES("\xff\xfet\0i\0m\0e\0\n\0"),
			"line 1 has a control character, it is no text");
#undef BYTES
}

static void a_line_may_be_long(void **state)
{
	const size_t size = CN_SETTINGS_MAX - 1;
	char *line = malloc(size + 1);

	memset(line, 'a', size);
	line[size] = '\0';
	refuse(line, "line 1 is not of the form \"name = value\"");
	memcpy(line, "timeout =", 9);
	refuse(line, "line 1: timeout must be a number, with nothing behind it");
	memset(line + 9, '0', size - 9);
	refuse(line, "line 1: timeout must be from 100 to 30000");
	memcpy(line, "cms_url =", 9);
	parse(line);
	assert_int_equal(strlen(settings.url[0]), size - 9);
	line[0] = '#';
	parse(line);
	memset(line, ' ', size);
	parse(line);
	memset(line, '\n', size);
	parse(line);
	memset(line, '=', size);
	refuse(line, "line 1 is not of the form \"name = value\"");
	free(line);
}

/* It ends, within the text; what is taken is in its range. */
static void whatever_is_in_it_nothing_breaks(void **state)
{
	static const char *const words[] = {"timeout", "cms_url", "resync_rate",
			"=", " ", "\n", "\r\n", "#", "0", "400", "\xef\xbb\xbf", "x", "\t"};
	const struct cn_limit *row;
	uint64_t dice = 1;
	int n, i;

	for(n = 0; n < 20000; n++) {
		char bytes[256];
		size_t size = 0;

		while(stub_random(&dice) % 12 > 0 && size < 200) {
			const char *word = words[stub_random(&dice)
									 % (sizeof(words) / sizeof(words[0]))];

			memcpy(bytes + size, word, strlen(word));
			size += strlen(word);
			if(stub_random(&dice) % 32 == 0)
				bytes[size++] = (char)stub_random(&dice);
		}
		if(parse_bytes(bytes, size) < 0) {
			assert_memory_equal(fault.text, "line ", 5);
			continue;
		}
		assert_in_range(settings.urls, 1, CN_ENDPOINTS_MAX);
		for(i = 0; (row = cn_limit_row(i)) != NULL; i++) {
			int value = cn_limit_value(&settings.limits, row);

			assert_true(value == 0 || (value >= row->min && value <= row->max));
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(what_is_not_named_stays),
			TEST(numbers_are_read_however_they_are_written),
			TEST(each_limit_has_its_place_and_its_range),
			TEST(urls_take_the_place_of_all),
			TEST(there_may_be_so_many_urls),
			TEST(a_fault_says_where_and_what_to_do),
			TEST(what_is_no_text_is_refused),
			TEST(a_line_may_be_long),
			TEST(whatever_is_in_it_nothing_breaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
