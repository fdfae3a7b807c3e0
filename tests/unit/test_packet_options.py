# SPDX-License-Identifier: GPL-2.0-only
"""Mobility options: round trips, alignment, worked octets, refusals."""

from __future__ import annotations

import copy
import dataclasses
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from dsmip.packet import options as opt
from dsmip.packet.errors import Malformed
from dsmip.packet.flows import FlowIdentification, FlowSummary
from dsmip.packet.mobility import BindingUpdate, build, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.messages import OPTIONS, option_lists, unknown_options

HOME = IPv6Address("2001:db8:1::100")
CARE_OF = IPv6Address("2001:db8:2::200")

#: Alignment as the RFCs give it, kept apart from the table it checks.
ALIGNMENT = {
    opt.BindingRefreshAdvice: (2, 0),
    opt.AlternateCareOfAddress: (8, 6),
    opt.NonceIndices: (2, 0),
    opt.BindingAuthorizationData: (8, 2),
    opt.MobileNetworkPrefix: (8, 4),
    opt.MobilityMessageAuthentication: (4, 1),
    opt.ReplayProtection: (8, 2),
    opt.VendorSpecific: (4, 2),
    opt.IPv4HomeAddress: (4, 0),
    opt.IPv4AddressAcknowledgement: (4, 0),
    opt.NatDetection: (4, 0),
    opt.IPv4CareOfAddress: (4, 0),
    FlowIdentification: (2, 0),
    FlowSummary: (2, 0),
}

