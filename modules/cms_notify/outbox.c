/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Gives commands to the outbox process, and shows what it says of itself. In
 * every process. */

#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/locking.h"
#include "../../core/mem/shm_mem.h"

#include "base_conf.h"
#include "base_stats.h"
#include "job_index.h"
#include "job_ring.h"
#include "outbox.h"

/* A database that has not answered for so long is not waited for: by who can go
 * on without it; by who cannot. */
#define CN_ASK_RESPONDS_US 100000
#define CN_STORE_RESPONDS_US 1000000
/* More than there may be rows, so that few AORs share one. */
#define CN_SLOTS_MIN 1024
#define CN_SLOTS_MAX 1048576

struct slot
{
	int rows;
	int wide; /* of these, with more than one contact, and not dead */
};

static struct shared
{
	gen_lock_t lock; /* of the view */
	struct cn_outbox_view view;
	atomic_t paused;
	atomic_t replay;
	atomic_t leaves;			 /* LEAVEs that there are */
	atomic_t storing;			 /* STOREs that have not been answered */
	volatile int transaction_us; /* that the database takes lately */
	volatile int64_t
			busy_since_us; /* the database has not answered, 0: it has */
	volatile bool fine;	   /* its last answer */
	volatile bool known;   /* of which AORs there are rows */
	struct cn_command *kept;
	unsigned slots;
	struct slot rows[]; /* by the AOR's hash */
} * shared;

static struct cn_ring *ring;

bool cn_outbox_exists(void)
{
	return cn_conf.outbox_db_url != NULL;
}

