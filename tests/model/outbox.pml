/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The order of events: what is under way, what waits in the table, and a crash
 * at any step. One AOR with the contacts A and B. README.md says how to read
 * and run it. */

/* -------- bounds -------- */

#ifndef EVENTS
#define EVENTS 3 /* event 0 is a row already, its device has got a 200 */
#endif
#ifndef FAULTS
#define FAULTS 2 /* in one run, of any kind: see fault() */
#endif

#define A 1
#define B 2
#define NOBODY 255

/* -------- what a crash destroys: shared memory -------- */

mtype:order = { COMING, NUMBERED, SENDABLE, ASKED, HELD, GONE };
mtype:post = { UNSENT, WIRE, TOOK, REFUSED };
mtype:verdict = { NONE, STORING, ACCEPTED, REJECTED, DEFERRED, UNAVAILABLE };
mtype:command = { ASK, STORE, SETTLE, WITHDRAW };
mtype:delivery = { FREE, IN_RING, CANCELLED, ON_WIRE, TAKEN, DONE, FAILED };

mtype:order order[EVENTS];
mtype:post post[EVENTS];
mtype:verdict verdict[EVENTS];
bool has_row[EVENTS];  /* cn_job_has_row() */
bool counted[EVENTS];  /* its STORE is on its way: cn_outbox_may_wait() */
byte newest;           /* number of the slot: what is not above it is stale */
bool changed;          /* the slot's number, since the outbox process read it */
chan ring = [8] of { mtype:command, byte };

byte sent_row = NOBODY; /* whose row is being delivered */
mtype:delivery delivery = FREE;
bool lets_go;                /* it has ended, and who is HELD for it goes next */

/* -------- what a crash destroys: the outbox process -------- */

mtype:row = { NO, WAITS, HOLDS, DOOMED };
mtype:phase = { IDLE, PICKED, COMMIT, ANSWER };
mtype:answer = { NOTHING, OF_ASK, OF_STORE };

mtype:row row[EVENTS];       /* outbox_rows */
mtype:answer answer[EVENTS]; /* jobs that go on after the commit */
mtype:phase phase = IDLE;
byte picked = NOBODY;        /* the row that is to be delivered */
byte settled[3];             /* by contact: the CMS has accepted, we know */
bool withdrawn[EVENTS];

/* -------- what survives -------- */

byte seq[EVENTS];
byte contacts[EVENTS];
bool defers[EVENTS];
byte last;                   /* number given; the lease keeps it */
mtype:row table[EVENTS];
byte heard[3];               /* by contact: newest that the CMS has answered */
byte accepted[3];            /* the same, with a 2xx */
mtype:late = { NOT_LATE, LATE, LATE_UNASKED };
mtype:late late_post[EVENTS]; /* given up, and the CMS may still read it */

/* -------- of the claims -------- */

bool promised[EVENTS];       /* the device got a 200 for "deferred" */
bool unasked[EVENTS];        /* sent although something may wait */
bool owed[EVENTS];           /* the CMS took it, and the table does not know */
bool excused;                /* a crash while something was owed */
byte faults;

#ifdef BEFORE
byte noted[EVENTS];          /* when its note was written */
#endif
#ifdef SETTLE_LATE
bool late[EVENTS];
#endif

byte i, j, which, freed; /* within one step, 0 between */
mtype:command what;

#define each(x) x : 0 .. EVENTS - 1
#if EVENTS == 2
#define any(is) (is(0) || is(1))
#define any_of(is, y) (is(0, y) || is(1, y))
#elif EVENTS == 3
#define any(is) (is(0) || is(1) || is(2))
#define any_of(is, y) (is(0, y) || is(1, y) || is(2, y))
#else
#define any(is) (is(0) || is(1) || is(2) || is(3))
#define any_of(is, y) (is(0, y) || is(1, y) || is(2, y) || is(3, y))
#endif
#define overlap(x, y) ((contacts[x] & contacts[y]) != 0)
#define within(x, y) ((contacts[x] & ~contacts[y]) == 0)
#define in_index(x) (order[x] == SENDABLE || order[x] == ASKED || order[x] == HELD)
#define is_over(x) (verdict[x] == REJECTED || verdict[x] == UNAVAILABLE)
#define decided(x) (verdict[x] != NONE && verdict[x] != STORING)
#define fault() (faults < FAULTS) -> faults++

