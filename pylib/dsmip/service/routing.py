# SPDX-License-Identifier: GPL-2.0-only
"""Which routes, rules and addresses stand when, at the router and at the agent.

Both sides compute what should be there and apply the difference to what is
there: additions first, so that no packet meets a gap, and a daemon that
restarts changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Protocol, TypeVar

from ..linux.rtnl import (
    PROTOCOL,
    TABLE_MAIN,
    UNREACHABLE,
    InterfaceAddress,
    Route,
    Rule,
)
from ..linux.uplinks import LinkState
from ..packet.kernel import Address, KernelBinding, Network

log = logging.getLogger(__name__)

TABLE: Final = 4191
#: One table for each uplink, in the order of the configuration.
UPLINK_TABLES: Final = 4200
UPLINK_TABLES_MAX: Final = 256
#: Hosts of portals where the mobile network may log in.
LOGIN_TABLE: Final = 4192
#: Rule priorities, before the main table's 32766.
TO_LAN, FROM_CARE_OF_NEAR, FROM_CARE_OF, TO_LOGIN, FROM_HOME = 4180, 4181, 4182, 4186, 4190
_TCP: Final = 6
_LAST_RESORT: Final = 0x7FFFFFFF
_BINDING_METRIC: Final = 512
_AT_HOME_METRIC: Final = 2048
_EVERYTHING6: Final = IPv6Network("::/0")
_EVERYTHING4: Final = IPv4Network("0.0.0.0/0")


class RouteControl(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that is used here."""

    def addresses(self) -> list[InterfaceAddress]: ...
    def add_address(self, interface: int, address: Address, length: int) -> None: ...
    def remove_address(self, interface: int, address: Address, length: int) -> None: ...
    def routes(self, table: int = 0, protocol: int = 0) -> list[Route]: ...
    def put_route(self, route: Route) -> None: ...
    def remove_route(self, route: Route) -> None: ...
    def rules(self) -> list[Rule]: ...
    def put_rule(self, rule: Rule) -> None: ...
    def remove_rule(self, rule: Rule) -> None: ...
    def put_neighbour(self, interface: int, address: Address, link_layer: bytes) -> None: ...
    def unreachable(self, interface: int, address: IPv6Address) -> bool: ...


def host(address: Address) -> Network:
    """Return the network of one address."""
    return IPv6Network(address) if isinstance(address, IPv6Address) else IPv4Network(address)


@dataclass(frozen=True, slots=True)
class Assigned:
    """An address on an interface."""

    interface: int
    address: Address


@dataclass(frozen=True, slots=True)
class LoginWay:
    """To a portal's host by its uplink: for who comes from these LAN interfaces, by TCP."""

    interface: int
    address: Address
    gateway: Address | None
    lan: tuple[str, ...]
    ports: tuple[int, ...]


Item = Route | Rule | Assigned


T = TypeVar("T")


def attempt(action: Callable[[T], None], item: T, quiet: bool = False) -> bool:
    """Do something with an item; a refusal is written to the log, and False returned."""
    try:
        action(item)
    except OSError as error:
        log.log(logging.DEBUG if quiet else logging.ERROR, "%s", error.strerror or error)
        return False
    return True


