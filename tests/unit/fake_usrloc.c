/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/globals.h"
#include "../../core/hashes.h"
#include "../usrloc/udomain.h"

#include "fake_modules.h"
#include "fake_usrloc.h"

#define BINDINGS_MAX 4096
#define LISTENERS_MAX 4

struct fake_usrloc fake_usrloc;
int server_id; /* of the core */

static const char *const table_names[] = {"location", "other"};
#define TABLES 2
static struct hslot slots[TABLES]; /* one each */
static struct udomain tables[TABLES];
static bool registered[TABLES];

struct entry
{
	int table;
	urecord_t record; /* as it is shown: of all of the AOR */
	str aor;
	ucontact_t *binding;
};

static struct
{
	struct entry entries[BINDINGS_MAX];
	int count;
	struct
	{
		int types;
		ul_cb *f;
		void *param;
	} listeners[LISTENERS_MAX];
	int listener_count;
	str locked; /* the AOR */
	bool changed; /* which bindings there are */
} fake;

static int index_of(const struct udomain *table)
{
	int i = (int)(table - tables);

	assert_in_range(i, 0, TABLES - 1);
	return i;
}

struct udomain *fake_usrloc_table(const char *name)
{
	int i;

	for(i = 0; i < TABLES; i++) {
		if(strcmp(table_names[i], name) == 0)
			return &tables[i];
	}
	return NULL;
}

static bool same(const str *a, const str *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->s, b->s, a->len) == 0);
}

/* -------- bindings -------- */

static str copy(const char *s)
{
	return (str){strdup(s), (int)strlen(s)};
}

ucontact_t *fake_binding_in(
		struct udomain *table, const char *aor, const char *uri, int expires_s)
{
	struct entry *e = &fake.entries[fake.count];
	ucontact_t *b = calloc(1, sizeof(*b));
	time_t now = time(NULL);
	char ruid[32];

	assert_true(fake.count < BINDINGS_MAX);
	snprintf(ruid, sizeof(ruid), "uloc-%d", ++fake.count);
	memset(e, 0, sizeof(*e));
	fake.changed = true;
	e->table = index_of(table);
	e->aor = copy(aor);
	e->binding = b;
	b->aor = &e->aor;
	b->ruid = copy(ruid);
	b->c = copy(uri);
	b->callid = STR("call-1");
	b->cseq = 10;
	b->user_agent = STR("n/a");
	b->state = CS_SYNC;
	b->server_id = server_id;
	b->tcpconn_id = -1;
	b->last_modified = b->last_keepalive = now;
	b->expires = now + expires_s;
	if(expires_s == FAKE_ALWAYS)
		b->expires = 0;
	else if(expires_s == FAKE_DELETED)
		b->expires = UL_EXPIRED_TIME;
	return b;
}

ucontact_t *fake_binding(const char *aor, const char *uri, int expires_s)
{
	return fake_binding_in(fake_usrloc_table("location"), aor, uri, expires_s);
}

static void free_entry(struct entry *e)
{
	if(e->binding == NULL)
		return;
	fake.changed = true;
	free(e->aor.s);
	free(e->binding->ruid.s);
	free(e->binding->c.s);
	free(e->binding);
	e->binding = NULL;
}

void fake_binding_remove(ucontact_t *binding)
{
	int i = 0;

	while(fake.entries[i].binding != binding)
		i++;
	free_entry(&fake.entries[i]);
}

void fake_usrloc_tell(ucontact_t *binding, int type)
{
	int i;

	for(i = 0; i < fake.listener_count; i++) {
		if(fake.listeners[i].types & type)
			fake.listeners[i].f(binding, type, fake.listeners[i].param);
	}
}

int fake_usrloc_types(void)
{
	int i, types = 0;

	for(i = 0; i < fake.listener_count; i++)
		types |= fake.listeners[i].types;
	return types;
}

/* -------- what it exports -------- */

static int register_udomain(const char *name, struct udomain **table)
{
	*table = fake_usrloc_table(name);
	if(*table == NULL)
		return -1;
	registered[index_of(*table)] = true;
	return 0;
}

static int get_udomain(const char *name, struct udomain **table)
{
	*table = fake_usrloc_table(name);
	return *table && registered[index_of(*table)] ? 0 : 1;
}

static void lock_aor(struct udomain *table, str *aor)
{
	(void)index_of(table);
	assert_int_equal(fake_usrloc.locked, 0);
	fake.locked = *aor;
	fake_usrloc.locked++;
}

static void unlock_aor(struct udomain *table, str *aor)
{
	assert_int_equal(fake_usrloc.locked, 1);
	assert_int_equal(fake_usrloc.records, 0); /* the slot's, not ours */
	assert_true(same(aor, &fake.locked));
	fake_usrloc.locked--;
}

