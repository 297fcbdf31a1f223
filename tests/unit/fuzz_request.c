/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* A REGISTER from anywhere, read by Kamailio's own parser and by us: nothing is
 * read that is not there, and what comes of it can be made an event of. */

#include "fuzz.h"
#include "sip.h"

#include "base_conf.h"
#include "job.h"
#include "reg_settings.h"
#include "reg_request.h"

struct cn_conf cn_conf;

#define HEAD                                                  \
	"REGISTER sip:telecom.com SIP/2.0\r\n"                    \
	"Via: SIP/2.0/UDP 127.0.0.1:7000;branch=z9hG4bK28145\r\n" \
	"From: gzj <sip:gzj@telecom.com:7000>;tag=12103\r\n"      \
	"Call-ID: 5705@172.16.163.3\r\nCSeq: 2 REGISTER\r\n"
#define TO "To: gzj <sip:gzj@telecom.com:7000>\r\n"
#define CONTACT "Contact: <sip:gzj@172.16.163.3:7000>\r\n"

/* The first byte chooses registrar's settings. */
const char *const fuzz_seeds[] = {
		" " HEAD TO CONTACT
		"Authorization:  Digest  username=\"gzj\",  realm=\"kedacom.com\", \r\n"
		" nonce=\"00000000000000000000000000018467\", "
		"uri=\"sip:kedacom.com\",\r\n"
		" qop=auth,  nc=00000001,  cnonce=\"0a4f113b\",\r\n"
		" response=\"735d9440f5d7367539165ca932a07713\"\r\n"
		"User-Agent: TELECOM ncsip/1.0\r\nExpires: 3600\r\n\r\n",
		"/" HEAD "t: <sip:%67zj@sip.telecom.com>\r\n"
		"m: \"A, B\" <sip:a@10.0.0.1>;q=0.7;expires=60;"
		"+sip.instance=\"<urn:uuid:1>\";reg-id=1, "
		"<sip:b@10.0.0.2>;expires=0\r\n"
		"Path: <sip:edge;lr;ob;received=sip:1.2.3.4%3a5>\r\n"
		"Path: <sip:core;lr>\r\nSupported: path, outbound\r\n\r\n",
		"0" HEAD TO "Contact: *\r\nExpires: 0\r\n\r\n",
		"1" HEAD "To: <tel:+4930123;phone-context=x>\r\n" CONTACT CONTACT
		"\r\n",
		"2" HEAD "To: <sips:telecom.com>\r\nContact: <sip:a@b>;received="
		"\"sip:1.2.3.4:5\"\r\n\r\n",
		"3" HEAD TO "Require: outbound\r\n" CONTACT "\r\n", "", NULL};

const long fuzz_runs = 120000;

const char *const fuzz_words[] = {"\r\n", "\r\n ", "\r\n\r\n", "<", ">", "\"",
		";", ",", "*", ":", "@", "%", "%00", "%4", "sip:", "sips:", "tel:+1",
		"Contact: ", "Contact: *\r\n", "m: ", "Path: <sip:x;lr>\r\n",
		"To: ", "Via: SIP/2.0/TCP x;branch=z9hG4bK1\r\n",
		"Expires: 99999999999\r\n", "CSeq: 4294967295 REGISTER\r\n",
		"Call-ID: \r\n", "Supported: path,outbound,gruu\r\n",
		"Require: path\r\n", "Authorization: Digest username=", ";expires=-1",
		";expires=", ";q=1.0001", ";reg-id=0", ";+sip.instance=\"<\"",
		";received=", ";ob", CONTACT, TO, NULL};

void cn_park_amend(struct sip_msg *msg, const str *part)
{
	if(part->s < msg->buf || part->s + part->len > msg->buf + msg->len)
		abort();
}

/* -------- registrar, as the first byte says -------- */

static int use_path, path_use_received, outbound_mode, regid_mode,
		min_expires_mode, contact_max_size;
static struct cn_registrar settings = {
		.use_path = &use_path,
		.path_use_received = &path_use_received,
		.outbound_mode = &outbound_mode,
		.regid_mode = &regid_mode,
		.min_expires_mode = &min_expires_mode,
		.contact_max_size = &contact_max_size,
		.default_expires = 3600,
		.min_expires = 60,
		.max_expires = 7200,
};
static bool noted;

const struct cn_registrar *cn_registrar(void)
{
	return &settings;
}

int cn_registrar_override(const char *name, int otherwise)
{
	return otherwise;
}

str cn_registrar_received(struct sip_msg *msg)
{
	return noted ? STR("sip:172.16.163.3:7000") : NO_STR;
}

