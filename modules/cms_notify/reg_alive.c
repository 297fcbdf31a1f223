/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Finds in usrloc's bindings who was not heard. In the alive process and in the
 * outbox process. */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/sr_module.h"
#include "../../core/tcp_conn.h"
#include "../usrloc/udomain.h"

#include "base_conf.h"
#include "base_history.h"
#include "base_stats.h"
#include "job_contacts.h"
#include "outbox.h"
#include "reg_alive.h"
#include "reg_binding.h"
#include "reg_classify.h"
#include "reg_usrloc.h"

static usrloc_api_t usrloc;

static struct udomain *tables[CN_TABLES_MAX];
static int table_count, slots;

static struct shared
{
	volatile bool connections_known;
	volatile int counted;
	volatile char calls[]; /* by slot */
} * shared;

/* -------- connections -------- */

/* A contact behind a proxy has none: the proxy's is not the device's. */
static bool has_connection(const ucontact_t *b)
{
	return b->tcpconn_id != CN_BINDING_NO_CONNECTION && b->path.len == 0;
}

static bool is_connected(const ucontact_t *b)
{
	struct tcp_connection *con = tcpconn_get(b->tcpconn_id, 0, 0, 0, 0);

	if(con)
		tcpconn_put(con);
	return con != NULL;
}

bool cn_alive_has_lost_connection(const ucontact_t *b)
{
	return shared && shared->connections_known && has_connection(b)
		   && !is_connected(b);
}

/* Under usrloc's lock. */
static void on_saved(ucontact_t *b, int type, void *unused)
{
	(void)type;
	(void)unused;
	if(shared && has_connection(b))
		shared->calls[usrloc.get_aorhash(b->aor) & (slots - 1)] = 1;
}

bool cn_alive_is_called(int slot)
{
	if(!shared->calls[slot])
		return false;
	shared->calls[slot] = 0;
	return true;
}

/* -------- start -------- */

static int check_usrloc(void)
{
	const int *handle_lost_tcp;
	modparam_t type;

	if(usrloc.db_mode == DB_ONLY) {
		LM_ERR("alive_timeout needs usrloc's bindings in memory: its db_mode "
			   "must not be 3\n");
		return -1;
	}
	handle_lost_tcp = find_param_export(
			find_module_by_name("usrloc"), "handle_lost_tcp", PARAM_INT, &type);
	if(handle_lost_tcp && *handle_lost_tcp) {
		LM_ERR("alive_timeout ends bindings whose connection is lost, and "
			   "tells "
			   "the CMS: remove handle_lost_tcp of usrloc\n");
		return -1;
	}
	return 0;
}

int cn_alive_init(void)
{
	bind_usrloc_t bind_usrloc;

	bind_usrloc = (bind_usrloc_t)find_export("ul_bind_usrloc", 1, 0);
	if(bind_usrloc == NULL || bind_usrloc(&usrloc) < 0) {
		LM_ERR("cannot use usrloc: load usrloc.so before cms_notify.so\n");
		return -1;
	}
	if(cn_conf.alive_timeout_s == 0)
		return 0;
	if(check_usrloc() < 0)
		return -1;
	if(usrloc.register_ulcb(
			   UL_CONTACT_INSERT | UL_CONTACT_UPDATE, on_saved, NULL)
			< 0) {
		LM_ERR("cannot listen to usrloc\n");
		return -1;
	}
	return 0;
}

int cn_alive_start(void)
{
	table_count = cn_classify_tables(tables, CN_TABLES_MAX);
	slots = table_count > 0 ? tables[0]->size : 0;
	if(cn_conf.alive_timeout_s == 0)
		return 0;
	shared = shm_malloc(sizeof(*shared) + slots);
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(shared, 0, sizeof(*shared) + slots);
	return 0;
}

void cn_alive_destroy(void)
{
	if(shared)
		shm_free(shared);
	shared = NULL;
}

int cn_alive_slots(void)
{
	return cn_conf.alive_timeout_s > 0 ? slots : 0;
}

/* -------- all bindings -------- */

typedef void (*binding_f)(ucontact_t *b, void *param);

/* Under the slot's lock. */
static void each_of(const urecord_t *record, binding_f each, void *param)
{
	ucontact_t *b;

	for(; record; record = record->next) {
		for(b = record->contacts; b; b = b->next)
			each(b, param);
	}
}

static void each_of_slot(int slot, binding_f each, void *param)
{
	struct hslot *at;
	int i;

	for(i = 0; i < table_count; i++) {
		at = &tables[i]->table[slot];
		rec_lock_get(&at->rlock);
		each_of(at->first, each, param);
		rec_lock_release(&at->rlock);
	}
}

static void forget_connection(ucontact_t *b, void *unused)
{
	(void)unused;
	/* who has registered meanwhile has a connection that is there */
	if(b->tcpconn_id != CN_BINDING_NO_CONNECTION && !is_connected(b))
		b->tcpconn_id = CN_BINDING_NO_CONNECTION;
}

void cn_alive_forget_connections(void)
{
	int i;

	if(shared == NULL)
		return;
	for(i = 0; i < slots; i++)
		each_of_slot(i, forget_connection, NULL);
	shared->connections_known = true;
}

