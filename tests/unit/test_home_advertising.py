# SPDX-License-Identifier: GPL-2.0-only
"""Router advertisements of a home agent on its home link (RFC 6275 section 7)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.linux.neighbours import Interface
from dsmip.mobility.advertising import INTERVAL_LEAST
from dsmip.mobility.agents_list import HomeAgentsList, ListedAgent
from dsmip.mobility.config import HomeAgentConfig, HomePrefix
from dsmip.mobility.ownership import Owner
from dsmip.packet.icmp6 import (
    HomeAgentInformation,
    NdOption,
    PrefixInformation,
    RouterAdvertisement,
    RouterSolicitation,
    SourceLinkLayerAddress,
    build,
    parse,
)
from dsmip.service.advertise import HomeAdvertising
from dsmip.service.config import HomeAgentSection
from dsmip.service.config import parse as read
from dsmip.service.options import ConfigError

from tests.unit.test_config import AGENT, changed

MAC = bytes.fromhex("020000000001")
LINK = Interface(7, "home", MAC)
HA6 = IPv6Address("2001:db8:1::1")
OLD, NEW = IPv6Network("2001:db8:1::/64"), IPv6Network("2001:db8:2::/64")
LOCAL = IPv6Address("fe80::ff:fe00:1")
MOBILE = Owner("bus-17", IPv6Address("2001:db8:1::100"))
HOST = replace(MOBILE, mobile_router=False)


def section(*owners: Owner, advertise: str = "router", **more: object) -> HomeAgentSection:
    lives = more.pop("lives", ())
    engine = HomeAgentConfig((HA6,), None, (OLD, NEW), owners, home_link=True, lives=lives)  # type: ignore[arg-type]
    return HomeAgentSection(engine, (), "home", advertise=advertise, **more)  # type: ignore[arg-type]


class Air:
    """The home link, the loop and the clock."""

    def __init__(self, first: HomeAgentSection) -> None:
        self.now = 100.0
        self.heard: list[tuple[float, RouterAdvertisement]] = []
        self.joined: list[int] = []
        self.asked: list[tuple[int, IPv6Address, bytes]] = []
        self.timer: tuple[float, Callable[[], None]] | None = None
        self.readable: Callable[[], None] | None = None
        self.service = HomeAdvertising(self, self, LINK, first)  # type: ignore[arg-type]
        self.service.start()

    # the loop
    def time(self) -> float:
        return self.now

    def call_at(self, at: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        self.timer = at, action
        return self  # type: ignore[return-value]

    def cancel(self) -> None:
        self.timer = None

    def add_reader(self, _descriptor: int, action: Callable[[], None]) -> None:
        self.readable = action

    def remove_reader(self, _descriptor: int) -> None:
        self.readable = None

    # the socket
    def fileno(self) -> int:
        return 9

    def join(self, interfaces: Iterable[int]) -> None:
        self.joined = list(interfaces)

    def send(self, interface: int, message: RouterAdvertisement) -> None:
        assert interface == LINK.index
        assert parse(bytes(build(message))) == message
        self.heard.append((self.now, message))

    def solicitations(self) -> list[tuple[int, IPv6Address, bytes]]:
        found, self.asked = self.asked, []
        return found

    def close(self) -> None:
        self.joined = []

    # what happens
    def run(self, seconds: float) -> Air:
        end = self.now + seconds
        while self.timer is not None and self.timer[0] <= end:
            self.now, action = self.timer
            self.timer = None
            action()
        self.now = end
        return self

    @property
    def last(self) -> RouterAdvertisement:
        return self.heard[-1][1]

    def option(self, kind: type[NdOption]) -> list[NdOption]:
        return [one for one in self.last.options if isinstance(one, kind)]


def prefixes(air: Air) -> dict[IPv6Address, PrefixInformation]:
    found = air.option(PrefixInformation)
    return {one.prefix: one for one in found if isinstance(one, PrefixInformation)}


@pytest.mark.spec("M-090", "N-056")
@pytest.mark.parametrize("advertise", ["router", "agent"])
def test_what_a_home_agent_tells(advertise: str) -> None:
    """H; its whole address with R in the prefix that it is from; its link-layer address."""
    air = Air(section(MOBILE, advertise=advertise, preference=20)).run(1)
    assert air.joined == [LINK.index]
    assert air.last.home_agent
    assert (air.last.lifetime > 0) is (advertise == "router")
    assert air.option(SourceLinkLayerAddress) == [SourceLinkLayerAddress(MAC)]
    told = prefixes(air)
    assert set(told) == {HA6, NEW.network_address}
    assert (told[HA6].router, told[HA6].prefix_length) == (True, 64)
    assert not told[NEW.network_address].router
    assert all(one.on_link and one.autonomous for one in told.values())
    assert all(one.valid_lifetime >= one.preferred_lifetime > 0 for one in told.values())
    (information,) = air.option(HomeAgentInformation)
    assert information == HomeAgentInformation(20, 600, mobile_router=True)


@pytest.mark.spec("M-091")
@pytest.mark.parametrize("owner", [MOBILE, HOST])
@pytest.mark.parametrize("preference", [0, 1, 65535])
@pytest.mark.parametrize("advertise", ["no", "router", "agent"])
def test_information_only_where_it_says_something(
    owner: Owner, preference: int, advertise: str
) -> None:
    """Never without H, never with lifetime 0; left out where it has the values of its absence."""
    air = Air(section(owner, advertise=advertise, preference=preference)).run(600)
    if advertise == "no":
        assert air.heard == []
        assert air.joined == []
        return
    for _, message in air.heard:
        found = [o for o in message.options if isinstance(o, HomeAgentInformation)]
        assert message.home_agent
        assert all(one.lifetime > 0 for one in found)
        plain = owner is HOST and not preference and advertise == "router"
        assert len(found) == (0 if plain else 1)


def test_another_home_agent_puts_it_into_its_list() -> None:
    air = Air(section(MOBILE, advertise="agent", preference=20)).run(1)
    own = ListedAgent(IPv6Address(0), 30, None, True, (OLD[2],))
    others = HomeAgentsList((OLD, NEW), own)
    assert others.heard(LOCAL, air.last, 1000.0) == "ra_agent"
    _, listed = others.listed(1001.0)
    assert (listed.addresses, listed.preference, listed.mobile_router) == ((HA6,), 20, True)
    # When it ends that is told, and the prefixes stay as they are for their hosts.
    air.service.retire()
    assert not air.last.home_agent
    assert air.last.lifetime == 0
    assert prefixes(air) == {}
    assert others.heard(LOCAL, air.last, 1002.0) == "ra_agent_gone"


@pytest.mark.spec("M-099")
def test_it_is_slow_by_default_and_answers_soon() -> None:
    air = Air(section(MOBILE)).run(3600)
    times = [at for at, _ in air.heard]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps[3:]) >= INTERVAL_LEAST
    before = len(air.heard)
    air.asked = [(LINK.index, LOCAL, bytes(build(RouterSolicitation())))]
    assert air.readable is not None
    air.readable()
    air.run(3.5)
    assert len(air.heard) == before + 1
    air.asked = [(LINK.index + 1, LOCAL, bytes(build(RouterSolicitation()))), (7, HA6, b"")]
    air.readable()
    assert air.service.counters["rs_elsewhere"] == air.service.counters["rs_malformed"] == 1


def test_prefixes_that_are_renumbered() -> None:
    """Lifetimes that count down do so here as well; those that do not are told as they are."""
    air = Air(section(MOBILE))
    lives = (HomePrefix(OLD, 100, 0, True, air.now), HomePrefix(NEW, 3000, 600))
    air.service.use(section(MOBILE, lives=lives))
    air.run(5)
    told = prefixes(air)
    assert (told[HA6].valid_lifetime, told[HA6].preferred_lifetime) == (100, 0)
    new = told[NEW.network_address]
    assert (new.valid_lifetime, new.preferred_lifetime) == (3000, 600)
    air.run(60)
    told = prefixes(air)
    assert told[HA6].valid_lifetime <= 100 - 30
    assert told[NEW.network_address].valid_lifetime == 3000


def test_a_change_is_told_at_once() -> None:
    air = Air(section(MOBILE)).run(100)
    before = len(air.heard)
    air.service.use(section(MOBILE))
    air.run(0)
    assert len(air.heard) == before
    air.service.use(section(MOBILE, preference=9))
    air.run(3)
    (information,) = air.option(HomeAgentInformation)
    assert information == HomeAgentInformation(9, 600, mobile_router=True)
    air.service.use(section(MOBILE, advertise="no"))
    assert air.joined == []
    before = len(air.heard)
    air.run(1000)
    assert len(air.heard) == before
    air.service.stop()
    assert air.readable is None


def test_it_is_configured() -> None:
    for given, expected in (("router", "router"), ("agent", "agent"), ("no", "no")):
        agent = read(changed(AGENT, "home_agent.advertise", given)).home_agent
        assert agent is not None
        assert agent.advertise == expected
    plain = read(AGENT).home_agent
    assert plain is not None
    assert plain.advertise == "no"
    with pytest.raises(ConfigError, match='one of "no", "agent", "router"'):
        read(changed(AGENT, "home_agent.advertise", True))
    virtual = changed(changed(AGENT, "home_agent.interface", None), "home_agent.advertise", "agent")
    with pytest.raises(ConfigError, match="only a physical home link hears it"):
        read(virtual)
