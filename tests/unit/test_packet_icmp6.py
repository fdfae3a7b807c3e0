# SPDX-License-Identifier: GPL-2.0-only
"""ICMPv6 144 to 147, router advertisements, Neighbour Discovery options."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from dsmip.packet import icmp6
from dsmip.packet.errors import Malformed, PacketError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.messages import ICMP_MESSAGES, ND_OPTIONS, any_icmp, v6

HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")

PREFIX = "0304 40 e0 00000e10 00000708 00000000 20010db8000100000000000000000001"
WORKED = [
    ("90000000 1234 8000", icmp6.HomeAgentDiscoveryRequest(0x1234, mobile_router=True)),
    ("90000000 1234 0000", icmp6.HomeAgentDiscoveryRequest(0x1234)),
    (
        "91000000 1234 8000 20010db8000100000000000000000001",
        icmp6.HomeAgentDiscoveryReply(0x1234, (AGENT,), mobile_router=True),
    ),
    ("91000000 1234 0000", icmp6.HomeAgentDiscoveryReply(0x1234, ())),
    ("92000000 0007 0000", icmp6.MobilePrefixSolicitation(7)),
    (
        "93000000 0007 c000" + PREFIX,
        icmp6.MobilePrefixAdvertisement(
            7,
            managed=True,
            other=True,
            options=(icmp6.PrefixInformation(AGENT, 64, True, True, True, 3600, 1800),),
        ),
    ),
    (
        "86000000 40 28 0708 00000000 00000000 0101 020000000001 0701 0000 000000fa"
        "0801 8000 000a 0708" + PREFIX,
        icmp6.RouterAdvertisement(
            64,
            1800,
            home_agent=True,
            preference=1,
            options=(
                icmp6.SourceLinkLayerAddress(bytes.fromhex("020000000001")),
                icmp6.AdvertisementInterval(250),
                icmp6.HomeAgentInformation(10, 1800, mobile_router=True),
                icmp6.PrefixInformation(AGENT, 64, True, True, True, 3600, 1800),
            ),
        ),
    ),
]


def test_everything_has_a_strategy() -> None:
    assert set(ICMP_MESSAGES) == set(icmp6.MESSAGE_LAYOUTS)
    assert set(ND_OPTIONS) == {*icmp6.OPTION_LAYOUTS, icmp6.UnknownNdOption}


@settings(max_examples=300)
@given(message=any_icmp, source=v6, destination=v6)
def test_round_trip(
    message: icmp6.IcmpMessage, source: IPv6Address, destination: IPv6Address
) -> None:
    wire = icmp6.build(message, source, destination)
    assert wire[2:4] == icmp6.checksum(source, destination, wire).to_bytes(2, "big")
    back = icmp6.parse(wire)
    assert back == message
    assert icmp6.build(back, source, destination) == wire


@pytest.mark.parametrize(("octets", "message"), WORKED, ids=range(len(WORKED)))
def test_worked_octets(octets: str, message: icmp6.IcmpMessage) -> None:
    wire = bytes.fromhex(octets)
    assert icmp6.parse(wire) == message
    assert icmp6.build(message) == wire


def test_truncated_at_every_length() -> None:
    for octets, message in WORKED:
        wire = bytes.fromhex(octets)
        for size in range(len(wire)):
            try:
                short = icmp6.parse(wire[:size])
            except Malformed:
                continue
            # A cut between two options or addresses leaves a shorter list.
            assert type(short) is type(message)
            assert size >= 8
            assert (size - icmp6.MESSAGE_LAYOUTS[type(message)].size) % 8 == 0


@pytest.mark.parametrize(
    "octets",
    [
        "80000000 00000000",
        "90010000 12340000",
        "91000000 12340000 20010db8",
        "86000000 40000708 00000000",
        "93000000 00070000 03",
        "93000000 00070000 0300 000000000000",
        "93000000 00070000 0302 40c0 00000000 0000000000000000",
        "93000000 00070000 0304 40c0 00000000",
        "93000000 00070000 0702 0000 000000fa 0000000000000000",
        "9393 9393 9393",
    ],
)
def test_refused(octets: str) -> None:
    with pytest.raises(PacketError) as caught:
        icmp6.parse(bytes.fromhex(octets))
    assert type(caught.value) is Malformed


@pytest.mark.spec("M-007")
def test_reserved_bits_are_ignored_and_kept() -> None:
    for octets, message in (
        ("90000000 1234 7fff", icmp6.HomeAgentDiscoveryRequest(0x1234)),
        (
            "93000000 0007 3fff 0304 401f 00000001 00000001 ffffffff" + AGENT.packed.hex(),
            icmp6.MobilePrefixAdvertisement(
                7, options=(icmp6.PrefixInformation(AGENT, 64, False, False, False, 1, 1),)
            ),
        ),
    ):
        wire = bytes.fromhex(octets)
        assert icmp6.parse(wire) == message
        assert icmp6.build(icmp6.parse(wire)) == wire


def test_link_layer_address_of_another_kind_of_link_is_skipped() -> None:
    wire = bytes.fromhex("92000000 0007 0000 0102 0011223344556677 000000000000")
    assert icmp6.parse(wire) == icmp6.MobilePrefixSolicitation(
        7, (icmp6.UnknownNdOption(1, wire[10:]),)
    )


@pytest.mark.parametrize(
    "message",
    [
        icmp6.HomeAgentDiscoveryRequest(0x10000),
        icmp6.MobilePrefixSolicitation(1, (icmp6.UnknownNdOption(9, b"x"),)),
        icmp6.MobilePrefixSolicitation(1, (icmp6.SourceLinkLayerAddress(b"x"),)),
        icmp6.RouterAdvertisement(1, 2, preference=4),
        icmp6.RouterAdvertisement(1, 0x10000),
    ],
    ids=range(5),
)
def test_values_of_ours_that_do_not_fit(message: icmp6.IcmpMessage) -> None:
    with pytest.raises(ValueError, match=r".+"):
        icmp6.build(message)


@settings(max_examples=200)
@given(data=st.binary(max_size=200), kind=st.sampled_from(sorted(icmp6.MESSAGE_CLASSES)))
def test_any_octets(data: bytes, kind: int) -> None:
    wire = bytes((kind, 0)) + data
    try:
        message = icmp6.parse(wire)
    except Malformed:
        return
    assert icmp6.parse(icmp6.build(message)) == message
