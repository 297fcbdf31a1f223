/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "http_sign.h"

/* bytes 0 to 63 */
#define LONGEST                                                       \
	"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v" \
	"MDEyMzQ1Njc4OTo7PD0+Pw=="
/* the example that implementations of Standard Webhooks share */
#define SHORTEST "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define SHORTEST_ID "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define SHORTEST_TIME "1614265330"
#define SHORTEST_BODY "{\"test\": 2432232314}"
#define SHORTEST_SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

static struct cn_sign_key key_of(const char *text)
{
	struct cn_sign_key key;
	char fault[128] = "";

	assert_int_equal(cn_sign_read_key(&key, text, fault, sizeof(fault)), 0);
	assert_string_equal(fault, "");
	return key;
}

static void assert_signs(struct cn_signer *signer, const char *id,
		const char *time, const str *body, const char *expected)
{
	char text[CN_SIGN_SIZE];

	assert_int_equal(cn_sign(signer, id, time, body, text), 0);
	assert_string_equal(text, expected);
}

static void keys_of_24_to_64_bytes(void **state)
{
	struct cn_sign_key key = key_of(SHORTEST);

	assert_int_equal(key.size, 24);
	assert_int_equal(key.bytes[0], 0x31);
	key = key_of(LONGEST);
	assert_int_equal(key.size, 64);
	assert_int_equal(key.bytes[0], 0);
	assert_int_equal(key.bytes[63], 63);
	/* 25 and 26 bytes: one and two "=" less */
	assert_int_equal(
			key_of("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==").size, 25);
	assert_int_equal(
			key_of("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").size, 26);
}

static void refuse(const char *text, const char *why)
{
	struct cn_sign_key key;
	char fault[128] = "";

	assert_int_equal(cn_sign_read_key(&key, text, fault, sizeof(fault)), -1);
	if(strstr(fault, why) == NULL)
		fail_msg("\"%s\": %s", text, fault);
}

static void other_texts_are_no_keys(void **state)
{
	static const char *const bad[] = {"", "whsec_", "whsec", "x",
			"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			"WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-",
			"whsec_MfKQ9r8GKYqrTwjU\nPD8ILPZIo2LaLaSw",
			"whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaS",
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaL===",
			"whsec_====",
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2Lq=aSw",
			"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AA==", "whsk_AAAA"};
	size_t i;

	for(i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i], "whsec_ and the key in base64");
	refuse("whsec_AAAA", "a key of 3 bytes, must be from 24 to 64");
	refuse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "a key of 23 bytes");
	refuse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		   "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
			"a key of 65 bytes");
}

static void known_signatures(void **state)
{
	struct cn_sign_key key = key_of(SHORTEST);
	struct cn_signer *signer = cn_signer_new(&key, 1);
	str body = STR(SHORTEST_BODY), none = STR("");
	int i;

	assert_non_null(signer);
	/* the key stays in it */
	for(i = 0; i < 3; i++)
		assert_signs(signer, SHORTEST_ID, SHORTEST_TIME, &body,
				SHORTEST_SIGNATURE);
	cn_signer_free(signer);
	key = key_of(LONGEST);
	signer = cn_signer_new(&key, 1);
	assert_signs(signer, "4f0c", "1", &none,
			"v1,WcqNBZXWvv2DjzXZI9X/lt/j/SqOEWMfcFb3eHYJxk0=");
	body.len = 100000;
	body.s = malloc(body.len);
	memset(body.s, 'x', body.len);
	assert_signs(signer, "4f0c", "1", &body,
			"v1,YiZ/R6grVsUhj0qHwRqTHxe+8WsJj1ObE9Ox/BW6J3c=");
	free(body.s);
	cn_signer_free(signer);
}

static void two_keys_give_two_signatures(void **state)
{
	struct cn_sign_key keys[] = {key_of(LONGEST), key_of(SHORTEST)};
	struct cn_signer *signer = cn_signer_new(keys, 2);
	str body = STR(SHORTEST_BODY);
	char text[CN_SIGN_SIZE], *second;

	assert_int_equal(
			cn_sign(signer, SHORTEST_ID, SHORTEST_TIME, &body, text), 0);
	assert_int_equal(strlen(text), CN_SIGN_SIZE - 1);
	second = strchr(text, ' ');
	assert_non_null(second);
	assert_int_equal(second - text, CN_SIGN_ONE_LEN);
	assert_string_equal(second + 1, SHORTEST_SIGNATURE);
	cn_signer_free(signer);
	cn_signer_free(NULL);
}

static void without_memory_there_is_no_signer(void **state)
{
	struct cn_sign_key key = key_of(SHORTEST);

	stub_fail_at(1);
	assert_null(cn_signer_new(&key, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(keys_of_24_to_64_bytes),
			cmocka_unit_test(other_texts_are_no_keys),
			cmocka_unit_test(known_signatures),
			cmocka_unit_test(two_keys_give_two_signatures),
			cmocka_unit_test(without_memory_there_is_no_signer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
