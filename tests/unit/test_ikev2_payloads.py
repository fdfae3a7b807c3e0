# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 payloads: round trips, worked octets, everything that can be cut short or lie."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.errors import LocalError, RemoteError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.numbers import NotifyType, PayloadType
from dsmip.ikev2.proposals import Proposal, Transform, parse_proposal
from dsmip.ikev2.selectors import TrafficSelector
from hypothesis import given, settings

from tests.fuzz.ikev2_messages import payloads

HOME = IPv6Address("2001:db8:1::100")
BU = TrafficSelector.typed(HOME, 135, 5)

#: One payload each with the body it must have, written out by hand from RFC 7296.
WORKED: list[tuple[pl.Payload, str]] = [
    (
        pl.SA((parse_proposal("aes128gcm16-prfsha256-x25519"),)),
        "00 00 0024 01 01 00 03"
        "03 00 000c 01 00 0014 800e 0080"
        "03 00 0008 02 00 0005"
        "00 00 0008 04 00 001f",
    ),
    (
        pl.SA(
            (
                Proposal(1, 3, b"\xc0\xff\xee\x01", (Transform(1, 28), Transform(5, 0))),
                Proposal(2, 2, b"\xc0\xff\xee\x01", (Transform(3, 12),)),
            )
        ),
        "02 00 001c 01 03 04 02 c0ffee01 03 00 0008 01 00 001c 00 00 0008 05 00 0000"
        "00 00 0014 02 02 04 01 c0ffee01 00 00 0008 03 00 000c",
    ),
    (pl.KE(31, b"\xaa" * 4), "001f 0000 aaaaaaaa"),
    (pl.Nonce(bytes(range(16))), "000102030405060708090a0b0c0d0e0f"),
    (pl.IdI(Identity.parse("bus-17")), "02 000000 6275732d3137"),
    (pl.IdR(Identity.of(HOME)), "05 000000 20010db8000100000000000000000100"),
    (pl.Cert(4, b"\x30\x00"), "04 3000"),
    (pl.CertReq(4, b"\x11" * 20), "04" + "11" * 20),
    (pl.Auth(14, b"sig"), "0e 000000 736967"),
    (pl.Notify(16388, b"\x22" * 20), "00 00 4004" + "22" * 20),
    (pl.Notify(16393, b"", 3, b"\x01\x02\x03\x04"), "03 04 4009 01020304"),
    (pl.Delete(1), "01 00 0000"),
    (pl.Delete(3, (b"abcd", b"efgh")), "03 04 0002 61626364 65666768"),
    (pl.VendorId(b"dsmip"), "64736d6970"),
    (
        pl.TSi((BU,)),
        "01 000000 08 87 0028 0500 0500"
        "20010db8000100000000000000000100 20010db8000100000000000000000100",
    ),
    (
        pl.TSr((TrafficSelector.from_network("198.51.100.0/24", 17, 547, 547),)),
        "01 000000 07 11 0010 0223 0223 c6336400 c63364ff",
    ),
    (
        pl.Configuration(1, (pl.Attribute(8), pl.Attribute(16, b"\x01\x02"))),
        "01 000000 0008 0000 0010 0002 0102",
    ),
    (pl.Eap(b"\x01\x05\x00\x05\x01"), "0105000501"),
]


@settings(max_examples=400)
@given(value=payloads)
def test_round_trip(value: pl.Payload) -> None:
    kind = value.type if isinstance(value, pl.Unknown) else value.TYPE
    body = pl.build(value)
    assert pl.parse(kind, body) == value
    assert pl.build(pl.parse(kind, body)) == body


@pytest.mark.parametrize(("value", "octets"), WORKED, ids=lambda v: type(v).__name__)
def test_worked(value: pl.Payload, octets: str) -> None:
    assert pl.build(value) == bytes.fromhex(octets)
    assert pl.parse(value.TYPE, bytes.fromhex(octets)) == value


