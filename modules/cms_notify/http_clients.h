/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* The client that POSTs go out by; and, when files were read again, those before it
 * until their POSTs have ended. So nothing that is new goes out with what is old, and
 * nothing fails. Process: HTTP. */

#ifndef CN_HTTP_CLIENTS_H
#define CN_HTTP_CLIENTS_H

#include "http_client.h"

#define CN_CLIENTS_FDS_MAX 4

/**
 * @param most POSTs that may be under way at once, with all clients
 * @param fds  descriptors that end cn_clients_run() when they are written to; as
 *             many as CN_CLIENTS_FDS_MAX
 */
int cn_clients_set_up(
		int most, cn_http_done_f done, const int *fds, int count) CN_MUST;

/* For the next POST, with what the files say now. */
struct cn_http *cn_clients_now(void);

/* For another attempt of a POST whose last one has just been reported by this client: a
 * POST ends with the endpoints that it began with. Where they are still the same, with
 * what the files say now. */
struct cn_http *cn_clients_again(struct cn_http *before);

/* Wait for something to happen, at most timeout_ms (-1: no limit), and do it.
 *
 * @param looks this process looks for changes of the files */
void cn_clients_run(int timeout_ms, bool looks);

#endif
