// SPDX-License-Identifier: GPL-2.0-only
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <net/addrconf.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include <net/udp_tunnel.h>

#include "binding.h"
#include "compat.h"
#include "demux.h"
#include "device.h"
#include "gro.h"
#include "homeform.h"
#include "receive.h"
#include "transmit.h"

/* Room for the largest outer form on a link of 1500, with ESP inside. */
#define DSMIP_DEFAULT_MTU 1420

unsigned int dsmip_net_id;

void dsmip_stats_sum(const struct dsmip_cpu_stats __percpu *stats, struct dsmip_totals *totals)
{
	int cpu;

	*totals = (struct dsmip_totals) {};
	for_each_possible_cpu(cpu) {
		const struct dsmip_cpu_stats *one = per_cpu_ptr(stats, cpu);
		struct dsmip_totals here;
		unsigned int start;

		do {
			start = u64_stats_fetch_begin(&one->syncp);
			here.rx_packets = u64_stats_read(&one->rx_packets);
			here.rx_bytes = u64_stats_read(&one->rx_bytes);
			here.tx_packets = u64_stats_read(&one->tx_packets);
			here.tx_bytes = u64_stats_read(&one->tx_bytes);
		} while (u64_stats_fetch_retry(&one->syncp, start));
		totals->rx_packets += here.rx_packets;
		totals->rx_bytes += here.rx_bytes;
		totals->tx_packets += here.tx_packets;
		totals->tx_bytes += here.tx_bytes;
	}
}

u64 dsmip_counter_sum(const struct dsmip_device *dsmip, enum dsmip_counter which)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct dsmip_counters *one = per_cpu_ptr(dsmip->counters, cpu);
		unsigned int start;
		u64 value;

		do {
			start = u64_stats_fetch_begin(&one->syncp);
			value = u64_stats_read(&one->value[which]);
		} while (u64_stats_fetch_retry(&one->syncp, start));
		sum += value;
	}
	return sum;
}

void dsmip_set_mark_mask(struct dsmip_device *dsmip, u32 mask)
{
	WRITE_ONCE(dsmip->mark_mask, 0);
	dsmip->mark_shift = mask ? __ffs(mask) : 0;
	/* Who sees the mask, in dsmip_choose(), sees its shift. */
	smp_store_release(&dsmip->mark_mask, mask);
}

void dsmip_set_copy_mask(struct dsmip_device *dsmip, u32 mask)
{
	WRITE_ONCE(dsmip->copy_mask, 0);
	dsmip->copy_shift = mask ? __ffs(mask) : 0;
	/* Who sees the mask, in dsmip_choose_copy(), sees its shift. */
	smp_store_release(&dsmip->copy_mask, mask);
}

static void dsmip_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *stats)
{
	struct dsmip_device *dsmip = netdev_priv(dev);
	struct dsmip_totals totals;
	int i;

	dsmip_stats_sum(dsmip->stats, &totals);
	stats->rx_packets = totals.rx_packets;
	stats->rx_bytes = totals.rx_bytes;
	stats->tx_packets = totals.tx_packets;
	stats->tx_bytes = totals.tx_bytes;
	for (i = DSMIP_COUNT_TX_NO_BINDING; i <= DSMIP_COUNT_TX_NESTED; i++)
		stats->tx_dropped += dsmip_counter_sum(dsmip, i);
	for (i = DSMIP_COUNT_RX_MALFORMED; i <= DSMIP_COUNT_RX_BAD_ROUTING; i++)
		stats->rx_dropped += dsmip_counter_sum(dsmip, i);
}

/* --- the outer side ------------------------------------------------------- */

static int dsmip_socket_open(struct dsmip_device *dsmip)
{
	struct udp_port_cfg config = {
		.family = AF_INET,
		.local_udp_port = dsmip->port,
	};
	struct udp_tunnel_sock_cfg tunnel = {
		.sk_user_data = dsmip,
		.encap_type = 1,
		.encap_rcv = dsmip_udp_rcv,
		.gro_receive = dsmip_gro_receive,
		.gro_complete = dsmip_gro_complete,
	};
	struct socket *sock;
	int err;

	err = udp_sock_create(dsmip->net, &config, &sock);
	if (err)
		return err;
	sock->sk->sk_allocation = GFP_ATOMIC;
	setup_udp_tunnel_sock(dsmip->net, sock, &tunnel);
	rcu_assign_pointer(dsmip->sk, sock->sk);
	return 0;
}