inline push(what, job)
{
	assert(nfull(ring));
	ring!what(job)
}

/* cn_outbox_may_wait() */
#ifdef COUNT_LATE
#define waits(x) (row[x] != NO)
#else
#define waits(x) (row[x] != NO || counted[x])
#endif
#define may_wait any(waits)

/* has_older() of job_index.c: what the job y has to wait for. A delivery that has
 * ended is nothing to wait for, though the outbox process is still to take it. */
#define older(x, y) (x != y && in_index(x) && seq[x] < seq[y] && overlap(x, y))
#define is_over_delivery (delivery == FREE || delivery == CANCELLED \
		|| delivery == DONE || delivery == FAILED)
#define older_delivery(y) (!is_over_delivery \
		&& seq[sent_row] < seq[y] && overlap(sent_row, y))
#define has_older(y) (any_of(older, y) || older_delivery(y))

/* cn_order_go() */
inline go(job)
{
	if
	:: may_wait -> order[job] = ASKED; push(ASK, job)
	:: else -> order[job] = SENDABLE
	fi
}

/* cn_order_release() */
inline release()
{
	for(each(i)) {
		if
		:: order[i] == HELD && !has_older(i) -> go(i)
		:: else
		fi
	}
	i = 0
}

/* leave() of job_index.c: what has a number already is stale; cn_order_left() */
inline left_index()
{
	newest = last;
	changed = true;
	release()
}

/* -------- the CMS -------- */

/* Invariant 2, of a contact. */
#ifdef BEFORE
#define in_order(x, contact) true /* invariant 1 is what it is about */
#else
#define in_order(x, contact) (excused || seq[x] >= accepted[contact])
#endif

inline cms_hears(job, takes)
{
	for(j : A .. B) {
		if
		:: (contacts[job] & j) != 0 ->
			assert(in_order(job, j));
			heard[j] = (seq[job] > heard[j] -> seq[job] : heard[j])
		:: else
		fi
	}
	j = 0;
	if
	:: takes && !unasked[job] -> accepts(job)
	:: else
	fi
}

/* What was sent unasked counts when its answer has come: README.md, "Exceptions". */
inline accepts(job)
{
	for(j : A .. B) {
		accepted[j] = ((contacts[job] & j) != 0 && seq[job] > accepted[j] ->
			seq[job] : accepted[j])
	}
	j = 0
}

/* Who waits for a POST does not any more: it may be read, or never. */
inline leaves_post(job)
{
	late_post[job] = (unasked[job] -> LATE_UNASKED : LATE)
}

/* What is late may be older than what the CMS has accepted. By the number it knows. */
inline reads_late(x)
{
	for(j : A .. B) {
		if
		:: (contacts[x] & j) != 0 ->
#ifdef LATE_IN_ORDER
			assert(in_order(x, j));
#endif
			heard[j] = (seq[x] > heard[j] -> seq[x] : heard[j])
		:: else
		fi
	}
	j = 0;
	if
	:: late_post[x] == LATE -> accepts(x)
	:: else
	fi;
	late_post[x] = NOT_LATE;
	printf("%d: the CMS accepts it, late\n", x)
}

/* -------- the life of a registration -------- */

/* No usable answer: cn_outbox_store(), or the end. */
inline fail(job)
{
#ifdef BEFORE
	verdict[job] = UNAVAILABLE
#else
	if
	:: defers[job] -> verdict[job] = STORING; counted[job] = true; push(STORE, job)
	:: else -> verdict[job] = UNAVAILABLE
	fi
#endif
}

/* cn_index_enter() */
#define joins(x, y) (in_index(x) && within(y, x) && !is_over(x))

inline enter(job)
{
	if
	:: any_of(joins, job) -> order[job] = GONE /* it shares that one's fate */
	:: !any_of(joins, job) && newest >= seq[job] -> last++; seq[job] = last /* STALE */
	:: else ->
		if
		:: delivery == IN_RING && overlap(job, sent_row) -> delivery = CANCELLED
		:: else
		fi;
		newest = seq[job];
		changed = true;
		if
		:: has_older(job) -> order[job] = HELD
		:: else -> go(job)
		fi
	fi
}

