# SPDX-License-Identifier: GPL-2.0-only
"""Home form: what the wire shows of signalling, and what sockets and ESP see."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.ipsec.policy import DirectionKeys
from dsmip.packet.careof import CareOf, WireKind

from tests.lab.kmodlib import N, ip_batch, path
from tests.lab.kmodnet import (
    CN,
    COA,
    COA4,
    HA,
    HA4,
    HOME,
    LAN,
    PORT,
    STRANGER,
    STRANGER4,
    World,
    care_of_header,
    datagram,
    esp_seal,
    home_address_header,
    ip4,
    ip6,
    mobility,
    path_at_agent,
    path_at_router,
    reaches,
    routing2_header,
    udp,
)

pytest_plugins = ["tests.lab.kmodfixtures"]

BU, BA = mobility(HOME, HA, 5), mobility(HA, HOME, 6)
KIND = {"ip6": WireKind.IP6, "ip4": WireKind.IP4, "udp4": WireKind.UDP4}
ESP, MH, DST, ROUTING = 50, 135, 60, 43


def raw6(address: str) -> bytes:
    return IPv6Address(address).packed


def esp_on_both(world: World) -> None:
    """Static transport SAs between home address and agent, as RFC 3776 has them."""
    keys = f"auth hmac(sha256) 0x{'11' * 32} enc cbc(aes) 0x{'22' * 16}"
    rows = []
    for source, destination, spi in ((HOME, HA, 0x100), (HA, HOME, 0x200)):
        rows.append(
            f"xfrm state add src {source} dst {destination} proto esp spi {spi} reqid 1 "
            f"mode transport {keys}"
        )
    for ns, out, back in ((world.mr, HOME, HA), (world.ha, HA, HOME)):
        policies = [
            f"xfrm policy add src {out} dst {back} proto 135 dir out "
            f"tmpl src {out} dst {back} proto esp reqid 1 mode transport",
            f"xfrm policy add src {back} dst {out} proto 135 dir in "
            f"tmpl src {back} dst {out} proto esp reqid 1 mode transport",
        ]
        ip_batch(ns, "\n".join(rows + policies))


def at_router(kind: str) -> CareOf:
    """Return what the router's daemon says: send from this care-of address."""
    return CareOf(IPv6Address(COA) if kind == "ip6" else IPv4Address(COA4), KIND[kind])


@pytest.mark.spec("M-024", "M-041", "M-063", "M-113")
@pytest.mark.parametrize("esp", [True, False])
@pytest.mark.parametrize("kind", ["ip6", "udp4", "ip4"])
def test_registration(world: World, kind: str, esp: bool) -> None:
    """A first update, and its answer, without any binding at the agent."""
    world.bind_router(path_at_router(kind))
    if esp:
        esp_on_both(world)
    seen = world.capture(world.core, "tomr")
    router = world.mobility_socket(world.mr, HOME)
    agent = world.mobility_socket(world.ha, HA)
    upper = ESP if esp else MH

    with world.agent.counting(), world.router.counting():
        router.send(HA, BU, at_router(kind))
        got = agent.get()
        assert got is not None
        message, source, care_of = got
        assert (message, source) == (BU, HOME)
        assert care_of is not None
        if kind == "ip6":
            assert care_of.address == IPv6Address(COA)
            assert care_of.kind == WireKind.IP6
        else:
            assert care_of.address == IPv4Address(COA4)
            assert care_of.kind == KIND[kind]
            assert care_of.port == (PORT if kind == "udp4" else 0)
            assert care_of.interface > 0

        # The agent names in its answer what it read in the question.
        agent.send(HOME, BA, care_of)
        got = router.get()
        assert got is not None
        message, source, back = got
        assert (message, source) == (BA, HA)
        assert back is not None
        ours = IPv6Address(COA) if kind == "ip6" else IPv4Address(HA4)
        assert back.address == ours

    there, answer = [p for p in seen.packets() if len(p) > 60 and p[6:7] != b"\x3a"]
    assert bytes((0x1E, 24)) + bytes(16) not in there + answer
    if kind == "ip6":
        assert there[6] == DST
        assert (there[8:24], there[24:40]) == (raw6(COA), raw6(HA))
        assert there[40:64] == home_address_header(HOME, upper)
        assert answer[6] == ROUTING
        assert (answer[8:24], answer[24:40]) == (raw6(HA), raw6(COA))
        assert answer[40:64] == routing2_header(HOME, upper)
    else:
        at = 28 if kind == "udp4" else 20
        assert there[9] == answer[9] == (17 if kind == "udp4" else 41)
        assert there[at + 6] == answer[at + 6] == upper
        assert there[at + 8 : at + 40] == raw6(HOME) + raw6(HA)
        assert answer[at + 8 : at + 40] == raw6(HA) + raw6(HOME)
        assert there[12:20] == socket.inet_aton(COA4) + socket.inet_aton(HA4)
        assert answer[12:20] == socket.inet_aton(HA4) + socket.inet_aton(COA4)


