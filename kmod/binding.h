/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bindings and their paths. A binding's set of paths, and which of them is
 * active, is one RCU pointer: a packet sees the set before a handover or the
 * set after it, never half of each.
 */
#ifndef _DSMIP_BINDING_H
#define _DSMIP_BINDING_H

#include <linux/in6.h>
#include <linux/rbtree.h>
#include <net/dst_cache.h>
#include <net/ipv6.h>

#include "device.h"

/* One end of a path as it stands in outer headers; IPv4 in the first word. */
union dsmip_address {
	struct in6_addr v6;
	__be32 v4;
};

/* What an administrator gives and a dump shows. */
struct dsmip_path_config {
	union dsmip_address local;
	union dsmip_address remote;
	u32 ifindex;
	u32 flags;
	u32 silent_ms;
	__be16 remote_port;
	u16 bid;
	u8 kind;
	u8 priority;
};

struct dsmip_path {
	struct dsmip_path_config config;
	struct dst_cache cache;
	struct dsmip_cpu_stats __percpu *stats;
	unsigned long last_rx;		/* jiffies, valid when heard */
	bool heard;
	bool await;			/* the next packet is worth a PATH_HEARD */
	bool owed;			/* silence worker only: something should come */
	unsigned long owed_since;	/* likewise: jiffies */
	u64 seen_rx, seen_tx;		/* likewise: totals at its last run */
	u64 lately;			/* likewise: received before that */
	struct rcu_head rcu;
};

struct dsmip_path_set {
	struct rcu_head rcu;
	struct dsmip_path *active;
	u8 count;
	struct dsmip_path *path[];
};

struct dsmip_prefix {
	struct list_head list;
	struct dsmip_key key;
	u8 family;
	u8 bits;
	u32 flags;
};

struct dsmip_twins;

struct dsmip_binding {
	struct rb_node node;
	struct in6_addr home;
	__be32 home4;
	u32 flags;
	bool has_local;			/* local prefixes restrict both directions */
	struct dsmip_path_set __rcu *paths;
	struct dsmip_twins __rcu *twins;	/* with DSMIP_BINDING_F_COPIES only */
	struct dsmip_cpu_stats __percpu *stats;
	unsigned long new_source_at;	/* jiffies of the last NEW_SOURCE event */

	u64 expires;			/* boottime ns; 0: no end */
	u16 sequence;
	u16 data_len;
	u16 prefix_count;
	u8 *data;
	struct list_head prefixes;	/* those given, without the home addresses */
	struct rcu_head rcu;
};

static inline bool dsmip_kind_is_v6(u8 kind)
{
	return kind == DSMIP_KIND_IP6 || kind == DSMIP_KIND_RO;
}

/* Never forwarded, and nothing for a tunnel. */
static inline bool dsmip_on_link6(const struct in6_addr *addr)
{
	return ipv6_addr_is_multicast(addr) ||
	       (addr->s6_addr32[0] & htonl(0xffc00000)) == htonl(0xfe800000);
}

/* May stand as a home, care-of or inner address: no special one of ::/96 or mapped. */
static inline bool dsmip_routable6(const struct in6_addr *addr)
{
	if (unlikely(!(addr->s6_addr32[0] | addr->s6_addr32[1] | addr->s6_addr32[2])))
		return false;
	return !dsmip_on_link6(addr) && !ipv6_addr_v4mapped(addr);
}

bool dsmip_routable4(__be32 addr);

/* All below: under the device's lock unless said otherwise. */
struct dsmip_binding *dsmip_binding_find(struct dsmip_device *dsmip, const struct in6_addr *home);
/* The first with a home address after this one; NULL starts at the beginning. */
struct dsmip_binding *dsmip_binding_after(struct dsmip_device *dsmip, const struct in6_addr *home);
struct dsmip_binding *dsmip_binding_new(const struct in6_addr *home, u32 flags);
/* For one that was never added. */
void dsmip_binding_free(struct dsmip_binding *binding);
int dsmip_binding_add(struct dsmip_device *dsmip, struct dsmip_binding *binding);
void dsmip_binding_remove(struct dsmip_device *dsmip, struct dsmip_binding *binding);
void dsmip_binding_remove_all(struct dsmip_device *dsmip);
int dsmip_binding_set_home4(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			    __be32 home4);
void dsmip_binding_set_lifetime(struct dsmip_device *dsmip, struct dsmip_binding *binding,
				u32 seconds);
int dsmip_prefix_add(struct dsmip_device *dsmip, struct dsmip_binding *binding,
		     const struct dsmip_prefix *wanted);
void dsmip_prefix_remove(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			 struct dsmip_prefix *prefix);
struct dsmip_prefix *dsmip_prefix_find(struct dsmip_binding *binding,
				       const struct dsmip_prefix *wanted);

struct dsmip_path *dsmip_path_new(const struct dsmip_path_config *config);
void dsmip_path_free(struct dsmip_path *path);
struct dsmip_path_set *dsmip_path_set_new(unsigned int count);
/* Chooses the active path, publishes the set, frees what is no longer in it. */
void dsmip_path_set_publish(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			    struct dsmip_path_set *fresh);
/* Routes do not outlive their namespace. When nobody sends any more. */
void dsmip_routes_forget(struct dsmip_device *dsmip);

/* RCU read side. */
static inline struct dsmip_path *dsmip_path_by_bid(const struct dsmip_path_set *set, u16 bid)
{
	unsigned int i;

	for (i = 0; i < set->count; i++)
		if (set->path[i]->config.bid == bid)
			return set->path[i];
	return NULL;
}

void dsmip_expiry_work(struct work_struct *work);
void dsmip_silence_work(struct work_struct *work);

#endif
