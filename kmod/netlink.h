/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Generic netlink: configuration, dumps, events.
 */
#ifndef _DSMIP_NETLINK_H
#define _DSMIP_NETLINK_H

#include <net/genetlink.h>

#include "binding.h"

/* Tells the listeners; the path may be NULL. Any context, with matching gfp. */
void dsmip_event(const struct dsmip_device *dsmip, enum dsmip_event event,
		 const struct in6_addr *home, const struct dsmip_path_config *path, gfp_t gfp);

extern const struct nla_policy dsmip_path_policy[DSMIP_PATH_A_MAX + 1];

/* The device that a request names, held, or an error. */
struct dsmip_device *dsmip_device_get(struct net *net, struct nlattr **attrs,
				      struct netlink_ext_ack *extack);
void dsmip_device_put(struct dsmip_device *dsmip);
int dsmip_get_home(struct nlattr **attrs, struct in6_addr *home, struct netlink_ext_ack *extack);
int dsmip_get_path(const struct nlattr *nest, struct dsmip_path_config *config,
		   struct netlink_ext_ack *extack);
/* A set with these paths in place of, or in addition to, the binding's. */
struct dsmip_path_set *dsmip_merge_paths(struct dsmip_device *dsmip, struct dsmip_binding *binding,
					 bool replace, struct dsmip_path **fresh,
					 unsigned int count);
int dsmip_binding_set(struct sk_buff *skb, struct genl_info *info);

/* Append to a message, or -EMSGSIZE; bindings under the device's lock. */
int dsmip_put_path_config(struct sk_buff *skb, const struct dsmip_path_config *config, u32 flags);
int dsmip_put_binding(struct sk_buff *skb, struct dsmip_device *dsmip,
		      struct dsmip_binding *binding);
int dsmip_put_device(struct sk_buff *skb, const struct dsmip_device *dsmip);

int dsmip_netlink_init(void);
void dsmip_netlink_exit(void);

#endif