inline give_up(job)
{
	if
	:: post[job] == WIRE -> leaves_post(job)
	:: else
	fi
}

inline forget(job)
{
	order[job] = GONE;
	post[job] = UNSENT;
	verdict[job] = NONE;
	has_row[job] = false;
	unasked[job] = false
}

/* The verdict process: cn_outbox_settle(), the route, leaving. */
inline resume(job)
{
	if
	:: verdict[job] == ACCEPTED && (may_wait || has_row[job]) ->
#ifndef SETTLE_LATE
		push(SETTLE, job)
#else
		late[job] = true
#endif
	:: verdict[job] == REJECTED && has_row[job] -> push(WITHDRAW, job)
#ifdef BEFORE
	:: verdict[job] == UNAVAILABLE && defers[job] -> /* cms_defer() */
		row[job] = WAITS;
		table[job] = WAITS;
		promised[job] = true;
		last++;
		noted[job] = last;
		push(STORE, job)
	:: verdict[job] == UNAVAILABLE && !defers[job] && has_row[job] ->
		push(WITHDRAW, job)
#else
	:: verdict[job] == UNAVAILABLE && has_row[job] ->
#ifdef WITHDRAW_UNANSWERED
		push(WITHDRAW, job)
#else
		counted[job] = true;
		push(STORE, job)
#endif
#endif
	:: verdict[job] == DEFERRED -> promised[job] = true
	:: else
	fi;
	forget(job);
	left_index()
}

/* A row with several contacts: rows of one contact alone are outdated when a job
 * is accepted, whether it was asked about or not. */
#ifdef SEND_UNASKED_ALWAYS
#define wide(x) false
#else
#define wide(x) (waits(x) && contacts[x] == (A | B))
#endif

active [EVENTS - 1] proctype registration()
{
	byte e = _pid + 1;

end:
	do
	/* SIP worker */
	:: d_step { order[e] == COMING && order[e - 1] != COMING ->
		last++;
		seq[e] = last;
		order[e] = NUMBERED;
		printf("%d: number %d, contacts %d\n", e, seq[e], contacts[e]) }
	:: d_step { order[e] == NUMBERED ->
		enter(e);
		printf("%d: enters, %e\n", e, order[e]) }

	/* HTTP process */
	:: d_step { order[e] == SENDABLE && verdict[e] == NONE &&
			post[e] == UNSENT ->
		post[e] = WIRE;
		printf("%d: POST\n", e) }
	:: d_step { verdict[e] == NONE && post[e] == WIRE ->
		printf("%d: the CMS accepts it\n", e);
		cms_hears(e, true);
		post[e] = TOOK }
	:: d_step { verdict[e] == NONE && post[e] == WIRE && fault();
		printf("%d: the CMS refuses it\n", e);
		cms_hears(e, false);
		post[e] = REFUSED }
	:: d_step { verdict[e] == NONE && post[e] == TOOK ->
		verdict[e] = ACCEPTED;
		accepts(e);
		owed[e] = unasked[e];
		printf("%d: accepted\n", e) }
	:: d_step { verdict[e] == NONE && post[e] == REFUSED ->
		verdict[e] = REJECTED;
		printf("%d: rejected\n", e) }
	:: d_step { verdict[e] == NONE && (post[e] == WIRE || post[e] == TOOK) &&
			fault();
		printf("%d: no answer\n", e);
		give_up(e);
		fail(e) }

	/* watchdog: the deadline; a quarter second later; ASKED for too long */
	:: d_step { in_index(e) && verdict[e] == NONE && fault();
		printf("%d: deadline\n", e);
		give_up(e);
		fail(e) }
	:: d_step { verdict[e] == STORING && fault();
		verdict[e] = UNAVAILABLE;
		printf("%d: not stored in time\n", e) }
	:: d_step { order[e] == ASKED && verdict[e] == NONE && !any(wide) && fault();
		order[e] = SENDABLE;
		unasked[e] = true;
		printf("%d: sent without an answer of the outbox process\n", e) }

	/* verdict process */
	:: d_step { in_index(e) && decided(e) ->
		printf("%d: verdict %e\n", e, verdict[e]);
		resume(e) }
#ifdef SETTLE_LATE
	:: d_step { late[e] -> late[e] = false; push(SETTLE, e) }
#endif
	od
}

