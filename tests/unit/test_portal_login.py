# SPDX-License-Identifier: GPL-2.0-only
"""Doors to captive portals: where they lead, what no portal opens, and that they close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.linux.login_door import TABLE as NFT_TABLE
from dsmip.linux.login_door import Door, LoginTable, expression
from dsmip.linux.rtnl import InterfaceAddress, Link, Route, Rule
from dsmip.linux.uplinks import LinkState
from dsmip.mobility.effects import Uplink
from dsmip.mobility.portal_login import (
    ADDRESSES_MAX,
    CHANGE_EVERY,
    LOOK_UP_AGAIN,
    LOOK_UP_FAILED,
    Login,
    Portal,
    PortalLogins,
    admissible,
    login_of,
)
from dsmip.packet.http import URL_MAX
from dsmip.packet.kernel import Address
from dsmip.service.config import MobileRouterSection, parse
from dsmip.service.portal_logins import NFT_AGAIN, NO_LAN, PROTECTED, LoginDoors, Worker
from dsmip.service.routing import FROM_HOME, LOGIN_TABLE, TO_LAN, TO_LOGIN, LoginWay

from tests.unit.test_config import ROUTER, changed
from tests.unit.test_routing import DEVICE, LINK4, LINK6, WAN1, Table, routing

HOST = IPv4Address("203.0.112.7")
WIFI, LTE, LAN, OFFICE = 3, 4, 8, 9
GATEWAY4, GATEWAY6 = IPv4Address("10.0.8.1"), IPv6Address("fe80::1")


# --- what a URL opens ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "ports"),
    [
        ("http://p.example/login", "p.example", (80, 443)),
        ("https://P.Example", "p.example", (80, 443)),
        ("HTTPS://p.example?ticket=1", "p.example", (80, 443)),
        ("http://p.example:80/", "p.example", (80, 443)),
        ("http://p.example:8080#x", "p.example", (80, 443, 8080)),
        ("http://10.0.8.1:1/@", "10.0.8.1", (1, 80, 443)),
        ("http://[2001:DB8::1]:65535/", "2001:db8::1", (80, 443, 65535)),
    ],
)
def test_what_a_url_names(url: str, host: str, ports: tuple[int, ...]) -> None:
    assert login_of(url) == Login(host, ports)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://p.example/",
        "//p.example/",
        "http:p.example",
        "http:///login",
        "http://p.example:0/",
        "http://p.example:65536/",
        "http://p.example:-1/",
        "http://p.example:/",
        "http://p.example:80:90/",
        # A browser goes to the second host.
        "http://p.example@evil.example/",
        "http://p.example\\@evil.example/",
        "http://p.example%2f/",
        "http://p.example /",
        "http://[::1/",
        "http://[1.2.3.4]/",
        f"http://{'a' * 64}.example/",
        "http://p.example/" + "x" * URL_MAX,
    ],
)
def test_urls_that_open_nothing(url: str) -> None:
    assert login_of(url) is None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.1.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b::c633:6401",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2002:c633:6401::1",
        "2001::1",
        "100::1",
    ],
)
def test_addresses_that_are_never_a_portals(address: str) -> None:
    assert not admissible(ip_address(address), ())


def test_addresses_that_may_be_a_portals() -> None:
    for address in ("10.0.8.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "2001:db8::1", "fd00::1"):
        assert admissible(ip_address(address), ())
        assert not admissible(ip_address(address), (ip_network(address),))
    assert not admissible(ip_address("10.0.8.1"), (ip_network("::/0"), ip_network("10.0.0.0/8")))


# --- when it changes -----------------------------------------------------------------------


def portal(url: str, key: object = 1) -> Portal:
    return Portal("wifi", key, url)


def test_a_literal_address_is_not_looked_up() -> None:
    logins = PortalLogins()
    assert logins.observe([portal("http://10.0.8.1:8080/login")], 0) == []
    assert logins.addresses("wifi", ()) == (GATEWAY4,)
    assert logins.next_timer() is None
    logins.observe([], 1)
    assert logins.login("wifi") is None
    assert logins.addresses("wifi", ()) == ()


def test_a_name_is_looked_up_once_and_from_time_to_time() -> None:
    logins = PortalLogins()
    there = [portal("http://p.example/login")]
    (effect,) = logins.observe(there, 0)
    assert effect.host == "p.example"
    # The portal is asked all the time, with another ticket in the URL each time.
    assert logins.observe([portal("http://p.example/login?1")], 2) == []
    logins.found(effect, (), 3)
    assert logins.next_timer() == 3 + LOOK_UP_FAILED
    (effect,) = logins.observe(there, 3 + LOOK_UP_FAILED)
    logins.found(effect, (HOST,), 10)
    assert logins.addresses("wifi", ()) == (HOST,)
    assert logins.observe(there, 9 + LOOK_UP_AGAIN) == []
    (effect,) = logins.observe(there, 10 + LOOK_UP_AGAIN)
    # A name server that is silent now takes nothing away.
    logins.found(effect, (), 11 + LOOK_UP_AGAIN)
    assert logins.addresses("wifi", ()) == (HOST,)


def test_a_portal_that_names_the_whole_world_gets_few_addresses() -> None:
    logins = PortalLogins()
    (effect,) = logins.observe([portal("http://p.example/")], 0)
    six = [IPv6Address("2001:db8::1") + n for n in range(200)]
    logins.found(effect, [IPv4Address("10.0.0.0") + n for n in range(200)] + six, 1)
    assert len(logins.addresses("wifi", ())) == ADDRESSES_MAX
    logins = PortalLogins()
    (effect,) = logins.observe([portal("http://p.example/")], 0)
    logins.found(effect, [HOST, HOST, *six[:9]], 1)
    found = logins.addresses("wifi", ())
    assert [one.version for one in found] == [4] + [6] * ADDRESSES_MAX


def test_a_portal_changes_its_host_at_a_bounded_rate() -> None:
    logins = PortalLogins()
    hosts = set()
    for second in range(100):
        # Also by being passed, and met again.
        logins.observe([portal(f"http://10.0.9.{second}/")] if second % 3 else [], second)
        hosts |= set(logins.addresses("wifi", ()))
    assert 5 <= len(hosts) <= 100 / CHANGE_EVERY + 1


def test_what_a_portal_names_last_is_taken_when_its_time_has_come() -> None:
    logins = PortalLogins()
    logins.observe([portal("http://10.0.9.1/")], 0)
    logins.observe([portal("http://10.0.9.2/")], 2)
    assert logins.addresses("wifi", ()) == (IPv4Address("10.0.9.1"),)
    assert logins.next_timer() == CHANGE_EVERY
    logins.observe([portal("http://10.0.9.2/")], CHANGE_EVERY)
    assert logins.addresses("wifi", ()) == (IPv4Address("10.0.9.2"),)
    assert logins.next_timer() is None


def test_answers_for_another_network_or_host_open_nothing() -> None:
    logins = PortalLogins()
    (old,) = logins.observe([portal("http://p.example/")], 0)
    (new,) = logins.observe([portal("http://p.example/", key=2)], CHANGE_EVERY)
    logins.found(old, (HOST,), 11)
    assert logins.addresses("wifi", ()) == ()
    (other,) = logins.observe([portal("http://q.example/", key=2)], 2 * CHANGE_EVERY)
    logins.found(new, (HOST,), 21)
    assert logins.addresses("wifi", ()) == ()
    logins.observe([], 22)
    logins.found(other, (HOST,), 23)
    assert logins.addresses("wifi", ()) == ()


# --- routes and rules ----------------------------------------------------------------------


def test_a_door_is_a_route_and_rules_and_nothing_is_left_of_it() -> None:
    table = Table()
    router = routing(table)
    router.use_uplinks((LINK6, LINK4))
    router.attach(0)
    rules, ways = list(table.ruled), list(table.ways)
    router.use_logins((LoginWay(WAN1, HOST, GATEWAY4, ("lan0", "lan1"), (80, 443)),))
    new = [one for one in table.ruled if one not in rules]
    assert {(one.incoming, one.port) for one in new} == {
        (name, number) for name in ("lan0", "lan1") for number in (80, 443)
    }
    for rule in new:
        assert (rule.priority, rule.table, rule.protocol) == (TO_LOGIN, LOGIN_TABLE, 6)
        assert rule.destination == ip_network(str(HOST))
        assert TO_LAN < rule.priority < FROM_HOME
    (way,) = [one for one in table.ways if one not in ways]
    assert (way.destination, way.interface, way.table, way.gateway, way.onlink) == (
        ip_network(str(HOST)),
        WAN1,
        LOGIN_TABLE,
        GATEWAY4,
        True,
    )
    # Uplinks change, a reload reads what is there: the door stays, and goes when it is to.
    router.read()
    router.use_uplinks((LINK4,))
    assert set(new) <= set(table.ruled)
    router.use_uplinks((LINK6, LINK4))
    router.use_logins(())
    assert set(table.ruled) == set(rules)
    assert set(table.ways) == set(ways)


def test_what_a_killed_daemon_left_is_closed_at_the_start() -> None:
    table = Table()
    to = ip_network(str(HOST))
    stale = Rule(TO_LOGIN, LOGIN_TABLE, None, to, version=4, protocol=6, incoming="lan0", port=80)
    table.ruled.append(stale)
    table.ways.append(Route(to, WAN1, LOGIN_TABLE, GATEWAY4))
    router = routing(table)
    router.use_uplinks((LINK4,))
    router.attach(0)
    assert stale not in table.ruled
    assert not [one for one in table.ways if one.table == LOGIN_TABLE]
    assert table.way(ip_network("0.0.0.0/0"), 4191) is not None


# --- nftables ------------------------------------------------------------------------------


def test_what_nft_is_told() -> None:
    said: list[str] = []
    made = LoginTable(said.append)
    door = Door(("br-lan", "lan2"), "wlan0", HOST, (80, 443, 8080))
    text = (
        'iifname { "br-lan", "lan2" } oifname "wlan0" ip daddr 203.0.112.7 '
        "tcp dport { 80, 443, 8080 } masquerade"
    )
    assert expression(door) == text
    assert "ip6 daddr 2001:db8::1 " in expression(replace(door, address=ip_address("2001:db8::1")))
    made.put([door])
    made.reset()
    assert text in said[0]
    assert "hook postrouting" in said[0]
    assert all(one.startswith(f"add table {NFT_TABLE}\ndelete table {NFT_TABLE}\n") for one in said)
    assert NFT_TABLE not in ("inet dsmip", "inet fw4")


# --- the service ---------------------------------------------------------------------------


class Nft:
    """What nft was told; ``error`` is what it says from then on."""

    def __init__(self) -> None:
        self.doors: tuple[Door, ...] = ()
        self.error: OSError | None = None
        self.calls = 0

    def reset(self) -> None:
        self._call()
        self.doors = ()

    def put(self, doors: tuple[Door, ...]) -> None:
        self._call()
        self.doors = doors

    def _call(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class Later:
    """A worker that works when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], None], Callable[[OSError | None], None]]] = []
        self.finished = False

    def submit(self, action: Callable[[], None], done: Callable[[OSError | None], None]) -> None:
        self.waiting.append((action, done))

    def work(self) -> None:
        while self.waiting:
            action, done = self.waiting.pop(0)
            error: OSError | None = None
            try:
                action()
            except OSError as raised:
                error = raised
            done(error)

    def finish(self) -> None:
        self.work()
        self.finished = True


