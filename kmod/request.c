// SPDX-License-Identifier: GPL-2.0-only
/*
 * Netlink requests taken apart, checked, and carried out whole or not at all.
 */
#include <linux/slab.h>
#include <net/genetlink.h>
#include <net/ipv6.h>

#include "copies.h"
#include "netlink.h"

#define dsmip_deref(dsmip, p) rcu_dereference_protected(p, lockdep_is_held(&(dsmip)->lock))

const struct nla_policy dsmip_path_policy[DSMIP_PATH_A_MAX + 1] = {
	[DSMIP_PATH_A_UNSPEC] = { .type = NLA_REJECT },
	[DSMIP_PATH_A_PAD] = { .type = NLA_REJECT },
	[DSMIP_PATH_A_BID] = { .type = NLA_U16 },
	[DSMIP_PATH_A_KIND] = NLA_POLICY_RANGE(NLA_U8, DSMIP_KIND_IP6, DSMIP_KIND_MAX),
	[DSMIP_PATH_A_LOCAL] = NLA_POLICY_MIN_LEN(4),
	[DSMIP_PATH_A_REMOTE] = NLA_POLICY_MIN_LEN(4),
	[DSMIP_PATH_A_REMOTE_PORT] = { .type = NLA_U16 },
	[DSMIP_PATH_A_IFINDEX] = { .type = NLA_U32 },
	[DSMIP_PATH_A_PRIORITY] = { .type = NLA_U8 },
	[DSMIP_PATH_A_FLAGS] = NLA_POLICY_MASK(NLA_U32, DSMIP_PATH_F_DOWN),
	[DSMIP_PATH_A_SILENT_MS] = NLA_POLICY_MAX(NLA_U32, 30000),
	[DSMIP_PATH_A_STATS] = { .type = NLA_REJECT },
	[DSMIP_PATH_A_LAST_RX_MS] = { .type = NLA_REJECT },
	[DSMIP_PATH_A_MTU] = { .type = NLA_REJECT },
};

static const struct nla_policy dsmip_prefix_policy[DSMIP_PREFIX_A_MAX + 1] = {
	[DSMIP_PREFIX_A_UNSPEC] = { .type = NLA_REJECT },
	[DSMIP_PREFIX_A_ADDRESS] = NLA_POLICY_MIN_LEN(4),
	[DSMIP_PREFIX_A_LENGTH] = NLA_POLICY_MAX(NLA_U8, 128),
	[DSMIP_PREFIX_A_FLAGS] = NLA_POLICY_MASK(NLA_U32, DSMIP_PREFIX_F_LOCAL |
							  DSMIP_PREFIX_F_REMOVE),
};

/* --- reading a request ---------------------------------------------------- */

struct dsmip_device *dsmip_device_get(struct net *net, struct nlattr **attrs,
				      struct netlink_ext_ack *extack)
{
	struct net_device *dev = NULL;
	struct nlattr *which = attrs[DSMIP_A_IFINDEX] ?: attrs[DSMIP_A_IFNAME];

	if (!which) {
		NL_SET_ERR_MSG(extack, "the request names no device");
		return ERR_PTR(-EINVAL);
	}
	if (attrs[DSMIP_A_IFINDEX])
		dev = dev_get_by_index(net, nla_get_u32(which));
	else
		dev = dev_get_by_name(net, nla_data(which));
	if (!dev) {
		NL_SET_ERR_MSG_ATTR(extack, which, "no such device");
		return ERR_PTR(-ENODEV);
	}
	if (!dsmip_is_device(dev)) {
		dev_put(dev);
		NL_SET_ERR_MSG_ATTR(extack, which, "the device is not of kind dsmip");
		return ERR_PTR(-EOPNOTSUPP);
	}
	return netdev_priv(dev);
}

void dsmip_device_put(struct dsmip_device *dsmip)
{
	dev_put(dsmip->dev);
}