/* Under RTNL. After this no packet finds its way out or in. */
static void dsmip_detach(struct dsmip_device *dsmip)
{
	struct dsmip_net *pernet = dsmip_pernet(dsmip->net);
	struct sock *sk = rtnl_dereference(dsmip->sk);

	if (dsmip->net_gone)
		return;
	WRITE_ONCE(dsmip->net_gone, true);
	list_del_rcu(&dsmip->list);
	RCU_INIT_POINTER(dsmip->sk, NULL);
	synchronize_net();
	mutex_lock(&dsmip->lock);
	dsmip_routes_forget(dsmip);
	mutex_unlock(&dsmip->lock);
	if (sk)
		udp_tunnel_sock_release(sk->sk_socket);
	if (list_empty(&pernet->devices) && pernet->hooked) {
		dsmip_homeform_unregister(dsmip->net);
		pernet->hooked = false;
		dsmip_demux_clear(pernet);
	}
}

static int dsmip_attach(struct dsmip_device *dsmip)
{
	struct dsmip_net *pernet = dsmip_pernet(dsmip->net);
	int err;

	if (!pernet->hooked) {
		err = dsmip_homeform_register(dsmip->net);
		if (err)
			return err;
		pernet->hooked = true;
	}
	list_add_tail_rcu(&dsmip->list, &pernet->devices);
	return 0;
}

/* --- net_device ----------------------------------------------------------- */

/*
 * No link-local address, thus no router solicitation and no IPv6 redirect; and
 * none of IPv4 either: that two routers are reached through one device does
 * not make them neighbours.
 */
static int dsmip_open(struct net_device *dev)
{
	struct in_device *in4 = __in_dev_get_rtnl(dev);
	struct inet6_dev *in6 = __in6_dev_get(dev);

	if (in4) {
		IN_DEV_CONF_SET(in4, SEND_REDIRECTS, false);
		IPV4_DEVCONF_ALL(dev_net(dev), SEND_REDIRECTS) = false;
	}
	if (in6)
		in6->cnf.addr_gen_mode = IN6_ADDR_GEN_MODE_NONE;
	return 0;
}

static void dsmip_uninit(struct net_device *dev)
{
	struct dsmip_device *dsmip = netdev_priv(dev);

	dsmip_detach(dsmip);
	mutex_lock(&dsmip->lock);
	dsmip_binding_remove_all(dsmip);
	mutex_unlock(&dsmip->lock);
	cancel_delayed_work_sync(&dsmip->expiry);
	cancel_delayed_work_sync(&dsmip->silence);
}

static void dsmip_free(struct net_device *dev)
{
	struct dsmip_device *dsmip = netdev_priv(dev);

	free_percpu(dsmip->stats);
	free_percpu(dsmip->counters);
	mutex_destroy(&dsmip->lock);
}

static const struct net_device_ops dsmip_netdev_ops = {
	.ndo_uninit = dsmip_uninit,
	.ndo_open = dsmip_open,
	.ndo_start_xmit = dsmip_xmit,
	.ndo_get_stats64 = dsmip_get_stats64,
};

static void dsmip_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "dsmip", sizeof(info->driver));
}

static const struct ethtool_ops dsmip_ethtool_ops = {
	.get_link = ethtool_op_get_link,
	.get_drvinfo = dsmip_get_drvinfo,
};

static const struct device_type dsmip_device_type = { .name = "dsmip" };

bool dsmip_is_device(const struct net_device *dev)
{
	return dev->netdev_ops == &dsmip_netdev_ops;
}