def section(**options: Any) -> MobileRouterSection:
    values = changed(ROUTER, "mobile_router.lan", ["br-lan"])
    for name, value in options.items():
        values = changed(values, f"mobile_router.{name}", value)
    found = parse(values).mobile_router
    assert found is not None
    return found


WIFI_LINK = LinkState(
    "wlan0",
    WIFI,
    True,
    addresses4=(IPv4Address("10.0.8.5"),),
    addresses6=(IPv6Address("2001:db8:a8::5"),),
    default4=Route(ip_network("0.0.0.0/0"), WIFI, gateway=GATEWAY4),
    default6=Route(ip_network("::/0"), WIFI, gateway=GATEWAY6),
    on_link=(ip_network("10.0.8.0/24"), ip_network("2001:db8:a8::/64")),
)
LTE_LINK = LinkState("wwan0", LTE, True)


class Kernel:
    """What rtnetlink tells; nothing when it is deaf."""

    def __init__(self) -> None:
        self.deaf = False
        self.held = [
            InterfaceAddress(WIFI, IPv4Address("10.0.8.5"), 24),
            InterfaceAddress(LAN, IPv4Address("192.168.1.1"), 24),
            InterfaceAddress(OFFICE, IPv6Address("2001:db8:ff::1"), 64),
            InterfaceAddress(DEVICE, IPv6Address("2001:db8:1::100"), 128),
        ]

    def addresses(self) -> list[InterfaceAddress]:
        if self.deaf:
            raise OSError(5, "no answer")
        return self.held

    def links(self) -> list[Link]:
        names = {WIFI: "wlan0", LAN: "br-lan", OFFICE: "br-office", DEVICE: "mip0", 12: "br-other"}
        return [Link(index, name, True, True, 1500) for index, name in names.items()]


