/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From wire form to inner packet, and who may send what.
 */
#ifndef _DSMIP_RECEIVE_H
#define _DSMIP_RECEIVE_H

#include "binding.h"

int dsmip_udp_rcv(struct sock *sk, struct sk_buff *skb);

/* The path of the binding that this outer source is, or NULL. RCU read side. */
struct dsmip_path *dsmip_path_from6(const struct dsmip_binding *binding, u8 kind,
				    const struct in6_addr *source);
/* Notes that the path was heard of. RCU read side. */
void dsmip_path_heard(struct dsmip_device *dsmip, struct dsmip_binding *binding,
		      struct dsmip_path *path, unsigned int len);

int dsmip_receive_init(void);
void dsmip_receive_exit(void);

#endif
