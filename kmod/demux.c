// SPDX-License-Identifier: GPL-2.0-only
/*
 * What TCP and UDP do with their sockets, and the core with trains to one
 * address (ip6_can_use_hint()): the firewall sees the packet as ever, only the
 * routing decision is not made again. It is not kept beyond a tick, so nothing
 * need tell us of changes: an address, a route or a rule counts a tick late.
 */
#include <linux/slab.h>
#include <net/dst.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>

#include "demux.h"

/* Rules about ports look into the packet further than we remember it. */
static bool dsmip_ports_decide(const struct net *net)
{
#ifdef CONFIG_IPV6_MULTIPLE_TABLES
	return READ_ONCE(net->ipv6.fib6_rules_require_fldissect);
#else
	return false;
#endif
}

static bool dsmip_rules_agree(const struct net *net, const struct dsmip_arrival *last,
			      const struct sk_buff *skb)
{
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);

	return ipv6_addr_equal(&last->source, &ip6->saddr) && last->mark == skb->mark &&
	       last->flowinfo == ip6_flowinfo(ip6) && last->nexthdr == ip6->nexthdr &&
	       !dsmip_ports_decide(net);
}

static __always_inline bool dsmip_arrives_alike(const struct net *net,
						const struct dsmip_arrival *last,
						const struct sk_buff *skb)
{
	return ipv6_addr_equal(&last->destination, &ipv6_hdr(skb)->daddr) &&
	       last->ifindex == skb->dev->ifindex &&
	       ((!fib6_has_custom_rules(net) && !fib6_routes_require_src(net)) ||
		dsmip_rules_agree(net, last, skb));
}

void dsmip_demux(struct dsmip_net *pernet, const struct net *net, struct sk_buff *skb)
{
	const struct dsmip_arrival *last =
		rcu_dereference(*dsmip_arrival_slot(pernet, skb->dev->ifindex));
	unsigned long tick = jiffies;

	if (last && READ_ONCE(last->at) == tick && !skb_dst(skb) &&
	    dsmip_arrives_alike(net, last, skb) && READ_ONCE(net->ipv4.sysctl_ip_early_demux))
		skb_dst_set_noref(skb, last->dst);
}

/* Whoever found it before it was replaced may use its route for as long as RCU lets him. */
static void dsmip_arrival_replace(struct dsmip_arrival __rcu **slot, struct dsmip_arrival *fresh)
{
	struct dsmip_arrival *old = unrcu_pointer(xchg(slot, RCU_INITIALIZER(fresh)));

	if (!old)
		return;
	dst_release(old->dst);
	kfree_rcu(old, rcu);
}

void __dsmip_demux_learn(struct dsmip_net *pernet, const struct sk_buff *skb)
{
	struct dsmip_arrival __rcu **slot = dsmip_arrival_slot(pernet, skb->dev->ifindex);
	struct dsmip_arrival *last = rcu_dereference(*slot), *fresh;
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);
	struct dst_entry *dst = skb_dst(skb);

	if (!dst || !(container_of(dst, struct rt6_info, dst)->rt6i_flags & RTF_LOCAL))
		return;
	if (last && last->dst == dst && dsmip_arrives_alike(dev_net(skb->dev), last, skb)) {
		WRITE_ONCE(last->at, jiffies);
		return;
	}
	fresh = kmalloc(sizeof(*fresh), GFP_ATOMIC | __GFP_NOWARN);
	if (!fresh)
		return;
	if (!dst_hold_safe(dst)) {
		kfree(fresh);
		return;
	}
	*fresh = (struct dsmip_arrival) {
		.at = jiffies,
		.dst = dst,
		.destination = ip6->daddr,
		.ifindex = skb->dev->ifindex,
		.source = ip6->saddr,
		.flowinfo = ip6_flowinfo(ip6),
		.mark = skb->mark,
		.nexthdr = ip6->nexthdr,
	};
	dsmip_arrival_replace(slot, fresh);
}

void dsmip_demux_clear(struct dsmip_net *pernet)
{
	unsigned int i;

	for (i = 0; i < DSMIP_ARRIVALS; i++)
		dsmip_arrival_replace(&pernet->arrivals[i], NULL);
}
