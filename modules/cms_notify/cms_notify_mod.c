/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* Export tables, start and end of the module; no logic. DESIGN.md says what
 * there is and where. */

#include "../../core/dprint.h"
#include "../../core/rpc_lookup.h"
#include "../../core/sr_module.h"
#include "../../core/pt.h"
#include "../../core/cfg/cfg_struct.h"

#include "alive_proc.h"
#include "reg_alive.h"
#include "reg_usrloc.h"
#include "base_body.h"
#include "http_breaker.h"
#include "http_endpoints.h"
#include "http_settings.h"
#include "base_conf.h"
#include "reg_classify.h"
#include "job_index.h"
#include "job_number.h"
#include "reg_expired.h"
#include "http_jobs.h"
#include "http_proc.h"
#include "http_room.h"
#include "job.h"
#include "outbox_leaving.h"
#include "outbox_location.h"
#include "admit.h"
#include "admit_share.h"
#include "reg_answer.h"
#include "outbox.h"
#include "outbox_proc.h"
#include "reg_park.h"
#include "reg_restart.h"
#include "face_drain.h"
#include "reg_table.h"
#include "face_http.h"
#include "face_pv.h"
#include "face_rpc.h"
#include "face_script.h"
#include "base_history.h"
#include "base_key.h"
#include "base_log.h"
#include "base_rest.h"
#include "base_secret.h"
#include "base_sqlite.h"
#include "base_stats.h"
#include "base_stop.h"
#include "job_order.h"
#include "verdict.h"
#include "verdict_proc.h"
#include "verdict_watch.h"

MODULE_VERSION

static param_export_t params[] = {
		{"cms_url", PARAM_STRING | PARAM_USE_FUNC, (void *)cn_conf_add_url},
		{"settings_file", PARAM_STRING, &cn_conf.settings_file},
		{"timeout", PARAM_INT, &cn_conf.limits.timeout_ms},
		{"connect_timeout", PARAM_INT, &cn_conf.limits.connect_timeout_ms},
		{"attempt_timeout", PARAM_INT, &cn_conf.limits.attempt_timeout_ms},
		{"http_processes", PARAM_INT, &cn_conf.http_processes},
		{"verdict_processes", PARAM_INT, &cn_conf.verdict_processes},
		{"max_in_flight", PARAM_INT, &cn_conf.max_in_flight},
		{"max_connections", PARAM_INT, &cn_conf.max_connections},
		{"min_connections", PARAM_INT, &cn_conf.min_connections},
		{"batch_max", PARAM_INT, &cn_conf.batch_max},
		{"connection_lifetime", PARAM_INT,
				&cn_conf.limits.connection_lifetime_s},
		{"queue_size", PARAM_INT, &cn_conf.queue_size},
		{"max_answer_size", PARAM_INT, &cn_conf.limits.max_answer_size},
		{"identity", PARAM_STRING, &cn_conf.identity_name},
		{"detect_reboot", PARAM_INT, &cn_conf.detect_reboot},
		{"cseq_restart", PARAM_INT, &cn_conf.cseq_restart},
		{"body", PARAM_STRING, &cn_conf.body},
		{"http_header", PARAM_STRING | PARAM_USE_FUNC,
				(void *)cn_conf_add_header},
		{"http_header_file", PARAM_STRING | PARAM_USE_FUNC,
				(void *)cn_conf_add_header_file},
		{"sign_key_file", PARAM_STRING | PARAM_USE_FUNC,
				(void *)cn_conf_add_sign_key_file},
		{"http_version", PARAM_STRING, &cn_conf.http_version_name},
		{"tls_ca", PARAM_STRING, &cn_conf.tls_ca},
		{"tls_cert", PARAM_STRING, &cn_conf.tls_cert},
		{"tls_key", PARAM_STRING, &cn_conf.tls_key},
		{"node", PARAM_STRING, &cn_conf.node},
		{"breaker_failures", PARAM_INT, &cn_conf.limits.breaker_failures},
		{"breaker_cooldown", PARAM_INT, &cn_conf.limits.breaker_cooldown_ms},
		{"drain_timeout", PARAM_INT, &cn_conf.limits.drain_timeout_ms},
		{"outbox_db_url", PARAM_STRING, &cn_conf.outbox_db_url},
		{"outbox_table", PARAM_STRING, &cn_conf.outbox_table},
		{"resync_rate", PARAM_INT, &cn_conf.limits.resync_rate},
		{"events", PARAM_STRING, &cn_conf.events_list},
		{"alive_timeout", PARAM_INT, &cn_conf.alive_timeout_s},
		{"outbox_max", PARAM_INT, &cn_conf.outbox_max},
		{"outbox_max_age", PARAM_INT, &cn_conf.limits.outbox_max_age_s},
		{"sqlite_busy_timeout", PARAM_INT, &cn_conf.sqlite_busy_timeout_ms},
		{"history", PARAM_INT, &cn_conf.history},
		{"flap_limit", PARAM_INT, &cn_conf.flap_limit},
		{"auth_random_secret", PARAM_INT | PARAM_USE_FUNC,
				(void *)cn_key_give_auth},
		{"password_file", PARAM_STRING, &cn_conf.password_file},
		{"metrics_listen", PARAM_STRING, &cn_conf.metrics_listen},
		{"quoted", PARAM_INT | PARAM_USE_FUNC, (void *)cn_conf_refuse_number},
		{"quoted", PARAM_STRING | PARAM_USE_FUNC, (void *)cn_conf_take_text},
		{0, 0, 0}};

