# SPDX-License-Identifier: GPL-2.0-only
"""Links, addresses, routes, rules and proxy neighbours.

Requests are packed with pyroute2's message classes, which are the same in
0.7.9 and 0.9 (its sockets are not: those of 0.9 cannot be called from inside a
running event loop). Answers and notifications are unpacked by hand, since a
handover waits for them and an agent reads hundreds of thousands of routes.
"""

from __future__ import annotations

import errno
import importlib.util
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

from ..packet.kernel import Address, Network
from .netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkError,
    NetlinkSocket,
    attribute_map,
    be16,
    nest,
    text,
    u32,
)

AF_INET: Final = 2
AF_INET6: Final = 10
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

TABLE_MAIN: Final = 254
TABLE_LOCAL: Final = 255
#: rtnetlink protocol number that marks routes and rules as ours.
PROTOCOL: Final = 191
PROTOCOL_KERNEL: Final = 2
PROTOCOL_RA: Final = 9
UNICAST: Final = 1
UNREACHABLE: Final = 7

IFA_F_TEMPORARY: Final = 0x01
IFA_F_NODAD: Final = 0x02
IFA_F_OPTIMISTIC: Final = 0x04
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40
IFA_F_PERMANENT: Final = 0x80
_IFA_PROTO_KERNEL_RA: Final = 2

_IFF_UP: Final = 0x1
_IFF_LOWER_UP: Final = 0x10000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_INFO_KIND = 1, 3, 4, 18, 1
_IFLA_INFO_DATA: Final = 2
_IFLA_DSMIP_PORT: Final = 1
_RTNH_F_ONLINK: Final = 4
_NTF_PROXY: Final = 0x08
_NTF_ROUTER: Final = 0x80
_NLMSG_HEADER: Final = 16
#: Packed requests that are remembered.
_PACKED_MAX: Final = 1024

_IFINFO: Final = struct.Struct("=BxHiII")
_IFADDR: Final = struct.Struct("=BBBBI")
_RT: Final = struct.Struct("=BBBBBBBBI")
_RULE: Final = struct.Struct("=BBBBBxxBI")
_NUD_REACHABLE: Final = 2
_FOREVER: Final = 0xFFFFFFFF
_NUD_FAILED: Final = 0x20
_NUD_PERMANENT: Final = 0x80
_ND: Final = struct.Struct("=BxxxiHBB")
_U16: Final = struct.Struct("=H")
_U32: Final = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface. ``carrier``: it is up and its medium is connected."""

    index: int
    name: str
    up: bool
    carrier: bool
    mtu: int
    kind: str = ""
    address: bytes = b""


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address with its prefix length on an interface; ``flags`` are IFA_F_*.

    ``valid`` is how long it was valid when this was told, in seconds; None for ever.
    """

    interface: int
    address: Address
    length: int
    flags: int = 0
    autoconfigured: bool = False
    valid: int | None = None

    @property
    def usable(self) -> bool:
        """Whether packets may have it as source now: optimistic ones may (RFC 4429)."""
        if self.flags & IFA_F_DADFAILED:
            return False
        return not self.flags & IFA_F_TENTATIVE or bool(self.flags & IFA_F_OPTIMISTIC)


