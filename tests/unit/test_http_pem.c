/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "stubs.h"

#include "http_pem.h"

/* Made for this test by "openssl req -x509", and used for nothing else. */
#define CERTIFICATE_A \
	"-----BEGIN CERTIFICATE-----\n" \
	"MIIBbzCCARWgAwIBAgIUUTNKtsK8MDbH+sIJrcE2QdsD+tkwCgYIKoZIzj0EAwIw\n" \
	"DDEKMAgGA1UEAwwBYTAgFw0yNjExMjYyMzA2MzVaGA8yMTI2MTEwMjIzMDYzNVow\n" \
	"DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLaYsuS8zbT1\n" \
	"YkdaqjbUdYiWB4eyv3RDpIzDKqtnnpKg0ICTbIV8L13QmfFQTzRIbUao/jiMRKh7\n" \
	"o2XnWvQadkajUzBRMB0GA1UdDgQWBBQUEqT9jfXbFvRjgltge/Dv2LMrVjAfBgNV\n" \
	"HSMEGDAWgBQUEqT9jfXbFvRjgltge/Dv2LMrVjAPBgNVHRMBAf8EBTADAQH/MAoG\n" \
	"CCqGSM49BAMCA0gAMEUCIQDKyvGEgR6OW1dxlopvngPgwl6zi1nXH1NCaSnoemsz\n" \
	"3gIgEcP4qZsR3Hd6n1GJhpohsOhDelYgBMOzhw+kfdhh0yk=\n" \
	"-----END CERTIFICATE-----\n"
#define KEY_A \
	"-----BEGIN PRIVATE KEY-----\n" \
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJWI9vpE8nIyuoOa3\n" \
	"CB+8QKwZFGucGwIXo/btPb8E/WWhRANCAAS2mLLkvM209WJHWqo21HWIlgeHsr90\n" \
	"Q6SMwyqrZ56SoNCAk2yFfC9d0JnxUE80SG1GqP44jESoe6Nl51r0GnZG\n" \
	"-----END PRIVATE KEY-----\n"
/* the same with a passphrase */
#define KEY_A_LOCKED \
	"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" \
	"MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjB4GIxQQwUJgICCAAw\n" \
	"DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEO2IghM0g6rglADnYH1ts2oEgZAr\n" \
	"PLms2BBL4aT/z4AQsVqTZS1gz250BRPhWqmC7xKe6EJ0+02GjT74ZjoZWqUCyDEY\n" \
	"4xi92PdyqFGaBv5RTNNapKnGFcVxqBPhg/SVpv4tzzqhoiG+TxeuQjBISzFh3Hdy\n" \
	"xV4Tnt2lcrQAdY/JzmDNwzgmupRWKvsf3gWYm7SXz/0fhyNzxL/EhjowEeIRNXs=\n" \
	"-----END ENCRYPTED PRIVATE KEY-----\n"
#define CERTIFICATE_B \
	"-----BEGIN CERTIFICATE-----\n" \
	"MIIBcDCCARWgAwIBAgIUW+DSk1yTuV4GCaYaIfG8biN1Xt0wCgYIKoZIzj0EAwIw\n" \
	"DDEKMAgGA1UEAwwBYjAgFw0yNjExMjYyMzA2MzVaGA8yMTI2MTEwMjIzMDYzNVow\n" \
	"DDEKMAgGA1UEAwwBYjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHhLf+YvCpZu\n" \
	"ujbWP2K1+t1GGo0J9inx1iSuB5jfZydlNRXpKuwTbx+fwa3ydn/KmzSL4UZd2ruU\n" \
	"A9d1/2kMmGWjUzBRMB0GA1UdDgQWBBT+Cg+F+YbYrTayFKfPaDqxnCJRozAfBgNV\n" \
	"HSMEGDAWgBT+Cg+F+YbYrTayFKfPaDqxnCJRozAPBgNVHRMBAf8EBTADAQH/MAoG\n" \
	"CCqGSM49BAMCA0kAMEYCIQDQBaqm1g8DOFIdAYxy59XDLgjxNWNXPfKa0yxtCHSE\n" \
	"TQIhAIKur8YZ/7z0kDArck9j6C0mXWxXW7J49FrS+nxMq7+K\n" \
	"-----END CERTIFICATE-----\n"
#define KEY_B \
	"-----BEGIN PRIVATE KEY-----\n" \
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgE9TmLmKoNilA1k5X\n" \
	"ezDzv0gQc8A624NlaOUiiLNpYeShRANCAAR4S3/mLwqWbro21j9itfrdRhqNCfYp\n" \
	"8dYkrgeY32cnZTUV6SrsE28fn8Gt8nZ/yps0i+FGXdq7lAPXdf9pDJhl\n" \
	"-----END PRIVATE KEY-----\n"

static bool has_certificates(const char *text)
{
	return cn_pem_has_certificates(text, strlen(text));
}

static void a_file_of_authorities(void **state)
{
	char cut[] = CERTIFICATE_A CERTIFICATE_B;

	assert_true(has_certificates(CERTIFICATE_A));
	assert_true(has_certificates("a comment\n" CERTIFICATE_A CERTIFICATE_B));
	assert_true(has_certificates(KEY_A CERTIFICATE_A));
	assert_false(has_certificates(""));
	assert_false(has_certificates(KEY_A));
	assert_false(has_certificates(
			"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"));
	cut[sizeof(CERTIFICATE_A) + 100] = '\0';
	assert_false(has_certificates(cut));
}

static void assert_pair(const char *certificate, const char *key,
		const char *expected)
{
	const char *fault = cn_pem_pair_fault(
			certificate, strlen(certificate), key, strlen(key));

	if(expected == NULL)
		assert_null(fault);
	else if(fault == NULL || strstr(fault, expected) == NULL)
		fail_msg("not \"%s\": %s", expected, fault);
}

static void a_certificate_and_its_key(void **state)
{
	char cut[] = CERTIFICATE_A;

	assert_pair(CERTIFICATE_A, KEY_A, NULL);
	assert_pair(CERTIFICATE_A CERTIFICATE_B, KEY_A, NULL);
	assert_pair(CERTIFICATE_A KEY_A, CERTIFICATE_A KEY_A, NULL);
	assert_pair(CERTIFICATE_A, KEY_B, "do not belong together");
	assert_pair(CERTIFICATE_B CERTIFICATE_A, KEY_A, "do not belong together");
	assert_pair(CERTIFICATE_A, KEY_A_LOCKED, "tls_key cannot be read");
	assert_pair(CERTIFICATE_A, "", "tls_key cannot be read");
	assert_pair("", KEY_A, "tls_cert cannot be read");
	cut[sizeof(cut) / 2] = '\0';
	assert_pair(cut, KEY_A, "tls_cert cannot be read");
	assert_pair(CERTIFICATE_A "-----BEGIN CERTIFICATE-----\nMII", KEY_A,
			"tls_cert cannot be read");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(a_file_of_authorities),
			cmocka_unit_test(a_certificate_and_its_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