class World:
    """The service with everything around it; it has the owner's part as well."""

    def __init__(self, configured: MobileRouterSection) -> None:
        self.section = configured
        self.now = 1000.0
        agents = SimpleNamespace(
            known=lambda: [SimpleNamespace(address6=IPv6Address("2001:db8:77::1"), address4=None)]
        )
        self.engine: Any = SimpleNamespace(config=configured.engine, agents=agents)
        self.links: tuple[LinkState, ...] = (WIFI_LINK, LTE_LINK)
        self.uplinks = (
            Uplink(
                "wifi",
                WIFI,
                1,
                addresses6=WIFI_LINK.addresses6,
                addresses4=WIFI_LINK.addresses4,
                gateway6=True,
                gateway4=True,
            ),
            Uplink("lte", LTE, 2),
        )
        self.ways: tuple[LoginWay, ...] = ()
        self.asked: list[tuple[str, tuple[Address, ...], int]] = []
        self.names: dict[str, tuple[Address, ...]] = {}
        self.kernel = Kernel()
        self.nft, self.worker = Nft(), Later()
        self.doors = LoginDoors(
            self,
            self,  # type: ignore[arg-type]
            self.kernel,
            self.nft,  # type: ignore[arg-type]
            self.worker,
            self._find,
        )
        self.worker.work()

    def time(self) -> float:
        return self.now

    def use_logins(self, ways: tuple[LoginWay, ...]) -> None:
        self.ways = ways

    async def _find(
        self, name: str, sources: tuple[Address, ...], interface: int
    ) -> tuple[Address, ...]:
        self.asked.append((name, sources, interface))
        return self.names.get(name, ())

    def meet(self, url: str, after: float = 0.0) -> None:
        """Let the uplink have a portal, "" for none, and everything come to its end."""
        self.now += after
        portals = [Portal("wifi", 1, url)] if url else []
        for effect in self.doors.look(portals):
            asyncio.run(self.doors.find(effect))
            self.doors.look(portals)
        self.worker.work()

    @property
    def open(self) -> list[str]:
        return [str(way.address) for way in self.ways]

    def problem(self, url: str = "http://x/") -> str:
        return str(self.doors.document("wifi", url)["login_problem"])


