/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The events that tests are made of. */

#ifndef EVENTS_H
#define EVENTS_H

#include <limits.h>

#include "stubs.h"

#include "job_event.h"

/* gzj of the published example, with one new contact. */
struct test_event
{
	struct cn_event ev;
	struct cn_contact contacts[4];
};

static inline void set_contact(
		struct cn_contact *c, const char *uri, const char *instance)
{
	memset(c, 0, sizeof(*c));
	c->uri = stub_str(uri);
	c->instance = stub_str(instance);
	c->expires = 3600;
	c->reason = CN_REASON_NEW;
}

static inline struct cn_event *make_event(struct test_event *t)
{
	struct cn_event *ev = &t->ev;

	memset(t, 0, sizeof(*t));
	strcpy(ev->id, "4f0c0000000000000000000000000001");
	strcpy(ev->time, "2026-11-23T06:32:10.123Z");
	ev->key = STR("gzj@telecom.com");
	ev->hash = 4711;
	ev->aor = STR("sip:gzj@telecom.com");
	ev->username = STR("gzj");
	ev->domain = STR("telecom.com");
	ev->auth_user = STR("gzj");
	ev->realm = STR("kedacom.com");
	ev->source_ip = STR("172.16.163.3");
	ev->source_port = 7000;
	ev->transport = "udp";
	ev->user_agent = STR("TELECOM ncsip/1.0");
	ev->call_id = STR("5705@172.16.163.3");
	ev->cseq = 2;
	ev->reason = CN_REASON_NEW;
	set_contact(&t->contacts[0], "sip:gzj@172.16.163.3:7000", "");
	t->contacts[0].received = STR("sip:172.16.163.3:7000");
	ev->contacts = t->contacts;
	ev->contact_count = 1;
	ev->room = INT_MAX;
	ev->live = 1;
	return ev;
}

#endif