int dsmip_get_home(struct nlattr **attrs, struct in6_addr *home,
		   struct netlink_ext_ack *extack)
{
	if (!attrs[DSMIP_A_HOME_ADDRESS]) {
		NL_SET_ERR_MSG(extack, "the request names no home address");
		return -EINVAL;
	}
	*home = nla_get_in6_addr(attrs[DSMIP_A_HOME_ADDRESS]);
	if (!dsmip_routable6(home)) {
		NL_SET_ERR_MSG_ATTR(extack, attrs[DSMIP_A_HOME_ADDRESS],
				    "home address must be a routable unicast address");
		return -EADDRNOTAVAIL;
	}
	return 0;
}

static int dsmip_get_end(struct nlattr **tb, int which, u8 kind, union dsmip_address *end,
			 struct netlink_ext_ack *extack)
{
	unsigned int length = dsmip_kind_is_v6(kind) ? sizeof(end->v6) : sizeof(end->v4);

	if (!tb[which]) {
		if (which == DSMIP_PATH_A_LOCAL)
			NL_SET_ERR_MSG(extack, "path without local address");
		else
			NL_SET_ERR_MSG(extack, "path without remote address");
		return -EINVAL;
	}
	if (nla_len(tb[which]) != length) {
		NL_SET_ERR_MSG_ATTR(extack, tb[which],
				    "address family does not fit the path's wire kind");
		return -EINVAL;
	}
	memset(end, 0, sizeof(*end));
	memcpy(end, nla_data(tb[which]), length);
	if (dsmip_kind_is_v6(kind) ? dsmip_routable6(&end->v6) : dsmip_routable4(end->v4))
		return 0;
	NL_SET_ERR_MSG_ATTR(extack, tb[which], "path address must be a routable unicast address");
	return -EADDRNOTAVAIL;
}

int dsmip_get_path(const struct nlattr *nest, struct dsmip_path_config *config,
		   struct netlink_ext_ack *extack)
{
	struct nlattr *tb[DSMIP_PATH_A_MAX + 1];
	bool udp;
	int err;

	err = nla_parse_nested(tb, DSMIP_PATH_A_MAX, nest, dsmip_path_policy, extack);
	if (err)
		return err;
	memset(config, 0, sizeof(*config));
	if (tb[DSMIP_PATH_A_BID])
		config->bid = nla_get_u16(tb[DSMIP_PATH_A_BID]);
	if (!tb[DSMIP_PATH_A_KIND]) {
		NL_SET_ERR_MSG_ATTR(extack, nest, "path without wire kind");
		return -EINVAL;
	}
	config->kind = nla_get_u8(tb[DSMIP_PATH_A_KIND]);
	err = dsmip_get_end(tb, DSMIP_PATH_A_LOCAL, config->kind, &config->local, extack) ?:
		      dsmip_get_end(tb, DSMIP_PATH_A_REMOTE, config->kind, &config->remote, extack);
	if (err)
		return err;
	if (!memcmp(&config->local, &config->remote, sizeof(config->local))) {
		NL_SET_ERR_MSG_ATTR(extack, tb[DSMIP_PATH_A_REMOTE],
				    "both ends of the path are the same");
		return -EINVAL;
	}
	if (tb[DSMIP_PATH_A_REMOTE_PORT])
		config->remote_port = nla_get_be16(tb[DSMIP_PATH_A_REMOTE_PORT]);
	udp = config->kind == DSMIP_KIND_UDP4;
	if (udp != !!config->remote_port) {
		NL_SET_ERR_MSG_ATTR(extack, nest,
				    "a UDP port belongs to a path of kind udp4, and to no other");
		return -EINVAL;
	}
	if (tb[DSMIP_PATH_A_IFINDEX])
		config->ifindex = nla_get_u32(tb[DSMIP_PATH_A_IFINDEX]);
	if (tb[DSMIP_PATH_A_PRIORITY])
		config->priority = nla_get_u8(tb[DSMIP_PATH_A_PRIORITY]);
	if (tb[DSMIP_PATH_A_FLAGS])
		config->flags = nla_get_u32(tb[DSMIP_PATH_A_FLAGS]);
	if (tb[DSMIP_PATH_A_SILENT_MS])
		config->silent_ms = nla_get_u32(tb[DSMIP_PATH_A_SILENT_MS]);
	return 0;
}

