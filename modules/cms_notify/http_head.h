/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The headers that each request has of its own, in front of what all have in
 * common: Idempotency-Key, traceparent (W3C Trace Context), and what Standard
 * Webhooks wants. Process: HTTP. */

#ifndef CN_HTTP_HEAD_H
#define CN_HTTP_HEAD_H

#include <curl/curl.h>

#include "http_sign.h"

#define CN_HEAD_ID_MAX 64

struct cn_http_head
{
	struct cn_signer *signer;  /* NULL: it is not signed */
	struct curl_slist list[5]; /* the first one is what libcurl gets */
	char key[CN_HEAD_ID_MAX + 24];
	char trace[72];
	char id[CN_HEAD_ID_MAX + 16];
	char time[48];
	char signature[CN_SIGN_SIZE + 24];
};

/**
 * Write the texts that stay, and the list.
 *
 * @param signer NULL: there is no signature
 * @param common what follows
 */
void cn_head_init(struct cn_http_head *head, struct cn_signer *signer,
		struct curl_slist *common);

/* A request begins. */
void cn_head_set_id(struct cn_http_head *head, const str *id);

/* An attempt begins: sign it, as of now. @return -1: no memory */
int cn_head_sign(struct cn_http_head *head, const str *body) CN_MUST;

#endif
