/* SPDX-License-Identifier: GPL-2.0-only */
/* Generic receive offload of the UDP socket. */
#ifndef _DSMIP_GRO_H
#define _DSMIP_GRO_H

struct list_head;
struct sk_buff;
struct sock;

struct sk_buff *dsmip_gro_receive(struct sock *sk, struct list_head *head, struct sk_buff *skb);
int dsmip_gro_complete(struct sock *sk, struct sk_buff *skb, int offset);

#endif