@dataclass(frozen=True, slots=True)
class Route:
    """A route; ``metric`` 0 leaves the choice to the kernel, ``interface`` 0: none.

    ``onlink``: the gateway is a neighbour although no prefix there says so.
    """

    destination: Network
    interface: int = 0
    table: int = TABLE_MAIN
    gateway: Address | None = None
    source: Address | None = None
    metric: int = 1024
    kind: int = UNICAST
    protocol: int = PROTOCOL
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: what has this source or destination looks in this table.

    ``suppress`` ignores routes with at most that prefix length (0: the default
    routes), -1 ignores none. ``own``: only what this host sends itself.
    ``protocol`` is the next header, 0 for any. ``incoming``: only what is forwarded
    from that interface, ``port``: only what goes to that port; "" and 0 for any.
    """

    priority: int
    table: int
    source: Network | None = None
    destination: Network | None = None
    suppress: int = -1
    version: int = 6
    own: bool = False
    protocol: int = 0
    incoming: str = ""
    port: int = 0


def message_classes() -> dict[str, Any]:
    """Return pyroute2's classes of the messages that are sent here.

    Just importing them runs ``pyroute2/__init__.py``, which loads all of pyroute2, its
    database and SQLite: 10 MB and 0.2 s. So the package is an empty one meanwhile; who
    imports pyroute2 later in the same process gets it whole.
    """
    package = "pyroute2"
    hollow = package not in sys.modules
    if hollow:
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        from pyroute2.netlink.rtnl.fibmsg import fibmsg
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ndmsg import ndmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg
    finally:
        if hollow:
            del sys.modules[package]
    return {"rule": fibmsg, "address": ifaddrmsg, "neighbour": ndmsg, "route": rtmsg}


class Rtnl:
    """Requests to rtnetlink. Every method raises ``NetlinkError``."""

    def __init__(self) -> None:
        self._classes = message_classes()
        # A handover waits for its requests, and packing takes pyroute2 three times
        # as long as the kernel needs for the rest; most come again and again.
        self._pack: Callable[..., bytes] = lru_cache(_PACKED_MAX)(self._encode)
        self._netlink = NetlinkSocket(NETLINK_ROUTE)

    def close(self) -> None:
        self._netlink.close()

    def _encode(self, what: str, *attrs: tuple[str, Any], **fields: int) -> bytes:
        message = self._classes[what]()
        for name, value in fields.items():
            message[name] = value
        message["attrs"] = list(attrs)
        message.encode()
        return bytes(message.data)[_NLMSG_HEADER:]

    # --- links

    def links(self) -> list[Link]:
        """Return all interfaces."""
        answers = self._netlink.dump(RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0), "reading interfaces")
        return [decode_link(payload) for kind, payload in answers if kind == RTM_NEWLINK]

    def link(self, name: str) -> Link | None:
        """Return one interface by name, None when there is none."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
        try:
            answers = self._netlink.request(RTM_GETLINK, body, what=f"interface {name}")
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return next((decode_link(p) for kind, p in answers if kind == RTM_NEWLINK), None)

    def create_device(self, name: str, port: int) -> None:
        """Create a dsmip device.

        Raises ``NetlinkError`` with EOPNOTSUPP when the kernel module is not there.
        """
        info = nest(
            _IFLA_LINKINFO,
            text(_IFLA_INFO_KIND, "dsmip"),
            nest(_IFLA_INFO_DATA, be16(_IFLA_DSMIP_PORT, port)),
        )
        body = _IFINFO.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + info
        flags = NLM_F_CREATE | NLM_F_EXCL
        self._netlink.request(RTM_NEWLINK, body, flags, f"creating device {name}")

    def set_up(self, index: int) -> None:
        """Set an interface administratively up."""
        body = _IFINFO.pack(0, 0, index, _IFF_UP, _IFF_UP)
        self._netlink.request(RTM_NEWLINK, body, what=f"setting interface {index} up")

    def delete_link(self, index: int) -> None:
        """Delete a virtual interface."""
        body = _IFINFO.pack(0, 0, index, 0, 0)
        self._netlink.request(RTM_DELLINK, body, what=f"deleting interface {index}")

    # --- addresses

    def addresses(self) -> list[InterfaceAddress]:
        """Return all addresses of all interfaces."""
        answers = self._netlink.dump(RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0), "reading addresses")
        found = (decode_address(payload) for kind, payload in answers if kind == RTM_NEWADDR)
        return [address for address in found if address is not None]

    def add_address(self, interface: int, address: Address, length: int) -> None:
        """Assign an address, without duplicate address detection; again is no error."""
        flags = NLM_F_CREATE | NLM_F_REPLACE
        body = self._address_body(interface, address, length, nodad=True)
        self._netlink.request(RTM_NEWADDR, body, flags, f"address {address}")

    def remove_address(self, interface: int, address: Address, length: int) -> None:
        """Remove an address; one that is not there is no error."""
        body = self._address_body(interface, address, length)
        self._remove(RTM_DELADDR, body, f"removing address {address}")

    def _address_body(
        self, interface: int, address: Address, length: int, nodad: bool = False
    ) -> bytes:
        six = address.version == 6
        attrs: list[tuple[str, Any]] = [("IFA_ADDRESS", str(address)), ("IFA_LOCAL", str(address))]
        if nodad and six:
            attrs.append(("IFA_FLAGS", IFA_F_NODAD))
        family = AF_INET6 if six else AF_INET
        return self._pack("address", *attrs, family=family, prefixlen=length, index=interface)

    # --- routes

    def routes(self, table: int = 0, protocol: int = 0) -> list[Route]:
        """Return unicast and unreachable routes, of one table or protocol if not 0."""
        routes = []
        for family in (AF_INET6, AF_INET):
            header = _RT.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
            body = header + (u32(15, table) if table else b"")
            try:
                answers = self._netlink.dump(RTM_GETROUTE, body, "reading routes")
            except NetlinkError as error:
                if error.errno == errno.ENOENT:
                    continue  # nobody has made that table yet
                raise
            for kind, payload in answers:
                route = decode_route(payload) if kind == RTM_NEWROUTE else None
                if (
                    route is not None
                    and table in (0, route.table)
                    and protocol in (0, route.protocol)
                ):
                    routes.append(route)
        return routes

    def put_route(self, route: Route) -> None:
        """Add a route or replace the one with the same destination, table and metric."""
        flags = NLM_F_CREATE | NLM_F_REPLACE
        what = f"route {route.destination}"
        self._netlink.request(RTM_NEWROUTE, self._route_body(route), flags, what)

    def remove_route(self, route: Route) -> None:
        """Remove a route; one that is not there is no error."""
        body = self._route_body(route)
        self._remove(RTM_DELROUTE, body, f"removing route {route.destination}")

    def _route_body(self, route: Route) -> bytes:
        attrs: list[tuple[str, Any]] = [("RTA_TABLE", route.table)]
        if route.destination.prefixlen:
            attrs.append(("RTA_DST", str(route.destination.network_address)))
        if route.gateway is not None:
            attrs.append(("RTA_GATEWAY", str(route.gateway)))
        if route.interface:
            attrs.append(("RTA_OIF", route.interface))
        if route.source is not None:
            attrs.append(("RTA_PREFSRC", str(route.source)))
        if route.metric:
            attrs.append(("RTA_PRIORITY", route.metric))
        direct = route.kind == UNICAST and route.gateway is None and route.destination.version == 4
        return self._pack(
            "route",
            *attrs,
            family=AF_INET6 if route.destination.version == 6 else AF_INET,
            dst_len=route.destination.prefixlen,
            table=route.table if route.table < 256 else 252,
            proto=route.protocol,
            scope=253 if direct else 0,
            type=route.kind,
            flags=_RTNH_F_ONLINK if route.onlink else 0,
        )

    # --- rules

    def rules(self) -> list[Rule]:
        """Return the rules that are ours."""
        found = []
        for family in (AF_INET6, AF_INET):
            body = _RULE.pack(family, 0, 0, 0, 0, 0, 0)
            answers = self._netlink.dump(RTM_GETRULE, body, "reading rules")
            for kind, payload in answers:
                rule = decode_rule(payload) if kind == RTM_NEWRULE else None
                if rule is not None:
                    found.append(rule)
        return found

    def put_rule(self, rule: Rule) -> None:
        """Add a rule; one that is there already is no error."""
        try:
            self._netlink.request(
                RTM_NEWRULE,
                self._rule_body(rule),
                NLM_F_CREATE | NLM_F_EXCL,
                f"rule {rule.priority} to table {rule.table}",
            )
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise

    def remove_rule(self, rule: Rule) -> None:
        """Remove a rule; one that is not there is no error."""
        body = self._rule_body(rule)
        self._remove(RTM_DELRULE, body, f"removing rule {rule.priority}")

    def _rule_body(self, rule: Rule) -> bytes:
        attrs: list[tuple[str, Any]] = [
            ("FRA_PRIORITY", rule.priority),
            ("FRA_TABLE", rule.table),
            ("FRA_PROTOCOL", PROTOCOL),
        ]
        if rule.source is not None:
            attrs.append(("FRA_SRC", str(rule.source.network_address)))
        if rule.destination is not None:
            attrs.append(("FRA_DST", str(rule.destination.network_address)))
        if rule.suppress >= 0:
            attrs.append(("FRA_SUPPRESS_PREFIXLEN", rule.suppress))
        if rule.own or rule.incoming:
            attrs.append(("FRA_IIFNAME", "lo" if rule.own else rule.incoming))
        if rule.protocol:
            attrs.append(("FRA_IP_PROTO", rule.protocol))
        if rule.port:
            attrs.append(("FRA_DPORT_RANGE", f"{rule.port}:{rule.port}"))
        return self._pack(
            "rule",
            *attrs,
            family=AF_INET6 if rule.version == 6 else AF_INET,
            src_len=0 if rule.source is None else rule.source.prefixlen,
            dst_len=0 if rule.destination is None else rule.destination.prefixlen,
            table=rule.table if rule.table < 256 else 252,
            action=1,
        )

    # --- proxy neighbours

    def proxies(self, interface: int) -> set[Address]:
        """Return the addresses that the host answers for on an interface."""
        found: set[Address] = set()
        for family in (AF_INET6, AF_INET):
            body = _ND.pack(family, 0, 0, _NTF_PROXY, 0)
            answers = self._netlink.dump(RTM_GETNEIGH, body, "reading proxy neighbours")
            for kind, payload in answers:
                if kind != RTM_NEWNEIGH:
                    continue
                _family, index, _state, flags, _type = _ND.unpack_from(payload)
                target = attribute_map(payload, _ND.size).get(1)
                if index == interface and flags & _NTF_PROXY and target is not None:
                    found.add(_address(target))
        return found

    def put_proxy(self, interface: int, address: Address, router: bool) -> None:
        """Answer neighbour solicitations or ARP requests for an address."""
        flags = NLM_F_CREATE | NLM_F_REPLACE
        body = self._proxy_body(interface, address, router)
        self._netlink.request(RTM_NEWNEIGH, body, flags, f"proxy for {address}")

    def remove_proxy(self, interface: int, address: Address) -> None:
        """Stop to answer for an address; not having done so is no error."""
        body = self._proxy_body(interface, address, False)
        self._remove(RTM_DELNEIGH, body, f"removing proxy for {address}")

    def put_neighbour(
        self, interface: int, address: Address, link_layer: bytes, permanent: bool = False
    ) -> None:
        """Enter a neighbour's link-layer address as one that was just confirmed.

        ``permanent``: it is never asked for.
        """
        body = self._pack(
            "neighbour",
            ("NDA_DST", str(address)),
            ("NDA_LLADDR", link_layer.hex(":")),
            family=AF_INET6 if address.version == 6 else AF_INET,
            ifindex=interface,
            state=_NUD_PERMANENT if permanent else _NUD_REACHABLE,
        )
        flags = NLM_F_CREATE | NLM_F_REPLACE
        self._netlink.request(RTM_NEWNEIGH, body, flags, f"neighbour {address}")

    def unreachable(self, interface: int, address: IPv6Address) -> bool:
        """Tell whether the kernel has looked for a neighbour in vain (RFC 4861 section 7.3)."""
        body = _ND.pack(AF_INET6, interface, 0, 0, 0)
        for kind, payload in self._netlink.dump(RTM_GETNEIGH, body, "reading neighbours"):
            if kind != RTM_NEWNEIGH:
                continue
            _family, index, state, _flags, _type = _ND.unpack_from(payload)
            target = attribute_map(payload, _ND.size).get(1)
            if index == interface and target is not None and _address(target) == address:
                return bool(state & _NUD_FAILED)
        return False

    def forget_neighbour(self, interface: int, address: Address) -> None:
        """Forget a neighbour's link-layer address; not knowing it is no error."""
        body = self._pack(
            "neighbour",
            ("NDA_DST", str(address)),
            family=AF_INET6 if address.version == 6 else AF_INET,
            ifindex=interface,
        )
        self._remove(RTM_DELNEIGH, body, f"forgetting neighbour {address}")

    def _proxy_body(self, interface: int, address: Address, router: bool) -> bytes:
        six = address.version == 6
        return self._pack(
            "neighbour",
            ("NDA_DST", str(address)),
            family=AF_INET6 if six else AF_INET,
            ifindex=interface,
            flags=_NTF_PROXY | (_NTF_ROUTER if router and six else 0),
        )

    def _remove(self, kind: int, body: bytes, what: str) -> None:
        try:
            self._netlink.request(kind, body, what=what)
        except NetlinkError as error:
            # ENODEV: the interface, and everything on it, is gone.
            if error.errno not in (
                errno.ENOENT,
                errno.ESRCH,
                errno.EADDRNOTAVAIL,
                errno.ENODEV,
            ):
                raise