class Doors:
    """The service, as far as who watches over uplinks uses it; ``wants`` is looked up once."""

    def __init__(self) -> None:
        self.portals: list[Portal] = []
        self.found: list[object] = []
        self.wants: list[object] = []
        self.stopped = False
        self.due: float | None = None

    def look(self, portals: list[Portal]) -> list[object]:
        self.portals = portals
        wants, self.wants = self.wants, []
        return wants

    async def find(self, effect: object) -> None:
        self.found.append(effect)

    def next_timer(self) -> float | None:
        return self.due

    def document(self, name: str, portal: str) -> dict[str, Any]:
        return {"login": ["10.0.8.1"] if portal else [], "login_problem": "no nft" * bool(portal)}

    def stop(self) -> None:
        self.stopped = True


LOGIN = "http://p.example:8080/login"


def test_a_door_opens_at_the_portal_and_closes_when_it_is_passed() -> None:
    world = World(section())
    world.names["p.example"] = (HOST, IPv6Address("2001:db8:5::7"))
    world.meet(LOGIN)
    assert world.asked == [("p.example", (*WIFI_LINK.addresses6, *WIFI_LINK.addresses4), WIFI)]
    ports = (80, 443, 8080)
    assert world.ways == (
        LoginWay(WIFI, HOST, GATEWAY4, ("br-lan",), ports),
        LoginWay(WIFI, IPv6Address("2001:db8:5::7"), GATEWAY6, ("br-lan",), ports),
    )
    assert world.nft.doors[0] == Door(("br-lan",), "wlan0", HOST, ports)
    assert len(world.nft.doors) == 2
    assert world.doors.document("wifi", LOGIN) == {
        "login": [str(HOST), "2001:db8:5::7"],
        "login_problem": "",
    }
    calls = world.nft.calls
    world.meet(LOGIN + "?again", after=2)
    assert world.nft.calls == calls
    world.meet("", after=2)
    assert (world.ways, world.nft.doors) == ((), ())
    assert world.doors.document("wifi", "") == {"login": [], "login_problem": ""}


