/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The network device: one mip0 serves every binding of a home agent, or the
 * one binding of a mobile router.
 */
#ifndef _DSMIP_DEVICE_H
#define _DSMIP_DEVICE_H

#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/rbtree.h>
#include <linux/workqueue.h>
#include <net/netns/generic.h>

#include "prefix.h"
#include "uapi/dsmip.h"

struct dsmip_cpu_stats {
	u64_stats_t rx_packets;
	u64_stats_t rx_bytes;
	u64_stats_t tx_packets;
	u64_stats_t tx_bytes;
	struct u64_stats_sync syncp;
};

struct dsmip_counters {
	u64_stats_t value[__DSMIP_COUNT_AFTER_LAST];
	struct u64_stats_sync syncp;
};

struct dsmip_device {
	struct net_device *dev;
	/* The outer side: sockets and routes, where the device was created. */
	struct net *net;
	struct sock __rcu *sk;
	bool net_gone;

	struct dsmip_trie remote;	/* who is reached through which binding */
	struct dsmip_trie local;	/* what is on this side of a binding */
	struct dsmip_trie direct;	/* who is reached without a tunnel */
	u32 mark_mask;
	u32 copy_mask;
	u8 mark_shift;
	u8 copy_shift;
	u8 ttl;
	__be16 port;

	struct dsmip_cpu_stats __percpu *stats;
	struct dsmip_counters __percpu *counters;

	struct mutex lock;		/* bindings, both tries, all configuration */
	struct rb_root bindings;	/* by home address */
	u32 binding_count;
	u32 generation;			/* moves when a dump in progress gets stale */
	struct delayed_work expiry;
	struct delayed_work silence;
	unsigned long stranger_at;	/* jiffies of the last STRANGER event */
	bool tell_tunnelled;
	unsigned long tunnelled_at;	/* jiffies of the last TUNNELLED event */
	struct in6_addr tunnelled_to;	/* and whom it was about */

	struct list_head list;		/* dsmip_net.devices, RCU, under RTNL */
};

struct dsmip_arrival;

/* By the interface they came from: a power of two. */
#define DSMIP_ARRIVALS 4

#define DSMIP_HOOKS 2

struct dsmip_net {
	struct list_head devices;
	struct dsmip_arrival __rcu *arrivals[DSMIP_ARRIVALS];
	struct nf_hook_ops hooks[DSMIP_HOOKS];	/* each with this as its own data */
	bool hooked;
};

extern unsigned int dsmip_net_id;

static inline struct dsmip_net *dsmip_pernet(const struct net *net)
{
	return net_generic(net, dsmip_net_id);
}

static inline void dsmip_count(const struct dsmip_device *dsmip, enum dsmip_counter which)
{
	struct dsmip_counters *counters = get_cpu_ptr(dsmip->counters);

	u64_stats_update_begin(&counters->syncp);
	u64_stats_inc(&counters->value[which]);
	u64_stats_update_end(&counters->syncp);
	put_cpu_ptr(dsmip->counters);
}

static inline void dsmip_stats_rx(struct dsmip_cpu_stats __percpu *stats, unsigned int len)
{
	struct dsmip_cpu_stats *here = this_cpu_ptr(stats);

	u64_stats_update_begin(&here->syncp);
	u64_stats_inc(&here->rx_packets);
	u64_stats_add(&here->rx_bytes, len);
	u64_stats_update_end(&here->syncp);
}

static inline void dsmip_stats_tx(struct dsmip_cpu_stats __percpu *stats, unsigned int len)
{
	struct dsmip_cpu_stats *here = this_cpu_ptr(stats);

	u64_stats_update_begin(&here->syncp);
	u64_stats_inc(&here->tx_packets);
	u64_stats_add(&here->tx_bytes, len);
	u64_stats_update_end(&here->syncp);
}

struct dsmip_totals {
	u64 rx_packets, rx_bytes, tx_packets, tx_bytes;
};

void dsmip_stats_sum(const struct dsmip_cpu_stats __percpu *stats, struct dsmip_totals *totals);
u64 dsmip_counter_sum(const struct dsmip_device *dsmip, enum dsmip_counter which);

/* Takes effect at once; under the device's lock. */
void dsmip_set_mark_mask(struct dsmip_device *dsmip, u32 mask);
void dsmip_set_copy_mask(struct dsmip_device *dsmip, u32 mask);

bool dsmip_is_device(const struct net_device *dev);
int dsmip_device_init(void);
void dsmip_device_exit(void);

#endif