class RouterRouting:
    """The mobile router's side.

    What comes from a home address or from a mobile network prefix goes by table
    4191: away into the device, which has the home addresses then; at home to a
    router of the home link, whichever uplink the main table prefers, and the home
    addresses are on that link's interface. Each care-of address leaves by its own
    uplink.
    """

    def __init__(
        self,
        rtnl: RouteControl,
        device: int,
        home_address: IPv6Address,
        prefixes: Iterable[Network],
        home_agent4: IPv4Address | None = None,
    ) -> None:
        self._rtnl = rtnl
        self._device = device
        self._home_address = home_address
        self._home_agent4 = home_agent4
        self._home_address4: IPv4Address | None = None
        self._link_local: IPv6Address | None = None
        self._others: tuple[IPv6Address, ...] = ()
        self._prefixes = tuple(prefixes)
        self._uplinks: tuple[LinkState, ...] = ()
        self._logins: tuple[LoginWay, ...] = ()
        self._home_interface: int | None = None
        self._silent = False
        self._present: set[Item] = set()
        self.read()

    def read(self) -> None:
        """See what is there: a former daemon's routes, rules and addresses."""
        present: set[Item] = set(self._rtnl.rules())
        for route in self._rtnl.routes(protocol=PROTOCOL):
            if route.table != TABLE_MAIN or route.kind == UNREACHABLE:
                present.add(route)
        for entry in self._rtnl.addresses():
            mine = (self._home_address, self._home_address4, self._link_local, *self._others)
            ours = entry.address in mine
            if entry.length == entry.address.max_prefixlen and (
                ours or entry.interface == self._device
            ):
                present.add(Assigned(entry.interface, entry.address))
        self._present = present

    def use_home_address4(self, address: IPv4Address | None) -> None:
        """Take what the home agent granted; applied at the next change of attachment."""
        self._home_address4 = address

    def use_home_agent4(self, address: IPv4Address | None) -> None:
        """Take another home agent; applied at the next change of attachment."""
        self._home_agent4 = address

    def use_others(self, addresses: tuple[IPv6Address, ...]) -> None:
        """Take the home addresses that the router has besides the first."""
        self._others = addresses
        self.apply()

    def use_link_local(self, address: IPv6Address | None) -> None:
        """Take the link-local address that the router has on its home link besides."""
        self._link_local = address

    def holds_home_address(self, interface: int) -> bool:
        """Tell whether the home address is on an interface."""
        return Assigned(interface, self._home_address) in self._present

    def know_neighbour(self, interface: int, address: IPv6Address, link_layer: bytes) -> None:
        """Note where a neighbour is, without asking it."""
        attempt(lambda item: self._rtnl.put_neighbour(interface, item, link_layer), address)

    def unreachable(self, interface: int, address: IPv6Address) -> bool:
        """Tell whether a neighbour was looked for in vain."""
        try:
            return self._rtnl.unreachable(interface, address)
        except OSError as error:
            log.debug("neighbours: %s", error.strerror or error)
            return False

    def use_home_address(self, address: IPv6Address) -> None:
        """Take another home address; applied at the next change of attachment."""
        self._home_address = address

    def use_prefixes(self, prefixes: Iterable[Network]) -> None:
        """Take other mobile network prefixes."""
        self._prefixes = tuple(prefixes)

    def use_uplinks(self, uplinks: tuple[LinkState, ...]) -> None:
        """Take the uplinks as they are; makes care-of addresses usable as sources."""
        self._uplinks = uplinks
        self.apply()

    def use_logins(self, ways: tuple[LoginWay, ...]) -> None:
        """Let hosts of the mobile network log in at portals; at most one way for an address."""
        if ways != self._logins:
            self._logins = ways
            self.apply()

    def attach(self, home_interface: int, silent: bool = False) -> None:
        """Traffic goes native on that interface; 0: into the device.

        ``silent``: IPv6 home addresses stay with the device, where nobody on the home
        link hears of them.
        """
        self._home_interface, self._silent = home_interface, silent
        self.apply()

    def clear(self) -> None:
        """Remove everything."""
        self._change(set())

    def apply(self) -> None:
        """Make the kernel hold what it should; before the first ``attach``, only add."""
        wanted = self._uplink_items() | self._discards() | self._login_items()
        if self._home_interface is None:
            self._change(wanted | self._present)
        else:
            self._change(wanted | self._attachment_items(self._home_interface))

    def _home_addresses(self) -> list[Address]:
        both: list[Address | None] = [self._home_address, self._home_address4, *self._others]
        return [one for one in both if one is not None and not one.is_unspecified]

    def _attachment_items(self, home_interface: int) -> set[Item]:
        interface = home_interface or self._device
        six = self._device if self._silent else interface
        addresses = self._home_addresses()
        items: set[Item] = {Assigned(six if a.version == 6 else interface, a) for a in addresses}
        if home_interface and self._link_local is not None and not self._silent:
            items.add(Assigned(interface, self._link_local))
        if home_interface:
            ways = self._ways_from_home_link(home_interface)
        else:
            ways = {
                Route(_EVERYTHING6, self._device, TABLE, source=self._home_address),
                Route(_EVERYTHING4, self._device, TABLE, source=self._home_address4),
            }
        versions = {way.destination.version for way in ways}
        for prefix in self._prefixes:
            version = prefix.version
            if version in versions:
                items.add(Rule(TO_LAN, TABLE_MAIN, destination=prefix, version=version))
                items.add(Rule(FROM_HOME, TABLE, source=prefix, version=version))
        for address in addresses:
            if address.version in versions:
                items.add(Rule(FROM_HOME, TABLE, source=host(address), version=address.version))
        return items | ways

    def _ways_from_home_link(self, interface: int) -> set[Route]:
        """Return the default routes of the home link, IPv4 by the home agent if need be."""
        link = next((uplink for uplink in self._uplinks if uplink.index == interface), None)
        ways = set()
        if link is not None and link.default6 is not None:
            ways.add(Route(_EVERYTHING6, interface, TABLE, link.default6.gateway))
        if link is not None and link.default4 is not None:
            ways.add(Route(_EVERYTHING4, interface, TABLE, link.default4.gateway))
        elif self._home_agent4 is not None and self._home_address4 is not None:
            agent, source = self._home_agent4, self._home_address4
            ways.add(Route(_EVERYTHING4, interface, TABLE, agent, source, onlink=True))
        return ways

    def _uplink_items(self) -> set[Item]:
        items: set[Item] = set()
        for position, uplink in enumerate(self._uplinks[:UPLINK_TABLES_MAX]):
            table = UPLINK_TABLES + position
            for default, everything, addresses in (
                (uplink.default6, _EVERYTHING6, uplink.addresses6),
                (uplink.default4, _EVERYTHING4, uplink.addresses4),
            ):
                if not uplink.carrier or default is None:
                    continue
                # onlink: at a move the address that says so may be gone a moment earlier.
                onlink = default.gateway is not None and everything.version == 4
                way = Route(everything, uplink.index, table, default.gateway, onlink=onlink)
                items.add(way)
                # Rather nowhere than out by another uplink with a foreign source.
                items.add(Route(everything, table=table, metric=_LAST_RESORT, kind=UNREACHABLE))
                for address in addresses:
                    source, version = host(address), address.version
                    near = Rule(FROM_CARE_OF_NEAR, TABLE_MAIN, source, suppress=0, version=version)
                    items |= {near, Rule(FROM_CARE_OF, table, source, version=version)}
        return items

    def _login_items(self) -> set[Item]:
        items: set[Item] = set()
        for way in self._logins:
            to, version = host(way.address), way.address.version
            onlink = way.gateway is not None and version == 4
            items.add(Route(to, way.interface, LOGIN_TABLE, way.gateway, onlink=onlink))
            items |= {
                Rule(
                    TO_LOGIN,
                    LOGIN_TABLE,
                    destination=to,
                    version=version,
                    protocol=_TCP,
                    incoming=name,
                    port=port,
                )
                for name in way.lan
                for port in way.ports
            }
        return items

    def _discards(self) -> set[Item]:
        # What no LAN interface has must not go back to where it came from.
        return {Route(prefix, metric=_LAST_RESORT, kind=UNREACHABLE) for prefix in self._prefixes}

    def _change(self, wanted: set[Item]) -> None:
        new, old = wanted - self._present, self._present - wanted
        order: tuple[type[Item], ...] = (Assigned, Route, Rule)
        for kind in order:
            for item in new:
                if isinstance(item, kind) and attempt(self._add, item):
                    self._present.add(item)
        for kind in (Rule, Assigned, Route):
            for item in old:
                if not isinstance(item, kind):
                    continue
                replaced = isinstance(item, Route) and any(
                    isinstance(other, Route) and _same_slot(item, other) for other in new
                )
                if replaced or attempt(self._remove, item):
                    self._present.discard(item)

    def _add(self, item: Item) -> None:
        if isinstance(item, Route):
            self._rtnl.put_route(item)
        elif isinstance(item, Rule):
            self._rtnl.put_rule(item)
        else:
            length = item.address.max_prefixlen
            self._rtnl.add_address(item.interface, item.address, length)

    def _remove(self, item: Item) -> None:
        if isinstance(item, Route):
            self._rtnl.remove_route(item)
        elif isinstance(item, Rule):
            self._rtnl.remove_rule(item)
        else:
            length = item.address.max_prefixlen
            self._rtnl.remove_address(item.interface, item.address, length)