def test_a_neighbour_is_reached_without_the_gateway() -> None:
    world = World(section())
    world.meet("http://10.0.8.9/")
    assert [way.gateway for way in world.ways] == [None]


def test_nothing_is_led_there_before_nft_is_ready_nor_after_the_portal() -> None:
    world = World(section())
    world.doors.look([Portal("wifi", 1, "http://10.0.8.1/")])
    assert world.ways == ()
    world.doors.look([])
    world.worker.work()
    assert (world.ways, world.nft.doors) == ((), ())
    world.meet("http://10.0.8.1/", after=CHANGE_EVERY)
    assert world.open == ["10.0.8.1"]
    world.doors.look([])
    assert world.ways == ()


@pytest.mark.parametrize(
    "address",
    [
        "10.0.8.5",  # the uplink's own
        "10.0.8.255",
        "10.0.8.0",
        "192.168.1.1",
        "192.168.1.77",  # a host of the LAN
        "192.168.1.255",
        "2001:db8:ff::9",  # another network of the router
        "2001:db8:1::100",  # the home address
        "2001:db8:1::1",  # the home agent
        "198.51.100.1",
        "2001:db8:77::1",  # another home agent
        "2001:db8:100::5",  # the mobile network
        "127.0.0.1",
        "::1",
        "255.255.255.255",
        "224.0.0.251",
    ],
)
def test_no_portal_opens_what_is_ours(address: str) -> None:
    literal = f"[{address}]" if ":" in address else address
    world = World(section())
    world.meet(f"http://{literal}/")
    assert (world.ways, world.nft.doors) == ((), ())
    assert world.problem() == f"{address} is not where a portal may be"
    # By name it is the same, and the others that it has are not lost by it.
    world = World(section())
    world.names["p.example"] = (ip_address(address), HOST)
    world.meet(LOGIN)
    assert world.open == [str(HOST)]
    # What is a portal's now may be ours a moment later.
    world.kernel.held.append(InterfaceAddress(LAN, HOST, 32))
    world.meet(LOGIN, after=2)
    assert (world.ways, world.nft.doors) == ((), ())


def test_a_lan_that_is_not_named_is_where_the_mobile_network_is() -> None:
    """As on OpenWrt, where netifd hands prefixes out and the daemon is told of no LAN."""
    world = World(section(lan=[]))
    (net,) = [one for one in world.section.engine.networks if one.version == 6]
    inside = next(iter(net.subnets(new_prefix=64)))[1]
    world.kernel.held.append(InterfaceAddress(DEVICE, inside + 6, 128))
    world.meet("http://10.0.8.1/")
    assert (world.ways, world.problem()) == ((), NO_LAN)
    world.kernel.held.append(InterfaceAddress(LAN, inside, 64))
    world.meet("http://10.0.8.1/", after=CHANGE_EVERY)
    assert [way.lan for way in world.ways] == [("br-lan",)]
    world.kernel.held.append(InterfaceAddress(12, inside + 1, 64))
    world.meet("http://10.0.8.1/", after=2)
    assert world.nft.doors[0].lan == ("br-lan", "br-other")
    assert world.ways[0].lan == ("br-lan", "br-other")


