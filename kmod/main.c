// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <net/genetlink.h>
#include <net/rtnetlink.h>

#include "device.h"
#include "netlink.h"
#include "receive.h"

static int __init dsmip_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct dsmip_careof) != DSMIP_CAREOF_LEN_LONG);
	if (!dsmip_prefix_selftest())
		return -ENOTRECOVERABLE;
	err = dsmip_device_init();
	if (err)
		return err;
	err = dsmip_receive_init();
	if (err)
		goto device;
	err = dsmip_netlink_init();
	if (err)
		goto receive;
	return 0;

receive:
	dsmip_receive_exit();
device:
	dsmip_device_exit();
	return err;
}

static void __exit dsmip_exit(void)
{
	dsmip_netlink_exit();
	dsmip_receive_exit();
	dsmip_device_exit();
	/* Bindings and paths are freed by callbacks that live in this module. */
	rcu_barrier();
}

module_init(dsmip_init);
module_exit(dsmip_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Dual-Stack Mobile IPv6 and Network Mobility");
MODULE_AUTHOR("The dsmip developers");
MODULE_ALIAS_RTNL_LINK("dsmip");
MODULE_ALIAS_GENL_FAMILY(DSMIP_GENL_NAME);
