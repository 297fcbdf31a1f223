/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Reads the template at the start, renders it for each event. In SIP workers and the
 * outbox process. */

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/pvar.h"
#include "../../core/ut.h"

#include "base_body.h"
#include "base_utf8.h"

/* The body of the published interface, in the language of every template. */
static const char default_template[] =
		"{\"version\": 1, \"event\": \"$cms(event)\", \"id\": \"$cms(id)\","
		" \"seq\": \"$cms(seq)\", \"time\": \"$cms(time)\", \"reason\": "
		"\"$cms(reason)\","
		" \"aor\": \"$cms(aor)\", \"username\": \"$cms(username)\","
		" \"domain\": \"$cms(domain)\", \"auth_user\": \"$cms(auth_user)\","
		" \"realm\": \"$cms(realm)\", \"contacts\": \"$cms(contacts)\","
		" \"live\": \"$cms(live)\", \"flaps\": \"$cms(flaps)\","
		" \"source\": {\"ip\": \"$cms(source_ip)\","
		" \"port\": \"$cms(source_port)\","
		" \"transport\": \"$cms(transport)\"},"
		" \"call_id\": \"$cms(call_id)\", \"cseq\": \"$cms(cseq)\","
		" \"user_agent\": \"$cms(user_agent)\", \"node\": \"$cms(node)\"}";

/* A compiled template is a list of pieces: JSON text as it is, and behind it a
 * value. */
enum piece_type
{
	PIECE_VALUE,	/* one pseudo-variable: string, number or null */
	PIECE_STRING,	/* text and pseudo-variables: a string */
	PIECE_CONTACTS, /* the array */
	PIECE_LAST		/* none */
};

struct piece
{
	str text;
	enum piece_type type;
	pv_elem_t *format;
};

static struct
{
	struct piece *pieces;
	int count;
	bool has_id; /* $cms(id) is in it */
} template;

/* Grows as needed up to its limit, kept for the next event. */
struct buffer
{
	char *s;
	int len;
	int size;
	int max;
};

/* What is rendered; one string value, before it is escaped; the same as valid
 * UTF-8. */
static pv_getf_t own_values;

static struct buffer out = {.max = CN_BODY_MAX};
static struct buffer joined = {.max = CN_BODY_MAX};
static struct buffer clean = {.max = CN_BODY_MAX * CN_UTF8_WORST};

static int grow(struct buffer *b, int more)
{
	int size = b->size ? b->size : 2048;
	char *bigger = NULL;

	if(more > b->max - b->len)
		return -1;
	while(size < b->len + more)
		size *= 2;
	bigger = pkg_realloc(b->s, size);
	if(bigger == NULL)
		return -1;
	b->s = bigger;
	b->size = size;
	return 0;
}

static inline int reserve(struct buffer *b, int more)
{
	return more <= b->size - b->len ? 0 : grow(b, more);
}

static int append(struct buffer *b, const char *s, int len)
{
	if(len == 0)
		return 0;
	if(reserve(b, len) < 0)
		return -1;
	memcpy(b->s + b->len, s, len);
	b->len += len;
	return 0;
}

/* Inline: the length of what is written here is known to the compiler. */
static inline int append_literal(const char *s)
{
	return append(&out, s, strlen(s));
}

static int append_number(long n)
{
	char room[INT2STR_MAX_LEN];
	int len;
	const char *text = sint2strbuf(n, room, sizeof(room), &len);

	return append(&out, text, len);
}

/* Is the string the same within the quotes of JSON as it is outside? */
static bool is_plain(const str *value)
{
	static const bool changes[UCHAR_MAX + 1] = {[0 ... 0x1f] = true,
			['"'] = true,
			['\\'] = true,
			[0x7f ... UCHAR_MAX] = true};
	int i;

	for(i = 0; i < value->len && !changes[(unsigned char)value->s[i]]; i++)
		;
	return i == value->len;
}

static int append_plain(const str *value)
{
	char *p;

	if(value->len > CN_BODY_MAX || reserve(&out, value->len + 2) < 0)
		return -1;
	p = out.s + out.len;
	*p++ = '"';
	if(value->len > 0)
		memcpy(p, value->s, value->len);
	p[value->len] = '"';
	out.len += value->len + 2;
	return 0;
}

