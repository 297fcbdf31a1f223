/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/parser/parse_hname2.h"

#include "sip.h"

/* -------- what else the parser would need -------- */

int ser_error;
int phone2tel =
		1; /* as in Kamailio: the user part of a tel URI is its number */

unsigned int cryptorand(void)
{
	return 1;
}

char *get_valid_proto_name(unsigned short proto)
{
	return proto == PROTO_UDP ? "udp" : "none";
}

int shm_address_in(void *p)
{
	return 0;
}

void free_lump_rpl(void *lump)
{
	abort(); /* nobody has added one */
}

void free_lump_list(struct lump *list)
{
	if(list)
		abort();
}

/* -------- requests -------- */

void sip_start(void)
{
	if(ksr_hname_init_index() < 0)
		abort();
}

bool sip_read(struct sip_msg *msg, char *text, int len)
{
	static const unsigned char from[] = {172, 16, 163, 3};

	memset(msg, 0, sizeof(*msg));
	msg->id = 1;
	msg->pid = 1;
	msg->buf = text;
	msg->len = len;
	msg->rcv.src_ip.af = AF_INET;
	msg->rcv.src_ip.len = sizeof(from);
	memcpy(msg->rcv.src_ip.u.addr, from, sizeof(from));
	msg->rcv.src_port = 7000;
	msg->rcv.proto = PROTO_UDP;
	return len > 0 && parse_msg(text, len, msg) == 0
		   && msg->first_line.type == SIP_REQUEST;
}

void sip_free(struct sip_msg *msg)
{
	free_sip_msg(msg);
}