# --- decoding --------------------------------------------------------------------


def _address(value: memoryview) -> Address:
    return IPv4Address(bytes(value)) if len(value) == 4 else IPv6Address(bytes(value))


def decode_link(payload: memoryview) -> Link:
    """Read RTM_NEWLINK or RTM_DELLINK."""
    _family, _type, index, flags, _change = _IFINFO.unpack_from(payload)
    found = attribute_map(payload, _IFINFO.size)
    info = attribute_map(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index,
        bytes(found.get(_IFLA_IFNAME, b"")).rstrip(b"\0").decode(errors="replace"),
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_UP and flags & _IFF_LOWER_UP),
        mtu=_U32.unpack(found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0,
        kind=bytes(info.get(_IFLA_INFO_KIND, b"")).rstrip(b"\0").decode(errors="replace"),
        address=bytes(found.get(_IFLA_ADDRESS, b"")),
    )


def decode_address(payload: memoryview) -> InterfaceAddress | None:
    """Read RTM_NEWADDR or RTM_DELADDR; None for other address families."""
    family, length, flags, _scope, index = _IFADDR.unpack_from(payload)
    found = attribute_map(payload, _IFADDR.size)
    # IFA_LOCAL is the own address where IFA_ADDRESS is the other end's.
    value = found.get(2, found.get(1))
    if family not in (AF_INET, AF_INET6) or value is None:
        return None
    if 8 in found:
        flags = _U32.unpack(found[8])[0]
    origin = found[11][0] if 11 in found else 0
    valid = _U32.unpack_from(found[6], 4)[0] if 6 in found else _FOREVER
    return InterfaceAddress(
        index,
        _address(value),
        length,
        flags,
        origin == _IFA_PROTO_KERNEL_RA,
        None if valid == _FOREVER else valid,
    )


