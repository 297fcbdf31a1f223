/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sys/stat.h>

#include "stubs.h"

#include "http_files.h"

#define KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

struct cn_conf cn_conf;

static char folder[] = "/tmp/cms_notify-XXXXXX";
static char path[64], other[64], header[80];
static struct cn_files files;
static struct cn_fault fault;

static bool tls_loaded; /* Kamailio's tls.so */

void *find_module_by_name(const char *name)
{
	assert_string_equal(name, "tls");
	return tls_loaded ? &tls_loaded : NULL;
}

static void write_file(const char *name, const char *text, size_t size)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	fclose(file);
	assert_int_equal(chmod(name, 0640), 0);
}

static int start(void **state)
{
	memset(&cn_conf, 0, sizeof(cn_conf));
	tls_loaded = false;
	stub_clear_log();
	unlink(path);
	unlink(other);
	return 0;
}

static int make_folder(void **state)
{
	if(mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	snprintf(header, sizeof(header), "Authorization:  %s", path);
	return 0;
}

static int remove_folder(void **state)
{
	unlink(path);
	unlink(other);
	return rmdir(folder);
}

static void with_key(const char *text)
{
	write_file(path, text, strlen(text));
	cn_conf.sign_key_file[0] = path;
	cn_conf.sign_key_files = 1;
}

static void with_header(const char *text, size_t size)
{
	write_file(path, text, size);
	cn_conf.http_header_file[0] = header;
	cn_conf.http_header_files = 1;
}

/* At the start, too; what is wrong is said without what is in the file. */
static void assert_fault(const char *what)
{
	assert_int_equal(cn_files_read(&files, &fault), -1);
	if(strstr(fault.text, what) == NULL)
		fail_msg("not \"%s\": %s", what, fault.text);
	assert_non_null(strstr(fault.text, path));
	assert_null(strstr(fault.text, "secret"));
	stub_clear_log();
	assert_int_equal(cn_files_check(), -1);
	assert_logged("ERROR", what);
}

static void nothing_is_read_that_is_not_named(void **state)
{
	assert_int_equal(cn_files_read(&files, &fault), 0);
	assert_int_equal(files.key_count, 0);
	assert_int_equal(files.header_count, 0);
	cn_files_forget(&files);
	assert_int_equal(cn_files_check(), 0);
	assert_nothing_logged();
}

static void a_key_with_a_line_break_or_without(void **state)
{
	static const char *const texts[] = {KEY, KEY "\n", KEY "\r\n", KEY " \n\n"};
	size_t i;

	for(i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		start(NULL);
		with_key(texts[i]);
		assert_int_equal(cn_files_read(&files, &fault), 0);
		assert_int_equal(files.key_count, 1);
		assert_int_equal(files.keys[0].size, 24);
		assert_int_equal(files.keys[0].bytes[23], 0xb0);
		cn_files_forget(&files);
		assert_int_equal(files.keys[0].bytes[23], 0);
		assert_int_equal(cn_files_check(), 0);
		assert_nothing_logged();
	}
}

static void wrong_keys(void **state)
{
	cn_conf.sign_key_file[0] = path;
	cn_conf.sign_key_files = 1;
	assert_fault("sign_key_file cannot be read");
	with_key("");
	assert_fault("is empty");
	with_key(" \n");
	assert_fault("is empty");
	with_key("secret\n");
	assert_fault("must be one line, whsec_ and the key in base64");
	with_key(KEY "\n" KEY "\n");
	assert_fault("must be one line");
	with_key("whsec_secret==");
	assert_fault("has a key of 4 bytes, must be from 24 to 64");
	write_file(path, "whsec_\0AAAA", 11);
	assert_fault("is no text");
	cn_conf.sign_key_file[0] = folder;
	assert_int_equal(cn_files_read(&files, &fault), -1);
	assert_non_null(strstr(fault.text, "cannot be read"));
}

static void the_second_of_two_keys_can_be_wrong(void **state)
{
	with_key(KEY);
	write_file(other, "secret", 6);
	cn_conf.sign_key_file[1] = other;
	cn_conf.sign_key_files = 2;
	assert_int_equal(cn_files_read(&files, &fault), -1);
	assert_non_null(strstr(fault.text, other));
	write_file(other, KEY, strlen(KEY));
	assert_int_equal(cn_files_read(&files, &fault), 0);
	assert_int_equal(files.key_count, 2);
	cn_files_forget(&files);
}

static void a_key_that_all_can_read_is_told(void **state)
{
	with_key(KEY);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(cn_files_check(), 0);
	assert_logged("WARNING", "can be read by everybody");
}

static void read_one_header(const char *text)
{
	with_header(text, strlen(text));
	assert_int_equal(cn_files_read(&files, &fault), 0);
	assert_int_equal(files.header_count, 1);
	assert_string_equal(files.headers[0], "Authorization: Bearer abc");
	cn_files_forget(&files);
}

static void the_first_line_is_the_value(void **state)
{
	read_one_header("Bearer abc");
	read_one_header("Bearer abc\n");
	read_one_header("Bearer abc\r\nsecond line\n");
}

static void wrong_headers(void **state)
{
	char longer[9000];

	cn_conf.http_header_file[0] = header;
	cn_conf.http_header_files = 1;
	assert_fault("http_header_file cannot be read");
	with_header("", 0);
	assert_fault("is empty");
	with_header("\nsecret", 7);
	assert_fault("the first line");
	with_header("secret\x01", 7);
	assert_fault("control character");
	with_header("sec\0ret", 7);
	assert_fault("is no text");
	memset(longer, 'x', sizeof(longer));
	with_header(longer, sizeof(longer));
	assert_fault("too long");
}

#define CERTIFICATE \
	"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
#define PEM_KEY "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"

static void write_pem(const char *text)
{
	write_file(path, text, strlen(text));
}

static void tls_files_must_be_readable(void **state)
{
	char **const files_of[] = {
			&cn_conf.tls_ca, &cn_conf.tls_cert, &cn_conf.tls_key};
	static const char *const names[] = {"tls_ca", "tls_cert", "tls_key"};
	char what[64];
	int i;

	for(i = 0; i < 3; i++) {
		start(NULL);
		*files_of[i] = path;
		snprintf(what, sizeof(what), "%s cannot be read", names[i]);
		assert_fault(what);
	}
}

static void tls_files_must_hold_what_they_should(void **state)
{
	static const char *const keys[] = {PEM_KEY,
			"-----BEGIN RSA PRIVATE KEY-----\nx\n",
			"-----BEGIN EC PRIVATE KEY-----\nx\n"};
	size_t i;

	cn_conf.tls_ca = path;
	write_pem("");
	assert_fault("tls_ca");
	write_pem("CERTIFICATE\n----- BEGIN CERTIFICATE -----\n");
	assert_fault("tls_ca");
	write_pem("-----BEGIN \nCERTIFICATE");
	assert_fault("tls_ca");
	write_pem(PEM_KEY);
	assert_fault("is not a PEM file with a CERTIFICATE");
	for(i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		start(NULL);
		write_pem(CERTIFICATE);
		cn_conf.tls_cert = cn_conf.tls_key = path;
		assert_fault("tls_key");
		write_pem(keys[i]);
		assert_fault("tls_cert");
	}
}

static void what_tls_cannot_use_is_found_at_the_start(void **state)
{
	write_pem(PEM_KEY "a comment\n" CERTIFICATE);
	cn_conf.tls_ca = path;
	assert_int_equal(cn_files_check(), -1);
	assert_int_equal(cn_files_load(&files, &fault), -1);
	assert_non_null(strstr(fault.text, "tls_ca"));
	cn_conf.tls_ca = NULL;
	cn_conf.tls_cert = cn_conf.tls_key = path;
	assert_int_equal(cn_files_check(), -1);
	assert_int_equal(cn_files_load(&files, &fault), -1);
	assert_non_null(strstr(fault.text, "tls_cert"));
	assert_null(files.tls[CN_TLS_CERT]);
	start(NULL);
	assert_int_equal(cn_files_load(&files, &fault), 0);
}

/* What a child did there would be done to its parent. */
static void openssl_in_shared_memory_is_left_alone(void **state)
{
	write_pem(PEM_KEY "a comment\n" CERTIFICATE);
	cn_conf.tls_ca = path;
	assert_int_equal(cn_files_check(), -1);
	tls_loaded = true;
	assert_int_equal(cn_files_check(), 0);
}

static void a_change_changes_the_stamp(void **state)
{
	uint64_t before = cn_files_stamp();

	assert_false(cn_files_any());
	with_header("one", 3);
	assert_true(cn_files_any());
	before = cn_files_stamp();
	assert_true(before == cn_files_stamp());
	assert_int_equal(unlink(path), 0);
	assert_true(before != cn_files_stamp());
	write_file(other, "two", 3);
	before = cn_files_stamp();
	assert_int_equal(rename(other, path), 0);
	assert_true(before != cn_files_stamp());
	before = cn_files_stamp();
	write_file(path, "three", 5);
	assert_true(before != cn_files_stamp());
	cn_conf.http_header_files = 0;
	cn_conf.sign_key_file[0] = path;
	cn_conf.sign_key_files = 1;
	assert_true(cn_files_any());
	before = cn_files_stamp();
	write_file(path, "another", 7);
	assert_true(before != cn_files_stamp());
	cn_conf.sign_key_files = 0;
	cn_conf.tls_ca = path;
	assert_true(cn_files_any());
	before = cn_files_stamp();
	write_file(path, "authority", 9);
	assert_true(before != cn_files_stamp());
}

static void without_memory(void)
{
	if(cn_files_read(&files, &fault) == 0)
		cn_files_forget(&files);
	else
		assert_string_equal(fault.text, "out of memory");
}

static void it_takes_memory_for_each_header(void **state)
{
	with_header("Bearer abc", 10);
	cn_conf.http_header_file[1] = header;
	cn_conf.http_header_files = 2;
	assert_int_equal(stub_each_allocation(without_memory), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test_setup(nothing_is_read_that_is_not_named, start),
			cmocka_unit_test_setup(a_key_with_a_line_break_or_without, start),
			cmocka_unit_test_setup(wrong_keys, start),
			cmocka_unit_test_setup(the_second_of_two_keys_can_be_wrong, start),
			cmocka_unit_test_setup(a_key_that_all_can_read_is_told, start),
			cmocka_unit_test_setup(the_first_line_is_the_value, start),
			cmocka_unit_test_setup(wrong_headers, start),
			cmocka_unit_test_setup(tls_files_must_be_readable, start),
			cmocka_unit_test_setup(tls_files_must_hold_what_they_should, start),
			cmocka_unit_test_setup(
					what_tls_cannot_use_is_found_at_the_start, start),
			cmocka_unit_test_setup(
					openssl_in_shared_memory_is_left_alone, start),
			cmocka_unit_test_setup(a_change_changes_the_stamp, start),
			cmocka_unit_test_setup(it_takes_memory_for_each_header, start),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
