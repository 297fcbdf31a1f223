/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The rows in memory: what is newer, whose turn it is; side by side with a list
 * that is looked through from one end to the other. */

#include "stubs.h"

#include "base_conf.h"
#include "outbox_rows.h"

/* linked, not called */
unsigned int cryptorand(void)
{
	return 0;
}

#define A "000000000000000a"
#define B "000000000000000b"
#define C "000000000000000c"

struct cn_conf cn_conf;

static int gone; /* rows that a test has removed */

/* What others see of them. */
static int counted, wide;

void cn_outbox_count_row(unsigned hash, const char *contacts, int by)
{
	counted += by;
	wide += strchr(contacts, ' ') ? by : 0;
	assert_true(counted >= 0 && wide >= 0);
}

static struct cn_row *add_row(const char *aor, int64_t seq,
		const char *contacts, enum cn_row_state state)
{
	struct cn_row row, *added;

	memset(&row, 0, sizeof(row));
	row.seq = seq;
	snprintf(row.id, sizeof(row.id), "%032d", (int)seq);
	strcpy(row.contacts, contacts);
	row.state = state;
	added = cn_rows_add(aor, 7, &row);
	assert_non_null(added);
	return added;
}

static struct cn_row *waits(int64_t seq, const char *contacts)
{
	return add_row("a@h", seq, contacts, CN_ROW_WAITING);
}

static void remove_row(struct cn_row *row, void *unused)
{
	cn_rows_remove(row);
	gone++;
}

static int end(void **state)
{
	struct cn_row_counts n;

	cn_rows_each(remove_row, NULL);
	n = cn_rows_count();
	return counted == 0 && wide == 0 && n.waiting == 0 && n.dead == 0
						   && cn_rows_due_us() == INT64_MAX
				   ? 0
				   : -1;
}

/* Which rows it is true of, as a text of their numbers. */
static char called[256];

static const char *named(
		bool (*is)(const struct cn_row *, int64_t, const char *), int64_t seq,
		const char *contacts)
{
	const struct cn_row *row = cn_rows_first("a@h", 7);

	called[0] = '\0';
	for(; row; row = row->next) {
		if(is(row, seq, contacts))
			snprintf(called + strlen(called), sizeof(called) - strlen(called),
					"%d ", (int)row->seq);
	}
	return called;
}

static const char *replaced(int64_t seq, const char *contacts)
{
	(void)named(cn_row_is_replaced, seq, contacts);
	assert_int_equal(cn_rows_any_replaced("a@h", 7, seq, contacts),
			called[0] != '\0');
	return called;
}

static const char *settled(int64_t seq, const char *contacts)
{
	return named(cn_row_is_settled, seq, contacts);
}

static void others_wait_for_what_is_sent(void **state)
{
	struct cn_row *row = waits(1, A " " B);

	waits(2, A);
	assert_int_equal(counted, 2);
	assert_int_equal(wide, 1);
	cn_row_set_state(row, CN_ROW_DEAD);
	assert_int_equal(counted, 2);
	assert_int_equal(wide, 0);
	cn_row_set_state(row, CN_ROW_WAITING);
	assert_int_equal(wide, 1);
	cn_row_doom(row); /* not until it has been deleted */
	assert_int_equal(counted, 2);
	assert_int_equal(wide, 1);
	cn_rows_remove(row);
	assert_int_equal(counted, 1);
	assert_int_equal(wide, 0);
}

/* -------- newer and older -------- */

static void what_is_older_and_has_no_other_contact_is_replaced(void **state)
{
	waits(1, A);
	waits(2, A " " B);
	add_row("a@h", 3, A, CN_ROW_HELD);
	add_row("a@h", 4, A, CN_ROW_DEAD);
	add_row("b@h", 5, A, CN_ROW_WAITING);
	waits(6, B);
	waits(9, A);
	assert_string_equal(replaced(8, A), "1 3 ");
	assert_string_equal(replaced(3, A), "1 ");
	assert_string_equal(replaced(8, A " " B), "1 2 3 6 ");
	assert_string_equal(replaced(8, C), "");
	assert_string_equal(replaced(1, A), "");
	cn_row_doom(cn_rows_find("a@h", 7, 3));
	assert_string_equal(replaced(8, A), "1 ");
}

