/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "base_utf8.h"

#define FFFD "\xef\xbf\xbd"

static str repair(const char *s, int len)
{
	str from = stub_exact(s, len), to;

	to.s = malloc(len * CN_UTF8_WORST + 1);
	assert_non_null(to.s);
	to.len = cn_utf8_repair(&from, to.s);
	assert_in_range(to.len, 0, len * CN_UTF8_WORST);
	free(from.s);
	return to;
}

static void expect_n(const char *s, int len, const char *wanted, int wanted_len)
{
	str got = repair(s, len);

	assert_int_equal(got.len, wanted_len);
	assert_memory_equal(got.s, wanted, wanted_len);
	free(got.s);
}

#define expect(in, out) expect_n(in, sizeof(in) - 1, out, sizeof(out) - 1)
#define unchanged(in) expect(in, in)

static void nothing_stays_nothing(void **state)
{
	str none = {NULL, 0};
	char room[1];

	expect("", "");
	assert_int_equal(cn_utf8_repair(&none, room), 0);
}

static void what_is_broken_is_masked_in_its_place(void **state)
{
	static const char in[] = "\xba\xa3\xbf\xb5 \xe6\x91\x84 a\xc3( \xf0\x9f\x98";
	static const char out[] = "???? \xe6\x91\x84 a?( ???";
	str text = stub_exact(in, sizeof(in) - 1), none = {NULL, 0};

	assert_true(cn_utf8_mask(&text));
	assert_int_equal(text.len, sizeof(out) - 1);
	assert_memory_equal(text.s, out, text.len);
	assert_false(cn_utf8_mask(&text));
	free(text.s);
	assert_false(cn_utf8_mask(&none));
}

/* Whatever is before it, and behind. */
static void one_broken_byte_is_found_wherever_it_is(void **state)
{
	static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	int len, at;

	for(len = 1; len < (int)sizeof(text); len++) {
		for(at = 0; at < len; at++) {
			str s = stub_exact(text, len);

			s.s[at] = '\xff';
			assert_true(cn_utf8_mask(&s));
			assert_int_equal(s.s[at], '?');
			s.s[at] = text[at];
			assert_memory_equal(s.s, text, len);
			free(s.s);
		}
	}
}

static void edges_of_each_length_are_unchanged(void **state)
{
	unchanged("\x01 \x7f");
	unchanged("a\0b");
	unchanged("\xc2\x80 \xdf\xbf");
	unchanged("\xe0\xa0\x80 \xe0\xbf\xbf \xe1\x80\x80 \xec\xbf\xbf");
	unchanged("\xed\x80\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf");
	unchanged("\xf0\x90\x80\x80 \xf0\xbf\xbf\xbf \xf1\x80\x80\x80");
	unchanged("\xf3\xbf\xbf\xbf \xf4\x80\x80\x80 \xf4\x8f\xbf\xbf");
	unchanged("\xe6\x91\x84\xe5\x83\x8f\xe5\xa4\xb4 gzj \xf0\x9f\x93\xb7");
	unchanged(FFFD);
}

