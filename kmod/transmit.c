// SPDX-License-Identifier: GPL-2.0-only
#include <linux/icmpv6.h>
#include <net/icmp.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ip6_tunnel.h>
#include <net/ip_tunnels.h>
#include <net/ipv6.h>
#include <net/udp_tunnel.h>

#include "compat.h"
#include "homeform.h"
#include "netlink.h"
#include "receive.h"
#include "transmit.h"

/*
 * A path may lead through another path of the same device: nested networks.
 * Of a tunnel in four tunnels newer kernels drop the packets without a word
 * (IP_TUNNEL_RECURSION_LIMIT, where each counts twice); ours are counted.
 */
#define DSMIP_XMIT_DEPTH_MAX 3

/* Home Address option or type 2 routing header: both take 24 octets. */
#define DSMIP_EXTENSION 24

/* TUNNELLED events: about one node, and about any. */
#define DSMIP_TUNNELLED_AGAIN HZ
#define DSMIP_TUNNELLED_INTERVAL (HZ / 20)

static DEFINE_PER_CPU(unsigned int, dsmip_xmit_depth);

unsigned int dsmip_overhead(u8 kind)
{
	switch (kind) {
	case DSMIP_KIND_IP6:
		return sizeof(struct ipv6hdr);
	case DSMIP_KIND_IP4:
		return sizeof(struct iphdr);
	case DSMIP_KIND_UDP4:
		return sizeof(struct iphdr) + sizeof(struct udphdr);
	default:
		return DSMIP_EXTENSION;
	}
}

/* --- routes --------------------------------------------------------------- */

static struct rtable *dsmip_route4(struct net *net, __be32 *local, __be32 remote, u8 proto,
				   u32 ifindex, u32 mark)
{
	struct flowi4 flow = {
		.daddr = remote,
		.saddr = *local,
		.flowi4_oif = ifindex,
		.flowi4_proto = proto,
		.flowi4_mark = mark,
	};
	struct rtable *rt = ip_route_output_flow(net, &flow, NULL);

	if (!IS_ERR(rt))
		*local = flow.saddr;
	return rt;
}

static struct dst_entry *dsmip_route6(struct net *net, const struct in6_addr *local,
				      const struct in6_addr *remote, u8 proto, u32 ifindex,
				      u32 mark)
{
	struct flowi6 flow = {
		.daddr = *remote,
		.saddr = *local,
		.flowi6_oif = ifindex,
		.flowi6_proto = proto,
		.flowi6_mark = mark,
	};

	return ip6_dst_lookup_flow(net, NULL, &flow, NULL);
}

static struct rtable *dsmip_path_route4(struct dsmip_device *dsmip, struct dsmip_path *path)
{
	const struct dsmip_path_config *config = &path->config;
	__be32 local = config->local.v4;
	struct rtable *rt;

	rt = dst_cache_get_ip4(&path->cache, &local);
	if (likely(rt))
		return rt;
	rt = dsmip_route4(dsmip->net, &local, config->remote.v4,
			  config->kind == DSMIP_KIND_UDP4 ? IPPROTO_UDP : IPPROTO_IPV6,
			  config->ifindex, 0);
	if (!IS_ERR(rt))
		dst_cache_set_ip4(&path->cache, &rt->dst, config->local.v4);
	return rt;
}

static struct dst_entry *dsmip_path_route6(struct dsmip_device *dsmip, struct dsmip_path *path)
{
	const struct dsmip_path_config *config = &path->config;
	struct dst_entry *dst;
	struct in6_addr local;

	dst = dst_cache_get_ip6(&path->cache, &local);
	if (likely(dst))
		return dst;
	dst = dsmip_route6(dsmip->net, &config->local.v6, &config->remote.v6, IPPROTO_IPV6,
			   config->ifindex, 0);
	if (!IS_ERR(dst))
		dst_cache_set_ip6(&path->cache, dst, &config->local.v6);
	return dst;
}