static int dsmip_get_prefix(const struct nlattr *nest, struct dsmip_prefix *prefix, u32 *flags,
			    struct netlink_ext_ack *extack)
{
	struct nlattr *tb[DSMIP_PREFIX_A_MAX + 1], *address;
	struct dsmip_key key;
	int err;

	err = nla_parse_nested(tb, DSMIP_PREFIX_A_MAX, nest, dsmip_prefix_policy, extack);
	if (err)
		return err;
	address = tb[DSMIP_PREFIX_A_ADDRESS];
	if (!address || !tb[DSMIP_PREFIX_A_LENGTH]) {
		NL_SET_ERR_MSG_ATTR(extack, nest, "prefix without address or length");
		return -EINVAL;
	}
	prefix->bits = nla_get_u8(tb[DSMIP_PREFIX_A_LENGTH]);
	if (nla_len(address) == sizeof(struct in6_addr)) {
		const struct in6_addr addr = nla_get_in6_addr(address);

		prefix->family = AF_INET6;
		key = dsmip_key6(&addr);
	} else if (nla_len(address) == sizeof(__be32)) {
		prefix->family = AF_INET;
		key = dsmip_key4(nla_get_in_addr(address));
	} else {
		NL_SET_ERR_MSG_ATTR(extack, address, "prefix address must have 4 or 16 octets");
		return -EINVAL;
	}
	if (prefix->family == AF_INET && prefix->bits > 32) {
		NL_SET_ERR_MSG_ATTR(extack, tb[DSMIP_PREFIX_A_LENGTH],
				    "IPv4 prefix length is at most 32");
		return -ERANGE;
	}
	prefix->key = dsmip_key_mask(key, prefix->bits);
	if (prefix->key.hi != key.hi || prefix->key.lo != key.lo) {
		NL_SET_ERR_MSG_ATTR(extack, address, "prefix has bits beyond its length");
		return -EINVAL;
	}
	*flags = tb[DSMIP_PREFIX_A_FLAGS] ? nla_get_u32(tb[DSMIP_PREFIX_A_FLAGS]) : 0;
	prefix->flags = *flags & DSMIP_PREFIX_F_LOCAL;
	return 0;
}

/* --- changing a binding --------------------------------------------------- */

/* A request taken apart and checked, with all that it needs allocated. */
struct dsmip_request {
	struct dsmip_device *dsmip;
	struct dsmip_binding *binding;
	struct nlattr **attrs;
	struct netlink_ext_ack *extack;
	bool created;
	u32 flags;
	struct dsmip_path_set *paths;	/* the set to publish, or NULL */
	unsigned int fresh_paths;	/* how many of it are new */
	u8 *data;
	struct dsmip_twins *twins;	/* for a binding that begins to look for copies */
	struct list_head added;		/* struct dsmip_prefix, copies for going back */
};

struct dsmip_path_set *dsmip_merge_paths(struct dsmip_device *dsmip, struct dsmip_binding *binding,
					 bool replace, struct dsmip_path **fresh,
					 unsigned int count)
{
	struct dsmip_path_set *old = replace ? NULL : dsmip_deref(dsmip, binding->paths);
	struct dsmip_path_set *set;
	unsigned int i, j;

	for (i = 0; binding->flags & DSMIP_BINDING_F_DIRECT && i < count; i++)
		if (fresh[i]->config.kind != DSMIP_KIND_RO)
			return ERR_PTR(-EPROTOTYPE);
	set = dsmip_path_set_new(count + (old ? old->count : 0));
	if (!set)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < count; i++)
		set->path[set->count++] = fresh[i];
	for (i = 0; old && i < old->count; i++) {
		for (j = 0; j < count && fresh[j]->config.bid != old->path[i]->config.bid; j++)
			;
		if (j == count)
			set->path[set->count++] = old->path[i];
	}
	if (set->count > DSMIP_PATHS_MAX) {
		kfree(set);
		return ERR_PTR(-ENOSPC);
	}
	return set;
}