/* The Unicode Standard 15.0, section 3.9, tables 3-8 to 3-11. */
static void examples_of_the_standard(void **state)
{
	expect("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41",
			FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A");
	expect("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41",
			FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A");
	expect("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42",
			FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B");
	expect("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", FFFD FFFD FFFD FFFD "A");
}

static void just_outside_the_edges_is_broken(void **state)
{
	expect("\x80", FFFD);
	expect("\xbf", FFFD);
	expect("\xc1\xbf", FFFD FFFD);
	expect("\xc2\x7f", FFFD "\x7f");
	expect("\xc2\xc0", FFFD FFFD);
	expect("\xe0\x9f\xbf", FFFD FFFD FFFD);
	expect("\xed\xa0\x80", FFFD FFFD FFFD);
	expect("\xf0\x8f\xbf\xbf", FFFD FFFD FFFD FFFD);
	expect("\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD);
	expect("\xf5\x80\x80\x80", FFFD FFFD FFFD FFFD);
	expect("\xfe\xff", FFFD FFFD);
}

static void a_cut_sequence_is_one_replacement(void **state)
{
	expect("\xc3", FFFD);
	expect("\xe6\x91", FFFD);
	expect("\xf0\x9f\x93", FFFD);
	expect("\xe6\x91-", FFFD "-");
	expect("\xf0\x9f\x93\xc3\xa4", FFFD "\xc3\xa4");
	expect("\xe6\xe6\x91\x84", FFFD "\xe6\x91\x84");
}

/* A decoder of our own that says of a sequence what RFC 3629 says: decode,
 * then look at the number. @return its length, 0: it is broken */
static int decode(const unsigned char *p, int left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	int n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : 4, i;
	uint32_t c;

	if(n == 4 && p[0] >> 3 != 30)
		return 0;
	if(n > left)
		return 0;
	c = n == 1 ? p[0] : p[0] & ((1u << (7 - n)) - 1);
	for(i = 1; i < n; i++) {
		if(p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if(c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

static bool is_valid(const str *s)
{
	int at = 0, n;

	while(at < s->len) {
		n = decode((const unsigned char *)s->s + at, s->len - at);
		if(n == 0)
			return false;
		at += n;
	}
	return true;
}

static int replacements(const str *s)
{
	int i, n = 0;

	for(i = 0; i + 3 <= s->len; i++)
		n += memcmp(s->s + i, FFFD, 3) == 0;
	return n;
}

/* All pairs of bytes, with what may and may not follow. */
static void every_short_sequence(void **state)
{
	static const unsigned char tails[] = {0x41, 0x80, 0xbf, 0xc0};
	unsigned char s[4];
	unsigned a, b, c, d;

	for(a = 0; a < 256; a++) {
		for(b = 0; b < 256; b++) {
			for(c = 0; c < sizeof(tails); c++) {
				for(d = 0; d < sizeof(tails); d++) {
					str in = {(char *)s, 4}, out;
					char room[12];

					s[0] = a;
					s[1] = b;
					s[2] = tails[c];
					s[3] = tails[d];
					out.s = room;
					out.len = cn_utf8_repair(&in, room);
					if(!is_valid(&out))
						fail_msg("%02x %02x %02x %02x", s[0], s[1], s[2], s[3]);
					if(is_valid(&in))
						assert_memory_equal(room, s, 4);
					else
						assert_true(replacements(&out) > 0);
				}
			}
		}
	}
}

static void whatever_comes_becomes_valid(void **state)
{
	uint64_t dice = 20261123;
	int i, j;

	for(i = 0; i < 20000; i++) {
		char s[64];
		int len = stub_random(&dice) % sizeof(s);
		str in = {s, len}, out, again;

		for(j = 0; j < len; j++)
			s[j] = stub_random(&dice) >> (stub_random(&dice) & 1 ? 24 : 25);
		out = repair(s, len);
		assert_true(is_valid(&out));
		if(is_valid(&in))
			assert_memory_equal(out.s, s, len);
		again = repair(out.s, out.len);
		assert_int_equal(again.len, out.len);
		assert_memory_equal(again.s, out.s, out.len);
		free(again.s);
		free(out.s);
	}
}

static void show_n(const char *s, int len, const char *wanted)
{
	str from = stub_exact(s, len);
	char *to = malloc(len * CN_UTF8_SHOWN + 1);
	int n;

	assert_non_null(to);
	n = cn_utf8_show(&from, to);
	assert_in_range(n, 0, len * CN_UTF8_SHOWN);
	to[n] = '\0';
	assert_string_equal(to, wanted);
	free(to);
	free(from.s);
}

#define shows(in, out) show_n(in, sizeof(in) - 1, out)

static void text_is_shown_as_it_is(void **state)
{
	shows("", "");
	shows("5705@172.16.163.3 <sip:gzj@telecom.com>;x=\"\\\"",
			"5705@172.16.163.3 <sip:gzj@telecom.com>;x=\"\\\"");
	shows("\xe6\x91\x84 \xc2\xa0 \xf0\x9f\x93\xb7 " FFFD,
			"\xe6\x91\x84 \xc2\xa0 \xf0\x9f\x93\xb7 " FFFD);
}

static void what_ends_a_line_or_moves_the_cursor_is_spelled(void **state)
{
	shows("a\r\n\tb", "a\\x0d\\x0a\\x09b");
	shows("\0\x1b[2J\x7f\x1f", "\\x00\\x1b[2J\\x7f\\x1f");
	shows("\xc2\x80\xc2\x85\xc2\x9f", "\\xc2\\x80\\xc2\\x85\\xc2\\x9f");
	shows("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xa7",
			"\\xe2\\x80\\xa8\\xe2\\x80\\xa9\xe2\x80\xa7");
}

static void what_is_no_utf8_is_spelled(void **state)
{
	shows("\x9b" "31m", "\\x9b31m");
	shows("\xff\xfe", "\\xff\\xfe");
	shows("\xe4\xb8", "\\xe4\\xb8");
	shows("\xc0\x8a", "\\xc0\\x8a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(nothing_stays_nothing),
			cmocka_unit_test(what_is_broken_is_masked_in_its_place),
			cmocka_unit_test(one_broken_byte_is_found_wherever_it_is),
			cmocka_unit_test(edges_of_each_length_are_unchanged),
			cmocka_unit_test(examples_of_the_standard),
			cmocka_unit_test(just_outside_the_edges_is_broken),
			cmocka_unit_test(a_cut_sequence_is_one_replacement),
			cmocka_unit_test(every_short_sequence),
			cmocka_unit_test(whatever_comes_becomes_valid),
			cmocka_unit_test(text_is_shown_as_it_is),
			cmocka_unit_test(what_ends_a_line_or_moves_the_cursor_is_spelled),
			cmocka_unit_test(what_is_no_utf8_is_spelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