/* --- size ----------------------------------------------------------------- */

/*
 * False when the packet does not fit: its sender has been told. *fragment: the
 * outer packet may have to be fragmented, since inner IPv6 is never asked for
 * less than 1280 octets and IPv4 without DF for nothing.
 */
static bool dsmip_fits(struct dsmip_device *dsmip, struct sk_buff *skb, struct dst_entry *dst,
		       unsigned int overhead, bool *fragment)
{
	bool inner6 = skb->protocol == htons(ETH_P_IPV6);
	int mtu;

	*fragment = false;
	/* What every IPv6 link carries need not be looked up. */
	if (dst->ops->family == AF_INET6 && skb->len + overhead <= IPV6_MIN_MTU)
		return true;
	mtu = dst_mtu(dst) - overhead;
	if (likely(skb->len <= mtu))
		return true;
	if (inner6 && mtu < IPV6_MIN_MTU) {
		mtu = IPV6_MIN_MTU;
		*fragment = true;
	} else if (!inner6 && mtu < 68) {
		mtu = 68;
	}
	if (skb_is_gso(skb) ? skb_gso_validate_network_len(skb, mtu) : skb->len <= mtu)
		return true;
	if (!inner6 && !(ip_hdr(skb)->frag_off & htons(IP_DF))) {
		*fragment = true;
		return true;
	}
	dsmip_count(dsmip, DSMIP_COUNT_TX_TOO_BIG);
	skb_dst_update_pmtu_no_confirm(skb, mtu);
	if (inner6)
		icmpv6_ndo_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu);
	else
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, htonl(mtu));
	return false;
}

/* --- outer headers -------------------------------------------------------- */

/*
 * Room for what is put in front, no more: a forwarded packet has what its
 * driver left, often 64 octets and its Ethernet header, and copying costs it
 * as much as the rest of its way through the tunnel.
 */
static __always_inline int dsmip_make_room(struct sk_buff *skb, const struct dst_entry *dst,
					   unsigned int overhead)
{
	return skb_cow_head(skb, LL_RESERVED_SPACE(dst->dev) + dst->header_len + overhead);
}

static u8 dsmip_inner_proto(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_IPV6) ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

static u8 dsmip_inner_dsfield(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_IPV6) ? ipv6_get_dsfield(ipv6_hdr(skb)) :
						     ip_hdr(skb)->tos;
}

/* Consumes the packet and the reference to the route. */
static int dsmip_encap4(struct dsmip_device *dsmip, struct sk_buff *skb, struct rtable *rt, u8 kind,
			__be32 local, __be32 remote, __be16 port, bool fragment)
{
	bool xnet = !net_eq(dsmip->net, dev_net(dsmip->dev));
	u8 proto = dsmip_inner_proto(skb), inner = dsmip_inner_dsfield(skb);
	u8 ttl = READ_ONCE(dsmip->ttl) ?: ip4_dst_hoplimit(&rt->dst);
	u8 tos = INET_ECN_encapsulate(inner, inner);
	__be16 df = fragment ? 0 : htons(IP_DF);
	struct sock *sk = rcu_dereference(dsmip->sk);
	int type = SKB_GSO_IPXIP4;

	/* Segmenting in software goes by both: the tunnel's type and UDP's. */
	if (kind == DSMIP_KIND_UDP4)
		type |= SKB_GSO_UDP_TUNNEL;
	if (unlikely(!sk || iptunnel_handle_offloads(skb, type)))
		goto drop;
	skb_set_inner_ipproto(skb, proto);
	/* Counting is ours: the core would count into per-CPU fields of its own. */
	skb->dev = NULL;
	if (kind == DSMIP_KIND_UDP4)
		dsmip_udp_tunnel_xmit(rt, sk, skb, local, remote, tos, ttl, df, dsmip->port, port,
				      xnet);
	else
		dsmip_iptunnel_xmit(sk, rt, skb, local, remote, proto, tos, ttl, df, xnet);
	return 0;

drop:
	ip_rt_put(rt);
	kfree_skb(skb);
	return -ENETDOWN;
}

