/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes and reads batches. In the HTTP processes. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem() */
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_answer.h"
#include "http_batch.h"

/* -------- out -------- */

int cn_http_batch_write(
		const struct cn_http_batch_event *events, int count, str *text)
{
	size_t size = 2; /* brackets, and a comma less than there are events */
	char *p;
	int i;

	for(i = 0; i < count; i++)
		size += events[i].body.len + 1;
	text->s = p = malloc(size);
	if(p == NULL)
		return -1;
	for(i = 0; i < count; i++) {
		*p++ = i == 0 ? '[' : ',';
		memcpy(p, events[i].body.s, events[i].body.len);
		p += events[i].body.len;
	}
	*p++ = ']';
	text->len = (int)(p - text->s);
	return 0;
}

/* Who chooses ids is this server: nobody aims at another one's. */
static uint64_t check_of_ids(
		const struct cn_http_batch_event *events, int count)
{
	uint64_t check = CN_DIGEST_BASE;
	int i;

	for(i = 0; i < count; i++)
		check = cn_digest(check, events[i].id.s, events[i].id.len);
	return check;
}

str cn_http_batch_key(const struct cn_http_batch_event *events, int count,
		char key[CN_HTTP_BATCH_KEY_SIZE])
{
	str text = events[0].id;

	if(count == 1)
		return text;
	text.len = snprintf(key, CN_HTTP_BATCH_KEY_SIZE, "%.*s-%d-%016llx",
			text.len, text.s, count,
			(unsigned long long)check_of_ids(events, count));
	text.s = key;
	if(text.len >= CN_HTTP_BATCH_KEY_SIZE)
		text.len = CN_HTTP_BATCH_KEY_SIZE - 1;
	return text;
}

/* -------- in -------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(str *rest)
{
	while(rest->len > 0 && is_blank(rest->s[0])) {
		rest->s++;
		rest->len--;
	}
}

/* @return the length of what begins with a quote; 0: it does not end */
static int string_length(const str *text)
{
	int i;

	for(i = 1; i < text->len; i++) {
		if(text->s[i] == '\\')
			i++;
		else if(text->s[i] == '"')
			return i + 1;
	}
	return 0;
}

/* Whatever is before the comma or the bracket that ends it: whether that is JSON
 * is looked at afterwards, of each by itself, so that no result spoils another.
 * @return false: nothing ends it */
static bool take_element(str *rest, str *element)
{
	int depth = 0, n = 0, len;
	str at = *rest;

	for(; at.len > 0; at.s += n, at.len -= n) {
		char c = at.s[0];

		n = 1;
		if(c == '"' && (n = string_length(&at)) == 0)
			return false;
		if(depth == 0 && (c == ',' || c == ']'))
			break;
		depth += (c == '[' || c == '{') - (c == ']' || c == '}');
		if(depth < 0)
			return false;
	}
	element->s = rest->s;
	len = rest->len - at.len;
	while(len > 0 && is_blank(element->s[len - 1]))
		len--;
	element->len = len;
	*rest = at;
	return at.len > 0;
}

/* @param read called for each element
 * @return is it an array, and nothing behind it? */
static bool walk(const str *answer,
		void (*read)(const str *element, void *user), void *user)
{
	str rest = *answer, element;
	char end = '[';

	skip_blanks(&rest);
	if(rest.len == 0 || rest.s[0] != end)
		return false;
	while(end != ']') {
		bool first = end == '[';

		rest.s++;
		rest.len--;
		skip_blanks(&rest);
		if(!take_element(&rest, &element))
			return false;
		end = rest.s[0];
		if(element.len == 0 && !(first && end == ']'))
			return false;
		if(element.len > 0)
			read(&element, user);
	}
	rest.s++;
	rest.len--;
	skip_blanks(&rest);
	return rest.len == 0;
}

