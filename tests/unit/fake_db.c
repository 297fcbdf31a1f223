/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <ctype.h>
#include <inttypes.h>

#include "fake_db.h"

#define ROWS_MAX 4096
#define LOCKS_MAX 128

struct fake_db fake_db;

/* -------- the table -------- */

static const char *const names[] = {"event_id", "seq", "owner", "node", "aor",
		"contacts", "event", "reason", "created", "state", "attempts", "cause",
		"status", "body"};
#define COLUMNS ((int)(sizeof(names) / sizeof(names[0])))

struct cell
{
	char *text; /* NULL: NULL */
	int len;
};

struct row
{
	struct cell cells[COLUMNS];
};

struct table
{
	struct row rows[ROWS_MAX];
	int count;
};

static struct table committed, transaction;
static bool in_transaction;

static struct table *table(void)
{
	return in_transaction ? &transaction : &committed;
}

static void set_cell(struct cell *c, const char *s, int len)
{
	free(c->text);
	c->text = NULL;
	c->len = 0;
	if(s == NULL)
		return;
	c->text = malloc(len + 1);
	memcpy(c->text, s, len);
	c->text[len] = '\0';
	c->len = len;
}

static void free_row(struct row *row)
{
	int i;

	for(i = 0; i < COLUMNS; i++)
		set_cell(&row->cells[i], NULL, 0);
}

static void clear(struct table *t)
{
	while(t->count > 0)
		free_row(&t->rows[--t->count]);
}

static void copy_table(struct table *to, const struct table *from)
{
	int i, k;

	clear(to);
	for(i = 0; i < from->count; i++) {
		for(k = 0; k < COLUMNS; k++)
			set_cell(&to->rows[i].cells[k], from->rows[i].cells[k].text,
					from->rows[i].cells[k].len);
	}
	to->count = from->count;
}

