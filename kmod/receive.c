// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decapsulation. An inner source belongs to one binding, and only that
 * binding's paths may bring it (RFC 3963 section 9, RFC 5555 section 4.5).
 * Signalling to this host is let in from anywhere, with a Care-of option that
 * tells from where: IPsec policy and the daemon judge it.
 */
#include <linux/icmp.h>
#include <linux/inetdevice.h>
#include <linux/udp.h>
#include <net/addrconf.h>
#include <net/icmp.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ip_tunnels.h>
#include <net/ipv6.h>
#include <net/udp.h>
#include <net/xfrm.h>

#include "copies.h"
#include "demux.h"
#include "homeform.h"
#include "netlink.h"
#include "receive.h"

/* Mobile networks can be nested; each level costs a header. */
#define DSMIP_NESTING_MAX 4
/* NEW_SOURCE events of one binding are at least this far apart. */
#define DSMIP_NEW_SOURCE_INTERVAL (HZ / 4)

static DEFINE_PER_CPU(bool, dsmip_delivering);

/* The outer side of a packet, taken down before its headers go. */
struct dsmip_outer {
	union dsmip_address source;
	union dsmip_address destination;
	u32 ifindex;
	__be16 port;
	u8 kind;
	u8 dsfield;
};

static bool dsmip_path_is(const struct dsmip_path_config *config, const struct dsmip_outer *outer)
{
	if (config->kind != outer->kind)
		return false;
	if (outer->kind == DSMIP_KIND_IP6)
		return ipv6_addr_equal(&config->remote.v6, &outer->source.v6);
	return config->remote.v4 == outer->source.v4 && config->remote_port == outer->port;
}

static struct dsmip_path *dsmip_path_from(const struct dsmip_binding *binding,
					  const struct dsmip_outer *outer)
{
	struct dsmip_path_set *set = rcu_dereference(binding->paths);
	struct dsmip_path *found = NULL;
	unsigned int i;

	for (i = 0; set && i < set->count; i++) {
		struct dsmip_path *path = set->path[i];

		if (!dsmip_path_is(&path->config, outer))
			continue;
		found = path;
		/* All of a router's paths lead to one agent: our own end tells them apart. */
		if (outer->kind == DSMIP_KIND_IP6 ?
			    ipv6_addr_equal(&path->config.local.v6, &outer->destination.v6) :
			    path->config.local.v4 == outer->destination.v4)
			break;
	}
	return found;
}

struct dsmip_path *dsmip_path_from6(const struct dsmip_binding *binding, u8 kind,
				    const struct in6_addr *source)
{
	struct dsmip_path_set *set = rcu_dereference(binding->paths);
	unsigned int i;

	for (i = 0; set && i < set->count; i++)
		if (set->path[i]->config.kind == kind &&
		    ipv6_addr_equal(&set->path[i]->config.remote.v6, source))
			return set->path[i];
	return NULL;
}

void dsmip_path_heard(struct dsmip_device *dsmip, struct dsmip_binding *binding,
		      struct dsmip_path *path, unsigned int len)
{
	unsigned long now = jiffies;

	dsmip_stats_rx(binding->stats, len);
	dsmip_stats_rx(path->stats, len);
	if (READ_ONCE(path->last_rx) != now || !READ_ONCE(path->heard)) {
		WRITE_ONCE(path->last_rx, now);
		WRITE_ONCE(path->heard, true);
	}
	if (unlikely(READ_ONCE(path->await)) && xchg(&path->await, false))
		dsmip_event(dsmip, DSMIP_EVENT_PATH_HEARD, &binding->home, &path->config,
			    GFP_ATOMIC);
}

