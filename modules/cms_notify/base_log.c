/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Writes Kamailio's log as the core does, but clean. In every process. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/events.h"
#include "../../core/ip_addr.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/timer.h"

#include "base_log.h"
#include "base_utf8.h"

#define CN_LINE_MAX 4096 /* what is longer is cut */

/* Whatever a stranger sends, there is one entry of his address within a minute: the
 * parser explains one bad byte in up to ten lines, before the script can drop
 * anything. What the script and this module say is not among them, nor what is for
 * debugging. Addresses share the places: whose is taken is silent. */
#define CN_SILENT_S 60
#define CN_PLACES 4096
/* Whoever has many addresses makes so many entries a second in each process. */
#define CN_SECOND_MAX 10

/* In shared memory: when there was an entry, 0: never; how many were left out. */
static struct
{
	atomic_t places[CN_PLACES];
	atomic_t noted;
	atomic_t left_out;
} * told_;

/* Of this process. */
static struct
{
	bool limited;
	struct ip_addr sender; /* of what is handled; af is 0: of nobody */
	unsigned second;
	int entries;
} now_;

static void write_line(const ksr_logdata_t *entry, const char *line)
{
	if(!log_stderr) {
		_km_log_func(entry->v_facility, "%s: %s\n", entry->v_lname, line);
		return;
	}
	if(log_color)
		dprint_color(entry->v_level);
	fprintf(stderr, "%2d(%d) %s: %s\n", process_no, my_pid(), entry->v_lname,
			line);
	if(log_color)
		dprint_color_reset();
}

static bool is_limited(const ksr_logdata_t *entry)
{
	return now_.limited && entry->v_level < L_DBG
		   && strcmp(entry->v_mname, "cms_notify") != 0
		   && strcmp(entry->v_mname, "xlog") != 0;
}

/* FNV-1a */
static unsigned hash_of(const void *bytes, size_t size)
{
	const unsigned char *p = bytes;
	unsigned hash = 0x811c9dc5u;
	size_t i;

	for(i = 0; i < size; i++)
		hash = (hash ^ p[i]) * 0x01000193u;
	return hash;
}

/* Where the entry belongs: to the address whose request is handled, an IPv6 network
 * (/64) being one; what is said of connections belongs to nobody whom we know, but
 * to its line of code. */
static atomic_t *place_of(const ksr_logdata_t *entry)
{
	const struct ip_addr *ip = &now_.sender;
	unsigned hash;

	if(ip->af == 0 || strstr(entry->v_fname, "core/tcp_") != NULL)
		hash = hash_of(entry->v_fname, strlen(entry->v_fname)) + entry->v_fline;
	else
		hash = hash_of(ip->u.addr, ip->af == AF_INET6 ? 8 : 4);
	return &told_->places[hash % CN_PLACES];
}

/* Is there none within the last minute? Then there is from now on. */
static bool take(atomic_t *place, int now)
{
	int last = atomic_get(place);

	if(last != 0 && now - last < CN_SILENT_S)
		return false;
	return atomic_cmpxchg(place, last, now) == last;
}

/* @return false: this process has written too many within the second */
static bool fits(unsigned now)
{
	if(now_.second != now)
		now_.entries = 0;
	now_.second = now;
	return now_.entries++ < CN_SECOND_MAX;
}

static void note_left_out(const ksr_logdata_t *entry, int now)
{
	ksr_logdata_t note = *entry;
	char text[80];
	int left_out = atomic_get(&told_->left_out);

	if(left_out == 0 || !take(&told_->noted, now))
		return;
	atomic_add(&told_->left_out, -left_out);
	snprintf(text, sizeof(text), "cms_notify: %d more entries were left out",
			left_out);
	note.v_lname = "WARNING";
	write_line(&note, text);
}

/* One of too many? */
static bool is_left_out(const ksr_logdata_t *entry)
{
	int now;

	if(!is_limited(entry))
		return false;
	now = (int)get_ticks() + CN_SILENT_S; /* never 0 */
	note_left_out(entry, now);
	if(take(place_of(entry), now) && fits(now))
		return false;
	atomic_inc(&told_->left_out);
	return true;
}

static int note_sender(sr_event_param_t *event)
{
	if(event->rcv)
		now_.sender = event->rcv->src_ip;
	return 0;
}

/* What a printf() has written into a place of that size. */
static int written(int n, int size)
{
	if(n < 0)
		return 0;
	return n < size ? n : size - 1;
}

/* Called by the macros of dprint.h. */
static void log_entry(ksr_logdata_t *entry, const char *format, ...)
{
	static char raw[CN_LINE_MAX + 1];
	static char line[CN_UTF8_SHOWN * CN_LINE_MAX + 1];
	str text = {raw, 0};
	va_list args;
	int room;

	if(is_left_out(entry))
		return;
	text.len = written(snprintf(raw, sizeof(raw), "%.*s%s%s%s", LOGV_PREFIX_LEN,
							   LOGV_PREFIX_STR, entry->v_locinfo, entry->v_func,
							   *entry->v_func ? _FUNC_SUFFIX_ : ""),
			sizeof(raw));
	room = sizeof(raw) - text.len;
	va_start(args, format);
	text.len += written(vsnprintf(raw + text.len, room, format, args), room);
	va_end(args);
	if(text.len > 0 && raw[text.len - 1] == '\n')
		text.len--;
	line[cn_utf8_show(&text, line)] = '\0';
	write_line(entry, line);
}

int cn_log_init(void)
{
	told_ = shm_mallocxz(sizeof(*told_));
	if(told_ == NULL) {
		SHM_MEM_ERROR;
		return -1;
	}
	if(sr_event_register_cb(SREV_NET_DATA_IN, note_sender) < 0)
		LM_WARN("too many modules look at what comes in: the log is limited "
				"for all senders together\n");
	if(_ksr_slog_func == NULL)
		_ksr_slog_func = log_entry;
	return 0;
}

void cn_log_limit(void)
{
	now_.limited = true;
}

void cn_log_destroy(void)
{
	if(_ksr_slog_func == log_entry)
		_ksr_slog_func = NULL;
	if(told_)
		shm_free(told_);
	told_ = NULL;
}
