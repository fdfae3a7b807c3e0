// SPDX-License-Identifier: GPL-2.0-only
#include <linux/ktime.h>
#include <linux/slab.h>
#include <net/genetlink.h>
#include <net/ipv6.h>

#include "compat.h"
#include "netlink.h"

#define dsmip_deref(dsmip, p) rcu_dereference_protected(p, lockdep_is_held(&(dsmip)->lock))

static struct genl_family dsmip_family;

static const struct nla_policy dsmip_policy[DSMIP_A_MAX + 1] = {
	[DSMIP_A_UNSPEC] = { .type = NLA_REJECT },
	[DSMIP_A_PAD] = { .type = NLA_REJECT },
	[DSMIP_A_IFINDEX] = NLA_POLICY_MIN(NLA_U32, 1),
	[DSMIP_A_IFNAME] = { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[DSMIP_A_PORT] = { .type = NLA_REJECT },
	[DSMIP_A_MARK_MASK] = { .type = NLA_U32 },
	[DSMIP_A_TTL] = { .type = NLA_U8 },
	[DSMIP_A_COUNTERS] = { .type = NLA_REJECT },
	[DSMIP_A_HOME_ADDRESS] = NLA_POLICY_EXACT_LEN(sizeof(struct in6_addr)),
	[DSMIP_A_HOME_ADDRESS4] = NLA_POLICY_EXACT_LEN(sizeof(__be32)),
	[DSMIP_A_BINDING_FLAGS] = NLA_POLICY_MASK(NLA_U32, DSMIP_BINDING_F_MOBILE |
							   DSMIP_BINDING_F_DIRECT |
							   DSMIP_BINDING_F_COPIES),
	[DSMIP_A_REQUEST_FLAGS] = NLA_POLICY_MASK(NLA_U32, DSMIP_REQUEST_F_REPLACE_PATHS |
							   DSMIP_REQUEST_F_REPLACE_PREFIXES |
							   DSMIP_REQUEST_F_UPDATE_ONLY),
	[DSMIP_A_LIFETIME] = { .type = NLA_U32 },
	[DSMIP_A_SEQUENCE] = { .type = NLA_U16 },
	[DSMIP_A_DATA] = { .type = NLA_BINARY, .len = DSMIP_DATA_MAX },
	[DSMIP_A_PATHS] = { .type = NLA_NESTED },
	[DSMIP_A_PREFIXES] = { .type = NLA_NESTED },
	[DSMIP_A_STATS] = { .type = NLA_REJECT },
	[DSMIP_A_PATH] = NLA_POLICY_NESTED(dsmip_path_policy),
	[DSMIP_A_EVENT] = { .type = NLA_REJECT },
	[DSMIP_A_TIME_NS] = { .type = NLA_REJECT },
	[DSMIP_A_TELL_TUNNELLED] = NLA_POLICY_MAX(NLA_U8, 1),
	[DSMIP_A_COPY_MASK] = { .type = NLA_U32 },
};

/* The device and binding of a request, locked and held; undone by dsmip_leave. */
static struct dsmip_binding *dsmip_enter(struct genl_info *info, struct dsmip_device **dsmip)
{
	struct dsmip_binding *binding;
	struct in6_addr home;
	int err;

	*dsmip = dsmip_device_get(genl_info_net(info), info->attrs, info->extack);
	if (IS_ERR(*dsmip))
		return ERR_CAST(*dsmip);
	mutex_lock(&(*dsmip)->lock);
	err = dsmip_get_home(info->attrs, &home, info->extack);
	binding = err ? ERR_PTR(err) : dsmip_binding_find(*dsmip, &home);
	if (!binding) {
		NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[DSMIP_A_HOME_ADDRESS],
				    "no such binding");
		binding = ERR_PTR(-ENOENT);
	}
	if (IS_ERR(binding)) {
		mutex_unlock(&(*dsmip)->lock);
		dsmip_device_put(*dsmip);
	}
	return binding;
}

static void dsmip_leave(struct dsmip_device *dsmip)
{
	mutex_unlock(&dsmip->lock);
	dsmip_device_put(dsmip);
}