static void dsmip_new_source(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			     const struct dsmip_outer *outer)
{
	struct dsmip_path_config config = {
		.kind = outer->kind,
		.local = outer->destination,
		.remote = outer->source,
		.remote_port = outer->port,
		.ifindex = outer->ifindex,
	};
	unsigned long last = READ_ONCE(binding->new_source_at);

	if (time_before(jiffies, last + DSMIP_NEW_SOURCE_INTERVAL) ||
	    cmpxchg(&binding->new_source_at, last, jiffies) != last)
		return;
	dsmip_event(dsmip, DSMIP_EVENT_NEW_SOURCE, &binding->home, &config, GFP_ATOMIC);
}

static bool dsmip_own6(const struct dsmip_device *dsmip, const struct in6_addr *addr)
{
	return ipv6_chk_addr(dev_net(dsmip->dev), addr, NULL, 0);
}

/*
 * Packets come in trains: a source that was found to be nobody's here is not
 * looked up again within a tick. An address of our own is known a tick late.
 */
struct dsmip_foreign {
	const struct dsmip_device *dsmip;
	unsigned long at;
	struct in6_addr addr;
};

static DEFINE_PER_CPU(struct dsmip_foreign, dsmip_foreign);

static bool dsmip_own_source6(const struct dsmip_device *dsmip, const struct in6_addr *addr)
{
	struct dsmip_foreign *last = this_cpu_ptr(&dsmip_foreign);
	unsigned long now = jiffies;

	if (likely(last->at == now && last->dsmip == dsmip && ipv6_addr_equal(&last->addr, addr)))
		return false;
	if (dsmip_own6(dsmip, addr))
		return true;
	last->dsmip = dsmip;
	last->at = now;
	last->addr = *addr;
	return false;
}

static bool dsmip_own4(const struct dsmip_device *dsmip, __be32 addr)
{
	return inet_addr_type(dev_net(dsmip->dev), addr) == RTN_LOCAL;
}

/*
 * The length that the inner header, pull octets behind skb->data, claims; 0
 * when it cannot be. The header is in the linear part then.
 */
static unsigned int dsmip_inner_length(struct sk_buff *skb, unsigned int pull, u8 *version)
{
	unsigned int length;

	if (!pskb_may_pull(skb, pull + sizeof(struct iphdr)))
		return 0;
	*version = skb->data[pull] >> 4;
	if (*version == 6) {
		if (!pskb_may_pull(skb, pull + sizeof(struct ipv6hdr)))
			return 0;
		length = ntohs(((struct ipv6hdr *)(skb->data + pull))->payload_len) +
			 sizeof(struct ipv6hdr);
	} else if (*version == 4) {
		const struct iphdr *ip4 = (const struct iphdr *)(skb->data + pull);

		length = ntohs(ip4->tot_len);
		if (ip4->ihl < 5 || length < ip4->ihl * 4)
			return 0;
	} else {
		return 0;
	}
	return length <= skb->len - pull ? length : 0;
}

static u8 dsmip_version(struct sk_buff *skb, int offset)
{
	u8 copy, *first = skb_header_pointer(skb, offset, sizeof(copy), &copy);

	return first ? *first >> 4 : 0;
}

static bool dsmip_is_tunnel(u8 proto)
{
	return proto == IPPROTO_IPV6 || proto == IPPROTO_IPIP;
}

/*
 * How many more layers for this host follow the inner header at offset 0. It
 * stops counting at one above the bound.
 */