static int column(const char *name, int len)
{
	int i;

	for(i = 0; i < COLUMNS; i++) {
		if((int)strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return i;
	}
	fail_msg("there is no column %.*s", len, name);
	return -1;
}

static int column_of(const char *name)
{
	return column(name, (int)strlen(name));
}

static int64_t number(const struct cell *c)
{
	return c->text ? strtoll(c->text, NULL, 10) : 0;
}

static struct row *row_of(struct table *t, const char *event_id)
{
	int i;

	for(i = 0; i < t->count; i++) {
		if(strcmp(t->rows[i].cells[0].text, event_id) == 0)
			return &t->rows[i];
	}
	return NULL;
}

int fake_db_rows(void)
{
	return committed.count;
}

const char *fake_db_value(const char *event_id, const char *name)
{
	struct row *row = row_of(&committed, event_id);

	return row ? row->cells[column_of(name)].text : NULL;
}

void fake_db_set(const char *event_id, const char *name, const char *value)
{
	struct row *row = row_of(&committed, event_id);

	if(row == NULL) {
		assert_true(committed.count < ROWS_MAX);
		row = &committed.rows[committed.count++];
		set_cell(&row->cells[0], event_id, (int)strlen(event_id));
	}
	set_cell(&row->cells[column_of(name)], value,
			value ? (int)strlen(value) : 0);
}

/* -------- connection, locks -------- */

static struct
{
	int session; /* changes when the driver connects again */
	int64_t ours[LOCKS_MAX], others[LOCKS_MAX];
	int our_count, other_count;
	int fail_in;
	enum fake_fault fault;
	bool failed;
} state;

static int find_lock(const int64_t *locks, int count, int64_t of)
{
	int i;

	for(i = 0; i < count && locks[i] != of; i++)
		;
	return i < count ? i : -1;
}

void fake_db_lock(int64_t of, bool held)
{
	int i = find_lock(state.others, state.other_count, of);

	if(held && i < 0)
		state.others[state.other_count++] = of;
	else if(!held && i >= 0)
		state.others[i] = state.others[--state.other_count];
}

bool fake_db_is_locked(int64_t of)
{
	return find_lock(state.ours, state.our_count, of) >= 0;
}

static int take_lock(int64_t of)
{
	if(find_lock(state.others, state.other_count, of) >= 0)
		return 0;
	assert_true(state.our_count < LOCKS_MAX);
	state.ours[state.our_count++] = of;
	return 1;
}

static int drop_lock(int64_t of)
{
	int i = find_lock(state.ours, state.our_count, of);

	assert_true(i >= 0); /* nobody gives up what he has not got */
	state.ours[i] = state.ours[--state.our_count];
	return 1;
}

/* The server ends the connection: what it was about is not done. */
static void end_session(void)
{
	in_transaction = false;
	clear(&transaction);
	state.our_count = 0;
	state.session++;
}

void fake_db_start(int version)
{
	fake_db_end();
	memset(&fake_db, 0, sizeof(fake_db));
	memset(&state, 0, sizeof(state));
	fake_db.version = version;
	fake_db.capabilities = DB_CAP_QUERY | DB_CAP_RAW_QUERY | DB_CAP_INSERT
						   | DB_CAP_DELETE | DB_CAP_UPDATE;
	fake_db.has_init2 = true;
	fake_db.text_type = DB1_STRING;
	fake_db.number_type = DB1_BIGINT;
	state.session = 1000;
}

void fake_db_end(void)
{
	in_transaction = false;
	clear(&transaction);
	clear(&committed);
}

void fake_db_fail_at(int n, enum fake_fault fault)
{
	state.fail_in = n;
	state.fault = fault;
	state.failed = false;
}

bool fake_db_has_failed(void)
{
	return state.failed;
}

/* @return true: this operation fails, as state.fault says */
static bool fails(void)
{
	fake_db.operations++;
	if(state.fail_in == 0 || --state.fail_in > 0)
		return false;
	state.failed = true;
	if(state.fault != FAKE_RECONNECT)
		return true;
	end_session();
	return false;
}

/* -------- results -------- */

static db1_res_t *new_result(int columns)
{
	db1_res_t *r = calloc(1, sizeof(*r));

	RES_COL_N(r) = columns;
	fake_db.results++;
	return r;
}

static db_val_t *add_row(db1_res_t *r)
{
	RES_ROWS(r) = realloc(RES_ROWS(r), (r->n + 1) * sizeof(db_row_t));
	ROW_VALUES(&RES_ROWS(r)[r->n]) = calloc(RES_COL_N(r), sizeof(db_val_t));
	return ROW_VALUES(&RES_ROWS(r)[r->n++]);
}

static void set_number(db_val_t *v, int64_t n)
{
	VAL_TYPE(v) = fake_db.number_type;
	switch(fake_db.number_type) {
		case DB1_DOUBLE:
			VAL_DOUBLE(v) = (double)n;
			break;
		case DB1_UBIGINT:
			VAL_UBIGINT(v) = (unsigned long long)n;
			break;
		default:
			VAL_TYPE(v) = DB1_BIGINT;
			VAL_BIGINT(v) = n;
			break;
	}
}

static void set_value(db_val_t *v, int col, const struct cell *c)
{
	static const char *const numbers =
			" seq owner created state attempts status ";
	char word[16];

	snprintf(word, sizeof(word), " %s ", names[col]);
	if(c->text == NULL) {
		VAL_TYPE(v) = DB1_STRING;
		VAL_NULL(v) = 1;
	} else if(strstr(numbers, word)) {
		set_number(v, number(c));
	} else if(strcmp(names[col], "body") == 0) {
		VAL_TYPE(v) = DB1_BLOB;
		VAL_BLOB(v) = stub_exact(c->text, c->len);
		VAL_FREE(v) = 1;
	} else if(fake_db.text_type == DB1_STRING) {
		VAL_TYPE(v) = DB1_STRING;
		VAL_STRING(v) = strdup(c->text);
		VAL_FREE(v) = 1;
	} else {
		VAL_TYPE(v) = fake_db.text_type;
		VAL_STR(v) = stub_exact(c->text, c->len);
		VAL_FREE(v) = 1;
	}
}

static db1_res_t *one_number(int64_t n)
{
	db1_res_t *r = new_result(1);

	set_number(add_row(r), n);
	return r;
}

static int free_result(db1_con_t *con, db1_res_t *r)
{
	int i, k;

	assert_non_null(con);
	for(i = 0; i < RES_ROW_N(r); i++) {
		db_val_t *v = ROW_VALUES(&RES_ROWS(r)[i]);

		for(k = 0; k < RES_COL_N(r); k++) {
			if(!VAL_FREE(&v[k]))
				continue;
			free(VAL_TYPE(&v[k]) == DB1_STRING ? (char *)VAL_STRING(&v[k])
											   : VAL_STR(&v[k]).s);
		}
		free(v);
	}
	free(RES_ROWS(r));
	free(r);
	fake_db.results--;
	return 0;
}

/* -------- statements -------- */

static const char *at; /* in the statement */

static bool is(const char *word)
{
	size_t n = strlen(word);

	while(*at == ' ')
		at++;
	if(strncmp(at, word, n) != 0)
		return false;
	at += n;
	return true;
}

static void want(const char *word)
{
	if(!is(word))
		fail_msg("wanted \"%s\" in the statement at: %s", word, at);
}

/* The word or number that is next. */
static int word(const char **start)
{
	while(*at == ' ')
		at++;
	*start = at;
	while(isalnum((unsigned char)*at) || *at == '_' || *at == '-')
		at++;
	return (int)(at - *start);
}

static int64_t read_number(void)
{
	const char *s;
	int len = word(&s);

	assert_in_range(len, 1, 20);
	return strtoll(s, NULL, 10);
}

/* 'text' or a number. */
static int read_literal(const char **s)
{
	int len;

	if(!is("'"))
		return word(s);
	*s = at;
	while(*at && *at != '\'')
		at++;
	len = (int)(at - *s);
	want("'");
	return len;
}

static void read_columns(int *columns, int *count)
{
	const char *s;
	int len;

	*count = 0;
	do {
		len = word(&s);
		columns[(*count)++] = column(s, len);
	} while(is(","));
}

static bool is_text(const struct cell *c, const char *s, int len)
{
	return c->text && c->len == len && memcmp(c->text, s, len) == 0;
}

/* SELECT seq FROM ... ORDER BY seq LIMIT n: the highest. */
static int64_t page_end(void);

/* All is read, whatever comes of it. */
static bool compare(const struct cell *c)
{
	const int64_t n = number(c);
	const char *s;
	int64_t to;
	int len;

	if(is("<>")) {
		to = read_number();
		return c->text && n != to;
	}
	if(is("<=")) {
		to = is("(SELECT COALESCE(MAX(p.seq), 0) FROM (") ? page_end()
														  : read_number();
		return c->text && n <= to;
	}
	if(is(">")) {
		to = read_number();
		return c->text && n > to;
	}
	want("=");
	len = read_literal(&s);
	return is_text(c, s, len);
}

static bool is_listed(const struct cell *c)
{
	const char *s;
	bool found = false;
	int len;

	want("(");
	do {
		len = read_literal(&s);
		found |= is_text(c, s, len);
	} while(is(","));
	want(")");
	return found;
}

/* WHERE a = 1 AND b <> 2 ..., read again for each row. */
static bool meets(const struct row *row, const char *conditions)
{
	bool all = true;
	const char *s;
	int len;

	at = conditions;
	do {
		const struct cell *c;

		len = word(&s);
		c = &row->cells[column(s, len)];
		all &= is("IN") ? is_listed(c) : compare(c);
	} while(is("AND"));
	return all;
}

static int by_seq(const void *a, const void *b)
{
	int64_t p = number(&(*(struct row *const *)a)->cells[1]);
	int64_t q = number(&(*(struct row *const *)b)->cells[1]);

	return p < q ? -1 : p > q;
}

/* The rows that meet the conditions; at is behind these afterwards. */
static int choose(struct row **rows)
{
	const char *conditions;
	struct row none = {0};
	int i, n = 0;

	want("FROM " FAKE_TABLE " WHERE");
	conditions = at;
	for(i = 0; i < table()->count; i++) {
		if(meets(&table()->rows[i], conditions))
			rows[n++] = &table()->rows[i];
	}
	(void)meets(&none, conditions);
	return n;
}

/* It is the same for each row that is compared: read once for a statement. */
static struct
{
	const char *from, *to;
	int64_t seq;
} page;

static int64_t page_end(void)
{
	static struct row *rows[ROWS_MAX];
	int n, limit;

	if(page.from == at) {
		at = page.to;
		return page.seq;
	}
	page.from = at;
	want("SELECT seq");
	n = choose(rows);
	want("ORDER BY seq LIMIT");
	limit = (int)read_number();
	want(") p)");
	qsort(rows, n, sizeof(rows[0]), by_seq);
	if(n > limit)
		n = limit;
	page.seq = n > 0 ? number(&rows[n - 1]->cells[1]) : 0;
	page.to = at;
	return page.seq;
}

static db1_res_t *select_columns(void)
{
	static struct row *rows[ROWS_MAX];
	int columns[COLUMNS], count, n, i, k;
	db1_res_t *r;

	read_columns(columns, &count);
	n = choose(rows);
	if(is("ORDER BY seq"))
		qsort(rows, n, sizeof(rows[0]), by_seq);
	r = new_result(count);
	for(i = 0; i < n; i++) {
		db_val_t *v = add_row(r);

		for(k = 0; k < count; k++)
			set_value(&v[k], columns[k], &rows[i]->cells[columns[k]]);
	}
	return r;
}

static db1_res_t *select_owners(void)
{
	static struct row *rows[ROWS_MAX];
	db1_res_t *r = new_result(2);
	int n = choose(rows), limit, i, k;

	want("GROUP BY owner LIMIT");
	limit = (int)read_number();
	for(i = 0; i < n && RES_ROW_N(r) < limit; i++) {
		int64_t owner = number(&rows[i]->cells[2]), count = 0;
		db_val_t *v;

		for(k = 0; k < i && number(&rows[k]->cells[2]) != owner; k++)
			;
		if(k < i)
			continue;
		for(; k < n; k++)
			count += number(&rows[k]->cells[2]) == owner;
		v = add_row(r);
		set_number(&v[0], owner);
		set_number(&v[1], count);
	}
	return r;
}

static db1_res_t *select_count(void)
{
	static struct row *rows[ROWS_MAX];

	return one_number(choose(rows));
}

static db1_res_t *select_highest(void)
{
	int64_t highest = 0, owner, lease;
	db1_res_t *r = new_result(1);
	db_val_t *v = add_row(r);
	int i, n = 0;

	want("FROM " FAKE_TABLE " WHERE owner =");
	owner = read_number();
	want("OR state <>");
	lease = read_number();
	for(i = 0; i < table()->count; i++) {
		const struct cell *cells = table()->rows[i].cells;

		if(number(&cells[2]) != owner
				&& number(&cells[column("state", 5)]) == lease)
			continue;
		n++;
		if(number(&cells[1]) > highest)
			highest = number(&cells[1]);
	}
	set_number(v, highest);
	VAL_NULL(v) = n == 0;
	return r;
}

static db1_res_t *update(void)
{
	static struct row *rows[ROWS_MAX];
	struct
	{
		int column, len;
		const char *s;
	} set[COLUMNS];
	int count = 0, n, i, k;
	const char *conditions, *s;

	want(FAKE_TABLE " SET");
	do {
		int len = word(&s);

		set[count].column = column(s, len);
		want("=");
		set[count].len = read_literal(&set[count].s);
		count++;
	} while(is(","));
	want("WHERE");
	conditions = at;
	for(i = n = 0; i < table()->count; i++) {
		if(meets(&table()->rows[i], conditions))
			rows[n++] = &table()->rows[i];
	}
	for(i = 0; i < n; i++) {
		for(k = 0; k < count; k++)
			set_cell(&rows[i]->cells[set[k].column], set[k].s, set[k].len);
	}
	at += strlen(at); /* read already, if there was a row to compare with */
	return new_result(0);
}

static db1_res_t *delete_rows(void)
{
	struct table *t = table();
	const char *conditions;
	int i;

	want("FROM " FAKE_TABLE " WHERE");
	conditions = at;
	for(i = t->count - 1; i >= 0; i--) {
		if(!meets(&t->rows[i], conditions))
			continue;
		free_row(&t->rows[i]);
		t->rows[i] = t->rows[--t->count];
		memset(&t->rows[t->count], 0, sizeof(t->rows[0]));
	}
	at += strlen(at);
	return new_result(0);
}

static db1_res_t *lock_statement(void)
{
	int64_t n;

	if(is("SELECT CASE WHEN pg_try_advisory_lock(")) {
		n = take_lock(read_number());
		want(") THEN 1 ELSE 0 END");
	} else if(is("SELECT GET_LOCK('cms_notify:")) {
		n = take_lock(read_number());
		want("', 0)");
	} else if(is("SELECT pg_advisory_unlock(")) {
		n = drop_lock(read_number());
		want(")");
	} else if(is("SELECT RELEASE_LOCK('cms_notify:")) {
		n = drop_lock(read_number());
		want("')");
	} else {
		return NULL;
	}
	return one_number(n);
}

static void begin(void)
{
	assert_false(in_transaction);
	copy_table(&transaction, &committed);
	in_transaction = true;
}

/* As databases do: with no transaction there is nothing to do, and no error. */
static void commit(void)
{
	if(!in_transaction)
		return;
	copy_table(&committed, &transaction);
	clear(&transaction);
	in_transaction = false;
}

static db1_res_t *setting(void)
{
	at += strlen(at);
	return new_result(0);
}

static db1_res_t *run(void)
{
	db1_res_t *r = lock_statement();

	if(r)
		return r;
	if(is("BEGIN"))
		return begin(), new_result(0);
	if(is("COMMIT"))
		return commit(), new_result(0);
	if(is("PRAGMA busy_timeout = ") || is("SET ") || is("SELECT set_config("))
		return setting();
	if(is("SELECT pg_backend_pid()") || is("SELECT CONNECTION_ID()"))
		return one_number(state.session);
	if(is("SELECT MAX(seq)"))
		return select_highest();
	if(is("SELECT owner, COUNT(*)"))
		return select_owners();
	if(is("SELECT COUNT(*)"))
		return select_count();
	if(is("SELECT"))
		return select_columns();
	if(is("UPDATE"))
		return update();
	if(is("DELETE"))
		return delete_rows();
	fail_msg("a statement that outbox_table.c does not make: %s", at);
	return NULL;
}

static void note(const char *statement)
{
	size_t n = strlen(fake_db.statements);

	if(n > sizeof(fake_db.statements) / 2) /* the latest will do */
		n = 0;
	snprintf(fake_db.statements + n, sizeof(fake_db.statements) - n, "%s\n",
			statement);
}

bool fake_db_was_asked(const char *statement)
{
	const char *line = fake_db.statements;

	while(line && *line) {
		if(strncmp(line, statement, strlen(statement)) == 0)
			return true;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

/* -------- the driver -------- */

static db1_con_t connection;
static int connections; /* so that a closed one is not used */

static void must_be_open(const db1_con_t *con)
{
	assert_ptr_equal(con, &connection);
	assert_int_equal(connections, 1);
}

static db1_con_t *connect_to(const str *url)
{
	if(fails())
		return NULL;
	assert_int_equal(connections, 0);
	fake_db.connections = connections = 1;
	return &connection;
}

static db1_con_t *connect_alone(const str *url, db_pooling_t pooling)
{
	assert_int_equal(pooling, DB_POOLING_NONE);
	assert_true(fake_db.has_init2);
	return connect_to(url);
}

static void disconnect(db1_con_t *con)
{
	must_be_open(con);
	assert_int_equal(fake_db.results, 0); /* they would be read afterwards */
	end_session();
	fake_db.connections = connections = 0;
}

static int use_table(db1_con_t *con, const str *name)
{
	must_be_open(con);
	assert_str(*name, FAKE_TABLE);
	return fails() ? -1 : 0;
}

static int raw_query(const db1_con_t *con, const str *sql, db1_res_t **result)
{
	char text[16384];

	must_be_open(con);
	*result = NULL;
	assert_true(sql->len < (int)sizeof(text));
	memcpy(text, sql->s, sql->len);
	text[sql->len] = '\0';
	note(text);
	if(fails())
		return state.fault == FAKE_NO_RESULT ? 0 : -1;
	at = text;
	memset(&page, 0, sizeof(page));
	*result = run();
	while(*at == ' ')
		at++;
	assert_string_equal(at, "");
	return 0;
}

static void set_from_value(struct cell *c, const db_val_t *v)
{
	char text[32];

	assert_false(VAL_NULL(v));
	switch(VAL_TYPE(v)) {
		case DB1_INT:
			snprintf(text, sizeof(text), "%d", VAL_INT(v));
			set_cell(c, text, (int)strlen(text));
			break;
		case DB1_BIGINT:
			snprintf(text, sizeof(text), "%lld", VAL_BIGINT(v));
			set_cell(c, text, (int)strlen(text));
			break;
		case DB1_STRING:
			set_cell(c, VAL_STRING(v), (int)strlen(VAL_STRING(v)));
			break;
		case DB1_BLOB:
			set_cell(c, VAL_BLOB(v).s, VAL_BLOB(v).len);
			break;
		default:
			fail_msg("a value of type %d", VAL_TYPE(v));
	}
}

static int insert(const db1_con_t *con, const db_key_t *keys,
		const db_val_t *values, const int count)
{
	struct row row = {0};
	int i;

	must_be_open(con);
	note("INSERT");
	if(fails())
		return -1;
	for(i = 0; i < count; i++)
		set_from_value(
				&row.cells[column(keys[i]->s, keys[i]->len)], &values[i]);
	if(row_of(table(), row.cells[0].text)) { /* its key */
		free_row(&row);
		return -1;
	}
	assert_true(table()->count < ROWS_MAX);
	table()->rows[table()->count++] = row;
	return 0;
}

int db_bind_mod(const str *url, db_func_t *functions)
{
	if(fails())
		return -1;
	memset(functions, 0, sizeof(*functions));
	functions->cap = fake_db.capabilities;
	functions->use_table = use_table;
	functions->init = connect_to;
	functions->init2 = fake_db.has_init2 ? connect_alone : NULL;
	functions->close = disconnect;
	functions->raw_query = raw_query;
	functions->free_result = free_result;
	functions->insert = insert;
	return 0;
}

int db_check_table_version(db_func_t *functions, db1_con_t *con,
		const str *name, const unsigned version)
{
	must_be_open(con);
	if(fails())
		return -1;
	assert_str(*name, FAKE_TABLE);
	return (int)version == fake_db.version ? 0 : -1;
}
