// SPDX-License-Identifier: GPL-2.0-only
/*
 * Three netfilter hooks between wire form and home form. They stand outside of
 * defragmentation and inside of connection tracking, so that firewall, IPsec
 * and sockets see home addresses only.
 */
#include <linux/icmpv6.h>
#include <linux/netfilter_ipv6.h>
#include <net/addrconf.h>
#include <net/dst.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/xfrm.h>

#include "demux.h"
#include "homeform.h"
#include "netlink.h"
#include "receive.h"
#include "transmit.h"

/* Between defragmentation (-400) and connection tracking (-200). */
#define DSMIP_PRIORITY_IN (-300)
/* After everything that judges or rewrites outgoing packets. */
#define DSMIP_PRIORITY_OUT 300

#define DSMIP_STRANGER_INTERVAL (HZ / 10)

/* Home Address option and type 2 routing header, in their usual header. */
#define DSMIP_EXTENSION 24

int dsmip_find_option(struct sk_buff *skb, int header, u8 type)
{
	u8 buffer[2], *octets;
	int end, at, found = 0;

	octets = skb_header_pointer(skb, header, 2, buffer);
	if (!octets)
		return -EINVAL;
	end = header + (octets[1] + 1) * 8;
	if (end > skb->len)
		return -EINVAL;
	for (at = header + 2; at < end;) {
		octets = skb_header_pointer(skb, at, 1, buffer);
		if (!octets)
			return -EINVAL;
		if (octets[0] == IPV6_TLV_PAD1) {
			at++;
			continue;
		}
		octets = skb_header_pointer(skb, at, 2, buffer);
		if (!octets || at + 2 + octets[1] > end)
			return -EINVAL;
		if (octets[0] == type) {
			if (found || (at - header) % 8 != 6 ||
			    (octets[1] != DSMIP_CAREOF_LEN_SHORT &&
			     (type != DSMIP_CAREOF_TYPE || octets[1] != DSMIP_CAREOF_LEN_LONG)))
				return -EPROTO;
			found = at;
		}
		at += 2 + octets[1];
	}
	return found;
}

/* Makes the headers up to here ours to change. */
static bool dsmip_writable(struct sk_buff *skb, int length)
{
	if (skb_ensure_writable(skb, length))
		return false;
	if (skb->ip_summed == CHECKSUM_COMPLETE)
		skb->ip_summed = CHECKSUM_NONE;
	return true;
}

static struct dsmip_device *dsmip_first(struct net *net)
{
	return list_first_or_null_rcu(&dsmip_pernet(net)->devices, struct dsmip_device, list);
}

static unsigned int dsmip_drop(struct net *net, enum dsmip_counter why)
{
	struct dsmip_device *dsmip = dsmip_first(net);

	if (dsmip)
		dsmip_count(dsmip, why);
	return NF_DROP;
}

/* --- in ------------------------------------------------------------------- */

static void dsmip_stranger(struct net *net, const struct in6_addr *home,
			   const struct ipv6hdr *ip6)
{
	struct dsmip_path_config config = {
		.kind = DSMIP_KIND_RO,
		.local.v6 = ip6->daddr,
		.remote.v6 = ip6->saddr,
	};
	struct dsmip_device *dsmip = dsmip_first(net);
	unsigned long last;

	if (!dsmip)
		return;
	last = READ_ONCE(dsmip->stranger_at);
	if (time_before(jiffies, last + DSMIP_STRANGER_INTERVAL) ||
	    cmpxchg(&dsmip->stranger_at, last, jiffies) != last)
		return;
	dsmip_event(dsmip, DSMIP_EVENT_STRANGER, home, &config, GFP_ATOMIC);
}

/* RFC 6275 section 9.3.1: data with a home address needs a binding. */
static bool dsmip_is_bound(struct net *net, const struct in6_addr *home,
			   const struct in6_addr *careof, unsigned int len)
{
	struct dsmip_device *dsmip;

	list_for_each_entry_rcu(dsmip, &dsmip_pernet(net)->devices, list) {
		struct dsmip_binding *binding = dsmip_trie_lookup6(&dsmip->direct, home) ?:
						dsmip_trie_lookup6(&dsmip->remote, home);
		struct dsmip_path *path;

		if (!binding || !ipv6_addr_equal(&binding->home, home))
			continue;
		path = dsmip_path_from6(binding, DSMIP_KIND_RO, careof) ?:
			       dsmip_path_from6(binding, DSMIP_KIND_IP6, careof);
		if (path) {
			dsmip_path_heard(dsmip, binding, path, len);
			return true;
		}
	}
	return false;
}