def test_where_the_kernel_does_not_tell_what_is_ours_nothing_is_open() -> None:
    world = World(section())
    world.meet("http://10.0.8.1/")
    world.kernel.deaf = True
    world.meet("http://10.0.8.1/", after=2)
    assert (world.ways, world.nft.doors) == ((), ())


def test_an_uplink_that_has_no_way_there_opens_nothing() -> None:
    world = World(section())
    world.links = (replace(WIFI_LINK, default4=None), LTE_LINK)
    world.meet("http://10.0.8.1/")
    assert world.ways == ()
    world.links = (WIFI_LINK, LTE_LINK)
    world.uplinks = (replace(world.uplinks[0], addresses4=()), world.uplinks[1])
    world.meet("http://10.0.8.1/", after=2)
    assert world.ways == ()


def test_two_portals_at_one_address_are_reached_by_the_first() -> None:
    world = World(section())
    second = replace(WIFI_LINK, name="wwan0", index=LTE)
    world.links = (WIFI_LINK, second)
    world.uplinks = (world.uplinks[0], replace(world.uplinks[0], name="lte", interface=LTE))
    both = [Portal(name, 1, "http://10.0.8.1/") for name in ("wifi", "lte")]
    world.doors.look(both)
    world.worker.work()
    assert [way.interface for way in world.ways] == [WIFI]
    world.doors.look(both[1:])
    world.worker.work()
    assert [way.interface for way in world.ways] == [LTE]


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        (section(portal_login=False), "portal_login is off"),
        (section(lan=[]), NO_LAN),
        (section(payload="inside"), PROTECTED),
    ],
)
def test_where_no_door_is_wanted_or_possible(configured: MobileRouterSection, said: str) -> None:
    world = World(configured)
    world.meet(LOGIN)
    assert (world.ways, world.asked, world.problem()) == ((), [], said)


def test_a_reload_closes_a_door() -> None:
    world = World(section())
    world.meet("http://10.0.8.1/")
    world.section = section(portal_login=False)
    world.meet("http://10.0.8.1/", after=2)
    assert (world.ways, world.nft.doors) == ((), ())


def test_without_nft_nothing_is_led_there_and_it_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(section())
    world.nft.error = FileNotFoundError(2, "No such file or directory: 'nft'")
    world.meet("http://10.0.8.1/")
    assert world.ways == ()
    assert "nft" in world.problem()
    assert "cannot log in" in caplog.text
    calls = world.nft.calls
    world.nft.error = None
    world.meet("http://10.0.8.1/", after=NFT_AGAIN - 1)
    assert (world.ways, world.nft.calls) == ((), calls)
    world.meet("http://10.0.8.1/", after=1)
    assert world.open == ["10.0.8.1"]
    assert world.problem() == ""


def test_what_is_said_while_the_host_is_not_known() -> None:
    world = World(section())
    world.meet(LOGIN)
    assert world.problem() == "no address of p.example is known"
    world.meet("http://a@b/", after=CHANGE_EVERY)
    assert world.problem() == "what the portal names is no address of a web page"


def test_at_the_start_and_at_the_end_the_table_goes() -> None:
    world = World(section())
    assert world.nft.calls == 1
    world.meet("http://10.0.8.1/")
    world.doors.stop()
    assert (world.ways, world.nft.doors) == ((), ())
    assert world.worker.finished
    # Where none was opened none is closed.
    world = World(section())
    world.doors.stop()
    assert world.nft.calls == 1


def test_the_worker_calls_back_in_the_loop_and_in_order(caplog: pytest.LogCaptureFixture) -> None:
    said: list[object] = []

    def broken() -> None:
        raise RuntimeError("odd")

    def refused() -> None:
        raise OSError(0, "nft: no")

    async def run() -> None:
        worker = Worker(asyncio.get_running_loop())
        for action in (lambda: said.append("done"), refused, broken):
            worker.submit(action, lambda error: said.append(error and error.strerror))
        worker.finish()
        for _ in range(3000):
            if len(said) == 4:
                return
            await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert said == ["done", None, "nft: no", "RuntimeError('odd')"]
    assert caplog.text == ""
