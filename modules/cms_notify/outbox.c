/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "base_conf.h"
#include "outbox.h"
#include "outbox_table.h"
#include "job_ring.h"
#include "base_stats.h"
#include "outbox_waiting.h"

/* After the database has failed one process tries again so often; the others
 * give up at once, so that they have time for those that need none. */
#define CN_DB_RETRY_US 1000000
#define CN_FULL_LOG_US 10000000
#define CN_ROWS 32

static struct shared
{
	gen_lock_t lock;	 /* of the moments below */
	int64_t db_retry_us; /* 0: the database works */
	int64_t full_logged_us;
	int64_t next_us;
	atomic_t paused;
	atomic_t dead;
	atomic_t told_off; /* that there is no outbox */
	atomic_t storing;  /* under way now */
	atomic_t stores;   /* ever begun */
} * shared;

static struct cn_ring *notes;
static int64_t epoch_us; /* of cn_now_us() */

bool cn_outbox_exists(void)
{
	return cn_conf.outbox_db_url != NULL;
}

static int init_shared(void)
{
	shared = shm_malloc(sizeof(*shared));
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(shared, 0, sizeof(*shared));
	if(lock_init(&shared->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		return -1;
	}
	return cn_waiting_init(cn_outbox_exists() ? cn_conf.outbox_max : 0);
}

int cn_outbox_init(void)
{
	struct timeval tv;
	int64_t now, newest;
	struct cn_row_counts counts;

	if(init_shared() < 0)
		return -1;
	if(!cn_outbox_exists())
		return 0;
	if(cn_outbox_db_init(&newest) < 0 || cn_outbox_db_count(&counts) < 0
			|| !cn_outbox_counted(0, counts.waiting, counts.dead))
		return -1;
	cn_outbox_db_close(); /* not for the children */
	gettimeofday(&tv, NULL);
	now = (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
	if(now <= newest)
		now = newest + 1;
	epoch_us = now - cn_now_us();
	notes = cn_ring_new(cn_conf.outbox_max, 1);
	return notes ? 0 : -1;
}

void cn_outbox_destroy(void)
{
	struct cn_note *note;

	while(notes && (note = cn_ring_take(notes)) != NULL)
		cn_note_free(note);
	cn_ring_free(notes);
	notes = NULL;
	if(shared)
		shm_free(shared);
	shared = NULL;
	cn_waiting_destroy();
}

int64_t cn_outbox_time_us(int64_t now_us)
{
	return epoch_us + now_us;
}

int64_t cn_outbox_now_us(void)
{
	return cn_outbox_time_us(cn_now_us());
}

/* -------- notes -------- */

struct cn_ring *cn_outbox_notes(void)
{
	return notes;
}

void cn_note_free(struct cn_note *note)
{
	if(note == NULL)
		return;
	if(note->job)
		cn_job_release(note->job);
	shm_free(note);
}

static struct cn_note *new_note(
		enum cn_note_type type, unsigned hash, const str *device)
{
	struct cn_note *note = shm_malloc(sizeof(*note) + device->len + 1);

	if(note == NULL)
		return NULL;
	memset(note, 0, sizeof(*note));
	note->type = type;
	note->hash = hash;
	note->at_us = cn_outbox_now_us();
	if(device->len > 0)
		memcpy(note->device, device->s, device->len);
	note->device[device->len] = '\0';
	return note;
}

static void copy(char *to, const str *from, int size)
{
	int len = from->len < size ? from->len : size - 1;

	if(len > 0)
		memcpy(to, from->s, len);
	to[len] = '\0';
}

static void set_waiting(unsigned hash, bool waits)
{
	if(waits) {
		atomic_inc(&shared->storing);
		atomic_inc(&shared->stores);
		cn_waiting_found(hash);
		cn_stats_gauge(CN_GAUGE_outbox, 1);
	} else {
		cn_waiting_left(hash);
		atomic_dec(&shared->storing);
	}
}

void cn_outbox_leave(const struct cn_event *ev)
{
	struct cn_note *note;
	size_t size = sizeof(*note) + ev->key.len + 1, place;

	place = (size + 15) & ~(size_t)15;
	note = shm_malloc(place + cn_event_size(ev));
	if(note == NULL) {
		LM_ERR("no shared memory: the CMS is not told that %.*s has left\n",
				ev->aor.len, ev->aor.s);
		return;
	}
	memset(note, 0, size);
	note->type = CN_NOTE_LEFT;
	note->hash = ev->hash;
	note->at_us = cn_outbox_now_us();
	strcpy(note->id, ev->id);
	cn_about_write(ev, note->about);
	memcpy(note->device, ev->key.s, ev->key.len);
	note->event = cn_event_copy(ev, (char *)note + place);
	set_waiting(ev->hash, true);
	if(cn_ring_push(notes, (void **)&note) == 0)
		return;
	set_waiting(ev->hash, false);
	LM_ERR("too much at once: the CMS is not told that %.*s has left\n",
			ev->aor.len, ev->aor.s);
	cn_note_free(note);
}

void cn_outbox_left_done(const struct cn_note *note, bool stored)
{
	if(stored)
		atomic_dec(&shared->storing);
	else
		set_waiting(note->hash, false);
}

struct cn_note *cn_outbox_question(struct cn_job *job)
{
	struct cn_note *note =
			new_note(CN_NOTE_TURN, cn_job_hash(job), cn_job_device(job));

	if(note) {
		copy(note->id, cn_job_id(job), sizeof(note->id));
		cn_job_hold(job);
		cn_job_set_asked(job);
		note->job = job;
	}
	return note;
}

/* What is not told to the outbox process is done here and now. */
static void tell(enum cn_note_type type, const struct cn_job *job)
{
	struct cn_note *note = new_note(type, cn_job_hash(job), cn_job_device(job));

	if(note == NULL) {
		SHM_MEM_ERROR;
		return;
	}
	copy(note->id, cn_job_id(job), sizeof(note->id));
	copy(note->about, cn_job_about(job), sizeof(note->about));
	note->kept = cn_job_is_kept(job);
	if(cn_ring_push(notes, (void **)&note) == 0)
		return;
	if((note->kept && cn_outbox_unkeep(cn_job_id(job), note->hash) < 0)
			|| (type != CN_NOTE_UNDONE && cn_outbox_outdate(note, NULL) < 0))
		LM_WARN("event %s: what waits of %s may be delivered after it\n",
				note->id, note->device);
	cn_note_free(note);
}

static void give_hint(enum cn_note_type type)
{
	str nobody = STR_NULL;
	struct cn_note *note;

	if(notes == NULL)
		return;
	note = new_note(type, 0, &nobody);
	/* else it has plenty to look at, and counts now and then by itself */
	if(note && cn_ring_push(notes, (void **)&note) < 0)
		cn_note_free(note);
}

void cn_outbox_look(void)
{
	give_hint(CN_NOTE_LOOK);
}

void cn_outbox_recount(void)
{
	cn_waiting_find_all();
	give_hint(CN_NOTE_COUNT);
}

/* -------- what waits -------- */

unsigned cn_outbox_count(void)
{
	return (unsigned)atomic_get(&shared->stores);
}

bool cn_outbox_counted(unsigned mark, int waiting, int dead)
{
	if(atomic_get(&shared->storing) != 0 || cn_outbox_count() != mark)
		return false;
	cn_stats_gauge(
			CN_GAUGE_outbox, waiting - cn_stats_gauge_value(CN_GAUGE_outbox));
	atomic_set(&shared->dead, dead);
	return true;
}

void cn_outbox_died(void)
{
	cn_waiting_died();
	atomic_inc(&shared->dead);
}

/* -------- deferring -------- */

static bool take_turn(int64_t *moment, int64_t every_us)
{
	int64_t now = cn_now_us();
	bool mine;

	lock_get(&shared->lock);
	mine = now >= *moment;
	if(mine)
		*moment = now + every_us;
	lock_release(&shared->lock);
	return mine;
}

static bool is_full(int by)
{
	int waiting = cn_stats_gauge_value(CN_GAUGE_outbox) + by;
	int dead = atomic_get(&shared->dead);

	if(waiting + dead < cn_conf.outbox_max)
		return false;
	if(take_turn(&shared->full_logged_us, CN_FULL_LOG_US))
		LM_ERR("the outbox is full: %d events wait, %d are dead letters "
			   "(cms_notify.outbox), outbox_max is %d\n",
				waiting, dead, cn_conf.outbox_max);
	return true;
}

/* Does the database work, or is it our turn to find out? */
static bool db_may_work(void)
{
	return *(volatile int64_t *)&shared->db_retry_us == 0
		   || take_turn(&shared->db_retry_us, CN_DB_RETRY_US);
}

static void db_ended(int err)
{
	lock_get(&shared->lock);
	shared->db_retry_us = err < 0 ? cn_now_us() + CN_DB_RETRY_US : 0;
	lock_release(&shared->lock);
}

static int insert(
		const struct cn_job *job, const str *body, enum cn_row_state state)
{
	const struct cn_outcome *outcome = cn_job_outcome(job);
	struct cn_row row;
	int err;

	memset(&row, 0, sizeof(row));
	if(cn_job_device(job)->len > CN_ROW_KEY_MAX) {
		LM_ERR("event %.*s: the address is too long for the outbox\n",
				cn_job_id(job)->len, cn_job_id(job)->s);
		return -1;
	}
	copy(row.event_id, cn_job_id(job), sizeof(row.event_id));
	copy(row.device, cn_job_device(job), sizeof(row.device));
	copy(row.about, cn_job_about(job), sizeof(row.about));
	strcpy(row.event, cn_kind_name(CN_KIND_REGISTER));
	strcpy(row.reason, cn_reason_name(cn_job_reason(job)));
	strcpy(row.cause, cn_cause_name(outcome->cause));
	row.status = (int)outcome->status;
	row.created_us = cn_outbox_time_us(cn_job_parked_us(job));
	err = cn_outbox_db_insert(&row, state, body);
	db_ended(err);
	return err;
}

/* As long as it is kept it counts as being stored. */
int cn_outbox_keep(const struct cn_job *job, const str *body)
{
	set_waiting(cn_job_hash(job), true);
	if(insert(job, body, CN_ROW_KEPT) == 0)
		return 0;
	set_waiting(cn_job_hash(job), false);
	return -1;
}

int cn_outbox_unkeep(const str *id, unsigned hash)
{
	if(cn_outbox_db_unkeep(id->s, id->len) < 0)
		return -1;
	set_waiting(hash, false);
	return 0;
}

int cn_outbox_store_left(const struct cn_note *note, const str *body)
{
	const struct cn_event *ev = note->event;
	struct cn_row row;

	memset(&row, 0, sizeof(row));
	/* one of those that wait is this one */
	if(strlen(note->device) > CN_ROW_KEY_MAX || is_full(-1)) {
		cn_stats_count(CN_COUNTER_not_deferred);
		return 1;
	}
	strcpy(row.event_id, note->id);
	strcpy(row.device, note->device);
	strcpy(row.about, note->about);
	strcpy(row.event, cn_kind_name(ev->kind));
	strcpy(row.reason, cn_reason_name(ev->reason));
	row.created_us = note->at_us;
	if(cn_outbox_db_insert(&row, CN_ROW_WAITING, body) < 0)
		return -1;
	cn_stats_count(CN_COUNTER_deferred);
	return 0;
}

static int release(const struct cn_job *job)
{
	int n = cn_outbox_db_release(cn_job_id(job)->s, cn_job_id(job)->len);

	db_ended(n);
	return n > 0 ? 0 : -1;
}

static int store(const struct cn_job *job)
{
	if(!cn_outbox_exists()) {
		if(atomic_cmpxchg(&shared->told_off, 0, 1) == 0)
			LM_ERR("cms_defer(): there is no outbox, set outbox_db_url\n");
		return -1;
	}
	if(is_full(0) || !db_may_work())
		return -1;
	/* before the row is there: nobody must accept a newer event of the device
	 * unnoticed */
	set_waiting(cn_job_hash(job), true);
	/* the outbox process may have kept it, too late for its turn */
	if(cn_job_was_asked(job) && release(job) == 0)
		return 0;
	if(insert(job, cn_job_body(job), CN_ROW_WAITING) == 0)
		return 0;
	set_waiting(cn_job_hash(job), false);
	return -1;
}

static int store_kept(const struct cn_job *job)
{
	return db_may_work() ? release(job) : -1;
}

static enum cn_deferral defer(struct cn_job *job)
{
	if((cn_job_is_kept(job) ? store_kept(job) : store(job)) < 0) {
		cn_stats_count(CN_COUNTER_not_deferred);
		return CN_NOT_STORED;
	}
	cn_job_set_kept(job, false);
	atomic_dec(&shared->storing);
	cn_stats_count(CN_COUNTER_deferred);
	tell(CN_NOTE_STORED, job);
	return CN_STORED;
}

int cn_outbox_defer(struct cn_job *job)
{
	if(cn_job_deferral(job) == CN_NOT_TRIED)
		cn_job_set_deferral(job, defer(job));
	return cn_job_deferral(job) == CN_STORED ? 0 : -1;
}

void cn_outbox_accepted(const struct cn_job *job)
{
	if(cn_outbox_exists() && cn_waiting_may(cn_job_hash(job)))
		tell(CN_NOTE_ACCEPTED, job);
}

void cn_outbox_answered(const struct cn_job *job)
{
	if(cn_job_is_kept(job) && cn_job_outcome(job)->verdict != CN_ACCEPTED)
		tell(CN_NOTE_UNDONE, job);
}

static bool is_outdated(const struct cn_row *row, const void *newer)
{
	const struct cn_note *note = newer;

	return row->created_us < note->at_us && strcmp(row->event_id, note->id) != 0
		   && cn_about_within(row->about, note->about);
}

/* @return 0, or -1: the database failed */
static int any_of_device(const char *device, int64_t after,
		bool (*wanted)(const struct cn_row *row, const void *what),
		const void *what, bool *found)
{
	struct cn_row rows[CN_ROWS];
	int i, n;

	*found = false;
	do {
		n = cn_outbox_db_of_device(device, after, rows, CN_ROWS);
		for(i = 0; i < n && !*found; i++) {
			after = rows[i].id;
			*found = wanted(&rows[i], what);
		}
	} while(n == CN_ROWS && !*found);
	return n < 0 ? -1 : 0;
}

static bool is_within(const struct cn_row *row, const void *about)
{
	return !row->dead && cn_about_within(row->about, about);
}

int cn_outbox_has_older(const struct cn_job *job, bool *older)
{
	char device[CN_ROW_KEY_MAX + 1], about[CN_ABOUT_MAX + 1];

	*older = false;
	if(cn_job_device(job)->len > CN_ROW_KEY_MAX)
		return 0; /* nothing of it can be stored */
	copy(device, cn_job_device(job), sizeof(device));
	copy(about, cn_job_about(job), sizeof(about));
	return any_of_device(device, 0, is_within, about, older);
}

/* A registration says all there is to say of its contacts; that one has left
 * does not. */
static bool replaces(const struct cn_row *row, const void *about)
{
	return !row->dead && strcmp(row->event, cn_kind_name(CN_KIND_REGISTER)) == 0
		   && cn_about_within(about, row->about);
}

int cn_outbox_has_newer(const struct cn_row *row, unsigned hash, bool *newer)
{
	*newer = false;
	if(!cn_waiting_may_several(hash))
		return 0; /* nothing else of the device waits */
	return any_of_device(row->device, row->id, replaces, row->about, newer);
}

/* A row has been deleted. */
static void count_out(const struct cn_row *row, unsigned hash)
{
	if(row->dead) {
		LM_INFO("event %s of %s, a dead letter, is outdated\n", row->event_id,
				row->device);
		cn_waiting_forgotten(hash);
		if(row->ours)
			atomic_dec(&shared->dead);
	} else if(row->ours) {
		cn_waiting_left(hash);
	}
}

/* Delete those rows of a device that a newer event makes outdated. */
static int delete_outdated(const char *device, unsigned hash,
		bool (*outdated)(const struct cn_row *row, const void *newer),
		const void *newer, bool (*keep)(const struct cn_row *row))
{
	struct cn_row rows[CN_ROWS];
	int64_t ids[CN_ROWS], after = 0;
	int i, n, count;

	do {
		n = cn_outbox_db_of_device(device, after, rows, CN_ROWS);
		if(n < 0)
			return -1;
		for(i = count = 0; i < n; i++) {
			after = rows[i].id;
			if(!outdated(&rows[i], newer) || (keep && keep(&rows[i])))
				continue;
			ids[count] = rows[i].id;
			rows[count++] = rows[i];
		}
		if(cn_outbox_db_delete(ids, count) < 0)
			return -1;
		for(i = 0; i < count; i++)
			count_out(&rows[i], hash);
	} while(n == CN_ROWS);
	return 0;
}

int cn_outbox_outdate(
		const struct cn_note *note, bool (*keep)(const struct cn_row *row))
{
	return delete_outdated(note->device, note->hash, is_outdated, note, keep);
}

static bool is_older_letter(const struct cn_row *row, const void *newer)
{
	const struct cn_row *than = newer;

	return row->dead && row->id < than->id
		   && cn_about_within(row->about, than->about);
}

int cn_outbox_delivered(const struct cn_row *row, unsigned hash)
{
	if(!cn_waiting_may_several(hash))
		return 0;
	return delete_outdated(row->device, hash, is_older_letter, row, NULL);
}

/* -------- switches -------- */

bool cn_outbox_paused(void)
{
	return atomic_get(&shared->paused) != 0;
}

void cn_outbox_pause(bool paused)
{
	atomic_set(&shared->paused, paused);
	cn_outbox_look();
}

int64_t cn_outbox_next_us(void)
{
	return *(volatile int64_t *)&shared->next_us;
}

void cn_outbox_set_next_us(int64_t next_us)
{
	*(volatile int64_t *)&shared->next_us = next_us;
}