@pytest.mark.parametrize("kind", ["ip6", "udp4", "ip4"])
def test_active_path(world: World, kind: str) -> None:
    """An option without a kind means the binding's active path."""
    world.bind(kind)
    router = world.mobility_socket(world.mr, HOME)
    agent = world.mobility_socket(world.ha, HA)
    anywhere = CareOf(IPv6Address("::"), WireKind.ANY)
    router.send(HA, BU, anywhere)
    got = agent.get()
    assert got is not None
    assert got[2] is not None
    assert str(got[2].address) == (COA if kind == "ip6" else COA4)
    agent.send(HOME, BA, anywhere)
    got = router.get()
    assert got is not None
    assert got[0] == BA


@pytest.mark.spec("D-042")
def test_answer_to_another_port(world: World) -> None:
    """The agent's answer goes where the option says, whatever the binding knows."""
    world.bind_agent(path_at_agent("udp4"))
    agent = world.mobility_socket(world.ha, HA)
    seen = world.capture(world.core, "toha")
    agent.send(HOME, BA, CareOf(IPv4Address("198.18.0.9"), WireKind.UDP4, 40123))
    sent = seen.find(lambda p: p[0] >> 4 == 4 and p[9] == 17)
    assert sent[12:20] == socket.inet_aton(HA4) + socket.inet_aton("198.18.0.9")
    assert sent[20:24] == PORT.to_bytes(2, "big") + (40123).to_bytes(2, "big")
    assert sent[26:28] == bytes(2)  # no UDP checksum


def test_option_never_leaves(world: World) -> None:
    """What cannot be converted is dropped and counted."""
    world.bind_router(path_at_router("ip6"))
    agent = world.mobility_socket(world.ha, HA)
    router = world.mobility_socket(world.mr, HOME)
    seen = world.capture(world.core, "toha")
    seen2 = world.capture(world.core, "tomr")
    bad = [
        CareOf(IPv6Address("::"), WireKind.ANY),  # no binding here
        CareOf(IPv6Address("fe80::1"), WireKind.IP6),
        CareOf(IPv6Address("ff02::1"), WireKind.IP6),
        CareOf(IPv6Address("::1"), WireKind.IP6),
        CareOf(IPv4Address("224.0.0.1"), WireKind.UDP4),
        CareOf(IPv4Address("0.0.0.0"), WireKind.UDP4),
        CareOf(IPv6Address(COA), WireKind.UDP4),
    ]
    with world.agent.counting(tx_no_path=len(bad)):
        for care_of in bad:
            with pytest.raises(PermissionError):  # as of any packet that a hook refuses
                agent.send(HOME, BA, care_of)
    with world.router.counting(tx_no_path=1):
        # The router has no path of IPv4, so it knows no agent to send to.
        router.send(HA, BU, CareOf(IPv4Address(COA4), WireKind.UDP4))
    shown = [p for p in seen.packets() + seen2.packets() if b"\x1e\x10" in p or b"\x1e\x18" in p]
    assert not shown


@pytest.mark.parametrize("upper", [ESP, MH, 17])
def test_forged_option(world: World, upper: int) -> None:
    """Nobody outside may say where a message came from."""
    world.bind("udp4")
    agent = world.mobility_socket(world.ha, HA)
    outsider = world.injector(world.core)
    forged = CareOf(IPv4Address(STRANGER4), WireKind.UDP4, 99)
    body = {ESP: bytes(64), MH: BU, 17: udp(HOME, HA, 1, 9000, b"x")}[upper]
    inner = ip6(HOME, HA, DST, care_of_header(upper, forged) + body)
    short = ip6(HOME, HA, DST, bytes((upper, 2, 1, 2, 0, 0, 0x1E, 16)) + raw6(STRANGER) + body)
    with world.agent.counting(rx_forged_careof=7):
        outsider.send(inner)
        outsider.send(short)
        for packet in (inner, short):
            outsider.send(ip4(COA4, HA4, 17, udp(COA4, HA4, PORT, PORT, packet)))
        outsider.send(ip4(COA4, HA4, 41, inner))
        outsider.send(ip6(COA, HA, 41, inner))
        # and hidden behind another header
        outsider.send(ip6(HOME, HA, 0, bytes((DST, 0, 1, 4, 0, 0, 0, 0)) + inner[40:]))
    assert agent.get(0.2) is None