static void show(struct entry *first)
{
	ucontact_t **last = &first->record.contacts;
	int i;

	*last = NULL;
	first->record.aor = first->aor;
	first->record.aorhash = core_hash(&first->aor, NULL, 0);
	for(i = 0; i < fake.count; i++) {
		struct entry *e = &fake.entries[i];

		if(e->binding && e->table == first->table
				&& same(&e->aor, &first->aor)) {
			e->binding->next = NULL;
			*last = e->binding;
			last = &e->binding->next;
		}
	}
}

static void append(struct hslot *slot, struct urecord *record)
{
	record->prev = slot->last;
	if(slot->last)
		slot->last->next = record;
	else
		slot->first = record;
	slot->last = record;
	slot->n++;
}

/* usrloc's lists of all that there is, as who walks them finds them. */
static void fill_slot(int table)
{
	int i, j;

	slots[table].first = slots[table].last = NULL;
	slots[table].n = 0;
	for(i = 0; i < fake.count; i++) {
		struct entry *e = &fake.entries[i];

		for(j = 0; j < i
				   && !(fake.entries[j].binding
						   && fake.entries[j].table == table
						   && same(&fake.entries[j].aor, &e->aor));
				j++)
			;
		if(j < i || e->binding == NULL || e->table != table)
			continue;
		show(e);
		e->record.prev = e->record.next = NULL;
		append(&slots[table], &e->record);
	}
}

/* Whoever has the lock may change their order. */
static void check_slot(const struct hslot *slot)
{
	const struct urecord *record, *before = NULL;
	int n = 0;

	for(record = slot->first; record; record = record->next) {
		assert_ptr_equal(record->prev, before);
		before = record;
		n++;
	}
	assert_ptr_equal(slot->last, before);
	assert_int_equal(slot->n, n);
}

void rec_lock_get(rec_lock_t *lock)
{
	void (*waits)(void) = fake_usrloc.waits;
	int i;

	fake_usrloc.waits = NULL;
	if(waits)
		waits();
	assert_int_equal(fake_usrloc.locked, 0);
	fake_usrloc.locked++;
	for(i = 0; i < TABLES && fake.changed; i++)
		fill_slot(i);
	fake.changed = false;
}

void rec_lock_release(rec_lock_t *lock)
{
	int i;

	assert_int_equal(fake_usrloc.locked, 1);
	for(i = 0; i < TABLES; i++) {
		if(lock == &slots[i].rlock)
			check_slot(&slots[i]);
	}
	fake_usrloc.locked--;
}

static int get_record(struct udomain *table, str *aor, struct urecord **record)
{
	int i;

	assert_int_equal(fake_usrloc.locked, 1);
	assert_true(same(aor, &fake.locked));
	if(fake_usrloc.query_fails)
		return -1;
	for(i = 0; i < fake.count; i++) {
		struct entry *e = &fake.entries[i];

		if(e->binding && e->table == index_of(table) && same(&e->aor, aor)) {
			show(e);
			*record = &e->record;
			fake_usrloc.records++;
			return 0;
		}
	}
	return 1;
}

static void release_record(struct urecord *record)
{
	assert_non_null(record);
	assert_int_equal(fake_usrloc.locked, 1);
	fake_usrloc.records--;
}

static int get_record_by_ruid(struct udomain *table, unsigned hash, str *ruid,
		struct urecord **record, struct ucontact **binding)
{
	int i;

	assert_int_equal(fake_usrloc.locked, 0);
	for(i = 0; i < fake.count; i++) {
		struct entry *e = &fake.entries[i];

		if(e->binding == NULL || e->table != index_of(table)
				|| core_hash(&e->aor, NULL, 0) != hash
				|| !same(&e->binding->ruid, ruid))
			continue;
		show(e);
		*record = &e->record;
		*binding = e->binding;
		lock_aor(table, &e->aor);
		return 0;
	}
	return -1;
}

/* Without their angle brackets. */
static bool same_instance(str a, str b)
{
	if(a.len > 1 && a.s[0] == '<' && a.s[a.len - 1] == '>')
		a.s++, a.len -= 2;
	if(b.len > 1 && b.s[0] == '<' && b.s[b.len - 1] == '>')
		b.s++, b.len -= 2;
	return same(&a, &b);
}

