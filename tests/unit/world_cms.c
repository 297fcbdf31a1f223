/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A CMS that knows what it was told, and the connections to it. */

#include "world.h"

struct flight flights[FLIGHTS_MAX];
int64_t answered_us;

int cn_http_check(void)
{
	return 0;
}

int cn_files_check(void)
{
	return 0;
}

bool cn_files_any(void)
{
	return false;
}

int cn_reload_init(void)
{
	return 0;
}

void cn_reload_destroy(void)
{
}

int cn_clients_set_up(
		int most, cn_http_done_f done, const int *fds, int count)
{
	return 0;
}

struct cn_http *cn_clients_now(void)
{
	return (struct cn_http *)flights;
}

struct cn_http *cn_clients_again(struct cn_http *before)
{
	return before;
}

const struct cn_endpoints *cn_http_endpoints(const struct cn_http *http)
{
	static const struct cn_endpoints one = {.count = 1};

	(void)http;
	return &one;
}

int cn_endpoints_find(int slot)
{
	return slot;
}

void cn_clients_run(int timeout_ms, bool looks)
{
}

/* The HTTP process stands still. It may be the one that resumes. */
static void stand_still(unsigned percent)
{
	bool resumes = chance(50), before = now.busy[VERDICT];

	if(now.quiet || !chance(percent))
		return;
	now.busy[VERDICT] = before || resumes;
	advance(dice(2000000));
	now.busy[VERDICT] = before;
}

/* Had the table been read when this number was given? */
static bool is_unknown(int64_t seq)
{
	return !db.loaded || (seq >= db.first_seq && seq <= db.unknown_seq);
}

/* @return what is behind it */
static const char *read_part(struct part *p, const char *text)
{
	int n = 0;

	check(sscanf(text, "%d %d %u %" SCNd64 " %32[0-9a-f]%n", &p->aor,
				  &p->contacts, &p->kind, &p->seq, p->id, &n)
			== 5);
	p->status = 0;
	p->log = -1;
	p->late = false;
	p->exempt = database_trouble();
	p->unknown = is_unknown(p->seq);
	return text + n;
}

int cn_http_post(struct cn_http *http, const struct cn_http_request *request,
		void *user)
{
	char text[BATCH_MAX * 100];
	const char *p = text;
	struct flight *f = flights;

	/* when all is decided, but for what others do meanwhile */
	stand_still(2);
	while(f < flights + FLIGHTS_MAX && f->user)
		f++;
	if(f == flights + FLIGHTS_MAX)
		return -1;
	check(request->body.len < (int)sizeof(text));
	memcpy(text, request->body.s, request->body.len);
	text[request->body.len] = '\0';
	check((*p == '[') == (cn_conf.batch_max > 1));
	for(f->count = 0; f->count < request->answers; f->count++) {
		check(f->count < cn_conf.batch_max);
		p = read_part(&f->parts[f->count], *p == '[' || *p == ',' ? p + 1 : p);
		f->parts[f->count].late = step_http_is_decided(user, f->count);
	}
	check(strcmp(p, cn_conf.batch_max > 1 ? "]" : "") == 0);
	f->user = user;
	f->deadline_us = world->now_us + request->timeout_ms * 1000;
	f->status = 0;
	trace("POST %s\n", text);
	return 0;
}

/* Who is heard, and was not off line before, is not told to be. */
static void claim_silent(const struct part *f)
{
	int i;

	if(f->kind != CN_KIND_OFFLINE)
		return;
	for(i = 0; i < CONTACTS; i++) {
		if(f->contacts & 1 << i && world->bound[f->aor][i]
				&& !world->gone[f->aor][i])
			check(world->saved[f->aor][i] > f->seq);
	}
	world->offline++;
}

/* Nothing older may come, but for what is late. */
static void claim_order(const struct part *f)
{
	int i;

	for(i = world->exempt_count; i < world->accepted_count; i++) {
		const struct accepted *b = &world->accepted[i];

		if(is_low(f->seq))
			break;

		if(b->aor != f->aor || !(b->contacts & f->contacts)
				|| b->seq <= f->seq)
			continue;
		if(b->exempt && !b->answered)
			continue;
		/* of rows with several contacts no event makes a part needless: there
		 * it would have waited, had it been known that they are there */
		if(b->unknown && f->contacts & (f->contacts - 1))
			continue;
		fprintf(stderr,
				"%s: the CMS hears of contacts %d with number %" PRId64
				" after those of %d with number %" PRId64 "\n",
				keys[f->aor], f->contacts, f->seq, b->contacts, b->seq);
		check(!"older after newer");
	}
}

/* The contacts of which the CMS has accepted nothing newer: by this it knows what
 * is late. */
static int not_outdated(const struct part *f)
{
	int contacts = f->contacts, i;

	for(i = 0; i < world->accepted_count; i++) {
		if(world->accepted[i].aor == f->aor && world->accepted[i].seq > f->seq)
			contacts &= ~world->accepted[i].contacts;
	}
	world->outdated += contacts != f->contacts;
	return contacts;
}

static void cms_accepts(struct part *f)
{
	struct accepted *a = &world->accepted[world->accepted_count];
	int contacts = f->contacts;

	check(world->accepted_count < EVENTS_MAX);
	if(f->late)
		contacts = not_outdated(f);
	else
		claim_order(f);
	if(contacts == 0)
		return;
	claim_silent(f);
	a->aor = f->aor;
	a->contacts = contacts;
	a->seq = f->seq;
	a->kind = f->kind;
	a->answered = false;
	a->exempt = database_trouble() || (f->late && f->exempt);
	a->unknown = f->late ? f->unknown : is_unknown(f->seq);
	f->log = world->accepted_count++;
	world->delivered++;
}