def test_forged_option_in_fragments(world: World) -> None:
    """Nor by hiding it behind a fragment header."""
    world.bind("udp4")
    agent = world.mobility_socket(world.ha, HA)
    outsider = world.injector(world.core)
    options = care_of_header(MH, CareOf(IPv4Address(STRANGER4), WireKind.UDP4, 99))
    first = bytes((DST, 0, 0, 1)) + b"1234" + options
    last = bytes((DST, 0)) + len(options).to_bytes(2, "big") + b"1234" + BU
    with world.agent.counting(rx_forged_careof=1):
        outsider.send(ip6(HOME, HA, 44, first))
        outsider.send(ip6(HOME, HA, 44, last))
    assert agent.get(0.2) is None
    # An honest message in fragments does come in.
    sixteen = mobility(CN, HA)
    outsider.send(ip6(CN, HA, 44, bytes((MH, 0, 0, 1)) + b"5678" + sixteen[:8]))
    outsider.send(ip6(CN, HA, 44, bytes((MH, 0, 0, 8)) + b"5678" + sixteen[8:]))
    assert agent.get() == (sixteen, CN, None)


def esp_packet(sequence: int, next_header: int, payload: bytes) -> bytes:
    """Return what the SA of esp_on_both from the home address accepts."""
    keys = DirectionKeys(0x100, b"\x22" * 16, b"\x11" * 32)
    return esp_seal(keys, sequence, next_header, payload, icv=12)


def test_forged_option_under_esp(world: World) -> None:
    """Nor by encrypting it: who may send updates may still not forge where from."""
    world.bind("udp4")
    esp_on_both(world)
    agent = world.mobility_socket(world.ha, HA)
    outsider = world.injector(world.core)
    options = care_of_header(MH, CareOf(IPv4Address(STRANGER4), WireKind.UDP4, 99))
    with world.agent.counting():
        outsider.send(ip6(HOME, HA, ESP, esp_packet(1, MH, BU)))
        assert agent.get() == (BU, HOME, None)
        header = home_address_header(HOME, ESP)
        outsider.send(ip6(COA, HA, DST, header + esp_packet(2, MH, BU)))
        assert agent.get() == (BU, HOME, CareOf(IPv6Address(COA)))
    with world.agent.counting(rx_forged_careof=2):
        outsider.send(ip6(HOME, HA, ESP, esp_packet(3, DST, options + BU)))
        outsider.send(ip6(COA, HA, DST, header + esp_packet(4, DST, options + BU)))
    assert agent.get(0.2) is None


def test_forwarded_option(world: World) -> None:
    """A router does not forward it either."""
    world.bind("udp4")
    sink = world.sink(world.mr, LAN)
    outsider = world.injector(world.core)
    forged = care_of_header(17, CareOf(IPv6Address(STRANGER))) + datagram(CN, LAN)[40:]
    with world.agent.counting(rx_forged_careof=1):
        outsider.send(ip6(CN, LAN, DST, forged))
    assert sink.get(0.2) is None


@pytest.mark.spec("M-021", "M-022")
def test_stranger(world: World) -> None:
    """A Home Address option on data, without a binding: dropped and told."""
    world.bind("udp4")
    events = world.events(world.ha)
    sink = world.sink(world.ha, HA)
    outsider = world.injector(world.core)
    data = datagram(HOME, HA)[40:]
    with world.agent.counting(rx_stranger=1):
        outsider.send(ip6(STRANGER, HA, DST, home_address_header(HOME, 17) + data))
    event = events.wait("STRANGER")
    assert event["home_address"] == HOME
    assert event["path"]["remote"] == STRANGER
    assert event["path"]["local"] == HA
    assert event["ifname"] == "mip0" if "ifname" in event else event["ifindex"] > 0
    assert sink.get(0.1) is None
    # Not for every packet of a flood.
    with world.agent.counting(rx_stranger=100):
        for _ in range(100):
            outsider.send(ip6(STRANGER, HA, DST, home_address_header(HOME, 17) + data))
    assert len(events.drain()) < 10
    # With the path it is a packet like any other.
    world.bind_agent(path("ip6", HA, STRANGER))
    outsider.send(ip6(STRANGER, HA, DST, home_address_header(HOME, 17) + data))
    assert sink.get() == (b"data", HOME)