/* Protocol after the header; of a fragment, what was fragmented. */
static int dsmip_upper(struct sk_buff *skb, int offset, u8 nexthdr)
{
	struct frag_hdr copy, *fragment;

	if (nexthdr != NEXTHDR_FRAGMENT)
		return nexthdr;
	fragment = skb_header_pointer(skb, offset, sizeof(copy), &copy);
	return fragment ? fragment->nexthdr : -1;
}

/* Without a binding of its own a node is not mobile, and takes no routing header. */
static bool dsmip_is_own_home(struct net *net, const struct in6_addr *home)
{
	struct dsmip_device *dsmip;

	list_for_each_entry_rcu(dsmip, &dsmip_pernet(net)->devices, list) {
		struct dsmip_binding *binding = dsmip_trie_lookup6(&dsmip->local, home);

		if (binding && ipv6_addr_equal(&binding->home, home))
			return true;
	}
	return false;
}

/* Home Address option: the source becomes the home address. */
static unsigned int dsmip_in_home_address(struct net *net, struct sk_buff *skb, int header,
					  int option)
{
	struct in6_addr home, careof;
	u8 nexthdr, length;
	int upper;

	if (!dsmip_writable(skb, option + 2 + sizeof(home)))
		return dsmip_drop(net, DSMIP_COUNT_RX_MALFORMED);
	memcpy(&home, skb->data + option + 2, sizeof(home));
	careof = ipv6_hdr(skb)->saddr;
	nexthdr = skb->data[header];
	length = skb->data[header + 1];
	if (!dsmip_routable6(&home) || !dsmip_routable6(&careof) ||
	    ipv6_chk_addr(net, &home, NULL, 0))
		return dsmip_drop(net, DSMIP_COUNT_RX_BAD_INNER);
	upper = dsmip_upper(skb, header + (length + 1) * 8, nexthdr);
	if (upper != IPPROTO_ESP && upper != IPPROTO_MH &&
	    !dsmip_is_bound(net, &home, &careof, skb->len)) {
		dsmip_stranger(net, &home, ipv6_hdr(skb));
		return dsmip_drop(net, DSMIP_COUNT_RX_STRANGER);
	}
	skb->data[option] = DSMIP_CAREOF_TYPE;
	memcpy(skb->data + option + 2, &careof, sizeof(careof));
	ipv6_hdr(skb)->saddr = home;
	return NF_ACCEPT;
}

/* Type 2 routing header: the destination becomes the home address. */
static unsigned int dsmip_in_routing(struct net *net, struct sk_buff *skb, int header,
				     int nexthdr_at)
{
	static const u8 start[] = { 1, 2, 0, 0, DSMIP_CAREOF_TYPE, DSMIP_CAREOF_LEN_SHORT };
	struct in6_addr home, careof;

	if (skb->len < header + DSMIP_EXTENSION || !dsmip_writable(skb, header + DSMIP_EXTENSION))
		return dsmip_drop(net, DSMIP_COUNT_RX_MALFORMED);
	memcpy(&home, skb->data + header + 8, sizeof(home));
	if (skb->data[header + 1] != 2 || skb->data[header + 3] != 1 || !dsmip_routable6(&home) ||
	    !dsmip_is_own_home(net, &home))
		return dsmip_drop(net, DSMIP_COUNT_RX_BAD_ROUTING);
	careof = ipv6_hdr(skb)->daddr;
	ipv6_hdr(skb)->daddr = home;
	skb->data[nexthdr_at] = NEXTHDR_DEST;
	memcpy(skb->data + header + 2, start, sizeof(start));
	memcpy(skb->data + header + 8, &careof, sizeof(careof));
	return NF_ACCEPT;
}

/*
 * A packet with a Care-of option is ours if it comes from our own device, which
 * lets none in but puts it there itself; or if it is what transport mode ESP
 * left of a packet that passed here before, and the option stood before ESP:
 * the transport header is where the decrypted part starts.
 */
