/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Keys from the kernel, made in the main process and inherited by all. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../../core/dprint.h"
#include "../../core/modparam.h"
#include "../../core/sr_module.h"

#include "base_key.h"

static char key[CN_KEY_LEN + 1];

static int from_kernel(void *bytes, size_t size)
{
	/* 256 bytes or fewer come all at once */
	if(getrandom(bytes, size, 0) == (ssize_t)size)
		return 0;
	LM_ERR("no random bytes from the kernel: %s\n", strerror(errno));
	return -1;
}

static int make_key(char *hex)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[CN_KEY_BYTES];
	size_t i;

	if(from_kernel(bytes, sizeof(bytes)) < 0)
		return -1;
	for(i = 0; i < sizeof(bytes); i++) {
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[CN_KEY_LEN] = '\0';
	return 0;
}

/* What auth draws for the ids of nonces is seen by everybody, and the seed is
 * found from it: before and after, the generator has another one. */
static int seed_again(void)
{
	unsigned int seed;

	if(from_kernel(&seed, sizeof(seed)) < 0)
		return -1;
	srandom(seed);
	return 0;
}

int cn_key_init(void)
{
	return seed_again() < 0 ? -1 : make_key(key);
}

const char *cn_key(void)
{
	return key;
}

int cn_key_give_auth(unsigned int type, void *value)
{
	struct sr_module *auth = find_module_by_name("auth");
	char secret[CN_KEY_LEN + 1];
	modparam_t found;
	char **parameter;

	(void)type;
	if((long)value == 0)
		return 0;
	parameter = auth ? find_param_export(auth, "secret", PARAM_STRING, &found)
					 : NULL;
	if(parameter == NULL) {
		LM_ERR("auth_random_secret: load auth before this line\n");
		return -1;
	}
	if(*parameter != NULL) {
		LM_ERR("auth_random_secret: auth has a secret already, remove one of "
			   "the two parameters\n");
		return -1;
	}
	if(seed_again() < 0 || make_key(secret) < 0)
		return -1;
	return set_mod_param("auth", "secret", PARAM_STRING, secret);
}
