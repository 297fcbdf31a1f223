/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "stubs.h"

#include "job_ring.h"
#include "base_wait.h"

static int no_eventfd; /* the n-th from now on, 0: none */

int __real_eventfd(unsigned count, int flags);

int __wrap_eventfd(unsigned count, int flags)
{
	if(no_eventfd && --no_eventfd == 0) {
		errno = EMFILE;
		return -1;
	}
	return __real_eventfd(count, flags);
}

static void *item(uintptr_t n)
{
	return (void *)n;
}

static void push(struct cn_ring *ring, uintptr_t n)
{
	void *p = item(n);

	assert_int_equal(cn_ring_push(ring, &p), 0);
	assert_null(p);
}

/* Has the taker been woken since the last time? */
static bool is_woken(struct cn_ring *ring, int taker)
{
	uint64_t count;

	return read(cn_ring_fd(ring, taker), &count, sizeof(count))
		   == sizeof(count);
}

static void first_in_is_first_out(void **state)
{
	struct cn_ring *ring = cn_ring_new(3, 1);
	uintptr_t in = 1, out = 1;
	int i;

	assert_non_null(ring);
	assert_null(cn_ring_take(ring));
	for(i = 0; i < 10; i++) {
		push(ring, in++);
		push(ring, in++);
		assert_int_equal(cn_ring_count(ring), 2);
		assert_ptr_equal(cn_ring_take(ring), item(out++));
		push(ring, in++);
		assert_ptr_equal(cn_ring_take(ring), item(out++));
		assert_ptr_equal(cn_ring_take(ring), item(out++));
		assert_null(cn_ring_take(ring));
		assert_int_equal(cn_ring_count(ring), 0);
	}
	cn_ring_free(ring);
}

static bool die_here(const void *unused)
{
	(void)unused;
	_exit(0);
}

static void die_with_the_lock(void *arg)
{
	check(cn_ring_take_if(arg, die_here) == NULL); /* not reached */
}

static void whoever_died_with_the_lock_keeps_the_last_from_nothing(void **state)
{
	struct cn_ring *ring;

	stub_share_shm(true);
	ring = cn_ring_new(3, 1);
	stub_share_shm(false);
	push(ring, 1);
	push(ring, 2);
	stub_in_child(die_with_the_lock, ring);
	alarm(10);
	assert_ptr_equal(cn_ring_take_last(ring), item(1));
	assert_ptr_equal(cn_ring_take_last(ring), item(2));
	assert_null(cn_ring_take_last(ring));
	alarm(0);
	cn_ring_free(ring);
}

static void what_does_not_fit_stays_with_the_giver(void **state)
{
	static const unsigned sizes[] = {1, 2, 7, 1000};
	size_t s;

	for(s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct cn_ring *ring = cn_ring_new(sizes[s], 1);
		void *more = item(4711);
		unsigned i;

		for(i = 1; i <= sizes[s]; i++)
			push(ring, i);
		assert_int_equal(cn_ring_push(ring, &more), -1);
		assert_ptr_equal(more, item(4711));
		assert_int_equal(cn_ring_count(ring), sizes[s]);
		assert_ptr_equal(cn_ring_take(ring), item(1));
		assert_int_equal(cn_ring_push(ring, &more), 0);
		assert_null(more);
		for(i = 2; i <= sizes[s]; i++)
			assert_ptr_equal(cn_ring_take(ring), item(i));
		assert_ptr_equal(cn_ring_take(ring), item(4711));
		assert_null(cn_ring_take(ring));
		cn_ring_free(ring);
	}
}

static int asked;

static bool is_odd(const void *p)
{
	asked++;
	return (uintptr_t)p & 1;
}

static void only_the_oldest_is_looked_at(void **state)
{
	struct cn_ring *ring = cn_ring_new(4, 1);

	asked = 0;
	assert_null(cn_ring_take_if(ring, is_odd));
	assert_int_equal(asked, 0);
	push(ring, 2);
	push(ring, 3);
	assert_null(cn_ring_take_if(ring, is_odd));
	assert_int_equal(asked, 1);
	assert_int_equal(cn_ring_count(ring), 2);
	assert_ptr_equal(cn_ring_take(ring), item(2));
	assert_ptr_equal(cn_ring_take_if(ring, is_odd), item(3));
	assert_int_equal(cn_ring_count(ring), 0);
	cn_ring_free(ring);
}

static void nobody_sleeps_while_there_is_something(void **state)
{
	struct cn_ring *ring = cn_ring_new(4, 1);

	push(ring, 1);
	assert_false(cn_ring_sleep(ring, 0));
	assert_non_null(cn_ring_take(ring));
	assert_true(cn_ring_sleep(ring, 0));
	cn_ring_wake(ring, 0);
	cn_ring_free(ring);
}