static bool dsmip_careof_is_ours(const struct sk_buff *skb, int header)
{
	const struct sec_path *sp = skb_sec_path(skb);

	if (header != sizeof(struct ipv6hdr))
		return false;
	if (sp && sp->len)
		return sp->xvec[sp->len - 1]->props.mode == XFRM_MODE_TRANSPORT &&
		       header < skb_network_header_len(skb);
	return dsmip_is_device(skb->dev);
}

/* MH types of RFC 6275 that this side knows. */
#define DSMIP_MH_HOME_TEST 3

static bool dsmip_is_away(struct net *net, const struct in6_addr *home)
{
	struct dsmip_device *dsmip;

	list_for_each_entry_rcu(dsmip, &dsmip_pernet(net)->devices, list) {
		struct dsmip_binding *binding = dsmip_trie_lookup6(&dsmip->local, home);
		struct dsmip_path_set *set;

		if (!binding || !(binding->flags & DSMIP_BINDING_F_MOBILE) ||
		    !ipv6_addr_equal(&binding->home, home))
			continue;
		set = rcu_dereference(binding->paths);
		if (set && set->active)
			return true;
	}
	return false;
}

/*
 * A Home Test comes by the home agent's tunnel (RFC 6275 section 11.6.2): from
 * our device, or from IPsec's tunnel mode, which leaves nothing to tell the
 * daemon by. So what comes neither way must not come at all.
 */
static unsigned int dsmip_in_mobility(struct net *net, struct sk_buff *skb, int header,
				      bool fragment)
{
	u8 buffer[3], *octets;

	if (skb_sec_path(skb) || dsmip_is_device(skb->dev))
		return NF_ACCEPT;
	octets = skb_header_pointer(skb, header, sizeof(buffer), buffer);
	if (!octets || (octets[2] != DSMIP_MH_HOME_TEST && !fragment) ||
	    !dsmip_is_away(net, &ipv6_hdr(skb)->daddr))
		return NF_ACCEPT;
	return dsmip_drop(net, DSMIP_COUNT_RX_WRONG_SOURCE);
}

/* Out of line, like its mirror image: all packets pay for the hook's own stack. */
static noinline unsigned int dsmip_in_extensions(struct sk_buff *skb,
						 const struct nf_hook_state *state)
{
	int header = sizeof(struct ipv6hdr), nexthdr_at = offsetof(struct ipv6hdr, nexthdr);
	u8 nexthdr = ipv6_hdr(skb)->nexthdr;
	unsigned int i, verdict;
	bool fragment = false;

	/* Hop-by-hop, destination, routing, fragment, destination: no more than that. */
	for (i = 0; i < 5; i++) {
		u8 buffer[4], *octets;
		int option;

		octets = skb_header_pointer(skb, header, sizeof(buffer), buffer);
		if (!octets)
			return NF_ACCEPT;
		if (nexthdr == NEXTHDR_DEST) {
			option = dsmip_find_option(skb, header, DSMIP_CAREOF_TYPE);
			if (option == -EINVAL)
				return dsmip_drop(state->net, DSMIP_COUNT_RX_MALFORMED);
			if (option && !dsmip_careof_is_ours(skb, header))
				return dsmip_drop(state->net, DSMIP_COUNT_RX_FORGED_CAREOF);
			/* What is ours has been converted; a fragment was not put together. */
			if (option || fragment)
				option = 0;
			else
				option = dsmip_find_option(skb, header, IPV6_TLV_HAO);
			if (option && ipv6_chk_addr(state->net, &ipv6_hdr(skb)->daddr, NULL, 0)) {
				if (option < 0)
					return dsmip_drop(state->net, DSMIP_COUNT_RX_MALFORMED);
				verdict = dsmip_in_home_address(state->net, skb, header, option);
				if (verdict != NF_ACCEPT)
					return verdict;
			}
		} else if (nexthdr == NEXTHDR_ROUTING) {
			if (octets[2] != IPV6_SRCRT_TYPE_2 || !octets[3] || fragment ||
			    !ipv6_chk_addr(state->net, &ipv6_hdr(skb)->daddr, NULL, 0))
				return NF_ACCEPT;
			verdict = dsmip_in_routing(state->net, skb, header, nexthdr_at);
			if (verdict != NF_ACCEPT)
				return verdict;
		} else if (nexthdr == NEXTHDR_FRAGMENT) {
			/* Seen here only where nothing defragments; options are in the first. */
			if ((octets[2] << 8 | octets[3]) & IP6_OFFSET)
				return NF_ACCEPT;
			fragment = true;
		} else if (nexthdr == IPPROTO_MH) {
			return dsmip_in_mobility(state->net, skb, header, fragment);
		} else if (nexthdr != NEXTHDR_HOP) {
			return NF_ACCEPT;
		}
		octets = skb_header_pointer(skb, header, sizeof(buffer), buffer);
		if (!octets)
			return NF_ACCEPT;
		nexthdr_at = header;
		if (nexthdr == NEXTHDR_FRAGMENT)
			header += sizeof(struct frag_hdr);
		else
			header += (octets[1] + 1) * 8;
		nexthdr = octets[0];
	}
	return NF_ACCEPT;
}