static int dsmip_binding_del(struct sk_buff *skb, struct genl_info *info)
{
	struct dsmip_binding *binding;
	struct dsmip_device *dsmip;

	if (!info->attrs[DSMIP_A_HOME_ADDRESS]) {
		dsmip = dsmip_device_get(genl_info_net(info), info->attrs, info->extack);
		if (IS_ERR(dsmip))
			return PTR_ERR(dsmip);
		mutex_lock(&dsmip->lock);
		dsmip_binding_remove_all(dsmip);
	} else {
		binding = dsmip_enter(info, &dsmip);
		if (IS_ERR(binding))
			return PTR_ERR(binding);
		dsmip_binding_remove(dsmip, binding);
	}
	dsmip_leave(dsmip);
	return 0;
}

static int dsmip_path_set(struct sk_buff *skb, struct genl_info *info)
{
	struct dsmip_path_config config;
	struct dsmip_binding *binding;
	struct dsmip_path_set *set;
	struct dsmip_device *dsmip;
	struct dsmip_path *path;
	int err;

	if (!info->attrs[DSMIP_A_PATH]) {
		NL_SET_ERR_MSG(info->extack, "the request has no path");
		return -EINVAL;
	}
	err = dsmip_get_path(info->attrs[DSMIP_A_PATH], &config, info->extack);
	if (err)
		return err;
	path = dsmip_path_new(&config);
	if (!path)
		return -ENOMEM;
	binding = dsmip_enter(info, &dsmip);
	if (IS_ERR(binding)) {
		dsmip_path_free(path);
		return PTR_ERR(binding);
	}
	set = dsmip_merge_paths(dsmip, binding, false, &path, 1);
	if (IS_ERR(set)) {
		err = PTR_ERR(set);
		if (err == -ENOSPC)
			NL_SET_ERR_MSG_ATTR(info->extack, info->attrs[DSMIP_A_PATH],
					    "a binding has at most 16 paths");
		dsmip_path_free(path);
	} else {
		dsmip_path_set_publish(dsmip, binding, set);
	}
	dsmip_leave(dsmip);
	return err;
}

static int dsmip_path_del(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[DSMIP_PATH_A_MAX + 1] = {};
	struct dsmip_path_set *old, *set;
	struct dsmip_binding *binding;
	struct dsmip_device *dsmip;
	unsigned int i;
	int err;
	u16 bid;

	if (info->attrs[DSMIP_A_PATH]) {
		err = nla_parse_nested(tb, DSMIP_PATH_A_MAX, info->attrs[DSMIP_A_PATH],
				       dsmip_path_policy, info->extack);
		if (err)
			return err;
	}
	if (!tb[DSMIP_PATH_A_BID]) {
		NL_SET_ERR_MSG(info->extack, "the request names no BID");
		return -EINVAL;
	}
	bid = nla_get_u16(tb[DSMIP_PATH_A_BID]);
	binding = dsmip_enter(info, &dsmip);
	if (IS_ERR(binding))
		return PTR_ERR(binding);
	old = dsmip_deref(dsmip, binding->paths);
	if (!old || !dsmip_path_by_bid(old, bid)) {
		NL_SET_ERR_MSG_ATTR(info->extack, tb[DSMIP_PATH_A_BID], "no path with this BID");
		err = -ENOENT;
		goto out;
	}
	set = dsmip_path_set_new(old->count);
	err = set ? 0 : -ENOMEM;
	if (err)
		goto out;
	for (i = 0; i < old->count; i++)
		if (old->path[i]->config.bid != bid)
			set->path[set->count++] = old->path[i];
	dsmip_path_set_publish(dsmip, binding, set);
out:
	dsmip_leave(dsmip);
	return err;
}

/* --- reading -------------------------------------------------------------- */