@pytest.mark.spec("M-020")
@pytest.mark.parametrize(
    "home", ["ff02::1", "fe80::1", "::1", "::", "::ffff:192.0.2.1", HA], ids=str
)
def test_impossible_home_address(world: World, home: str) -> None:
    world.bind("udp4")
    outsider = world.injector(world.core)
    agent = world.mobility_socket(world.ha, HA)
    with world.agent.counting(rx_bad_inner=1):
        outsider.send(ip6(COA, HA, DST, home_address_header(home, MH) + mobility(home, HA)))
    assert agent.get(0.2) is None


def test_damaged_home_address_option(world: World) -> None:
    world.bind("udp4")
    outsider = world.injector(world.core)
    agent = world.mobility_socket(world.ha, HA)
    whole = home_address_header(HOME, MH)
    twice = bytes((MH, 5)) + whole[2:] + bytes((1, 4, 0, 0, 0, 0)) + whole[6:24]
    twice = twice[:24] + bytes((1, 4, 0, 0, 0, 0)) + whole[6:24]
    unaligned = bytes((MH, 2)) + whole[6:24] + bytes((1, 2, 0, 0))
    wrong_length = whole[:7] + bytes((15,)) + whole[8:]
    beyond = whole[:7] + bytes((40,)) + whole[8:]
    rows = [twice, unaligned, wrong_length, beyond]
    with world.agent.counting(rx_malformed=len(rows)):
        for row in rows:
            outsider.send(ip6(COA, HA, DST, row + BU))
    assert agent.get(0.2) is None
    outsider.send(ip6(COA, HA, DST, whole + BU))
    assert agent.get() is not None


@pytest.mark.spec("M-063")
def test_update_from_anywhere(world: World) -> None:
    """A new care-of address is not known yet when it announces itself."""
    world.bind("udp4")
    agent = world.mobility_socket(world.ha, HA)
    outsider = world.injector(world.core)
    events = world.events(world.ha)
    with world.agent.counting():
        outsider.send(ip6(STRANGER, HA, DST, home_address_header(HOME, MH) + BU))
        got = agent.get()
        assert got == (BU, HOME, CareOf(IPv6Address(STRANGER)))
        inner = ip6(HOME, HA, MH, BU)
        outsider.send(ip4(STRANGER4, HA4, 17, udp(STRANGER4, HA4, 50000, PORT, inner)))
        got = agent.get()
        assert got is not None
        assert got[2] is not None
        assert (got[2].address, got[2].port) == (IPv4Address(STRANGER4), 50000)
    assert not events.drain()
    # But a message of somebody else's address is not taken for one of ours.
    with world.agent.counting(rx_bad_inner=1):
        inner = ip6(HA, HA, MH, mobility(HA, HA))
        outsider.send(ip4(STRANGER4, HA4, 17, udp(STRANGER4, HA4, 50000, PORT, inner)))


@pytest.mark.spec("M-115", "M-117")
def test_wrong_routing_header(world: World) -> None:
    """RFC 6275 section 6.4: for our own home address, once, or not at all."""
    world.bind("ip6")
    router = world.mobility_socket(world.mr, HOME)
    outsider = world.injector(world.core)
    whole = routing2_header(HOME, MH)
    bad = [
        routing2_header("2001:db8:1::200", MH),  # somebody else's home address
        routing2_header("ff02::1", MH),
        routing2_header("fe80::1", MH),
        whole[:3] + bytes((2,)) + whole[4:],  # two segments left
        bytes((MH, 4)) + whole[2:] + bytes(16),  # two addresses
    ]
    with world.router.counting(rx_bad_routing=len(bad)):
        for header in bad:
            outsider.send(ip6(HA, COA, ROUTING, header + BA))
    assert router.get(0.2) is None
    with world.router.counting():
        outsider.send(ip6(HA, COA, ROUTING, whole + BA))
        assert router.get() == (BA, HA, CareOf(IPv6Address(COA)))
        # A different care-of address of ours will do as well; one of others is forwarded.
        outsider.send(ip6(HA, HOME, ROUTING, whole + BA))
    assert reaches(world.mr, LAN, world.core, CN)


