/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Generic netlink interface of dsmip.ko: Mobile IPv6 bindings, their paths and
 * their prefixes.
 *
 * All addresses and ports are in network byte order; everything else is in
 * host byte order. Every request names its device by DSMIP_A_IFINDEX or
 * DSMIP_A_IFNAME.
 */
#ifndef _UAPI_DSMIP_H
#define _UAPI_DSMIP_H

#define DSMIP_GENL_NAME		"dsmip"
#define DSMIP_GENL_VERSION	1
#define DSMIP_MCGRP_EVENTS	"events"

/* RFC 5555 section 4.1 */
#define DSMIP_UDP_PORT		4191

/*
 * Care-of option: a destination option (RFC 4727 experimental, skipped by who
 * does not know it) that exists only inside this host. Two lengths: 16, the
 * care-of address alone, wire kind ip6; 24, struct dsmip_careof.
 */
#define DSMIP_CAREOF_TYPE	0x1e
#define DSMIP_CAREOF_LEN_SHORT	16
#define DSMIP_CAREOF_LEN_LONG	24

/* Care-of option data, long form; IPv4 care-of addresses are IPv4-mapped. */
struct dsmip_careof {
	__u8	address[16];	/* remote end at the agent, local end (care-of) at the router */
	__be16	port;		/* UDP port of that end; 0 for kinds without UDP */
	__u8	kind;		/* enum dsmip_kind; UNSPEC: the binding's active path */
	__u8	reserved;
	__be32	ifindex;	/* outer interface; 0: by routing */
};

enum dsmip_kind {
	DSMIP_KIND_UNSPEC,
	DSMIP_KIND_IP6,		/* IPv6 or IPv4 in IPv6 */
	DSMIP_KIND_IP4,		/* IPv6 or IPv4 in IPv4 */
	DSMIP_KIND_UDP4,	/* IPv6 or IPv4 in UDP in IPv4 */
	DSMIP_KIND_RO,		/* Home Address option, type 2 routing header */
	__DSMIP_KIND_AFTER_LAST
};
#define DSMIP_KIND_MAX (__DSMIP_KIND_AFTER_LAST - 1)

enum dsmip_cmd {
	DSMIP_CMD_UNSPEC,
	DSMIP_CMD_DEVICE_GET,	/* do, dump: port, mark mask, TTL, counters */
	DSMIP_CMD_DEVICE_SET,	/* mark mask, TTL */
	DSMIP_CMD_BINDING_GET,	/* do by home address, dump by device */
	DSMIP_CMD_BINDING_SET,	/* create or change, whole request or nothing */
	DSMIP_CMD_BINDING_DEL,	/* one; without home address: all of the device */
	DSMIP_CMD_PATH_SET,	/* the handover: one path of one binding */
	DSMIP_CMD_PATH_DEL,
	DSMIP_CMD_EVENT,	/* to multicast group "events" */
	__DSMIP_CMD_AFTER_LAST
};
#define DSMIP_CMD_MAX (__DSMIP_CMD_AFTER_LAST - 1)

enum dsmip_attr {
	DSMIP_A_UNSPEC,
	DSMIP_A_PAD,
	DSMIP_A_IFINDEX,	/* u32 */
	DSMIP_A_IFNAME,		/* string */
	/* device */
	DSMIP_A_PORT,		/* be16, read only here: set by rtnl at creation */
	DSMIP_A_MARK_MASK,	/* u32: these bits of skb->mark, shifted down, name a BID */
	DSMIP_A_TTL,		/* u8, 64 at first; 0: the route's */
	DSMIP_A_COUNTERS,	/* nest of u64, indexed by enum dsmip_counter + 1 */
	/* binding */
	DSMIP_A_HOME_ADDRESS,	/* 16 octets, the key */
	DSMIP_A_HOME_ADDRESS4,	/* 4 octets */
	DSMIP_A_BINDING_FLAGS,	/* u32, DSMIP_BINDING_F_* */
	DSMIP_A_REQUEST_FLAGS,	/* u32, DSMIP_REQUEST_F_* */
	DSMIP_A_LIFETIME,	/* u32 s; request: from now; reply: what remains; 0: no end */
	DSMIP_A_SEQUENCE,	/* u16: last sequence number, for a daemon that restarts */
	DSMIP_A_DATA,		/* up to 512 octets that the daemon keeps here for itself */
	DSMIP_A_PATHS,		/* nest of nests of enum dsmip_path_attr */
	DSMIP_A_PREFIXES,	/* nest of nests of enum dsmip_prefix_attr */
	DSMIP_A_STATS,		/* nest of enum dsmip_stats_attr: the binding's */
	DSMIP_A_PATH,		/* nest of enum dsmip_path_attr: PATH_SET, PATH_DEL, events */
	/* event */
	DSMIP_A_EVENT,		/* u8, enum dsmip_event */
	DSMIP_A_TIME_NS,	/* u64, CLOCK_BOOTTIME */
	/* device again */
	DSMIP_A_TELL_TUNNELLED,	/* u8: 1 asks for TUNNELLED events */
	DSMIP_A_COPY_MASK,	/* u32: these bits, shifted down, name a BID that gets a copy */
	__DSMIP_A_AFTER_LAST
};
#define DSMIP_A_MAX (__DSMIP_A_AFTER_LAST - 1)

