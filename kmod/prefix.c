// SPDX-License-Identifier: GPL-2.0-only
/*
 * A path-compressed binary trie for each address family. A node stands for a
 * prefix; its children are longer prefixes inside it, by their next bit. A node
 * without a binding only joins its two children.
 */
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/socket.h>

#include "prefix.h"

struct dsmip_prefix_node {
	struct dsmip_prefix_node __rcu *child[2];
	struct dsmip_binding __rcu *binding;
	struct dsmip_key key;
	u8 bits;
	struct rcu_head rcu;
};

/* Writers hold the mutex of the device that the trie belongs to. */
#define dsmip_trie_deref(p) rcu_dereference_protected(p, 1)

struct dsmip_key dsmip_key_mask(struct dsmip_key key, u8 bits)
{
	if (bits <= 64) {
		key.hi = bits ? key.hi & (~0ULL << (64 - bits)) : 0;
		key.lo = 0;
	} else if (bits < 128) {
		key.lo &= ~0ULL << (128 - bits);
	}
	return key;
}

static bool dsmip_covers(const struct dsmip_prefix_node *node, struct dsmip_key key)
{
	u8 bits = node->bits;

	if (bits <= 64)
		return !bits || !((key.hi ^ node->key.hi) >> (64 - bits));
	return key.hi == node->key.hi && !((key.lo ^ node->key.lo) >> (128 - bits));
}

static unsigned int dsmip_bit(struct dsmip_key key, u8 at)
{
	return at < 64 ? key.hi >> (63 - at) & 1 : key.lo >> (127 - at) & 1;
}

static u8 dsmip_common(struct dsmip_key a, struct dsmip_key b)
{
	u64 hi = a.hi ^ b.hi, lo = a.lo ^ b.lo;

	if (hi)
		return 63 - __fls(hi);
	return lo ? 127 - __fls(lo) : 128;
}

static __always_inline struct dsmip_binding *
dsmip_trie_find(const struct dsmip_prefix_node __rcu *const *root, struct dsmip_key key, u8 width)
{
	const struct dsmip_prefix_node *node = rcu_dereference_check(*root, 1);
	struct dsmip_binding *found = NULL, *binding;

	while (node && dsmip_covers(node, key)) {
		binding = rcu_dereference_check(node->binding, 1);
		if (binding)
			found = binding;
		if (node->bits == width)
			break;
		node = rcu_dereference_check(node->child[dsmip_bit(key, node->bits)], 1);
	}
	return found;
}

struct dsmip_binding *dsmip_trie_lookup6(const struct dsmip_trie *trie,
					 const struct in6_addr *addr)
{
	return dsmip_trie_find((const struct dsmip_prefix_node __rcu *const *)&trie->root6,
			       dsmip_key6(addr), 128);
}

struct dsmip_binding *dsmip_trie_lookup4(const struct dsmip_trie *trie, __be32 addr)
{
	return dsmip_trie_find((const struct dsmip_prefix_node __rcu *const *)&trie->root4,
			       dsmip_key4(addr), 32);
}

/*
 * Walks to the link where a node for the prefix is or would be: *link is NULL,
 * the node itself, or a node that the prefix does not cover or that is longer.
 * Nodes that bind nothing can be behind us; parent is the last one passed.
 */
static struct dsmip_prefix_node __rcu **
dsmip_trie_link(struct dsmip_prefix_node __rcu **root, struct dsmip_key key, u8 bits,
		struct dsmip_prefix_node __rcu ***parent)
{
	struct dsmip_prefix_node __rcu **link = root;
	struct dsmip_prefix_node *node;

	*parent = NULL;
	while ((node = dsmip_trie_deref(*link)) && node->bits < bits && dsmip_covers(node, key)) {
		*parent = link;
		link = &node->child[dsmip_bit(key, node->bits)];
	}
	return link;
}

static struct dsmip_prefix_node __rcu **dsmip_trie_root(struct dsmip_trie *trie, u8 family)
{
	return family == AF_INET ? &trie->root4 : &trie->root6;
}

