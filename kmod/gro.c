// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP in UDP is merged at the socket, before anything is taken off: the inner
 * protocol's own code does it, as if there were no UDP header.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/gro.h>
#include <net/protocol.h>

#include "gro.h"

/* What merges IPv6 or IPv4 in IPv4. */
static const struct net_offload *dsmip_gro_offload(u8 version)
{
	return rcu_dereference(inet_offloads[version == 6 ? IPPROTO_IPV6 : IPPROTO_IPIP]);
}

/* The inner version if there is TCP right behind the inner header, else 0. */
static u8 dsmip_gro_version(struct sk_buff *skb, unsigned int offset)
{
	const u8 *at = skb_gro_header(skb, offset + sizeof(struct iphdr), offset);
	u8 version;

	if (!at)
		return 0;
	version = *at >> 4;
	if (version == 4)
		return ((const struct iphdr *)at)->protocol == IPPROTO_TCP ? 4 : 0;
	/*
	 * ESP least of all: with esp6_offload loaded it would be taken off right
	 * here, and nobody would know where the signalling inside came from.
	 */
	return version == 6 && ((const struct ipv6hdr *)at)->nexthdr == IPPROTO_TCP ? 6 : 0;
}

struct sk_buff *dsmip_gro_receive(struct sock *sk, struct list_head *head, struct sk_buff *skb)
{
	unsigned int offset = skb_gro_offset(skb);
	const struct net_offload *offload;
	struct sk_buff *held, *done;
	u8 version = dsmip_gro_version(skb, offset);

	offload = version ? dsmip_gro_offload(version) : NULL;
	if (!offload || !offload->callbacks.gro_receive) {
		NAPI_GRO_CB(skb)->flush = 1;
		return NULL;
	}
	/* Held packets of the same port may be of the other version. */
	list_for_each_entry(held, head, list)
		if (NAPI_GRO_CB(held)->same_flow && held->data[offset] >> 4 != version)
			NAPI_GRO_CB(held)->same_flow = 0;
	/* One tunnel, not two: the UDP header is a part of the one below. */
	NAPI_GRO_CB(skb)->encap_mark = 0;
	done = call_gro_receive(offload->callbacks.gro_receive, head, skb);
	/*
	 * Where the device has packets that are forwarded merged as lists, as
	 * OpenWrt's kernels do unasked, TCP starts one. No UDP socket takes it, and
	 * what takes it apart again knows of no header before TCP's but its own.
	 */
	NAPI_GRO_CB(skb)->is_flist = 0;
	return done;
}

int dsmip_gro_complete(struct sock *sk, struct sk_buff *skb, int offset)
{
	const struct net_offload *offload = dsmip_gro_offload(skb->data[offset] >> 4);
	int err;

	if (!offload || !offload->callbacks.gro_complete)
		return -EPROTONOSUPPORT;
	err = offload->callbacks.gro_complete(skb, offset);
	skb_set_inner_mac_header(skb, offset);
	return err;
}
