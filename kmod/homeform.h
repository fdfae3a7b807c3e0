/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Home form: inside the host, signalling goes between home address and home
 * agent; its care-of address stands in the Care-of option.
 */
#ifndef _DSMIP_HOMEFORM_H
#define _DSMIP_HOMEFORM_H

#include <linux/skbuff.h>

#include "uapi/dsmip.h"

/* The whole header of the long form: PadN, then the option. */
struct dsmip_careof_header {
	u8 nexthdr;
	u8 hdrlen;
	u8 padding[4];
	u8 type;
	u8 length;
	struct dsmip_careof careof;
} __packed;

static inline void dsmip_careof_fill(struct dsmip_careof_header *header, u8 nexthdr)
{
	*header = (struct dsmip_careof_header) {
		.nexthdr = nexthdr,
		.hdrlen = sizeof(*header) / 8 - 1,
		.padding = { 1, 2 },
		.type = DSMIP_CAREOF_TYPE,
		.length = DSMIP_CAREOF_LEN_LONG,
	};
}

/*
 * Looks at the destination options header at this offset. Returns the offset of
 * the one option of the type, 0 when there is none, -EINVAL when the header is
 * damaged, -EPROTO when it has the option twice, of a wrong length, or where it
 * is not aligned to 8n+6.
 */
int dsmip_find_option(struct sk_buff *skb, int header, u8 type);

int dsmip_homeform_register(struct net *net);
void dsmip_homeform_unregister(struct net *net);

#endif
