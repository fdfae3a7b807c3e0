# SPDX-License-Identifier: GPL-2.0-only
"""rtnetlink requests read back by the decoders of dumps and notifications."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.linux.netlink import NetlinkError, attribute, attributes
from dsmip.linux.rtnl import (
    TABLE_MAIN,
    UNREACHABLE,
    Link,
    Route,
    Rtnl,
    Rule,
    decode_address,
    decode_route,
    decode_rule,
)
from hypothesis import given
from hypothesis import strategies as st

NET6, NET4 = IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")
ROUTES = [
    Route(NET6, 7),
    Route(NET4, 7, metric=512),
    Route(IPv6Network("::/0"), 7, 4191, source=IPv6Address("2001:db8:1::100")),
    Route(IPv4Network("0.0.0.0/0"), 7, 4200, IPv4Address("198.18.4.1")),
    Route(IPv4Network("0.0.0.0/0"), 3, 4191, IPv4Address("198.51.100.1"), onlink=True),
    Route(NET6, metric=0x7FFFFFFF, kind=UNREACHABLE),
    Route(NET4, metric=0x7FFFFFFF, kind=UNREACHABLE, table=4200),
]
RULES = [
    Rule(4180, TABLE_MAIN, destination=NET6),
    Rule(4181, TABLE_MAIN, source=NET4, suppress=0, version=4),
    Rule(4190, 4191, source=IPv6Network("2001:db8:1::100/128")),
    Rule(4186, 4192, destination=NET4, version=4, protocol=6, incoming="br-lan", port=8080),
    Rule(4188, 4190, own=True, port=65535),
]


@pytest.fixture(scope="module")
def rtnl() -> Rtnl:
    return Rtnl()


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_routes(rtnl: Rtnl, route: Route) -> None:
    assert decode_route(memoryview(rtnl._route_body(route))) == route


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules(rtnl: Rtnl, rule: Rule) -> None:
    assert decode_rule(memoryview(rtnl._rule_body(rule))) == rule


@pytest.mark.parametrize("address", [IPv6Address("2001:db8::1"), IPv4Address("192.0.2.1")])
def test_addresses(rtnl: Rtnl, address: IPv6Address | IPv4Address) -> None:
    body = rtnl._address_body(7, address, address.max_prefixlen, nodad=True)
    found = decode_address(memoryview(body))
    assert found is not None
    assert (found.interface, found.address, found.length) == (7, address, address.max_prefixlen)
    assert found.usable


def test_this_machine_has_a_loopback(rtnl: Rtnl) -> None:
    loopback = rtnl.link("lo")
    assert isinstance(loopback, Link)
    assert loopback.name == "lo"
    assert loopback in rtnl.links()
    assert rtnl.link("dsmip-absent") is None


def test_a_refusal_says_what_was_asked(rtnl: Rtnl) -> None:
    with pytest.raises(NetlinkError, match="interface 2147483647"):
        rtnl.set_up(2147483647)


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes(pairs: list[tuple[int, bytes]]) -> None:
    packed = b"".join(attribute(kind, value) for kind, value in pairs)
    assert [(kind, bytes(value)) for kind, value in attributes(packed)] == pairs


@given(st.binary(max_size=200))
def test_damaged_attributes_end_the_run(data: bytes) -> None:
    total = sum(4 + len(value) for _, value in attributes(data))
    assert total <= len(data)