static int dsmip_encap6(struct dsmip_device *dsmip, struct sk_buff *skb, struct dst_entry *dst,
			const struct in6_addr *local, const struct in6_addr *remote, bool fragment)
{
	u8 proto = dsmip_inner_proto(skb), inner = dsmip_inner_dsfield(skb);
	struct ipv6hdr *ip6;

	if (unlikely(iptunnel_handle_offloads(skb, SKB_GSO_IPXIP6))) {
		dst_release(dst);
		kfree_skb(skb);
		return -ENOMEM;
	}
	skb_set_inner_ipproto(skb, proto);
	skb_scrub_packet(skb, !net_eq(dsmip->net, dev_net(dsmip->dev)));
	skb_clear_hash_if_not_l4(skb);
	skb_dst_set(skb, dst);
	skb->ignore_df = fragment;

	__skb_push(skb, sizeof(*ip6));
	skb_reset_network_header(skb);
	ip6 = ipv6_hdr(skb);
	ip6_flow_hdr(ip6, INET_ECN_encapsulate(inner, inner), 0);
	ip6->hop_limit = READ_ONCE(dsmip->ttl) ?: ip6_dst_hoplimit(dst);
	ip6->nexthdr = proto;
	ip6->saddr = *local;
	ip6->daddr = *remote;
	skb->protocol = htons(ETH_P_IPV6);
	dsmip_ip6tunnel_xmit(NULL, skb);
	return 0;
}

/* --- no tunnel: the packet itself carries the home addresses -------------- */

static void dsmip_put_routing(u8 *at, u8 nexthdr, const struct in6_addr *home)
{
	memset(at, 0, 8);
	at[0] = nexthdr;
	at[1] = DSMIP_EXTENSION / 8 - 1;
	at[2] = 2;
	at[3] = 1;
	memcpy(at + 8, home, sizeof(*home));
}

static void dsmip_put_home_address(u8 *at, u8 nexthdr, const struct in6_addr *home)
{
	const u8 start[] = { nexthdr, DSMIP_EXTENSION / 8 - 1, 1, 2, 0, 0,
			     IPV6_TLV_HAO, sizeof(*home) };

	memcpy(at, start, sizeof(start));
	memcpy(at + 8, home, sizeof(*home));
}

/* Whether the address is one of our home addresses. */
static bool dsmip_is_mobile_home(const struct dsmip_device *dsmip, const struct in6_addr *addr)
{
	const struct dsmip_binding *binding = dsmip_trie_lookup6(&dsmip->local, addr);

	return binding && binding->flags & DSMIP_BINDING_F_MOBILE &&
	       ipv6_addr_equal(&binding->home, addr);
}

/*
 * RFC 6275 sections 9.3.2 and 11.3.1: a type 2 routing header when the
 * destination is away from home, a Home Address option when we are.
 */
