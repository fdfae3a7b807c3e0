# SPDX-License-Identifier: GPL-2.0-only
"""IKE messages: headers, chains, the encrypted payload, and what must be dropped or answered."""

from __future__ import annotations

import pytest
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.crypto import Cipher, cipher, encryption_key_size, integrity_key_size
from dsmip.ikev2.errors import Ignored, LocalError, RemoteError
from dsmip.ikev2.message import Header
from dsmip.ikev2.numbers import ExchangeType, Flags, NotifyType
from dsmip.ikev2.proposals import parse_proposal, parse_proposals, select
from hypothesis import given, settings

from tests.fuzz.ikev2_messages import headers, payload_lists

SPI_I, SPI_R = bytes(range(0xC0, 0xC8)), bytes(range(0xD0, 0xD8))
SUITES = (
    "aes128gcm16-prfsha256-x25519",
    "aes256gcm16-prfsha512-x25519",
    "chacha20poly1305-prfsha256-x25519",
    "aes128-sha1-modp2048",
    "aes192-sha384-modp2048",
    "aes256-sha256-modp2048",
    "aes256-sha512-modp2048",
)
OFFER = pl.SA(parse_proposals(["aes128gcm16-prfsha256-x25519"]))
INIT = [OFFER, pl.KE(31, bytes(32)), pl.Nonce(bytes(32))]


def pair(text: str) -> tuple[Cipher, Cipher]:
    """Return two ciphers with the same keys."""
    proposals = (parse_proposal(text),)
    suite = select(proposals, proposals)
    encryption = bytes(range(encryption_key_size(suite.encr, suite.key_length)))
    integrity = bytes(range(integrity_key_size(suite.integ)))
    return cipher(suite, encryption, integrity), cipher(suite, encryption, integrity)


def header(exchange: int = ExchangeType.INFORMATIONAL, flags: int = Flags.INITIATOR) -> Header:
    return Header(SPI_I, SPI_R, exchange, flags, 7)


@settings(max_examples=200)
@given(head=headers, chain=payload_lists)
def test_round_trip(head: Header, chain: list[pl.Payload]) -> None:
    wire = msg.build(head, chain)
    parsed = msg.parse(wire)
    assert parsed.payloads == chain
    assert parsed.encrypted is None
    assert msg.build(parsed.header, parsed.payloads) == wire
    for name in ("spi_i", "spi_r", "exchange", "flags", "message_id"):
        assert getattr(parsed.header, name) == getattr(head, name)


def test_header_octets() -> None:
    wire = msg.build(header(), [])
    assert wire.hex(" ", 4) == "c0c1c2c3 c4c5c6c7 d0d1d2d3 d4d5d6d7 00202508 00000007 0000001c"
    parsed = msg.parse_header(wire)
    assert parsed.initiator
    assert not parsed.response
    assert msg.parse_header(msg.build(header(flags=Flags.RESPONSE), [])).response


@pytest.mark.parametrize("text", SUITES)
@settings(max_examples=20)
@given(chain=payload_lists)
def test_sealed_round_trip(text: str, chain: list[pl.Payload]) -> None:
    ours, theirs = pair(text)
    wire = msg.seal(header(), chain, ours)
    parsed = msg.parse(wire)
    assert parsed.payloads == []
    assert msg.open(parsed, theirs) == chain
    # The same again: the other side must not need to know how often.
    assert msg.open(msg.parse(msg.seal(header(), chain, ours)), theirs) == chain


@pytest.mark.parametrize("text", SUITES)
def test_every_octet_is_protected(text: str) -> None:
    ours, theirs = pair(text)
    wire = msg.seal(header(), [pl.Notify(16384), pl.Delete(1)], ours)
    for at in range(len(wire)):
        damaged = bytearray(wire)
        damaged[at] ^= 0x01
        with pytest.raises((Ignored, RemoteError)):
            msg.open(msg.parse(bytes(damaged)), theirs)
    for size in range(len(wire)):
        with pytest.raises(Ignored):
            msg.parse(wire[:size])


@pytest.mark.parametrize("text", SUITES)
def test_too_short_to_be_encrypted(text: str) -> None:
    ours, theirs = pair(text)
    for size in range(ours.size(0)):
        length = msg.HEADER_SIZE + msg.GENERIC_SIZE + size
        wire = header().pack(46, length) + msg.GENERIC.pack(0, 0, 4 + size) + bytes(size)
        with pytest.raises(Ignored) as caught:
            msg.open(msg.parse(wire), theirs)
        assert caught.value.counter == "ike_bad_icv"


def test_empty_message() -> None:
    ours, theirs = pair(SUITES[0])
    parsed = msg.parse(msg.seal(header(), [], ours))
    assert msg.open(parsed, theirs) == []
    assert parsed.encrypted == msg.Encrypted(0, 28, 32)


def test_payloads_before_the_encrypted_one() -> None:
    ours, theirs = pair(SUITES[0])
    notify = pl.Notify(16390, b"c")
    body = pl.build(notify)
    size = 4 + ours.size(0)
    head = header().pack(41, 28 + 4 + len(body) + size)
    head += msg.GENERIC.pack(46, 0, 4 + len(body)) + body + msg.GENERIC.pack(0, 0, size)
    parsed = msg.parse(head + ours.seal(head, b""))
    assert parsed.payloads == [notify]
    assert msg.open(parsed, theirs) == []


# --- dropped in silence ---------------------------------------------------------------


