/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/ut.h"
#include "../../core/rand/cryptorand.h"

#include "stubs.h"

/* -------- limits -------- */

struct cn_limits stub_limits = {.drain_timeout_ms = 3000};
__attribute__((weak)) const volatile struct cn_limits *cn_limits = &stub_limits;

/* -------- other modules -------- */

/* None; fake_modules.c and some tests have their own. */
__attribute__((weak)) void *find_module_by_name(const char *name)
{
	(void)name;
	return NULL;
}

/* -------- sanitizers -------- */

/* A crash is theirs to explain, not cmocka's to hide, and never looks like an
 * ordinary exit. */
const char *__asan_default_options(void)
{
	return "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2:"
		   "handle_abort=2:exitcode=99:detect_stack_use_after_return=1";
}

const char *__ubsan_default_options(void)
{
	return "print_stacktrace=1:exitcode=99";
}

/* -------- memory -------- */

enum pool
{
	POOL_PKG = 0x706b67,
	POOL_SHM = 0x73686d,
	POOL_SHM_SHARED = 0x736873,
	POOL_FREE = 0x66726565
};

struct block
{
	enum pool pool;
	size_t size;
} __attribute__((aligned(16)));

static struct
{
	int fail_in;
	bool failed;
	bool shared;
	int shm_blocks; /* counted by threads */
	int pkg_blocks;
} memory;

static bool must_fail(void)
{
	if(memory.fail_in == 0 || --memory.fail_in > 0)
		return false;
	memory.failed = true;
	if(getenv("STUBS_TRACE"))
		__sanitizer_print_stack_trace();
	return true;
}

void stub_fail_at(int n)
{
	memory.fail_in = n;
	memory.failed = false;
}

bool stub_has_failed(void)
{
	return memory.failed;
}

int stub_shm_blocks(void)
{
	return memory.shm_blocks;
}

int stub_pkg_blocks(void)
{
	return memory.pkg_blocks;
}

void stub_share_shm(bool shared)
{
	memory.shared = shared;
}

int stub_each_allocation(void (*scenario)(void))
{
	int shm = memory.shm_blocks, pkg = memory.pkg_blocks, n = 0;

	do {
		stub_fail_at(++n);
		scenario();
		memory.fail_in = 0;
		if(memory.shm_blocks != shm || memory.pkg_blocks != pkg)
			print_error("after allocation number %d failed:\n", n);
		assert_int_equal(memory.shm_blocks, shm);
		assert_int_equal(memory.pkg_blocks, pkg);
	} while(memory.failed);
	return n - 1;
}

void *stub_malloc(size_t size)
{
	return must_fail() ? NULL : malloc(size);
}

void *stub_calloc(size_t n, size_t size)
{
	return must_fail() ? NULL : calloc(n, size);
}

void *stub_realloc(void *p, size_t size)
{
	return must_fail() ? NULL : realloc(p, size);
}

char *stub_strdup(const char *s)
{
	return must_fail() ? NULL : strdup(s);
}

static int *blocks_of(enum pool pool)
{
	return pool == POOL_PKG ? &memory.pkg_blocks : &memory.shm_blocks;
}

static void *take(enum pool pool, size_t size)
{
	struct block *b;

	if(must_fail())
		return NULL;
	b = pool == POOL_SHM_SHARED ? stub_shared(sizeof(*b) + size)
								: malloc(sizeof(*b) + size);
	if(b == NULL)
		abort();
	b->pool = pool;
	b->size = size;
	if(pool != POOL_SHM_SHARED)
		memset(b + 1, 0xa5, size); /* not zero, as in Kamailio */
	__atomic_add_fetch(blocks_of(pool), 1, __ATOMIC_SEQ_CST);
	return b + 1;
}

static void give_back(bool shm, void *p)
{
	struct block *b;

	if(p == NULL)
		return;
	b = (struct block *)p - 1;
	if(shm ? b->pool != POOL_SHM && b->pool != POOL_SHM_SHARED
		   : b->pool != POOL_PKG) {
		fprintf(stderr, "%s_free() of memory that is not from there\n",
				shm ? "shm" : "pkg");
		abort();
	}
	__atomic_sub_fetch(blocks_of(b->pool), 1, __ATOMIC_SEQ_CST);
	if(b->pool == POOL_SHM_SHARED) {
		munmap(b, sizeof(*b) + b->size);
	} else {
		b->pool = POOL_FREE;
		free(b);
	}
}

#ifdef DBG_SR_MEMORY
#define WHERE \
	, const char *file, const char *func, unsigned int line, const char *name
#else
#define WHERE
#endif

static void *pkg_take(void *unused, size_t size WHERE)
{
	return take(POOL_PKG, size);
}

static void *pkg_take_zeroed(void *unused, size_t size WHERE)
{
	void *p = take(POOL_PKG, size);

	return p ? memset(p, 0, size) : NULL;
}

static void pkg_give_back(void *unused, void *p WHERE)
{
	give_back(false, p);
}

static void *pkg_resize(void *unused, void *p, size_t size WHERE)
{
	void *more = take(POOL_PKG, size);
	const struct block *b;

	if(p == NULL || more == NULL)
		return more;
	b = (const struct block *)p - 1;
	memcpy(more, p, b->size < size ? b->size : size);
	give_back(false, p);
	return more;
}

static void *shm_take(void *unused, size_t size WHERE)
{
	return take(memory.shared ? POOL_SHM_SHARED : POOL_SHM, size);
}