static bool dsmip_is_prefix(const struct dsmip_prefix_node *node, struct dsmip_key key, u8 bits)
{
	return node && node->bits == bits && dsmip_covers(node, key);
}

struct dsmip_binding *dsmip_trie_owner(const struct dsmip_trie *trie, u8 family,
				       struct dsmip_key key, u8 bits)
{
	struct dsmip_prefix_node __rcu **root, **parent;
	struct dsmip_prefix_node *node;

	root = dsmip_trie_root((struct dsmip_trie *)trie, family);
	node = dsmip_trie_deref(*dsmip_trie_link(root, key, bits, &parent));
	return dsmip_is_prefix(node, key, bits) ? dsmip_trie_deref(node->binding) : NULL;
}

static struct dsmip_prefix_node *dsmip_node_new(struct dsmip_key key, u8 bits)
{
	struct dsmip_prefix_node *node = kzalloc(sizeof(*node), GFP_KERNEL);

	if (node) {
		node->key = dsmip_key_mask(key, bits);
		node->bits = bits;
	}
	return node;
}

int dsmip_trie_insert(struct dsmip_trie *trie, u8 family, struct dsmip_key key, u8 bits,
		      struct dsmip_binding *binding)
{
	struct dsmip_prefix_node __rcu **link, **parent;
	struct dsmip_prefix_node *node, *fresh, *join;
	u8 common;

	link = dsmip_trie_link(dsmip_trie_root(trie, family), key, bits, &parent);
	node = dsmip_trie_deref(*link);
	if (dsmip_is_prefix(node, key, bits)) {
		struct dsmip_binding *owner = dsmip_trie_deref(node->binding);

		if (owner && owner != binding)
			return -EEXIST;
		rcu_assign_pointer(node->binding, binding);
		return 0;
	}

	fresh = dsmip_node_new(key, bits);
	if (!fresh)
		return -ENOMEM;
	RCU_INIT_POINTER(fresh->binding, binding);
	if (!node) {
		rcu_assign_pointer(*link, fresh);
		return 0;
	}

	common = min3(dsmip_common(fresh->key, node->key), bits, node->bits);
	if (common == bits) {
		RCU_INIT_POINTER(fresh->child[dsmip_bit(node->key, bits)], node);
		rcu_assign_pointer(*link, fresh);
		return 0;
	}
	join = dsmip_node_new(key, common);
	if (!join) {
		kfree(fresh);
		return -ENOMEM;
	}
	RCU_INIT_POINTER(join->child[dsmip_bit(key, common)], fresh);
	RCU_INIT_POINTER(join->child[dsmip_bit(node->key, common)], node);
	rcu_assign_pointer(*link, join);
	return 0;
}

/* Takes a node that binds nothing out, unless it still joins two children. */
static void dsmip_node_prune(struct dsmip_prefix_node __rcu **link)
{
	struct dsmip_prefix_node *node = dsmip_trie_deref(*link);
	struct dsmip_prefix_node *left, *right;

	if (!node || rcu_access_pointer(node->binding))
		return;
	left = dsmip_trie_deref(node->child[0]);
	right = dsmip_trie_deref(node->child[1]);
	if (left && right)
		return;
	rcu_assign_pointer(*link, left ?: right);
	kfree_rcu(node, rcu);
}

void dsmip_trie_remove(struct dsmip_trie *trie, u8 family, struct dsmip_key key, u8 bits)
{
	struct dsmip_prefix_node __rcu **link, **parent;
	struct dsmip_prefix_node *node;

	link = dsmip_trie_link(dsmip_trie_root(trie, family), key, bits, &parent);
	node = dsmip_trie_deref(*link);
	if (!dsmip_is_prefix(node, key, bits))
		return;
	RCU_INIT_POINTER(node->binding, NULL);
	dsmip_node_prune(link);
	if (parent)
		dsmip_node_prune(parent);
}

#ifdef DEBUG
#include "selftest/prefix.c"
#endif
