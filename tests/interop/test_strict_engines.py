# SPDX-License-Identifier: GPL-2.0-only
"""Our engines against packets of scapy's, and their packets before the strict reader.

What the module does on a host, between wire and home form, is done here by hand:
in by the strict reader, out by ``on_the_wire``.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from dsmip.mobility.effects import Effect, Received, SendMessage, SendParameterProblem
from dsmip.mobility.mobile_router import State
from dsmip.packet import extension
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.mobility import Heartbeat, build
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet, Raw

from tests.interop import strict_sender as make
from tests.interop.judge import ipv6
from tests.interop.strict import IDENTIFIER, NAT, REFRESH, Frame, clean, read
from tests.unit.roaming import (
    COA4,
    COA6,
    COA6B,
    HA4,
    HA6,
    HOA,
    INSIDE4,
    MR_CONFIG,
    NAT4,
    NET6,
    TRAM,
    World,
    uplink4,
    uplink6,
)

HOME, AGENT, CARE_OF, OTHER = str(HOA), str(HA6), str(COA6), str(COA6B)
CORRESPONDENT = "2001:db8:c::2"
COOKIE, TOKEN = bytes(range(8)), bytes(range(8, 16))
V6 = IPv6Address
PREFIX = [(str(NET6.network_address), NET6.prefixlen)]


def on_the_wire(effect: SendMessage, agent: str = str(HA6)) -> bytes:
    """Return the packet that leaves a host, without ESP; ``agent`` has others' bindings."""
    source, destination, care_of = effect.source, effect.destination, effect.care_of
    octets = build(effect.message, source, destination)
    if care_of is None:
        return ipv6(source, destination, octets)
    if isinstance(care_of.address, IPv4Address):
        inner = ipv6(source, destination, octets)
        there, back = str(care_of.address), str(HA4)
        pair = (back, there) if source == V6(agent) else (there, back)
        ports = (4191, care_of.port or 4191)
        if source != V6(agent):
            ports = ports[::-1]
        outer = IP(src=pair[0], dst=pair[1]) / UDP(sport=ports[0], dport=ports[1])
        return bytes(outer / Raw(inner))
    if source == V6(agent):
        return ipv6(source, care_of.address, extension.build_routing(destination, 135) + octets, 43)
    return ipv6(
        care_of.address, destination, extension.build_home_address(source, 135) + octets, 60
    )


def taken(packet: Packet, protected: bool = True) -> Received:
    """Return what an engine gets of a packet."""
    frame = read(bytes(packet))
    care_of = None
    if frame.outer:
        care_of = CareOf(ip_address(frame.outer[1]), WireKind.UDP4, frame.outer[0])
    elif frame.home:
        care_of = CareOf(V6(frame.wire_source))
    return Received(frame.message, V6(frame.source), V6(frame.destination), care_of, 1, protected)


def to_agent(world: World, packet: Packet, protected: bool = True) -> list[Frame]:
    """Give the home agent a packet; return its answers, each without fault."""
    effects = world.ha.receive(taken(packet, protected), world.now)
    world.carry("ha", effects)
    return answers(effects)


def answers(effects: list[Effect]) -> list[Frame]:
    return [clean(on_the_wire(e)) for e in effects if isinstance(e, SendMessage)]


# --- the home agent ------------------------------------------------------------------------


UPDATES: dict[str, tuple[Packet, int]] = {
    "a mobile node": (make.home_update(1, CARE_OF), 0),
    "a mobile router": (make.home_update(1, CARE_OF, flags="AHR", prefixes=PREFIX), 0),
    "in implicit mode": (make.home_update(1, CARE_OF, flags="AHR"), 0),
    "without A": (make.home_update(1, CARE_OF, flags="H"), 0),
    "with L and K": (make.home_update(1, CARE_OF, flags="AHLK"), 0),
    "without an alternate": (make.home_update(1, None), 0),
    "another alternate": (make.home_update(1, OTHER), 0),
    "an option that nobody knows": (
        make.home_update(1, CARE_OF, more=[make.strange_option(200, 5)]),
        0,
    ),
    "reserved bits": (make.home_update(1, CARE_OF, res=0xFF, reserved=0x3F), 0),
    "another's prefix": (
        make.home_update(
            1, CARE_OF, flags="AHR", prefixes=[(str(TRAM.prefixes[0].network_address), 56)]
        ),
        142,
    ),
    "R without H": (make.home_update(1, CARE_OF, flags="AR"), 140),
    "an impossible care-of address": (make.home_update(1, "ff02::1"), 174),
    "nothing to remove": (make.home_update(1, CARE_OF, lifetime=0), 133),
}