def _same_slot(one: Route, other: Route) -> bool:
    """Whether putting one route replaced the other."""
    return (one.destination, one.table, one.metric) == (
        other.destination,
        other.table,
        other.metric,
    )


class AgentRouting:
    """The home agent's side: home addresses and prefixes of bindings into the device.

    ``home_link`` is the interface index of a physical home link, 0 without one.
    """

    def __init__(self, rtnl: RouteControl, device: int, home_link: int = 0) -> None:
        self._rtnl = rtnl
        self._device = device
        self._home_link = home_link
        self._bound: dict[IPv6Address, frozenset[Route]] = {}
        self._native: set[IPv6Address] = set()
        self._last: dict[IPv6Address, KernelBinding] = {}
        self._at_home: set[Route] = set()
        self._wanted_at_home: set[Route] = set()
        self._orphans = {
            route
            for route in rtnl.routes(table=TABLE_MAIN, protocol=PROTOCOL)
            if route.interface in (device, home_link) and route.kind != UNREACHABLE
        }

    def bind(self, binding: KernelBinding) -> None:
        """Send what is the binding's into the device, unless its router is at home."""
        self._last[binding.home_address] = binding
        if binding.home_address not in self._native:
            self._bind(binding)

    def be_at_home(self, home_address: IPv6Address, on: bool) -> None:
        """Send what is a binding's to the home link, or into the device as before."""
        if on:
            self._native.add(home_address)
            self._unbind(home_address)
            return
        self._native.discard(home_address)
        if home_address in self._last:
            self._bind(self._last[home_address])

    def _bind(self, binding: KernelBinding) -> None:
        networks: list[Network] = [host(binding.home_address), *binding.prefixes]
        if binding.home_address4 is not None:
            networks.append(host(binding.home_address4))
        wanted = frozenset(
            Route(network, self._device, metric=_BINDING_METRIC) for network in networks
        )
        before = self._bound.get(binding.home_address, frozenset())
        if wanted == before:
            return
        done = set()
        for route in wanted:
            known = route in before or route in self._orphans
            if known or attempt(self._rtnl.put_route, route):
                done.add(route)
            self._orphans.discard(route)
        for route in before - wanted:
            attempt(self._rtnl.remove_route, route)
        self._bound[binding.home_address] = frozenset(done)

    def unbind(self, home_address: IPv6Address) -> None:
        """Take a binding's routes away."""
        self._last.pop(home_address, None)
        self._native.discard(home_address)
        self._unbind(home_address)

    def _unbind(self, home_address: IPv6Address) -> None:
        for route in self._bound.pop(home_address, ()):
            attempt(self._rtnl.remove_route, route)
        # What could not be reached while its gateway was away can be now.
        self._put_at_home(self._wanted_at_home)

    def serve_at_home(
        self, owners: Iterable[tuple[IPv6Address, IPv4Address | None, tuple[Network, ...]]]
    ) -> None:
        """Keep routes to mobile networks by their routers' home addresses.

        They count when a router is at home and has no binding.
        """
        wanted = set()
        for home6, home4, prefixes in owners if self._home_link else ():
            for prefix in prefixes:
                gateway: Address | None = home6 if prefix.version == 6 else home4
                if gateway is not None:
                    wanted.add(
                        Route(prefix, self._home_link, gateway=gateway, metric=_AT_HOME_METRIC)
                    )
        for route in self._at_home - wanted:
            attempt(self._rtnl.remove_route, route)
        self._at_home &= wanted
        self._wanted_at_home = wanted
        self._put_at_home(wanted)

    def _put_at_home(self, routes: set[Route]) -> None:
        for route in routes - self._at_home:
            if route in self._orphans or attempt(self._rtnl.put_route, route, quiet=True):
                self._at_home.add(route)
            self._orphans.discard(route)

    def forget_orphans(self) -> None:
        """Remove a former daemon's routes that nothing needs any more."""
        for route in self._orphans:
            attempt(self._rtnl.remove_route, route)
        self._orphans = set()

    def clear(self) -> None:
        """Remove everything."""
        for home_address in list(self._last):
            self.unbind(home_address)
        self.serve_at_home(())
        self.forget_orphans()
