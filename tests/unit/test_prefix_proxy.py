# SPDX-License-Identifier: GPL-2.0-only
"""Answers on the home link for mobile networks that are a part of its prefix."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip.linux.neighbours import Interface, probe, solicited_node
from dsmip.linux.prefix_proxy import (
    _FILTER,
    Solicitation,
    build_answer,
    parse_solicitation,
)
from dsmip.packet.icmp6 import checksum
from dsmip.service.network_proxy import NetworkProxy, on_link
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roaming import HA6, HA_CONFIG

TARGET = IPv6Address("2001:db8:1:0:1::5")
SOURCE = IPv6Address("2001:db8:1::7")
SOURCE_MAC, OWN_MAC = bytes.fromhex("020000000007"), bytes.fromhex("020000000001")
LINK = Interface(4, "eth0", OWN_MAC)


def packet(
    source: IPv6Address = SOURCE,
    destination: IPv6Address | None = None,
    target: IPv6Address = TARGET,
    options: bytes = b"\1\1" + SOURCE_MAC,
    hops: int = 255,
    kind: int = 135,
    code: int = 0,
    damage: int = 0,
) -> bytes:
    """Build a neighbour solicitation as RFC 4861 section 4.3 draws it."""
    to = destination or solicited_node(target)
    body = bytearray(struct.pack("!BBHI", kind, code, 0, 0) + target.packed + options)
    body[2:4] = ((checksum(source, to, body) + damage) & 0xFFFF).to_bytes(2, "big")
    return struct.pack("!IHBB", 6 << 28, len(body), 58, hops) + source.packed + to.packed + body


def passes(frame: bytes) -> bool:
    """Run the socket filter."""
    at, accumulator = 0, 0
    while True:
        code, yes, no, value = _FILTER[at]
        at += 1
        if code == 0x30:
            accumulator = frame[value]
        elif code == 0x15:
            at += yes if accumulator == value else no
        else:
            assert code == 0x06
            return bool(value)


def test_solicitation_is_read() -> None:
    asked = parse_solicitation(packet())
    assert asked == Solicitation(SOURCE, solicited_node(TARGET), TARGET, SOURCE_MAC)
    assert passes(packet())
    again = parse_solicitation(probe(TARGET))
    assert again is not None
    assert (again.source, again.target) == (IPv6Address(0), TARGET)


@pytest.mark.parametrize(
    "bad",
    [
        packet(hops=254),
        packet(kind=136),
        packet(code=1),
        packet(damage=1),
        packet(target=IPv6Address("ff02::1"), destination=TARGET),
        packet(options=b"\1\0" + SOURCE_MAC),
        packet(options=b"\1\2" + SOURCE_MAC),
        packet(source=IPv6Address(0)),
        packet(source=IPv6Address(0), options=b"", destination=TARGET),
        packet(source=IPv6Address("ff02::5")),
        packet()[:60],
        packet()[:-1],
        b"",
    ],
)
def test_what_is_no_valid_solicitation(bad: bytes) -> None:
    """RFC 4861 section 7.1.1."""
    assert parse_solicitation(bad) is None


@given(st.binary(max_size=120))
def test_any_octets_are_read_or_not(data: bytes) -> None:
    parse_solicitation(data)
    parse_solicitation(packet()[:40] + data)


@pytest.mark.parametrize("frame", [packet(hops=254), packet(kind=136), b"\x60" + bytes(80)])
def test_filter_keeps_the_rest_away(frame: bytes) -> None:
    assert not passes(frame)


def test_answer_of_a_proxy() -> None:
    asked = parse_solicitation(packet())
    assert asked is not None
    made = build_answer(asked, HA6, OWN_MAC)
    assert (made[6], made[7]) == (58, 255)
    assert IPv6Address(made[8:24]) == HA6
    assert IPv6Address(made[24:40]) == SOURCE
    body = made[40:]
    assert checksum(HA6, SOURCE, body) == int.from_bytes(body[2:4], "big")
    # Solicited, a router's, and not overriding the owner's own (RFC 4861 section 7.2.8).
    assert body[4] == 0xC0
    assert IPv6Address(body[8:24]) == TARGET
    assert body[24:] == b"\2\1" + OWN_MAC


def test_duplicate_address_detection_is_answered_to_all() -> None:
    asked = parse_solicitation(probe(TARGET))
    assert asked is not None
    made = build_answer(asked, HA6, OWN_MAC)
    assert str(IPv6Address(made[24:40])) == "ff02::1"
    assert made[44] == 0x80


# --- which networks -------------------------------------------------------------------

INSIDE, OUTSIDE = IPv6Network("2001:db8:1:0:1::/80"), IPv6Network("2001:db8:100::/56")
FEW, FAR = IPv4Network("198.51.100.64/30"), IPv4Network("203.0.113.0/28")


def test_only_what_neighbours_take_for_on_link() -> None:
    assert on_link((INSIDE, OUTSIDE, FEW, FAR), HA_CONFIG) == ((INSIDE,), (FEW,))
    elsewhere = replace(HA_CONFIG, prefixes=(OUTSIDE,), prefixes4=())
    assert on_link((INSIDE, FEW), elsewhere) == ((), ())


class Fake:
    """A loop, the kernel's proxies and a packet socket, all in one."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.single: set[Any] = set()
        self.served: tuple[IPv6Network, ...] = ()
        self.open = False

    def add_reader(self, descriptor: int, action: Callable[[], None]) -> None:
        self.readers[descriptor] = action

    def remove_reader(self, descriptor: int) -> None:
        del self.readers[descriptor]

    def put_proxy(self, interface: int, address: Any, router: bool) -> None:
        assert interface == LINK.index
        self.single.add(address)

    def remove_proxy(self, interface: int, address: Any) -> None:
        self.single.remove(address)

    def make(self, link: Interface, own: IPv6Address) -> Any:
        assert own == HA6
        self.open = True
        return self

    def fileno(self) -> int:
        return 9

    def close(self) -> None:
        self.open = False

    def serve(self, prefixes: Iterable[IPv6Network]) -> None:
        self.served = tuple(prefixes)

    def answer(self) -> None:
        return


def test_mobile_networks_come_and_go() -> None:
    fake: Any = Fake()
    proxy = NetworkProxy(fake, LINK, fake, fake.make)
    proxy.serve((OUTSIDE, FAR), HA_CONFIG)
    assert not fake.open
    proxy.serve((INSIDE, FEW), HA_CONFIG)
    assert fake.served == (INSIDE,)
    assert fake.single == set(FEW)
    assert list(fake.readers) == [9]
    proxy.serve((INSIDE, IPv4Network("198.51.100.65/32")), HA_CONFIG)
    assert fake.single == {IPv4Address("198.51.100.65")}
    proxy.clear()
    assert not fake.open
    assert fake.readers == {}
    assert fake.single == set()


def test_too_many_ipv4_addresses_are_not_answered_for() -> None:
    fake: Any = Fake()
    wide = replace(HA_CONFIG, prefixes4=(IPv4Network("198.51.96.0/19"),))
    proxy = NetworkProxy(fake, LINK, fake, fake.make)
    proxy.serve((IPv4Network("198.51.96.0/22"),), wide)
    assert len(fake.single) == 1024
    proxy.serve((IPv4Network("198.51.96.0/21"),), wide)
    assert len(fake.single) == 1024


def test_link_that_is_no_ethernet() -> None:
    fake: Any = Fake()
    proxy = NetworkProxy(fake, Interface(4, "ppp0", b""), fake, fake.make)
    proxy.serve((INSIDE,), HA_CONFIG)
    assert not fake.open