/* -------- HTTP process: a delivery -------- */

inline give_up_delivery()
{
	if
	:: delivery == ON_WIRE -> late_post[sent_row] = LATE
	:: else
	fi
}

active proctype deliver()
{
end:
	do
	:: d_step { delivery == IN_RING -> /* cn_job_claim_sending() */
		delivery = ON_WIRE;
		printf("row %d: POST\n", sent_row) }
	:: d_step { delivery == ON_WIRE ->
		printf("row %d: the CMS accepts it\n", sent_row);
		cms_hears(sent_row, true);
		delivery = TAKEN }
	:: d_step { delivery == TAKEN ->
		delivery = DONE;
		lets_go = true;
		printf("row %d: accepted\n", sent_row) }
	:: d_step { (delivery == ON_WIRE || delivery == TAKEN) && fault();
		give_up_delivery();
		delivery = FAILED;
		lets_go = true;
		printf("row %d: no answer\n", sent_row) }
	:: d_step { lets_go -> release(); lets_go = false } /* cn_order_left() */
	od
}

/* -------- the network -------- */

#define network_has(x) \
	d_step { late_post[x] != NOT_LATE -> reads_late(x) } \
	:: d_step { late_post[x] != NOT_LATE -> late_post[x] = NOT_LATE }

active proctype network()
{
end:
	do
	:: network_has(0)
	:: network_has(1)
#if EVENTS > 2
	:: network_has(2)
#endif
#if EVENTS > 3
	:: network_has(3)
#endif
	od
}

/* -------- the outbox process -------- */

/* cn_rows_settled(): rows that the CMS does not need any more */
inline doom_settled()
{
	for(each(i)) {
		if
		:: row[i] != NO &&
				((contacts[i] & A) == 0 || settled[A] >= seq[i]) &&
				((contacts[i] & B) == 0 || settled[B] >= seq[i]) ->
			row[i] = DOOMED
		:: row[i] == HOLDS && withdrawn[i] -> row[i] = DOOMED
		:: else
		fi
	}
	i = 0
}

inline settle(job)
{
	for(i : A .. B) {
		if
		:: (contacts[job] & i) != 0 && seq[job] > settled[i] ->
			settled[i] = seq[job]
		:: else
		fi
	}
	i = 0;
	doom_settled()
}

/* cn_rows_replaced() */
inline replace(by)
{
	for(each(i)) {
		if
		:: (row[i] == WAITS || row[i] == HOLDS) && seq[i] < seq[by] &&
				within(i, by) -> row[i] = DOOMED
		:: else
		fi
	}
	i = 0
}

#ifdef BEFORE
/* cn_outbox_outdate(): "older" was what had been parked before this note was
 * written. */
inline outdate(by)
{
	for(each(i)) {
		if
		:: i != by && row[i] != NO && seq[i] < noted[by] && within(i, by) ->
			row[i] = DOOMED
		:: else
		fi
	}
	i = 0
}
#endif

/* cn_rows_older(): rows that the job y covers, rows that come first */
#define older_row(x, y) (row[x] != NO && row[x] != DOOMED && seq[x] < seq[y] \
		&& overlap(x, y))
#define comes_first(x, y) (older_row(x, y) && !within(x, y))

inline ask(job)
{
	if
	:: any_of(comes_first, job) -> order[job] = HELD
	:: else ->
		answer[job] = OF_ASK;
#ifndef NO_HELD_ROW
		row[job] = (row[job] == NO && any_of(older_row, job) -> HOLDS : row[job]);
#endif
#ifdef ANSWER_EARLY
		has_row[job] = row[job] == HOLDS;
		order[job] = SENDABLE
#endif
	fi
}

inline take_commands()
{
	do
	:: ring?what(which) ->
		printf("outbox: takes %e of %d\n", what, which);
		if
		:: what == ASK ->
			if
			:: order[which] == ASKED && verdict[which] == NONE -> ask(which)
			:: else
			fi
		:: what == STORE ->
#ifdef BEFORE
			outdate(which)
#else
			counted[which] = false;
			row[which] = WAITS;
			answer[which] = OF_STORE;
			if
#ifdef REPLACE_EARLY
			:: replace(which)
#else
			:: table[which] != NO -> replace(which)
			:: else /* after the commit */
#endif
			fi
#endif
		:: what == SETTLE -> settle(which)
		:: what == WITHDRAW -> withdrawn[which] = true; doom_settled()
		fi
	:: empty(ring) -> break
	od;
	which = 0;
	what = ASK
}