struct reading
{
	struct cn_http_batch_event *events;
	int count;
	int next; /* that is expected: results mostly come in order */
	int max_bytes;
	int unasked;
	/* that was read last */
	struct cn_answer_result result;
	str model; /* its element, if others like it need not be read; or empty */
	int id_at; /* where its id is in there */
};

static struct cn_http_batch_event *find(struct reading *r, const str *id)
{
	int i;

	for(i = 0; i < r->count; i++) {
		struct cn_http_batch_event *event =
				&r->events[(r->next + i) % r->count];

		if(event->id.len == id->len
				&& memcmp(event->id.s, id->s, id->len) == 0) {
			r->next = (r->next + i + 1) % r->count;
			return event;
		}
	}
	return NULL;
}

/* None is believed that cannot be understood, and none of two. */
static void forget(struct cn_http_batch_event *event)
{
	event->cause = CN_CAUSE_bad_answer;
	event->status = 0;
	event->retry_after = 0;
	event->answer.len = 0;
}

static void keep(struct cn_http_batch_event *event, const str *element,
		const struct cn_answer_result *result, int max_bytes)
{
	event->status = result->status;
	event->retry_after = result->retry_after;
	event->answer = *element;
	event->cause = cn_policy_verdict(result->status) == CN_UNAVAILABLE
						   ? CN_CAUSE_http
						   : CN_CAUSE_none;
	if(element->len > max_bytes)
		event->cause = CN_CAUSE_too_big;
}

/* Most results differ in nothing but their ids. Without a backslash a string is
 * written in one way only: where such an element has its id once, that is the
 * member, and with another event's id there it is that one's result. */
static void make_model(struct reading *r, const str *element)
{
	const struct cn_answer_result *result = &r->result;
	const char *end = element->s + element->len;
	const char *at =
			memmem(element->s, element->len, result->id, result->id_len);

	r->model.len = 0;
	if(at == NULL || memmem(at + 1, end - at - 1, result->id, result->id_len)
			|| memchr(element->s, '\\', element->len))
		return;
	r->model = *element;
	r->id_at = (int)(at - element->s);
}

static bool is_like_model(
		const struct reading *r, const str *element, const str *id)
{
	int rest = r->id_at + id->len;

	return element->len == r->model.len && id->len == r->result.id_len
		   && memcmp(element->s, r->model.s, r->id_at) == 0
		   && memcmp(element->s + r->id_at, id->s, id->len) == 0
		   && memcmp(element->s + rest, r->model.s + rest, element->len - rest)
					  == 0;
}

/* @return whose result it is, which is then in r; NULL: nobody's */
static struct cn_http_batch_event *find_event(
		struct reading *r, const str *element)
{
	const str *expected = &r->events[r->next].id;
	str id = {r->result.id, 0};

	if(is_like_model(r, element, expected))
		return find(r, expected);
	if(!cn_answer_result(element, &r->result)) {
		r->model.len = 0;
		return NULL;
	}
	make_model(r, element);
	id.len = r->result.id_len;
	return find(r, &id);
}

static void read_result(const str *element, void *user)
{
	struct reading *r = user;
	struct cn_http_batch_event *event = find_event(r, element);

	if(event == NULL) {
		r->unasked++;
		return;
	}
	if(r->result.status == 0 || event->answer.s)
		forget(event);
	else
		keep(event, element, &r->result, r->max_bytes);
	event->answer.s = element->s; /* it has had one */
}

static void forget_all(struct cn_http_batch_event *events, int count)
{
	int i;

	for(i = 0; i < count; i++) {
		forget(&events[i]);
		events[i].answer.s = NULL;
	}
}

int cn_http_batch_read(const str *answer, struct cn_http_batch_event *events,
		int count, int max_bytes)
{
	struct reading r = {
			.events = events, .count = count, .max_bytes = max_bytes};

	forget_all(events, count);
	if(walk(answer, read_result, &r))
		return r.unasked;
	forget_all(events, count);
	return -1;
}