static void what_was_accepted_makes_itself_needless_too(void **state)
{
	waits(1, A);
	waits(2, A " " B);
	add_row("a@h", 3, B, CN_ROW_HELD);
	add_row("a@h", 4, A " " C, CN_ROW_DEAD);
	waits(6, A);
	assert_string_equal(settled(5, A), "1 4 ");
	assert_string_equal(settled(6, A), "1 4 6 ");
	assert_string_equal(settled(5, A " " B), "1 2 3 4 ");
	/* a dead letter goes with any of its contacts, but only an older one */
	assert_string_equal(settled(3, C), "");
	assert_string_equal(settled(4, C), "4 ");
	cn_row_doom(cn_rows_find("a@h", 7, 1));
	assert_string_equal(settled(5, A), "4 ");
}

/* What was sent while it was a dead letter did not wait for it. */
static void what_was_accepted_makes_a_revived_letter_needless(void **state)
{
	struct cn_row *revived = waits(1, A " " B);

	revived->revived_seq = 5;
	assert_string_equal(settled(6, A), "");
	assert_string_equal(settled(6, A " " B), "1 ");
	assert_string_equal(settled(5, A), "1 ");
	assert_string_equal(settled(5, C), "");
}

static void what_is_newer_and_not_dead_outdates(void **state)
{
	struct cn_row *letter = add_row("a@h", 2, A " " B, CN_ROW_DEAD), *newer;

	waits(1, A);
	waits(3, C);
	add_row("b@h", 4, A, CN_ROW_WAITING);
	add_row("a@h", 5, A, CN_ROW_DEAD);
	assert_false(cn_row_is_outdated(letter));
	newer = add_row("a@h", 6, B, CN_ROW_HELD);
	assert_true(cn_row_is_outdated(letter));
	assert_false(cn_row_is_outdated(newer));
	cn_row_doom(newer);
	assert_false(cn_row_is_outdated(letter));
}

static enum cn_older older(int64_t seq, const char *contacts)
{
	return cn_rows_older("a@h", 7, seq, contacts);
}

static void what_an_event_finds(void **state)
{
	struct cn_row *wide;

	assert_int_equal(older(9, A), CN_OLDER_NONE);
	waits(1, A);
	assert_int_equal(older(1, A), CN_OLDER_NONE);
	assert_int_equal(older(9, A), CN_OLDER_COVERED);
	assert_int_equal(older(9, B), CN_OLDER_NONE);
	assert_int_equal(cn_rows_older("b@h", 7, 9, A), CN_OLDER_NONE);
	wide = waits(2, A " " B);
	assert_int_equal(older(9, A), CN_OLDER_FIRST);
	assert_int_equal(older(9, B " " C), CN_OLDER_FIRST);
	assert_int_equal(older(9, A " " B " " C), CN_OLDER_COVERED);
	cn_row_set_state(wide, CN_ROW_DEAD); /* it is not going to be sent */
	assert_int_equal(older(9, B), CN_OLDER_COVERED);
	cn_row_set_state(wide, CN_ROW_ELSEWHERE);
	assert_int_equal(older(9, B), CN_OLDER_FIRST);
	cn_row_doom(wide);
	assert_int_equal(older(9, B), CN_OLDER_DOOMED);
	assert_int_equal(older(9, A), CN_OLDER_COVERED);
	cn_row_doom(cn_rows_find("a@h", 7, 1));
	assert_int_equal(older(9, A), CN_OLDER_DOOMED);
}

/* -------- counts -------- */

static void assert_counts(int waiting, int dead, int of)
{
	struct cn_row_counts n = cn_rows_count();

	assert_int_equal(n.waiting, waiting);
	assert_int_equal(n.dead, dead);
	assert_int_equal(cn_rows_of("a@h", 7), of);
}

