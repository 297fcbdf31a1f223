/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Changes the CSeq of bindings. In the SIP workers, and in the processes that run the
 * verdict route. */

#include "../../core/dprint.h"
#include "../../core/sr_module.h"
#include "../usrloc/ucontact.h"
#include "../usrloc/usrloc.h"

#include "base_conf.h"
#include "job_waiter.h"
#include "reg_classify.h"
#include "reg_restart.h"

static usrloc_api_t usrloc;

int cn_restart_init(void)
{
	bind_usrloc_t bind_usrloc;

	bind_usrloc = (bind_usrloc_t)find_export("ul_bind_usrloc", 1, 0);
	if(bind_usrloc == NULL || bind_usrloc(&usrloc) < 0) {
		LM_ERR("cannot use usrloc: load usrloc.so before cms_notify.so\n");
		return -1;
	}
	if(cn_conf.cseq_restart && usrloc.db_mode == DB_ONLY)
		LM_WARN("cseq_restart has no effect with usrloc's db_mode 3\n");
	return 0;
}

/* usrloc has CSeqs as int. One that is below zero has given way, or is so high
 * that no proper device has it. */
static bool gives_way(const ucontact_t *b, int cseq)
{
	return b->cseq == cseq || (cn_conf.cseq_restart && b->cseq > cseq);
}

/* @param cseq NULL: back again */
static void change(ucontact_t *b, unsigned dialog, const unsigned *cseq)
{
	for(; b; b = b->next) {
		if(cn_waiter_dialog(&b->callid) != dialog)
			continue;
		if(cseq ? b->cseq >= 0 && gives_way(b, (int)*cseq) : b->cseq < 0)
			b->cseq = ~b->cseq;
	}
}

static void change_all(const str *key, unsigned dialog, const unsigned *cseq)
{
	struct udomain *tables[CN_TABLES_MAX];
	str aor = *key;
	urecord_t *record;
	int i, n;

	if(usrloc.db_mode == DB_ONLY)
		return;
	n = cn_classify_tables(tables, CN_TABLES_MAX);
	for(i = 0; i < n; i++) {
		usrloc.lock_udomain(tables[i], &aor);
		if(usrloc.get_urecord(tables[i], &aor, &record) == 0) {
			change(record->contacts, dialog, cseq);
			usrloc.release_urecord(record);
		}
		usrloc.unlock_udomain(tables[i], &aor);
	}
}

void cn_restart_begin(const str *key, unsigned dialog, unsigned cseq)
{
	change_all(key, dialog, &cseq);
}

void cn_restart_end(const str *key, unsigned dialog)
{
	change_all(key, dialog, NULL);
}
