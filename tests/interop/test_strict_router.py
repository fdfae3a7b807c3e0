# SPDX-License-Identifier: GPL-2.0-only
"""Route optimisation and discovery: our messages strictly read, scapy's answers taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.config import HomePrefix
from dsmip.mobility.correspondent_list import Phase
from dsmip.mobility.discovery import (
    AgentDiscovery,
    AgentFinder,
    DiscoveryConfig,
    DiscoveryEffect,
    HomeAgentsFound,
    IcmpReceived,
    SendIcmp,
)
from dsmip.mobility.effects import SendMessage
from dsmip.mobility.prefix_discovery import PrefixAdvertiser, PrefixConfig
from dsmip.mobility.renumbering import HomePrefixes, PrefixDiscovery
from dsmip.packet import icmp6
from dsmip.packet.careof import CareOf
from dsmip.packet.extension import build_home_address, build_routing
from scapy.packet import Packet

from tests.interop import strict_sender as make
from tests.interop.judge import ICMP6, ipv6
from tests.interop.strict import AUTHORIZATION, NONCES, Frame, clean, read
from tests.interop.test_strict_engines import on_the_wire, taken
from tests.unit.optimising import AT_HOME, CN, COA, COA2, HA6, HOA, Pair, away
from tests.unit.roaming import World, uplink6

HOME, CORRESPONDENT, CARE_OF, AGENT = str(HOA), str(CN), str(COA), str(HA6)
TOKENS = bytes(range(8)), bytes(range(8, 16))


def frames(pair: Pair, who: str) -> list[Frame]:
    """Return all that one of them has sent, each without fault."""
    sent = [e for _, by, e in pair.effects if by == who and isinstance(e, SendMessage)]
    return [clean(on_the_wire(effect, CORRESPONDENT)) for effect in sent]


@pytest.mark.spec("M-180", "M-184")
def test_everything_that_is_sent_on_the_direct_way() -> None:
    """Tests, updates, refreshes, a movement, home again: both ends."""
    pair = Pair().bound()
    for _ in range(4):
        pair.packets["mr"] += 100
        pair.packets["cn"] += 100
        pair.run(200)
    pair.attach(away(COA2))
    pair.run(5)
    pair.attach(AT_HOME)
    pair.run(5)
    found = frames(pair, "mr")
    names = [frame.name for frame in found]
    assert set(names) == {"HoTI", "CoTI", "BU"}
    assert names.count("BU") > 4
    for frame in found:
        assert (frame.destination, frame.wire_destination) == (CORRESPONDENT, CORRESPONDENT)
        if frame.name == "CoTI":
            assert frame.source in (CARE_OF, str(COA2))
        else:
            assert frame.source == HOME
    numbers = [frame.fields["sequence"] for frame in found if frame.name == "BU"]
    assert len(set(numbers)) == len(numbers)
    last = found[-1]
    assert (last.name, last.fields["lifetime"], last.headers) == ("BU", 0, [])
    assert {frame.name for frame in frames(pair, "cn")} >= {"HoT", "CoT", "BA"}


class ByHand:
    """Our router; its correspondent is scapy."""

    def __init__(self) -> None:
        self.pair = Pair(lost=lambda _who, _effect: True)
        self.pair.attach(away())
        self.pair.speak()

    def last(self, name: str) -> Frame:
        return [frame for frame in frames(self.pair, "mr") if frame.name == name][-1]

    def give(self, packet: Packet, tunnelled: bool = False) -> None:
        """Give the router a packet; ``tunnelled``: it came from the home agent."""
        received = taken(packet, protected=False)
        frame = read(bytes(packet))
        if tunnelled:
            received = replace(received, care_of=CareOf(HA6))
        elif frame.routing:
            received = replace(received, care_of=CareOf(IPv6Address(frame.wire_destination)))
        self.pair.carry("mr", self.pair.mr.receive(received, self.pair.now))

    def cookie(self, name: str) -> bytes:
        return self.last(name).fields["cookie"].to_bytes(8, "big")

    def home_test(self, cookie: bytes | None = None, tunnelled: bool = True) -> None:
        test = make.home_test(7, cookie or self.cookie("HoTI"), TOKENS[0])
        self.give(make.straight(CORRESPONDENT, HOME, test), tunnelled)

    def care_of_test(self, cookie: bytes | None = None, care_of: str = CARE_OF) -> None:
        test = make.care_of_test(8, cookie or self.cookie("CoTI"), TOKENS[1])
        self.give(make.straight(CORRESPONDENT, care_of, test))

    def updates(self) -> list[Frame]:
        return [frame for frame in frames(self.pair, "mr") if frame.name == "BU"]

    def acknowledge(
        self, status: int, sequence: int, key: bytes, more: Sequence[Packet] = ()
    ) -> None:
        answer = make.correspondent_acknowledgement(
            status, sequence, 100, key, CARE_OF, CORRESPONDENT, more
        )
        self.give(make.towards(CORRESPONDENT, CARE_OF, HOME, answer))


KEY = make.management_key(*TOKENS)


@pytest.mark.spec("M-183")
def test_scapy_as_the_correspondent() -> None:
    hand = ByHand()
    hand.home_test()
    assert hand.updates() == []
    hand.care_of_test()
    (update,) = hand.updates()
    assert update.option(NONCES) == bytes((0, 7, 0, 8))
    assert update.option(AUTHORIZATION) is not None
    assert (update.home, update.wire_source) == (HOME, CARE_OF)
    assert make.authorized(KEY, CARE_OF, CORRESPONDENT, update.message)
    hand.acknowledge(0, update.fields["sequence"], KEY)
    state = hand.pair.state()
    assert (state.phase, state.direct) == (Phase.BOUND, True)


@pytest.mark.spec("M-159", "M-182")
def test_what_of_scapys_the_router_ignores() -> None:
    """Home Tests that came straight, other cookies, acknowledgements that nothing signs."""
    hand = ByHand()
    hand.home_test(tunnelled=False)
    hand.home_test(cookie=bytes(8))
    hand.care_of_test(cookie=bytes(8))
    hand.care_of_test(care_of=str(COA2))
    hand.care_of_test()
    assert hand.updates() == []
    hand.home_test()
    (update,) = hand.updates()
    sequence = update.fields["sequence"]
    hand.acknowledge(0, sequence, make.management_key(TOKENS[0]))
    hand.acknowledge(0, sequence + 1 & 0xFFFF, KEY)
    bare = make.acknowledgement(0, sequence, 100)
    hand.give(make.towards(CORRESPONDENT, CARE_OF, HOME, bare))
    assert not hand.pair.state().direct
    hand.acknowledge(0, sequence, KEY)
    assert hand.pair.state().direct


@pytest.mark.spec("M-163")
def test_refresh_advice_of_a_correspondent_is_ignored() -> None:
    """What is planned after an answer is the same with it as without."""
    plans = []
    for more in ([], [make.refresh_advice(1)]):
        hand = ByHand()
        hand.home_test()
        hand.care_of_test()
        hand.acknowledge(0, hand.updates()[0].fields["sequence"], KEY, more)
        state = hand.pair.state()
        assert (state.phase, state.lifetime) == (Phase.BOUND, 400)
        plans.append(hand.pair.mr.next_timer())
    assert plans[0] == plans[1]
    assert plans[0] > 1000 + 100


# --- discovery -------------------------------------------------------------------------------


PREFIX = IPv6Network("2001:db8:1::/64")
ANYCAST = "2001:db8:1:0:fdff:ffff:ffff:fffe"
AGENTS = [AGENT, "2001:db8:1::2", "2001:db8:1::3"]


def icmp(effects: list[DiscoveryEffect]) -> list[Frame]:
    """Return the ICMPv6 messages among the effects, each without fault."""
    found = []
    for effect in effects:
        if isinstance(effect, SendIcmp):
            octets = icmp6.build(effect.message, effect.source, effect.destination)
            found.append(clean(ipv6(effect.source, effect.destination, octets, ICMP6)))
    return found


def icmp_taken(packet: Packet) -> IcmpReceived:
    frame = read(bytes(packet))
    source, destination = IPv6Address(frame.source), IPv6Address(frame.destination)
    return IcmpReceived(frame.message, source, destination, 2)


@pytest.mark.spec("M-093")
@pytest.mark.parametrize("router", [0, 1])
def test_requests_of_scapy(router: int) -> None:
    agent = AgentDiscovery(DiscoveryConfig((HA6,), (PREFIX,)), random.Random(1))
    request = make.straight(CARE_OF, ANYCAST, make.address_request(0x1234, router))
    (frame,) = icmp(agent.receive(icmp_taken(request), 0.0))
    assert (frame.name, frame.fields["identifier"]) == ("HAAD reply", 0x1234)
    assert (frame.wire_source, frame.wire_destination) == (AGENT, CARE_OF)
    assert frame.addresses == [AGENT]
    assert frame.fields["flags"] == router * 0x8000
    for other in (
        make.straight(CARE_OF, AGENT, make.address_request(1)),
        make.straight(CARE_OF, ANYCAST, make.address_reply(1, AGENTS)),
        make.straight(CARE_OF, ANYCAST, make.prefix_solicitation(1)),
    ):
        assert icmp(agent.receive(icmp_taken(other), 0.0)) == []


def test_replies_of_scapy() -> None:
    finder = AgentFinder(PREFIX, mobile_router=False, chance=random.Random(2))
    (frame,) = icmp(finder.start(COA, 2, 0.0))
    assert (frame.name, frame.wire_source, frame.wire_destination) == (
        "HAAD request",
        CARE_OF,
        ANYCAST,
    )
    identifier = frame.fields["identifier"]
    for wrong in (identifier ^ 1, identifier + 1 & 0xFFFF):
        reply = make.straight(AGENT, CARE_OF, make.address_reply(wrong, AGENTS))
        effects = finder.receive(icmp_taken(reply), 1.0)
        assert not [e for e in effects if isinstance(e, HomeAgentsFound)]
    reply = make.straight(AGENT, CARE_OF, make.address_reply(identifier, AGENTS))
    (found,) = [e for e in finder.receive(icmp_taken(reply), 1.0) if isinstance(e, HomeAgentsFound)]
    assert [str(address) for address in found.addresses] == AGENTS


# --- prefix discovery ------------------------------------------------------------------------


def away_from_home(effects: Sequence[object]) -> list[Frame]:
    """Return ICMPv6 messages as they leave hosts between a care-of address and the agent."""
    found = []
    for effect in effects:
        if not isinstance(effect, SendIcmp):
            continue
        source, destination = effect.source, effect.destination
        octets = icmp6.build(effect.message, source, destination)
        if source == HA6:
            header, wire = build_routing(destination, ICMP6), (HA6, COA)
        else:
            header, wire = build_home_address(source, ICMP6), (COA, destination)
        found.append(clean(ipv6(*wire, header + octets, 43 if source == HA6 else 60)))
    return found


def test_prefix_solicitations_of_scapy() -> None:
    world = World()
    world.plug(uplink6())
    world.run(2)
    lives = (HomePrefix(PREFIX, 600, 300), HomePrefix(IPv6Network("2001:db8:2::/64"), 7200, 0))
    agent = PrefixAdvertiser(PrefixConfig(lives), world.ha.entries, random.Random(3))
    packet = make.away(CARE_OF, AGENT, HOME, make.prefix_solicitation(0x4321))
    asked = replace(icmp_taken(packet), care_of=CareOf(COA))
    assert away_from_home(agent.receive(asked, 0.0)) == []
    (frame,) = away_from_home(agent.receive(replace(asked, protected=True), 0.0))
    assert (frame.name, frame.fields["identifier"]) == ("MPA", 0x4321)
    assert (frame.wire_source, frame.wire_destination, frame.routing) == (AGENT, CARE_OF, HOME)
    assert [data[14:] for _, data in frame.options] == [
        life.prefix.network_address.packed for life in lives
    ]


@pytest.mark.spec("M-172", "M-173")
def test_prefix_advertisements_of_scapy() -> None:
    """Only the answer to what was asked, under IPsec, from the home agent."""
    router = PrefixDiscovery(HOA, PREFIX, chance=random.Random(5))
    (frame,) = away_from_home(router.solicit(HOA, HA6, 0.0))
    assert (frame.name, frame.home, frame.wire_source) == ("MPS", HOME, CARE_OF)
    identifier = frame.fields["identifier"]

    def told(number: int, source: str = AGENT, protected: bool = True) -> list[object]:
        message = make.prefix_advertisement(number & 0xFFFF, "2001:db8:2::", 7200, 3600)
        packet = icmp_taken(make.towards(source, CARE_OF, HOME, message))
        effects = router.receive(replace(packet, protected=protected), HOA, HA6, 1.0)
        return [e for e in effects if isinstance(e, HomePrefixes)]

    assert told(identifier + 1) == []
    assert told(identifier, protected=False) == []
    assert told(identifier, source="2001:db8:1::2") == []
    (found,) = told(identifier)
    assert IPv6Network("2001:db8:2::/64") in {prefix for _, prefix, _ in found.addresses}
    # The same again is an unsolicited one: asked about, not taken.
    assert told(identifier) == []