static int dsmip_binding_get(struct sk_buff *skb, struct genl_info *info)
{
	struct dsmip_binding *binding;
	struct dsmip_device *dsmip;
	struct sk_buff *reply;
	int err = -ENOMEM;
	void *header;

	binding = dsmip_enter(info, &dsmip);
	if (IS_ERR(binding))
		return PTR_ERR(binding);
	reply = genlmsg_new(SZ_16K, GFP_KERNEL);
	header = reply ? genlmsg_put_reply(reply, info, &dsmip_family, 0, DSMIP_CMD_BINDING_GET) :
			 NULL;
	if (header)
		err = dsmip_put_binding(reply, dsmip, binding);
	dsmip_leave(dsmip);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	genlmsg_end(reply, header);
	return genlmsg_reply(reply, info);
}

/* Goes on after the home address where the message before ended. */
struct dsmip_dump {
	struct in6_addr last;
	bool started;
};

static int dsmip_binding_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct genl_dumpit_info *info = genl_dumpit_info(cb);
	struct dsmip_dump *dump = (struct dsmip_dump *)cb->ctx;
	struct dsmip_binding *binding;
	struct dsmip_device *dsmip;
	struct nlattr **attrs;
	void *header;

	BUILD_BUG_ON(sizeof(*dump) > sizeof(cb->ctx));
	attrs = dsmip_dump_attrs(info);
	dsmip = dsmip_device_get(sock_net(skb->sk), attrs, cb->extack);
	if (IS_ERR(dsmip))
		return PTR_ERR(dsmip);
	mutex_lock(&dsmip->lock);
	cb->seq = dsmip->generation + 1;
	while ((binding = dsmip_binding_after(dsmip, dump->started ? &dump->last : NULL))) {
		header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				     &dsmip_family, NLM_F_MULTI, DSMIP_CMD_BINDING_GET);
		if (!header)
			break;
		genl_dump_check_consistent(cb, header);
		if (dsmip_put_binding(skb, dsmip, binding)) {
			genlmsg_cancel(skb, header);
			break;
		}
		genlmsg_end(skb, header);
		dump->last = binding->home;
		dump->started = true;
	}
	dsmip_leave(dsmip);
	/* Nothing fitted into an empty message: say so rather than never end. */
	return skb->len ?: binding ? -EMSGSIZE : 0;
}

static int dsmip_device_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct dsmip_device *dsmip;
	struct sk_buff *reply;
	int err = -ENOMEM;
	void *header;

	dsmip = dsmip_device_get(genl_info_net(info), info->attrs, info->extack);
	if (IS_ERR(dsmip))
		return PTR_ERR(dsmip);
	reply = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	header = reply ? genlmsg_put_reply(reply, info, &dsmip_family, 0, DSMIP_CMD_DEVICE_GET) :
			 NULL;
	if (header)
		err = dsmip_put_device(reply, dsmip);
	dsmip_device_put(dsmip);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	genlmsg_end(reply, header);
	return genlmsg_reply(reply, info);
}

static int dsmip_device_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct net *net = sock_net(skb->sk);
	unsigned long *last = (unsigned long *)cb->ctx;
	struct net_device *dev;
	void *header;

	rtnl_lock();
	for_each_netdev(net, dev) {
		if (!dsmip_is_device(dev) || dev->ifindex <= *last)
			continue;
		header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				     &dsmip_family, NLM_F_MULTI, DSMIP_CMD_DEVICE_GET);
		if (!header)
			break;
		if (dsmip_put_device(skb, netdev_priv(dev))) {
			genlmsg_cancel(skb, header);
			break;
		}
		genlmsg_end(skb, header);
		*last = dev->ifindex;
	}
	rtnl_unlock();
	return skb->len;
}

