/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* To which endpoint the next POST goes, and whether there is room for it. Process:
 * HTTP. */

#ifndef CN_HTTP_CHOICE_H
#define CN_HTTP_CHOICE_H

#include "base_policy.h"
#include "http_endpoints.h"

/* May one more begin? With all away there is nothing to wait for. */
bool cn_choice_has_room(void);

/* POSTs that may be under way where the next one goes, from this process. */
int cn_choice_share(void);

/* Could no endpoint of the list follow this one? */
bool cn_choice_is_last(const struct cn_endpoints *list, int endpoint);

/* Nobody to send to, and nobody about to find out: waiting is no use. And why. */
bool cn_choice_all_away(void);
enum cn_cause cn_choice_away_cause(void);

#endif
