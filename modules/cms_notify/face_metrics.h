/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Everything that is counted, as one text for Prometheus. Reads shared memory; the
 * locks that it takes are held for a few instructions. */

#ifndef CN_FACE_METRICS_H
#define CN_FACE_METRICS_H

#include "base.h"

/**
 * Process: any that serves RPC or HTTP.
 *
 * @param open_metrics the format of OpenMetrics 1.0, not that of Prometheus
 * @param text         to be freed with pkg_free(); ends with a NUL that is not counted
 * @return 0, or -1: out of memory
 */
int cn_metrics_write(bool open_metrics, str *text) CN_MUST;

#endif