static int dsmip_device_set(struct sk_buff *skb, struct genl_info *info)
{
	struct dsmip_device *dsmip;

	dsmip = dsmip_device_get(genl_info_net(info), info->attrs, info->extack);
	if (IS_ERR(dsmip))
		return PTR_ERR(dsmip);
	mutex_lock(&dsmip->lock);
	if (info->attrs[DSMIP_A_MARK_MASK])
		dsmip_set_mark_mask(dsmip, nla_get_u32(info->attrs[DSMIP_A_MARK_MASK]));
	if (info->attrs[DSMIP_A_COPY_MASK])
		dsmip_set_copy_mask(dsmip, nla_get_u32(info->attrs[DSMIP_A_COPY_MASK]));
	if (info->attrs[DSMIP_A_TTL])
		WRITE_ONCE(dsmip->ttl, nla_get_u8(info->attrs[DSMIP_A_TTL]));
	if (info->attrs[DSMIP_A_TELL_TUNNELLED])
		WRITE_ONCE(dsmip->tell_tunnelled,
			   nla_get_u8(info->attrs[DSMIP_A_TELL_TUNNELLED]));
	dsmip_leave(dsmip);
	return 0;
}

/* --- events --------------------------------------------------------------- */

void dsmip_event(const struct dsmip_device *dsmip, enum dsmip_event event,
		 const struct in6_addr *home, const struct dsmip_path_config *path, gfp_t gfp)
{
	struct net *net = dev_net(dsmip->dev);
	struct nlattr *nest = NULL;
	struct sk_buff *skb;
	void *header;

	if (!genl_has_listeners(&dsmip_family, net, 0))
		return;
	skb = genlmsg_new(NLMSG_GOODSIZE, gfp);
	if (!skb)
		return;
	header = genlmsg_put(skb, 0, 0, &dsmip_family, 0, DSMIP_CMD_EVENT);
	if (!header || nla_put_u32(skb, DSMIP_A_IFINDEX, dsmip->dev->ifindex) ||
	    nla_put_u8(skb, DSMIP_A_EVENT, event) ||
	    nla_put_in6_addr(skb, DSMIP_A_HOME_ADDRESS, home) ||
	    nla_put_u64_64bit(skb, DSMIP_A_TIME_NS, ktime_get_boottime_ns(), DSMIP_A_PAD))
		goto free;
	if (path) {
		nest = nla_nest_start(skb, DSMIP_A_PATH);
		if (!nest || dsmip_put_path_config(skb, path, 0))
			goto free;
		nla_nest_end(skb, nest);
	}
	genlmsg_end(skb, header);
	genlmsg_multicast_netns(&dsmip_family, net, skb, 0, 0, gfp);
	return;

free:
	nlmsg_free(skb);
}

static const struct genl_ops dsmip_ops[] = {
	{
		.cmd = DSMIP_CMD_DEVICE_GET,
		.doit = dsmip_device_get_doit,
		.dumpit = dsmip_device_dump,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = DSMIP_CMD_DEVICE_SET,
		.doit = dsmip_device_set,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = DSMIP_CMD_BINDING_GET,
		.doit = dsmip_binding_get,
		.dumpit = dsmip_binding_dump,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = DSMIP_CMD_BINDING_SET,
		.doit = dsmip_binding_set,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = DSMIP_CMD_BINDING_DEL,
		.doit = dsmip_binding_del,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = DSMIP_CMD_PATH_SET,
		.doit = dsmip_path_set,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = DSMIP_CMD_PATH_DEL,
		.doit = dsmip_path_del,
		.flags = GENL_UNS_ADMIN_PERM,
	},
};

static const struct genl_multicast_group dsmip_groups[] = {
	{ .name = DSMIP_MCGRP_EVENTS },
};

static struct genl_family dsmip_family __ro_after_init = {
	.name = DSMIP_GENL_NAME,
	.version = DSMIP_GENL_VERSION,
	.maxattr = DSMIP_A_MAX,
	.policy = dsmip_policy,
	.netnsok = true,
	.parallel_ops = true,
	.module = THIS_MODULE,
	.ops = dsmip_ops,
	.n_ops = ARRAY_SIZE(dsmip_ops),
	.mcgrps = dsmip_groups,
	.n_mcgrps = ARRAY_SIZE(dsmip_groups),
	.resv_start_op = DSMIP_CMD_MAX + 1,
};

int __init dsmip_netlink_init(void)
{
	return genl_register_family(&dsmip_family);
}

void dsmip_netlink_exit(void)
{
	genl_unregister_family(&dsmip_family);
}
