/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From inner packet to wire form.
 */
#ifndef _DSMIP_TRANSMIT_H
#define _DSMIP_TRANSMIT_H

#include "binding.h"

/*
 * What senders and IPv4 forwarding leave in front of a packet: the largest usual
 * outer header and Ethernet's. More would have every packet from a driver that
 * leaves 64 octets copied.
 */
#define DSMIP_HEADROOM (sizeof(struct ipv6hdr) + 16)

netdev_tx_t dsmip_xmit(struct sk_buff *skb, struct net_device *dev);

/*
 * Sends an inner packet by a path that need not exist: signalling. The kind is
 * udp4 or ip4; local 0 lets routing choose. Consumes the packet.
 */
void dsmip_send4(struct dsmip_device *dsmip, struct sk_buff *skb, u8 kind, __be32 local,
		 __be32 remote, __be16 port, u32 ifindex);

/* Octets that the path adds to the packet's own length. */
unsigned int dsmip_overhead(u8 kind);

#endif
