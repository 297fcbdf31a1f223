/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* How long the signature of a POST takes, with a body as it is by default. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_sign.h"

#define TIMES 200000
#define BODY_BYTES 700

int main(void)
{
	struct cn_sign_key keys[CN_SIGN_KEYS_MAX];
	char bytes[BODY_BYTES], text[CN_SIGN_SIZE];
	str body = {bytes, sizeof(bytes)};
	int count, i;

	memset(keys, 'k', sizeof(keys));
	memset(bytes, 'b', sizeof(bytes));
	for(count = 1; count <= CN_SIGN_KEYS_MAX; count++) {
		struct cn_signer *signer;
		int64_t began;

		keys[count - 1].size = 32;
		signer = cn_signer_new(keys, count);
		if(signer == NULL)
			return EXIT_FAILURE;
		began = cn_now_us();
		for(i = 0; i < TIMES; i++) {
			if(cn_sign(signer, "5ed75fcb847f88d2ee1aa6c300000386", "1795415530",
					   &body, text)
					< 0)
				return EXIT_FAILURE;
		}
		printf("%d key%s: %.2f us\n", count, count > 1 ? "s" : "",
				(double)(cn_now_us() - began) / TIMES);
		cn_signer_free(signer);
	}
	return EXIT_SUCCESS;
}
