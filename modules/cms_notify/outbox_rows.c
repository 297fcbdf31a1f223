/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The rows in memory: AORs by name, the rows of each in their order, and a heap
 * of the AORs whose next row may be sent. In the outbox process. */

#include <stdlib.h>
#include <string.h>

#include "outbox.h"
#include "outbox_rows.h"

#define CN_CHAINS 131072

static struct cn_row_aor *chains[CN_CHAINS];
static struct cn_row_counts counts;

/* The AORs that have a next row and are not busy: a pairing heap. */
static struct cn_row_aor *heap;

/* -------- the heap: the first is due first, then the oldest -------- */

static struct cn_row *next_row(const struct cn_row_aor *of)
{
	struct cn_row *row = of->rows;

	while(row && (row->state != CN_ROW_WAITING || row->doomed))
		row = row->next;
	return row;
}

static bool is_before(const struct cn_row_aor *a, const struct cn_row_aor *b)
{
	if(a->due_us != b->due_us)
		return a->due_us < b->due_us;
	return next_row(a)->seq < next_row(b)->seq;
}

static struct cn_row_aor *meld(struct cn_row_aor *a, struct cn_row_aor *b)
{
	if(a == NULL || b == NULL)
		return a ? a : b;
	if(is_before(b, a))
		return meld(b, a);
	b->before = a;
	b->sibling = a->child;
	if(b->sibling)
		b->sibling->before = b;
	a->child = b;
	return a;
}

/* Two by two first: so it is as fast as it is short. */
static struct cn_row_aor *meld_siblings(struct cn_row_aor *of)
{
	struct cn_row_aor *pairs = NULL, *all = NULL, *next;

	for(; of; of = next) {
		next = of->sibling ? of->sibling->sibling : NULL;
		of = meld(of, of->sibling);
		of->sibling = pairs;
		pairs = of;
	}
	for(; pairs; pairs = next) {
		next = pairs->sibling;
		all = meld(all, pairs);
	}
	return all;
}

static void take_out(struct cn_row_aor *of)
{
	struct cn_row_aor *below = meld_siblings(of->child);

	of->child = NULL;
	if(of == heap) {
		heap = below;
	} else if(of->before) {
		if(of->before->child == of)
			of->before->child = of->sibling;
		else
			of->before->sibling = of->sibling;
		if(of->sibling)
			of->sibling->before = of->before;
		heap = meld(heap, below);
	}
	of->before = of->sibling = NULL;
}

/* To where it belongs, after anything of the AOR has changed. */
static void settle(struct cn_row_aor *of)
{
	take_out(of);
	if(!of->busy && next_row(of))
		heap = meld(heap, of);
}

/* -------- AORs -------- */

static struct cn_row_aor **find_aor(const char *name, unsigned hash)
{
	struct cn_row_aor **p = &chains[hash % CN_CHAINS];

	while(*p && ((*p)->hash != hash || strcmp((*p)->name, name) != 0))
		p = &(*p)->next;
	return p;
}

static struct cn_row_aor *get_aor(const char *name, unsigned hash)
{
	struct cn_row_aor **p = find_aor(name, hash), *of = *p;
	size_t len = strlen(name) + 1;

	if(of)
		return of;
	of = calloc(1, sizeof(*of) + len);
	if(of == NULL)
		return NULL;
	memcpy(of->name, name, len);
	of->hash = hash;
	*p = of;
	return of;
}

static void drop_if_empty(struct cn_row_aor *of)
{
	struct cn_row_aor **p;

	if(of->rows || of->busy)
		return;
	p = find_aor(of->name, of->hash);
	take_out(of);
	*p = of->next;
	free(of);
}

/* -------- rows -------- */

static void count(const struct cn_row *row, int by)
{
	if(row->doomed || row->state == CN_ROW_ELSEWHERE)
		return;
	if(row->state == CN_ROW_DEAD)
		counts.dead += by;
	else
		counts.waiting += by;
}

/* For who asks whether something may wait. Nobody waits for what is not sent. */
static void count_for_others(
		const struct cn_row *row, enum cn_row_state state, int by)
{
	cn_outbox_count_row(
			row->of->hash, state == CN_ROW_DEAD ? "" : row->contacts, by);
}

struct cn_row_counts cn_rows_count(void)
{
	return counts;
}

struct cn_row *cn_rows_first(const char *aor, unsigned hash)
{
	const struct cn_row_aor *of = *find_aor(aor, hash);

	return of ? of->rows : NULL;
}

int cn_rows_of(const char *aor, unsigned hash)
{
	const struct cn_row *row = cn_rows_first(aor, hash);
	int n = 0;

	for(; row; row = row->next)
		n += !row->doomed && row->state != CN_ROW_ELSEWHERE;
	return n;
}