@pytest.mark.spec("M-025")
def test_routing_header_at_a_node_that_is_not_mobile(world: World) -> None:
    """The agent has no home address of its own: dropped, and nobody is told."""
    world.bind("ip6")
    agent = world.mobility_socket(world.ha, HA)
    sink = world.sink(world.ha, HA)
    seen = world.capture(world.core, "toha")
    outsider = world.injector(world.core)
    rows = [
        routing2_header(HOME, MH) + mobility(CN, HOME),
        routing2_header(HOME, 17) + datagram(CN, HOME)[40:],
        routing2_header(CN, 17) + datagram(CN, CN)[40:],
        # Not even to an address that is its own.
        routing2_header(HA, MH) + mobility(CN, HA),
        routing2_header(HA, 17) + datagram(CN, HA)[40:],
    ]
    with world.agent.counting(rx_bad_routing=len(rows)):
        for row in rows:
            outsider.send(ip6(CN, HA, ROUTING, row))
    assert agent.get(0.2) is None
    assert sink.get(0.1) is None
    errors = [p for p in seen.packets() if p[0] >> 4 == 6 and p[6] == 58 and p[40] < 128]
    assert not errors


def test_truncated_headers(world: World) -> None:
    world.bind("ip6")
    outsider = world.injector(world.core)
    agent = world.mobility_socket(world.ha, HA)
    router = world.mobility_socket(world.mr, HOME)
    dst = home_address_header(HOME, MH)
    routing = routing2_header(HOME, MH)
    for cut in range(1, 24):
        outsider.send(ip6(COA, HA, DST, dst[:cut]))
        outsider.send(ip6(HA, COA, ROUTING, routing[:cut]))
    assert agent.get(0.2) is None
    assert router.get(0.1) is None


def test_nobody_listens(world: World) -> None:
    """A daemon that restarts must not look like a host without Mobile IPv6."""
    world.bind("udp4")
    seen = world.capture(world.core, "toha")
    outsider = world.injector(world.core)
    with world.agent.counting(mh_nobody=3):
        outsider.send(ip6(STRANGER, HA, DST, home_address_header(HOME, MH) + BU))
        inner = ip6(HOME, HA, MH, BU)
        outsider.send(ip4(COA4, HA4, 17, udp(COA4, HA4, PORT, PORT, inner)))
        outsider.send(ip6(CN, HA, MH, mobility(CN, HA, 1)))
    problems = [p for p in seen.packets() if p[0] >> 4 == 6 and p[6] == 58 and p[40] == 4]
    assert not problems
    # Any other unknown protocol is answered as ever.
    outsider.send(ip6(CN, HA, 253, b"unknown protocol"))
    answer = seen.find(lambda p: p[0] >> 4 == 6 and p[6] == 58 and p[40:42] == b"\x04\x01")
    assert answer[24:40] == raw6(CN)


def test_data_with_signalling(world: World) -> None:
    """ESP payload between the tunnel ends passes in the same forms."""
    world.bind("ip6")
    esp_on_both(world)
    for ns, out, back in ((world.mr, HOME, HA), (world.ha, HA, HOME)):
        ip_batch(
            ns,
            f"xfrm policy add src {out} dst {back} proto udp dir out "
            f"tmpl src {out} dst {back} proto esp reqid 1 mode transport\n"
            f"xfrm policy add src {back} dst {out} proto udp dir in "
            f"tmpl src {back} dst {out} proto esp reqid 1 mode transport",
        )
    assert reaches(world.mr, HOME, world.ha, HA)
    assert reaches(world.ha, HA, world.mr, HOME)
    world.bind_agent(path_at_agent("udp4"), request=N["DSMIP_REQUEST_F_REPLACE_PATHS"])
    world.router.binding_set(
        HOME,
        mobile=True,
        paths=[path_at_router("udp4")],
        request=N["DSMIP_REQUEST_F_REPLACE_PATHS"],
    )
    assert reaches(world.mr, HOME, world.ha, HA)
    assert reaches(world.ha, HA, world.mr, HOME)