static int dsmip_xmit_direct(struct dsmip_device *dsmip, struct sk_buff *skb,
			     const struct dsmip_binding *binding, struct dsmip_path *path)
{
	const struct dsmip_path_config *config = &path->config;
	struct ipv6hdr *ip6 = ipv6_hdr(skb);
	bool to_away = !ipv6_addr_equal(&ip6->daddr, &config->remote.v6);
	bool from_away = binding->flags & DSMIP_BINDING_F_DIRECT ?
				 dsmip_is_mobile_home(dsmip, &ip6->saddr) :
				 !ipv6_addr_equal(&ip6->saddr, &config->local.v6);
	unsigned int room = (to_away + from_away) * DSMIP_EXTENSION;
	struct dst_entry *dst;
	bool fragment;
	u8 *at;

	if (ip6->nexthdr == NEXTHDR_HOP || ip6->nexthdr == NEXTHDR_ROUTING ||
	    ip6->nexthdr == NEXTHDR_DEST) {
		/* Ours would have to go into the middle of a chain that is not ours. */
		dsmip_count(dsmip, DSMIP_COUNT_TX_NO_PATH);
		goto drop;
	}
	dst = dsmip_path_route6(dsmip, path);
	if (IS_ERR(dst)) {
		dsmip_count(dsmip, DSMIP_COUNT_TX_NO_ROUTE);
		goto drop;
	}
	if (!dsmip_fits(dsmip, skb, dst, room, &fragment) || dsmip_make_room(skb, dst, room)) {
		dst_release(dst);
		goto drop;
	}

	skb_push(skb, room);
	memmove(skb->data, skb->data + room, sizeof(*ip6));
	skb_reset_network_header(skb);
	skb_reset_mac_header(skb);
	ip6 = ipv6_hdr(skb);
	at = (u8 *)(ip6 + 1);
	if (to_away) {
		dsmip_put_routing(at, from_away ? NEXTHDR_DEST : ip6->nexthdr, &ip6->daddr);
		ip6->daddr = config->remote.v6;
	}
	if (from_away) {
		dsmip_put_home_address(at + room - DSMIP_EXTENSION, ip6->nexthdr, &ip6->saddr);
		ip6->saddr = config->local.v6;
	}
	ip6->nexthdr = to_away ? NEXTHDR_ROUTING : from_away ? NEXTHDR_DEST : ip6->nexthdr;
	if (!skb_is_gso(skb))
		ip6->payload_len = htons(skb->len - sizeof(*ip6));
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	skb->ignore_df = fragment;
	memset(IP6CB(skb), 0, sizeof(*IP6CB(skb)));
	nf_reset_ct(skb);
	ip6_local_out(dsmip->net, skb->sk, skb);
	return 0;

drop:
	kfree_skb(skb);
	return -ENETUNREACH;
}

/* --- choice --------------------------------------------------------------- */

static struct dsmip_path *dsmip_choose(const struct dsmip_device *dsmip,
				       const struct dsmip_binding *binding, u32 mark)
{
	struct dsmip_path_set *set = rcu_dereference(binding->paths);
	u32 mask = smp_load_acquire(&dsmip->mark_mask);	/* then the shift */
	struct dsmip_path *path;

	if (!set)
		return NULL;
	if (mask && mark & mask) {
		path = dsmip_path_by_bid(set, (mark & mask) >> dsmip->mark_shift);
		if (path && !(path->config.flags & DSMIP_PATH_F_DOWN))
			return path;
	}
	return set->active;
}

/* The path that is to get a copy, NULL in most cases. */
static struct dsmip_path *dsmip_choose_copy(const struct dsmip_device *dsmip,
					    const struct dsmip_binding *binding,
					    const struct dsmip_path *first, u32 mark)
{
	u32 mask = smp_load_acquire(&dsmip->copy_mask);	/* then the shift */
	struct dsmip_path_set *set;
	struct dsmip_path *path;

	if (likely(!mask || !(mark & mask)))
		return NULL;
	set = rcu_dereference(binding->paths);
	path = set ? dsmip_path_by_bid(set, (mark & mask) >> dsmip->copy_shift) : NULL;
	if (!path || path == first || path->config.flags & DSMIP_PATH_F_DOWN)
		return NULL;
	return path;
}

/* The two ends of a tunnel talk to each other without it. */
static bool dsmip_is_direct(const struct dsmip_binding *binding, const struct dsmip_path *path,
			    const struct sk_buff *skb)
{
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);

	if (path->config.kind == DSMIP_KIND_RO)
		return true;
	if (path->config.kind != DSMIP_KIND_IP6 || skb->protocol != htons(ETH_P_IPV6))
		return false;
	if (ip6->nexthdr == NEXTHDR_HOP || ip6->nexthdr == NEXTHDR_ROUTING ||
	    ip6->nexthdr == NEXTHDR_DEST)
		return false;
	if (binding->flags & DSMIP_BINDING_F_MOBILE)
		return ipv6_addr_equal(&ip6->saddr, &binding->home) &&
		       ipv6_addr_equal(&ip6->daddr, &path->config.remote.v6);
	return ipv6_addr_equal(&ip6->saddr, &path->config.local.v6) &&
	       ipv6_addr_equal(&ip6->daddr, &binding->home);
}