static int get_contact_by_instance(struct urecord *record, str *uri,
		ucontact_info_t *info, ucontact_t **binding)
{
	ucontact_t *b;

	assert_int_equal(fake_usrloc.locked, 1);
	if(info->instance.len > 0) {
		for(b = record->contacts; b; b = b->next) {
			if(b->instance.len > 0 && b->reg_id == info->reg_id
					&& same_instance(b->instance, info->instance)) {
				*binding = b;
				return 0;
			}
		}
		return 1;
	}
	for(b = record->contacts; b && !same(&b->c, uri); b = b->next)
		;
	if(b == NULL)
		return 1;
	if(same(&b->callid, info->callid) && info->cseq <= b->cseq)
		return info->cseq == b->cseq
							   && b->last_modified + fake_usrloc.same_for
										  > time(NULL)
					   ? -2
					   : -1;
	*binding = b;
	return 0;
}

static int listen_to(int types, ul_cb f, void *param)
{
	int i = fake.listener_count;

	if(fake_usrloc.listen_fails)
		return -1;
	assert_true(i < LISTENERS_MAX);
	fake.listeners[i].types = types;
	fake.listeners[i].f = f;
	fake.listeners[i].param = param;
	fake.listener_count++;
	return 0;
}

static unsigned get_aorhash(str *aor)
{
	return core_hash(aor, NULL, 0);
}

static char *put(char *to, const void *from, int len)
{
	if(len > 0)
		memcpy(to, from, len);
	return to + len;
}

static char *put_str(char *to, const str *s)
{
	return put(put(to, &s->len, sizeof(s->len)), s->s, s->len);
}

/* @return bytes that there was no room for */
static int get_all_ucontacts(void *buffer, int size, unsigned flags,
		unsigned part, unsigned parts, int options)
{
	char *to = buffer;
	int missing = 0, left = size - (int)sizeof(int), i, none = 0;

	assert_int_equal(flags, 0); /* all, whatever their flags */
	fake_usrloc.lists++;
	if(fake_usrloc.list_fails)
		return -1;
	for(i = 0; i < fake.count; i++) {
		struct entry *e = &fake.entries[i];
		const ucontact_t *b = e->binding;
		unsigned hash = core_hash(&e->aor, NULL, 0);
		int needed;

		if(b == NULL || hash % parts != part)
			continue;
		needed = 4 * sizeof(int) + b->c.len + b->received.len + b->path.len
				 + b->ruid.len + sizeof(b->sock) + sizeof(b->cflags)
				 + sizeof(hash);
		if(left < needed) {
			missing += needed;
			continue;
		}
		to = put_str(put_str(to, &b->c), &b->received);
		to = put(put(to, &b->sock, sizeof(b->sock)), &b->cflags,
				sizeof(b->cflags));
		to = put_str(put_str(to, &b->path), &b->ruid);
		to = put(to, &hash, sizeof(hash));
		left -= needed;
	}
	if(left >= 0)
		put(to, &none, sizeof(none));
	if(missing > 0 && fake_usrloc.meanwhile) {
		void (*f)(void) = fake_usrloc.meanwhile;

		fake_usrloc.meanwhile = NULL;
		f();
	}
	return missing;
}

static int bind_usrloc(usrloc_api_t *api)
{
	if(fake_usrloc.bind_fails)
		return -1;
	memset(api, 0, sizeof(*api));
	api->use_domain = fake_usrloc.use_domain;
	api->db_mode = fake_usrloc.db_mode;
	api->register_udomain = register_udomain;
	api->get_udomain = get_udomain;
	api->get_all_ucontacts = get_all_ucontacts;
	api->get_urecord = get_record;
	api->lock_udomain = lock_aor;
	api->unlock_udomain = unlock_aor;
	api->release_urecord = release_record;
	api->get_urecord_by_ruid = get_record_by_ruid;
	api->get_ucontact_by_instance = get_contact_by_instance;
	api->register_ulcb = listen_to;
	api->get_aorhash = get_aorhash;
	return 0;
}

void fake_usrloc_start(void)
{
	int i;

	fake_usrloc_end();
	for(i = 0; i < TABLES; i++) {
		tables[i].size = 1;
		tables[i].table = &slots[i];
	}
	memset(&fake_usrloc, 0, sizeof(fake_usrloc));
	fake_usrloc.use_domain = 1;
	fake_usrloc.same_for = 20;
	fake.listener_count = 0;
	memset(registered, 0, sizeof(registered));
	registered[0] = true;
	server_id = 1;
	fake_export("usrloc", "ul_bind_usrloc", (void (*)(void))bind_usrloc);
}

void fake_usrloc_end(void)
{
	assert_int_equal(fake_usrloc.locked, 0);
	assert_int_equal(fake_usrloc.records, 0);
	while(fake.count > 0)
		free_entry(&fake.entries[--fake.count]);
}
