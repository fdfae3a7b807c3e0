# SPDX-License-Identifier: GPL-2.0-only
"""What the access networks offer right now, kept current by netlink notifications."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ..packet.kernel import Address, Network
from .netlink import NETLINK_ROUTE, NotificationSocket, Overrun
from .rtnl import (
    IFA_F_DEPRECATED,
    IFA_F_TEMPORARY,
    PROTOCOL,
    PROTOCOL_RA,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    TABLE_LOCAL,
    UNICAST,
    InterfaceAddress,
    Link,
    Route,
    Rtnl,
    decode_address,
    decode_link,
    decode_route,
)

_GROUP_LINK: Final = 1
_GROUP_ADDRESS4: Final = 5
_GROUP_ROUTE4: Final = 7
_GROUP_ADDRESS6: Final = 9
_GROUP_ROUTE6: Final = 11
#: A binding that is asked for never lasts longer than this, in seconds: what is valid for
#: longer may as well be valid for ever.
_SHORT_LIFE: Final = 4 * 0x10000
_COARSE: Final = 60


@dataclass(frozen=True, slots=True)
class LinkState:
    """One interface with what can be used on it; without carrier that is nothing.

    Addresses are ordered, best first. ``default6`` and ``default4`` are the
    preferred default routes, None without one, and ``defaults6`` all there are;
    ``on_link`` are the prefixes whose addresses are reached directly. ``ends`` tells
    when addresses with a short life are not valid any more, by the monotonic clock.
    """

    name: str
    index: int = 0
    carrier: bool = False
    mtu: int = 0
    link_layer: bytes = b""
    addresses6: tuple[IPv6Address, ...] = ()
    addresses4: tuple[IPv4Address, ...] = ()
    default6: Route | None = None
    default4: Route | None = None
    on_link: tuple[Network, ...] = ()
    defaults6: tuple[Route, ...] = ()
    ends: tuple[tuple[Address, float], ...] = ()


@dataclass(slots=True)
class _Tables:
    links: dict[int, Link] = field(default_factory=dict)
    addresses: dict[tuple[int, Address], InterfaceAddress] = field(default_factory=dict)
    routes: dict[tuple[int, Network, Address | None, int, int], Route] = field(default_factory=dict)
    ends: dict[tuple[int, Address], float] = field(default_factory=dict)

    def note(self, address: InterfaceAddress) -> None:
        """Keep an address, and when it ends if that is soon."""
        key = address.interface, address.address
        self.addresses[key] = address
        self.ends.pop(key, None)
        if address.valid is not None and address.valid < _SHORT_LIFE:
            end = time.monotonic() + address.valid
            # What is prolonged all the time shall not look new each time.
            self.ends[key] = end - end % _COARSE if address.valid > 10 * _COARSE else end


class UplinkMonitor:
    """Follows links, addresses and routes of some interfaces.

    ``excluded`` are addresses that are never care-of addresses: the home
    addresses.
    """

    def __init__(
        self, rtnl: Rtnl, interfaces: Iterable[str], excluded: Iterable[Address] = ()
    ) -> None:
        self._rtnl = rtnl
        self._interfaces = tuple(interfaces)
        self._excluded = frozenset(excluded)
        groups = (_GROUP_LINK, _GROUP_ADDRESS4, _GROUP_ROUTE4, _GROUP_ADDRESS6, _GROUP_ROUTE6)
        # Listening starts before the first reading, so that nothing falls between.
        self._socket = NotificationSocket(NETLINK_ROUTE, groups)
        self._tables = _Tables()
        self._read()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def watch(self, interfaces: Iterable[str], excluded: Iterable[Address]) -> None:
        """Follow other interfaces from now on."""
        self._interfaces = tuple(interfaces)
        self._excluded = frozenset(excluded)
        self._read()

    def exclude(self, excluded: Iterable[Address]) -> None:
        """Take other addresses for home addresses."""
        self._excluded = frozenset(excluded)

    def update(self) -> list[LinkState]:
        """Take in the notifications that wait; returns links that just got carrier.

        An interface that lost carrier loses its autoconfigured addresses and
        routers with it: the network that it meets next may be another.
        """
        before = {link.name for link in self._tables.links.values() if link.carrier}
        try:
            for kind, payload in self._socket.receive():
                self._take(kind, payload)
        except Overrun:
            self._read()
        fresh = []
        for state in self.snapshot():
            if state.carrier and state.name not in before:
                fresh.append(state)
            elif not state.carrier and state.name in before and state.index:
                self._forget_network(state.index)
        return fresh

    def snapshot(self) -> tuple[LinkState, ...]:
        """Return the interfaces as they are now, in the order of the configuration."""
        by_name = {link.name: link for link in self._tables.links.values()}
        return tuple(self._state(name, by_name.get(name)) for name in self._interfaces)

    def _state(self, name: str, link: Link | None) -> LinkState:
        if link is None:
            return LinkState(name)
        if not link.carrier:
            return LinkState(name, link.index, mtu=link.mtu)
        tables = self._tables
        mine = [
            address
            for address in tables.addresses.values()
            if address.interface == link.index
            and address.usable
            and address.address not in self._excluded
            and not address.address.is_link_local
        ]
        mine.sort(
            key=lambda a: (a.flags & IFA_F_DEPRECATED, a.flags & IFA_F_TEMPORARY, a.length == 128)
        )
        routes = [route for route in tables.routes.values() if route.interface == link.index]
        return LinkState(
            name,
            link.index,
            carrier=True,
            mtu=link.mtu,
            link_layer=link.address,
            addresses6=tuple(a.address for a in mine if isinstance(a.address, IPv6Address)),
            addresses4=tuple(a.address for a in mine if isinstance(a.address, IPv4Address)),
            default6=next(iter(_defaults(routes, 6)), None),
            default4=next(iter(_defaults(routes, 4)), None),
            defaults6=_defaults(routes, 6),
            ends=tuple(
                (a.address, tables.ends[link.index, a.address])
                for a in mine
                if (link.index, a.address) in tables.ends
            ),
            on_link=tuple(
                dict.fromkeys(
                    route.destination
                    for route in routes
                    if route.gateway is None
                    and 0 < route.destination.prefixlen < route.destination.max_prefixlen
                    and not route.destination.is_link_local
                    and not route.destination.is_multicast
                )
            ),
        )

    def _read(self) -> None:
        tables = _Tables()
        for link in self._rtnl.links():
            tables.links[link.index] = link
        for address in self._rtnl.addresses():
            tables.note(address)
        for route in self._rtnl.routes():
            if _matters(route):
                tables.routes[_key(route)] = route
        self._tables = tables

    def _take(self, kind: int, payload: memoryview) -> None:
        tables = self._tables
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            if payload[0]:
                return  # a bridge's notification about its port
            link = decode_link(payload)
            if kind == RTM_NEWLINK:
                tables.links[link.index] = link
            else:
                tables.links.pop(link.index, None)
        elif kind in (RTM_NEWADDR, RTM_DELADDR):
            address = decode_address(payload)
            if address is None:
                return
            if kind == RTM_NEWADDR:
                tables.note(address)
            else:
                tables.addresses.pop((address.interface, address.address), None)
                tables.ends.pop((address.interface, address.address), None)
        elif kind in (RTM_NEWROUTE, RTM_DELROUTE):
            route = decode_route(payload)
            if route is None or not _matters(route):
                return
            if kind == RTM_NEWROUTE:
                tables.routes[_key(route)] = route
            else:
                tables.routes.pop(_key(route), None)

    def _forget_network(self, index: int) -> None:
        tables = self._tables
        for address in list(tables.addresses.values()):
            if address.interface == index and address.autoconfigured:
                self._rtnl.remove_address(index, address.address, address.length)
                tables.addresses.pop((index, address.address), None)
        for key, route in list(tables.routes.items()):
            if route.interface == index and route.protocol == PROTOCOL_RA:
                self._rtnl.remove_route(route)
                tables.routes.pop(key, None)


def _defaults(routes: list[Route], version: int) -> tuple[Route, ...]:
    """Return the default routes, the preferred one first."""
    found = [r for r in routes if not r.destination.prefixlen and r.destination.version == version]
    return tuple(sorted(found, key=lambda route: route.metric))


def _key(route: Route) -> tuple[int, Network, Address | None, int, int]:
    return route.interface, route.destination, route.gateway, route.table, route.metric


def _matters(route: Route) -> bool:
    return (
        route.kind == UNICAST
        and route.protocol != PROTOCOL
        and route.table != TABLE_LOCAL
        and route.interface != 0
    )