/* The end of a delivery: it leaves the index. */
inline take_ended()
{
	if
	:: delivery == DONE -> settle(sent_row)
	:: else
	fi;
	if
	:: delivery == DONE || delivery == FAILED || delivery == CANCELLED ->
		delivery = FREE;
		sent_row = NOBODY;
		left_index()
	:: else
	fi
}

#ifndef FORGET_SETTLED
#define doomed(x) (withdrawn[x] || row[x] == DOOMED)
#else /* nor the rows that it has doomed */
#define doomed(x) withdrawn[x]
#endif

/* What is read from the table: held rows wait, what is covered goes. */
inline load()
{
	for(each(i)) {
		row[i] = (table[i] == NO -> NO : (doomed(i) -> DOOMED : WAITS))
	}
	for(each(j)) {
		if
		:: row[j] == WAITS -> replace(j)
		:: else
		fi
	}
	j = 0;
#ifndef FORGET_SETTLED
	doom_settled()
#else
	forget_settled()
#endif
}

inline write()
{
	for(each(i)) {
		table[i] = (row[i] == DOOMED -> NO : row[i]);
		if
		:: settled[A] >= seq[i] || settled[B] >= seq[i] -> owed[i] = false
		:: else
		fi
	}
	i = 0
}

#define is_dirty(x) (row[x] != table[x] || answer[x] == OF_STORE)

/* Until it is written, a failed transaction must not forget it. */
inline forget_settled()
{
	settled[A] = 0;
	settled[B] = 0;
	for(each(i)) {
		withdrawn[i] = false
	}
	i = 0
}

/* After the commit the jobs go on, and what is stored replaces what is older. */
inline answer_jobs()
{
	freed = 0;
	for(each(j)) {
		if
		:: answer[j] == OF_STORE && row[j] == WAITS -> replace(j)
		:: else
		fi;
		if
		:: answer[j] == OF_STORE && verdict[j] == STORING ->
			verdict[j] = DEFERRED
#ifdef DELETE_AGAIN
		:: answer[j] == OF_STORE && verdict[j] != DEFERRED -> row[j] = DOOMED
#endif
#ifndef ANSWER_EARLY
		:: answer[j] == OF_ASK ->
			has_row[j] = row[j] == HOLDS;
			if
			:: order[j] == ASKED -> order[j] = SENDABLE
#ifndef LEAVE_HELD
			:: else -> row[j] = (row[j] == HOLDS -> WAITS : row[j])
#else
			:: else
#endif
			fi
#endif
		:: else
		fi;
		answer[j] = NOTHING;
		if
		:: row[j] == DOOMED && table[j] == NO -> row[j] = NO; freed = 1
		:: else
		fi
	}
	j = 0
}

/* The transaction has failed, or nobody knows: the jobs go on, the table is read
 * again, and nothing is delivered before a transaction has succeeded. */
inline fail_transaction()
{
	for(each(i)) {
		if
		:: answer[i] == OF_STORE && verdict[i] == STORING ->
			verdict[i] = UNAVAILABLE
		:: answer[i] == OF_ASK && order[i] == ASKED ->
			order[i] = SENDABLE;
			unasked[i] = true
		:: else
		fi;
		answer[i] = NOTHING
	}
	load();
#ifndef HELD_FOR_NOTHING
	release(); /* rows have gone for which jobs are HELD */
#endif
#ifndef DELIVER_AFTER_FAILURE
	picked = NOBODY;
#endif
	phase = ANSWER
}

/* cn_index_enter_delivery(): what keeps the row y from being delivered. Not a
 * job that is HELD for it. */
#ifdef HELD_BLOCKS
#define is_held_for(x, y) false
#else
#define is_held_for(x, y) (order[x] == HELD && seq[x] > seq[y])
#endif
#define blocks(x, y) (in_index(x) && overlap(x, y) && !is_held_for(x, y))