def test_every_payload_is_worked() -> None:
    assert {type(value) for value, _ in WORKED} == {entry.cls for entry in pl.BY_TYPE.values()}
    named = {kind for kind in PayloadType if kind not in (0, PayloadType.SK, PayloadType.SKF)}
    assert named == set(pl.BY_TYPE)


#: What is left of these payloads when their end is missing is another valid payload.
OPEN_ENDED = (pl.KE, pl.IdI, pl.Cert, pl.CertReq, pl.Auth, pl.Notify, pl.VendorId)


def refused(kind: int, body: bytes) -> bool:
    try:
        value = pl.parse(kind, body)
    except RemoteError as error:
        if error.notify != NotifyType.INVALID_SYNTAX:
            raise
        return True
    return pl.build(value) != body


@pytest.mark.parametrize(("value", "octets"), WORKED, ids=lambda v: type(v).__name__)
def test_truncated(value: pl.Payload, octets: str) -> None:
    """A part of a payload is refused, or is a shorter one of the same type."""
    wire = bytes.fromhex(octets)
    accepted = [size for size in range(len(wire)) if not refused(value.TYPE, wire[:size])]
    if isinstance(value, OPEN_ENDED):
        assert accepted == list(range(len(wire) - len(accepted), len(wire)))
    else:
        # Whole attributes that are missing are not missed.
        assert accepted == ([4, 8] if isinstance(value, pl.Configuration) else [])


@pytest.mark.parametrize(("value", "octets"), WORKED, ids=lambda v: type(v).__name__)
def test_octets_too_many(value: pl.Payload, octets: str) -> None:
    wire = bytes.fromhex(octets) + b"\0"
    if isinstance(value, (*OPEN_ENDED, pl.Nonce)):
        assert pl.build(pl.parse(value.TYPE, wire)) == wire
    else:
        with pytest.raises(RemoteError):
            pl.parse(value.TYPE, wire)


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        (33, "01 00 0014 01 01 00 01 00 00 000c 01 00 0014 800e 0080"),  # neither last nor more
        (33, "02 00 0014 01 01 00 01 00 00 000c 01 00 0014 800e 0080"),  # more, but none comes
        (33, "00 00 0014 01 01 00 02 00 00 000c 01 00 0014 800e 0080"),  # two transforms announced
        (33, "00 00 0014 01 01 00 01 03 00 000c 01 00 0014 800e 0080"),  # another one announced
        (33, "00 00 0014 01 01 00 01 00 00 000d 01 00 0014 800e 0080"),  # transform too long
        (33, "00 00 0014 01 01 00 01 00 00 0007 01 00 0014 800e 0080"),  # transform too short
        (33, "00 00 0014 01 01 00 01 00 00 000c 01 00 0014 000e 0080"),  # attribute too long
        (33, "00 00 0007 01 01 00 00"),
        (33, "00 00 0008 01 01 01 00"),  # SPI of one octet for IKE
        (33, "00 00 0008 01 03 00 00"),  # ESP without SPI
        (33, "00 00 0010 01 03 08 00 0000000000000000"),
        (33, "00 00 0008 01 04 ff 00"),  # SPI beyond the proposal
        (33, ""),
        (40, "00" * 15),
        (40, "00" * 257),
        (35, "05 000000 00"),  # IPv6 address of one octet
        (35, "01 000000 0001020304"),
        (41, "00 05 4000 01020304"),
        (42, "03 04 0002 61626364"),
        (42, "03 08 0001 6162636465666768"),
        (42, "01 00 0001"),
        (42, "01 04 0001 61626364"),
        (44, "02 000000 07 11 0010 0223 0223 c6336400 c63364ff"),  # two announced
        (44, "00 000000 07 11 0010 0223 0223 c6336400 c63364ff"),
        (44, "01 000000 07 11 0028 0223 0223" + "00" * 32),  # length of the other family
        (44, "01 000000 07 11 0010 0223 0223 c63364ff c6336400"),  # backwards
        (44, "01 000000 07 11 0007 0223 0223 c63364ff c6336400"),
        (47, "01 000000 0008 0001"),
        (48, "0105000601"),
        (48, "01050004 01"),
    ],
)
def test_refused(kind: int, octets: str) -> None:
    with pytest.raises(RemoteError) as caught:
        pl.parse(kind, bytes.fromhex(octets))
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
    assert not caught.value.data


