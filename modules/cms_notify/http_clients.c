/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Takes a new client when files and settings have been read again. In the HTTP
 * processes. */

#include "../../core/dprint.h"

#include "http_clients.h"
#include "http_reload.h"

/* Clients whose POSTs have not ended; after so many the next reading waits. */
#define CN_OLD_MAX 8
/* How often they are looked at. */
#define CN_OLD_LOOK_MS 5

static struct
{
	int most;
	cn_http_done_f done;
	int fds[CN_CLIENTS_FDS_MAX + 1]; /* with the one of http_reload */
	int fd_count;
	struct cn_http *now;
	unsigned number; /* of the reading that it is from */
	struct cn_http *old[CN_OLD_MAX];
	int old_count;
} clients;

static void free_client(struct cn_http *http)
{
	struct cn_endpoints list = *cn_http_endpoints(http);

	cn_http_free(http);
	cn_endpoints_give_back(&list);
}

static struct cn_http *new_client(struct cn_fault *fault)
{
	struct cn_endpoints list;
	struct cn_http *http;
	int i;

	cn_endpoints_take(&list);
	http = cn_http_new(clients.most, clients.done, &list, fault);
	if(http == NULL)
		cn_endpoints_give_back(&list);
	for(i = 0; http && i < clients.fd_count; i++) {
		if(cn_http_watch(http, clients.fds[i]) < 0) {
			cn_refuse(fault, "cannot watch a descriptor");
			free_client(http);
			http = NULL;
		}
	}
	return http;
}

int cn_clients_set_up(int most, cn_http_done_f done, const int *fds, int count)
{
	struct cn_fault fault;
	int i;

	clients.most = most;
	clients.done = done;
	clients.number = cn_reload_number();
	for(i = 0; i < count; i++)
		clients.fds[clients.fd_count++] = fds[i];
	clients.fds[clients.fd_count++] = cn_reload_fd();
	clients.now = new_client(&fault);
	if(clients.now)
		return 0;
	LM_ERR("%s\n", fault.text);
	return -1;
}

/* What was good a moment ago can be wrong by now. Whoever looks for changes sees
 * that, too. */
struct cn_http *cn_clients_now(void)
{
	struct cn_fault fault;
	unsigned number = cn_reload_number();
	struct cn_http *http;

	if(number == clients.number || clients.old_count == CN_OLD_MAX)
		return clients.now;
	clients.number = number;
	http = new_client(&fault);
	if(http) {
		clients.old[clients.old_count++] = clients.now;
		clients.now = http;
	} else {
		LM_WARN("%s; this process keeps what it has\n", fault.text);
	}
	return clients.now;
}

struct cn_http *cn_clients_again(struct cn_http *before)
{
	struct cn_http *now = cn_clients_now();

	return cn_http_endpoints(now)->number == cn_http_endpoints(before)->number
				   ? now
				   : before;
}

static void run_old(void)
{
	int i = 0;

	while(i < clients.old_count) {
		cn_http_run(clients.old[i], 0);
		if(!cn_http_is_idle(clients.old[i])) {
			i++;
			continue;
		}
		free_client(clients.old[i]);
		clients.old[i] = clients.old[--clients.old_count];
	}
}

static int shorter(int timeout_ms, int than_ms)
{
	return timeout_ms < 0 || timeout_ms > than_ms ? than_ms : timeout_ms;
}

void cn_clients_run(int timeout_ms, bool looks)
{
	if(looks) {
		cn_reload_look(cn_now_us());
		timeout_ms = shorter(timeout_ms, CN_RELOAD_LOOK_MS);
	}
	if(clients.old_count > 0)
		timeout_ms = shorter(timeout_ms, CN_OLD_LOOK_MS);
	cn_http_run(cn_clients_now(), timeout_ms);
	run_old();
}