static unsigned int dsmip_nesting(const struct dsmip_device *dsmip, struct sk_buff *skb)
{
	unsigned int depth = 0;
	int offset = 0;

	while (depth <= DSMIP_NESTING_MAX) {
		u8 proto;

		if (dsmip_version(skb, offset) == 6) {
			struct ipv6hdr copy, *ip6;

			ip6 = skb_header_pointer(skb, offset, sizeof(copy), &copy);
			if (!ip6 || !dsmip_is_tunnel(ip6->nexthdr) ||
			    !dsmip_own6(dsmip, &ip6->daddr))
				break;
			offset += sizeof(*ip6);
		} else {
			struct iphdr copy, *ip4;

			ip4 = skb_header_pointer(skb, offset, sizeof(copy), &copy);
			if (!ip4 || ip4->version != 4 || ip4->ihl < 5)
				break;
			proto = ip4->protocol;
			if ((!dsmip_is_tunnel(proto) && proto != IPPROTO_UDP) ||
			    !dsmip_own4(dsmip, ip4->daddr))
				break;
			offset += ip4->ihl * 4;
			if (proto == IPPROTO_UDP) {
				struct udphdr udp_copy, *udp;

				udp = skb_header_pointer(skb, offset, sizeof(udp_copy), &udp_copy);
				if (!udp || udp->dest != dsmip->port)
					break;
				offset += sizeof(*udp);
			}
		}
		depth++;
	}
	return depth;
}

static bool dsmip_is_signalling(const struct dsmip_device *dsmip, const struct ipv6hdr *ip6)
{
	return (ip6->nexthdr == IPPROTO_ESP || ip6->nexthdr == IPPROTO_MH) &&
	       dsmip_own6(dsmip, &ip6->daddr);
}

/* Writes down where signalling came from, between its IPv6 header and the rest. */
static int dsmip_insert_careof(struct sk_buff *skb, const struct dsmip_outer *outer)
{
	struct dsmip_careof_header *header;
	struct ipv6hdr *ip6;
	int err;

	if (skb_is_gso(skb) || skb->len + sizeof(*header) > IPV6_MAXPLEN)
		return -EMSGSIZE;
	err = skb_cow_head(skb, sizeof(*header));
	if (err)
		return err;
	skb_push(skb, sizeof(*header));
	memmove(skb->data, skb->data + sizeof(*header), sizeof(*ip6));
	ip6 = (struct ipv6hdr *)skb->data;
	header = (struct dsmip_careof_header *)(ip6 + 1);
	dsmip_careof_fill(header, ip6->nexthdr);
	if (outer->kind == DSMIP_KIND_IP6)
		memcpy(header->careof.address, &outer->source.v6, sizeof(outer->source.v6));
	else
		ipv6_addr_set_v4mapped(outer->source.v4,
				       (struct in6_addr *)header->careof.address);
	header->careof.port = outer->port;
	header->careof.kind = outer->kind;
	header->careof.ifindex = htonl(outer->ifindex);
	ip6->nexthdr = NEXTHDR_DEST;
	ip6->payload_len = htons(ntohs(ip6->payload_len) + sizeof(*header));
	skb->ip_summed = CHECKSUM_NONE;
	return 0;
}

/*
 * Judges an inner packet, skb->data at its IP header. Returns the binding and
 * path that bring it, both NULL for signalling that no binding brings; or the
 * reason for the drop.
 */
static int dsmip_judge(struct dsmip_device *dsmip, struct sk_buff *skb, u8 version,
		       const struct dsmip_outer *outer, struct dsmip_binding **binding,
		       struct dsmip_path **path, bool *signalling)
{
	const struct dsmip_binding *target = NULL;