static void a_sleeper_is_woken_and_nobody_else(void **state)
{
	struct cn_ring *ring = cn_ring_new(4, 2);

	push(ring, 1); /* nobody sleeps */
	assert_false(is_woken(ring, 0) || is_woken(ring, 1));
	assert_non_null(cn_ring_take(ring));
	assert_true(cn_ring_sleep(ring, 1));
	assert_false(is_woken(ring, 0) || is_woken(ring, 1));
	push(ring, 2);
	assert_true(is_woken(ring, 1));
	assert_false(is_woken(ring, 0));
	cn_ring_wake(ring, 1);
	assert_non_null(cn_ring_take(ring));
	push(ring, 3); /* nobody sleeps any more */
	assert_false(is_woken(ring, 0) || is_woken(ring, 1));
	cn_ring_free(ring);
}

static void one_item_wakes_one(void **state)
{
	struct cn_ring *ring = cn_ring_new(8, 3);
	int i;

	for(i = 0; i < 3; i++)
		assert_true(cn_ring_sleep(ring, i));
	for(i = 0; i < 3; i++) {
		push(ring, i + 1);
		assert_true(is_woken(ring, i));
		assert_false(is_woken(ring, 0) || is_woken(ring, 1)
					 || is_woken(ring, 2));
	}
	push(ring, 4); /* all are on their way already */
	assert_false(is_woken(ring, 0) || is_woken(ring, 1) || is_woken(ring, 2));
	cn_ring_free(ring);
}

static void the_first_that_sleeps_is_woken(void **state)
{
	struct cn_ring *ring = cn_ring_new(8, 3);
	int i;

	for(i = 2; i >= 0; i--)
		assert_true(cn_ring_sleep(ring, i));
	for(i = 0; i < 10; i++) {
		push(ring, 1);
		assert_true(is_woken(ring, 0));
		cn_ring_wake(ring, 0);
		assert_non_null(cn_ring_take(ring));
		assert_true(cn_ring_sleep(ring, 0));
	}
	assert_false(is_woken(ring, 1) || is_woken(ring, 2));
	cn_ring_free(ring);
}

static void who_woke_for_another_reason_sleeps_no_more(void **state)
{
	struct cn_ring *ring = cn_ring_new(4, 1);

	assert_true(cn_ring_sleep(ring, 0));
	cn_ring_wake(ring, 0);
	push(ring, 1);
	assert_false(is_woken(ring, 0));
	assert_non_null(cn_ring_take(ring));
	cn_ring_wake(ring, 0);
	assert_true(cn_ring_sleep(ring, 0));
	push(ring, 2);
	assert_true(is_woken(ring, 0));
	cn_ring_free(ring);
}

static bool none_is_woken(struct cn_ring *ring, int takers)
{
	int i;

	for(i = 0; i < takers; i++) {
		if(is_woken(ring, i))
			return false;
	}
	return true;
}

static struct cn_ring *patient_ring(unsigned patience)
{
	struct cn_ring *ring = cn_ring_new(8, 3);

	assert_non_null(ring);
	cn_ring_set_patience(ring, patience);
	return ring;
}

static void who_is_awake_comes_soon_enough(void **state)
{
	struct cn_ring *ring = patient_ring(2);

	assert_true(cn_ring_sleep(ring, 0));
	assert_true(cn_ring_sleep(ring, 1));
	push(ring, 1);
	assert_true(is_woken(ring, 0)); /* all slept */
	push(ring, 2);
	assert_true(none_is_woken(ring, 3));
	push(ring, 3);
	assert_true(is_woken(ring, 1)); /* too many for one */
	assert_false(cn_ring_sleep(ring, 0));
	push(ring, 4);
	assert_true(none_is_woken(ring, 3));
	cn_ring_free(ring);
}

static void who_leaves_leaves_what_lies_there_to_another_one(void **state)
{
	struct cn_ring *ring = patient_ring(4);

	cn_ring_wake(ring, 0);
	assert_true(cn_ring_sleep(ring, 1));
	cn_ring_leave(ring, 0); /* nothing lies there */
	assert_true(none_is_woken(ring, 3));
	push(ring, 1);
	assert_true(is_woken(ring, 1));
	cn_ring_wake(ring, 0);
	cn_ring_leave(ring, 1);
	assert_true(none_is_woken(ring, 3)); /* 0 is awake */
	assert_true(cn_ring_take(ring) != NULL && cn_ring_sleep(ring, 1));
	push(ring, 2);
	assert_true(none_is_woken(ring, 3));
	cn_ring_leave(ring, 0);
	assert_true(is_woken(ring, 1));
	cn_ring_free(ring);
}

