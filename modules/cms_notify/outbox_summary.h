/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the outbox process shows of itself. Process: outbox. */

#ifndef CN_OUTBOX_SUMMARY_H
#define CN_OUTBOX_SUMMARY_H

#include "base.h"

/**
 * Publish it.
 *
 * @param next_us when something is delivered again, INT64_MAX: not known
 * @return when it is to be called again, if nothing happens; INT64_MAX: never
 */
int64_t cn_summary_publish(int64_t now, int64_t next_us);

#endif