/* As valid UTF-8, escaped by the JSON library. */
static int append_escaped(const str *value)
{
	json_t *json;
	size_t need;
	int err = -1;

	clean.len = 0;
	if(value->len > CN_BODY_MAX
			|| reserve(&clean, value->len * CN_UTF8_WORST) < 0)
		return -1;
	json = json_stringn_nocheck(
			clean.s ? clean.s : "", cn_utf8_repair(value, clean.s));
	if(json == NULL)
		return -1;
	need = json_dumpb(json, out.s + out.len, out.size - out.len,
			JSON_ENCODE_ANY | JSON_COMPACT);
	if(need > (size_t)(out.size - out.len)) {
		if(need > CN_BODY_MAX || reserve(&out, need) < 0)
			goto end;
		need = json_dumpb(json, out.s + out.len, out.size - out.len,
				JSON_ENCODE_ANY | JSON_COMPACT);
	}
	if(need == 0)
		goto end;
	out.len += need;
	err = 0;
end:
	json_decref(json);
	return err;
}

/* A JSON string. */
static int append_string(const str *value)
{
	return is_plain(value) ? append_plain(value) : append_escaped(value);
}

static int append_string_or_null(const str *value)
{
	return value->len > 0 ? append_string(value) : append_literal("null");
}

/* -------- filling in -------- */

static int append_contact(const struct cn_contact *c)
{
	str reason;

	reason.s = (char *)cn_reason_name(c->reason); /* none: empty, thus null */
	reason.len = strlen(reason.s);
	if(append_literal("{\"uri\":") < 0 || append_string(&c->uri) < 0
			|| append_literal(",\"expires\":") < 0
			|| append_number(c->expires) < 0
			|| append_literal(",\"received\":") < 0
			|| append_string_or_null(&c->received) < 0
			|| append_literal(",\"instance\":") < 0
			|| append_string_or_null(&c->instance) < 0
			|| append_literal(",\"reg_id\":") < 0
			|| (c->has_reg_id ? append_number(c->reg_id)
							  : append_literal("null"))
					   < 0
			|| append_literal(",\"path\":") < 0
			|| append_string_or_null(&c->path) < 0
			|| append_literal(",\"reason\":") < 0
			|| append_string_or_null(&reason) < 0 || append_literal("}") < 0)
		return -1;
	return 0;
}

static int append_contacts(const struct cn_event *ev)
{
	const char *between = "[";
	int i;

	for(i = 0; i < ev->contact_count; i++) {
		if(ev->kind == CN_KIND_REGISTER
				&& ev->contacts[i].reason == CN_REASON_NONE)
			continue;
		if(append_literal(between) < 0 || append_contact(&ev->contacts[i]) < 0)
			return -1;
		between = ",";
	}
	return append_literal(*between == '[' ? "[]" : "]");
}

int cn_body_contacts(const struct cn_event *ev, str *text)
{
	int start = out.len;

	if(append_contacts(ev) < 0) {
		out.len = start;
		return -1;
	}
	text->s = out.s + start;
	text->len = out.len - start;
	out.len = start;
	return 0;
}

/* The text of an integer holds more than its int does: CSeq goes up to 2^32. */
static int append_integer(const pv_value_t *value)
{
	int i = value->rs.len > 1 && value->rs.s[0] == '-';

	while(i < value->rs.len && value->rs.s[i] >= '0' && value->rs.s[i] <= '9')
		i++;
	if(i == 0 || i != value->rs.len || !(value->flags & PV_VAL_STR)
			|| (value->rs.s[0] == '0' && value->rs.len > 1))
		return append_number(value->ri);
	return append(&out, value->rs.s, value->rs.len);
}

void cn_body_own_values(pv_getf_t get)
{
	own_values = get;
}

/* @return false: null */
static bool get_value(struct sip_msg *msg, const struct cn_event *ev,
		pv_spec_p spec, pv_value_t *value)
{
	if(ev->kind != CN_KIND_REGISTER && spec->getf != own_values)
		return false;
	return pv_get_spec_value(msg, spec, value) >= 0
		   && !(value->flags & PV_VAL_NULL);
}

static int append_value(
		struct sip_msg *msg, const struct cn_event *ev, pv_elem_t *format)
{
	pv_value_t value;

	if(!get_value(msg, ev, format->spec, &value))
		return append_literal("null");
	if((value.flags & PV_VAL_INT) && (value.flags & PV_TYPE_INT))
		return append_integer(&value);
	return append_string(&value.rs);
}

static int append_format(
		struct sip_msg *msg, const struct cn_event *ev, pv_elem_t *format)
{
	pv_value_t value;
	pv_elem_t *e;
	str whole;

	joined.len = 0;
	for(e = format; e; e = e->next) {
		if(e->text.len > 0 && append(&joined, e->text.s, e->text.len) < 0)
			return -1;
		if(e->spec == NULL || e->spec->getf == NULL
				|| !get_value(msg, ev, e->spec, &value))
			continue;
		if(append(&joined, value.rs.s, value.rs.len) < 0)
			return -1;
	}
	whole.s = joined.s ? joined.s : "";
	whole.len = joined.len;
	return append_string(&whole);
}

