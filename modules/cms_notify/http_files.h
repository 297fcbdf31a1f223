/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What only files say: keys that sign, values of headers, certificates. Read and
 * checked here, kept by the HTTP processes alone. */

#ifndef CN_HTTP_FILES_H
#define CN_HTTP_FILES_H

#include <sys/types.h>

#include "base_conf.h"
#include "http_sign.h"

/* The TLS files, by what they are for. */
enum cn_tls_file
{
	CN_TLS_CA,
	CN_TLS_CERT,
	CN_TLS_KEY,
	CN_TLS_FILES
};

struct cn_files
{
	char *tls[CN_TLS_FILES]; /* NULL: not set */
	size_t tls_len[CN_TLS_FILES];
	struct cn_sign_key keys[CN_SIGN_KEYS_MAX];
	int key_count;
	char *headers[CN_HEADER_FILES_MAX]; /* "Name: value" */
	int header_count;
};

/**
 * Read a file as it is; nobody waits for the other end of a pipe. Process: any.
 *
 * @param size one more than the file may have
 * @return how much was read into `to`; -1: with a fault
 */
ssize_t cn_file_read(const char *parameter, const char *path, char *to,
		size_t size, struct cn_fault *fault) CN_MUST;

/**
 * Read the files that the parameters name. Process: any; it leaves nothing of
 * OpenSSL's behind that children would inherit.
 *
 * @param files filled in if 0 is returned; the caller forgets it
 */
int cn_files_read(struct cn_files *files, struct cn_fault *fault) CN_MUST;

/* The same, and can TLS use what was read? Process: any after the fork, see
 * http_pem. */
int cn_files_load(struct cn_files *files, struct cn_fault *fault) CN_MUST;

/* The same number as long as nothing has been changed, replaced or made readable:
 * of these files, and of settings_file. */
uint64_t cn_files_stamp(void);

/* Are there any? */
bool cn_files_any(void);

/* Leave nothing of it in memory. */
void cn_files_forget(struct cn_files *files);

/* Can all of them be used? Process: main, in mod_init; a child that ends at once
 * checks the TLS files. -1: with a line in the log */
int cn_files_check(void) CN_MUST;

#endif