	*path = NULL;
	*signalling = false;
	if (version == 6) {
		const struct ipv6hdr *ip6 = (const struct ipv6hdr *)skb->data;

		if (!dsmip_routable6(&ip6->saddr) || !dsmip_routable6(&ip6->daddr) ||
		    dsmip_own_source6(dsmip, &ip6->saddr))
			return DSMIP_COUNT_RX_BAD_INNER;
		if (ip6->nexthdr == NEXTHDR_DEST &&
		    dsmip_find_option(skb, sizeof(*ip6), DSMIP_CAREOF_TYPE))
			return DSMIP_COUNT_RX_FORGED_CAREOF;
		*signalling = dsmip_is_signalling(dsmip, ip6);
		*binding = dsmip_trie_lookup6(&dsmip->remote, &ip6->saddr);
	} else {
		const struct iphdr *ip4 = (const struct iphdr *)skb->data;

		if (!dsmip_routable4(ip4->saddr) || dsmip_own4(dsmip, ip4->saddr) ||
		    ipv4_is_multicast(ip4->daddr) || ipv4_is_loopback(ip4->daddr))
			return DSMIP_COUNT_RX_BAD_INNER;
		*binding = dsmip_trie_lookup4(&dsmip->remote, ip4->saddr);
	}
	if (*binding)
		*path = dsmip_path_from(*binding, outer);
	if (*signalling)
		return -1;
	if (!*binding)
		return DSMIP_COUNT_RX_NO_BINDING;
	if (!*path)
		return DSMIP_COUNT_RX_WRONG_SOURCE;
	if (READ_ONCE((*binding)->has_local)) {
		target = version == 6 ?
				 dsmip_trie_lookup6(&dsmip->local, &ipv6_hdr(skb)->daddr) :
				 dsmip_trie_lookup4(&dsmip->local, ip_hdr(skb)->daddr);
		/* Several home addresses are several bindings, by the same paths. */
		if (target != *binding && (!target || !dsmip_path_from(target, outer)))
			return DSMIP_COUNT_RX_BAD_DESTINATION;
	}
	if (unlikely(version == 6 ? dsmip_is_tunnel(ipv6_hdr(skb)->nexthdr) :
				    dsmip_is_tunnel(ip_hdr(skb)->protocol) ||
					    ip_hdr(skb)->protocol == IPPROTO_UDP) &&
	    dsmip_nesting(dsmip, skb) > DSMIP_NESTING_MAX)
		return DSMIP_COUNT_RX_NESTED;
	return -1;
}

/*
 * Straight on, without a turn in the backlog. A tunnel in this tunnel takes
 * that turn: the stack has room for one more way through the host, not for one
 * with each layer.
 */
static void dsmip_deliver(struct sk_buff *skb)
{
	if (__this_cpu_read(dsmip_delivering)) {
		netif_rx(skb);
		return;
	}
	__this_cpu_write(dsmip_delivering, true);
	netif_receive_skb(skb);
	__this_cpu_write(dsmip_delivering, false);
}

/*
 * The inner header is pull octets behind skb->data. Returns 0 when the packet
 * was consumed, 1 when a tunnel packet may be another driver's.
 */
static int dsmip_receive(struct dsmip_device *dsmip, struct sk_buff *skb,
			 const struct dsmip_outer *outer, unsigned int pull)
{
	struct dsmip_binding *binding;
	struct dsmip_path *path;
	int outer_offset = skb_network_offset(skb), why;
	unsigned int length;
	bool signalling;
	u8 version;

	length = dsmip_inner_length(skb, pull, &version);
	if (!length) {
		dsmip_count(dsmip, DSMIP_COUNT_RX_MALFORMED);
		goto drop;
	}

	/* The judge reads the packet as if the outer headers were gone already. */
	__skb_pull(skb, pull);
	skb_reset_network_header(skb);
	why = dsmip_judge(dsmip, skb, version, outer, &binding, &path, &signalling);
	if (why >= 0) {
		dsmip_count(dsmip, why);
		if (why == DSMIP_COUNT_RX_WRONG_SOURCE)
			dsmip_new_source(dsmip, binding, outer);
		if (outer->kind != DSMIP_KIND_UDP4 &&
		    (why == DSMIP_COUNT_RX_NO_BINDING || why == DSMIP_COUNT_RX_WRONG_SOURCE)) {
			__skb_push(skb, pull);
			skb_set_network_header(skb, outer_offset);
			return 1;
		}
		goto drop;
	}
	__skb_push(skb, pull);

	skb->protocol = version == 6 ? htons(ETH_P_IPV6) : htons(ETH_P_IP);
	if (__iptunnel_pull_header(skb, pull, skb->protocol, false,
				   !net_eq(dsmip->net, dev_net(dsmip->dev)))) {
		dsmip_count(dsmip, DSMIP_COUNT_RX_MALFORMED);
		goto drop;
	}
	if (pskb_trim_rcsum(skb, length))
		goto drop;
	skb_reset_network_header(skb);
	if (path && !signalling && dsmip_is_copy(binding, path->config.bid, skb)) {
		dsmip_path_heard(dsmip, binding, path, length);
		dsmip_count(dsmip, DSMIP_COUNT_RX_COPY);
		goto drop;
	}
	if (INET_ECN_decapsulate(skb, outer->dsfield,
				 version == 6 ? ipv6_get_dsfield(ipv6_hdr(skb)) :
						ip_hdr(skb)->tos) > 1) {
		dsmip_count(dsmip, DSMIP_COUNT_RX_ECN);
		goto drop;
	}
	if (path)
		dsmip_path_heard(dsmip, binding, path, length);
	if (signalling) {
		if (dsmip_insert_careof(skb, outer)) {
			dsmip_count(dsmip, DSMIP_COUNT_RX_MALFORMED);
			goto drop;
		}
		skb_reset_network_header(skb);
	}
	skb_reset_mac_header(skb);
	skb->dev = dsmip->dev;
	skb->pkt_type = PACKET_HOST;
	dsmip_stats_rx(dsmip->stats, length);
	dsmip_deliver(skb);
	return 0;

drop:
	kfree_skb(skb);
	return 0;
}

