# SPDX-License-Identifier: GPL-2.0-only
"""Mobility headers: round trips, worked frames, what is refused and how it is answered."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from dsmip.packet import mobility as mh
from dsmip.packet import options as opt
from dsmip.packet.errors import Malformed, PacketError, ParameterProblem, UnknownMessageType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.messages import MESSAGES, any_message, v6

HOME = IPv6Address("2001:db8:1::100")
AGENT = IPv6Address("2001:db8:1::1")
CORRESPONDENT = IPv6Address("2001:db8:3::300")
CARE_OF = IPv6Address("2001:db8:2::200")

#: Frames with their checksums, source and destination: the issue's formats worked out
#: by hand and checked with tshark.
FRAMES = [
    (
        "home registration",
        "3b0305005b8f0001d00003840100031020010db8000200000000000000000200",
        mh.BindingUpdate(
            1,
            900,
            acknowledge=True,
            home=True,
            key_management=True,
            options=(opt.AlternateCareOfAddress(CARE_OF),),
        ),
        (HOME, AGENT),
    ),
    (
        "mobile router",
        "3b06050021760002d40003840100031020010db8000200000000000000000200"
        "010200000612003020010db8010000000000000000000000",
        mh.BindingUpdate(
            2,
            900,
            acknowledge=True,
            home=True,
            key_management=True,
            mobile_router=True,
            options=(
                opt.AlternateCareOfAddress(CARE_OF),
                opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/48")),
            ),
        ),
        (HOME, AGENT),
    ),
    (
        "correspondent",
        "3b030500b982123480000069040400070008050ca7341b3e382ab192fbc762a8",
        mh.BindingUpdate(
            0x1234,
            105,
            acknowledge=True,
            options=(
                opt.NonceIndices(7, 8),
                opt.BindingAuthorizationData(bytes.fromhex("a7341b3e382ab192fbc762a8")),
            ),
        ),
        (HOME, CORRESPONDENT),
    ),
    (
        "IPv4 care-of address",
        "3b03050012f60003d000001b1d0680000000000020060000c0a8011401020000",
        mh.BindingUpdate(
            3,
            27,
            acknowledge=True,
            home=True,
            key_management=True,
            options=(
                opt.IPv4HomeAddress(IPv4Address(0)),
                opt.IPv4CareOfAddress(IPv4Address("192.168.1.20")),
            ),
        ),
        (HOME, AGENT),
    ),
    (
        "IPv4 acknowledged",
        "3b030600f80a00800003001b1e060080c63364071f0600000000006e01020000",
        mh.BindingAcknowledgement(
            0,
            3,
            27,
            key_management=True,
            options=(
                opt.IPv4AddressAcknowledgement(0, 32, IPv4Address("198.51.100.7")),
                opt.NatDetection(False, 110),
            ),
        ),
        (AGENT, HOME),
    ),
]

#: The fixed parts of the rest, without checksum.
BARE = [
    ("3b00000000000000", mh.BindingRefreshRequest()),
    ("3b010100000000000102030405060708", mh.HomeTestInit(bytes(range(1, 9)))),
    ("3b010200000000000102030405060708", mh.CareOfTestInit(bytes(range(1, 9)))),
    (
        "3b0203000000000901020304050607081112131415161718",
        mh.HomeTest(9, bytes(range(1, 9)), bytes(range(0x11, 0x19))),
    ),
    (
        "3b0204000000000901020304050607081112131415161718",
        mh.CareOfTest(9, bytes(range(1, 9)), bytes(range(0x11, 0x19))),
    ),
    ("3b010500000000050000000a01020000", mh.BindingUpdate(5, 10)),
    ("3b01060000008700000500000102" + "0000", mh.BindingAcknowledgement(135, 5, 0)),
    (
        "3b0207000000010020010db8000100000000000000000100",
        mh.BindingError(1, HOME),
    ),
    ("3b000c0000000000", mh.HomeAgentSwitch()),
    (
        "3b020c000000010020010db8000100000000000000000001",
        mh.HomeAgentSwitch((AGENT,)),
    ),
    (
        "3b010d0000000001010203040102" + "0000",
        mh.Heartbeat(0x01020304, response=True),
    ),
    (
        "3b01100000000101000720000102" + "0000",
        mh.BindingRevocationIndication(1, 7, everything=True),
    ),
    (
        "3b01100000000280000740000102" + "0000",
        mh.BindingRevocationAcknowledgement(128, 7, ipv4_only=True),
    ),
    (
        "3b010e000000000011223344" + "00000000",
        mh.OtherMessage(14, b"\0\0\x11\x22\x33\x44" + b"\0" * 4),
    ),
]


def test_every_message_has_a_strategy() -> None:
    assert set(MESSAGES) == {*mh.BY_CLASS, mh.OtherMessage}
    known = set(mh.BY_TYPE) | {mh.BINDING_REVOCATION} | mh.OTHER_TYPES
    assert known == set(range(21))


@pytest.mark.parametrize("cls", list(MESSAGES), ids=lambda cls: cls.__name__)
@settings(max_examples=80)
@given(data=st.data(), source=v6, destination=v6)
def test_round_trip(
    cls: type[mh.Message], data: st.DataObject, source: IPv6Address, destination: IPv6Address
) -> None:
    message = data.draw(MESSAGES[cls])
    bare = mh.build(message)
    assert bare[4:6] == b"\0\0"
    wire = mh.build(message, source, destination)
    assert wire[0] == 59
    assert wire[1] == len(wire) // 8 - 1
    assert wire[2] == (message.type if isinstance(message, mh.OtherMessage) else cls.TYPE)
    assert mh.checksum_correct(source, destination, wire)
    assert mh.checksum(source, destination, wire) == int.from_bytes(wire[4:6], "big")
    assert mh.checksum(source, destination, bare) == int.from_bytes(wire[4:6], "big")
    back = mh.parse(wire)
    assert type(back) is cls
    assert back == message
    assert mh.build(back, source, destination) == wire


@pytest.mark.parametrize(
    ("name", "wire", "message", "ends"), FRAMES, ids=[row[0] for row in FRAMES]
)
def test_worked_frames(
    name: str, wire: str, message: mh.Message, ends: tuple[IPv6Address, IPv6Address]
) -> None:
    octets = bytes.fromhex(wire)
    assert mh.parse(octets) == message
    assert mh.build(message, *ends) == octets
    assert mh.checksum_correct(*ends, octets)


@pytest.mark.parametrize(("wire", "message"), BARE, ids=lambda value: type(value).__name__)
def test_fixed_parts(wire: str, message: mh.Message) -> None:
    octets = bytes.fromhex(wire)
    assert mh.parse(octets) == message
    assert mh.build(message) == octets


BU_FLAGS = {
    "acknowledge": 0x8000,
    "home": 0x4000,
    "link_local": 0x2000,
    "key_management": 0x1000,
    "map_registration": 0x0800,
    "mobile_router": 0x0400,
    "proxy": 0x0200,
    "force_udp": 0x0100,
    "tlv": 0x0080,
    "overwrite": 0x0040,
}
BA_FLAGS = {"key_management": 0x80, "mobile_router": 0x40, "proxy": 0x20, "tlv": 0x10, "bulk": 8}


@pytest.mark.parametrize(("name", "mask"), BU_FLAGS.items())
def test_binding_update_flags(name: str, mask: int) -> None:
    wire = mh.build(mh.BindingUpdate(1, 2, **{name: True}))
    assert int.from_bytes(wire[8:10], "big") == mask
    assert mh.parse(wire) == mh.BindingUpdate(1, 2, **{name: True})


@pytest.mark.parametrize(("name", "mask"), BA_FLAGS.items())
def test_binding_acknowledgement_flags(name: str, mask: int) -> None:
    wire = mh.build(mh.BindingAcknowledgement(0, 1, 2, **{name: True}))
    assert wire[7] == mask
    assert mh.parse(wire) == mh.BindingAcknowledgement(0, 1, 2, **{name: True})


# --- what is refused ---------------------------------------------------------------


def broken(wire: str, **changes: int) -> bytes:
    octets = bytearray(bytes.fromhex(wire))
    for place, value in changes.items():
        octets[{"proto": 0, "length": 1, "type": 2}[place]] = value
    return bytes(octets)


ROUTER = FRAMES[1][1]


@pytest.mark.parametrize("kind", [21, 64, 200, 255])
def test_unknown_type_is_answered_with_a_binding_error(kind: int) -> None:
    with pytest.raises(UnknownMessageType) as caught:
        mh.parse(broken(ROUTER, type=kind))
    assert caught.value.mh_type == kind
    assert caught.value.status == 2
    assert caught.value.counter == "mh_unknown_type"
    assert str(kind) in caught.value.reason


@pytest.mark.spec("M-003")
@pytest.mark.parametrize("proto", [0, 6, 17, 58, 60, 255])
def test_payload_proto(proto: int) -> None:
    with pytest.raises(ParameterProblem) as caught:
        mh.parse(broken(ROUTER, proto=proto))
    assert (caught.value.code, caught.value.pointer) == (0, 0)
    assert caught.value.counter == "mh_parameter_problem"


LEAST = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 1, 6: 1, 7: 2, 12: 0}


@pytest.mark.spec("M-004")
@pytest.mark.parametrize("kind", [kind for kind, least in LEAST.items() if least])
def test_header_len_below_the_least_of_the_type(kind: int) -> None:
    for length in range(LEAST[kind]):
        with pytest.raises(ParameterProblem) as caught:
            mh.parse(bytes((59, length, kind)) + bytes(5 + 8 * length))
        assert (caught.value.code, caught.value.pointer) == (0, 1)
    assert mh.parse(bytes((59, LEAST[kind], kind)) + bytes(5 + 8 * LEAST[kind]))


@pytest.mark.parametrize("subtype", [1, 2])
def test_header_len_of_a_revocation(subtype: int) -> None:
    with pytest.raises(ParameterProblem) as caught:
        mh.parse(bytes((59, 0, 16, 0, 0, 0, subtype, 0)))
    assert caught.value.pointer == 1


@pytest.mark.parametrize("subtype", [0, 3, 255])
def test_unknown_revocation_type_is_dropped(subtype: int) -> None:
    with pytest.raises(Malformed):
        mh.parse(bytes((59, 1, 16, 0, 0, 0, subtype)) + bytes(9))


def test_order_of_the_answers() -> None:
    """RFC 6275 section 9.2 names type, Payload Proto, Header Len, in that order."""
    with pytest.raises(UnknownMessageType):
        mh.parse(broken(ROUTER, type=200, proto=6, length=255))
    with pytest.raises(ParameterProblem) as caught:
        mh.parse(broken(ROUTER, proto=6, length=0))
    assert caught.value.pointer == 0
    with pytest.raises(ParameterProblem) as caught:
        mh.parse(broken(ROUTER, length=0))
    assert caught.value.pointer == 1


@pytest.mark.parametrize(
    "wire", [frame[1] for frame in FRAMES] + [bare[0] for bare in BARE], ids=lambda wire: wire[:8]
)
def test_truncated_at_every_length(wire: str) -> None:
    octets = bytes.fromhex(wire)
    for size in range(len(octets)):
        with pytest.raises(Malformed):
            mh.parse(octets[:size])


@pytest.mark.spec("M-005")
@pytest.mark.parametrize("length", [7, 8, 100, 255])
def test_header_len_beyond_the_data(length: int) -> None:
    with pytest.raises(Malformed, match="are there"):
        mh.parse(broken(ROUTER, length=length))


@pytest.mark.spec("M-005")
def test_header_len_that_cuts_an_option() -> None:
    for length in (1, 2, 4, 5):
        with pytest.raises(Malformed):
            mh.parse(broken(ROUTER, length=length))
    # Header Len 3 ends exactly after the Alternate Care-of Address.
    assert len(mh.parse(broken(ROUTER, length=3)).options) == 1


def test_octets_after_the_header_are_ignored() -> None:
    """RFC 8200 section 4.7: nothing follows, whatever the payload length says."""
    octets = bytes.fromhex(ROUTER)
    for more in (b"\xff", b"\xff" * 8, bytes(2000)):
        assert mh.parse(octets + more) == FRAMES[1][2]
        assert mh.checksum_correct(HOME, AGENT, octets + more)


def test_home_agents_that_do_not_fit() -> None:
    octets = bytearray(mh.build(mh.HomeAgentSwitch((AGENT, HOME))))
    octets[6] = 3
    with pytest.raises(Malformed, match="3 home agents"):
        mh.parse(bytes(octets))
    octets[6] = 255
    with pytest.raises(Malformed, match="255 home agents"):
        mh.parse(bytes(octets))


def test_oversized() -> None:
    padding = opt.UnknownOption(200, bytes(254))
    largest = mh.BindingUpdate(1, 2, options=(padding,) * 7 + (opt.UnknownOption(200, bytes(242)),))
    assert len(mh.build(largest)) == mh.LARGEST == 2048
    assert mh.parse(mh.build(largest)) == largest
    with pytest.raises(ValueError, match="2064 octets"):
        mh.build(dataclasses.replace(largest, options=(padding,) * 8))
    with pytest.raises(ValueError, match="octets"):
        mh.build(mh.HomeAgentSwitch((AGENT,) * 128))


@pytest.mark.parametrize(
    "message",
    [
        mh.BindingUpdate(0x10000, 0),
        mh.BindingUpdate(-1, 0),
        mh.BindingUpdate(0, 0x10000),
        mh.BindingAcknowledgement(256, 0, 0),
        mh.HomeTestInit(b"short"),
        mh.HomeTest(1, bytes(8), bytes(9)),
        mh.BindingError(1 << 8, HOME),
        mh.OtherMessage(14, b"\0"),
        mh.Heartbeat(1 << 32),
        mh.OtherMessage(256, bytes(2)),
        mh.Message(),
    ],
    ids=str,
)
def test_values_of_ours_that_do_not_fit(message: mh.Message) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        mh.build(message)
    assert not isinstance(caught.value, PacketError)


@pytest.mark.spec("M-007")
def test_reserved_fields_are_ignored_and_kept() -> None:
    for wire, message in (
        ("3b01 05 ff 0000 0005 803f 000a 01020000", mh.BindingUpdate(5, 10, acknowledge=True)),
        ("3b00 00 01 0000 ffff", mh.BindingRefreshRequest()),
        ("3b01 06 80 0000 00 07 0005 000a 01020000", mh.BindingAcknowledgement(0, 5, 10)),
        ("3b01 10 00 0000 01 00 0005 1fff 01020000", mh.BindingRevocationIndication(0, 5)),
        ("3b00 0c 00 0000 00 ff", mh.HomeAgentSwitch()),
        ("3b00 0e 55 0000 0000", mh.OtherMessage(14, b"\0\0")),
    ):
        octets = bytes.fromhex(wire)
        back = mh.parse(octets)
        assert back == message
        assert mh.build(back) == octets
        assert mh.build(message) != octets


# --- checksum ----------------------------------------------------------------------


def slow_checksum(source: IPv6Address, destination: IPv6Address, data: bytes) -> int:
    """RFC 1071 word by word, over the pseudo-header of RFC 8200 section 8.1."""
    whole = (
        source.packed + destination.packed + len(data).to_bytes(4, "big") + bytes((0, 0, 0, 135))
    )
    whole += data[:4] + b"\0\0" + data[6:]
    total = 0
    for at in range(0, len(whole), 2):
        total += whole[at] << 8 | whole[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@settings(max_examples=200)
@given(message=any_message, source=v6, destination=v6)
def test_checksum(message: mh.Message, source: IPv6Address, destination: IPv6Address) -> None:
    wire = mh.build(message)
    assert mh.checksum(source, destination, wire) == slow_checksum(source, destination, wire)


@settings(max_examples=100)
@given(message=any_message, source=v6, destination=v6, data=st.data())
def test_one_flipped_bit_is_noticed(
    message: mh.Message, source: IPv6Address, destination: IPv6Address, data: st.DataObject
) -> None:
    wire = bytearray(mh.build(message, source, destination))
    at = data.draw(st.integers(0, len(wire) - 1).filter(lambda at: at != 1))
    wire[at] ^= 1 << data.draw(st.integers(0, 7))
    assert not mh.checksum_correct(source, destination, bytes(wire))


def test_checksum_that_comes_to_zero() -> None:
    rest = mh.checksum(HOME, AGENT, mh.build(mh.BindingUpdate(0, 2)))
    wire = mh.build(mh.BindingUpdate(rest, 2), HOME, AGENT)
    assert wire[4:6] == b"\0\0"
    assert slow_checksum(HOME, AGENT, wire) == 0
    assert mh.checksum_correct(HOME, AGENT, wire)


def test_checksum_of_too_little() -> None:
    for size in range(8):
        assert not mh.checksum_correct(HOME, AGENT, bytes(size))