/* The oldest row that waits, if it may be delivered now. */
#define first_row(x, y) (row[x] == WAITS && seq[x] < seq[y])
#define deliverable(x) (row[x] == WAITS && !any_of(first_row, x) \
		&& !any_of(blocks, x))

active proctype outbox()
{
end:
	do
	/* cn_rows_take_due(); the slot's number is read before the commands */
	:: d_step { phase == IDLE && delivery == FREE && any(deliverable) ->
		for(each(i)) {
			if
			:: deliverable(i) -> picked = i
			:: else
			fi
		}
		i = 0;
		changed = false;
		phase = PICKED;
		printf("outbox: picks row %d\n", picked) }
	:: d_step { phase == PICKED || (phase == IDLE && (nempty(ring) ||
			any(is_dirty) || delivery == DONE || delivery == FAILED ||
			delivery == CANCELLED)) ->
		take_commands();
		take_ended();
		phase = (any(is_dirty) -> COMMIT : ANSWER) }
	:: d_step { phase == COMMIT ->
		write();
		forget_settled();
		phase = ANSWER;
		printf("outbox: commit\n") }
	:: d_step { phase == COMMIT && fault();
		printf("outbox: the transaction fails\n");
		fail_transaction() }
	:: d_step { phase == COMMIT && fault();
		printf("outbox: commit, but it seems to have failed\n");
		write();
		fail_transaction() }
	:: d_step { phase == ANSWER ->
		answer_jobs();
		if
		:: freed -> release()
		:: else
		fi;
		freed = 0;
		if
#if defined(NUMBER_UNCHECKED)
		:: picked != NOBODY && deliverable(picked) ->
#elif defined(FIRST_UNCHECKED)
		:: picked != NOBODY && !changed && row[picked] == WAITS &&
				!any_of(blocks, picked) ->
#else
		:: picked != NOBODY && !changed && deliverable(picked) ->
#endif
			sent_row = picked;
			delivery = IN_RING;
			printf("outbox: gives row %d\n", picked)
		:: else
		fi;
		picked = NOBODY;
		changed = false;
		phase = IDLE }
	od
}

/* -------- kill -9 of all, and a start -------- */

inline crash()
{
	printf("crash\n");
	for(each(i)) {
#ifndef NO_EXCUSE
		excused = excused || owed[i];
#endif
		if
		:: order[i] != COMING -> give_up(i); forget(i)
		:: else
		fi;
		counted[i] = false;
		answer[i] = NOTHING;
		row[i] = NO;
		owed[i] = false
	}
	do
	:: ring?_,_
	:: empty(ring) -> break
	od;
	give_up_delivery();
	delivery = FREE; sent_row = NOBODY; lets_go = false;
	phase = IDLE; picked = NOBODY; changed = false; newest = 0;
	forget_settled();
#ifdef CLOCK_BACK
	last = 0;
#endif
	load()
}

init
{
	atomic {
		for(i : 0 .. EVENTS - 1) {
			order[i] = COMING; post[i] = UNSENT; verdict[i] = NONE;
			row[i] = NO; answer[i] = NOTHING; table[i] = NO;
			late_post[i] = NOT_LATE;
			if
			:: contacts[i] = A
			:: i > 0 -> contacts[i] = B /* else A and B are the same */
			:: contacts[i] = A | B
			fi;
			if
			:: i > 0 -> defers[i] = true
			:: defers[i] = false
			fi
		}
		what = ASK;
		order[0] = GONE; last = 1; seq[0] = 1; promised[0] = true;
		row[0] = WAITS; table[0] = WAITS;
		i = 0
	};
	do
	:: d_step { fault(); crash() }
	:: d_step { faults < FAULTS -> faults = FAULTS } /* no more of them */
	:: timeout -> break
	od;
	/* nothing moves any more */
	atomic {
		for(i : 0 .. EVENTS - 1) {
			assert(order[i] == GONE);                    /* nobody waits */
			assert(table[i] == NO);                      /* it has drained */
			for(j : A .. B) {                            /* invariant 1 */
				assert(!promised[i] || (contacts[i] & j) == 0 ||
						heard[j] >= seq[i])
			}
		}
	}
}