int dsmip_udp_rcv(struct sock *sk, struct sk_buff *skb)
{
	struct dsmip_device *dsmip = rcu_dereference_sk_user_data(sk);
	const struct iphdr *ip4 = ip_hdr(skb);
	struct dsmip_outer outer = {
		.kind = DSMIP_KIND_UDP4,
		.ifindex = inet_iif(skb),
	};

	if (unlikely(!dsmip || !netif_running(dsmip->dev)))
		goto drop;
	/* A single octet is what keeps a NAT mapping in other protocols. */
	if (skb->len <= sizeof(struct udphdr) + 1)
		goto drop;
	outer.source.v4 = ip4->saddr;
	outer.destination.v4 = ip4->daddr;
	outer.dsfield = ip4->tos;
	outer.port = udp_hdr(skb)->source;
	return dsmip_receive(dsmip, skb, &outer, sizeof(struct udphdr));

drop:
	kfree_skb(skb);
	return 0;
}

/* Hands a tunnel packet to the devices of its namespace, most often just one. */
static __always_inline int dsmip_tunnel_rcv(const struct dsmip_net *here, struct sk_buff *skb,
					    const struct dsmip_outer *outer)
{
	struct dsmip_device *dsmip;

	list_for_each_entry_rcu(dsmip, &here->devices, list)
		if (netif_running(dsmip->dev) && !dsmip_receive(dsmip, skb, outer, 0))
			return 0;
	return -ENOENT;
}

static int dsmip_ip4_rcv(struct sk_buff *skb)
{
	const struct iphdr *ip4 = ip_hdr(skb);
	const struct dsmip_outer outer = {
		.kind = DSMIP_KIND_IP4,
		.source.v4 = ip4->saddr,
		.destination.v4 = ip4->daddr,
		.dsfield = ip4->tos,
		.ifindex = inet_iif(skb),
	};

	return dsmip_tunnel_rcv(dsmip_pernet(dev_net(skb->dev)), skb, &outer);
}

static int dsmip_ip6_rcv(struct sk_buff *skb)
{
	const struct ipv6hdr *ip6 = ipv6_hdr(skb);
	const struct dsmip_outer outer = {
		.kind = DSMIP_KIND_IP6,
		.source.v6 = ip6->saddr,
		.destination.v6 = ip6->daddr,
		.dsfield = ipv6_get_dsfield(ip6),
		.ifindex = inet6_iif(skb),
	};
	struct dsmip_net *here = dsmip_pernet(dev_net(skb->dev));

	if (!list_empty(&here->devices))
		dsmip_demux_learn(here, skb);
	return dsmip_tunnel_rcv(here, skb, &outer);
}