/* This host is the mobile side: the home address is its own. */
#define DSMIP_BINDING_F_MOBILE		(1U << 0)
/*
 * Route optimisation: the home address, or a correspondent's address, is reached
 * without a tunnel. All paths are of kind ro, there are no prefixes. At the mobile
 * side it is for packets from home addresses only, at the correspondent for its
 * own packets only, and never for mobility messages.
 */
#define DSMIP_BINDING_F_DIRECT		(1U << 1)
/*
 * The other side may send packets twice, by two paths: the second to come is
 * dropped. May change while the binding lives.
 */
#define DSMIP_BINDING_F_COPIES		(1U << 2)

#define DSMIP_REQUEST_F_REPLACE_PATHS	(1U << 0)
#define DSMIP_REQUEST_F_REPLACE_PREFIXES	(1U << 1)
#define DSMIP_REQUEST_F_UPDATE_ONLY	(1U << 2)

#define DSMIP_DATA_MAX			512
#define DSMIP_PATHS_MAX			16	/* per binding */
#define DSMIP_PREFIXES_MAX		64	/* per binding */

enum dsmip_path_attr {
	DSMIP_PATH_A_UNSPEC,
	DSMIP_PATH_A_PAD,
	DSMIP_PATH_A_BID,	/* u16 */
	DSMIP_PATH_A_KIND,	/* u8, enum dsmip_kind */
	DSMIP_PATH_A_LOCAL,	/* 4 or 16 octets, by kind */
	DSMIP_PATH_A_REMOTE,	/* 4 or 16 octets, by kind */
	DSMIP_PATH_A_REMOTE_PORT,	/* be16, udp4 only; the local one is the device's */
	DSMIP_PATH_A_IFINDEX,	/* u32, outer interface; 0: by routing */
	DSMIP_PATH_A_PRIORITY,	/* u8, lower is better; then the lower BID */
	DSMIP_PATH_A_FLAGS,	/* u32, DSMIP_PATH_F_* */
	DSMIP_PATH_A_SILENT_MS,	/* u32: event when data is sent and nothing is heard; 0: off */
	DSMIP_PATH_A_STATS,	/* nest of enum dsmip_stats_attr */
	DSMIP_PATH_A_LAST_RX_MS,	/* u64, ms since the last packet from there; absent: never */
	DSMIP_PATH_A_MTU,	/* u32, largest inner packet, as known now */
	__DSMIP_PATH_A_AFTER_LAST
};
#define DSMIP_PATH_A_MAX (__DSMIP_PATH_A_AFTER_LAST - 1)

/* Receives, is never chosen for sending. */
#define DSMIP_PATH_F_DOWN		(1U << 0)
/* Read only: the path that unmarked packets take now. */
#define DSMIP_PATH_F_ACTIVE		(1U << 1)

enum dsmip_prefix_attr {
	DSMIP_PREFIX_A_UNSPEC,
	DSMIP_PREFIX_A_ADDRESS,	/* 4 or 16 octets */
	DSMIP_PREFIX_A_LENGTH,	/* u8, bits */
	DSMIP_PREFIX_A_FLAGS,	/* u32, DSMIP_PREFIX_F_* */
	__DSMIP_PREFIX_A_AFTER_LAST
};
#define DSMIP_PREFIX_A_MAX (__DSMIP_PREFIX_A_AFTER_LAST - 1)