static int dsmip_prepare_paths(struct dsmip_request *request)
{
	struct dsmip_path *fresh[DSMIP_PATHS_MAX];
	struct dsmip_path_config config;
	unsigned int count = 0, i;
	struct nlattr *nest;
	int err = 0, rest;

	if (!request->attrs[DSMIP_A_PATHS])
		return 0;
	nla_for_each_nested(nest, request->attrs[DSMIP_A_PATHS], rest) {
		err = dsmip_get_path(nest, &config, request->extack);
		if (err)
			goto free;
		for (i = 0; i < count; i++) {
			if (fresh[i]->config.bid != config.bid)
				continue;
			NL_SET_ERR_MSG_ATTR(request->extack, nest, "the same BID twice");
			err = -EINVAL;
			goto free;
		}
		if (count == DSMIP_PATHS_MAX) {
			err = -ENOSPC;
			goto too_many;
		}
		fresh[count] = dsmip_path_new(&config);
		if (!fresh[count]) {
			err = -ENOMEM;
			goto free;
		}
		count++;
	}
	request->paths = dsmip_merge_paths(request->dsmip, request->binding,
					   request->flags & DSMIP_REQUEST_F_REPLACE_PATHS, fresh,
					   count);
	if (!IS_ERR(request->paths)) {
		request->fresh_paths = count;
		return 0;
	}
	err = PTR_ERR(request->paths);
	request->paths = NULL;
too_many:
	if (err == -ENOSPC)
		NL_SET_ERR_MSG_ATTR(request->extack, request->attrs[DSMIP_A_PATHS],
				    "a binding has at most 16 paths");
free:
	while (count)
		dsmip_path_free(fresh[--count]);
	return err;
}

static void dsmip_forget_prefixes(struct list_head *list)
{
	struct dsmip_prefix *prefix, *next;

	list_for_each_entry_safe(prefix, next, list, list) {
		list_del(&prefix->list);
		kfree(prefix);
	}
}

static bool dsmip_is_named(struct nlattr *prefixes, const struct dsmip_prefix *prefix, bool remove)
{
	struct dsmip_prefix named = {};
	struct nlattr *nest;
	u32 flags;
	int rest;

	if (prefixes)
		nla_for_each_nested(nest, prefixes, rest)
			if (!dsmip_get_prefix(nest, &named, &flags, NULL) &&
			    named.family == prefix->family && named.bits == prefix->bits &&
			    named.key.hi == prefix->key.hi && named.key.lo == prefix->key.lo &&
			    named.flags == prefix->flags)
				return !(flags & DSMIP_PREFIX_F_REMOVE) != remove;
	return false;
}

/* Whether the request leaves this prefix of the binding out. */
static bool dsmip_is_dropped(const struct dsmip_request *request,
			     const struct dsmip_prefix *prefix)
{
	struct nlattr *named = request->attrs[DSMIP_A_PREFIXES];

	return dsmip_is_named(named, prefix, true) ||
	       (request->flags & DSMIP_REQUEST_F_REPLACE_PREFIXES &&
		!dsmip_is_named(named, prefix, false));
}

/* Adds the new prefixes; what has to go goes later, when nothing can fail. */
static int dsmip_prepare_prefixes(struct dsmip_request *request)
{
	struct dsmip_prefix wanted = {}, *copy, *prefix;
	unsigned int count = 0;
	struct nlattr *nest;
	u32 flags;
	int err, rest;

	if (!request->attrs[DSMIP_A_PREFIXES])
		return 0;
	nla_for_each_nested(nest, request->attrs[DSMIP_A_PREFIXES], rest) {
		err = dsmip_get_prefix(nest, &wanted, &flags, request->extack);
		if (err)
			return err;
		if (flags & DSMIP_PREFIX_F_REMOVE || dsmip_prefix_find(request->binding, &wanted))
			continue;
		copy = kmemdup(&wanted, sizeof(wanted), GFP_KERNEL);
		if (!copy)
			return -ENOMEM;
		err = dsmip_prefix_add(request->dsmip, request->binding, &wanted);
		if (err) {
			kfree(copy);
			if (err == -EEXIST)
				NL_SET_ERR_MSG_ATTR(request->extack, nest,
						    "prefix belongs to another binding");
			else if (err == -ENOSPC)
				NL_SET_ERR_MSG_ATTR(request->extack, nest,
						    "a binding has at most 64 prefixes");
			return err;
		}
		list_add_tail(&copy->list, &request->added);
	}
	list_for_each_entry(prefix, &request->binding->prefixes, list)
		count += !dsmip_is_dropped(request, prefix);
	if (count > DSMIP_PREFIXES_MAX) {
		NL_SET_ERR_MSG_ATTR(request->extack, request->attrs[DSMIP_A_PREFIXES],
				    "a binding has at most 64 prefixes");
		return -ENOSPC;
	}
	return 0;
}

