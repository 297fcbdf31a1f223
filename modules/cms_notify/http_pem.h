/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Are these texts certificates and keys that TLS can use? Process: any after the
 * fork, as OpenSSL keeps state of which children must not have copies. */

#ifndef CN_HTTP_PEM_H
#define CN_HTTP_PEM_H

#include "base.h"

/* At least one certificate, and nothing broken. */
bool cn_pem_has_certificates(const char *text, size_t len) CN_MUST;

/* NULL, or what is wrong: with the certificate, the key, or the two together. */
const char *cn_pem_pair_fault(const char *certificate, size_t certificate_len,
		const char *key, size_t key_len) CN_MUST;

#endif
