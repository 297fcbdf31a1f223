/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Listens to usrloc's callbacks, and reads its bindings. In whatever process usrloc
 * purges, and in the outbox process. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/sr_module.h"
#include "../../core/tcp_conn.h"
#include "../../core/counters.h"
#include "../usrloc/udomain.h"
#include "../usrloc/usrloc.h"

#include "job_contacts.h"
#include "reg_binding.h"
#include "reg_usrloc.h"
#include "base_conf.h"
#include "reg_classify.h"
#include "outbox_leaving.h"
#include "outbox.h"
#include "reg_settings.h"
#include "reg_request.h"
#include "reg_table.h"

static usrloc_api_t usrloc;
static const int *db_load; /* usrloc's parameters */
static const int *handle_lost_tcp;

/* -------- leaving -------- */

/* usrloc purges once more while the server stops. What has run out by then and
 * has a row in usrloc's table may stay there: it is loaded, purged and told when
 * the server runs again.
 * @return true: it does */
static bool leave_for_the_start(ucontact_t *b)
{
	if(!destroy_modules_phase() || *db_load == 0
			|| (usrloc.db_mode != WRITE_THROUGH
					&& usrloc.db_mode != WRITE_BACK))
		return false;
	if(b->state == CS_NEW || b->expires == UL_EXPIRED_TIME)
		return false;
	b->state = CS_NEW; /* as usrloc calls one without a row to be deleted */
	return true;
}

static void tell(const ucontact_t *b, enum cn_kind kind)
{
	struct cn_binding_view view;

	cn_binding_read(&usrloc, &view, b, kind);
	cn_event_stamp(&view.ev);
	if(destroy_modules_phase())
		cn_leaving_store(&view.ev);
	else if(cn_outbox_leave(&view.ev) < 0)
		LM_ERR("out of shared memory, or too much at once: the CMS is not told "
			   "that %.*s has left\n",
				view.ev.aor.len, view.ev.aor.s);
}

/* With handle_lost_tcp the usrloc of Kamailio 6.2 deletes such a binding, where
 * it expires before; that is the same thing to the CMS. In db_mode 2 it deletes
 * it again at each tick, and keeps it for ever, unless it forgets the
 * connection. */
static bool has_lost_its_connection(const ucontact_t *b)
{
	struct tcp_connection *con;

	if(!*handle_lost_tcp || b->tcpconn_id == CN_BINDING_NO_CONNECTION)
		return false;
	con = tcpconn_get(b->tcpconn_id, 0, 0, 0, 0);
	if(con)
		tcpconn_put(con);
	return con == NULL;
}

/* Of what servers share in a database, who deletes it hears of that, and nobody
 * else; of what is replicated all do. */
static bool is_told_here(const ucontact_t *b, int type)
{
	return cn_binding_is_ours(b)
		   || (usrloc.db_mode == DB_ONLY && type == UL_CONTACT_DELETE);
}

/* Under usrloc's lock: copies and returns. While the server stops, in the main
 * process, there is no lock and nobody else. */
static void on_leaving(ucontact_t *b, int type, void *unused)
{
	(void)unused;
	/* of who is GONE the CMS is told that already */
	if(!is_told_here(b, type) || cn_binding_is_gone(b))
		return;
	if(type == UL_CONTACT_DELETE) {
		/* Also told more than once. And while usrloc writes back, what was
		 * deleted is purged later, like what has expired. The mark is that of
		 * what usrloc has told already; it is gone when the contact registers
		 * again. */
		if(b->flags & FL_EXPCLB)
			return;
		b->flags |= FL_EXPCLB;
		if(has_lost_its_connection(b)) {
			b->tcpconn_id = CN_BINDING_NO_CONNECTION;
			if(cn_conf.events_expire)
				tell(b, CN_KIND_EXPIRE);
		} else if(cn_conf.events_unregister) {
			tell(b, CN_KIND_UNREGISTER);
		}
	} else if(!(b->flags & FL_EXPCLB) && !leave_for_the_start(b)) {
		tell(b, CN_KIND_EXPIRE);
	}
}

