// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies are told by what is in them: nothing is added to a packet, so the other
 * side may be anybody's (RFC 6089 section 5.3.6). Equal packets of one path are
 * not copies, a sender may well repeat itself: what one path brought more often
 * than the other is owed by the other, and only that is dropped.
 */
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/slab.h>

#include "copies.h"

#define DSMIP_TWINS_SLOTS 1024
/* Two paths are not further apart than that. */
#define DSMIP_TWINS_AGE HZ

struct dsmip_twin {
	u64 hash;
	unsigned long at;	/* jiffies */
	u16 bid;		/* the path that is ahead */
	u16 ahead;		/* by so many */
};

struct dsmip_twins {
	struct rcu_head rcu;
	spinlock_t lock;	/* of the slots */
	siphash_key_t key;
	/* By hash. Who needs a slot takes it: at worst a copy is not recognized. */
	struct dsmip_twin slot[DSMIP_TWINS_SLOTS];
};

struct dsmip_twins *dsmip_twins_new(void)
{
	struct dsmip_twins *twins = kvzalloc(sizeof(*twins), GFP_KERNEL);

	if (!twins)
		return NULL;
	spin_lock_init(&twins->lock);
	get_random_bytes(&twins->key, sizeof(twins->key));
	return twins;
}

void dsmip_twins_free(struct dsmip_twins *twins)
{
	kvfree_rcu(twins, rcu);
}

bool __dsmip_is_copy(struct dsmip_twins *twins, u16 bid, struct sk_buff *skb)
{
	struct dsmip_twin *twin;
	bool copy = false;
	u64 hash;

	/* What was merged on its way is not what was sent. */
	if (skb_is_gso(skb) || skb_linearize(skb))
		return false;
	hash = siphash(skb->data, skb->len, &twins->key);
	twin = &twins->slot[hash % DSMIP_TWINS_SLOTS];
	spin_lock_bh(&twins->lock);
	if (twin->hash != hash || time_after(jiffies, twin->at + DSMIP_TWINS_AGE)) {
		twin->hash = hash;
		twin->ahead = 0;
	}
	if (twin->ahead && twin->bid != bid) {
		twin->ahead--;
		copy = true;
	} else {
		twin->bid = bid;
		twin->at = jiffies;
		if (twin->ahead < U16_MAX)
			twin->ahead++;
	}
	spin_unlock_bh(&twins->lock);
	return copy;
}