static unsigned int dsmip_hook_in(void *priv, struct sk_buff *skb,
				  const struct nf_hook_state *state)
{
	switch (ipv6_hdr(skb)->nexthdr) {
	case IPPROTO_IPV6:
	case IPPROTO_IPIP:
		dsmip_demux(priv, state->net, skb);
		return NF_ACCEPT;
	case NEXTHDR_DEST:
	case NEXTHDR_ROUTING:
	case NEXTHDR_HOP:
	case NEXTHDR_FRAGMENT:
	case IPPROTO_MH:
		return dsmip_in_extensions(skb, state);
	default:
		return NF_ACCEPT;
	}
}

/* --- out ------------------------------------------------------------------ */

/* What the Care-of option of an outgoing packet says, and whose packet it is. */
struct dsmip_order {
	struct dsmip_device *dsmip;
	struct dsmip_binding *binding;
	bool mobile;			/* this host is the mobile side */
	u8 kind;
	union dsmip_address careof;
	__be16 port;
	u32 ifindex;
};

static bool dsmip_order_read(struct sk_buff *skb, int option, struct dsmip_order *order)
{
	u8 length = skb->data[option + 1];
	struct dsmip_careof careof;

	if (length == DSMIP_CAREOF_LEN_SHORT) {
		order->kind = DSMIP_KIND_IP6;
		memcpy(&order->careof.v6, skb->data + option + 2, sizeof(order->careof.v6));
		return true;
	}
	memcpy(&careof, skb->data + option + 2, sizeof(careof));
	order->kind = careof.kind;
	order->port = careof.port;
	order->ifindex = ntohl(careof.ifindex);
	if (careof.kind == DSMIP_KIND_UNSPEC)
		return true;
	if (dsmip_kind_is_v6(careof.kind)) {
		memcpy(&order->careof.v6, careof.address, sizeof(order->careof.v6));
		return dsmip_routable6(&order->careof.v6);
	}
	if (careof.kind > DSMIP_KIND_MAX ||
	    !ipv6_addr_v4mapped((const struct in6_addr *)careof.address))
		return false;
	memcpy(&order->careof.v4, careof.address + 12, sizeof(order->careof.v4));
	return dsmip_routable4(order->careof.v4);
}

static void dsmip_order_owner(struct net *net, const struct ipv6hdr *ip6,
			      struct dsmip_order *order)
{
	struct dsmip_device *dsmip;

	list_for_each_entry_rcu(dsmip, &dsmip_pernet(net)->devices, list) {
		struct dsmip_binding *binding = dsmip_trie_lookup6(&dsmip->local, &ip6->saddr);

		order->mobile = binding && ipv6_addr_equal(&binding->home, &ip6->saddr);
		if (!order->mobile) {
			binding = dsmip_trie_lookup6(&dsmip->remote, &ip6->daddr);
			if (binding && !ipv6_addr_equal(&binding->home, &ip6->daddr))
				binding = NULL;
		}
		if (!order->dsmip || binding) {
			order->dsmip = dsmip;
			order->binding = binding;
		}
		if (binding)
			return;
	}
}

/* "The active path" becomes that path. */
static bool dsmip_order_resolve(struct dsmip_order *order)
{
	struct dsmip_path_set *set = order->binding ? rcu_dereference(order->binding->paths) : NULL;
	const struct dsmip_path_config *config;

	if (!set || !set->active)
		return false;
	config = &set->active->config;
	order->kind = config->kind;
	order->careof = order->mobile ? config->local : config->remote;
	order->port = config->remote_port;
	order->ifindex = config->ifindex;
	return true;
}

