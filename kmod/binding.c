// SPDX-License-Identifier: GPL-2.0-only
#include <linux/ktime.h>
#include <linux/slab.h>
#include <net/ipv6.h>

#include "binding.h"
#include "netlink.h"

#define dsmip_deref(dsmip, p) rcu_dereference_protected(p, lockdep_is_held(&(dsmip)->lock))

/* A quiet path that received this many packets in a period was in use. */
#define DSMIP_BUSY_PACKETS 8

bool dsmip_routable4(__be32 addr)
{
	return !ipv4_is_multicast(addr) && !ipv4_is_lbcast(addr) && !ipv4_is_loopback(addr) &&
	       !ipv4_is_zeronet(addr) && !ipv4_is_linklocal_169(addr);
}

struct dsmip_binding *dsmip_binding_find(struct dsmip_device *dsmip, const struct in6_addr *home)
{
	struct rb_node *node = dsmip->bindings.rb_node;

	while (node) {
		struct dsmip_binding *binding = rb_entry(node, struct dsmip_binding, node);
		int order = memcmp(home, &binding->home, sizeof(*home));

		if (!order)
			return binding;
		node = order < 0 ? node->rb_left : node->rb_right;
	}
	return NULL;
}

struct dsmip_binding *dsmip_binding_after(struct dsmip_device *dsmip, const struct in6_addr *home)
{
	struct rb_node *node = dsmip->bindings.rb_node;
	struct dsmip_binding *next = NULL;