@pytest.mark.spec("M-005", "M-007", "M-037", "M-041", "M-071")
@pytest.mark.parametrize("name", UPDATES)
def test_updates_of_scapy(name: str) -> None:
    message, status = UPDATES[name]
    world = World()
    (frame,) = to_agent(world, make.away(CARE_OF, AGENT, HOME, message))
    assert frame.name == "BA"
    assert (frame.fields["status"], frame.fields["sequence"]) == (status, 1)
    assert (frame.wire_source, frame.wire_destination, frame.routing) == (AGENT, CARE_OF, HOME)
    assert frame.headers == ["routing"]
    bound = world.ha.bindings(world.now)
    assert [v.care_of.address for v in bound] == (
        [V6(OTHER if name == "another alternate" else CARE_OF)] if status == 0 else []
    )
    if status == 0:
        assert 0 < frame.fields["lifetime"] <= 30
        assert frame.option(REFRESH) is not None
    else:
        assert frame.options == []


@pytest.mark.spec("M-031", "M-032", "M-072")
def test_a_binding_of_scapys_from_first_to_last() -> None:
    world = World()

    def send(sequence: int, lifetime: int = 30, flags: str = "AHR") -> Frame:
        message = make.home_update(sequence, CARE_OF, lifetime=lifetime, flags=flags)
        (frame,) = to_agent(world, make.away(CARE_OF, AGENT, HOME, message))
        return frame

    assert send(65535).fields["status"] == 0
    for sequence in (65535, 65534, 32767):
        old = send(sequence)
        assert (old.fields["status"], old.fields["sequence"]) == (135, 65535)
    assert send(0).fields["status"] == 0
    assert send(1, flags="AH").fields["status"] == 139
    # Home again: from the home link, neither option nor routing header, either way.
    gone = make.straight(HOME, AGENT, make.home_update(2, None, lifetime=0, flags="AHR"))
    (frame,) = to_agent(world, gone)
    assert (frame.fields["status"], frame.fields["lifetime"]) == (0, 0)
    assert (frame.headers, frame.wire_destination, frame.options) == ([], HOME, [])
    assert not world.ha.bindings(world.now)


@pytest.mark.spec("D-041", "D-042", "D-043")
@pytest.mark.parametrize(("outside", "inside", "nat"), [(COA4, COA4, False), (NAT4, INSIDE4, True)])
def test_updates_of_scapy_in_udp(outside: IPv4Address, inside: IPv4Address, nat: bool) -> None:
    world = World()
    message = make.home_update(1, None, more=[make.care_of4(str(inside))])
    packet = make.in_udp(str(outside), str(HA4), make.straight(HOME, AGENT, message), 40321)
    effects = world.ha.receive(taken(packet), world.now)
    (sent,) = [e for e in effects if isinstance(e, SendMessage)]
    octets = on_the_wire(sent)
    outer = IP(octets)
    assert (outer.src, outer.dst) == (str(HA4), str(outside))
    assert (outer[UDP].sport, outer[UDP].dport) == (4191, 40321)
    frame = clean(octets)
    assert (frame.name, frame.fields["status"], frame.headers) == ("BA", 0, [])
    option = frame.option(NAT)
    assert option is not None
    assert (option[2:] != b"\xff\xff\xff\xff") is nat