static void choose(uint8_t byte)
{
	use_path = byte & 1;
	path_use_received = byte >> 1 & 1;
	outbound_mode = (byte >> 2 & 3) % 3; /* no, supported, required */
	regid_mode = byte >> 3 & 1;
	min_expires_mode = byte >> 4 & 1;
	contact_max_size = byte >> 5 & 1 ? 512 : 40;
	settings.case_sensitive = byte >> 6 & 1;
	settings.realm_prefix = byte >> 7 ? STR("sip.") : NO_STR;
	noted = byte & 1;
}

/* -------- claims -------- */

/* That each byte may be read, ASan sees to. */
static void claim_readable(const str *s)
{
	if(s->len < 0 || s->len > 65535)
		abort();
	free(stub_exact(s->s, s->len).s);
}

static void claim_contact(const struct cn_contact *c)
{
	claim_readable(&c->uri);
	claim_readable(&c->instance);
	claim_readable(&c->received);
	claim_readable(&c->path);
	if(c->uri.len == 0 || c->uri.len > contact_max_size || c->expires < 0
			|| (c->expires > 0 && (c->expires < 60 || c->expires > 7200))
			|| (c->has_reg_id && (c->reg_id == 0 || c->instance.len == 0))
			|| (c->path.len > 0 && !use_path))
		abort();
}

static void claim_event(const struct cn_event *ev)
{
	int i;

	claim_readable(&ev->key);
	claim_readable(&ev->aor);
	claim_readable(&ev->username);
	claim_readable(&ev->domain);
	claim_readable(&ev->auth_user);
	claim_readable(&ev->realm);
	claim_readable(&ev->source_ip);
	claim_readable(&ev->user_agent);
	claim_readable(&ev->call_id);
	if(ev->contact_count < 0 || (ev->star && ev->contact_count > 0)
			|| (ev->contact_count > 0
					&& (ev->transport == NULL || ev->aor.len == 0)))
		abort();
	for(i = 0; i < ev->contact_count; i++)
		claim_contact(&ev->contacts[i]);
}

/* The event of the device, or of another one, that is under way. */
static struct cn_job *under_way;

static void start(void)
{
	static struct cn_contact contact = {
			.uri = {"sip:gzj@172.16.163.3:7000", 25}, .reason = CN_REASON_NEW};
	struct cn_event ev = {.key = STR("gzj@telecom.com"),
			.call_id = STR("5705@172.16.163.3"),
			.contacts = &contact,
			.contact_count = 1,
			.reason = CN_REASON_NEW};
	str body = STR("{}"), none = NO_STR;

	sip_start();
	if(cn_job_init(2) < 0
			|| cn_job_new(&ev, &body, &none, false, &under_way) != CN_CAUSE_none)
		abort();
}

static void claim_job(struct cn_event *ev)
{
	str body = STR("{}"), none = NO_STR;
	struct cn_job *job;
	int i;

	for(i = 0; i < 3; i++) {
		cn_conf.identity = i;
		(void)cn_job_covers(under_way, ev);
	}
	if(ev->contact_count == 0)
		return;
	for(i = 0; i < ev->contact_count; i++)
		ev->contacts[i].reason = ev->reason = CN_REASON_NEW;
	if(cn_job_new(ev, &body, &none, false, &job) != CN_CAUSE_none)
		abort();
	for(i = 0; i < 3; i++) {
		cn_conf.identity = i;
		if(!cn_job_covers(job, ev))
			abort();
	}
	cn_job_free(job);
}

static long with_contacts;

bool fuzz_was_worth_it(long runs)
{
	return with_contacts > runs / 20;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static char buffer[FUZZ_SIZE + 1];
	struct cn_event ev;
	struct sip_msg msg;

	if(n == 0 || n > FUZZ_SIZE)
		return 0;
	if(under_way == NULL)
		start();
	choose(data[0]);
	memcpy(buffer, data + 1, n - 1);
	buffer[n - 1] = '\0'; /* as Kamailio ends what it receives */
	if(sip_read(&msg, buffer, (int)n - 1) && msg.REQ_METHOD == METHOD_REGISTER) {
		if(cn_request_read(&msg, NULL, data[0] >> 4 & 1, &ev) < 0)
			abort();
		with_contacts += ev.contact_count > 0;
		if(ev.contact_count > 0)
			cn_request_describe(&msg, &ev);
		claim_event(&ev);
		claim_job(&ev);
	}
	sip_free(&msg);
	stub_clear_log();
	return 0;
}