/*
 * An error about one of our packets: the core has noted a smaller MTU with the
 * route; the next packet meets it there and its sender is told.
 */
static int dsmip_ip4_err(struct sk_buff *skb, u32 info)
{
	const struct iphdr *ip4 = (const struct iphdr *)skb->data;
	struct net *net = dev_net(skb->dev);

	if (list_empty(&dsmip_pernet(net)->devices))
		return -ENOENT;
	if (icmp_hdr(skb)->type == ICMP_DEST_UNREACH && icmp_hdr(skb)->code == ICMP_FRAG_NEEDED)
		ipv4_update_pmtu(skb, net, info, skb->dev->ifindex, ip4->protocol);
	/* Another tunnel of this host may be meant. */
	return -ENOENT;
}

static int dsmip_ip6_err(struct sk_buff *skb, struct inet6_skb_parm *opt, u8 type, u8 code,
			 int offset, __be32 info)
{
	struct net *net = dev_net(skb->dev);

	if (list_empty(&dsmip_pernet(net)->devices))
		return -ENOENT;
	if (type == ICMPV6_PKT_TOOBIG)
		ip6_update_pmtu(skb, net, info, 0, 0, sock_net_uid(net, NULL));
	return -ENOENT;
}

/* Before sit, ipip and ip6_tunnel: they take any source when so configured. */
#define DSMIP_TUNNEL_PRIORITY (-1)

static struct xfrm_tunnel dsmip_tunnel64 = {
	.handler = dsmip_ip4_rcv,
	.err_handler = dsmip_ip4_err,
	.priority = DSMIP_TUNNEL_PRIORITY,
};

static struct xfrm_tunnel dsmip_tunnel44 = {
	.handler = dsmip_ip4_rcv,
	.err_handler = dsmip_ip4_err,
	.priority = DSMIP_TUNNEL_PRIORITY,
};

static struct xfrm6_tunnel dsmip_tunnel66 = {
	.handler = dsmip_ip6_rcv,
	.err_handler = dsmip_ip6_err,
	.priority = DSMIP_TUNNEL_PRIORITY,
};

static struct xfrm6_tunnel dsmip_tunnel46 = {
	.handler = dsmip_ip6_rcv,
	.err_handler = dsmip_ip6_err,
	.priority = DSMIP_TUNNEL_PRIORITY,
};

int dsmip_receive_init(void)
{
	int err;

	err = xfrm4_tunnel_register(&dsmip_tunnel64, AF_INET6);
	if (err)
		return err;
	err = xfrm4_tunnel_register(&dsmip_tunnel44, AF_INET);
	if (err)
		goto tunnel64;
	err = xfrm6_tunnel_register(&dsmip_tunnel66, AF_INET6);
	if (err)
		goto tunnel44;
	err = xfrm6_tunnel_register(&dsmip_tunnel46, AF_INET);
	if (err)
		goto tunnel66;
	return 0;

tunnel66:
	xfrm6_tunnel_deregister(&dsmip_tunnel66, AF_INET6);
tunnel44:
	xfrm4_tunnel_deregister(&dsmip_tunnel44, AF_INET);
tunnel64:
	xfrm4_tunnel_deregister(&dsmip_tunnel64, AF_INET6);
	return err;
}

void dsmip_receive_exit(void)
{
	xfrm6_tunnel_deregister(&dsmip_tunnel46, AF_INET);
	xfrm6_tunnel_deregister(&dsmip_tunnel66, AF_INET6);
	xfrm4_tunnel_deregister(&dsmip_tunnel44, AF_INET);
	xfrm4_tunnel_deregister(&dsmip_tunnel64, AF_INET6);
}
