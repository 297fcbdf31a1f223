/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* cms_notify.device: all that is known of one device. Process: any that serves
 * RPC. */

#ifndef CN_FACE_DEVICE_H
#define CN_FACE_DEVICE_H

#include "../../core/rpc.h"

#include "job_index.h"

void cn_device_show(rpc_t *rpc, void *ctx);

/* For other commands as well: */

/* As the log shows it: no device moves the cursor of who asks. Until the next
 * call. */
char *cn_shown(const char *what);

const char *cn_parked_state(const struct cn_index_row *row);

#endif
