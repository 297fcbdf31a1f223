/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Compares the Contacts of a REGISTER with usrloc's bindings. In the SIP workers;
 * what usrloc purges is noted in whatever process that is. */

#include <limits.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/parser/parse_to.h"
#include "../../core/sr_module.h"
#include "../usrloc/ucontact.h"
#include "../usrloc/udomain.h"
#include "../usrloc/usrloc.h"

#include "base_conf.h"
#include "base_history.h"
#include "job_index.h"
#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_expired.h"
#include "reg_settings.h"
#include "reg_uri.h"
#include "reg_request.h"

static usrloc_api_t usrloc;
/* usrloc has to be asked for the bindings of an AOR: it queries the database, or
 * looks for lost connections then. */
static bool asks_usrloc;

/* The tables that the script names. */
static struct
{
	struct udomain *tables[CN_TABLES_MAX];
	int count;
} added;

/* Under usrloc's lock: copies and returns. A binding that was deleted while
 * usrloc writes back is purged like an expired one, but has a mark. */
static void on_binding(ucontact_t *binding, int type, void *unused)
{
	(void)unused;
	if(type & UL_CONTACT_INSERT) {
		cn_index_saved(binding->aor);
		cn_expired_forget(binding->aor, &binding->c);
	} else if(binding->expires != UL_EXPIRED_TIME) {
		cn_expired_note(binding->aor, &binding->c);
		/* who is GONE is off line, and has that step already */
		if(!cn_binding_is_gone(binding))
			cn_history_note(binding->aor, CN_STEP_EXPIRED);
	}
}

int cn_classify_init(void)
{
	bind_usrloc_t bind_usrloc;
	const int *handle_lost_tcp;
	modparam_t type;

	bind_usrloc = (bind_usrloc_t)find_export("ul_bind_usrloc", 1, 0);
	if(bind_usrloc == NULL || bind_usrloc(&usrloc) < 0) {
		LM_ERR("cannot use usrloc: load usrloc.so before cms_notify.so\n");
		return -1;
	}
	if(usrloc.register_ulcb(
			   UL_CONTACT_INSERT | UL_CONTACT_EXPIRE, on_binding, NULL)
			< 0) {
		LM_ERR("cannot listen to usrloc\n");
		return -1;
	}
	handle_lost_tcp = find_param_export(
			find_module_by_name("usrloc"), "handle_lost_tcp", PARAM_INT, &type);
	asks_usrloc = usrloc.db_mode == DB_ONLY || handle_lost_tcp == NULL
				  || *handle_lost_tcp;
	return cn_registrar_init();
}

struct udomain *cn_classify_table(const char *name)
{
	struct udomain *table;

	return usrloc.get_udomain(name, &table) == 0 ? table : NULL;
}

struct udomain *cn_classify_add_table(const char *name)
{
	struct udomain *table;
	int i;

	if(usrloc.register_udomain(name, &table) < 0)
		return NULL;
	for(i = 0; i < added.count && added.tables[i] != table; i++)
		;
	if(i == added.count && i < CN_TABLES_MAX)
		added.tables[added.count++] = table;
	return table;
}

int cn_classify_tables(struct udomain **tables, int max)
{
	int i;

	if(added.count == 0) {
		tables[0] = cn_classify_table("location");
		return tables[0] ? 1 : 0;
	}
	for(i = 0; i < added.count && i < max; i++)
		tables[i] = added.tables[i];
	return i;
}

int cn_classify_read(struct sip_msg *msg, const str *aor, struct cn_event *ev)
{
	return cn_request_read(msg, aor, usrloc.use_domain, ev);
}

bool cn_classify_key(struct sip_msg *msg, const str *aor, str *key)
{
	str to;

	if(aor == NULL) {
		if(parse_to_header(msg) < 0)
			return false;
		to = get_to(msg)->uri;
		aor = &to;
	}
	return cn_request_key(aor, usrloc.use_domain, key);
}

unsigned cn_classify_hash(const str *key)
{
	str aor = *key;

	return usrloc.get_aorhash(&aor);
}