	while (node) {
		struct dsmip_binding *binding = rb_entry(node, struct dsmip_binding, node);

		if (!home || memcmp(home, &binding->home, sizeof(*home)) < 0) {
			next = binding;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return next;
}

struct dsmip_binding *dsmip_binding_new(const struct in6_addr *home, u32 flags)
{
	struct dsmip_binding *binding = kzalloc(sizeof(*binding), GFP_KERNEL);

	if (!binding)
		return NULL;
	binding->stats = netdev_alloc_pcpu_stats(struct dsmip_cpu_stats);
	if (!binding->stats) {
		kfree(binding);
		return NULL;
	}
	binding->home = *home;
	binding->flags = flags;
	binding->new_source_at = jiffies - HZ;
	INIT_LIST_HEAD(&binding->prefixes);
	return binding;
}

void dsmip_binding_free(struct dsmip_binding *binding)
{
	free_percpu(binding->stats);
	/* Nobody reads it any more. */
	kvfree(rcu_dereference_raw(binding->twins));
	kfree(binding->data);
	kfree(binding);
}

static void dsmip_binding_free_rcu(struct rcu_head *head)
{
	dsmip_binding_free(container_of(head, struct dsmip_binding, rcu));
}

/* The home addresses are prefixes too: on this side if it is the mobile one. */
static struct dsmip_trie *dsmip_home_trie(struct dsmip_device *dsmip,
					  const struct dsmip_binding *binding)
{
	if (binding->flags & DSMIP_BINDING_F_DIRECT)
		return &dsmip->direct;
	return binding->flags & DSMIP_BINDING_F_MOBILE ? &dsmip->local : &dsmip->remote;
}

int dsmip_binding_add(struct dsmip_device *dsmip, struct dsmip_binding *binding)
{
	struct rb_node **link = &dsmip->bindings.rb_node, *parent = NULL;
	int err;

	err = dsmip_trie_insert(dsmip_home_trie(dsmip, binding), AF_INET6,
				dsmip_key6(&binding->home), 128, binding);
	if (err)
		return err;
	while (*link) {
		struct dsmip_binding *other = rb_entry(*link, struct dsmip_binding, node);

		parent = *link;
		link = memcmp(&binding->home, &other->home, sizeof(other->home)) < 0 ?
			       &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&binding->node, parent, link);
	rb_insert_color(&binding->node, &dsmip->bindings);
	dsmip->binding_count++;
	dsmip->generation++;
	return 0;
}

void dsmip_binding_remove(struct dsmip_device *dsmip, struct dsmip_binding *binding)
{
	struct dsmip_path_set *set = dsmip_deref(dsmip, binding->paths);
	struct dsmip_prefix *prefix, *next;
	unsigned int i;

	list_for_each_entry_safe(prefix, next, &binding->prefixes, list)
		dsmip_prefix_remove(dsmip, binding, prefix);
	dsmip_binding_set_home4(dsmip, binding, 0);
	dsmip_trie_remove(dsmip_home_trie(dsmip, binding), AF_INET6, dsmip_key6(&binding->home),
			  128);
	rb_erase(&binding->node, &dsmip->bindings);
	dsmip->binding_count--;
	dsmip->generation++;

	RCU_INIT_POINTER(binding->paths, NULL);
	if (set) {
		for (i = 0; i < set->count; i++)
			dsmip_path_free(set->path[i]);
		kfree_rcu(set, rcu);
	}
	call_rcu(&binding->rcu, dsmip_binding_free_rcu);
}

void dsmip_binding_remove_all(struct dsmip_device *dsmip)
{
	struct dsmip_binding *binding;

	while ((binding = dsmip_binding_after(dsmip, NULL)))
		dsmip_binding_remove(dsmip, binding);
}

int dsmip_binding_set_home4(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			    __be32 home4)
{
	struct dsmip_trie *trie = dsmip_home_trie(dsmip, binding);
	const struct dsmip_prefix old = {
		.family = AF_INET,
		.key = dsmip_key4(binding->home4),
		.bits = 32,
		.flags = binding->flags & DSMIP_BINDING_F_MOBILE ? DSMIP_PREFIX_F_LOCAL : 0,
	};

	if (home4 == binding->home4)
		return 0;
	if (home4) {
		int err = dsmip_trie_insert(trie, AF_INET, dsmip_key4(home4), 32, binding);

		if (err)
			return err;
	}
	/* The prefixes given may name it too. */
	if (binding->home4 && !dsmip_prefix_find(binding, &old))
		dsmip_trie_remove(trie, AF_INET, old.key, 32);
	binding->home4 = home4;
	return 0;
}

/* --- prefixes ----------------------------------------------------------- */

static struct dsmip_trie *dsmip_prefix_trie(struct dsmip_device *dsmip,
					    const struct dsmip_prefix *prefix)
{
	return prefix->flags & DSMIP_PREFIX_F_LOCAL ? &dsmip->local : &dsmip->remote;
}

/* The home address as a prefix is the binding's own and stays when asked to go. */
static bool dsmip_prefix_is_home(struct dsmip_device *dsmip, const struct dsmip_binding *binding,
				 const struct dsmip_prefix *prefix)
{
	struct dsmip_key home = dsmip_key6(&binding->home);

	if (dsmip_prefix_trie(dsmip, prefix) != dsmip_home_trie(dsmip, binding))
		return false;
	if (prefix->family == AF_INET)
		return binding->home4 && prefix->bits == 32 &&
		       prefix->key.hi == dsmip_key4(binding->home4).hi;
	return prefix->bits == 128 && prefix->key.hi == home.hi && prefix->key.lo == home.lo;
}

struct dsmip_prefix *dsmip_prefix_find(struct dsmip_binding *binding,
				       const struct dsmip_prefix *wanted)
{
	struct dsmip_prefix *prefix;

	list_for_each_entry(prefix, &binding->prefixes, list)
		if (prefix->family == wanted->family && prefix->bits == wanted->bits &&
		    prefix->key.hi == wanted->key.hi && prefix->key.lo == wanted->key.lo &&
		    !((prefix->flags ^ wanted->flags) & DSMIP_PREFIX_F_LOCAL))
			return prefix;
	return NULL;
}

static void dsmip_update_local(struct dsmip_binding *binding)
{
	struct dsmip_prefix *prefix;
	bool has_local = false;

	list_for_each_entry(prefix, &binding->prefixes, list)
		has_local |= prefix->flags & DSMIP_PREFIX_F_LOCAL;
	WRITE_ONCE(binding->has_local, has_local);
}

int dsmip_prefix_add(struct dsmip_device *dsmip, struct dsmip_binding *binding,
		     const struct dsmip_prefix *wanted)
{
	struct dsmip_prefix *prefix;
	int err;

	if (dsmip_prefix_find(binding, wanted))
		return 0;
	/* One request may add all it can before it takes all the old ones away. */
	if (binding->prefix_count >= 2 * DSMIP_PREFIXES_MAX)
		return -ENOSPC;
	prefix = kmemdup(wanted, sizeof(*wanted), GFP_KERNEL);
	if (!prefix)
		return -ENOMEM;
	err = dsmip_trie_insert(dsmip_prefix_trie(dsmip, prefix), prefix->family, prefix->key,
				prefix->bits, binding);
	if (err) {
		kfree(prefix);
		return err;
	}
	list_add_tail(&prefix->list, &binding->prefixes);
	binding->prefix_count++;
	dsmip_update_local(binding);
	return 0;
}

void dsmip_prefix_remove(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			 struct dsmip_prefix *prefix)
{
	if (!dsmip_prefix_is_home(dsmip, binding, prefix))
		dsmip_trie_remove(dsmip_prefix_trie(dsmip, prefix), prefix->family, prefix->key,
				  prefix->bits);
	list_del(&prefix->list);
	binding->prefix_count--;
	dsmip_update_local(binding);
	kfree(prefix);
}

/* --- paths -------------------------------------------------------------- */

struct dsmip_path *dsmip_path_new(const struct dsmip_path_config *config)
{
	struct dsmip_path *path = kzalloc(sizeof(*path), GFP_KERNEL);

	if (!path)
		return NULL;
	path->stats = netdev_alloc_pcpu_stats(struct dsmip_cpu_stats);
	if (!path->stats)
		goto free_path;
	if (dst_cache_init(&path->cache, GFP_KERNEL))
		goto free_stats;
	path->config = *config;
	path->await = config->silent_ms && !(config->flags & DSMIP_PATH_F_DOWN);
	return path;

free_stats:
	free_percpu(path->stats);
free_path:
	kfree(path);
	return NULL;
}

static void dsmip_path_free_rcu(struct rcu_head *head)
{
	struct dsmip_path *path = container_of(head, struct dsmip_path, rcu);

	dst_cache_destroy(&path->cache);
	free_percpu(path->stats);
	kfree(path);
}

void dsmip_path_free(struct dsmip_path *path)
{
	call_rcu(&path->rcu, dsmip_path_free_rcu);
}

struct dsmip_path_set *dsmip_path_set_new(unsigned int count)
{
	return kzalloc(struct_size((struct dsmip_path_set *)NULL, path, count), GFP_KERNEL);
}

static bool dsmip_path_better(const struct dsmip_path *a, const struct dsmip_path *b)
{
	if (!b)
		return true;
	if (a->config.priority != b->config.priority)
		return a->config.priority < b->config.priority;
	return a->config.bid < b->config.bid;
}

/* A path that is set to what it is already stays, with its route and counters. */
static void dsmip_path_keep(struct dsmip_path **path, const struct dsmip_path_set *old)
{
	struct dsmip_path *same = dsmip_path_by_bid(old, (*path)->config.bid);

	if (!same || same == *path || memcmp(&same->config, &(*path)->config, sizeof(same->config)))
		return;
	dsmip_path_free(*path);
	*path = same;
}

void dsmip_path_set_publish(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			    struct dsmip_path_set *fresh)
{
	struct dsmip_path_set *old = dsmip_deref(dsmip, binding->paths);
	unsigned int i, j;

	for (i = 0; old && i < fresh->count; i++)
		dsmip_path_keep(&fresh->path[i], old);
	for (i = 0; i < fresh->count; i++) {
		struct dsmip_path *path = fresh->path[i];

		if (!(path->config.flags & DSMIP_PATH_F_DOWN) &&
		    dsmip_path_better(path, fresh->active))
			fresh->active = path;
		if (path->config.silent_ms)
			queue_delayed_work(system_power_efficient_wq, &dsmip->silence,
					   msecs_to_jiffies(path->config.silent_ms / 2));
	}
	rcu_assign_pointer(binding->paths, fresh);
	if (!old)
		return;
	for (i = 0; i < old->count; i++) {
		for (j = 0; j < fresh->count && fresh->path[j] != old->path[i]; j++)
			;
		if (j == fresh->count)
			dsmip_path_free(old->path[i]);
	}
	kfree_rcu(old, rcu);
}

void dsmip_routes_forget(struct dsmip_device *dsmip)
{
	struct rb_node *node;
	unsigned int i;

	for (node = rb_first(&dsmip->bindings); node; node = rb_next(node)) {
		struct dsmip_binding *binding = rb_entry(node, struct dsmip_binding, node);
		struct dsmip_path_set *set = dsmip_deref(dsmip, binding->paths);

		for (i = 0; set && i < set->count; i++)
			dst_cache_reset_now(&set->path[i]->cache);
	}
}

/* --- time --------------------------------------------------------------- */

void dsmip_binding_set_lifetime(struct dsmip_device *dsmip, struct dsmip_binding *binding,
				u32 seconds)
{
	unsigned long delay = min_t(u64, (u64)seconds * HZ + 1, MAX_JIFFY_OFFSET);

	binding->expires = 0;
	if (!seconds)
		return;
	binding->expires = ktime_get_boottime_ns() + (u64)seconds * NSEC_PER_SEC;
	/* A run that comes earlier anyway arranges for the next one. */
	if (!delayed_work_pending(&dsmip->expiry) ||
	    time_before(jiffies + delay, dsmip->expiry.timer.expires))
		mod_delayed_work(system_power_efficient_wq, &dsmip->expiry, delay);
}

void dsmip_expiry_work(struct work_struct *work)
{
	struct dsmip_device *dsmip = container_of(to_delayed_work(work), struct dsmip_device,
						  expiry);
	u64 now = ktime_get_boottime_ns(), next = U64_MAX;
	struct rb_node *node, *after;

	mutex_lock(&dsmip->lock);
	for (node = rb_first(&dsmip->bindings); node; node = after) {
		struct dsmip_binding *binding = rb_entry(node, struct dsmip_binding, node);

		after = rb_next(node);
		if (!binding->expires)
			continue;
		if (binding->expires > now) {
			next = min(next, binding->expires - now);
			continue;
		}
		dsmip_event(dsmip, DSMIP_EVENT_EXPIRED, &binding->home, NULL, GFP_KERNEL);
		dsmip_binding_remove(dsmip, binding);
	}
	if (next != U64_MAX)
		mod_delayed_work(system_power_efficient_wq, &dsmip->expiry,
				 min_t(u64, nsecs_to_jiffies64(next) + 1, MAX_JIFFY_OFFSET));
	mutex_unlock(&dsmip->lock);
}

/*
 * A path is silent when for so long nothing came from there although we sent
 * something, or although plenty came just before. A path that was not heard of
 * yet is awaited, not missed.
 */
static void dsmip_path_listen(struct dsmip_device *dsmip, struct dsmip_binding *binding,
			      struct dsmip_path *path)
{
	struct dsmip_totals totals;
	u64 received, sent;

	dsmip_stats_sum(path->stats, &totals);
	received = totals.rx_packets - path->seen_rx;
	sent = totals.tx_packets - path->seen_tx;
	path->seen_rx = totals.rx_packets;
	path->seen_tx = totals.tx_packets;
	if (received || (sent && !path->owed)) {
		/* A stream often ends early in a period: the one before it tells as well. */
		path->owed = !received || max(received, path->lately) >= DSMIP_BUSY_PACKETS;
		path->owed_since = jiffies;
	}
	path->lately = received;
	if (!path->owed || READ_ONCE(path->await) ||
	    time_before(jiffies, path->owed_since + msecs_to_jiffies(path->config.silent_ms)))
		return;
	WRITE_ONCE(path->await, true);
	dsmip_event(dsmip, DSMIP_EVENT_PATH_SILENT, &binding->home, &path->config, GFP_KERNEL);
}

void dsmip_silence_work(struct work_struct *work)
{
	struct dsmip_device *dsmip = container_of(to_delayed_work(work), struct dsmip_device,
						  silence);
	u32 period = U32_MAX;
	struct rb_node *node;
	unsigned int i;

	mutex_lock(&dsmip->lock);
	for (node = rb_first(&dsmip->bindings); node; node = rb_next(node)) {
		struct dsmip_binding *binding = rb_entry(node, struct dsmip_binding, node);
		struct dsmip_path_set *set = dsmip_deref(dsmip, binding->paths);

		for (i = 0; set && i < set->count; i++) {
			if (!set->path[i]->config.silent_ms)
				continue;
			period = min(period, set->path[i]->config.silent_ms);
			if (!(set->path[i]->config.flags & DSMIP_PATH_F_DOWN))
				dsmip_path_listen(dsmip, binding, set->path[i]);
		}
	}
	if (period != U32_MAX)
		queue_delayed_work(system_power_efficient_wq, &dsmip->silence,
				   msecs_to_jiffies(max(period / 2, 25U)));
	mutex_unlock(&dsmip->lock);
}
