# SPDX-License-Identifier: GPL-2.0-only
"""Routes, rules and addresses of both sides, against a table that works like the kernel's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.linux.rtnl import UNREACHABLE, InterfaceAddress, Route, Rule
from dsmip.linux.uplinks import LinkState
from dsmip.packet.careof import WireKind
from dsmip.packet.kernel import Address, KernelBinding, Path
from dsmip.service.routing import (
    FROM_CARE_OF,
    FROM_HOME,
    TABLE,
    UPLINK_TABLES,
    AgentRouting,
    RouterRouting,
)

DEVICE, WAN0, WAN1, HOME_LINK = 9, 3, 4, 5
HOA, HOA4 = IPv6Address("2001:db8:1::100"), IPv4Address("198.51.100.100")
HA4 = IPv4Address("198.51.100.1")
NET6, NET4 = IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")
ALL6, ALL4 = IPv6Network("::/0"), IPv4Network("0.0.0.0/0")
GW6, GW4 = IPv6Address("fe80::1"), IPv4Address("198.18.4.1")
COA6, COA4 = IPv6Address("2001:db8:a6::5"), IPv4Address("198.18.4.10")

LINK6 = LinkState("wan0", WAN0, True, 1500, b"", (COA6,), (), Route(ALL6, WAN0, gateway=GW6))
LINK4 = LinkState(
    "wan1", WAN1, True, 1500, b"", (), (COA4,), default4=Route(ALL4, WAN1, gateway=GW4)
)


class Table:
    """What ``linux.rtnl.Rtnl`` changes, kept in memory; ``log`` is every change."""

    def __init__(self) -> None:
        self.held: list[InterfaceAddress] = []
        self.ways: list[Route] = []
        self.ruled: list[Rule] = []
        self.log: list[object] = []
        self.refuses: object = None

    def addresses(self) -> list[InterfaceAddress]:
        return list(self.held)

    def add_address(self, interface: int, address: Address, length: int) -> None:
        self.log.append(("add", address))
        self.held.append(InterfaceAddress(interface, address, length))

    def unreachable(self, interface: int, address: IPv6Address) -> bool:
        return False

    def remove_address(self, interface: int, address: Address, length: int) -> None:
        self.log.append(("remove", address))
        self.held = [h for h in self.held if (h.interface, h.address) != (interface, address)]

    def routes(self, table: int = 0, protocol: int = 0) -> list[Route]:
        return [r for r in self.ways if table in (0, r.table) and protocol in (0, r.protocol)]

    def put_route(self, route: Route) -> None:
        if route == self.refuses:
            raise OSError(101, "Network is unreachable")
        self.log.append(("add", route))
        self.ways = [
            r
            for r in self.ways
            if (r.destination, r.table, r.metric) != (route.destination, route.table, route.metric)
        ]
        self.ways.append(route)

    def remove_route(self, route: Route) -> None:
        self.log.append(("remove", route))
        self.ways.remove(route)

    def rules(self) -> list[Rule]:
        return list(self.ruled)

    def put_rule(self, rule: Rule) -> None:
        self.log.append(("add", rule))
        self.ruled.append(rule)

    def remove_rule(self, rule: Rule) -> None:
        self.log.append(("remove", rule))
        self.ruled.remove(rule)

    def way(self, destination: object, table: int) -> Route | None:
        """Return the best route of a table to a destination."""
        found = [r for r in self.ways if (r.destination, r.table) == (destination, table)]
        return min(found, key=lambda r: r.metric, default=None)

    def where(self, address: Address) -> list[int]:
        """Return the interfaces that have an address."""
        return [h.interface for h in self.held if h.address == address]


def routing(table: Table) -> RouterRouting:
    made = RouterRouting(table, DEVICE, HOA, (NET6, NET4), HA4)
    made.use_home_address4(HOA4)
    made.read()
    return made


def test_away_everything_of_the_mobile_network_goes_into_the_device() -> None:
    table = Table()
    router = routing(table)
    router.use_uplinks((LINK6, LINK4))
    router.attach(0)
    assert table.where(HOA) == table.where(HOA4) == [DEVICE]
    for destination in (ALL6, ALL4):
        way = table.way(destination, TABLE)
        assert way is not None
        assert way.interface == DEVICE
    sources = {rule.source for rule in table.ruled if rule.priority == FROM_HOME}
    assert sources == {NET6, NET4, IPv6Network(HOA), IPv4Network(HOA4)}


def test_each_care_of_address_leaves_by_its_own_uplink() -> None:
    table = Table()
    router = routing(table)
    router.use_uplinks((LINK6, LINK4))
    for position, (source, everything, gateway) in enumerate(
        ((IPv6Network(COA6), ALL6, GW6), (IPv4Network(COA4), ALL4, GW4))
    ):
        (rule,) = (r for r in table.ruled if (r.priority, r.source) == (FROM_CARE_OF, source))
        assert rule.table == UPLINK_TABLES + position
        way = table.way(everything, rule.table)
        assert way is not None
        assert way.gateway == gateway
        last = max(table.routes(rule.table), key=lambda r: r.metric)
        assert last.kind == UNREACHABLE


def test_a_dead_uplink_leaves_nothing() -> None:
    table = Table()
    router = routing(table)
    router.use_uplinks((LINK6, LINK4))
    router.attach(0)
    router.use_uplinks((LinkState("wan0", WAN0), LINK4))
    assert not [r for r in table.ruled if r.source == IPv6Network(COA6)]
    assert not table.routes(UPLINK_TABLES)


def test_at_home_addresses_are_on_the_home_link() -> None:
    """IPv4 has no router advertisement: by the home agent, though no prefix is on that link."""
    table = Table()
    router = routing(table)
    home = LinkState(
        "wan3", HOME_LINK, True, 1500, b"", (), (), Route(ALL6, HOME_LINK, gateway=GW6)
    )
    router.use_uplinks((LINK6, home))
    router.attach(0)
    router.attach(HOME_LINK)
    assert table.where(HOA) == table.where(HOA4) == [HOME_LINK]
    six, four = table.way(ALL6, TABLE), table.way(ALL4, TABLE)
    assert six is not None
    assert (six.interface, six.gateway) == (HOME_LINK, GW6)
    assert four is not None
    assert (four.interface, four.gateway, four.onlink) == (HOME_LINK, HA4, True)


@pytest.mark.spec("X-023")
def test_at_home_in_silence_addresses_stay_where_nobody_asks_for_them() -> None:
    table = Table()
    router = routing(table)
    router.use_link_local(IPv6Address("fe80::100"))
    home = LinkState(
        "wan3", HOME_LINK, True, 1500, b"", (), (), Route(ALL6, HOME_LINK, gateway=GW6)
    )
    router.use_uplinks((LINK6, home))
    router.attach(0)
    table.log = []
    router.attach(HOME_LINK, silent=True)
    # ARP has no such rule: the home agent does not answer for what it sends there itself.
    assert (table.where(HOA), table.where(HOA4)) == ([DEVICE], [HOME_LINK])
    assert ("add", HOA) not in table.log
    assert ("remove", HOA) not in table.log
    six = table.way(ALL6, TABLE)
    assert six is not None
    assert (six.interface, six.gateway) == (HOME_LINK, GW6)
    router.attach(HOME_LINK)
    assert table.where(HOA) == [HOME_LINK]
    router.attach(0)
    assert table.where(HOA) == [DEVICE]


def test_a_new_daemon_changes_nothing() -> None:
    table = Table()
    for _ in range(2):
        router = routing(table)
        router.use_uplinks((LINK6, LINK4))
        router.attach(0)
        first, table.log = table.log, []
        assert first
        router.use_uplinks((LINK6, LINK4))
        assert not table.log
        again = routing(table)
        again.use_uplinks((LINK6, LINK4))
        again.attach(0)
        assert not table.log
        again.clear()
        assert not table.ways
        assert not table.ruled
        assert not table.held


def test_nothing_is_missing_while_it_changes() -> None:
    """Additions come first, and an address never is on no interface."""
    table = Table()
    router = routing(table)
    home = LinkState(
        "wan3", HOME_LINK, True, 1500, b"", (), (), Route(ALL6, HOME_LINK, gateway=GW6)
    )
    router.use_uplinks((home,))
    router.attach(0)
    table.log = []
    router.attach(HOME_LINK)
    kinds = [entry[0] for entry in table.log]  # type: ignore[index]
    assert kinds == sorted(kinds)


def test_before_it_knows_where_it_is_it_removes_nothing() -> None:
    table = Table()
    router = routing(table)
    router.use_uplinks((LINK6,))
    router.attach(0)
    table.log = []
    again = routing(table)
    again.use_uplinks(())
    assert not [entry for entry in table.log if entry[0] == "remove"]  # type: ignore[index]


def bound(*prefixes: IPv6Network | IPv4Network, home4: IPv4Address | None = HOA4) -> KernelBinding:
    path = Path(0, WireKind.IP6, IPv6Address("2001:db8:1::1"), COA6)
    return KernelBinding(HOA, home4, prefixes, (), (path,), False, 60, 1)


def destinations(table: Table, interface: int) -> set[object]:
    return {route.destination for route in table.ways if route.interface == interface}


@pytest.mark.spec("N-053")
def test_agent_routes_follow_the_binding() -> None:
    table = Table()
    agent = AgentRouting(table, DEVICE, HOME_LINK)
    agent.bind(bound(NET6, NET4))
    assert destinations(table, DEVICE) == {IPv6Network(HOA), IPv4Network(HOA4), NET6, NET4}
    agent.bind(bound(NET6, home4=None))
    assert destinations(table, DEVICE) == {IPv6Network(HOA), NET6}
    table.log = []
    agent.bind(bound(NET6, home4=None))
    assert not table.log
    agent.unbind(HOA)
    assert not table.ways


def test_agent_sends_to_the_home_link_what_is_bound_and_at_home() -> None:
    table = Table()
    agent = AgentRouting(table, DEVICE, HOME_LINK)
    agent.serve_at_home([(HOA, HOA4, (NET6, NET4))])
    agent.bind(bound(NET6, NET4))
    agent.be_at_home(HOA, True)
    assert destinations(table, DEVICE) == set()
    assert destinations(table, HOME_LINK) == {NET6, NET4}
    # A refresh meanwhile changes nothing; what it binds counts when the router leaves.
    agent.bind(bound(NET6))
    assert destinations(table, DEVICE) == set()
    agent.be_at_home(HOA, False)
    assert destinations(table, DEVICE) == {IPv6Network(HOA), IPv4Network(HOA4), NET6}
    agent.be_at_home(HOA, True)
    agent.unbind(HOA)
    agent.be_at_home(HOA, False)
    assert destinations(table, DEVICE) == set()
    agent.bind(bound(NET6))
    assert IPv6Network(HOA) in destinations(table, DEVICE)


def test_agent_serves_routers_at_home_by_their_home_addresses() -> None:
    table = Table()
    agent = AgentRouting(table, DEVICE, HOME_LINK)
    owners = [(HOA, HOA4, (NET6, NET4))]
    blocked = Route(NET4, HOME_LINK, gateway=HOA4, metric=2048)
    table.refuses = blocked  # while the gateway's address is routed into the device
    agent.serve_at_home(owners)
    assert destinations(table, HOME_LINK) == {NET6}
    table.refuses = None
    agent.bind(bound(NET6, NET4))
    agent.unbind(HOA)
    assert destinations(table, HOME_LINK) == {NET6, NET4}
    agent.serve_at_home([])
    assert not table.ways


def test_agent_adopts_and_clears_what_a_former_one_left() -> None:
    table = Table()
    AgentRouting(table, DEVICE, HOME_LINK).bind(bound(NET6, NET4))
    table.log = []
    agent = AgentRouting(table, DEVICE, HOME_LINK)
    agent.bind(bound(NET6))
    assert not table.log
    agent.forget_orphans()
    assert destinations(table, DEVICE) == {IPv6Network(HOA), IPv4Network(HOA4), NET6}
