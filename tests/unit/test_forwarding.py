# SPDX-License-Identifier: GPL-2.0-only
"""The forwarding table of portable mode: the module's rules, judged packet by packet."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from dsmip.packet.careof import OPTION_TYPE, CareOf, WireKind, build_header
from dsmip.packet.forwarding import (
    PATHS_MAX,
    PREFIXES_MAX,
    ForwardingError,
    Outer,
    Table,
    dsfield,
)
from dsmip.packet.kernel import Address, KernelBinding, Network, Path, PathEvent
from hypothesis import given
from hypothesis import strategies as st

HOA, HA, CN = (IPv6Address(text) for text in ("2001:db8:1::100", "2001:db8:1::1", "2001:db8:c::2"))
HOA4, HA4 = IPv4Address("198.51.100.100"), IPv4Address("198.51.100.1")
LAN6, LAN4 = IPv6Address("2001:db8:100::2"), IPv4Address("203.0.113.2")
NET6, NET4 = IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")
COA, COA4 = IPv6Address("2001:db8:a6::9"), IPv4Address("10.0.5.9")
NAT4 = IPv4Address("192.0.2.7")


def packet(source: Address, destination: Address, protocol: int = 59, body: bytes = b"") -> bytes:
    """Return an IP packet of the family of its addresses."""
    if source.version == 6:
        head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, 64))
    else:
        head = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + bytes((0, 0, 0, 0, 64, protocol))
        head += b"\0\0"
    return head + source.packed + destination.packed + body


def udp4(bid: int = 1, port: int = 20001, **more: object) -> Path:
    return replace(Path(bid, WireKind.UDP4, HA4, NAT4, port), **more)  # type: ignore[arg-type]


def ip6(bid: int = 2, **more: object) -> Path:
    return replace(Path(bid, WireKind.IP6, HA, COA), **more)  # type: ignore[arg-type]


def at_agent(*paths: Path, **more: object) -> KernelBinding:
    """The binding of a router as its home agent holds it."""
    given = KernelBinding(HOA, HOA4, (NET6, NET4), (), paths or (udp4(), ip6()), False, 100, 7)
    return replace(given, **more)  # type: ignore[arg-type]


def at_router(*paths: Path) -> KernelBinding:
    """The binding of a router as it holds it itself."""
    everything: tuple[Network, ...] = (IPv6Network("::/0"), IPv4Network("0.0.0.0/0"))
    own = paths or (Path(1, WireKind.UDP4, COA4, HA4, 4191), Path(2, WireKind.IP6, COA, HA))
    return KernelBinding(HOA, HOA4, everything, (NET6, NET4), own, True, 0, 7)


@pytest.fixture
def agent() -> Table:
    table = Table()
    table.own = frozenset((HA.packed, HA4.packed))
    table.put_binding(at_agent(), 0.0)
    return table


@pytest.fixture
def router() -> Table:
    table = Table()
    table.own = frozenset((COA.packed, COA4.packed))
    table.put_binding(at_router(), 0.0)
    return table


FROM_NAT = Outer(NAT4.packed, 20001, HA4.packed)
FROM_AGENT = Outer(HA4.packed, 4191, COA4.packed)


def bid(table: Table, data: bytes) -> int | None:
    """Return the BID of the path that a packet of this host takes."""
    entry = table.transmit(data)
    return None if entry is None else entry.path.bid


# --- out -----------------------------------------------------------------------------


@pytest.mark.parametrize("destination", [HOA, HOA4, LAN6, LAN4])
def test_what_belongs_to_a_binding_goes_to_it(agent: Table, destination: Address) -> None:
    source = CN if destination.version == 6 else IPv4Address("192.0.2.2")
    assert bid(agent, packet(source, destination)) == 1


def test_longest_prefix_wins(agent: Table) -> None:
    other = IPv6Address("2001:db8:1::200")
    inner = IPv6Network("2001:db8:100:7::/64")
    agent.put_binding(
        KernelBinding(other, None, (inner,), (), (udp4(bid=9, port=5),), False, 0, 1), 0.0
    )
    assert bid(agent, packet(CN, inner[1])) == 9
    assert bid(agent, packet(CN, NET6[1])) == 1
    agent.drop_binding(other)
    assert bid(agent, packet(CN, inner[1])) == 1


@pytest.mark.parametrize("destination", ["2001:db8:200::1", "ff02::1", "fe80::1", "::1", "0.0.0.0"])
def test_nobodys_packets_are_dropped(agent: Table, destination: str) -> None:
    source = CN if ":" in destination else LAN4
    assert bid(agent, packet(source, ip_address(destination))) is None
    assert agent.counters == {"tx_no_binding": 1}


@pytest.mark.parametrize("data", [b"", b"\x60", bytes(40), b"\x45" + bytes(10), b"\x70" * 60])
def test_what_is_no_packet_is_dropped(agent: Table, data: bytes) -> None:
    assert agent.transmit(data) is None
    assert agent.counters["tx_no_binding"] == 1


def test_router_sends_only_what_is_its_own(router: Table) -> None:
    assert bid(router, packet(LAN6, CN)) == 1
    assert bid(router, packet(HOA, CN)) == 1
    assert bid(router, packet(COA, CN)) is None
    assert router.counters == {"tx_bad_source": 1}


def test_best_path_is_the_lowest_priority_then_bid(agent: Table) -> None:
    data = packet(CN, LAN6)
    agent.put_path(HOA, udp4(bid=1, priority=10))
    assert bid(agent, data) == 2
    agent.put_path(HOA, ip6(bid=2, priority=10))
    assert bid(agent, data) == 1
    agent.put_path(HOA, udp4(bid=1, down=True))
    assert bid(agent, data) == 2
    agent.drop_path(HOA, 2)
    assert bid(agent, data) is None
    assert agent.counters == {"tx_no_path": 1}


def test_outer_packet_that_comes_back_is_dropped() -> None:
    table = Table()
    everything: tuple[Network, ...] = (IPv6Network("::/0"), IPv4Network("0.0.0.0/0"))
    path = Path(1, WireKind.UDP4, COA4, HA4, 4191)
    table.put_binding(KernelBinding(HOA, HOA4, everything, (), (path,), True, 0, 7), 0.0)
    assert bid(table, packet(COA4, HA4, 17, bytes(8))) is None
    assert table.counters == {"tx_nested": 1}
    assert bid(table, packet(COA4, HA4, 1, bytes(8))) == 1


# --- in ------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [HOA, LAN6, HOA4, LAN4])
def test_binding_is_brought_by_its_path(agent: Table, source: Address) -> None:
    inner = packet(source, CN if source.version == 6 else IPv4Address("192.0.2.2"))
    assert agent.receive(inner, FROM_NAT, 1.0).packet == inner
    assert not agent.counters
    entry = agent.entry(HOA)
    assert entry is not None
    assert (entry.rx_packets, entry.rx_bytes, entry.paths[0].last_rx) == (1, len(inner), 1.0)


def test_octets_after_the_inner_packet_are_left_out(agent: Table) -> None:
    inner = packet(LAN6, CN, body=b"12345678")
    assert agent.receive(inner + b"more", FROM_NAT, 0.0).packet == inner


@pytest.mark.parametrize(
    "outer",
    [
        Outer(NAT4.packed, 20002, HA4.packed),
        Outer(HA4.packed, 20001, HA4.packed),
        Outer(CN.packed, 4191, HA.packed),
        Outer(COA.packed, 20001, HA.packed),
    ],
)
def test_another_source_is_dropped_and_told_of_but_not_often(agent: Table, outer: Outer) -> None:
    inner = packet(LAN6, CN)
    for at in (0.0, 0.1, 0.3):
        assert agent.receive(inner, outer, at).packet is None
    assert agent.counters == {"rx_wrong_source": 3}
    assert [event.event for event in agent.events] == [PathEvent.NEW_SOURCE] * 2
    path = agent.events[0].path
    assert path is not None
    assert path.remote.packed == outer.source
    assert path.kind is (WireKind.IP6 if len(outer.source) == 16 else WireKind.UDP4)


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (packet(CN, LAN6), "rx_no_binding"),
        (packet(HA, CN), "rx_bad_inner"),
        (packet(IPv6Address("fe80::1"), CN), "rx_bad_inner"),
        (packet(IPv6Address("ff02::1"), CN), "rx_bad_inner"),
        (packet(IPv6Address("::1"), CN), "rx_bad_inner"),
        (packet(IPv6Address("::ffff:192.0.2.1"), CN), "rx_bad_inner"),
        (packet(LAN6, IPv6Address("ff02::1")), "rx_bad_inner"),
        (packet(HA4, IPv4Address("192.0.2.2")), "rx_bad_inner"),
        (packet(IPv4Address("127.0.0.1"), IPv4Address("192.0.2.2")), "rx_bad_inner"),
        (packet(LAN4, IPv4Address("224.0.0.1")), "rx_bad_inner"),
        (packet(IPv4Address("169.254.1.1"), IPv4Address("192.0.2.2")), "rx_bad_inner"),
        (packet(LAN6, CN)[:39], "rx_malformed"),
        (packet(LAN6, CN, body=bytes(8))[:-1], "rx_malformed"),
        (b"\x44" + packet(LAN4, HOA4)[1:], "rx_malformed"),
        (b"\x46\0\0\x14" + packet(LAN4, HOA4)[4:], "rx_malformed"),
        (b"\x50" + bytes(60), "rx_malformed"),
        (
            packet(LAN6, CN, 60, build_header(CareOf(COA))),
            "rx_forged_careof",
        ),
        (
            packet(HOA, HA, 60, build_header(CareOf(COA4, WireKind.UDP4, 1))),
            "rx_forged_careof",
        ),
        (
            packet(HOA, HA, 60, bytes((135, 0, 1, 0, OPTION_TYPE, 0, 0, 0))),
            "rx_forged_careof",
        ),
    ],
)
def test_what_must_not_come_in(agent: Table, inner: bytes, why: str) -> None:
    verdict = agent.receive(inner, FROM_NAT, 0.0)
    assert verdict.packet is None
    assert agent.counters == {why: 1}


@pytest.mark.parametrize("data", [b"", b"\xff"])
def test_keepalives_are_nothing(agent: Table, data: bytes) -> None:
    assert agent.receive(data, FROM_NAT, 0.0).packet is None
    assert not agent.counters


def test_router_takes_only_what_is_for_its_networks(router: Table) -> None:
    assert router.receive(packet(CN, LAN6), FROM_AGENT, 0.0).packet is not None
    assert router.receive(packet(CN, HOA), FROM_AGENT, 0.0).packet is not None
    assert router.receive(packet(CN, COA), FROM_AGENT, 0.0).packet is None
    assert router.counters == {"rx_bad_destination": 1}
    stranger = replace(FROM_AGENT, source=NAT4.packed)
    assert router.receive(packet(CN, LAN6), stranger, 0.0).packet is None
    assert router.counters["rx_wrong_source"] == 1


def test_routers_paths_are_told_apart_by_its_own_end() -> None:
    table = Table()
    second = IPv4Address("10.0.9.9")
    paths = (
        Path(1, WireKind.UDP4, COA4, HA4, 4191),
        Path(2, WireKind.UDP4, second, HA4, 4191, priority=10),
    )
    table.put_binding(at_router(*paths), 0.0)
    table.receive(packet(CN, LAN6), replace(FROM_AGENT, destination=second.packed), 0.0)
    entry = table.entry(HOA)
    assert entry is not None
    assert [one.rx_packets for one in entry.paths] == [0, 1]


@pytest.mark.parametrize("protocol", [50, 135])
def test_signalling_to_this_host_comes_from_anywhere(agent: Table, protocol: int) -> None:
    stranger = Outer(IPv4Address("192.0.2.99").packed, 999, HA4.packed)
    for source in (HOA, CN):
        verdict = agent.receive(packet(source, HA, protocol, bytes(16)), stranger, 0.0)
        assert verdict.signalling
        assert verdict.packet is not None
    through = agent.receive(packet(CN, LAN6, protocol, bytes(16)), stranger, 0.0)
    assert through.packet is None


def test_answer_reaches_a_home_address_that_is_not_assigned_yet(router: Table) -> None:
    assert router.receive(packet(HA, HOA, 50, bytes(32)), FROM_AGENT, 0.0).signalling


def test_nesting_is_bounded(agent: Table) -> None:
    inner = packet(LAN6, HA, 59)
    for _ in range(4):
        inner = packet(LAN6, HA, 41, inner)
    assert agent.receive(inner, FROM_NAT, 0.0).packet is not None
    inner = packet(LAN6, HA, 41, inner)
    assert agent.receive(inner, FROM_NAT, 0.0).packet is None
    assert agent.counters == {"rx_nested": 1}
    # Layers that are not for this host are none of its business.
    deep = packet(LAN6, CN, 59)
    for _ in range(9):
        deep = packet(LAN6, CN, 41, deep)
    assert agent.receive(deep, FROM_NAT, 0.0).packet is not None


@pytest.mark.parametrize("source", [LAN6, LAN4])
def test_congestion_crosses_the_tunnel(agent: Table, source: Address) -> None:
    """RFC 6040 section 4.2: CE on an ECN-capable packet stays, on another it is a drop."""
    inner = packet(source, CN if source.version == 6 else IPv4Address("192.0.2.2"))
    congested = replace(FROM_NAT, dsfield=3)
    assert agent.receive(inner, congested, 0.0).packet is None
    assert agent.counters == {"rx_ecn": 1}
    capable = bytearray(inner)
    capable[1] |= 0x20 if source.version == 6 else 2
    marked = agent.receive(bytes(capable), congested, 0.0).packet
    assert marked is not None
    assert dsfield(marked) & 3 == 3
    if source.version == 4:
        total = sum(int.from_bytes(marked[at : at + 2], "big") for at in range(0, 20, 2))
        assert total % 0xFFFF == 0
    assert agent.receive(bytes(capable), FROM_NAT, 0.0).packet == bytes(capable)


# --- requests ------------------------------------------------------------------------


def refused(action: object, *arguments: object) -> int:
    with pytest.raises(ForwardingError) as error:
        action(*arguments)  # type: ignore[operator]
    return error.value.code


def test_prefix_of_another_is_refused_and_nothing_changes(agent: Table) -> None:
    other = replace(at_agent(), home_address=IPv6Address("2001:db8:1::200"), home_address4=None)
    assert refused(agent.put_binding, other, 0.0) == errno.EEXIST
    assert agent.entry(other.home_address) is None
    home4 = replace(other, prefixes=(), home_address4=HOA4)
    assert refused(agent.put_binding, home4, 0.0) == errno.EEXIST
    assert bid(agent, packet(CN, LAN6)) == 1


def test_replacing_takes_away_what_is_not_named(agent: Table) -> None:
    agent.put_binding(at_agent(ip6(), prefixes=(NET4,)), 0.0)
    assert bid(agent, packet(CN, LAN6)) is None
    assert bid(agent, packet(LAN4, LAN4)) == 2
    agent.put_binding(at_agent(), 0.0)
    assert bid(agent, packet(CN, LAN6)) == 1


def test_path_that_stays_the_same_keeps_its_counters(agent: Table) -> None:
    agent.receive(packet(LAN6, CN), FROM_NAT, 0.0)
    agent.put_binding(at_agent(lifetime=50, sequence=8), 1.0)
    entry = agent.entry(HOA)
    assert entry is not None
    assert [one.rx_packets for one in entry.paths] == [1, 0]
    agent.put_path(HOA, udp4(port=20002))
    assert [one.rx_packets for one in entry.paths] == [0, 0]


def test_limits(agent: Table) -> None:
    paths = tuple(udp4(bid=n, port=n) for n in range(1, PATHS_MAX + 2))
    agent.put_binding(at_agent(*paths[:-1]), 0.0)
    assert refused(agent.put_path, HOA, paths[-1]) == errno.ENOSPC
    assert refused(agent.put_binding, at_agent(*paths), 0.0) == errno.ENOSPC
    agent.put_path(HOA, replace(paths[0], priority=3))
    networks = tuple(NET6.subnets(new_prefix=64))
    agent.put_binding(at_agent(prefixes=networks[:PREFIXES_MAX]), 0.0)
    many = at_agent(prefixes=networks[: PREFIXES_MAX + 1])
    assert refused(agent.put_binding, many, 0.0) == errno.ENOSPC
    assert refused(agent.put_binding, at_agent(udp4(), udp4()), 0.0) == errno.EEXIST


def test_what_is_not_there(agent: Table) -> None:
    nobody = IPv6Address("2001:db8:1::999")
    assert refused(agent.drop_binding, nobody) == errno.ENOENT
    assert refused(agent.put_path, nobody, udp4()) == errno.ENOENT
    assert refused(agent.drop_path, nobody, 1) == errno.ENOENT
    assert refused(agent.drop_path, HOA, 3) == errno.ENOENT


def test_what_needs_the_module(agent: Table) -> None:
    direct = Path(3, WireKind.RO, HA, COA)
    assert refused(agent.put_path, HOA, direct) == errno.EOPNOTSUPP
    assert refused(agent.put_path, HOA, replace(udp4(), remote=COA)) == errno.EINVAL


# --- time ----------------------------------------------------------------------------


def test_lifetime_ends(agent: Table) -> None:
    entry = agent.entry(HOA)
    assert entry is not None
    assert entry.value(40.5).lifetime == 60
    assert agent.next_tick(40.0) == 100.0
    agent.tick(99.9)
    assert agent.entry(HOA) is not None
    agent.tick(100.0)
    assert agent.entry(HOA) is None
    assert [(event.event, event.path) for event in agent.events] == [(PathEvent.EXPIRED, None)]
    assert bid(agent, packet(CN, LAN6)) is None


def events(table: Table) -> list[PathEvent]:
    found = [event.event for event in table.events]
    table.events.clear()
    return found


def test_path_is_heard_then_silent_then_heard(agent: Table) -> None:
    agent.put_binding(at_agent(udp4(silent_ms=400)), 0.0)
    assert agent.next_tick(0.0) == 0.2
    reply, request = packet(LAN6, CN), packet(CN, LAN6)
    agent.transmit(request)
    for step in range(5):
        agent.tick(step * 0.2)
    assert events(agent) == []  # not heard yet: awaited, not missed
    agent.receive(reply, FROM_NAT, 1.0)
    agent.receive(reply, FROM_NAT, 1.0)
    assert events(agent) == [PathEvent.HEARD]
    agent.tick(1.2)
    agent.transmit(request)
    for step in range(4):
        agent.tick(1.4 + step * 0.2)
    assert events(agent) == [PathEvent.SILENT]
    agent.receive(reply, FROM_NAT, 3.0)
    assert events(agent) == [PathEvent.HEARD]


def test_quiet_path_is_not_silent(agent: Table) -> None:
    agent.put_binding(at_agent(udp4(silent_ms=400)), 0.0)
    agent.receive(packet(LAN6, CN), FROM_NAT, 0.1)
    events(agent)
    for step in range(20):
        agent.tick(0.2 * step)
    assert events(agent) == []


def test_stream_that_ends_makes_a_path_silent(agent: Table) -> None:
    agent.put_binding(at_agent(udp4(silent_ms=400)), 0.0)
    for _ in range(8):
        agent.receive(packet(LAN6, CN), FROM_NAT, 0.1)
    events(agent)
    for step in range(1, 5):
        agent.tick(0.2 * step)
    assert events(agent) == [PathEvent.SILENT]


# --- anything ------------------------------------------------------------------------


@given(data=st.binary(max_size=120), six=st.booleans())
def test_no_input_is_taken_for_another_bindings(data: bytes, six: bool) -> None:
    """What gets in has an inner source of the binding whose path brought it, or signals."""
    table = Table()
    table.own = frozenset((HA.packed, HA4.packed))
    table.put_binding(at_agent(), 0.0)
    outer = Outer(COA.packed, 4191, HA.packed) if six else FROM_NAT
    verdict = table.receive(data, outer, 0.0)
    table.transmit(data)
    if verdict.packet is not None and not verdict.signalling:
        inner = verdict.packet
        source = ip_address(inner[8:24] if inner[0] >> 4 == 6 else inner[12:16])
        owned = (IPv6Network(HOA), IPv4Network(HOA4), NET6, NET4)
        assert any(source in network for network in owned)
