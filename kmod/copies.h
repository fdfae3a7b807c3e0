/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets that are sent twice, by two paths, arrive once.
 */
#ifndef _DSMIP_COPIES_H
#define _DSMIP_COPIES_H

#include "binding.h"

struct dsmip_twins *dsmip_twins_new(void);
/* After a grace period. */
void dsmip_twins_free(struct dsmip_twins *twins);

bool __dsmip_is_copy(struct dsmip_twins *twins, u16 bid, struct sk_buff *skb);

/*
 * Whether the inner packet at skb->data has come by another path already. RCU
 * read side.
 */
static inline bool dsmip_is_copy(const struct dsmip_binding *binding, u16 bid, struct sk_buff *skb)
{
	struct dsmip_twins *twins = rcu_dereference(binding->twins);

	return unlikely(twins) && __dsmip_is_copy(twins, bid, skb);
}

#endif
