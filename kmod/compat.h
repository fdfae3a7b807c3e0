/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one place that knows how kernels 6.1 to 6.18 differ. It defines names of
 * our own only; Kbuild finds out what the headers at hand offer.
 */
#ifndef _DSMIP_COMPAT_H
#define _DSMIP_COMPAT_H

#include <linux/netdevice.h>
#include <net/ip6_tunnel.h>
#include <net/rtnetlink.h>
#include <net/udp_tunnel.h>
#ifdef DSMIP_HAVE_GSO_H
#include <net/gso.h>
#endif

#ifdef DSMIP_HAVE_IPCB_FLAGS
#define dsmip_udp_tunnel_xmit(rt, sk, skb, src, dst, tos, ttl, df, sport, dport, xnet) \
	udp_tunnel_xmit_skb(rt, sk, skb, src, dst, tos, ttl, df, sport, dport, xnet, true, 0)
#define dsmip_iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet) \
	iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet, 0)
#define dsmip_ip6tunnel_xmit(sk, skb) ip6tunnel_xmit(sk, skb, NULL, 0)
#else
#define dsmip_udp_tunnel_xmit(rt, sk, skb, src, dst, tos, ttl, df, sport, dport, xnet) \
	udp_tunnel_xmit_skb(rt, sk, skb, src, dst, tos, ttl, df, sport, dport, xnet, true)
#define dsmip_iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet) \
	iptunnel_xmit(sk, rt, skb, src, dst, proto, tos, ttl, df, xnet)
#define dsmip_ip6tunnel_xmit(sk, skb) ip6tunnel_xmit(sk, skb, NULL)
#endif

#ifdef DSMIP_HAVE_DUMP_INFO
#define dsmip_dump_attrs(dump) ((dump)->info.attrs)
#else
#define dsmip_dump_attrs(dump) ((dump)->attrs)
#endif

static inline void dsmip_set_lockless_tx(struct net_device *dev)
{
#ifdef DSMIP_HAVE_LLTX
	dev->lltx = true;
#else
	dev->features |= NETIF_F_LLTX;
#endif
}

#endif
