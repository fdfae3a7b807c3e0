# SPDX-License-Identifier: GPL-2.0-only
"""Traffic selectors: the coding of types in ports, narrowing, OPAQUE and ANY."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import pytest
from dsmip.ikev2.selectors import TrafficSelector, covers, narrow
from hypothesis import given, settings
from hypothesis import strategies as st

HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")


def ts(where: str, protocol: int = 0, start: int = 0, end: int = 65535) -> TrafficSelector:
    return TrafficSelector.from_network(where, protocol, start, end)


def span(first: str, last: str) -> TrafficSelector:
    return TrafficSelector(0, 0, 65535, IPv6Address(first), IPv6Address(last))


def test_types_of_mobility_headers_and_icmp() -> None:
    update = TrafficSelector.typed(HOME, 135, 5)
    assert (update.protocol, update.start_port, update.end_port) == (135, 0x0500, 0x0500)
    assert update.kind == 5
    solicitation = TrafficSelector.typed(HOME, 58, 146)
    assert (solicitation.start_port, solicitation.end_port) == (0x9200, 0x92FF)
    assert solicitation.kind == 146
    assert TrafficSelector.from_network(HOME, 135, 0x0500, 0x06FF).kind is None
    assert TrafficSelector.from_network(HOME, 17, 0x0500, 0x0500).kind is None
    assert ts("::/0", 135, 65535, 0).kind is None


def test_networks() -> None:
    assert ts("2001:db8::/56").networks() == [IPv6Network("2001:db8::/56")]
    assert ts("198.51.100.7").networks() == [ip_network("198.51.100.7/32")]
    assert ts("2001:db8::1").host == IPv6Address("2001:db8::1")
    assert ts("2001:db8::/56").host is None
    assert span("2001:db8::1", "2001:db8::2").networks() == [
        IPv6Network("2001:db8::1/128"),
        IPv6Network("2001:db8::2/128"),
    ]
    with pytest.raises(ValueError, match="host bits"):
        ts("2001:db8::1/56")


@pytest.mark.parametrize(
    ("selector", "shown"),
    [
        (ts("2001:db8::/56"), "2001:db8::/56"),
        (ts("198.51.100.7", 17, 547, 547), "198.51.100.7/32[17/547]"),
        (ts("::/0", 135), "::/0[135]"),
        (ts("::/0", 135, 0x500, 0x6FF), "::/0[135/1280-1791]"),
        (ts("::/0", 135, 65535, 0), "::/0[135/opaque]"),
        (span("2001:db8::1", "2001:db8::3"), "2001:db8::1..2001:db8::3"),
        (span("::2", "::1"), "::2..::1"),
    ],
)
def test_shown(selector: TrafficSelector, shown: str) -> None:
    assert str(selector) == shown


ANY = ts("::/0", 135)
OPAQUE = ts("::/0", 135, 65535, 0)
BU = TrafficSelector.typed("::/0", 135, 5)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (ANY, OPAQUE, OPAQUE),
        (OPAQUE, OPAQUE, OPAQUE),
        (OPAQUE, BU, None),
        (ANY, BU, BU),
        (ts("::/0"), BU, BU),
        (TrafficSelector.typed("::/0", 135, 6), BU, None),
        (ts("::/0", 58), BU, None),
        (ts("0.0.0.0/0"), ts("::/0"), None),
        (ts("2001:db8::/32"), ts("2001:db8:7::/48"), ts("2001:db8:7::/48")),
        (ts("2001:db8:7::/48"), ts("2001:db8:8::/48"), None),
        (ts("::/0", 17, 100, 200), ts("::/0", 17, 150, 250), ts("::/0", 17, 150, 200)),
        (ts("::/0", 17, 200, 100), ts("::/0", 17), None),
        (span("::1", "::5"), span("::3", "::9"), span("::3", "::5")),
    ],
)
def test_intersection(
    one: TrafficSelector, other: TrafficSelector, both: TrafficSelector | None
) -> None:
    assert one.intersection(other) == both
    assert other.intersection(one) == both


def test_covers() -> None:
    assert ANY.covers(OPAQUE)
    assert not OPAQUE.covers(ANY)
    assert ts("::/0").covers(BU)
    assert not BU.covers(ts("::/0"))
    assert covers([ts("2001:db8::/32"), ts("0.0.0.0/0")], [ts("2001:db8:1::/48", 6)])
    assert not covers([ts("2001:db8::/32")], [ts("2001:db8:1::/48"), ts("0.0.0.0/0")])
    assert covers([], [])


def test_the_first_selector_of_the_initiator_comes_first() -> None:
    packet = ts("2001:db8:1::17", 6, 443, 443)
    wish = ts("2001:db8:1::/48")
    assert narrow([packet, wish], [ts("2001:db8:1::/56"), ts("2001:db8:1:100::/56")]) == (
        packet,
        ts("2001:db8:1::/56"),
        ts("2001:db8:1:100::/56"),
    )


def test_narrow() -> None:
    assert narrow([ts("::/0")], [ts("2001:db8::/56")]) == (ts("2001:db8::/56"),)
    assert narrow([ts("2001:db8::/56")], [ts("::/0")]) == (ts("2001:db8::/56"),)
    assert narrow([ts("::/0"), ts("0.0.0.0/0")], [ts("0.0.0.0/0")]) == (ts("0.0.0.0/0"),)
    assert narrow([ts("::/0")], [ts("0.0.0.0/0")]) == ()
    assert narrow([], [ts("::/0")]) == ()
    assert narrow([ts("::/0")], []) == ()
    # Nothing is said twice.
    assert narrow([ts("::/0"), ts("2001:db8::/32")], [ts("::/0")]) == (ts("::/0"),)


def test_narrow_is_bounded() -> None:
    many = [ts(f"198.51.100.{n}") for n in range(256)]
    assert len(narrow(many, [ts("0.0.0.0/0")])) == 255


addresses = st.integers(0, 15).map(IPv4Address)
ports = st.integers(0, 7)
small = st.builds(
    lambda p, a, b, x, y: TrafficSelector(p, min(a, b), max(a, b), min(x, y), max(x, y)),
    st.sampled_from((0, 6, 17)),
    ports,
    ports,
    addresses,
    addresses,
)
packets = st.tuples(st.sampled_from((6, 17)), ports, addresses)


def selects(chosen: Sequence[TrafficSelector], packet: tuple[int, int, IPv4Address]) -> bool:
    protocol, port, address = packet
    return any(
        s.protocol in (0, protocol)
        and s.start_port <= port <= s.end_port
        and int(s.first) <= int(address) <= int(s.last)
        for s in chosen
    )


@settings(max_examples=300)
@given(offered=st.lists(small, max_size=4), allowed=st.lists(small, max_size=4), packet=packets)
def test_narrowed_is_what_both_select(
    offered: list[TrafficSelector],
    allowed: list[TrafficSelector],
    packet: tuple[int, int, IPv4Address],
) -> None:
    chosen = narrow(offered, allowed)
    assert selects(chosen, packet) == (selects(offered, packet) and selects(allowed, packet))
    assert covers(offered, chosen)
    assert covers(allowed, chosen)
    assert len(set(chosen)) == len(chosen)
