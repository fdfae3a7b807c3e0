// SPDX-License-Identifier: GPL-2.0-only
/*
 * The trie against a table that is searched from end to end. Included by
 * prefix.c in DEBUG builds, run once at load.
 */
#include <linux/prandom.h>

#define TEST_ROWS 300
#define TEST_ROUNDS 4000
#define TEST_LOOKUPS 20000

struct test_row {
	struct dsmip_key key;
	u8 bits;
	struct dsmip_binding *binding;
};

/* Few distinct bits, so that prefixes nest, meet and collide often. */
static struct dsmip_key test_key(struct rnd_state *rnd, u8 family)
{
	struct dsmip_key key = {
		.hi = (u64)(prandom_u32_state(rnd) & 0x80f0000f) << 32 |
		      (prandom_u32_state(rnd) & 0x80000001),
		.lo = (u64)(prandom_u32_state(rnd) & 0xc0000003) << 32 |
		      (prandom_u32_state(rnd) & 0x80000003),
	};

	return family == AF_INET ? dsmip_key_mask(key, 32) : key;
}

static struct dsmip_binding *test_find(const struct test_row *rows, struct dsmip_key key)
{
	struct dsmip_binding *found = NULL;
	int i, best = -1;

	for (i = 0; i < TEST_ROWS; i++) {
		struct dsmip_key masked = dsmip_key_mask(key, rows[i].bits);

		if (rows[i].binding && rows[i].bits > best && masked.hi == rows[i].key.hi &&
		    masked.lo == rows[i].key.lo) {
			found = rows[i].binding;
			best = rows[i].bits;
		}
	}
	return found;
}

static bool test_family(struct rnd_state *rnd, u8 family)
{
	struct dsmip_prefix_node __rcu **root;
	struct dsmip_trie trie = {};
	u8 width = family == AF_INET ? 32 : 128;
	struct test_row *rows;
	bool good = false;
	int i, round;

	rows = kcalloc(TEST_ROWS, sizeof(*rows), GFP_KERNEL);
	if (!rows)
		return false;
	root = dsmip_trie_root(&trie, family);
	for (round = 0; round < TEST_ROUNDS; round++) {
		struct test_row *row = &rows[prandom_u32_state(rnd) % TEST_ROWS];

		if (row->binding) {
			dsmip_trie_remove(&trie, family, row->key, row->bits);
			row->binding = NULL;
			continue;
		}
		row->bits = prandom_u32_state(rnd) % (width + 1);
		row->key = dsmip_key_mask(test_key(rnd, family), row->bits);
		if (dsmip_trie_owner(&trie, family, row->key, row->bits))
			continue;
		row->binding = (struct dsmip_binding *)(row + 1);
		if (dsmip_trie_insert(&trie, family, row->key, row->bits, row->binding))
			goto out;
		if (dsmip_trie_insert(&trie, family, row->key, row->bits,
				      (struct dsmip_binding *)rows) != -EEXIST)
			goto out;
	}
	for (i = 0; i < TEST_LOOKUPS; i++) {
		struct dsmip_key key = test_key(rnd, family);

		if (dsmip_trie_find((const struct dsmip_prefix_node __rcu *const *)root, key,
				    width) != test_find(rows, key))
			goto out;
	}
	for (i = 0; i < TEST_ROWS; i++)
		if (rows[i].binding)
			dsmip_trie_remove(&trie, family, rows[i].key, rows[i].bits);
	good = !rcu_access_pointer(*root);
out:
	kfree(rows);
	return good;
}

bool dsmip_prefix_selftest(void)
{
	struct rnd_state rnd;
	bool good;

	prandom_seed_state(&rnd, 20111);
	good = test_family(&rnd, AF_INET) && test_family(&rnd, AF_INET6);
	pr_info("dsmip: prefix self-test %s\n", good ? "passed" : "FAILED");
	return good;
}