def test_truncated() -> None:
    wire = msg.build(header(ExchangeType.IKE_SA_INIT), INIT)
    for size in range(len(wire)):
        with pytest.raises(Ignored) as caught:
            msg.parse(wire[:size])
        assert caught.value.counter == "ike_malformed"
    with pytest.raises(Ignored):
        msg.parse(wire + b"\0")


def test_truncated_with_lengths_to_match() -> None:
    wire = msg.build(header(ExchangeType.IKE_SA_INIT), INIT)
    for size in range(28, len(wire)):
        with pytest.raises(RemoteError) as caught:
            msg.parse(wire[:24] + size.to_bytes(4) + wire[28:size])
        assert caught.value.notify == NotifyType.INVALID_SYNTAX


@pytest.mark.parametrize("version", [0x00, 0x10, 0x1F])
def test_older_versions(version: int) -> None:
    wire = bytearray(msg.build(header(), []))
    wire[17] = version
    with pytest.raises(Ignored) as caught:
        msg.parse(bytes(wire))
    assert caught.value.counter == "ike_version"


def test_versions() -> None:
    wire = bytearray(msg.build(header(), []))
    wire[17] = 0x2F
    assert msg.parse(bytes(wire)).header.version == 0x2F
    wire[17] = 0x30
    with pytest.raises(RemoteError) as caught:
        msg.parse(bytes(wire))
    assert caught.value.notify == NotifyType.INVALID_MAJOR_VERSION
    assert msg.unpack_header(bytes(wire)).spi_i == SPI_I
    wire[19] |= Flags.RESPONSE
    with pytest.raises(Ignored):
        msg.parse(bytes(wire))


def test_no_spi() -> None:
    with pytest.raises(Ignored):
        msg.parse(msg.build(Header(bytes(8), SPI_R, 37, 8, 0), []))
    assert msg.parse(msg.build(Header(SPI_I, bytes(8), 34, 8, 0), []))


# --- chains ---------------------------------------------------------------------------


def chained(first: int, *octets: str) -> bytes:
    body = bytes.fromhex("".join(octets))
    return header().pack(first, 28 + len(body)) + body


@pytest.mark.parametrize(
    ("first", "octets"),
    [
        (0, "00"),  # octets that belong to nothing
        (41, ""),  # a payload that is not there
        (41, "0000"),
        (41, "0000 0003"),  # shorter than its own header
        (41, "0000 0000"),
        (41, "0000 0009 0000 4000"),  # longer than the message
        (41, "2900 0008 0000 4000"),  # followed by nothing
        (41, "0000 0008 0000 4000 00"),
        (46, "0000 0004 00"),  # not to the end
        (46, "2900 0004 0000 0008 0000 4000"),  # not the last one
        (53, "0000 0006 0001"),  # fragment without total
        (46, "0000 0003"),
    ],
)
def test_broken_chains(first: int, octets: str) -> None:
    with pytest.raises(RemoteError) as caught:
        msg.parse(chained(first, octets))
    assert caught.value.notify == NotifyType.INVALID_SYNTAX


def test_unknown_payloads() -> None:
    parsed = msg.parse(chained(99, "29000005 ff", "00000008 0000 4000"))
    assert parsed.payloads == [pl.Unknown(99, b"\xff"), pl.Notify(16384)]
    with pytest.raises(RemoteError) as caught:
        msg.parse(chained(99, "29800005 ff", "00000008 0000 4000"))
    assert caught.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert caught.value.data == b"\x63"
    # Those that are known are understood whatever the bit says (RFC 7296 section 2.5).
    assert msg.parse(chained(41, "00ff0008 0000 4000")).payloads == [pl.Notify(16384)]
    assert msg.build(header(), [pl.Unknown(99, b"", True)])[28:] == bytes.fromhex("00800004")


def test_nothing_encrypted_inside() -> None:
    for inner in (46, 53):
        with pytest.raises(RemoteError):
            msg.parse_payloads(inner, bytes.fromhex("0000 0008 0000 0000"))


def test_inner_payloads_are_checked() -> None:
    ours, theirs = pair(SUITES[0])
    wire = msg.seal_octets(header(), 41, b"\0", ours)
    with pytest.raises(RemoteError):
        msg.open(msg.parse(wire), theirs)
    wire = msg.seal(header(), [pl.Unknown(99, b"", True)], ours)
    with pytest.raises(RemoteError) as caught:
        msg.open(msg.parse(wire), theirs)
    assert caught.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD


# --- our own faults -------------------------------------------------------------------


def test_what_does_not_fit_is_our_fault() -> None:
    ours, theirs = pair(SUITES[0])
    with pytest.raises(LocalError):
        msg.build(Header(SPI_I, SPI_R, 37, 8, 1 << 32), [])
    with pytest.raises(LocalError):
        msg.build(header(), [pl.VendorId(bytes(65532))])
    with pytest.raises(LocalError):
        msg.seal(header(), [pl.VendorId(bytes(65500))], ours)
    with pytest.raises(LocalError):
        msg.open(msg.parse(msg.build(header(), [])), theirs)
    fragment = msg.seal_fragment(header(), 41, b"x", 1, 2, ours)
    with pytest.raises(LocalError):
        msg.open(msg.parse(fragment), theirs)


def test_int_auth_octets() -> None:
    """Lengths as if there were neither IV nor padding nor check value."""
    first, plain = msg.build_payloads([pl.KE(36, b"\xaa" * 4)])
    octets = msg.int_auth_octets(header(43), first, plain)
    assert octets.hex(" ", 4) == (
        "c0c1c2c3 c4c5c6c7 d0d1d2d3 d4d5d6d7 2e202b08 00000007 0000002c"
        " 22000010 0000000c 00240000 aaaaaaaa"
    )