static void *shm_take_zeroed(void *unused, size_t size WHERE)
{
	void *p = take(memory.shared ? POOL_SHM_SHARED : POOL_SHM, size);

	return p ? memset(p, 0, size) : NULL;
}

static void shm_give_back(void *unused, void *p WHERE)
{
	give_back(true, p);
}

/* What is not here is not for the module to use: a call would end the test. */
sr_pkg_api_t _pkg_root = {
		.xmalloc = pkg_take,
		.xmallocxz = pkg_take_zeroed,
		.xrealloc = pkg_resize,
		.xfree = pkg_give_back,
};

sr_shm_api_t _shm_root = {
		.xmalloc = shm_take,
		.xmallocxz = shm_take_zeroed,
		.xfree = shm_give_back,
};

/* -------- log -------- */

#define LOG_SIZE 65536

static struct
{
	char *text; /* shared by all processes */
} logged;

__attribute__((constructor)) static void make_log(void)
{
	logged.text = stub_shared(LOG_SIZE);
}

static void keep_log(ksr_logdata_t *data, const char *format, ...)
{
	size_t n = strlen(logged.text);
	va_list args;

	n += snprintf(logged.text + n, LOG_SIZE - n, "%s: ", data->v_lname);
	if(n >= LOG_SIZE)
		abort();
	va_start(args, format);
	n += vsnprintf(logged.text + n, LOG_SIZE - n, format, args);
	va_end(args);
	if(n >= LOG_SIZE)
		abort();
}

const char *stub_log(void)
{
	return logged.text;
}

void stub_clear_log(void)
{
	logged.text[0] = '\0';
}

void assert_logged(const char *level, const char *part)
{
	const char *line_end = strchr(logged.text, '\n');

	if(strncmp(logged.text, level, strlen(level)) != 0
			|| logged.text[strlen(level)] != ':'
			|| strstr(logged.text, part) == NULL || line_end == NULL
			|| line_end[1] != '\0')
		fail_msg("wanted one line, %s: ...%s...; got: %s", level, part,
				logged.text);
	stub_clear_log();
}

void assert_nothing_logged(void)
{
	assert_string_equal(logged.text, "");
}

ksr_slog_f _ksr_slog_func = keep_log;
km_log_f _km_log_func;
struct log_level_info log_level_info[] = {{"ALERT", LOG_ALERT},
		{"BUG", LOG_CRIT}, {"CRITICAL", LOG_CRIT}, {"CRITICAL", LOG_CRIT},
		{"ERROR", LOG_ERR}, {"WARNING", LOG_WARNING}, {"NOTICE", LOG_NOTICE},
		{"INFO", LOG_INFO}, {"DEBUG", LOG_DEBUG}};
int log_stderr;
int log_color;
str *log_prefix_val;
volatile int dprint_crit;
int process_no;

int my_pid(void)
{
	return getpid();
}

int get_debug_level(char *name, int len)
{
	return L_INFO;
}

int get_debug_facility(char *name, int len)
{
	return LOG_DAEMON;
}

void dprint_color(int level)
{
}

void dprint_color_reset(void)
{
}

/* -------- the rest of the core -------- */

static struct cfg_group_core core = {.pv_cache_limit = 2048};
void *core_cfg = &core;
int route_type;
char ut_buf_int2str[INT2STR_MAX_LEN];

/* its parameters differ between versions */
int km_parse_avp_spec(void *name, void *type, void *avp_name)
{
	return -1;
}

/* -------- processes -------- */

void *stub_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if(p == MAP_FAILED)
		abort();
	return p;
}

#ifdef STUBS_COVERAGE
void __gcov_dump(void);
#else
#define __gcov_dump() (void)0
#endif

void stub_exit(int status)
{
	__gcov_dump();
	_exit(status);
}

pid_t stub_fork(void (*f)(void *arg), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if(pid < 0)
		abort();
	if(pid == 0) {
		alarm(300);
		f(arg);
		stub_exit(0);
	}
	return pid;
}

void stub_wait(pid_t pid)
{
	int status;

	while(waitpid(pid, &status, 0) < 0) {
		if(errno != EINTR)
			fail_msg("the child has gone: %s", strerror(errno));
	}
	if(WIFSIGNALED(status))
		fail_msg("the child was ended by signal %d", WTERMSIG(status));
	if(WEXITSTATUS(status) != 0)
		fail_msg("the child ended with %d, see above", WEXITSTATUS(status));
}

void stub_in_child(void (*f)(void *arg), void *arg)
{
	stub_wait(stub_fork(f, arg));
}

struct barrier
{
	pthread_barrier_t barrier;
};

struct barrier *stub_barrier(int n)
{
	struct barrier *b = stub_shared(sizeof(*b));
	pthread_barrierattr_t attr;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&b->barrier, &attr, n);
	return b;
}

void stub_meet(struct barrier *b)
{
	pthread_barrier_wait(&b->barrier);
}

/* -------- strings and dice -------- */

str stub_str(const char *s)
{
	return (str){(char *)s, strlen(s)};
}

str stub_exact(const char *s, int len)
{
	str copy = {malloc(len > 0 ? len : 1), len};

	if(copy.s == NULL)
		abort();
	if(len > 0)
		memcpy(copy.s, s, len);
	return copy;
}

/* splitmix64 */
uint32_t stub_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}