static void count(ucontact_t *b, void *n)
{
	if(cn_binding_is_ours(b) && cn_binding_is_live(b, time(NULL)))
		++*(int *)n;
}

int cn_alive_count(void)
{
	int n = 0, i;

	for(i = 0; i < slots && cn_usrloc_in_memory(); i++)
		each_of_slot(i, count, &n);
	return n;
}

void cn_alive_count_again(void)
{
	shared->counted = cn_alive_count();
}

int cn_alive_counted(void)
{
	return shared ? shared->counted : 0;
}

bool cn_alive_is_on(void)
{
	return shared != NULL;
}

/* -------- who is silent -------- */

/* Whoever is of the future was heard before the clock was set back. A second is
 * no future: it may have begun after the look. */
static time_t heard_s(const ucontact_t *b, const struct cn_alive_look *look)
{
	return b->last_keepalive < look->since_s
						   || b->last_keepalive > look->now_s + 1
				   ? look->since_s
				   : b->last_keepalive;
}

/* @return false: it must be tried again */
static bool tell(ucontact_t *b)
{
	struct cn_binding_view view;

	cn_binding_read(&usrloc, &view, b, CN_KIND_OFFLINE);
	cn_event_stamp(&view.ev);
	if(cn_outbox_leave(&view.ev) < 0)
		return false;
	b->last_keepalive = CN_BINDING_GONE;
	cn_stats_count(CN_COUNTER_offline);
	cn_history_note(b->aor, CN_STEP_OFFLINE);
	return true;
}

static void look_at(ucontact_t *b, void *param)
{
	struct cn_alive_look *look = param;
	time_t due_s;

	if(!cn_binding_is_ours(b) || !cn_binding_is_live(b, look->now_s))
		return;
	/* that many whole seconds have passed since any moment of that one */
	due_s = heard_s(b, look) + cn_conf.alive_timeout_s + 1;
	if(has_connection(b)) {
		look->connected = true;
		if(cn_alive_has_lost_connection(b))
			due_s = look->now_s;
	}
	if(due_s <= look->now_s && look->room > 0 && tell(b)) {
		look->room--;
		return;
	}
	if(look->due_s == 0 || due_s < look->due_s)
		look->due_s = due_s;
}

bool cn_alive_look(int slot, struct cn_alive_look *look)
{
	struct hslot *at;
	int i;

	look->due_s = 0;
	look->connected = false;
	for(i = 0; i < table_count; i++) {
		at = &tables[i]->table[slot];
		rec_lock_get(&at->rlock);
		/* not before: who was heard while that took long is not of the future */
		look->read_clock(look);
		each_of(at->first, look_at, look);
		rec_lock_release(&at->rlock);
	}
	return look->due_s == 0 || look->due_s > look->now_s;
}

static void end_binding(ucontact_t *b, const char *contacts)
{
	char one[CN_CONTACTS_MAX + 1];
	struct cn_binding_view view;
	time_t now = time(NULL);

	if(!cn_binding_is_gone(b) || !VALID_CONTACT(b, now))
		return;
	cn_binding_read(&usrloc, &view, b, CN_KIND_OFFLINE);
	cn_contacts_write(&view.ev, one);
	if(cn_contacts_within(one, contacts))
		b->expires = now - 1;
}

void cn_alive_end(const char *key, const char *contacts)
{
	str aor = {(char *)key, strlen(key)};
	urecord_t *record;
	ucontact_t *b;
	int i;

	for(i = 0; i < table_count; i++) {
		usrloc.lock_udomain(tables[i], &aor);
		if(usrloc.get_urecord(tables[i], &aor, &record) == 0) {
			for(b = record->contacts; b; b = b->next)
				end_binding(b, contacts);
			usrloc.release_urecord(record);
		}
		usrloc.unlock_udomain(tables[i], &aor);
	}
}

/* -------- for an operator -------- */

static void show(const ucontact_t *b, time_t now, struct cn_alive_contact *c)
{
	snprintf(c->uri, sizeof(c->uri), "%.*s", b->c.len, b->c.s);
	snprintf(c->received, sizeof(c->received), "%.*s", b->received.len,
			b->received.len > 0 ? b->received.s : "");
	c->expires_s = cn_binding_expires_s(b, now);
	c->gone = cn_binding_is_gone(b);
	c->heard_s = c->gone ? 0 : (int)(now - b->last_keepalive);
}

int cn_alive_contacts(const char *aor, struct cn_alive_contact *list, int max)
{
	str key = cn_usrloc_key(aor);
	time_t now = time(NULL);
	urecord_t *record;
	ucontact_t *b;
	int i, n = 0;

	for(i = 0; i < table_count && cn_usrloc_in_memory(); i++) {
		usrloc.lock_udomain(tables[i], &key);
		if(usrloc.get_urecord(tables[i], &key, &record) == 0) {
			for(b = record->contacts; b && n < max; b = b->next) {
				if(VALID_CONTACT(b, now))
					show(b, now, &list[n++]);
			}
			usrloc.release_urecord(record);
		}
		usrloc.unlock_udomain(tables[i], &key);
	}
	return n;
}