/*
 * The prefix is on this side: packets that leave through the binding must come
 * from one of these, packets that arrive must go to one of these. A binding
 * without any is not checked this way (the home agent's case).
 */
#define DSMIP_PREFIX_F_LOCAL		(1U << 0)
#define DSMIP_PREFIX_F_REMOVE		(1U << 1)

enum dsmip_stats_attr {
	DSMIP_STATS_A_UNSPEC,
	DSMIP_STATS_A_PAD,
	DSMIP_STATS_A_RX_PACKETS,	/* u64, all */
	DSMIP_STATS_A_RX_BYTES,
	DSMIP_STATS_A_TX_PACKETS,
	DSMIP_STATS_A_TX_BYTES,
	__DSMIP_STATS_A_AFTER_LAST
};
#define DSMIP_STATS_A_MAX (__DSMIP_STATS_A_AFTER_LAST - 1)

/* Why packets were dropped, per device. */
enum dsmip_counter {
	DSMIP_COUNT_TX_NO_BINDING,
	DSMIP_COUNT_TX_NO_PATH,
	DSMIP_COUNT_TX_NO_ROUTE,
	DSMIP_COUNT_TX_BAD_SOURCE,	/* not from a local prefix */
	DSMIP_COUNT_TX_TOO_BIG,
	DSMIP_COUNT_TX_NESTED,
	DSMIP_COUNT_RX_MALFORMED,
	DSMIP_COUNT_RX_NO_BINDING,	/* inner source belongs to nobody */
	DSMIP_COUNT_RX_WRONG_SOURCE,	/* outer source is no path of the binding */
	DSMIP_COUNT_RX_BAD_INNER,	/* link-local, multicast, own, mapped ... */
	DSMIP_COUNT_RX_BAD_DESTINATION,	/* not to a local prefix */
	DSMIP_COUNT_RX_NESTED,
	DSMIP_COUNT_RX_ECN,
	DSMIP_COUNT_RX_FORGED_CAREOF,	/* a Care-of option from outside */
	DSMIP_COUNT_RX_STRANGER,	/* Home Address option without a binding */
	DSMIP_COUNT_RX_BAD_ROUTING,	/* type 2 routing header not for us */
	DSMIP_COUNT_MH_NOBODY,		/* mobility message while no daemon listened */
	DSMIP_COUNT_RX_COPY,		/* came by another path before */
	__DSMIP_COUNT_AFTER_LAST
};
#define DSMIP_COUNT_MAX (__DSMIP_COUNT_AFTER_LAST - 1)

enum dsmip_event {
	DSMIP_EVENT_UNSPEC,
	DSMIP_EVENT_NEW_SOURCE,		/* inner source is the binding's, outer source is new: PATH */
	DSMIP_EVENT_PATH_SILENT,	/* data goes out, nothing comes back: PATH */
	DSMIP_EVENT_PATH_HEARD,		/* first packet since the path was set or was silent: PATH */
	DSMIP_EVENT_STRANGER,		/* Home Address option: HOME_ADDRESS, PATH with REMOTE (source) and LOCAL (destination) */
	DSMIP_EVENT_EXPIRED,		/* the binding's lifetime ended and it was removed */
	DSMIP_EVENT_TUNNELLED,		/* from our own HOME_ADDRESS to a node with no direct binding: PATH with REMOTE (that node) */
	__DSMIP_EVENT_AFTER_LAST
};
#define DSMIP_EVENT_MAX (__DSMIP_EVENT_AFTER_LAST - 1)

/* rtnl, IFLA_INFO_DATA of kind "dsmip" */
enum {
	IFLA_DSMIP_UNSPEC,
	IFLA_DSMIP_PORT,	/* be16, at creation; default DSMIP_UDP_PORT */
	IFLA_DSMIP_MARK_MASK,	/* u32 */
	IFLA_DSMIP_TTL,		/* u8 */
	IFLA_DSMIP_BINDINGS,	/* u32, read only: how many */
	__IFLA_DSMIP_AFTER_LAST
};
#define IFLA_DSMIP_MAX (__IFLA_DSMIP_AFTER_LAST - 1)

#endif