static int dsmip_send(struct dsmip_device *dsmip, struct sk_buff *skb,
		      const struct dsmip_binding *binding, struct dsmip_path *path)
{
	const struct dsmip_path_config *config = &path->config;
	unsigned int overhead = dsmip_overhead(config->kind);
	bool fragment;

	if (dsmip_is_direct(binding, path, skb)) {
		if (skb->protocol == htons(ETH_P_IPV6))
			return dsmip_xmit_direct(dsmip, skb, binding, path);
		dsmip_count(dsmip, DSMIP_COUNT_TX_NO_PATH);
		goto drop;
	}
	if (config->kind == DSMIP_KIND_IP6) {
		struct dst_entry *dst = dsmip_path_route6(dsmip, path);

		if (IS_ERR(dst))
			goto no_route;
		if (!dsmip_fits(dsmip, skb, dst, overhead, &fragment) ||
		    dsmip_make_room(skb, dst, overhead)) {
			dst_release(dst);
			goto drop;
		}
		return dsmip_encap6(dsmip, skb, dst, &config->local.v6, &config->remote.v6,
				    fragment);
	} else {
		struct rtable *rt = dsmip_path_route4(dsmip, path);

		if (IS_ERR(rt))
			goto no_route;
		if (!dsmip_fits(dsmip, skb, &rt->dst, overhead, &fragment) ||
		    dsmip_make_room(skb, &rt->dst, overhead)) {
			ip_rt_put(rt);
			goto drop;
		}
		return dsmip_encap4(dsmip, skb, rt, config->kind, config->local.v4,
				    config->remote.v4, config->remote_port, fragment);
	}

no_route:
	dsmip_count(dsmip, DSMIP_COUNT_TX_NO_ROUTE);
	if (skb->protocol == htons(ETH_P_IPV6))
		icmpv6_ndo_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0);
	else
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
drop:
	kfree_skb(skb);
	return -ENETUNREACH;
}

/*
 * The binding that takes a packet around the home agent: from a home address of
 * ours (and nothing else of a mobile network, RFC 3963), or from this host to a
 * mobile node. Mobility messages are not routed by it (RFC 6275 section 6.1).
 */
static struct dsmip_binding *dsmip_direct(struct dsmip_device *dsmip, struct sk_buff *skb)
{
	const struct dsmip_path_set *set;
	struct dsmip_binding *binding;
	const struct ipv6hdr *ip6;

	if (!rcu_access_pointer(dsmip->direct.root6) || skb->protocol != htons(ETH_P_IPV6) ||
	    !pskb_network_may_pull(skb, sizeof(*ip6)))
		return NULL;
	ip6 = ipv6_hdr(skb);
	if (ip6->nexthdr == IPPROTO_MH || ip6->nexthdr == NEXTHDR_HOP ||
	    ip6->nexthdr == NEXTHDR_ROUTING || ip6->nexthdr == NEXTHDR_DEST)
		return NULL;
	binding = dsmip_trie_lookup6(&dsmip->direct, &ip6->daddr);
	set = binding ? rcu_dereference(binding->paths) : NULL;
	if (!set || !set->active)
		return NULL;
	if (ipv6_addr_equal(&set->active->config.remote.v6, &binding->home))
		return dsmip_is_mobile_home(dsmip, &ip6->saddr) ? binding : NULL;
	return ipv6_chk_addr(dev_net(dsmip->dev), &ip6->saddr, NULL, 0) ? binding : NULL;
}