/*
 * Replaces the Care-of option's header, which follows the IPv6 header, by room
 * octets of another kind. Returns their place.
 */
static u8 *dsmip_replace_header(struct sk_buff *skb, int room, u8 *nexthdr)
{
	int old = (skb->data[sizeof(struct ipv6hdr) + 1] + 1) * 8;
	struct ipv6hdr *ip6;

	*nexthdr = skb->data[sizeof(*ip6)];
	memmove(skb->data + old - room, skb->data, sizeof(*ip6));
	skb_pull(skb, old - room);
	skb_reset_network_header(skb);
	ip6 = ipv6_hdr(skb);
	ip6->payload_len = htons(skb->len - sizeof(*ip6));
	return (u8 *)(ip6 + 1);
}

static int dsmip_out_direct(struct net *net, struct sk_buff *skb, const struct dsmip_order *order)
{
	struct in6_addr home;
	struct ipv6hdr *ip6;
	struct flowi6 flow;
	struct dst_entry *dst;
	u8 nexthdr, *at;

	at = dsmip_replace_header(skb, DSMIP_EXTENSION, &nexthdr);
	ip6 = ipv6_hdr(skb);
	memset(at, 0, 8);
	at[0] = nexthdr;
	at[1] = DSMIP_EXTENSION / 8 - 1;
	if (order->mobile) {
		home = ip6->saddr;
		ip6->saddr = order->careof.v6;
		ip6->nexthdr = NEXTHDR_DEST;
		at[2] = IPV6_TLV_PADN;
		at[3] = 2;
		at[6] = IPV6_TLV_HAO;
		at[7] = sizeof(home);
	} else {
		home = ip6->daddr;
		ip6->daddr = order->careof.v6;
		ip6->nexthdr = NEXTHDR_ROUTING;
		at[2] = IPV6_SRCRT_TYPE_2;
		at[3] = 1;
	}
	memcpy(at + 8, &home, sizeof(home));

	flow = (struct flowi6) {
		.daddr = ip6->daddr,
		.saddr = ip6->saddr,
		.flowi6_oif = order->ifindex,
		.flowi6_mark = skb->mark,
		.flowi6_proto = nexthdr,
	};
	dst = ip6_dst_lookup_flow(net, NULL, &flow, NULL);
	if (IS_ERR(dst)) {
		dsmip_count(order->dsmip, DSMIP_COUNT_TX_NO_ROUTE);
		kfree_skb(skb);
		return -EHOSTUNREACH;
	}
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	skb->dev = dst->dev;
	memset(IP6CB(skb), 0, sizeof(*IP6CB(skb)));
	nf_reset_ct(skb);
	return ip6_local_out(net, skb->sk, skb);
}

static void dsmip_out_tunnel(struct sk_buff *skb, const struct dsmip_order *order)
{
	struct dsmip_path_set *set = order->binding ? rcu_dereference(order->binding->paths) : NULL;
	__be32 local = order->mobile ? order->careof.v4 : 0;
	__be32 remote = order->mobile ? 0 : order->careof.v4;
	__be16 port = order->port;
	unsigned int i;
	u8 nexthdr;

	/* The end that the option does not name is that of the path it means. */
	for (i = 0; set && i < set->count; i++) {
		const struct dsmip_path_config *config = &set->path[i]->config;

		if (dsmip_kind_is_v6(config->kind))
			continue;
		if (!order->mobile) {
			local = config->local.v4;
		} else if (config->local.v4 == local || !remote) {
			remote = config->remote.v4;
			port = config->remote_port;
			if (config->local.v4 == local && config->kind == order->kind)
				break;
		}
	}
	if (!remote) {
		dsmip_count(order->dsmip, DSMIP_COUNT_TX_NO_PATH);
		kfree_skb(skb);
		return;
	}
	dsmip_replace_header(skb, 0, &nexthdr);
	ipv6_hdr(skb)->nexthdr = nexthdr;
	nf_reset_ct(skb);
	dsmip_send4(order->dsmip, skb, order->kind, local, remote, port ?: htons(DSMIP_UDP_PORT),
		    order->ifindex);
}

/* The IPv6 header and the extension header behind it, both whole as checked. */
static int dsmip_headers_length(struct sk_buff *skb)
{
	u8 buffer[2], *octets;

	octets = skb_header_pointer(skb, sizeof(struct ipv6hdr), sizeof(buffer), buffer);
	return sizeof(struct ipv6hdr) + (octets ? (octets[1] + 1) * 8 : 0);
}