static void what_is_doomed_does_not_count(void **state)
{
	struct cn_row *one = waits(1, A), *two = waits(2, B);

	assert_counts(2, 0, 2);
	cn_row_set_state(one, CN_ROW_HELD);
	assert_counts(2, 0, 2);
	cn_row_set_state(one, CN_ROW_DEAD);
	assert_counts(1, 1, 2);
	cn_row_set_state(two, CN_ROW_ELSEWHERE); /* another server's */
	assert_counts(0, 1, 1);
	cn_row_set_state(two, CN_ROW_WAITING);
	cn_row_doom(two);
	assert_counts(0, 1, 1);
	cn_rows_remove(two);
	assert_counts(0, 1, 1);
	cn_rows_remove(one);
	assert_counts(0, 0, 0);
	assert_int_equal(cn_rows_of("nobody", 7), 0);
}

/* -------- whose turn it is -------- */

static void one_at_a_time_of_each_aor(void **state)
{
	struct cn_row *row, *other;

	waits(2, A);
	waits(1, B);
	add_row("b@h", 3, A, CN_ROW_WAITING);
	add_row("c@h", 4, A, CN_ROW_HELD);
	row = cn_rows_take_due(0, false);
	assert_int_equal(row->seq, 1);
	other = cn_rows_take_due(0, false);
	assert_int_equal(other->seq, 3);
	assert_null(cn_rows_take_due(INT64_MAX, true));
	assert_int_equal(cn_rows_due_us(), INT64_MAX);
	assert_true(cn_row_is_next(row));
	/* what comes meanwhile, and is older, is next */
	add_row("a@h", 0, C, CN_ROW_WAITING);
	assert_false(cn_row_is_next(row));
	cn_rows_done(row->of, 500);
	cn_rows_done(other->of, 400);
	assert_int_equal(cn_rows_due_us(), 400);
	assert_null(cn_rows_take_due(399, false));
	assert_int_equal(cn_rows_take_due(400, false)->seq, 3);
	assert_int_equal(cn_rows_take_due(400, true)->seq, 0); /* due or not */
	cn_rows_done(row->of, 500);
	cn_rows_hurry("a@h", 7);
	cn_rows_hurry("nobody", 7);
	assert_int_equal(cn_rows_due_us(), 0);
	cn_rows_done(other->of, 0);
}

static void an_aor_is_remembered_while_it_is_busy(void **state)
{
	struct cn_row_aor *of;

	waits(1, A);
	of = cn_rows_take_due(0, false)->of;
	assert_string_equal(cn_rows_find("a@h", 7, 1)->of->name, "a@h");
	assert_int_equal(cn_rows_find("a@h", 7, 1)->of->hash, 7);
	of->failures = 3;
	cn_rows_remove(cn_rows_find("a@h", 7, 1));
	assert_int_equal(of->failures, 3);
	waits(2, A);
	assert_null(cn_rows_take_due(INT64_MAX, true));
	cn_rows_done(of, 0);
	assert_int_equal(cn_rows_take_due(0, false)->seq, 2);
	cn_rows_done(of, 0);
}

static void all_are_found_and_may_go(void **state)
{
	char aor[16];
	int i;

	for(i = 0; i < 5000; i++) {
		snprintf(aor, sizeof(aor), "%d@h", i / 2);
		add_row(aor, i, A, CN_ROW_WAITING);
	}
	for(i = 0; i < 5000; i++) {
		snprintf(aor, sizeof(aor), "%d@h", i / 2);
		assert_int_equal(cn_rows_find(aor, 7, i)->seq, i);
		assert_null(cn_rows_find(aor, 7, 5000));
	}
	gone = 0;
	cn_rows_each(remove_row, NULL);
	assert_int_equal(gone, 5000);
	assert_int_equal(cn_rows_count().waiting, 0);
}

/* -------- at random, against a list -------- */

#define AORS 5
#define ROWS 40
#define STEPS 40000