static int mod_init(void)
{
	int capacity, procs;

	if(cn_log_init() < 0 || cn_conf_check() < 0 || cn_key_init() < 0
			|| cn_stop_watch_requests() < 0 || cn_rest_init() < 0
			|| cn_http_listen(cn_conf.metrics_listen) < 0
			|| cn_body_init(cn_conf.body) < 0
			|| cn_secret_init(cn_conf.password_file) < 0
			|| cn_sqlite_init(cn_conf.sqlite_busy_timeout_ms) < 0)
		return -1;
	cn_body_own_values(cn_pv_exports[0].getf);
	capacity = cn_conf_capacity();
	if(cn_park_init() < 0 || cn_answer_init() < 0 || cn_expired_init() < 0
			|| cn_classify_init() < 0 || cn_restart_init() < 0
			|| cn_limits_init(&cn_conf.limits) < 0
			|| cn_stats_init(CN_ENDPOINT_SLOTS) < 0
			|| cn_breaker_init(CN_ENDPOINT_SLOTS) < 0
			|| cn_room_init(CN_ENDPOINT_SLOTS, cn_conf.http_processes,
					   cn_conf.min_connections, cn_conf_posts_per_process())
					   < 0
			|| cn_endpoints_init() < 0
			|| cn_admission_init(
					   cn_conf.http_processes * cn_conf_posts_per_process(),
					   cn_conf.batch_max, capacity, cn_timeout_us())
					   < 0
			|| cn_share_init(capacity, cn_key()) < 0
			|| cn_history_init(cn_conf.history, cn_key()) < 0
			|| cn_number_init() < 0 || cn_job_init(capacity) < 0
			|| cn_index_init(capacity) < 0 || cn_outbox_init() < 0
			|| cn_http_proc_init() < 0 || cn_leaving_init(cn_pv_set_event) < 0
			|| cn_outbox_proc_init() < 0 || cn_reg_table_init() < 0
			|| cn_usrloc_init() < 0 || cn_location_init() < 0
			|| cn_alive_init() < 0 || cn_verdict_init(cn_pv_set_verdict) < 0
			|| cn_watch_init() < 0 || cn_drain_init() < 0)
		return -1;
	cn_order_init(cn_http_jobs_give, cn_http_jobs_give_back);
	if(rpc_register_array(cn_rpc_commands) != 0) {
		LM_ERR("cannot register the RPC commands\n");
		return -1;
	}
	procs = cn_conf.http_processes + cn_conf.verdict_processes
			+ cn_outbox_proc_count() + cn_alive_proc_count();
	register_procs(procs);
	cfg_register_child(procs);
	return 0;
}

static int child_init(int rank)
{
	if(rank == PROC_INIT)
		return cn_alive_start() < 0
							   || cn_settings_set_fr_timer(
										  cn_park_fr_timer_ms())
										  < 0
					   ? -1
					   : 0;
	if(rank == PROC_SIPINIT)
		cn_alive_forget_connections();
	if(rank > 0 || rank == PROC_TCP_MAIN)
		cn_log_limit();
	if(rank > 0)
		return cn_stop_hold_back();
	if(rank != PROC_MAIN)
		return 0;
	if(cn_http_proc_fork() < 0 || cn_verdict_proc_fork() < 0
			|| cn_outbox_proc_fork() < 0 || cn_alive_proc_fork() < 0) {
		LM_ERR("cannot start the processes\n");
		return -1;
	}
	return 0;
}

static void destroy(void)
{
	cn_verdict_destroy();
	cn_http_proc_destroy();
	cn_leaving_finish();
	cn_outbox_destroy();
	cn_index_destroy();
	cn_number_destroy();
	cn_expired_destroy();
	cn_alive_destroy();
	cn_job_destroy();
	cn_history_destroy();
	cn_share_destroy();
	cn_admission_destroy();
	cn_endpoints_destroy();
	cn_room_destroy();
	cn_breaker_destroy();
	cn_stats_destroy();
	cn_drain_destroy();
	cn_limits_destroy();
	cn_log_destroy();
}

int mod_register(char *path, int *dlflags, void *p1, void *p2)
{
	(void)path;
	(void)dlflags;
	(void)p1;
	(void)p2;
	return sr_kemi_modules_add(cn_script_kemi);
}

struct module_exports exports = {
		"cms_notify",		 /* module name */
		DEFAULT_DLFLAGS,	 /* dlopen flags */
		cn_script_functions, /* exported functions */
		params,				 /* exported parameters */
		0,					 /* exported RPC methods: in mod_init */
		cn_pv_exports,		 /* exported pseudo-variables */
		0,					 /* response handling function */
		mod_init,			 /* module initialization function */
		child_init,			 /* per-child initialization function */
		destroy				 /* destroy function */
};