@pytest.mark.spec("M-034", "M-060")
def test_what_of_scapys_the_home_agent_ignores() -> None:
    """Messages that are not for it, and an update in clear: nothing comes back."""
    world = World()
    key = make.management_key(TOKEN, COOKIE)
    both = make.correspondent_update(
        1, key, CARE_OF, AGENT, home_index=1, care_of_index=2, flags="AH"
    )
    for packet in (
        make.straight(CORRESPONDENT, AGENT, make.refresh_request()),
        make.straight(CORRESPONDENT, AGENT, make.home_test(1, COOKIE, TOKEN)),
        make.straight(CORRESPONDENT, AGENT, make.care_of_test(1, COOKIE, TOKEN)),
        make.straight(CORRESPONDENT, AGENT, make.acknowledgement(0, 1, 30)),
        make.straight(CORRESPONDENT, AGENT, make.binding_error(1, HOME)),
        make.away(CARE_OF, AGENT, HOME, both),
    ):
        assert to_agent(world, packet) == []
    clear = make.away(CARE_OF, AGENT, HOME, make.home_update(1, CARE_OF))
    assert to_agent(world, clear, protected=False) == []
    assert not world.ha.bindings(world.now)


@pytest.mark.spec("M-002", "M-008")
def test_types_that_nobody_knows() -> None:
    world = World()
    for source, packet in (
        (CARE_OF, make.away(CARE_OF, AGENT, HOME, make.unknown(200))),
        (CORRESPONDENT, make.straight(CORRESPONDENT, AGENT, make.unknown(99))),
    ):
        # The strict reader does not know them either, so they go in by hand.
        frame = Frame(wire_source=source, home=HOME if source == CARE_OF else None)
        octets = bytes(packet)[-8:]
        care_of = CareOf(V6(source)) if frame.home else None
        received = Received(octets, V6(frame.source), HA6, care_of, 1, False)
        (frame,) = answers(world.ha.receive(received, world.now))
        assert (frame.name, frame.fields["status"]) == ("BE", 2)
        home = int(HOA) if source == CARE_OF else 0
        assert frame.fields["home_address"] == home
        assert (frame.headers, frame.wire_destination) == ([], source)


@pytest.mark.spec("M-003", "M-004")
@pytest.mark.parametrize(("field", "pointer"), [({"nh": 6}, 0), ({"len": 0}, 1)])
def test_headers_that_get_a_parameter_problem(field: dict[str, int], pointer: int) -> None:
    world = World()
    message = make.home_update(1, CARE_OF, **field)
    effects = world.ha.receive(
        replace(taken(make.away(CARE_OF, AGENT, HOME, make.home_update(1, CARE_OF))),
                data=bytes(make.away(CARE_OF, AGENT, HOME, message))[64:]),
        world.now,
    )  # fmt: skip
    (problem,) = [e for e in effects if isinstance(e, SendParameterProblem)]
    assert (problem.code, problem.pointer) == (0, pointer)


# --- the mobile router -----------------------------------------------------------------------


def frames(world: World) -> list[Frame]:
    """Return all that the router sent, each without fault."""
    return said(world, "mr")


def said(world: World, who: str) -> list[Frame]:
    """Return what one of them sent but heartbeats, of which RFC 6275 does not know."""
    sent = [e for by, e in world.effects if by == who and isinstance(e, SendMessage)]
    return [clean(on_the_wire(e)) for e in sent if not isinstance(e.message, Heartbeat)]


ALL_NETWORKS = [
    uplink6(),
    uplink4(),
    uplink4("wan2", 4, INSIDE4),
    uplink6("wan3", 5, COA6B),
    uplink6("eth9", 9, HOA + 5, at_home=True),
    uplink6(),
]