static const char *const aors[AORS] = {"a", "b", "c", "dd", "d"};
static const unsigned hashes[AORS] = {1, 1, 131073, 1, 9}; /* one chain */
static const char *const contact_sets[] = {
		A, B, C, A " " B, B " " C, A " " C, A " " B " " C};

static struct
{
	int count;
	struct
	{
		struct cn_row *row;
		int aor;
		int64_t seq;
		const char *contacts;
		enum cn_row_state state;
		bool doomed;
	} rows[ROWS];
	bool busy[AORS];
	int64_t due_us[AORS]; /* 0 where it is not known any more */
} list;

/* The next row of an AOR, -1: none. */
static int next_of(int aor)
{
	int i, next = -1;

	for(i = 0; i < list.count; i++) {
		if(list.rows[i].aor == aor && !list.rows[i].doomed
				&& list.rows[i].state == CN_ROW_WAITING
				&& (next < 0 || list.rows[i].seq < list.rows[next].seq))
			next = i;
	}
	return next;
}

static bool has_rows(int aor)
{
	int i;

	for(i = 0; i < list.count; i++) {
		if(list.rows[i].aor == aor)
			return true;
	}
	return false;
}

/* The AOR whose turn it is, -1: none. */
static int first_due(int64_t now_us, bool any)
{
	int i, first = -1;

	for(i = 0; i < AORS; i++) {
		if(list.busy[i] || next_of(i) < 0)
			continue;
		if(first < 0 || list.due_us[i] < list.due_us[first]
				|| (list.due_us[i] == list.due_us[first]
						&& list.rows[next_of(i)].seq
								   < list.rows[next_of(first)].seq))
			first = i;
	}
	return first >= 0 && (any || list.due_us[first] <= now_us) ? first : -1;
}

static void drop(int i)
{
	int aor = list.rows[i].aor;

	cn_rows_remove(list.rows[i].row);
	list.rows[i] = list.rows[--list.count];
	if(!has_rows(aor) && !list.busy[aor])
		list.due_us[aor] = 0; /* forgotten */
}

static void random_step(uint64_t *dice, int64_t *seq)
{
	int aor = stub_random(dice) % AORS, i;
	const char *contacts =
			contact_sets[stub_random(dice)
						 % (sizeof(contact_sets) / sizeof(contact_sets[0]))];
	enum cn_row_state state = (enum cn_row_state)(stub_random(dice) % 3);
	struct cn_row row, *taken;

	i = list.count ? (int)(stub_random(dice) % list.count) : -1;
	switch(stub_random(dice) % 8) {
		case 0 ... 2:
			if(list.count == ROWS)
				break;
			memset(&row, 0, sizeof(row));
			row.seq = stub_random(dice) % 4
							  ? ++*seq * 1000
							  : *seq * 1000 - (int64_t)(stub_random(dice) % 999)
										- *seq % 7;
			if(cn_rows_find(aors[aor], hashes[aor], row.seq))
				break;
			strcpy(row.contacts, contacts);
			row.state = state;
			list.rows[list.count].row =
					cn_rows_add(aors[aor], hashes[aor], &row);
			list.rows[list.count].aor = aor;
			list.rows[list.count].seq = row.seq;
			list.rows[list.count].contacts = contacts;
			list.rows[list.count].state = state;
			list.rows[list.count].doomed = false;
			list.count++;
			break;
		case 3:
			if(i >= 0)
				drop(i);
			break;
		case 4:
			if(i >= 0 && !list.rows[i].doomed) {
				cn_row_set_state(list.rows[i].row, state);
				list.rows[i].state = state;
			}
			break;
		case 5:
			if(i >= 0 && !list.rows[i].doomed) {
				cn_row_doom(list.rows[i].row);
				list.rows[i].doomed = true;
			}
			break;
		case 6: {
			int64_t now = stub_random(dice) % 100;
			bool any = stub_random(dice) % 4 == 0;
			int first = first_due(now, any);

			taken = cn_rows_take_due(now, any);
			if(first < 0) {
				assert_null(taken);
			} else {
				assert_ptr_equal(taken, list.rows[next_of(first)].row);
				list.busy[first] = true;
			}
			break;
		}
		case 7:
			if(!list.busy[aor] || !has_rows(aor))
				break;
			for(i = 0; list.rows[i].aor != aor; i++)
				;
			list.busy[aor] = false;
			list.due_us[aor] = stub_random(dice) % 100;
			cn_rows_done(list.rows[i].row->of, list.due_us[aor]);
			break;
	}
}