/* Whoever optimises routes wants to know to whom our home address speaks. */
static void dsmip_tell_tunnelled(struct dsmip_device *dsmip, const struct dsmip_binding *binding,
				 const struct dsmip_path *path, const struct sk_buff *skb)
{
	struct dsmip_path_config config = { .kind = DSMIP_KIND_RO };
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);
	unsigned long last, wait;

	if (skb->protocol != htons(ETH_P_IPV6) || ip6->nexthdr == IPPROTO_MH ||
	    !ipv6_addr_equal(&ip6->saddr, &binding->home) ||
	    (path->config.kind == DSMIP_KIND_IP6 &&
	     ipv6_addr_equal(&ip6->daddr, &path->config.remote.v6)))
		return;
	last = READ_ONCE(dsmip->tunnelled_at);
	wait = ipv6_addr_equal(&ip6->daddr, &dsmip->tunnelled_to) ? DSMIP_TUNNELLED_AGAIN :
								     DSMIP_TUNNELLED_INTERVAL;
	if (time_before(jiffies, last + wait) ||
	    cmpxchg(&dsmip->tunnelled_at, last, jiffies) != last)
		return;
	dsmip->tunnelled_to = ip6->daddr;
	config.local.v6 = ip6->saddr;
	config.remote.v6 = ip6->daddr;
	dsmip_event(dsmip, DSMIP_EVENT_TUNNELLED, &binding->home, &config, GFP_ATOMIC);
}

/*
 * Several home addresses of a mobile node are several bindings, by the same paths:
 * what has one as its source may go by another's, if that leads to the home agent
 * that serves it as well.
 */
static bool dsmip_same_agent(const struct dsmip_binding *source,
			     const struct dsmip_binding *binding)
{
	struct dsmip_path_set *way = rcu_dereference(binding->paths);
	struct dsmip_path_set *own = rcu_dereference(source->paths);
	const struct dsmip_path_config *active;
	unsigned int i;

	if (!way || !way->active || !own || !(source->flags & DSMIP_BINDING_F_MOBILE))
		return false;
	active = &way->active->config;
	for (i = 0; i < own->count; i++) {
		const struct dsmip_path_config *config = &own->path[i]->config;

		if (config->kind == active->kind &&
		    (dsmip_kind_is_v6(config->kind) ?
			     ipv6_addr_equal(&config->remote.v6, &active->remote.v6) :
			     config->remote.v4 == active->remote.v4))
			return true;
	}
	return false;
}

/* What the inner destination and source allow; the counter of the drop, or -1. */
static int dsmip_admit(struct dsmip_device *dsmip, struct sk_buff *skb,
		       struct dsmip_binding **binding)
{
	struct dsmip_binding *source;

	*binding = NULL;
	if (skb->protocol == htons(ETH_P_IPV6) &&
	    pskb_network_may_pull(skb, sizeof(struct ipv6hdr))) {
		const struct ipv6hdr *ip6 = ipv6_hdr(skb);

		if (dsmip_on_link6(&ip6->daddr))
			return DSMIP_COUNT_TX_NO_BINDING;
		*binding = dsmip_trie_lookup6(&dsmip->remote, &ip6->daddr);
		if (!*binding)
			return DSMIP_COUNT_TX_NO_BINDING;
		if (!READ_ONCE((*binding)->has_local))
			return -1;
		source = dsmip_trie_lookup6(&dsmip->local, &ip6->saddr);
	} else if (skb->protocol == htons(ETH_P_IP) &&
		   pskb_network_may_pull(skb, sizeof(struct iphdr))) {
		const struct iphdr *ip4 = ip_hdr(skb);

		if (ipv4_is_multicast(ip4->daddr))
			return DSMIP_COUNT_TX_NO_BINDING;
		*binding = dsmip_trie_lookup4(&dsmip->remote, ip4->daddr);
		if (!*binding)
			return DSMIP_COUNT_TX_NO_BINDING;
		if (!READ_ONCE((*binding)->has_local))
			return -1;
		source = dsmip_trie_lookup4(&dsmip->local, ip4->saddr);
	} else {
		return DSMIP_COUNT_TX_NO_BINDING;
	}
	return source == *binding || (source && dsmip_same_agent(source, *binding)) ?
		       -1 : DSMIP_COUNT_TX_BAD_SOURCE;
}

