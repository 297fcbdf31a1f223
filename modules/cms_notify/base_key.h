/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What nobody may guess: random bytes from the kernel. Kamailio's own numbers
 * ($RANDOM, the secret that auth makes) all follow from 32 bits, and one nonce
 * gives them away. */

#ifndef CN_BASE_KEY_H
#define CN_BASE_KEY_H

#include "base.h"

#define CN_KEY_BYTES 32
#define CN_KEY_LEN (2 * CN_KEY_BYTES) /* in hex */

/* Make the key of $cms(key). Process: main, before any fork. */
int cn_key_init(void) CN_MUST;

/* The same in all processes until the next start. NUL-terminated. */
const char *cn_key(void);

/**
 * modparam() function: another such key becomes the secret of the module auth,
 * which must be loaded and has not been started yet. The ids of its nonces then
 * say nothing of what else Kamailio's generator gives.
 *
 * @param value 0: leave auth alone
 */
int cn_key_give_auth(unsigned int type, void *value);

#endif