static bool is_older(int i, int aor, int64_t seq, const char *contacts)
{
	return list.rows[i].aor == aor && list.rows[i].seq < seq
		   && cn_contacts_overlap(list.rows[i].contacts, contacts);
}

static enum cn_older older_in_list(int aor, int64_t seq, const char *contacts)
{
	enum cn_older found = CN_OLDER_NONE, its;
	int i;

	for(i = 0; i < list.count; i++) {
		if(!is_older(i, aor, seq, contacts))
			continue;
		its = CN_OLDER_FIRST;
		if(list.rows[i].doomed)
			its = CN_OLDER_DOOMED;
		else if(list.rows[i].state == CN_ROW_DEAD
				|| cn_contacts_within(list.rows[i].contacts, contacts))
			its = CN_OLDER_COVERED;
		found = its > found ? its : found;
	}
	return found;
}

static void look(uint64_t *dice, int64_t last)
{
	int aor = stub_random(dice) % AORS, i, wanted = 0, got = 0, first;
	struct cn_row *row;
	int64_t seq = stub_random(dice) % (last * 1000 + 1000);
	const char *contacts = contact_sets[stub_random(dice) % 7];
	int waiting = 0, dead = 0;

	assert_int_equal(cn_rows_older(aors[aor], hashes[aor], seq, contacts),
			older_in_list(aor, seq, contacts));
	for(i = 0; i < list.count; i++) {
		wanted += is_older(i, aor, seq, contacts) && !list.rows[i].doomed
				  && list.rows[i].state != CN_ROW_DEAD
				  && cn_contacts_within(list.rows[i].contacts, contacts);
		waiting += !list.rows[i].doomed && list.rows[i].state != CN_ROW_DEAD;
		dead += !list.rows[i].doomed && list.rows[i].state == CN_ROW_DEAD;
	}
	for(row = cn_rows_first(aors[aor], hashes[aor]); row; row = row->next)
		got += cn_row_is_replaced(row, seq, contacts);
	assert_int_equal(got, wanted);
	assert_int_equal(cn_rows_count().waiting, waiting);
	assert_int_equal(cn_rows_count().dead, dead);
	first = first_due(0, true);
	assert_int_equal(
			cn_rows_due_us(), first < 0 ? INT64_MAX : list.due_us[first]);
}

static void it_is_as_a_list_that_is_looked_through(void **state)
{
	uint64_t dice = 20261126;
	int64_t seq = 1;
	int i;

	memset(&list, 0, sizeof(list));
	for(i = 0; i < STEPS; i++) {
		random_step(&dice, &seq);
		look(&dice, seq);
	}
	for(i = 0; i < AORS; i++) {
		int j;

		for(j = 0; j < list.count && list.rows[j].aor != i; j++)
			;
		if(list.busy[i] && j < list.count)
			cn_rows_done(list.rows[j].row->of, 0);
	}
	while(list.count > 0)
		drop(0);
}

#define TEST(f) cmocka_unit_test_teardown(f, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
			TEST(others_wait_for_what_is_sent),
			TEST(what_is_older_and_has_no_other_contact_is_replaced),
			TEST(what_was_accepted_makes_itself_needless_too),
			TEST(what_was_accepted_makes_a_revived_letter_needless),
			TEST(what_is_newer_and_not_dead_outdates),
			TEST(what_an_event_finds),
			TEST(what_is_doomed_does_not_count),
			TEST(one_at_a_time_of_each_aor),
			TEST(an_aor_is_remembered_while_it_is_busy),
			TEST(all_are_found_and_may_go),
			TEST(it_is_as_a_list_that_is_looked_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