struct cn_row *cn_rows_add(
		const char *aor, unsigned hash, const struct cn_row *row)
{
	struct cn_row *copy = malloc(sizeof(*copy)), **p;
	struct cn_row_aor *of = copy ? get_aor(aor, hash) : NULL;

	if(of == NULL) {
		free(copy);
		return NULL;
	}
	*copy = *row;
	copy->of = of;
	for(p = &of->rows; *p && (*p)->seq < row->seq; p = &(*p)->next)
		;
	copy->next = *p;
	*p = copy;
	count(copy, 1);
	count_for_others(copy, copy->state, 1);
	settle(of);
	return copy;
}

void cn_rows_remove(struct cn_row *row)
{
	struct cn_row_aor *of = row->of;
	struct cn_row **p = &of->rows;

	while(*p != row)
		p = &(*p)->next;
	*p = row->next;
	count(row, -1);
	count_for_others(row, row->state, -1);
	free(row);
	settle(of);
	drop_if_empty(of);
}

struct cn_row *cn_rows_find(const char *aor, unsigned hash, int64_t seq)
{
	struct cn_row *row = cn_rows_first(aor, hash);

	while(row && row->seq != seq)
		row = row->next;
	return row;
}

void cn_rows_each(cn_row_f f, void *arg)
{
	struct cn_row_aor *of, *next_of;
	struct cn_row *row, *next;
	int i;

	for(i = 0; i < CN_CHAINS; i++) {
		for(of = chains[i]; of; of = next_of) {
			next_of = of->next;
			for(row = of->rows; row; row = next) {
				next = row->next;
				f(row, arg);
			}
		}
	}
}

void cn_row_set_state(struct cn_row *row, enum cn_row_state state)
{
	count_for_others(row, state, 1); /* there always is one */
	count_for_others(row, row->state, -1);
	count(row, -1);
	row->state = state;
	count(row, 1);
	settle(row->of);
}

void cn_row_doom(struct cn_row *row)
{
	count(row, -1);
	row->doomed = true;
	settle(row->of);
}

/* -------- newer and older -------- */

enum cn_older cn_rows_older(
		const char *aor, unsigned hash, int64_t seq, const char *contacts)
{
	const struct cn_row *row = cn_rows_first(aor, hash);
	enum cn_older older = CN_OLDER_NONE, its;

	for(; row && row->seq < seq; row = row->next) {
		if(!cn_contacts_overlap(row->contacts, contacts))
			continue;
		if(row->doomed)
			its = CN_OLDER_DOOMED;
		else if(row->state == CN_ROW_DEAD
				|| cn_contacts_within(row->contacts, contacts))
			its = CN_OLDER_COVERED;
		else
			its = CN_OLDER_FIRST;
		if(its > older)
			older = its;
	}
	return older;
}

bool cn_row_is_replaced(
		const struct cn_row *row, int64_t seq, const char *contacts)
{
	return row->seq < seq && row->state != CN_ROW_DEAD && !row->doomed
		   && cn_contacts_within(row->contacts, contacts);
}

bool cn_rows_any_replaced(
		const char *aor, unsigned hash, int64_t seq, const char *contacts)
{
	const struct cn_row *row = cn_rows_first(aor, hash);

	while(row && !cn_row_is_replaced(row, seq, contacts))
		row = row->next;
	return row != NULL;
}

/* An event of one of its contacts makes a dead letter needless. So does what may
 * have been sent while it was one. */
bool cn_row_is_settled(
		const struct cn_row *row, int64_t seq, const char *contacts)
{
	if(row->seq > seq || row->doomed)
		return false;
	return row->state == CN_ROW_DEAD || seq <= row->revived_seq
				   ? cn_contacts_overlap(row->contacts, contacts)
				   : cn_contacts_within(row->contacts, contacts);
}

bool cn_row_is_outdated(const struct cn_row *row)
{
	const struct cn_row *newer = row->next;

	while(newer
			&& (newer->state == CN_ROW_DEAD || newer->doomed
					|| !cn_contacts_overlap(newer->contacts, row->contacts)))
		newer = newer->next;
	return newer != NULL;
}

/* -------- whose turn it is -------- */

struct cn_row *cn_rows_take_due(int64_t now_us, bool any)
{
	struct cn_row_aor *of = heap;

	if(of == NULL || (of->due_us > now_us && !any))
		return NULL;
	take_out(of);
	of->busy = true;
	return next_row(of);
}

bool cn_row_is_next(const struct cn_row *row)
{
	return next_row(row->of) == row;
}

bool cn_row_follows_doomed(const struct cn_row *row)
{
	const struct cn_row *older = row->of->rows;

	while(older != row && !older->doomed)
		older = older->next;
	return older != row;
}

void cn_rows_done(struct cn_row_aor *of, int64_t due_us)
{
	of->busy = false;
	of->due_us = due_us;
	settle(of);
	drop_if_empty(of);
}

void cn_rows_hurry(const char *aor, unsigned hash)
{
	struct cn_row_aor *of = *find_aor(aor, hash);

	if(of == NULL)
		return;
	of->due_us = 0;
	settle(of);
}

int64_t cn_rows_due_us(void)
{
	return heap ? heap->due_us : INT64_MAX;
}