/* Once a reminder was needed nobody waits for it until it is back. */
static void who_hangs_is_not_waited_for(void **state)
{
	struct cn_ring *ring = patient_ring(4);

	cn_ring_wake(ring, 0);
	assert_true(cn_ring_sleep(ring, 1));
	assert_true(cn_ring_sleep(ring, 2));
	push(ring, 1);
	assert_true(none_is_woken(ring, 3));
	cn_ring_remind(ring);
	assert_true(is_woken(ring, 1));
	assert_ptr_equal(cn_ring_take(ring), item(1));
	assert_true(cn_ring_sleep(ring, 1));
	push(ring, 2);
	assert_true(is_woken(ring, 1));
	assert_ptr_equal(cn_ring_take(ring), item(2));
	assert_true(cn_ring_sleep(ring, 1));
	cn_ring_wake(ring, 0); /* it is back */
	push(ring, 3);
	assert_true(none_is_woken(ring, 3));
	cn_ring_free(ring);
}

/* Of what a taker gives another one is reminded, if it hangs before it looks. */
static void who_takes_as_well_wakes_nobody(void **state)
{
	struct cn_ring *ring = cn_ring_new(2, 2);
	void *more = item(3), *one = item(1);

	assert_true(cn_ring_sleep(ring, 1));
	assert_int_equal(cn_ring_push_own(ring, &one), 0);
	assert_null(one);
	assert_false(is_woken(ring, 0) || is_woken(ring, 1));
	assert_false(cn_ring_sleep(ring, 0));
	cn_ring_remind(ring);
	assert_true(is_woken(ring, 1));
	assert_ptr_equal(cn_ring_take(ring), item(1));
	push(ring, 1);
	push(ring, 2);
	assert_int_equal(cn_ring_push_own(ring, &more), -1);
	assert_ptr_equal(more, item(3));
	cn_ring_free(ring);
}

/* The one that was woken has been stopped, or is gone. */
static void another_one_is_reminded_of_what_lies(void **state)
{
	struct cn_ring *ring = cn_ring_new(4, 3);

	assert_true(cn_ring_sleep(ring, 0));
	assert_true(cn_ring_sleep(ring, 2));
	cn_ring_remind(ring); /* of nothing */
	assert_false(is_woken(ring, 0) || is_woken(ring, 2));
	push(ring, 1);
	assert_true(is_woken(ring, 0));
	cn_ring_remind(ring);
	assert_true(is_woken(ring, 2));
	assert_false(is_woken(ring, 0) || is_woken(ring, 1));
	cn_ring_remind(ring); /* nobody sleeps */
	assert_false(is_woken(ring, 0) || is_woken(ring, 1) || is_woken(ring, 2));
	cn_ring_free(ring);
}