int cn_body_render(struct sip_msg *msg, const struct cn_event *ev, str *body)
{
	const struct piece *p = template.pieces;
	const struct piece *end = p + template.count;
	int err = 0;

	out.len = 0;
	for(; p < end && err == 0; p++) {
		if(append(&out, p->text.s, p->text.len) < 0)
			return -1;
		switch(p->type) {
			case PIECE_VALUE:
				err = append_value(msg, ev, p->format);
				break;
			case PIECE_STRING:
				err = append_format(msg, ev, p->format);
				break;
			case PIECE_CONTACTS:
				err = append_contacts(ev);
				break;
			case PIECE_LAST:
				break;
		}
	}
	body->s = out.s;
	body->len = out.len;
	return err;
}

/* -------- compiling -------- */

/* What has been written to the buffer since the last piece is its text. */
static int add_piece(enum piece_type type, pv_elem_t *format)
{
	const str text = {out.s, out.len};
	struct piece *more;

	more = pkg_realloc(
			template.pieces, (template.count + 1) * sizeof(*template.pieces));
	if(more == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	template.pieces = more;
	more += template.count;
	more->type = type;
	more->format = format;
	if(pkg_str_dup(&more->text, &text) < 0)
		return -1;
	template.count++;
	out.len = 0;
	return 0;
}

static bool is_single(const pv_elem_t *format)
{
	return format->text.len == 0 && format->spec != NULL
		   && format->next == NULL;
}

static int compile_string(const json_t *json, const char *path)
{
	str text = {(char *)json_string_value(json), json_string_length(json)};
	pv_elem_t *format = NULL;
	str copy;

	if(memchr(text.s, '$', text.len) == NULL)
		return append_string(&text);
	template.has_id = template.has_id || strstr(text.s, "cms(id)") != NULL;
	if(strcmp(text.s, "$cms(contacts)") == 0)
		return add_piece(PIECE_CONTACTS, NULL);
	/* the format points into the text, which goes with the JSON tree */
	if(pkg_str_dup(&copy, &text) < 0)
		return -1;
	if(pv_parse_format(&copy, &format) < 0 || format == NULL) {
		LM_ERR("body: at %s: \"%s\" has no valid pseudo-variable after its $ "
			   "(write $$ for a dollar sign)\n",
				path, copy.s);
		return -1;
	}
	return add_piece(is_single(format) ? PIECE_VALUE : PIECE_STRING, format);
}

static int compile(const json_t *json, const char *path);

static int compile_object(const json_t *json, const char *path)
{
	char sub[256];
	const char *key, *between = "{";
	json_t *value;

	json_object_foreach((json_t *)json, key, value)
	{
		str name = {(char *)key, strlen(key)};

		snprintf(sub, sizeof(sub), "%s/%s", path, key);
		if(append_literal(between) < 0 || append_string(&name) < 0
				|| append_literal(":") < 0 || compile(value, sub) < 0)
			return -1;
		between = ",";
	}
	return append_literal(*between == '{' ? "{}" : "}");
}

static int compile_array(const json_t *json, const char *path)
{
	char sub[256];
	size_t i;

	if(append_literal("[") < 0)
		return -1;
	for(i = 0; i < json_array_size(json); i++) {
		snprintf(sub, sizeof(sub), "%s/%zu", path, i);
		if((i > 0 && append_literal(",") < 0)
				|| compile(json_array_get(json, i), sub) < 0)
			return -1;
	}
	return append_literal("]");
}

static int compile(const json_t *json, const char *path)
{
	char *text;
	int err;

	if(json_is_object(json))
		return compile_object(json, path);
	if(json_is_array(json))
		return compile_array(json, path);
	if(json_is_string(json))
		return compile_string(json, path);
	text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);
	err = text ? append_literal(text) : -1;
	free(text);
	return err;
}

int cn_body_init(const char *text)
{
	json_error_t error;
	json_t *json;
	int err = -1;

	template.has_id = false;
	json = json_loads(
			text ? text : default_template, JSON_REJECT_DUPLICATES, &error);
	if(json == NULL) {
		LM_ERR("body: line %d, column %d: %s\n", error.line, error.column,
				error.text);
		return -1;
	}
	out.len = 0;
	/* room for something at least: an empty one has no address to print to */
	if(reserve(&out, 1) == 0 && compile(json, "") == 0
			&& add_piece(PIECE_LAST, NULL) == 0)
		err = 0;
	json_decref(json);
	return err;
}

bool cn_body_has_id(void)
{
	return template.has_id;
}