static bool same_str(const str *a, const str *b)
{
	return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

/* Does the device count its CSeqs on from this binding? */
static bool goes_on(const ucontact_t *b, const struct cn_event *ev)
{
	return same_str(&b->callid, &ev->call_id)
		   && (!cn_conf.cseq_restart || (int)ev->cseq > b->cseq);
}

/* How the contact stands to the live bindings of the AOR. */
struct relation
{
	const ucontact_t *device; /* of the same device at another address */
	bool goes_on;			  /* from one of these */
	bool other;				  /* of any device */
};

static struct relation relate(const urecord_t *record,
		const struct cn_contact *c, const struct cn_event *ev, time_t now)
{
	struct relation rel = {NULL, false, false};
	const ucontact_t *b;

	for(b = record ? record->contacts : NULL; b; b = b->next) {
		if(!cn_binding_is_live(b, now))
			continue;
		rel.other = true;
		if(cn_conf.identity == CN_IDENTITY_AOR
				|| (cn_conf.identity == CN_IDENTITY_INSTANCE
						&& cn_contact_same_instance(
								&c->instance, &b->instance))) {
			rel.device = b;
			rel.goes_on |= goes_on(b, ev);
		}
	}
	return rel;
}

/* No live binding of its own: is it the device under another address? */
static enum cn_reason classify_unbound(const urecord_t *record,
		const struct cn_contact *c, const struct cn_event *ev, time_t now,
		bool expired)
{
	struct relation rel = relate(record, c, ev, now);

	if(rel.device)
		return cn_conf.detect_reboot && !rel.goes_on ? CN_REASON_REBOOT
													 : CN_REASON_NONE;
	if(expired || cn_expired_has(&ev->key, &c->uri))
		return CN_REASON_RETURNED;
	return rel.other ? CN_REASON_MOVED : CN_REASON_NEW;
}

enum found
{
	FOUND_NOTHING,
	FOUND_BINDING,
	FOUND_STALE,   /* a binding that gives way */
	FOUND_REFUSED, /* the CSeq is too low */
	FOUND_IGNORED  /* save() would answer 200 and do nothing */
};

/* By usrloc's rules, for this CSeq. @return as usrloc */
static int look_up(urecord_t *record, const struct cn_event *ev,
		const struct cn_contact *c, int cseq, ucontact_t **binding)
{
	static ucontact_info_t info; /* large, and of the rest nothing is read */
	str uri = c->uri;

	info.callid = (str *)&ev->call_id;
	info.cseq = cseq;
	info.instance = c->instance;
	info.reg_id = c->reg_id;
	info.path = c->path.len > 0 ? (str *)&c->path : NULL;
	return usrloc.get_ucontact_by_instance(record, &uri, &info, binding);
}

static enum found find_binding(urecord_t *record, const struct cn_event *ev,
		const struct cn_contact *c, ucontact_t **binding)
{
	int found;

	*binding = NULL;
	if(record == NULL)
		return FOUND_NOTHING;
	found = look_up(record, ev, c, (int)ev->cseq, binding);
	if(found == 0)
		return FOUND_BINDING;
	if(found != -1 && found != -2)
		return FOUND_NOTHING;
	/* -2: an equal CSeq, which usrloc takes for a retransmission. tm has sorted
	 * those out: what comes here is another request, and done. */
	if((found == -2 || cn_conf.cseq_restart) && usrloc.db_mode != DB_ONLY
			&& look_up(record, ev, c, INT_MAX, binding) == 0)
		return FOUND_STALE;
	return found == -1 ? FOUND_REFUSED : FOUND_IGNORED;
}

/* usrloc keeps one binding for an instance, for the last of its Contacts: is it
 * one of this request? */
static bool is_of_event(const ucontact_t *binding, const struct cn_event *ev)
{
	int i;

	for(i = 0; i < ev->contact_count; i++) {
		if(same_str(&binding->c, &ev->contacts[i].uri)
				&& ev->contacts[i].expires > 0)
			return true;
	}
	return false;
}

static enum cn_reason classify_bound(const urecord_t *record,
		const struct cn_contact *c, const struct cn_event *ev, time_t now,
		const ucontact_t *binding)
{
	if(!cn_binding_is_live(binding, now)) {
		/* what has left stays a while when usrloc writes back: it is gone */
		return classify_unbound(
				record, c, ev, now, binding->expires != UL_EXPIRED_TIME);
	}
	if(cn_conf.identity == CN_IDENTITY_CONTACT && c->instance.len > 0
			&& !is_of_event(binding, ev))
		return CN_REASON_MOVED;
	return cn_conf.detect_reboot && !goes_on(binding, ev) ? CN_REASON_REBOOT
														  : CN_REASON_NONE;
}

/* If not, save() would bind it all the same. What is bound by that URI has been
 * looked at. */
static bool is_proper(const struct cn_contact *c, const ucontact_t *binding)
{
	/* behind a NAT, or an edge, it is reached by that */
	bool is_way = c->expires > 0 && c->received.len == 0 && c->path.len == 0;

	return (binding && same_str(&binding->c, &c->uri))
		   || cn_uri_is_proper(&c->uri, is_way);
}

/* @return as save() counts them
 * @param live those that are there */
static int count_bindings(const urecord_t *record, time_t now, int *live)
{
	const ucontact_t *b;
	int n = 0;

	*live = 0;
	for(b = record ? record->contacts : NULL; b; b = b->next) {
		n += VALID_CONTACT(b, now);
		*live += cn_binding_is_live(b, now);
	}
	return n;
}

/* Under usrloc's lock; sets how many contacts more are allowed, besides those of
 * the request. @return false: save() is going to refuse the request */
static bool classify(urecord_t *record, struct cn_event *ev)
{
	int max =
			cn_registrar_override("max_contacts", cn_registrar()->max_contacts);
	time_t now = time(NULL);
	int count = count_bindings(record, now, &ev->live), i;
	ucontact_t *binding;

	for(i = 0; i < ev->contact_count; i++) {
		struct cn_contact *c = &ev->contacts[i];
		enum found found = find_binding(record, ev, c, &binding);

		c->reason = CN_REASON_NONE;
		ev->improper |= found == FOUND_IGNORED || !is_proper(c, binding);
		if(found == FOUND_REFUSED)
			ev->refused = "its CSeq is not higher";
		if(found == FOUND_REFUSED || ev->improper)
			return false;
		ev->gives_way |= found == FOUND_STALE;
		ev->live += (c->expires > 0)
					- (binding && cn_binding_is_live(binding, now));
		if(c->expires == 0) {
			count -= found != FOUND_NOTHING;
			continue;
		}
		count += found == FOUND_NOTHING;
		c->reason = found == FOUND_NOTHING
							? classify_unbound(record, c, ev, now, false)
							: classify_bound(record, c, ev, now, binding);
		if(ev->reason == CN_REASON_NONE)
			ev->reason = c->reason;
	}
	ev->room = max > 0 ? max - count : INT_MAX;
	if(ev->room < 0)
		ev->refused = "too many contacts";
	return ev->room >= 0;
}

/* save() refuses what cannot be classified. */
static void judge(urecord_t *record, struct cn_event *ev)
{
	if(ev->refused == NULL && classify(record, ev))
		return;
	ev->contact_count = 0;
	ev->reason = CN_REASON_NONE;
}

static void classify_by_usrloc(struct udomain *table, struct cn_event *ev)
{
	urecord_t *record = NULL;
	int err;

	usrloc.lock_udomain(table, &ev->key);
	err = usrloc.get_urecord(table, &ev->key, &record);
	if(err < 0)
		ev->refused = "usrloc failed";
	judge(err == 0 ? record : NULL, ev);
	if(err == 0)
		usrloc.release_urecord(record);
	usrloc.unlock_udomain(table, &ev->key);
}

struct urecord *cn_classify_find(
		struct udomain *table, unsigned hash, const str *key)
{
	urecord_t *record;
	str aor = *key;

	if(asks_usrloc)
		return usrloc.get_urecord(table, &aor, &record) == 0 ? record : NULL;
	/* as usrloc does, which would count the hash once more */
	record = table->table[hash & (table->size - 1)].first;
	while(record && (record->aorhash != hash || !same_str(&record->aor, &aor)))
		record = record->next;
	return record;
}

static void classify_in_memory(struct udomain *table, struct cn_event *ev)
{
	struct hslot *slot = &table->table[ev->hash & (table->size - 1)];

	rec_lock_get(&slot->rlock);
	judge(cn_classify_find(table, ev->hash, &ev->key), ev);
	rec_lock_release(&slot->rlock);
}

void cn_classify(struct udomain *table, struct cn_event *ev)
{
	ev->reason = CN_REASON_NONE;
	ev->refused = NULL;
	ev->gives_way = false;
	if(ev->contact_count == 0 && !ev->star)
		return;
	ev->hash = usrloc.get_aorhash(&ev->key);
	if(ev->contact_count == 0)
		return;
	if(asks_usrloc)
		classify_by_usrloc(table, ev);
	else
		classify_in_memory(table, ev);
}
