/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* HTTP requests to this server, which the module xhttp gives to the script: /metrics,
 * /livez, /readyz. With metrics_listen there is a port for them, on which nothing else is served. */

#ifndef CN_FACE_HTTP_H
#define CN_FACE_HTTP_H

#include "../../core/parser/msg_parser.h"

#include "base.h"

/**
 * Open the port, besides those of SIP.
 * Process: main, in mod_init, after cn_stop_watch_requests(): what is dropped here is
 * not to be seen there.
 *
 * @param listen "address:port"; NULL: no port of its own
 */
int cn_http_listen(const char *listen) CN_MUST;

/* cms_metrics() is used: make sure that it can answer. Process: main, while the script
 * is read. */
int cn_http_answer_init(void) CN_MUST;

/**
 * Answer, if it is for us.
 * Process: a SIP worker for TCP.
 *
 * @return false: nothing was sent. It came in elsewhere than where metrics_listen says,
 *         or it has another path and there is no such port
 */
bool cn_http_answer(struct sip_msg *msg);

#endif