static noinline unsigned int dsmip_out_careof(struct sk_buff *skb,
					      const struct nf_hook_state *state)
{
	struct dsmip_order order = {};
	int option;

	/* Before ESP; this hook is passed once more after it. */
	if (skb_dst(skb) && dst_xfrm(skb_dst(skb)))
		return NF_ACCEPT;
	option = dsmip_find_option(skb, sizeof(struct ipv6hdr), DSMIP_CAREOF_TYPE);
	if (!option)
		return NF_ACCEPT;
	if (option < 0 || (skb->ip_summed == CHECKSUM_PARTIAL && skb_checksum_help(skb)) ||
	    !dsmip_writable(skb, dsmip_headers_length(skb)) ||
	    !dsmip_order_read(skb, option, &order))
		goto no_path;
	dsmip_order_owner(state->net, ipv6_hdr(skb), &order);
	if (!order.dsmip)
		return NF_DROP;
	if (order.kind == DSMIP_KIND_UNSPEC && !dsmip_order_resolve(&order))
		goto no_path;
	if (dsmip_kind_is_v6(order.kind))
		dsmip_out_direct(state->net, skb, &order);
	else
		dsmip_out_tunnel(skb, &order);
	return NF_STOLEN;

no_path:
	return dsmip_drop(state->net, DSMIP_COUNT_TX_NO_PATH);
}

/* --- nobody listens --------------------------------------------------------- */

/*
 * Without a protocol 135 socket the kernel answers a mobility message with
 * Parameter Problem, code 1, and a mobile node that sees it stops sending
 * updates (RFC 6275 section 11.3.5). A daemon that restarts is no reason for
 * that.
 */
static noinline unsigned int dsmip_out_icmp(struct sk_buff *skb, const struct nf_hook_state *state)
{
	int offset = sizeof(struct ipv6hdr);
	struct icmp6hdr copy, *icmp;
	u32 pointer;
	u8 value, *octet;

	icmp = skb_header_pointer(skb, offset, sizeof(copy), &copy);
	if (!icmp || icmp->icmp6_type != ICMPV6_PARAMPROB ||
	    icmp->icmp6_code != ICMPV6_UNK_NEXTHDR)
		return NF_ACCEPT;
	pointer = ntohl(icmp->icmp6_pointer);
	if (pointer >= IPV6_MIN_MTU)
		return NF_ACCEPT;
	octet = skb_header_pointer(skb, offset + sizeof(*icmp) + pointer, 1, &value);
	if (!octet || *octet != IPPROTO_MH)
		return NF_ACCEPT;
	return dsmip_drop(state->net, DSMIP_COUNT_MH_NOBODY);
}

/*
 * Not where forwarded packets pass as well: IPsec hands its output to this hook
 * again, so that what goes out of this host is seen here in its final form.
 */
static unsigned int dsmip_hook_out(void *priv, struct sk_buff *skb,
				   const struct nf_hook_state *state)
{
	switch (ipv6_hdr(skb)->nexthdr) {
	case NEXTHDR_DEST:
		return dsmip_out_careof(skb, state);
	case IPPROTO_ICMPV6:
		return dsmip_out_icmp(skb, state);
	default:
		return NF_ACCEPT;
	}
}

static const struct nf_hook_ops dsmip_hooks[DSMIP_HOOKS] = {
	{
		.hook = dsmip_hook_in,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_PRE_ROUTING,
		.priority = DSMIP_PRIORITY_IN,
	},
	{
		.hook = dsmip_hook_out,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_LOCAL_OUT,
		.priority = DSMIP_PRIORITY_OUT,
	},
};

int dsmip_homeform_register(struct net *net)
{
	struct dsmip_net *pernet = dsmip_pernet(net);
	unsigned int i;

	memcpy(pernet->hooks, dsmip_hooks, sizeof(pernet->hooks));
	for (i = 0; i < DSMIP_HOOKS; i++)
		pernet->hooks[i].priv = pernet;
	return nf_register_net_hooks(net, pernet->hooks, DSMIP_HOOKS);
}

void dsmip_homeform_unregister(struct net *net)
{
	nf_unregister_net_hooks(net, dsmip_pernet(net)->hooks, DSMIP_HOOKS);
}
