/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads PEM as libcurl's OpenSSL will, to find what is wrong before it is used. In HTTP
 * processes and those that serve RPC. */

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "http_pem.h"

/* Nobody is there to be asked for one. */
static int no_passphrase(char *buffer, int size, int writing, void *unused)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)unused;
	return -1;
}

bool cn_pem_has_certificates(const char *text, size_t len)
{
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	STACK_OF(X509_INFO) *found =
			bio ? PEM_X509_INFO_read_bio(bio, NULL, no_passphrase, NULL) : NULL;
	bool any = false;
	int i;

	for(i = 0; i < sk_X509_INFO_num(found); i++)
		any = any || sk_X509_INFO_value(found, i)->x509 != NULL;
	sk_X509_INFO_pop_free(found, X509_INFO_free);
	BIO_free(bio);
	ERR_clear_error();
	return any;
}

/* The certificate itself, if those behind it can be read, too. */
static X509 *read_chain(const char *text, size_t len)
{
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	X509 *first, *next;
	bool whole;

	if(bio == NULL)
		return NULL;
	first = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
	next = first;
	while(next) {
		next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
		X509_free(next);
	}
	whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	BIO_free(bio);
	ERR_clear_error();
	if(!whole) {
		X509_free(first);
		first = NULL;
	}
	return first;
}

static EVP_PKEY *read_key(const char *text, size_t len)
{
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	EVP_PKEY *key =
			bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL)
				: NULL;

	BIO_free(bio);
	return key;
}

const char *cn_pem_pair_fault(const char *certificate, size_t certificate_len,
		const char *key, size_t key_len)
{
	X509 *x509 = read_chain(certificate, certificate_len);
	EVP_PKEY *pkey = read_key(key, key_len);
	const char *fault = NULL;

	if(x509 == NULL)
		fault = "tls_cert cannot be read, it is broken";
	else if(pkey == NULL)
		fault = "tls_key cannot be read, it is broken or has a passphrase";
	else if(!X509_check_private_key(x509, pkey))
		fault = "tls_cert and tls_key do not belong together";
	X509_free(x509);
	EVP_PKEY_free(pkey);
	ERR_clear_error();
	return fault;
}
