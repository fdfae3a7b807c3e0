/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Longest prefix match from an address to the binding that owns it. Readers
 * run under RCU, writers under the device's mutex.
 */
#ifndef _DSMIP_PREFIX_H
#define _DSMIP_PREFIX_H

#include <linux/in6.h>
#include <linux/types.h>
#include <asm/byteorder.h>

struct dsmip_binding;
struct dsmip_prefix_node;

/* An address as two words, first bit of the address in the top bit of hi. */
struct dsmip_key {
	u64 hi;
	u64 lo;
};

struct dsmip_trie {
	struct dsmip_prefix_node __rcu *root4;
	struct dsmip_prefix_node __rcu *root6;
};

static inline struct dsmip_key dsmip_key6(const struct in6_addr *addr)
{
	return (struct dsmip_key) {
		.hi = (u64)ntohl(addr->s6_addr32[0]) << 32 | ntohl(addr->s6_addr32[1]),
		.lo = (u64)ntohl(addr->s6_addr32[2]) << 32 | ntohl(addr->s6_addr32[3]),
	};
}

static inline struct dsmip_key dsmip_key4(__be32 addr)
{
	return (struct dsmip_key) { .hi = (u64)ntohl(addr) << 32 };
}

/* Clears the bits beyond the prefix length. */
struct dsmip_key dsmip_key_mask(struct dsmip_key key, u8 bits);

/* RCU read side or the device's mutex. */
struct dsmip_binding *dsmip_trie_lookup6(const struct dsmip_trie *trie,
					 const struct in6_addr *addr);
struct dsmip_binding *dsmip_trie_lookup4(const struct dsmip_trie *trie, __be32 addr);

/* The owner of exactly this prefix. Under the mutex. */
struct dsmip_binding *dsmip_trie_owner(const struct dsmip_trie *trie, u8 family,
				       struct dsmip_key key, u8 bits);
/* -EEXIST when another binding owns the prefix; 0 when it is ours already. */
int dsmip_trie_insert(struct dsmip_trie *trie, u8 family, struct dsmip_key key, u8 bits,
		      struct dsmip_binding *binding);
void dsmip_trie_remove(struct dsmip_trie *trie, u8 family, struct dsmip_key key, u8 bits);

#ifdef DEBUG
bool dsmip_prefix_selftest(void);
#else
static inline bool dsmip_prefix_selftest(void)
{
	return true;
}
#endif

#endif
