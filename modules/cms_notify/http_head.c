/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes the headers of a request into its own memory, where libcurl's list points
 * to. In the HTTP processes. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http_head.h"

#define CN_KEY "Idempotency-Key: \""
#define CN_TRACE "traceparent: 00-"
#define CN_TRACE_ID_LEN 32
#define CN_SPAN_LEN 16
#define CN_WEBHOOK_ID "webhook-id: "
#define CN_WEBHOOK_TIME "webhook-timestamp: "
#define CN_WEBHOOK_SIGNATURE "webhook-signature: "

void cn_head_init(struct cn_http_head *head, struct cn_signer *signer,
		struct curl_slist *common)
{
	char *const texts[] = {
			head->key, head->trace, head->id, head->time, head->signature};
	int last = signer ? 4 : 1, i;

	memset(head, 0, sizeof(*head));
	head->signer = signer;
	for(i = 0; i <= last; i++) {
		head->list[i].data = texts[i];
		head->list[i].next = i < last ? &head->list[i + 1] : common;
	}
	memcpy(head->key, CN_KEY, sizeof(CN_KEY));
	memcpy(head->id, CN_WEBHOOK_ID, sizeof(CN_WEBHOOK_ID));
	memcpy(head->time, CN_WEBHOOK_TIME, sizeof(CN_WEBHOOK_TIME));
	memcpy(head->signature, CN_WEBHOOK_SIGNATURE, sizeof(CN_WEBHOOK_SIGNATURE));
}

/* The trace is the event, or the first one of a batch; the span is this request,
 * and is never 0. */
static void set_trace(struct cn_http_head *head, const str *id)
{
	static uint64_t requests;
	char *p = head->trace;
	uint64_t parts[] = {++requests, (uint64_t)cn_now_us()};
	uint64_t span = cn_digest(CN_DIGEST_BASE, id->s, id->len);

	if(id->len < CN_TRACE_ID_LEN)
		return;
	span = cn_digest(span, parts, sizeof(parts));
	p = stpcpy(p, CN_TRACE);
	memcpy(p, id->s, CN_TRACE_ID_LEN);
	p += CN_TRACE_ID_LEN;
	*p++ = '-';
	p = cn_put_hex(p, span | 1, CN_SPAN_LEN);
	memcpy(p, "-01", sizeof("-01"));
}

/* For each request: to print them takes ten times as long. */
void cn_head_set_id(struct cn_http_head *head, const str *id)
{
	int len = id->len < CN_HEAD_ID_MAX ? id->len : CN_HEAD_ID_MAX;
	char *key = head->key + strlen(CN_KEY);
	char *webhook_id = head->id + strlen(CN_WEBHOOK_ID);

	memcpy(key, id->s, len);
	memcpy(key + len, "\"", sizeof("\""));
	memcpy(webhook_id, id->s, len);
	webhook_id[len] = '\0';
	set_trace(head, id);
}

int cn_head_sign(struct cn_http_head *head, const str *body)
{
	char *now = head->time + strlen(CN_WEBHOOK_TIME);

	if(head->signer == NULL)
		return 0;
	snprintf(now, sizeof(head->time) - strlen(CN_WEBHOOK_TIME), "%lld",
			(long long)time(NULL));
	return cn_sign(head->signer, head->id + strlen(CN_WEBHOOK_ID), now, body,
			head->signature + strlen(CN_WEBHOOK_SIGNATURE));
}
