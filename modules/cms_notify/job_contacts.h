/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Which contacts an event is about, as text that can be stored and compared: a
 * digest of each, by what tells one device from another (identity: see
 * base_conf.h), with blanks between. */

#ifndef CN_JOB_CONTACTS_H
#define CN_JOB_CONTACTS_H

#include "job_event.h"

#define CN_CONTACTS_MAX 255

/**
 * Of the contacts that the CMS is told of.
 *
 * @param text room for CN_CONTACTS_MAX + 1 bytes; where it is too small for a
 *             digest of each, it holds one of them all
 */
void cn_contacts_write(const struct cn_event *ev, char *text);

/* Is every contact of the one also in the other? */
bool cn_contacts_within(const char *part, const char *whole);

/* Have they a contact in common? Where there was no room for a digest of each:
 * yes, as far as anybody knows. */
bool cn_contacts_overlap(const char *a, const char *b);

#endif
