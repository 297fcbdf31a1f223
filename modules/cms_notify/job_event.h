/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What is known of one REGISTER: plain data, pointing into the SIP message and
 * into scratch memory of the process. Valid while the message is handled. */

#ifndef CN_JOB_EVENT_H
#define CN_JOB_EVENT_H

#include "base.h"
#include "base_policy.h"

#define CN_ID_LEN 32
#define CN_TIME_LEN 24 /* 2026-11-23T06:32:10.123Z */

struct cn_contact
{
	str uri;
	str instance; /* as sent, with its angle brackets; empty: none */
	str received; /* empty: none */
	str path;	  /* empty: none */
	int expires;  /* seconds from now; 0: it leaves */
	unsigned reg_id;
	bool has_reg_id;
	enum cn_reason reason; /* NONE: the CMS need not know */
};

struct cn_event
{
	char id[CN_ID_LEN + 1];
	char time[CN_TIME_LEN + 1];
	int64_t seq;	 /* its number, see job_index.h; 0: none yet */
	str key;		 /* the AOR as usrloc knows it */
	unsigned hash;	 /* of the key */
	uint64_t device; /* of the key, see base_history.h; 0: none is kept */
	str aor;		 /* sip:user@domain */
	str username;
	str domain;
	str auth_user; /* empty: none */
	str realm;	   /* empty: none */
	str source_ip;
	unsigned source_port;
	const char *transport; /* udp, tcp, tls, ...; NULL: not known */
	unsigned share;		   /* of the source address, see admit_share.h */
	int live;	   /* contacts of the AOR once it has happened, -1: not known */
	int room;	   /* contacts more that registrar's max_contacts allows */
	int flaps;	   /* see base_history.h; -1: not known */
	uint64_t step; /* of this request, see base_history.h; 0: none yet */
	const char *refused; /* why save() is going to refuse it; NULL: is not */
	str user_agent;		 /* empty: none */
	str call_id;
	unsigned cseq;
	bool star;		/* Contact: * */
	bool improper;	/* save() would answer 200 without doing what it asks */
	bool gives_way; /* a binding has to, see reg_restart.h */
	enum cn_kind kind;
	enum cn_reason reason; /* of the first new contact; NONE: nothing new */
	struct cn_contact *contacts;
	int contact_count;
};

/* Give the event its id, which no other event of any server has, and its time.
 * Process: any. */
void cn_event_stamp(struct cn_event *ev);

/* Room that a copy of an event takes. */
size_t cn_event_size(const struct cn_event *ev);

/**
 * Copy an event with all that it points to.
 *
 * @param place cn_event_size() bytes, aligned for anything
 * @return the copy, at the beginning of that
 */
struct cn_event *cn_event_copy(const struct cn_event *ev, void *place);

/* Without its angle brackets; empty: none. */
str cn_bare_instance(const str *s);

/* Do two contacts mean the same device (identity: see base_conf.h)? */
bool cn_contact_same_instance(const str *a, const str *b);

#endif