static void dsmip_drop_prefixes(struct dsmip_request *request)
{
	struct dsmip_prefix *prefix, *next;

	list_for_each_entry_safe(prefix, next, &request->binding->prefixes, list)
		if (dsmip_is_dropped(request, prefix))
			dsmip_prefix_remove(request->dsmip, request->binding, prefix);
}

static int dsmip_prepare_binding(struct dsmip_request *request)
{
	struct nlattr **attrs = request->attrs;
	struct netlink_ext_ack *extack = request->extack;
	struct in6_addr home;
	u32 flags = 0;
	int err;

	err = dsmip_get_home(attrs, &home, extack);
	if (err)
		return err;
	if (attrs[DSMIP_A_BINDING_FLAGS])
		flags = nla_get_u32(attrs[DSMIP_A_BINDING_FLAGS]);
	request->binding = dsmip_binding_find(request->dsmip, &home);
	if (request->binding) {
		if (attrs[DSMIP_A_BINDING_FLAGS] &&
		    (request->binding->flags ^ flags) & ~DSMIP_BINDING_F_COPIES) {
			NL_SET_ERR_MSG_ATTR(extack, attrs[DSMIP_A_BINDING_FLAGS],
					    "which side is mobile cannot change");
			return -EBUSY;
		}
		flags = request->binding->flags;
	}
	if (flags & DSMIP_BINDING_F_DIRECT &&
	    (flags & DSMIP_BINDING_F_MOBILE || attrs[DSMIP_A_HOME_ADDRESS4] ||
	     (attrs[DSMIP_A_PREFIXES] && nla_len(attrs[DSMIP_A_PREFIXES])))) {
		NL_SET_ERR_MSG_ATTR(extack, attrs[DSMIP_A_HOME_ADDRESS],
				    "a direct binding is one address, not on the mobile side");
		return -EINVAL;
	}
	if (request->binding)
		return 0;
	if (request->flags & DSMIP_REQUEST_F_UPDATE_ONLY) {
		NL_SET_ERR_MSG_ATTR(extack, attrs[DSMIP_A_HOME_ADDRESS], "no such binding");
		return -ENOENT;
	}
	/* A device on its way out has removed its bindings already. */
	if (request->dsmip->dev->reg_state != NETREG_REGISTERED)
		return -ENODEV;
	request->binding = dsmip_binding_new(&home, flags);
	if (!request->binding)
		return -ENOMEM;
	err = dsmip_binding_add(request->dsmip, request->binding);
	if (err) {
		dsmip_binding_free(request->binding);
		request->binding = NULL;
		NL_SET_ERR_MSG_ATTR(extack, attrs[DSMIP_A_HOME_ADDRESS],
				    "home address is a prefix of another binding");
		return err;
	}
	request->created = true;
	return 0;
}

static int dsmip_prepare_home4(struct dsmip_request *request)
{
	struct nlattr *attr = request->attrs[DSMIP_A_HOME_ADDRESS4];
	__be32 home4;
	int err;

	if (!attr)
		return 0;
	home4 = nla_get_in_addr(attr);
	if (home4 && !dsmip_routable4(home4)) {
		NL_SET_ERR_MSG_ATTR(request->extack, attr,
				    "IPv4 home address must be a routable unicast address");
		return -EADDRNOTAVAIL;
	}
	err = dsmip_binding_set_home4(request->dsmip, request->binding, home4);
	if (err)
		NL_SET_ERR_MSG_ATTR(request->extack, attr,
				    "IPv4 home address belongs to another binding");
	return err;
}

