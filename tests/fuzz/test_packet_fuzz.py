# SPDX-License-Identifier: GPL-2.0-only
"""Damaged messages: only PacketError comes out, and what is accepted can be rebuilt.

Each test starts from one seed and stops after its share of the time, so that a
failure repeats and a run ends. DSMIP_FUZZ_SECONDS asks for longer runs.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from dsmip.packet import careof, extension, icmp6
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from dsmip.packet.authenticator import MN_HA, authorized, signed
from dsmip.packet.errors import Malformed, PacketError, ParameterProblem, UnknownMessageType
from dsmip.packet.flows import FlowIdentification, FlowSummary, IPv4Selector, IPv6Selector

from tests.fuzz.damage import damaged

pytestmark = pytest.mark.fuzz

SEED = 6275
ROUNDS = 100_000
SECONDS = float(os.environ.get("DSMIP_FUZZ_SECONDS", "4"))
HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")
CARE_OF = IPv6Address("2001:db8:2::200")
ANY4 = IPv4Address("198.51.100.7")

OPTIONS: tuple[opt.Option, ...] = (
    opt.BindingRefreshAdvice(3),
    opt.AlternateCareOfAddress(CARE_OF),
    opt.NonceIndices(1, 2),
    opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/56")),
    opt.LinkLayerAddress(bytes(6)),
    opt.MobileNodeIdentifier(b"bus-17@fleet.example"),
    opt.MobilityMessageAuthentication(1, 256, bytes(12)),
    opt.ReplayProtection(1 << 63),
    opt.DnsUpdate(b"bus.example"),
    opt.VendorSpecific(32473, 1, b"x"),
    opt.ServiceSelection("ims"),
    opt.IPv4HomeAddress(ANY4),
    opt.IPv4AddressAcknowledgement(0, 32, ANY4),
    opt.NatDetection(True, 110),
    opt.IPv4CareOfAddress(ANY4),
    opt.BindingIdentifier(1),
    opt.BindingIdentifier(2, address=ANY4),
    opt.BindingIdentifier(3, home=True, address=CARE_OF),
    FlowSummary((1, 2, 3)),
    FlowIdentification(1, 2, selector=IPv4Selector(ANY4, protocol_start=6), references=(1, 2)),
    FlowIdentification(2, 1, selector=IPv6Selector(HOME, flow_label_start=1), references=(1,)),
    opt.UnknownOption(200, b"abc"),
)
CODE = opt.BindingAuthorizationData(bytes(12))
MESSAGES: tuple[mh.Message, ...] = (
    mh.BindingRefreshRequest(options=OPTIONS[:4]),
    mh.HomeTestInit(bytes(8)),
    mh.CareOfTestInit(bytes(8), options=(opt.BindingIdentifier(4),)),
    mh.HomeTest(1, bytes(8), bytes(8), options=(OPTIONS[-1],)),
    mh.CareOfTest(1, bytes(8), bytes(8)),
    mh.BindingUpdate(1, 2, options=(*OPTIONS, CODE)),
    mh.BindingUpdate(3, 4, True, True, mobile_router=True, options=OPTIONS[:4]),
    mh.BindingAcknowledgement(0, 1, 2, options=(*OPTIONS[:16], CODE)),
    mh.BindingError(1, HOME),
    mh.HomeAgentSwitch((HOME, AGENT), options=(OPTIONS[0],)),
    mh.BindingRevocationIndication(1, 7, options=OPTIONS[11:19]),
    mh.BindingRevocationAcknowledgement(0, 7),
    mh.Heartbeat(7),
    mh.OtherMessage(14, bytes(10)),
)
ICMP: tuple[icmp6.IcmpMessage, ...] = (
    icmp6.HomeAgentDiscoveryRequest(1),
    icmp6.HomeAgentDiscoveryReply(1, (HOME, AGENT)),
    icmp6.MobilePrefixSolicitation(1, (icmp6.SourceLinkLayerAddress(bytes(6)),)),
    icmp6.RouterAdvertisement(
        64,
        1800,
        options=(
            icmp6.PrefixInformation(HOME, 64, True, True, True, 1, 1),
            icmp6.AdvertisementInterval(1),
            icmp6.HomeAgentInformation(1, 1),
            icmp6.UnknownNdOption(25, bytes(22)),
        ),
    ),
)
INTERESTING = (0, 1, 2, 3, 5, 6, 7, 8, 16, 35, 44, 45, 59, 127, 128, 129, 254, 255)


def damage(chance: random.Random, wire: bytes) -> bytes:
    octets = damaged(chance, wire, INTERESTING, (1, 8))
    if len(octets) >= 8 and chance.random() < 0.6:  # get past the first checks
        octets = octets[: len(octets) & ~7][: mh.LARGEST]
        octets[0] = mh.NO_NEXT_HEADER
        octets[1] = len(octets) // 8 - 1
    return bytes(octets)


def run(samples: list[bytes], check: Callable[[bytes], bool]) -> None:
    """Feed damaged samples to ``check``, which tells whether one was accepted."""
    chance = random.Random(SEED)
    end = time.process_time() + SECONDS
    accepted = tried = 0
    while tried < ROUNDS * max(1, SECONDS / 4) and time.process_time() < end:
        accepted += check(damage(chance, chance.choice(samples)))
        tried += 1
    assert 0 < accepted < tried


def check_message(wire: bytes) -> bool:
    try:
        message = mh.parse(wire)
    except PacketError as error:
        kinds = (Malformed, ParameterProblem, UnknownMessageType)
        if type(error) not in kinds or not error.reason or not error.counter:
            raise
        return False
    rebuilt = mh.build(message)
    size = 8 + wire[1] * 8
    assert rebuilt[:4] == wire[:4]
    assert rebuilt[6:] == wire[6:size]
    assert mh.parse(rebuilt) == message
    if isinstance(message, mh.BindingUpdate | mh.BindingAcknowledgement):
        assert not authorized(wire, b"key", HOME, AGENT)
        assert not signed(wire, MN_HA, b"key", HOME, AGENT)
    return True


def check_icmp(wire: bytes) -> bool:
    try:
        message = icmp6.parse(wire)
    except Malformed:
        return False
    assert icmp6.parse(icmp6.build(message)) == message
    return True


def check_packet(wire: bytes) -> bool:
    try:
        extension.home_form(wire)
    except Malformed:
        return False
    return True


@pytest.mark.spec("M-005")
def test_messages() -> None:
    run([mh.build(message, HOME, AGENT) for message in MESSAGES], check_message)


def test_icmp() -> None:
    run([icmp6.build(message, HOME, AGENT) for message in ICMP], check_icmp)


def test_packets() -> None:
    head = bytes((0x60, 0, 0, 0, 0, 56, 60, 64)) + CARE_OF.packed + AGENT.packed
    update = mh.build(mh.BindingRefreshRequest())
    inner = extension.build_home_address(HOME, 43) + extension.build_routing(HOME, 135) + update
    run([head + inner], check_packet)


def test_care_of_headers() -> None:
    sample = careof.build_header(careof.CareOf(ANY4, careof.WireKind.UDP4, 4191, 2))
    run([sample], lambda wire: careof.parse_header(wire) is not None)


def test_random_octets() -> None:
    chance = random.Random(SEED)
    for _ in range(5_000):
        body = chance.randbytes(chance.randrange(0, 90))
        for parse in (mh.parse, icmp6.parse, extension.home_form):
            try:
                parse(body)
            except PacketError:
                continue