static void dsmip_send_by(struct dsmip_device *dsmip, struct sk_buff *skb,
			  const struct dsmip_binding *binding, struct dsmip_path *path)
{
	unsigned int len = skb->len;

	skb_reset_mac_header(skb);
	__this_cpu_inc(dsmip_xmit_depth);
	if (!dsmip_send(dsmip, skb, binding, path)) {
		dsmip_stats_tx(dsmip->stats, len);
		dsmip_stats_tx(binding->stats, len);
		dsmip_stats_tx(path->stats, len);
	}
	__this_cpu_dec(dsmip_xmit_depth);
}

netdev_tx_t dsmip_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct dsmip_device *dsmip = netdev_priv(dev);
	struct dsmip_path *path, *second;
	struct dsmip_binding *binding;
	int why = -1;

	rcu_read_lock();
	binding = dsmip_direct(dsmip, skb);
	if (!binding)
		why = dsmip_admit(dsmip, skb, &binding);
	if (unlikely(why >= 0)) {
		if (why == DSMIP_COUNT_TX_NO_BINDING && skb->protocol == htons(ETH_P_IPV6) &&
		    !dsmip_on_link6(&ipv6_hdr(skb)->daddr))
			icmpv6_ndo_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0);
		else if (why == DSMIP_COUNT_TX_NO_BINDING && skb->protocol == htons(ETH_P_IP))
			icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
		goto drop;
	}
	path = dsmip_choose(dsmip, binding, skb->mark);
	if (unlikely(!path || READ_ONCE(dsmip->net_gone))) {
		why = DSMIP_COUNT_TX_NO_PATH;
		goto drop;
	}
	if (unlikely(__this_cpu_read(dsmip_xmit_depth) >= DSMIP_XMIT_DEPTH_MAX)) {
		why = DSMIP_COUNT_TX_NESTED;
		goto drop;
	}

	if (unlikely(READ_ONCE(dsmip->tell_tunnelled)) &&
	    binding->flags & DSMIP_BINDING_F_MOBILE)
		dsmip_tell_tunnelled(dsmip, binding, path, skb);
	second = dsmip_choose_copy(dsmip, binding, path, skb->mark);
	if (unlikely(second)) {
		struct sk_buff *copy = skb_copy(skb, GFP_ATOMIC);

		if (copy)
			dsmip_send_by(dsmip, copy, binding, second);
	}
	dsmip_send_by(dsmip, skb, binding, path);
	rcu_read_unlock();
	return NETDEV_TX_OK;

drop:
	dsmip_count(dsmip, why);
	rcu_read_unlock();
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

void dsmip_send4(struct dsmip_device *dsmip, struct sk_buff *skb, u8 kind, __be32 local,
		 __be32 remote, __be16 port, u32 ifindex)
{
	struct rtable *rt;

	rt = dsmip_route4(dsmip->net, &local, remote,
			  kind == DSMIP_KIND_UDP4 ? IPPROTO_UDP : IPPROTO_IPV6, ifindex, skb->mark);
	if (IS_ERR(rt)) {
		dsmip_count(dsmip, DSMIP_COUNT_TX_NO_ROUTE);
		kfree_skb(skb);
		return;
	}
	if (dsmip_make_room(skb, &rt->dst, dsmip_overhead(kind))) {
		ip_rt_put(rt);
		kfree_skb(skb);
		return;
	}
	skb->ignore_df = 1;
	skb_reset_mac_header(skb);
	dsmip_stats_tx(dsmip->stats, skb->len);
	dsmip_encap4(dsmip, skb, rt, kind, local, remote, port, true);
}
