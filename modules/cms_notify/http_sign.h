/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Signatures after Standard Webhooks 1.0: who has the key knows that a POST is ours,
 * whole, and not an old one. The only user of OpenSSL's MACs. */

#ifndef CN_HTTP_SIGN_H
#define CN_HTTP_SIGN_H

#include "base.h"

#define CN_SIGN_KEYS_MAX 2 /* so that one can take the other's place */
#define CN_SIGN_KEY_MIN 24
#define CN_SIGN_KEY_MAX 64
#define CN_SIGN_ONE_LEN 47 /* "v1," and 32 bytes in base64 */
/* of cn_sign()'s text, a NUL included */
#define CN_SIGN_SIZE (CN_SIGN_KEYS_MAX * (CN_SIGN_ONE_LEN + 1))

struct cn_sign_key
{
	unsigned char bytes[CN_SIGN_KEY_MAX];
	size_t size;
};

struct cn_signer; /* of one process, made after the fork */

/**
 * Read "whsec_" and the key in base64. Process: any; it leaves nothing of OpenSSL's
 * behind that children would inherit.
 *
 * @param fault what is wrong, without anything of the text
 */
int cn_sign_read_key(struct cn_sign_key *key, const char *text, char *fault,
		size_t fault_size) CN_MUST;

/* count > 0. NULL: no memory */
struct cn_signer *cn_signer_new(
		const struct cn_sign_key *keys, int count) CN_MUST;
void cn_signer_free(struct cn_signer *signer); /* NULL is allowed */

/**
 * Sign "id.time.body".
 *
 * @param text the value of webhook-signature: one for each key, CN_SIGN_SIZE bytes
 * @return -1: no memory
 */
int cn_sign(struct cn_signer *signer, const char *id, const char *time,
		const str *body, char *text) CN_MUST;

#endif
