/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tunnel packets in IPv6 come in trains, all to one address of this host: the
 * way to it is looked up for the first of a tick and kept for those behind it.
 */
#ifndef _DSMIP_DEMUX_H
#define _DSMIP_DEMUX_H

#include <linux/jiffies.h>
#include <linux/skbuff.h>

#include "device.h"

/* What was decided about a packet, and all that the decision may depend on. */
struct dsmip_arrival {
	unsigned long at;		/* jiffies: for that tick and no longer */
	struct dst_entry *dst;
	struct in6_addr destination;
	int ifindex;
	/* These count where routing rules, or routes with a source, ask for them. */
	struct in6_addr source;
	__be32 flowinfo;
	u32 mark;
	u8 nexthdr;
	struct rcu_head rcu;
};

static inline struct dsmip_arrival __rcu **dsmip_arrival_slot(struct dsmip_net *pernet,
							      unsigned int ifindex)
{
	return &pernet->arrivals[ifindex % DSMIP_ARRIVALS];
}

/* Of a tunnel packet before it is routed. RCU read side. */
void dsmip_demux(struct dsmip_net *pernet, const struct net *net, struct sk_buff *skb);

void __dsmip_demux_learn(struct dsmip_net *pernet, const struct sk_buff *skb);

/*
 * Of a packet that has come here, outer header at its network header. RCU read
 * side, and only while a device is listed: who takes the last one off waits for
 * readers and clears.
 */
static inline void dsmip_demux_learn(struct dsmip_net *pernet, const struct sk_buff *skb)
{
	const struct dsmip_arrival *last =
		rcu_dereference(*dsmip_arrival_slot(pernet, skb->dev->ifindex));
	unsigned long tick = jiffies;

	if (unlikely(!last || READ_ONCE(last->at) != tick))
		__dsmip_demux_learn(pernet, skb);
}

void dsmip_demux_clear(struct dsmip_net *pernet);

#endif