static void dsmip_undo(struct dsmip_request *request)
{
	struct dsmip_prefix *copy, *prefix;

	while (request->fresh_paths)
		dsmip_path_free(request->paths->path[--request->fresh_paths]);
	kfree(request->paths);
	kfree(request->data);
	kvfree(request->twins);
	if (request->created) {
		dsmip_binding_remove(request->dsmip, request->binding);
		return;
	}
	list_for_each_entry(copy, &request->added, list) {
		prefix = dsmip_prefix_find(request->binding, copy);
		if (prefix)
			dsmip_prefix_remove(request->dsmip, request->binding, prefix);
	}
}

static bool dsmip_wants_copies(const struct dsmip_request *request)
{
	const struct nlattr *flags = request->attrs[DSMIP_A_BINDING_FLAGS];

	return (flags ? nla_get_u32(flags) : request->binding->flags) & DSMIP_BINDING_F_COPIES;
}

static int dsmip_prepare_twins(struct dsmip_request *request)
{
	if (!dsmip_wants_copies(request) || rcu_access_pointer(request->binding->twins))
		return 0;
	request->twins = dsmip_twins_new();
	return request->twins ? 0 : -ENOMEM;
}

static void dsmip_commit_twins(struct dsmip_request *request)
{
	struct dsmip_binding *binding = request->binding;
	struct dsmip_twins *old = dsmip_deref(request->dsmip, binding->twins);

	if (dsmip_wants_copies(request)) {
		binding->flags |= DSMIP_BINDING_F_COPIES;
		if (!old)
			rcu_assign_pointer(binding->twins, request->twins);
	} else {
		binding->flags &= ~DSMIP_BINDING_F_COPIES;
		RCU_INIT_POINTER(binding->twins, NULL);
		if (old)
			dsmip_twins_free(old);
	}
}

static void dsmip_commit(struct dsmip_request *request)
{
	struct dsmip_binding *binding = request->binding;
	struct nlattr **attrs = request->attrs;

	dsmip_drop_prefixes(request);
	dsmip_commit_twins(request);
	if (request->paths)
		dsmip_path_set_publish(request->dsmip, binding, request->paths);
	if (attrs[DSMIP_A_LIFETIME])
		dsmip_binding_set_lifetime(request->dsmip, binding,
					   nla_get_u32(attrs[DSMIP_A_LIFETIME]));
	if (attrs[DSMIP_A_SEQUENCE])
		binding->sequence = nla_get_u16(attrs[DSMIP_A_SEQUENCE]);
	if (attrs[DSMIP_A_DATA]) {
		swap(binding->data, request->data);
		binding->data_len = nla_len(attrs[DSMIP_A_DATA]);
		kfree(request->data);
	}
}

int dsmip_binding_set(struct sk_buff *skb, struct genl_info *info)
{
	struct dsmip_request request = {
		.attrs = info->attrs,
		.extack = info->extack,
		.added = LIST_HEAD_INIT(request.added),
	};
	int err;

	request.dsmip = dsmip_device_get(genl_info_net(info), info->attrs, info->extack);
	if (IS_ERR(request.dsmip))
		return PTR_ERR(request.dsmip);
	if (info->attrs[DSMIP_A_REQUEST_FLAGS])
		request.flags = nla_get_u32(info->attrs[DSMIP_A_REQUEST_FLAGS]);

	mutex_lock(&request.dsmip->lock);
	err = dsmip_prepare_binding(&request);
	if (err)
		goto out;
	if (info->attrs[DSMIP_A_DATA] && nla_len(info->attrs[DSMIP_A_DATA])) {
		request.data = nla_memdup(info->attrs[DSMIP_A_DATA], GFP_KERNEL);
		if (!request.data)
			err = -ENOMEM;
	}
	err = err ?: dsmip_prepare_twins(&request);
	err = err ?: dsmip_prepare_paths(&request);
	err = err ?: dsmip_prepare_prefixes(&request);
	/* Last of those that can fail, since it takes effect. */
	err = err ?: dsmip_prepare_home4(&request);
	if (err)
		dsmip_undo(&request);
	else
		dsmip_commit(&request);
	dsmip_forget_prefixes(&request.added);
out:
	mutex_unlock(&request.dsmip->lock);
	dsmip_device_put(request.dsmip);
	return err;
}