def test_reserved_fields_are_ignored() -> None:
    assert pl.parse(34, bytes.fromhex("001f ffff aa")) == pl.KE(31, b"\xaa")
    assert pl.parse(35, bytes.fromhex("02 ffffff 61")) == pl.IdI(Identity(2, b"a"))
    assert pl.parse(39, bytes.fromhex("02 ffffff 61")) == pl.Auth(2, b"a")
    assert pl.parse(44, bytes.fromhex("00 ffffff")) == pl.TSi(())
    request = pl.parse(47, bytes.fromhex("01 ffffff 8008 0000"))
    assert request == pl.Configuration(1, (pl.Attribute(8),))
    proposal = "00 ff 0014 01 01 00 01 00 ff 000c 01 ff 0014 800e 0080"
    sa = pl.parse(33, bytes.fromhex(proposal))
    assert sa == pl.SA((Proposal(1, 1, b"", (Transform(1, 20, 128),)),))


def test_critical() -> None:
    assert pl.parse(33, pl.build(WORKED[0][0]), critical=True) == WORKED[0][0]
    assert pl.parse(99, b"x") == pl.Unknown(99, b"x")
    with pytest.raises(RemoteError) as caught:
        pl.parse(99, b"x", critical=True)
    assert caught.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert caught.value.data == b"\x63"


def test_attributes_that_nobody_knows() -> None:
    body = bytes.fromhex("00 00 0018 01 01 00 01 00 00 0010 01 00 0014 800e 0080 8001 0007")
    sa = pl.parse(33, body)
    assert isinstance(sa, pl.SA)
    assert sa.proposals[0].transforms == (Transform(1, 20, 128, bytes.fromhex("80010007")),)
    assert pl.build(sa) == body


def test_selectors_of_unknown_types_are_left_out() -> None:
    label = "0a 00 000a 0000 0000 6162"
    ours = "07 11 0010 0223 0223 c6336400 c63364ff"
    found = pl.parse(45, bytes.fromhex(f"02 000000 {label} {ours}"))
    assert found == pl.TSr((TrafficSelector.from_network("198.51.100.0/24", 17, 547, 547),))


@pytest.mark.parametrize(
    "value",
    [
        pl.SA(()),
        pl.SA((Proposal(256, 1, b"", ()),)),
        pl.KE(70000, b""),
        pl.Notify(-1),
        pl.Delete(3, (b"abc",)),
        pl.Delete(1, (b"abcd",)),
        pl.TSi((TrafficSelector(0, 0, 65536, IPv4Address(0), IPv4Address(0)),)),
    ],
)
def test_what_does_not_fit_is_our_fault(value: pl.Payload) -> None:
    with pytest.raises(LocalError):
        pl.build(value)


def test_finding() -> None:
    chain = [pl.Notify(1), pl.Nonce(bytes(16)), pl.Notify(16390, b"c"), pl.Notify(16390, b"d")]
    assert pl.find(chain, pl.Nonce) == pl.Nonce(bytes(16))
    assert pl.find(chain, pl.KE) is None
    assert pl.find_notify(chain, NotifyType.COOKIE) == pl.Notify(16390, b"c")
    assert pl.find_notify(chain, NotifyType.COOKIE2) is None
    values = pl.Configuration(2, (pl.Attribute(8, b"a"), pl.Attribute(3), pl.Attribute(8))).values
    assert values(8) == [b"a", b""]
