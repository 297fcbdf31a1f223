/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads keys, in any process; signs, in the HTTP processes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "http_sign.h"

/* From 3.0.3 on a context can be used again with the key that it has. */
#if OPENSSL_VERSION_NUMBER < 0x30000030L
#error "OpenSSL is too old, 3.0.3 or newer is needed"
#endif

#define CN_MAC_BYTES 32
#define CN_PREFIX "whsec_"
/* of the longest key */
#define CN_BASE64_MAX ((CN_SIGN_KEY_MAX + 2) / 3 * 4)

struct cn_signer
{
	EVP_MAC_CTX *keyed[CN_SIGN_KEYS_MAX];
	int count;
};

/* -------- keys -------- */

static bool is_base64(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
								  "abcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len = strlen(text), n = strspn(text, letters);

	return len > 0 && len % 4 == 0 && len - n <= 2
		   && strspn(text + n, "=") == len - n;
}

static size_t decoded_size(const char *text)
{
	size_t len = strlen(text);

	return len / 4 * 3 - (len - strcspn(text, "="));
}

int cn_sign_read_key(struct cn_sign_key *key, const char *text, char *fault,
		size_t fault_size)
{
	unsigned char bytes[CN_BASE64_MAX / 4 * 3];
	const char *base64 = text + strlen(CN_PREFIX);

	if(strncmp(text, CN_PREFIX, strlen(CN_PREFIX)) != 0 || !is_base64(base64)) {
		snprintf(fault, fault_size,
				"must be one line, whsec_ and the key in base64");
		return -1;
	}
	key->size = decoded_size(base64);
	if(key->size < CN_SIGN_KEY_MIN || key->size > CN_SIGN_KEY_MAX) {
		snprintf(fault, fault_size,
				"has a key of %zu bytes, must be from %d to %d", key->size,
				CN_SIGN_KEY_MIN, CN_SIGN_KEY_MAX);
		return -1;
	}
	EVP_DecodeBlock(bytes, (const unsigned char *)base64, (int)strlen(base64));
	memcpy(key->bytes, bytes, key->size);
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

/* -------- signatures -------- */

static EVP_MAC_CTX *new_keyed(const struct cn_sign_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
			OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
			OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *keyed = EVP_MAC_CTX_new(mac);

	EVP_MAC_free(mac);
	if(keyed && !EVP_MAC_init(keyed, key->bytes, key->size, params)) {
		EVP_MAC_CTX_free(keyed);
		keyed = NULL;
	}
	return keyed;
}

struct cn_signer *cn_signer_new(const struct cn_sign_key *keys, int count)
{
	struct cn_signer *signer = calloc(1, sizeof(*signer));
	int i;

	if(signer == NULL)
		return NULL;
	signer->count = count;
	for(i = 0; i < count; i++) {
		signer->keyed[i] = new_keyed(&keys[i]);
		if(signer->keyed[i] == NULL) {
			cn_signer_free(signer);
			return NULL;
		}
	}
	return signer;
}

void cn_signer_free(struct cn_signer *signer)
{
	int i;

	if(signer == NULL)
		return;
	for(i = 0; i < signer->count; i++)
		EVP_MAC_CTX_free(signer->keyed[i]); /* which wipes the key */
	free(signer);
}

static bool add(EVP_MAC_CTX *mac, const char *bytes, size_t size)
{
	return EVP_MAC_update(mac, (const unsigned char *)bytes, size);
}

int cn_sign(struct cn_signer *signer, const char *id, const char *time,
		const str *body, char *text)
{
	unsigned char bytes[CN_MAC_BYTES];
	int i;

	for(i = 0; i < signer->count; i++) {
		EVP_MAC_CTX *mac = signer->keyed[i];

		if(!EVP_MAC_init(mac, NULL, 0, NULL) || !add(mac, id, strlen(id))
				|| !add(mac, ".", 1) || !add(mac, time, strlen(time))
				|| !add(mac, ".", 1) || !add(mac, body->s, body->len)
				|| !EVP_MAC_final(mac, bytes, NULL, sizeof(bytes)))
			return -1;
		if(i > 0)
			*text++ = ' ';
		memcpy(text, "v1,", 3);
		text += 3
				+ EVP_EncodeBlock(
						(unsigned char *)text + 3, bytes, sizeof(bytes));
	}
	return 0;
}
