/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What devices did last: steps, in rings of shared memory of a fixed size. A new
 * step takes the place of the oldest one of all. A step that is like the last one
 * of its device is counted there, so that who repeats himself pushes nobody out. */

#ifndef CN_BASE_HISTORY_H
#define CN_BASE_HISTORY_H

#include "base_policy.h"

/* name in code, name for operators */
#define CN_STEPS(X)                                                \
	X(REGISTER, "register") /* new: the CMS is asked */            \
	X(JOINED, "joined")		/* shares another's verdict */         \
	X(EARLY, "early")		/* new, before its moment */           \
	X(REFRESH, "refresh")                                          \
	X(UNREGISTER, "unregister")                                    \
	X(QUERY, "query")	  /* nothing to be bound */                \
	X(REFUSED, "refused") /* by this server */                     \
	X(SCRIPT, "refused")  /* before cms_notify(), by the script */ \
	X(EXPIRED, "expired")                                          \
	X(OFFLINE, "offline")                                          \
	X(DELIVERED, "delivered") /* from the outbox */                \
	X(DEAD, "dead")			  /* became a dead letter */

enum cn_step_kind
{
#define CN_X(name, text) CN_STEP_##name,
	CN_STEPS(CN_X)
#undef CN_X
			CN_STEP_COUNT
};

#define CN_STEP_ID 16	/* bytes: the event's id, which is written in hex */
#define CN_STEP_TEXT 30 /* of an answer or a reason; what is longer is cut */

/* Plain data, as small as it can be. */
struct cn_step
{
	uint64_t device; /* see cn_history_device() */
	int64_t time_us; /* since 1970; of the last one of those alike */
	unsigned char id[CN_STEP_ID];
	unsigned char ip[16];
	uint32_t cseq;
	uint32_t expires; /* seconds that it asked for */
	uint32_t elapsed_ms;
	uint32_t times;	 /* alike, one after the other */
	uint32_t hour_s; /* since when flaps and places count; seconds since 1970 */
	uint16_t flaps;
	uint16_t status; /* HTTP; 0: none */
	uint16_t port;
	uint8_t places;	   /* that its device has taken in its hour */
	uint8_t ip_len;	   /* 0: it did not come from anywhere */
	uint8_t transport; /* Kamailio's number */
	uint8_t kind;
	uint8_t reason;
	uint8_t verdict; /* CN_STEP_VERDICT(); 0: none, or not yet */
	uint8_t cause;
	uint8_t contacts;
	char text[CN_STEP_TEXT]; /* NUL-terminated only where there is room */
};
#define CN_STEP_VERDICT(verdict) ((verdict) + 1)

/**
 * Process: main, before any fork.
 *
 * @param size   steps that there is room for, and a quarter of that for those of
 *               CN_STEP_SCRIPT, which strangers can cause; 0: none is kept, and
 *               everything here may be called all the same
 * @param secret who does not know it cannot tell which devices share a place
 */
int cn_history_init(int size, const char *secret) CN_MUST;
void cn_history_destroy(void);

const char *cn_step_name(int kind);
void cn_step_set_text(struct cn_step *step, const char *text, int len);
/* Of the 32 digits of an event's id. */
void cn_step_set_id(struct cn_step *step, const str *id);

/* A device, as the functions below take it; 0: no name, or nothing is kept. */
uint64_t cn_history_device(const str *key);

/* -------- writing; process: any. A lock for the copy of a step -------- */

/**
 * Keep a step.
 *
 * @param number of the step whose place it takes, if that is there still; 0: none
 * @param step   its time, how often it was there and its hour are set here
 * @return its number; 0: it is not kept
 */
uint64_t cn_history_put(uint64_t number, struct cn_step *step);

/* One of which nothing is known but the kind. */
void cn_history_note(const str *key, enum cn_step_kind kind);

/**
 * A step has its verdict: what is set in `end` takes the place of what was there,
 * but for where it came from and what it asked for.
 *
 * @param counts it is a new registration, by which flapping is counted
 * @return new registrations of the device in its hour, with this one; 0: it does
 *         not count, or it is not known
 */
unsigned cn_history_end(
		uint64_t number, const struct cn_step *end, bool counts);

/* -------- reading; process: any -------- */

/* New registrations of a device in an hour, which begins with its first step;
 * -1: nothing is kept. */
int cn_history_flaps(uint64_t device);

#define CN_HISTORY_SHOWN 16

/* @return how many, the newest first, at most CN_HISTORY_SHOWN */
int cn_history_read(uint64_t device, struct cn_step steps[CN_HISTORY_SHOWN]);

#endif