int cn_outbox_init(void)
{
	unsigned slots = CN_SLOTS_MIN;
	size_t size;

	if(!cn_outbox_exists())
		return 0;
	while(slots < CN_SLOTS_MAX && slots < 2 * (unsigned)cn_conf.outbox_max)
		slots *= 2;
	size = sizeof(*shared) + slots * sizeof(shared->rows[0]);
	shared = shm_malloc(size);
	if(shared == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	memset(shared, 0, size);
	shared->slots = slots;
	shared->fine = true; /* until the first attempt shows otherwise */
	if(lock_init(&shared->lock) == NULL) {
		LM_ERR("cannot make a lock\n");
		return -1;
	}
	/* a job is asked about and stored, whatever else there is */
	ring = cn_ring_new(2 * cn_conf_capacity() + cn_conf.outbox_max, 1);
	return ring ? 0 : -1;
}

void cn_outbox_destroy(void)
{
	struct cn_command *command;

	while(ring && (command = cn_ring_take_last(ring)) != NULL)
		cn_command_free(command);
	cn_ring_free(ring);
	ring = NULL;
	while(shared && (command = shared->kept) != NULL) {
		shared->kept = command->next;
		cn_command_free(command);
	}
	if(shared)
		shm_free(shared);
	shared = NULL;
}

/* -------- does the database answer? -------- */

static bool responds(int64_t within_us)
{
	int64_t since = shared->busy_since_us;

	return shared->fine && (since == 0 || cn_now_us() - since < within_us);
}

void cn_outbox_db_begins(void)
{
	shared->busy_since_us = cn_now_us();
}

void cn_outbox_db_answered(bool fine)
{
	int64_t us = cn_now_us() - shared->busy_since_us;

	shared->busy_since_us = 0;
	shared->fine = fine;
	if(fine)
		shared->transaction_us += ((int)us - shared->transaction_us) / 4;
}

/* -------- of which AORs there are rows -------- */

static struct slot *slot_of(unsigned hash)
{
	return &shared->rows[hash % shared->slots];
}

static int value(const int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static bool may_wait(unsigned hash)
{
	return !shared->known || value(&slot_of(hash)->rows) > 0;
}

bool cn_outbox_may_go(const struct cn_job *job)
{
	return value(&slot_of(cn_job_hash(job))->wide) == 0;
}

bool cn_outbox_must_be_asked(const struct cn_job *job)
{
	return shared && may_wait(cn_job_hash(job))
		   && (responds(CN_ASK_RESPONDS_US) || !cn_outbox_may_go(job));
}

void cn_outbox_count_row(unsigned hash, const char *contacts, int by)
{
	struct slot *slot = slot_of(hash);

	__atomic_add_fetch(&slot->rows, by, __ATOMIC_SEQ_CST);
	if(strchr(contacts, ' ') || strchr(contacts, ':'))
		__atomic_add_fetch(&slot->wide, by, __ATOMIC_SEQ_CST);
}

int cn_outbox_rows_of(unsigned hash)
{
	return value(&slot_of(hash)->rows);
}

void cn_outbox_set_known(void)
{
	shared->known = true;
}

/* -------- commands -------- */

struct cn_ring *cn_outbox_ring(void)
{
	return ring;
}

struct cn_command **cn_outbox_kept(void)
{
	return &shared->kept;
}

/* What it may store, from before it is given. */
static void count_command(const struct cn_command *command, int by)
{
	switch(command->type) {
		case CN_STORE:
			atomic_add(&shared->storing, by);
			break;
		case CN_LEAVE:
			atomic_add(&shared->leaves, by);
			break;
		case CN_WAIT:
			break;
		default:
			return;
	}
	cn_outbox_count_row(command->hash, command->contacts, by);
}

void cn_command_free(struct cn_command *command)
{
	if(command == NULL)
		return;
	count_command(command, -1);
	if(command->job)
		cn_job_release(command->job);
	shm_free(command);
}

static struct cn_command *new_command(enum cn_command_type type, size_t more)
{
	struct cn_command *command = shm_malloc(sizeof(*command) + more);

	if(command) {
		memset(command, 0, sizeof(*command));
		command->type = type;
	}
	return command;
}

static int push(struct cn_command *command)
{
	if(command == NULL)
		return -1;
	count_command(command, 1);
	if(cn_ring_push(ring, (void **)&command) == 0)
		return 0;
	cn_command_free(command);
	return -1;
}

static int push_job(enum cn_command_type type, struct cn_job *job)
{
	struct cn_command *command = new_command(type, 0);

	if(command) {
		cn_job_hold(job);
		command->job = job;
		command->aor = cn_job_key(job)->s;
		command->hash = cn_job_hash(job);
		command->contacts = cn_job_contacts(job);
		command->seq = cn_job_seq(job);
	}
	return push(command);
}

int cn_outbox_ask(struct cn_job *job)
{
	return push_job(CN_ASK, job);
}

/* What would come too late is not stored at all: it would keep others waiting,
 * to be deleted again. One transaction is under way, and one takes so many. Where
 * nobody waits, it shows how long a transaction takes by now. */
static bool comes_in_time(const struct cn_job *job)
{
	int64_t left_us = cn_job_deadline_us(job) + CN_STORE_US - cn_now_us();
	int storing = atomic_get(&shared->storing);
	int transactions = 2 + storing / CN_BATCH_MAX;

	return storing == 0
		   || (int64_t)transactions * shared->transaction_us < left_us;
}

int cn_outbox_store(struct cn_job *job, const struct cn_outcome *failure)
{
	if(!responds(CN_STORE_RESPONDS_US) || !comes_in_time(job))
		return -1;
	if(!cn_job_begin_storing(job, failure))
		return 0;
	return push_job(CN_STORE, job);
}

/* For what is known no longer than the call; with room for more. */
static struct cn_command *new_copy(enum cn_command_type type, const str *key,
		unsigned hash, const char *contacts, size_t more)
{
	size_t len = strlen(contacts) + 1;
	struct cn_command *command = new_command(type, more + len + key->len + 1);
	char *text;

	if(command == NULL)
		return NULL;
	text = (char *)(command + 1) + more;
	command->hash = hash;
	command->contacts = memcpy(text, contacts, len);
	command->aor = memcpy(text + len, key->s, key->len);
	text[len + key->len] = '\0';
	return command;
}

static struct cn_command *copy_job(
		enum cn_command_type type, const struct cn_job *job)
{
	struct cn_command *command = new_copy(
			type, cn_job_key(job), cn_job_hash(job), cn_job_contacts(job), 0);

	if(command)
		command->seq = cn_job_seq(job);
	return command;
}

/* What the CMS may have accepted, although its answer did not come, is told
 * again: what is older must not be. */
enum cn_command_type cn_outbox_end_of(const struct cn_job *job)
{
	switch(cn_job_outcome(job)->verdict) {
		case CN_ACCEPTED:
			return CN_SETTLE;
		case CN_REJECTED:
			return CN_WITHDRAW;
		case CN_UNAVAILABLE:
			return cn_job_may_be_known(job) ? CN_WAIT : CN_WITHDRAW;
		case CN_DEFERRED:
			break;
	}
	return CN_LOOK;
}

/* Jobs that wait for a database must not take all the room there is. */
static int keep_job(struct cn_job *job)
{
	return cn_job_count() > cn_conf_capacity() / 2 ? -1
												   : push_job(CN_WAIT, job);
}

void cn_outbox_settle(struct cn_job *job)
{
	enum cn_command_type end = shared ? cn_outbox_end_of(job) : CN_LOOK;

	/* not known yet: what is older cannot be kept from being told */
	if(end == CN_WAIT && !shared->known)
		end = CN_LOOK;
	if(end == CN_LOOK
			|| !(cn_job_has_row(job)
					|| (end != CN_WITHDRAW && may_wait(cn_job_hash(job)))))
		return;
	if((end == CN_WAIT ? keep_job(job) : push(copy_job(end, job))) < 0)
		LM_ERR("event %.*s: out of shared memory, or too much at once: what "
			   "waits in the outbox of %.*s may be told after it\n",
				cn_job_id(job)->len, cn_job_id(job)->s, cn_job_aor(job)->len,
				cn_job_aor(job)->s);
}

int cn_outbox_leaves(void)
{
	return atomic_get(&shared->leaves);
}

int cn_outbox_leave(const struct cn_event *ev)
{
	char contacts[CN_CONTACTS_MAX + 1];
	struct cn_command *command;

	cn_contacts_write(ev, contacts);
	command =
			new_copy(CN_LEAVE, &ev->key, ev->hash, contacts, cn_event_size(ev));
	if(command)
		command->event = cn_event_copy(ev, command + 1);
	return push(command);
}

/* -------- for an operator -------- */

void cn_outbox_look(void)
{
	if(shared)
		(void)!push(new_command(CN_LOOK, 0));
}

bool cn_outbox_paused(void)
{
	return atomic_get(&shared->paused) != 0;
}

void cn_outbox_pause(bool paused)
{
	atomic_set(&shared->paused, paused);
	cn_outbox_look();
}

void cn_outbox_replay(void)
{
	atomic_set(&shared->replay, 1);
	cn_outbox_look();
}

bool cn_outbox_take_replay(void)
{
	return atomic_cmpxchg(&shared->replay, 1, 0) == 1;
}

void cn_outbox_state(struct cn_outbox_state *state)
{
	lock_get(&shared->lock);
	*state = shared->view.state;
	lock_release(&shared->lock);
	state->ready = state->ready && responds(CN_STORE_RESPONDS_US);
	state->paused = cn_outbox_paused();
}

int cn_outbox_dead_letters(struct cn_dead_letter *letters, int max)
{
	int n;

	lock_get(&shared->lock);
	n = shared->view.letter_count < max ? shared->view.letter_count : max;
	memcpy(letters, shared->view.letters, n * sizeof(*letters));
	lock_release(&shared->lock);
	return n;
}

void cn_outbox_publish_counts(int waiting, int dead)
{
	lock_get(&shared->lock);
	shared->view.state.waiting = waiting;
	shared->view.state.dead = dead;
	lock_release(&shared->lock);
	cn_stats_gauge(
			CN_GAUGE_outbox, waiting - cn_stats_gauge_value(CN_GAUGE_outbox));
}

struct cn_outbox_view *cn_outbox_lock_view(void)
{
	lock_get(&shared->lock);
	return &shared->view;
}

void cn_outbox_unlock_view(void)
{
	lock_release(&shared->lock);
}