static void dsmip_setup(struct net_device *dev)
{
	struct dsmip_device *dsmip = netdev_priv(dev);
	const netdev_features_t features = NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HIGHDMA |
					   NETIF_F_HW_CSUM | NETIF_F_RXCSUM | NETIF_F_GSO_SOFTWARE;

	dev->netdev_ops = &dsmip_netdev_ops;
	dev->ethtool_ops = &dsmip_ethtool_ops;
	dev->type = ARPHRD_NONE;
	dev->flags = IFF_POINTOPOINT | IFF_NOARP;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->needs_free_netdev = true;
	dev->hard_header_len = 0;
	dev->addr_len = 0;
	dev->needed_headroom = DSMIP_HEADROOM;
	dev->features |= features;
	dev->hw_features |= features;
	dev->hw_enc_features |= features;
	dsmip_set_lockless_tx(dev);
	dev->mtu = DSMIP_DEFAULT_MTU;
	dev->min_mtu = IPV6_MIN_MTU;
	dev->max_mtu = IP_MAX_MTU - DSMIP_HEADROOM;
	SET_NETDEV_DEVTYPE(dev, &dsmip_device_type);
	netif_keep_dst(dev);

	memset(dsmip, 0, sizeof(*dsmip));
	dsmip->dev = dev;
	mutex_init(&dsmip->lock);
	dsmip->bindings = RB_ROOT;
	dsmip->stranger_at = jiffies - HZ;
	dsmip->tunnelled_at = jiffies - HZ;
	INIT_DELAYED_WORK(&dsmip->expiry, dsmip_expiry_work);
	INIT_DELAYED_WORK(&dsmip->silence, dsmip_silence_work);
}

/* --- rtnl ----------------------------------------------------------------- */

static const struct nla_policy dsmip_link_policy[IFLA_DSMIP_MAX + 1] = {
	[IFLA_DSMIP_PORT] = { .type = NLA_U16 },
	[IFLA_DSMIP_MARK_MASK] = { .type = NLA_U32 },
	[IFLA_DSMIP_TTL] = { .type = NLA_U8 },
	[IFLA_DSMIP_BINDINGS] = { .type = NLA_REJECT },
};

static int dsmip_validate(struct nlattr *tb[], struct nlattr *data[],
			  struct netlink_ext_ack *extack)
{
	if (data && data[IFLA_DSMIP_PORT] && !nla_get_be16(data[IFLA_DSMIP_PORT])) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_DSMIP_PORT], "UDP port must not be 0");
		return -EINVAL;
	}
	return 0;
}

static void dsmip_apply(struct dsmip_device *dsmip, struct nlattr *data[])
{
	if (!data)
		return;
	mutex_lock(&dsmip->lock);
	if (data[IFLA_DSMIP_MARK_MASK])
		dsmip_set_mark_mask(dsmip, nla_get_u32(data[IFLA_DSMIP_MARK_MASK]));
	if (data[IFLA_DSMIP_TTL])
		WRITE_ONCE(dsmip->ttl, nla_get_u8(data[IFLA_DSMIP_TTL]));
	mutex_unlock(&dsmip->lock);
}

static int dsmip_create(struct net *net, struct net_device *dev, struct nlattr *data[],
			struct netlink_ext_ack *extack)
{
	struct dsmip_device *dsmip = netdev_priv(dev);
	int err;

	dsmip->net = net;
	dsmip->port = data && data[IFLA_DSMIP_PORT] ? nla_get_be16(data[IFLA_DSMIP_PORT]) :
						      htons(DSMIP_UDP_PORT);
	dsmip->ttl = IPDEFTTL;
	dsmip_apply(dsmip, data);
	dsmip->stats = netdev_alloc_pcpu_stats(struct dsmip_cpu_stats);
	dsmip->counters = netdev_alloc_pcpu_stats(struct dsmip_counters);
	if (!dsmip->stats || !dsmip->counters) {
		err = -ENOMEM;
		goto free;
	}
	err = dsmip_socket_open(dsmip);
	if (err) {
		NL_SET_ERR_MSG(extack, "cannot open the UDP port, is it in use?");
		goto free;
	}
	err = dsmip_attach(dsmip);
	if (err)
		goto close;
	err = register_netdevice(dev);
	if (err) {
		dsmip_detach(dsmip);
		goto free;
	}
	/* Not earlier: a failed registration may call it, or may not. */
	dev->priv_destructor = dsmip_free;
	return 0;

close:
	udp_tunnel_sock_release(rtnl_dereference(dsmip->sk)->sk_socket);
free:
	free_percpu(dsmip->stats);
	free_percpu(dsmip->counters);
	return err;
}