@pytest.mark.spec("M-140", "M-150", "D-004", "D-005", "N-002")
@pytest.mark.parametrize(
    "config",
    [
        MR_CONFIG,
        replace(MR_CONFIG, explicit=False),
        replace(MR_CONFIG, prefixes=(), home_address4=None),
        replace(MR_CONFIG, force_udp=True, home_address4=None, request_home_address4=True),
        replace(MR_CONFIG, key_mobility=True, lifetime=40),
    ],
    ids=["explicit", "implicit", "mobile node", "forced UDP", "K"],
)
def test_everything_that_a_router_sends_on_a_tour(config) -> None:  # type: ignore[no-untyped-def]
    world = World(mr_config=config)
    for uplink in ALL_NETWORKS:
        world.plug(uplink)
        world.run(700)
    world.carry("mr", world.mr.stop(world.now, deregister=True))
    found = frames(world)
    assert len(found) > 8
    assert {frame.name for frame in found} == {"BU"}
    assert {frame.source for frame in found} == {HOME}
    assert {frame.destination for frame in found} == {AGENT}
    away = [frame for frame in found if frame.home]
    assert {frame.wire_source for frame in away} == {CARE_OF, OTHER}
    assert {frame.outer[1] for frame in found if frame.outer} == {str(COA4), str(INSIDE4)}
    home = [frame for frame in found if not frame.home and not frame.outer]
    assert [frame.fields["lifetime"] for frame in home] == [0]
    assert found[-1].fields["lifetime"] == 0
    router = bool(config.prefixes)
    assert all(bool(frame.fields["flags"] & 0x0400) is router for frame in found)
    # What the home agent said on the way is without fault too.
    assert {frame.name for frame in said(world, "ha")} == {"BA"}


@pytest.mark.spec("X-003", "D-080", "X-018")
def test_everything_that_a_router_with_several_uplinks_sends() -> None:
    world = World(mr_config=replace(MR_CONFIG, several=True))
    for uplinks in (
        (uplink6(),),
        (uplink6(), uplink4("wan2", 4, INSIDE4)),
        (uplink6(), uplink4("wan2", 4, INSIDE4), uplink6("wan3", 5, COA6B)),
        (uplink4("wan2", 4, INSIDE4), uplink6("wan3", 5, COA6B)),
        (uplink6("eth9", 9, HOA + 5, at_home=True),),
        (uplink4(), uplink6()),
    ):
        world.plug(*uplinks)
        world.run(700)
    found = frames(world)
    assert {frame.name for frame in found} == {"BU"}
    assert any(frame.option(IDENTIFIER) for frame in found)
    assert {frame.wire_source for frame in found if frame.home} == {CARE_OF, OTHER}
    answers = said(world, "ha")
    assert {frame.name for frame in answers} == {"BA"}
    assert any(frame.option(IDENTIFIER) for frame in answers)


def to_router(world: World, packet: Packet, protected: bool = True) -> None:
    world.carry("mr", world.mr.receive(taken(packet, protected), world.now))


@pytest.mark.spec("M-157", "M-159", "M-160")
def test_acknowledgements_of_scapy() -> None:
    world = World(loss=1.0)
    world.plug(uplink6())
    sequence = frames(world)[-1].fields["sequence"]

    def answer(status: int, number: int, lifetime: int, protected: bool = True) -> None:
        message = make.acknowledgement(status, number & 0xFFFF, lifetime, flags="R")
        to_router(world, make.towards(AGENT, CARE_OF, HOME, message), protected)

    answer(0, sequence + 1, 30)
    answer(0, sequence, 30, protected=False)
    assert world.mr.registration(world.now).state is State.REGISTERING
    answer(135, 0x7000, 0)
    assert frames(world)[-1].fields["sequence"] == 0x7001
    answer(0, 0x7001, 30)
    view = world.mr.registration(world.now)
    assert (view.state, view.remaining) == (State.REGISTERED, 120)


def test_requests_and_errors_of_scapy() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    for packet, protected, expected in (
        (make.straight(AGENT, HOME, make.refresh_request()), True, 1),
        (make.straight(AGENT, CARE_OF, make.binding_error(1, HOME)), False, 1),
        (make.straight(CORRESPONDENT, CARE_OF, make.binding_error(1, HOME)), False, 0),
        (make.straight(CORRESPONDENT, HOME, make.refresh_request()), False, 0),
        (make.straight(AGENT, HOME, make.refresh_request()), False, 0),
    ):
        world.run(2)
        world.effects.clear()
        to_router(world, packet, protected)
        assert len(frames(world)) == expected
