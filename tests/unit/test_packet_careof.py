# SPDX-License-Identifier: GPL-2.0-only
"""The Care-of option between daemon and kernel module."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.packet.careof import OPTION_TYPE, CareOf, WireKind, build_header, parse_header
from dsmip.packet.extension import build_home_address
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.messages import u16, u32, v4, v6

V6 = IPv6Address("2001:db8:2::200")


@settings(max_examples=200)
@given(
    care_of=st.builds(
        CareOf,
        st.one_of(v4, v6.filter(lambda address: address.ipv4_mapped is None)),
        st.sampled_from(WireKind),
        u16,
        u32,
    ),
    next_header=st.integers(0, 255),
)
def test_round_trip(care_of: CareOf, next_header: int) -> None:
    header = build_header(care_of)
    assert len(header) == 32
    assert header[1] == 3
    assert parse_header(bytes((next_header,)) + header[1:]) == care_of


def test_worked_octets() -> None:
    header = build_header(CareOf(IPv4Address("203.0.113.9"), WireKind.UDP4, 4191, 3))
    assert header.hex() == ("0003010200001e18" + "00" * 10 + "ffff" + "cb007109105f030000000003")


def test_short_form_that_the_module_makes_of_a_home_address_option() -> None:
    header = bytearray(build_home_address(V6))
    header[6] = OPTION_TYPE
    assert parse_header(bytes(header)) == CareOf(V6)
    assert parse_header(build_home_address(V6)) is None


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "0000",
        "0003010200001e18",
        "0000 1e10 00000000",
        "0000 01ff 00000000",
        "0000 000000000001",
        "0000 0000000000 1e",
        "0001 1e04 00000000 0000000000000000",
        "0003 01020000 1e18" + "00" * 18 + "63" + "00" * 5,
    ],
)
def test_damaged_headers_hold_nothing(octets: str) -> None:
    assert parse_header(bytes.fromhex(octets)) is None


@settings(max_examples=300)
@given(data=st.binary(max_size=60))
def test_any_octets(data: bytes) -> None:
    found = parse_header(data)
    assert found is None or isinstance(found, CareOf)