static int listen_to_usrloc(int types)
{
	struct sr_module *mod = find_module_by_name("usrloc");
	modparam_t type;

	db_load = find_param_export(mod, "db_load", PARAM_INT, &type);
	handle_lost_tcp =
			find_param_export(mod, "handle_lost_tcp", PARAM_INT, &type);
	if(db_load == NULL || handle_lost_tcp == NULL) {
		LM_ERR("usrloc has no parameter db_load or handle_lost_tcp\n");
		return -1;
	}
	if(cn_reg_table_keeps_expired()) {
		types &= ~UL_CONTACT_EXPIRE; /* told from there */
	} else if((types & UL_CONTACT_EXPIRE) && usrloc.db_mode == DB_ONLY
			  && usrloc.use_domain) {
		LM_ERR("events: with usrloc's db_mode 3 and use_domain there is no "
			   "expire without its rm_expired_delay, as usrloc does not say in "
			   "whose domain\n");
		return -1;
	}
	if(server_id == 0 && find_module_by_name("dmq_usrloc")) {
		LM_ERR("events: with dmq_usrloc each server must have a server_id of "
			   "its own, so that one of them tells the CMS who leaves\n");
		return -1;
	}
	if(usrloc.register_ulcb(types, on_leaving, NULL) < 0) {
		LM_ERR("cannot listen to usrloc\n");
		return -1;
	}
	return 0;
}

/* In these modes save() is a statement of the database. */
static void warn_of_waiting(void)
{
	if(cn_conf.verdict_processes == 0
			&& (usrloc.db_mode == WRITE_THROUGH || usrloc.db_mode == DB_ONLY))
		LM_WARN("with usrloc's db_mode %d each registration waits for the "
				"database, and so do POSTs: set verdict_processes to 2 or "
				"more\n",
				usrloc.db_mode);
}

int cn_usrloc_init(void)
{
	bind_usrloc_t bind_usrloc;
	int types = 0;

	bind_usrloc = (bind_usrloc_t)find_export("ul_bind_usrloc", 1, 0);
	if(bind_usrloc == NULL || bind_usrloc(&usrloc) < 0) {
		LM_ERR("cannot use usrloc: load usrloc.so before cms_notify.so\n");
		return -1;
	}
	/* what was deleted must be known to tell it from what has expired */
	if(cn_conf.events_unregister || cn_conf.events_expire)
		types |= UL_CONTACT_DELETE;
	if(cn_conf.events_expire)
		types |= UL_CONTACT_EXPIRE;
	if(types && listen_to_usrloc(types) < 0)
		return -1;
	warn_of_waiting();
	return 0;
}

/* -------- being there -------- */

bool cn_usrloc_in_memory(void)
{
	return usrloc.db_mode != DB_ONLY;
}

static bool came_here(const ucontact_t *b, int64_t since_s)
{
	return server_id != 0 && cn_binding_is_ours(b)
		   && b->last_modified > since_s;
}

/* @param since_s 0: at any time, anywhere */
static bool has_live(
		const urecord_t *record, const char *about, int64_t since_s)
{
	char one[CN_CONTACTS_MAX + 1];
	const ucontact_t *b;
	struct cn_binding_view view;
	time_t now = time(NULL);

	for(b = record->contacts; b; b = b->next) {
		if(!cn_binding_is_live(b, now)
				|| (since_s > 0 && !came_here(b, since_s)))
			continue;
		cn_binding_read(&usrloc, &view, b, CN_KIND_SNAPSHOT);
		cn_contacts_write(&view.ev, one);
		if(cn_contacts_within(one, about))
			return true;
	}
	return false;
}

static bool is_live(const char *key, const char *about, int64_t since_s)
{
	struct udomain *tables[CN_TABLES_MAX];
	str aor = {(char *)key, strlen(key)};
	urecord_t *record;
	bool live = false;
	int i, n;

	if(!cn_usrloc_in_memory())
		return false;
	n = cn_classify_tables(tables, CN_TABLES_MAX);
	for(i = 0; i < n && !live; i++) {
		usrloc.lock_udomain(tables[i], &aor);
		if(usrloc.get_urecord(tables[i], &aor, &record) == 0) {
			live = has_live(record, about, since_s);
			usrloc.release_urecord(record);
		}
		usrloc.unlock_udomain(tables[i], &aor);
	}
	return live;
}

bool cn_usrloc_is_live(const char *key, const char *about)
{
	return is_live(key, about, 0);
}

bool cn_usrloc_came_here(const char *key, const char *about, int64_t since_s)
{
	return is_live(key, about, since_s);
}

/* -------- one after the other -------- */

/* What usrloc's get_all_ucontacts() puts down for a binding; lengths are ints,
 * nothing is aligned. */
static const char *read_str(const char *p, str *s)
{
	memcpy(&s->len, p, sizeof(s->len));
	s->s = (char *)p + sizeof(s->len);
	return s->s + s->len;
}

