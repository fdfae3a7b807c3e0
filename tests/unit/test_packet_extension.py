# SPDX-License-Identifier: GPL-2.0-only
"""Home Address option, type 2 routing header, reading whole packets to home form."""

from __future__ import annotations

import contextlib
from ipaddress import IPv6Address

import pytest
from dsmip.packet import extension
from dsmip.packet.errors import Malformed
from hypothesis import given, settings
from hypothesis import strategies as st

HOME = IPv6Address("2001:db8:1::100")
CARE_OF = IPv6Address("2001:db8:2::200")
AGENT = IPv6Address("2001:db8:1::1")
OPTIONS = "87 02 01020000 c910" + HOME.packed.hex()
ROUTING = "87 02 02 01 00000000" + HOME.packed.hex()
MESSAGE = bytes.fromhex("3b00000000000000")


def packet(
    source: IPv6Address, destination: IPv6Address, next_header: int, payload: bytes
) -> bytes:
    head = bytes((0x60, 0, 0, 0)) + len(payload).to_bytes(2, "big") + bytes((next_header, 64))
    return head + source.packed + destination.packed + payload


def test_home_address_option() -> None:
    wire = bytes.fromhex(OPTIONS)
    assert extension.build_home_address(HOME, 135) == wire
    assert extension.parse_home_address(wire) == HOME
    # The option stands at 8n+6, its address on a multiple of 8.
    assert wire.index(HOME.packed) % 8 == 0


def test_routing_header() -> None:
    wire = bytes.fromhex(ROUTING)
    assert extension.build_routing(HOME, 135) == wire
    assert extension.parse_routing(wire) == HOME
    assert extension.parse_routing(bytes.fromhex("3b02 00 01 00000000") + HOME.packed) is None


def test_home_form_of_an_update() -> None:
    wire = packet(CARE_OF, AGENT, 60, bytes.fromhex(OPTIONS) + MESSAGE)
    form = extension.home_form(wire)
    assert (form.source, form.destination) == (HOME, AGENT)
    assert (form.wire_source, form.wire_destination) == (CARE_OF, AGENT)
    assert (form.protocol, form.payload) == (135, MESSAGE)


def test_home_form_of_an_acknowledgement() -> None:
    wire = packet(AGENT, CARE_OF, 43, bytes.fromhex(ROUTING) + MESSAGE)
    form = extension.home_form(wire + b"link padding")
    assert (form.source, form.destination) == (AGENT, HOME)
    assert form.wire_destination == CARE_OF
    assert (form.protocol, form.payload) == (135, MESSAGE)


def test_home_form_stops_at_esp() -> None:
    wire = packet(CARE_OF, AGENT, 60, extension.build_home_address(HOME, 50) + bytes(24))
    form = extension.home_form(wire)
    assert (form.source, form.protocol, form.payload) == (HOME, 50, bytes(24))


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("", "octets"),
        ("8702 01020000 c910" + HOME.packed.hex()[:-2], "octets"),
        ("8700 c904 00000000", "octets, not 16"),
        ("8701 c90c" + "00" * 12, "octets, not 16"),
        ("8700 01ff 00000000", "over the end"),
        ("8700 000000000001", "over the end"),
        ("8704" + "c910" + HOME.packed.hex() + "c910" + HOME.packed.hex() + "0100", "twice"),
    ],
)
def test_damaged_home_address_options(octets: str, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        extension.parse_home_address(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "octets",
    [
        "",
        ROUTING[:-2],
        "8704 02 01 00000000" + "00" * 32,
        "8702 02 00 00000000" + HOME.packed.hex(),
        "8702 02 02 00000000" + HOME.packed.hex(),
    ],
)
def test_damaged_routing_headers(octets: str) -> None:
    with pytest.raises(Malformed):
        extension.parse_routing(bytes.fromhex(octets))


def test_packets_that_are_none() -> None:
    good = packet(CARE_OF, AGENT, 60, bytes.fromhex(OPTIONS) + MESSAGE)
    for size in range(len(good)):
        with pytest.raises(Malformed):
            extension.home_form(good[:size])
    with pytest.raises(Malformed, match="not an IPv6"):
        extension.home_form(b"\x45" + good[1:])


@settings(max_examples=300)
@given(next_header=st.sampled_from([0, 43, 60]), payload=st.binary(max_size=80))
def test_any_octets(next_header: int, payload: bytes) -> None:
    wire = packet(CARE_OF, AGENT, next_header, payload)
    with contextlib.suppress(Malformed):
        assert extension.home_form(wire).wire_source == CARE_OF