static void cms_refuses(struct part *f)
{
	check(world->refused_count < EVENTS_MAX);
	world->refused[world->refused_count++] = (struct accepted){
			.aor = f->aor, .contacts = f->contacts, .seq = f->seq};
}

void cms_accepts_all(struct flight *f)
{
	int i;

	f->status = 200;
	for(i = 0; i < f->count; i++) {
		f->parts[i].status = 200;
		cms_accepts(&f->parts[i]);
		trace("CMS: %d %d %" PRId64 ": 200\n", f->parts[i].aor,
				f->parts[i].contacts, f->parts[i].seq);
	}
}

/* A batch may have results of other kinds, too. */
static void cms_decides(struct part *p)
{
	if(cn_conf.batch_max > 1 && chance(10)) {
		p->status = chance(50) ? 503 : 0;
	} else if(chance(95)) {
		p->status = 200;
		cms_accepts(p);
	} else {
		p->status = 403;
		cms_refuses(p);
	}
	trace("CMS: %d %d %" PRId64 ": %d\n", p->aor, p->contacts, p->seq,
			p->status);
}

/* It has read a request. */
void step_cms(struct flight *f)
{
	int i;

	if(f->user == NULL || f->status != 0)
		return;
	if((int)dice(100) >= world->cms)
		f->status = chance(80) ? 503 : 500;
	else if(f->count > 1 && chance(10))
		f->status = 400; /* one of them is bad, whichever */
	else
		f->status = 200;
	for(i = 0; i < f->count && f->status == 200; i++)
		cms_decides(&f->parts[i]);
	/* there is no array round it */
	if(cn_conf.batch_max == 1 && f->status == 200)
		f->status = f->parts[0].status;
	trace("CMS: %d\n", f->status);
}

void flights_are_late(int64_t seq)
{
	int i, k;

	for(i = 0; i < FLIGHTS_MAX; i++) {
		for(k = 0; k < flights[i].count; k++) {
			if(flights[i].user && flights[i].status == 0
					&& flights[i].parts[k].seq == seq)
				flights[i].parts[k].late = true;
		}
	}
}

/* Nobody waits for an answer any more; that does not keep the CMS from reading. */
static void leave_behind(struct flight *f)
{
	int i;

	for(i = 0; i < f->count; i++) {
		f->parts[i].late = true;
		if(chance(50))
			world->late[world->late_count++ % LATE_MAX] = f->parts[i];
	}
}

void give_up_flights(void)
{
	int i;

	for(i = 0; i < FLIGHTS_MAX; i++) {
		if(flights[i].user && flights[i].status == 0)
			leave_behind(&flights[i]);
	}
}

bool step_cms_late(void)
{
	int n = world->late_count < LATE_MAX ? world->late_count : LATE_MAX;
	struct part *p;

	if(n == 0)
		return false;
	p = &world->late[dice((unsigned)n)];
	trace("late:\n");
	cms_decides(p);
	*p = world->late[n - 1];
	world->late_count = n - 1;
	return true;
}

static void end_flight(struct flight *f, const struct cn_http_result *result)
{
	void *user = f->user;
	int i;

	if(f->status == 0)
		leave_behind(f);
	stand_still(10);
	for(i = 0; i < f->count; i++) {
		/* an answer that comes too late is none */
		if(result->status == 200 && f->parts[i].log >= 0
				&& !step_http_is_decided(user, i))
			world->accepted[f->parts[i].log].answered = true;
	}
	if(result->cause == CN_CAUSE_none)
		answered_us = world->now_us;
	f->user = NULL;
	step_http_done(user, result);
}

static void write_results(const struct flight *f, char *text, size_t size)
{
	size_t n = snprintf(text, size, "[");
	int i;

	for(i = 0; i < f->count; i++) {
		if(f->parts[i].status == 0)
			continue;
		n += snprintf(text + n, size - n, "%s{\"id\":\"%s\",\"status\":%d}",
				n > 1 ? "," : "", f->parts[i].id, f->parts[i].status);
	}
	n += snprintf(text + n, size - n, "]");
	check(n < size);
	world->batches += f->count > 1;
}

/* Its answer arrives, or gets lost. */
void step_answer(struct flight *f)
{
	struct cn_http_result result = {.detail = ""};
	char text[BATCH_MAX * 100];

	if(f->user == NULL || f->status == 0)
		return;
	if(!now.quiet && chance(10)) {
		trace("the answer to %" PRId64 " gets lost\n", f->parts[0].seq);
		result.cause = CN_CAUSE_connect;
		result.lost = true;
	} else {
		result.status = f->status;
		result.cause = f->status >= 500 ? CN_CAUSE_http : CN_CAUSE_none;
		write_results(f, text, sizeof(text));
		if(cn_conf.batch_max > 1)
			result.body = stub_str(text);
	}
	end_flight(f, &result);
}

void give_up_late_flights(void)
{
	static const struct cn_http_result result = {
			.cause = CN_CAUSE_timeout, .lost = true, .detail = ""};
	int i;

	for(i = 0; i < FLIGHTS_MAX; i++) {
		if(flights[i].user && flights[i].deadline_us <= world->now_us)
			end_flight(&flights[i], &result);
	}
}