static void read_list(const char *p, cn_usrloc_f each)
{
	str contact, received, path, ruid;
	unsigned hash;

	for(;;) {
		p = read_str(p, &contact);
		if(contact.len == 0)
			return;
		p = read_str(p, &received);
		p += sizeof(struct socket_info *) + sizeof(unsigned); /* flags */
		p = read_str(p, &path);
		p = read_str(p, &ruid);
		memcpy(&hash, p, sizeof(hash));
		p += sizeof(hash);
		each(hash, &ruid);
	}
}

int cn_usrloc_each(int part, cn_usrloc_f each)
{
	static char *list;
	static int size;
	char *bigger;
	int more = size ? 0 : 65536;

	do {
		if(more > 0) {
			/* some may come in while nothing is locked */
			bigger = realloc(list, size + more + more / 4);
			if(bigger == NULL) {
				LM_ERR("no memory for a list of bindings\n");
				return -1;
			}
			list = bigger;
			size += more + more / 4;
		}
		more = usrloc.get_all_ucontacts(
				list, size, 0, part, CN_USRLOC_PARTS, 0);
		if(more < 0)
			return -1;
	} while(more > 0);
	read_list(list, each);
	return 0;
}

static bool has_scheme(const char *aor)
{
	return strncasecmp(aor, "sip:", 4) == 0 || strncasecmp(aor, "sips:", 5) == 0
		   || strncasecmp(aor, "tel:", 4) == 0;
}

str cn_usrloc_key(const char *aor)
{
	static char text[CN_BINDING_AOR_MAX];
	str key = {text, (int)strnlen(aor, sizeof(text))}, uri = key;
	char *at;

	memcpy(text, aor, key.len);
	if(has_scheme(aor) && cn_request_key(&uri, usrloc.use_domain, &key))
		return key;
	if(!cn_registrar()->case_sensitive)
		strlower(&key);
	at = usrloc.use_domain ? NULL : memchr(key.s, '@', key.len);
	if(at)
		key.len = at - key.s;
	return key;
}

void cn_usrloc_each_of(const char *aor, cn_usrloc_f each)
{
	struct udomain *tables[CN_TABLES_MAX];
	str key = cn_usrloc_key(aor);
	urecord_t *record;
	ucontact_t *b;
	int i, n = cn_classify_tables(tables, CN_TABLES_MAX);

	for(i = 0; i < n; i++) {
		usrloc.lock_udomain(tables[i], &key);
		if(usrloc.get_urecord(tables[i], &key, &record) == 0) {
			for(b = record->contacts; b; b = b->next)
				each(record->aorhash, &b->ruid);
			usrloc.release_urecord(record);
		}
		usrloc.unlock_udomain(tables[i], &key);
	}
}

static struct cn_event *copy_event(const struct cn_event *ev)
{
	static void *place;

	free(place);
	place = malloc(cn_event_size(ev));
	if(place == NULL) {
		LM_ERR("no memory for a binding\n");
		return NULL;
	}
	return cn_event_copy(ev, place);
}

struct cn_event *cn_usrloc_snapshot(unsigned hash, const char *ruid)
{
	struct udomain *tables[CN_TABLES_MAX];
	str id = {(char *)ruid, strlen(ruid)};
	struct cn_event *ev = NULL;
	time_t now = time(NULL);
	urecord_t *record;
	ucontact_t *b;
	struct cn_binding_view view;
	int i, n = cn_classify_tables(tables, CN_TABLES_MAX);

	for(i = 0; i < n && ev == NULL; i++) {
		/* leaves its slot locked when it has found something */
		if(usrloc.get_urecord_by_ruid(tables[i], hash, &id, &record, &b) != 0)
			continue;
		if(cn_binding_is_live(b, now) && cn_binding_is_ours(b)) {
			cn_binding_read(&usrloc, &view, b, CN_KIND_SNAPSHOT);
			view.contact.expires = cn_binding_expires_s(b, now);
			cn_event_stamp(&view.ev);
			ev = copy_event(&view.ev);
		}
		usrloc.unlock_udomain(tables[i], &record->aor);
	}
	return ev;
}

unsigned long cn_usrloc_contacts(void)
{
	struct udomain *list[CN_TABLES_MAX];
	int n = cn_classify_tables(list, CN_TABLES_MAX), i;
	unsigned long sum = 0;

	for(i = 0; i < n; i++)
		sum += get_stat_val(list[i]->contacts);
	return sum;
}
