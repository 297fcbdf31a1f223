/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What the script and KEMI may call. The same for both: ki_ is the function,
 * w_ only unpacks. */

#ifndef CN_FACE_SCRIPT_H
#define CN_FACE_SCRIPT_H

#include "../../core/kemi.h"
#include "../../core/sr_module.h"

extern cmd_export_t cn_script_functions[];
extern sr_kemi_t cn_script_kemi[];

#endif