def decode_route(payload: memoryview) -> Route | None:
    """Read RTM_NEWROUTE or RTM_DELROUTE; None for kinds that carry no traffic of ours."""
    family, length, _src_len, _tos, table, protocol, _scope, kind, flags = _RT.unpack_from(payload)
    if family not in (AF_INET, AF_INET6) or kind not in (UNICAST, UNREACHABLE) or flags & 0x200:
        return None  # 0x200: a cloned cache entry
    found = attribute_map(payload, _RT.size)
    destination = bytes(found.get(1, bytes(4 if family == AF_INET else 16)))
    network: Network = (
        IPv4Network((destination, length))
        if family == AF_INET
        else IPv6Network((destination, length))
    )
    return Route(
        network,
        # The kernel puts IPv6 unreachable routes on the loopback interface.
        interface=_U32.unpack(found[4])[0] if 4 in found and kind == UNICAST else 0,
        table=_U32.unpack(found[15])[0] if 15 in found else table,
        gateway=_address(found[5]) if 5 in found else None,
        source=_address(found[7]) if 7 in found else None,
        metric=_U32.unpack(found[6])[0] if 6 in found else 0,
        kind=kind,
        protocol=protocol,
        onlink=bool(flags & _RTNH_F_ONLINK),
    )


def decode_rule(payload: memoryview) -> Rule | None:
    """Read a rule; None when it is not one of ours."""
    family, dst_len, src_len, _tos, table, _action, _flags = _RULE.unpack_from(payload)
    found = attribute_map(payload, _RULE.size)
    if family not in (AF_INET, AF_INET6) or 21 not in found or found[21][0] != PROTOCOL:
        return None
    suppress = _U32.unpack(found[14])[0] if 14 in found else 0xFFFFFFFF
    incoming = bytes(found.get(3, b"")).rstrip(b"\0").decode(errors="replace")
    return Rule(
        priority=_U32.unpack(found[6])[0] if 6 in found else 0,
        table=_U32.unpack(found[15])[0] if 15 in found else table,
        source=_network(found.get(2), src_len),
        destination=_network(found.get(1), dst_len),
        suppress=-1 if suppress == 0xFFFFFFFF else suppress,
        version=6 if family == AF_INET6 else 4,
        own=incoming == "lo",
        protocol=found[22][0] if 22 in found else 0,
        incoming="" if incoming == "lo" else incoming,
        port=_U16.unpack_from(found[24])[0] if 24 in found else 0,
    )


def _network(value: memoryview | None, length: int) -> Network | None:
    if value is None:
        return None
    packed = bytes(value)
    return IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))
