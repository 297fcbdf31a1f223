/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

/* What an operator may ask at run time. Process: any that serves RPC. */

#ifndef CN_FACE_RPC_H
#define CN_FACE_RPC_H

#include "../../core/rpc.h"

extern rpc_export_t cn_rpc_commands[];

#endif
