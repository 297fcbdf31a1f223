/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Answers HTTP requests, and opens a port for them. In the SIP workers for TCP. */

#include <string.h>

#include "../../core/data_lump_rpl.h"
#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/resolve.h"
#include "../../core/script_cb.h"
#include "../../core/socket_info.h"
#include "../../core/strutils.h"
#include "../xhttp/api.h"

#include "face_health.h"
#include "face_http.h"
#include "face_metrics.h"

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define OPEN_METRICS "application/openmetrics-text"
#define OPEN_METRICS_TYPE OPEN_METRICS "; version=1.0.0; charset=utf-8"

static struct socket_info *ours; /* NULL: metrics_listen is not set */
static xhttp_api_t xhttp;

/* -------- the port -------- */

/* SIP has nothing to look for there. */
static int drop_sip(struct sip_msg *msg, unsigned flags, void *unused)
{
	(void)flags;
	(void)unused;
	return msg->rcv.bind_address != ours || IS_HTTP(msg);
}

/* An address that is no name: one has to be resolved, and may become several. */
static int read_address(const char *listen, char *name, int size, int *port)
{
	int length, proto;
	str address;
	char *host;

	if(parse_phostport((char *)listen, &host, &length, port, &proto) < 0
			|| *port < 1 || *port > 65535 || proto != PROTO_NONE)
		return -1;
	if(length > 0 && host[0] == '[') { /* Kamailio's list has them without */
		host++;
		length -= 2;
	}
	if(length < 1 || length >= size)
		return -1;
	memcpy(name, host, length);
	name[length] = '\0';
	address = (str){name, length};
	return str2ip(&address) || str2ip6(&address) ? 0 : -1;
}

/* Those of SIP have been found: this one is the last, so that nothing is sent from
 * it. */
static int open_port(const char *listen)
{
	char name[IP_ADDR_MAX_STR_SIZE];
	str address = {name, 0};
	int port;

	if(read_address(listen, name, sizeof(name), &port) < 0)
		return -1;
	address.len = (int)strlen(name);
	/* or no SIP would come in there any more */
	if(grep_sock_info(&address, port, PROTO_TCP) != NULL)
		return -1;
	if(add_listen_iface(name, NULL, port, PROTO_TCP, 0) < 0
			|| fix_all_socket_lists() < 0)
		return -1;
	ours = grep_sock_info(&address, port, PROTO_TCP);
	return ours ? 0 : -1;
}

int cn_http_listen(const char *listen)
{
	if(listen == NULL)
		return 0;
	if(tcp_disable || open_port(listen) < 0) {
		LM_ERR("metrics_listen is \"%s\", must be an IP address and a TCP "
			   "port that SIP does not use, like 127.0.0.1:9494\n",
				listen);
		return -1;
	}
	if(register_script_cb(
			   drop_sip, PRE_SCRIPT_CB | REQUEST_CB | ONREPLY_CB, NULL)
			== 0)
		return 0;
	LM_ERR("cannot watch where requests come in\n");
	return -1;
}

/* -------- answers -------- */

int cn_http_answer_init(void)
{
	if(xhttp.reply)
		return 0;
	if(find_export("bind_xhttp", 0, 0) != NULL && xhttp_load_api(&xhttp) == 0)
		return 0;
	LM_ERR("cms_metrics() needs xhttp: load xhttp.so before cms_notify.so\n");
	return -1;
}

static bool is(const str *s, const char *text)
{
	return s->len == (int)strlen(text) && memcmp(s->s, text, s->len) == 0;
}

/* Who asks with HEAD wants no body. */
static bool is_head(const struct sip_msg *msg)
{
	return is(&msg->first_line.u.request.method, "HEAD");
}

static bool answer(struct sip_msg *msg, int status, const char *reason,
		const char *type, const str *body)
{
	str r = {(char *)reason, strlen(reason)}, t = {(char *)type, strlen(type)};
	str none = {"", 0};

	return xhttp.reply(msg, status, &r, &t, is_head(msg) ? &none : (str *)body)
		   >= 0;
}

/* With its reason as the body. */
static bool answer_briefly(struct sip_msg *msg, int status, const char *reason)
{
	str body = {(char *)reason, strlen(reason)};

	return answer(msg, status, reason, "text/plain", &body);
}

static bool wants_open_metrics(struct sip_msg *msg)
{
	struct hdr_field *header;

	if(parse_headers(msg, HDR_EOH_F, 0) < 0)
		return false;
	for(header = msg->headers; header; header = header->next) {
		if(header->type == HDR_ACCEPT_T
				&& str_casesearch_strz(&header->body, OPEN_METRICS) != NULL)
			return true;
	}
	return false;
}

static bool answer_metrics(struct sip_msg *msg)
{
	bool open = wants_open_metrics(msg), done;
	str text;

	if(cn_metrics_write(open, &text) < 0)
		return answer_briefly(msg, 500, "Out of memory");
	done = answer(msg, 200, "OK", open ? OPEN_METRICS_TYPE : TEXT_TYPE, &text);
	pkg_free(text.s);
	return done;
}

/* Whoever asks gets an answer from a process that also serves SIP. */
static bool answer_live(struct sip_msg *msg)
{
	return answer_briefly(msg, 200, "OK");
}

static bool answer_ready(struct sip_msg *msg)
{
	char why[CN_HEALTH_TEXT_MAX];
	bool ready = cn_health_is_ready(why);
	str body = {why, (int)strlen(why)};

	return answer(msg, ready ? 200 : 503, ready ? "OK" : "Service Unavailable",
			"text/plain", &body);
}

static const struct path
{
	const char *path;
	bool (*answer)(struct sip_msg *msg);
} paths[] = {{"/metrics", answer_metrics}, {"/livez", answer_live},
		{"/readyz", answer_ready}};

static const struct path *find_path(const struct sip_msg *msg)
{
	str path = msg->first_line.u.request.uri;
	const char *query = memchr(path.s, '?', path.len);
	size_t i;

	if(query)
		path.len = (int)(query - path.s);
	for(i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if(is(&path, paths[i].path))
			return &paths[i];
	}
	return NULL;
}

static bool refuse_method(struct sip_msg *msg)
{
	static char allow[] = "Allow: GET, HEAD\r\n";

	add_lump_rpl(msg, allow, strlen(allow), LUMP_RPL_HDR);
	return answer_briefly(msg, 405, "Method Not Allowed");
}

bool cn_http_answer(struct sip_msg *msg)
{
	const struct path *path;

	if(!IS_HTTP(msg)) {
		LM_ERR("cms_metrics() is for event_route[xhttp:request]\n");
		return false;
	}
	if(ours && msg->rcv.bind_address != ours)
		return false;
	path = find_path(msg);
	if(path == NULL)
		return ours ? answer_briefly(msg, 404, "Not Found") : false;
	if(!is(&msg->first_line.u.request.method, "GET") && !is_head(msg))
		return refuse_method(msg);
	return path->answer(msg);
}