static int open_files(void)
{
	int n = 0, fd;

	for(fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void make_a_ring(void)
{
	struct cn_ring *ring = cn_ring_new(8, 2);

	assert_true((ring == NULL) == stub_has_failed());
	cn_ring_free(ring);
}

static void without_memory_there_is_no_ring(void **state)
{
	int files = open_files();

	assert_true(stub_each_allocation(make_a_ring) >= 1);
	assert_int_equal(open_files(), files);
	stub_clear_log();
	stub_fail_at(1);
	make_a_ring();
	assert_logged("ERROR", "memory");
}

static void without_a_descriptor_there_is_no_ring(void **state)
{
	int blocks = stub_shm_blocks(), files = open_files(), i;

	for(i = 1; i <= 3; i++) {
		stub_clear_log();
		no_eventfd = i;
		assert_null(cn_ring_new(8, 3));
		assert_int_equal(no_eventfd, 0);
		assert_int_equal(stub_shm_blocks(), blocks);
		assert_int_equal(open_files(), files);
		assert_logged("ERROR", "eventfd");
	}
}

static void a_ring_gives_back_what_it_took(void **state)
{
	int files = open_files(), blocks = stub_shm_blocks();

	cn_ring_free(cn_ring_new(8, 3));
	cn_ring_free(NULL);
	assert_int_equal(open_files(), files);
	assert_int_equal(stub_shm_blocks(), blocks);
}

/* -------- many processes -------- */

/* Each giver gives its own numbers in order; takers sleep as the processes of
 * the module do and count what they got. A wake-up that is lost shows as a
 * taker that never wakes; another one may rescue it, so the givers give one
 * item at a time and wait until it has been taken in the first of the tests. */
struct stress
{
	struct cn_ring *ring;
	struct barrier *barrier;
	int givers;
	int per_giver;
	unsigned patience;
	bool one_at_a_time;
	int next_giver;
	int next_taker;
	int taken;	   /* in all */
	int order[16]; /* highest number taken, of each giver */
	unsigned char seen[16][20000];
};

static int load(int *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static int add(int *p, int n)
{
	return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
}

/* Until a taker has got it, and a moment more, each time another one: so that
 * the next item meets takers at every step of their going to sleep. */
static void wait_until_taken(struct stress *s, int n)
{
	volatile int moment;
	int i;

	for(i = 0; load(&s->taken) < n; i++) {
		if(i % 1000 == 999)
			sched_yield();
	}
	for(moment = 0; moment < n % 400; moment++)
		;
}

static void give(void *arg)
{
	struct stress *s = arg;
	int giver = add(&s->next_giver, 1) - 1, i;

	stub_meet(s->barrier);
	for(i = 1; i <= s->per_giver; i++) {
		void *p = item((uintptr_t)giver << 16 | (unsigned)i);

		while(cn_ring_push(s->ring, &p) < 0)
			sched_yield();
		if(s->one_at_a_time)
			wait_until_taken(s, i);
	}
}

static void note(struct stress *s, void *p)
{
	int giver = (int)((uintptr_t)p >> 16), n = (uintptr_t)p & 0xffff;

	check(giver < s->givers && n >= 1 && n <= s->per_giver);
	check(__atomic_exchange_n(&s->seen[giver][n - 1], 1, __ATOMIC_SEQ_CST)
			== 0);
	add(&s->taken, 1);
}

/* What a taker waits with. */
static int new_wait(struct stress *s, int *taker)
{
	int wait_set = cn_wait_new();

	*taker = add(&s->next_taker, 1) - 1;
	check(wait_set >= 0);
	check(cn_wait_add(wait_set, cn_ring_fd(s->ring, *taker)) == 0);
	return wait_set;
}

static void take(void *arg)
{
	struct stress *s = arg;
	int all = s->givers * s->per_giver, taker, wait_set = new_wait(s, &taker);
	int64_t slept;
	int before;
	void *p;

	stub_meet(s->barrier);
	for(;;) {
		while((p = cn_ring_take(s->ring)) != NULL) {
			if(p == item(UINTPTR_MAX)) {
				cn_ring_leave(s->ring, taker);
				return;
			}
			note(s, p);
		}
		if(!cn_ring_sleep(s->ring, taker))
			continue;
		slept = cn_now_us();
		before = load(&s->taken);
		/* the limit is for the end of the test; it must not save an item */
		cn_wait(wait_set, 20000);
		/* slept through: others had what there was, or there was nothing */
		check(cn_now_us() - slept < 19000000 || load(&s->taken) == all
				|| load(&s->taken) != before || cn_ring_count(s->ring) == 0);
		cn_ring_wake(s->ring, taker);
	}
}

/* Wakes now and then without a reason, as one whose connections need care. */
static void take_restlessly(void *arg)
{
	struct stress *s = arg;
	int taker, wait_set = new_wait(s, &taker);
	void *p;

	stub_meet(s->barrier);
	for(;;) {
		while((p = cn_ring_take(s->ring)) != NULL) {
			if(p == item(UINTPTR_MAX)) {
				cn_ring_leave(s->ring, taker);
				return;
			}
			note(s, p);
		}
		if(cn_ring_sleep(s->ring, taker)) {
			cn_wait(wait_set, 0);
			cn_ring_wake(s->ring, taker);
		}
	}
}

static void run_stress(struct stress *s, unsigned capacity, int takers,
		void (*other)(void *arg))
{
	pid_t pids[32];
	int all = s->givers * s->per_giver, n = 0, i, j;

	stub_share_shm(true);
	s->ring = cn_ring_new(capacity, takers);
	stub_share_shm(false);
	assert_non_null(s->ring);
	cn_ring_set_patience(s->ring, s->patience);
	s->barrier = stub_barrier(s->givers + takers);
	for(i = 0; i < takers; i++)
		pids[n++] = stub_fork(i == 0 && other ? other : take, s);
	for(i = 0; i < s->givers; i++)
		pids[n++] = stub_fork(give, s);
	for(i = takers; i < n; i++)
		stub_wait(pids[i]);
	for(i = 0; i < takers; i++) {
		void *end = item(UINTPTR_MAX);

		while(cn_ring_push(s->ring, &end) < 0)
			sched_yield();
	}
	for(i = 0; i < takers; i++)
		stub_wait(pids[i]);
	assert_int_equal(s->taken, all);
	for(i = 0; i < s->givers; i++) {
		for(j = 0; j < s->per_giver; j++)
			assert_int_equal(s->seen[i][j], 1);
	}
	assert_int_equal(cn_ring_count(s->ring), 0);
	cn_ring_free(s->ring);
}

static struct stress *new_stress(int givers, int per_giver)
{
	struct stress *s = stub_shared(sizeof(*s));

	s->givers = givers;
	s->per_giver = per_giver;
	return s;
}

static void no_wake_up_is_lost_with_one_taker(void **state)
{
	struct stress *s = new_stress(1, 20000);

	s->one_at_a_time = true;
	run_stress(s, 4, 1, NULL);
}

static void no_wake_up_is_lost_among_takers(void **state)
{
	struct stress *s = new_stress(1, 10000);

	s->one_at_a_time = true;
	run_stress(s, 4, 3, NULL);
}

static void no_wake_up_is_lost_beside_a_restless_taker(void **state)
{
	struct stress *s = new_stress(1, 10000);

	s->one_at_a_time = true;
	run_stress(s, 4, 2, take_restlessly);
}

static void no_wake_up_is_lost_by_patience(void **state)
{
	struct stress *s = new_stress(1, 10000);

	s->one_at_a_time = true;
	s->patience = 2;
	run_stress(s, 4, 3, NULL);
	s = new_stress(3, 10000);
	s->patience = 2;
	run_stress(s, 16, 3, take_restlessly);
}

static void many_givers_and_takers_lose_and_double_nothing(void **state)
{
	run_stress(new_stress(6, 10000), 16, 3, NULL);
	run_stress(new_stress(3, 10000), 1, 3, take_restlessly);
}

/* Order holds from one giver to one taker, over the borders of processes. */
static void take_in_order(void *arg)
{
	struct stress *s = arg;
	int all = s->givers * s->per_giver, n = 0;
	void *p;

	stub_meet(s->barrier);
	while(n < all) {
		p = cn_ring_take(s->ring);
		if(p == NULL) {
			sched_yield();
			continue;
		}
		n++;
		check(((uintptr_t)p & 0xffff)
				== (unsigned)++s->order[(uintptr_t)p >> 16]);
	}
}

static void each_givers_items_come_in_order(void **state)
{
	struct stress *s = new_stress(3, 10000);
	pid_t pids[4];
	int i;

	stub_share_shm(true);
	s->ring = cn_ring_new(64, 1);
	stub_share_shm(false);
	s->barrier = stub_barrier(4);
	pids[3] = stub_fork(take_in_order, s);
	for(i = 0; i < 3; i++)
		pids[i] = stub_fork(give, s);
	for(i = 0; i < 4; i++)
		stub_wait(pids[i]);
	cn_ring_free(s->ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
			cmocka_unit_test(first_in_is_first_out),
			cmocka_unit_test(what_does_not_fit_stays_with_the_giver),
			cmocka_unit_test(
					whoever_died_with_the_lock_keeps_the_last_from_nothing),
			cmocka_unit_test(only_the_oldest_is_looked_at),
			cmocka_unit_test(nobody_sleeps_while_there_is_something),
			cmocka_unit_test(a_sleeper_is_woken_and_nobody_else),
			cmocka_unit_test(one_item_wakes_one),
			cmocka_unit_test(the_first_that_sleeps_is_woken),
			cmocka_unit_test(who_is_awake_comes_soon_enough),
			cmocka_unit_test(who_leaves_leaves_what_lies_there_to_another_one),
			cmocka_unit_test(who_hangs_is_not_waited_for),
			cmocka_unit_test(who_takes_as_well_wakes_nobody),
			cmocka_unit_test(another_one_is_reminded_of_what_lies),
			cmocka_unit_test(who_woke_for_another_reason_sleeps_no_more),
			cmocka_unit_test(without_memory_there_is_no_ring),
			cmocka_unit_test(without_a_descriptor_there_is_no_ring),
			cmocka_unit_test(a_ring_gives_back_what_it_took),
			cmocka_unit_test(no_wake_up_is_lost_with_one_taker),
			cmocka_unit_test(no_wake_up_is_lost_among_takers),
			cmocka_unit_test(no_wake_up_is_lost_beside_a_restless_taker),
			cmocka_unit_test(no_wake_up_is_lost_by_patience),
			cmocka_unit_test(many_givers_and_takers_lose_and_double_nothing),
			cmocka_unit_test(each_givers_items_come_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