#: One option each with the octets it must have, written out by hand from the RFCs.
WORKED = [
    (opt.BindingRefreshAdvice(150), "0202 0096"),
    (opt.AlternateCareOfAddress(CARE_OF), "0310 20010db8000200000000000000000200"),
    (opt.NonceIndices(7, 0x108), "0404 0007 0108"),
    (opt.BindingAuthorizationData(bytes(range(12))), "050c 000102030405060708090a0b"),
    (
        opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/56")),
        "0612 00 38 20010db8010000000000000000000000",
    ),
    (opt.LinkLayerAddress(bytes.fromhex("020000000001")), "0707 02 020000000001"),
    (opt.MobileNodeIdentifier(b"bus@x.example"), "080e 01 62757340782e6578616d706c65"),
    (
        opt.MobilityMessageAuthentication(1, 0x1000, b"\xaa" * 12),
        "0911 01 00001000 aaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    (opt.ReplayProtection(0xE5000000_80000000), "0a08 e500000080000000"),
    (opt.DnsUpdate(b"bus.example", remove=True, status=130), "110d 82 80 6275732e6578616d706c65"),
    (opt.VendorSpecific(32473, 9, b"hi"), "1307 00007ed9 09 6869"),
    (opt.ServiceSelection("ïms"), "1404 c3af6d73"),
    (opt.IPv4HomeAddress(IPv4Address("198.51.100.7")), "1d06 8000 c6336407"),
    (opt.IPv4HomeAddress(IPv4Address(0), 28, True), "1d06 7200 00000000"),
    (opt.IPv4AddressAcknowledgement(132, 0, IPv4Address(0)), "1e06 84 00 00000000"),
    (
        opt.IPv4AddressAcknowledgement(0, 32, IPv4Address("198.51.100.7")),
        "1e06 00 80 c6336407",
    ),
    (opt.NatDetection(True, 110), "1f06 8000 0000006e"),
    (opt.NatDetection(False, opt.NatDetection.NO_KEEPALIVE), "1f06 0000 ffffffff"),
    (opt.IPv4CareOfAddress(IPv4Address("192.168.1.20")), "2006 0000 c0a80114"),
    (opt.BindingIdentifier(5, status=4), "2304 0005 04 00"),
    (
        opt.BindingIdentifier(1, home=True, priority=3, address=IPv4Address("10.0.0.1")),
        "2308 0001 00 83 0a000001",
    ),
    (
        opt.BindingIdentifier(2, priority=127, address=CARE_OF),
        "2314 0002 00 7f 20010db8000200000000000000000200",
    ),
    (FlowSummary((1, 2, 300)), "2c06 0001 0002 012c"),
    (opt.UnknownOption(200, b"\1\2\3"), "c803 010203"),
]


def walk(data: bytes, at: int) -> list[tuple[int, int, bytes]]:
    """Read (offset, type, data) of each option, padding too, by nothing but RFC 6275 6.2.1."""
    found = []
    while at < len(data):
        if data[at] == 0:
            found.append((at, 0, b""))
            at += 1
        else:
            size = data[at + 1]
            assert at + 2 + size <= len(data)
            found.append((at, data[at], data[at + 2 : at + 2 + size]))
            at += 2 + size
    return found


def update(*options: opt.Option) -> BindingUpdate:
    return BindingUpdate(1, 10, options=options)


def frame(*options: str) -> bytes:
    """A Binding Update with hand-made options, which must come to a multiple of 8."""
    body = bytes.fromhex("0001 0000 000a" + "".join(options))
    assert (len(body) + 6) % 8 == 0
    return bytes((59, (len(body) - 2) // 8, 5, 0, 0, 0)) + body


def test_every_option_has_a_strategy() -> None:
    assert set(OPTIONS) == set(opt.BY_CLASS)
    assert {cls.TYPE for cls in OPTIONS} == set(opt.BY_TYPE)
    assert set(opt.BY_TYPE) == {*range(2, 11), 17, 19, 20, *range(29, 33), 35, 44, 45}


@pytest.mark.parametrize("cls", list(OPTIONS), ids=lambda cls: cls.__name__)
@settings(max_examples=100)
@given(data=st.data(), shift=st.integers(0, 7))
def test_option_round_trip_and_alignment(
    cls: type[opt.Option], data: st.DataObject, shift: int
) -> None:
    value = data.draw(OPTIONS[cls])
    # An unknown option of any size in front moves it to each offset modulo 8.
    message = update(opt.UnknownOption(200, bytes(shift)), value)
    wire = build(message)
    back = parse(wire)
    assert back == message
    assert type(back.options) is tuple
    assert build(back) == wire
    (at,) = [at for at, kind, _ in walk(wire, 12) if kind == cls.TYPE]
    modulus, phase = ALIGNMENT.get(cls, (1, 0))
    if isinstance(value, opt.BindingIdentifier):
        modulus, phase = (2, 0) if value.address is None else (8, 2)
    assert at % modulus == phase
    if cls is opt.BindingAuthorizationData:
        assert at + 14 == len(wire)


@settings(max_examples=200)
@given(options=option_lists())
def test_many_options_round_trip(options: tuple[opt.Option, ...]) -> None:
    message = update(*options)
    wire = build(message)
    assert len(wire) % 8 == 0
    back = parse(wire)
    assert back == message
    assert type(back.options) is tuple
    pads = [(kind, data) for _, kind, data in walk(wire, 12) if kind < 2]
    assert all(not any(data) and len(data) <= 5 for _, data in pads)


@settings(max_examples=50)
@given(option=unknown_options)
def test_unknown_option_is_kept(option: opt.UnknownOption) -> None:
    assert parse(build(update(option))).options == (option,)


@pytest.mark.parametrize(("option", "octets"), WORKED, ids=lambda value: str(value)[:24])
def test_worked_octets(option: opt.Option, octets: str) -> None:
    wire = bytes.fromhex(octets)
    found = [bytes((kind, len(data))) + data for _, kind, data in walk(build(update(option)), 12)]
    assert wire in found
    # Read where the RFC's alignment does not put it, it is the same option.
    padded = octets + "00" * (-(12 + len(wire)) % 8)
    back = parse(frame(padded))
    assert back.options == (option,)
    assert build(back) == frame(padded)


def test_padding_follows_the_spec_tables() -> None:
    alternate, prefix = (
        opt.AlternateCareOfAddress(CARE_OF),
        opt.MobileNetworkPrefix(IPv6Network("2001:db8:100::/48")),
    )
    home4, care4 = (
        opt.IPv4HomeAddress(IPv4Address(0)),
        opt.IPv4CareOfAddress(IPv4Address("192.168.1.20")),
    )

    def shape(*options: opt.Option) -> list[tuple[int, int]]:
        return [(at, kind) for at, kind, _ in walk(build(update(*options)), 12)]

    assert shape() == [(12, 1)]
    assert shape(alternate) == [(12, 1), (14, 3)]
    assert shape(prefix) == [(12, 6)]
    assert shape(alternate, prefix) == [(12, 1), (14, 3), (32, 1), (36, 6)]
    assert shape(home4, care4) == [(12, 29), (20, 32), (28, 1)]
    nonce, code = opt.NonceIndices(1, 2), opt.BindingAuthorizationData(bytes(12))
    assert shape(nonce, code) == [(12, 4), (18, 5)]
    assert shape(opt.BindingIdentifier(1, address=CARE_OF)) == [(12, 1), (18, 35)]
    assert shape(opt.MobileNodeIdentifier(b"abc")) == [(12, 8), (18, 1)]
    assert shape(opt.MobileNodeIdentifier(b"abcdefgh")) == [(12, 8), (23, 0)]


FIXED = {
    2: 2,
    3: 16,
    4: 4,
    5: 12,
    6: 18,
    10: 8,
    29: 6,
    30: 6,
    31: 6,
    32: 6,
}


@pytest.mark.parametrize("kind", sorted(FIXED))
@pytest.mark.parametrize("change", [-1, 1])
def test_length_lies_of_fixed_options(kind: int, change: int) -> None:
    wire = build(update(opt.UnknownOption(kind, bytes(FIXED[kind] + change))))
    with pytest.raises(Malformed) as caught:
        parse(wire)
    assert caught.value.counter == "mh_malformed"
    assert caught.value.reason


LEAST = {7: 1, 8: 1, 9: 5, 17: 2, 19: 5, 20: 1, 44: 2}


@pytest.mark.parametrize("kind", sorted(LEAST))
def test_variable_options_that_are_too_short(kind: int) -> None:
    assert len(parse(build(update(opt.UnknownOption(kind, bytes(LEAST[kind]))))).options) == 1
    with pytest.raises(Malformed):
        parse(build(update(opt.UnknownOption(kind, bytes(LEAST[kind] - 1)))))


def test_prefix_lengths() -> None:
    whole = "20010db8010000000000000000000000"
    for length, network in ((0, "::/0"), (56, "2001:db8:100::/56"), (128, "2001:db8:100::/128")):
        (option,) = parse(frame(f"0612 00 {length:02x} {whole}")).options
        assert option == opt.MobileNetworkPrefix(IPv6Network(network))
    for length in (129, 255):
        with pytest.raises(Malformed, match=f"prefix length {length}"):
            parse(frame(f"0612 00 {length:02x} {whole}"))


def test_host_bits_of_a_prefix_are_ignored_and_kept() -> None:
    wire = frame("0612 ff 20 20010db8ffffffffffffffffffffffff")
    back = parse(wire)
    assert back.options == (opt.MobileNetworkPrefix(IPv6Network("2001:db8::/32")),)
    assert build(back) == wire
    assert build(dataclasses.replace(back, options=tuple(back.options))) != wire


@pytest.mark.parametrize("size", [n for n in range(25) if n not in (4, 8, 20)])
def test_binding_identifier_of_a_wrong_length_can_be_answered(size: int) -> None:
    wire = build(update(opt.UnknownOption(35, bytes(size))))
    back = parse(wire)
    assert back.options == (opt.MalformedOption(35, bytes(size)),)
    assert build(back) == wire


@pytest.mark.spec("M-005")
@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("0311 20010db8", "ends at"),
        ("00000000 000000 03", "no length"),
        ("01ff 0000", "ends at"),
        ("c803 0000", "ends at"),
        ("0000 0001", "no length"),
    ],
)
def test_option_over_the_end(octets: str, text: str) -> None:
    padded = octets.replace(" ", "")
    if (12 + len(padded) // 2) % 8:
        padded = "00" * (-(12 + len(padded) // 2) % 8) + padded
    with pytest.raises(Malformed, match=text):
        parse(frame(padded))


@pytest.mark.parametrize(
    "padding",
    [
        "00000000",
        "01020000",
        "0102dead",
        "00010100",
        "01000100",
        "00000100",
        "010a 0000000000000000 0000",
        "01ff" + "00" * 255 + "000000",
    ],
)
def test_every_padding_is_skipped_and_kept(padding: str) -> None:
    wire = frame(padding)
    back = parse(wire)
    assert back == update()
    assert build(back) == wire
    assert build(dataclasses.replace(back, options=())) == build(update())


def test_misaligned_options_are_read_and_kept() -> None:
    wire = frame("0310 20010db8000200000000000000000200 0100")
    back = parse(wire)
    assert back.options == (opt.AlternateCareOfAddress(CARE_OF),)
    assert isinstance(back.options, opt.AsReceived)
    assert build(back) == wire
    assert build(dataclasses.replace(back, options=(*back.options,))) != wire
    # A copy that went through asdict or deepcopy loses no more than the layout.
    assert dataclasses.asdict(back)["options"] == ({"address": CARE_OF},)
    assert copy.deepcopy(back) == back


@pytest.mark.spec("M-007")
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        ("1d06 81ff 00000000", opt.IPv4HomeAddress(IPv4Address(0))),
        ("1e06 00 83 c6336407", opt.IPv4AddressAcknowledgement(0, 32, IPv4Address("198.51.100.7"))),
        ("1f06 7fff 00000000", opt.NatDetection(False, 0)),
        ("2006 ffff c0a80114", opt.IPv4CareOfAddress(IPv4Address("192.168.1.20"))),
        ("1104 00 7f 6162", opt.DnsUpdate(b"ab")),
    ],
)
def test_reserved_bits_are_ignored_and_kept(octets: str, expected: opt.Option) -> None:
    size = len(bytes.fromhex(octets))
    wire = frame(octets + "00" * (-(12 + size) % 8))
    back = parse(wire)
    assert back.options == (expected,)
    assert build(back) == wire


@pytest.mark.spec("M-010")
def test_authorization_data_is_last() -> None:
    code = "050c 000102030405060708090a0b"
    nonce = "0404 00010002"
    good = parse(frame(nonce + code))
    assert good.options[-1] == opt.BindingAuthorizationData(bytes(range(12)))
    with pytest.raises(Malformed, match="after Binding Authorization Data"):
        parse(frame(code + nonce))
    # Padding after it can be represented; authenticator.authorized refuses it.
    padded = frame("0100" + nonce + code + "0104 00000000")
    assert build(parse(padded)) == padded
    with pytest.raises(ValueError, match="not the last"):
        build(update(good.options[1], good.options[0]))
    with pytest.raises(ValueError, match="not the last"):
        build(update(good.options[1], good.options[1]))


@pytest.mark.parametrize(
    "option",
    [
        opt.BindingRefreshAdvice(0x10000),
        opt.BindingRefreshAdvice(-1),
        opt.NonceIndices(1, 1 << 20),
        opt.BindingAuthorizationData(bytes(11)),
        opt.LinkLayerAddress(bytes(255)),
        opt.VendorSpecific(1 << 32, 0),
        opt.ServiceSelection(""),
        opt.ServiceSelection("x" * 256),
        opt.IPv4HomeAddress(IPv4Address(0), 64),
        opt.IPv4AddressAcknowledgement(0, -1, IPv4Address(0)),
        opt.NatDetection(False, 1 << 32),
        opt.BindingIdentifier(0x10000),
        opt.BindingIdentifier(1, priority=128),
        FlowSummary(()),
        FlowSummary(tuple(range(128))),
        opt.UnknownOption(0, b""),
        opt.UnknownOption(1, b""),
        opt.UnknownOption(256, b""),
        opt.UnknownOption(99, bytes(256)),
        opt.Option(),
    ],
    ids=str,
)
def test_values_of_ours_that_do_not_fit(option: opt.Option) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        build(update(option))
    assert not isinstance(caught.value, Malformed)


def test_service_selection_must_be_utf8() -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        parse(frame("1402 c328"))


def test_find() -> None:
    first, second = opt.BindingIdentifier(1), opt.BindingIdentifier(2)
    options = (opt.NonceIndices(1, 2), first, second)
    assert opt.find(options, opt.BindingIdentifier) is first
    assert opt.find(options, opt.NatDetection) is None
    assert opt.find_all(options, opt.BindingIdentifier) == [first, second]
    assert opt.find_all(options, opt.NatDetection) == []