#ifdef DSMIP_HAVE_NEWLINK_PARAMS
static int dsmip_newlink(struct net_device *dev, struct rtnl_newlink_params *params,
			 struct netlink_ext_ack *extack)
{
	return dsmip_create(rtnl_newlink_link_net(params), dev, params->data, extack);
}
#else
static int dsmip_newlink(struct net *net, struct net_device *dev, struct nlattr *tb[],
			 struct nlattr *data[], struct netlink_ext_ack *extack)
{
	return dsmip_create(net, dev, data, extack);
}
#endif

static int dsmip_changelink(struct net_device *dev, struct nlattr *tb[], struct nlattr *data[],
			    struct netlink_ext_ack *extack)
{
	struct dsmip_device *dsmip = netdev_priv(dev);

	if (data && data[IFLA_DSMIP_PORT] && nla_get_be16(data[IFLA_DSMIP_PORT]) != dsmip->port) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_DSMIP_PORT],
				    "the UDP port is fixed when the device is created");
		return -EOPNOTSUPP;
	}
	dsmip_apply(dsmip, data);
	return 0;
}

static size_t dsmip_get_size(const struct net_device *dev)
{
	return nla_total_size(sizeof(__be16)) + nla_total_size(sizeof(u32)) +
	       nla_total_size(sizeof(u8)) + nla_total_size(sizeof(u32));
}

static int dsmip_fill_info(struct sk_buff *skb, const struct net_device *dev)
{
	struct dsmip_device *dsmip = netdev_priv(dev);

	if (nla_put_be16(skb, IFLA_DSMIP_PORT, dsmip->port) ||
	    nla_put_u32(skb, IFLA_DSMIP_MARK_MASK, READ_ONCE(dsmip->mark_mask)) ||
	    nla_put_u8(skb, IFLA_DSMIP_TTL, READ_ONCE(dsmip->ttl)) ||
	    nla_put_u32(skb, IFLA_DSMIP_BINDINGS, READ_ONCE(dsmip->binding_count)))
		return -EMSGSIZE;
	return 0;
}

static struct net *dsmip_get_link_net(const struct net_device *dev)
{
	return ((const struct dsmip_device *)netdev_priv(dev))->net;
}

static struct rtnl_link_ops dsmip_link_ops __read_mostly = {
	.kind = "dsmip",
	.priv_size = sizeof(struct dsmip_device),
	.setup = dsmip_setup,
	.maxtype = IFLA_DSMIP_MAX,
	.policy = dsmip_link_policy,
	.validate = dsmip_validate,
	.newlink = dsmip_newlink,
	.changelink = dsmip_changelink,
	.get_size = dsmip_get_size,
	.fill_info = dsmip_fill_info,
	.get_link_net = dsmip_get_link_net,
};

/* --- namespaces ----------------------------------------------------------- */

static int __net_init dsmip_net_init(struct net *net)
{
	INIT_LIST_HEAD(&dsmip_pernet(net)->devices);
	return 0;
}

/* The outer namespace dies under devices that were moved to another one. */
static void __net_exit dsmip_net_pre_exit(struct net *net)
{
	struct dsmip_device *dsmip, *next;

	rtnl_lock();
	list_for_each_entry_safe(dsmip, next, &dsmip_pernet(net)->devices, list)
		dsmip_detach(dsmip);
	rtnl_unlock();
}

static struct pernet_operations dsmip_net_ops = {
	.init = dsmip_net_init,
	.pre_exit = dsmip_net_pre_exit,
	.id = &dsmip_net_id,
	.size = sizeof(struct dsmip_net),
};

int dsmip_device_init(void)
{
	int err = register_pernet_subsys(&dsmip_net_ops);

	if (err)
		return err;
	err = rtnl_link_register(&dsmip_link_ops);
	if (err)
		unregister_pernet_subsys(&dsmip_net_ops);
	return err;
}

void dsmip_device_exit(void)
{
	rtnl_link_unregister(&dsmip_link_ops);
	unregister_pernet_subsys(&dsmip_net_ops);
}
