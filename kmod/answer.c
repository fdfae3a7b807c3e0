// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects as netlink attributes.
 */
#include <linux/ktime.h>
#include <net/genetlink.h>

#include "netlink.h"
#include "transmit.h"

#define dsmip_deref(dsmip, p) rcu_dereference_protected(p, lockdep_is_held(&(dsmip)->lock))

static int dsmip_put_total(struct sk_buff *skb, int type, u64 value)
{
	return nla_put_u64_64bit(skb, type, value, DSMIP_STATS_A_PAD);
}

static int dsmip_put_stats(struct sk_buff *skb, int type,
			   const struct dsmip_cpu_stats __percpu *stats)
{
	struct nlattr *nest = nla_nest_start(skb, type);
	struct dsmip_totals totals;

	if (!nest)
		return -EMSGSIZE;
	dsmip_stats_sum(stats, &totals);
	if (dsmip_put_total(skb, DSMIP_STATS_A_RX_PACKETS, totals.rx_packets) ||
	    dsmip_put_total(skb, DSMIP_STATS_A_RX_BYTES, totals.rx_bytes) ||
	    dsmip_put_total(skb, DSMIP_STATS_A_TX_PACKETS, totals.tx_packets) ||
	    dsmip_put_total(skb, DSMIP_STATS_A_TX_BYTES, totals.tx_bytes))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int dsmip_put_end(struct sk_buff *skb, int type, u8 kind, const union dsmip_address *end)
{
	return nla_put(skb, type, dsmip_kind_is_v6(kind) ? sizeof(end->v6) : sizeof(end->v4), end);
}

int dsmip_put_path_config(struct sk_buff *skb, const struct dsmip_path_config *config,
			  u32 flags)
{
	if (nla_put_u16(skb, DSMIP_PATH_A_BID, config->bid) ||
	    nla_put_u8(skb, DSMIP_PATH_A_KIND, config->kind) ||
	    dsmip_put_end(skb, DSMIP_PATH_A_LOCAL, config->kind, &config->local) ||
	    dsmip_put_end(skb, DSMIP_PATH_A_REMOTE, config->kind, &config->remote) ||
	    nla_put_be16(skb, DSMIP_PATH_A_REMOTE_PORT, config->remote_port) ||
	    nla_put_u32(skb, DSMIP_PATH_A_IFINDEX, config->ifindex) ||
	    nla_put_u8(skb, DSMIP_PATH_A_PRIORITY, config->priority) ||
	    nla_put_u32(skb, DSMIP_PATH_A_FLAGS, config->flags | flags) ||
	    nla_put_u32(skb, DSMIP_PATH_A_SILENT_MS, config->silent_ms))
		return -EMSGSIZE;
	return 0;
}

/* 0 while no packet has asked for the route. */
static u32 dsmip_path_mtu(struct dsmip_path *path)
{
	struct dst_entry *dst;
	u32 mtu = 0;

	local_bh_disable();
	dst = dst_cache_get(&path->cache);
	if (dst) {
		mtu = dst_mtu(dst) - dsmip_overhead(path->config.kind);
		dst_release(dst);
	}
	local_bh_enable();
	return mtu;
}

static int dsmip_put_path(struct sk_buff *skb, struct dsmip_path *path, bool active)
{
	struct nlattr *nest = nla_nest_start(skb, DSMIP_A_PATH);
	u32 mtu = dsmip_path_mtu(path);

	if (!nest ||
	    dsmip_put_path_config(skb, &path->config, active ? DSMIP_PATH_F_ACTIVE : 0) ||
	    dsmip_put_stats(skb, DSMIP_PATH_A_STATS, path->stats) ||
	    (mtu && nla_put_u32(skb, DSMIP_PATH_A_MTU, mtu)))
		return -EMSGSIZE;
	if (READ_ONCE(path->heard) &&
	    nla_put_u64_64bit(skb, DSMIP_PATH_A_LAST_RX_MS,
			      jiffies_to_msecs(jiffies - READ_ONCE(path->last_rx)),
			      DSMIP_PATH_A_PAD))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int dsmip_put_prefix(struct sk_buff *skb, const struct dsmip_prefix *prefix)
{
	struct nlattr *nest = nla_nest_start(skb, DSMIP_A_PREFIXES);
	__be32 words[4] = {
		htonl(prefix->key.hi >> 32), htonl(prefix->key.hi),
		htonl(prefix->key.lo >> 32), htonl(prefix->key.lo),
	};

	if (!nest ||
	    nla_put(skb, DSMIP_PREFIX_A_ADDRESS, prefix->family == AF_INET ? 4 : 16, words) ||
	    nla_put_u8(skb, DSMIP_PREFIX_A_LENGTH, prefix->bits) ||
	    nla_put_u32(skb, DSMIP_PREFIX_A_FLAGS, prefix->flags))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static u32 dsmip_remaining(const struct dsmip_binding *binding)
{
	u64 now = ktime_get_boottime_ns();

	if (!binding->expires)
		return 0;
	/* 0 would say that there is no end. */
	if (binding->expires <= now)
		return 1;
	return max_t(u64, div_u64(binding->expires - now, NSEC_PER_SEC), 1);
}

int dsmip_put_binding(struct sk_buff *skb, struct dsmip_device *dsmip,
		      struct dsmip_binding *binding)
{
	struct dsmip_path_set *set = dsmip_deref(dsmip, binding->paths);
	const struct dsmip_prefix *prefix;
	struct nlattr *nest;
	unsigned int i;

	if (nla_put_u32(skb, DSMIP_A_IFINDEX, dsmip->dev->ifindex) ||
	    nla_put_in6_addr(skb, DSMIP_A_HOME_ADDRESS, &binding->home) ||
	    (binding->home4 && nla_put_in_addr(skb, DSMIP_A_HOME_ADDRESS4, binding->home4)) ||
	    nla_put_u32(skb, DSMIP_A_BINDING_FLAGS, binding->flags) ||
	    nla_put_u32(skb, DSMIP_A_LIFETIME, dsmip_remaining(binding)) ||
	    nla_put_u16(skb, DSMIP_A_SEQUENCE, binding->sequence) ||
	    (binding->data && nla_put(skb, DSMIP_A_DATA, binding->data_len, binding->data)) ||
	    dsmip_put_stats(skb, DSMIP_A_STATS, binding->stats))
		return -EMSGSIZE;
	nest = nla_nest_start(skb, DSMIP_A_PATHS);
	if (!nest)
		return -EMSGSIZE;
	for (i = 0; set && i < set->count; i++)
		if (dsmip_put_path(skb, set->path[i], set->path[i] == set->active))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	nest = nla_nest_start(skb, DSMIP_A_PREFIXES);
	if (!nest)
		return -EMSGSIZE;
	list_for_each_entry(prefix, &binding->prefixes, list)
		if (dsmip_put_prefix(skb, prefix))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

int dsmip_put_device(struct sk_buff *skb, const struct dsmip_device *dsmip)
{
	struct nlattr *nest;
	int i;

	if (nla_put_u32(skb, DSMIP_A_IFINDEX, dsmip->dev->ifindex) ||
	    nla_put_string(skb, DSMIP_A_IFNAME, dsmip->dev->name) ||
	    nla_put_be16(skb, DSMIP_A_PORT, dsmip->port) ||
	    nla_put_u32(skb, DSMIP_A_MARK_MASK, READ_ONCE(dsmip->mark_mask)) ||
	    nla_put_u8(skb, DSMIP_A_TTL, READ_ONCE(dsmip->ttl)) ||
	    nla_put_u8(skb, DSMIP_A_TELL_TUNNELLED, READ_ONCE(dsmip->tell_tunnelled)) ||
	    nla_put_u32(skb, DSMIP_A_COPY_MASK, READ_ONCE(dsmip->copy_mask)) ||
	    dsmip_put_stats(skb, DSMIP_A_STATS, dsmip->stats))
		return -EMSGSIZE;
	nest = nla_nest_start(skb, DSMIP_A_COUNTERS);
	if (!nest)
		return -EMSGSIZE;
	for (i = 0; i <= DSMIP_COUNT_MAX; i++)
		if (nla_put_u64_64bit(skb, i + 1, dsmip_counter_sum(dsmip, i), 0))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}
