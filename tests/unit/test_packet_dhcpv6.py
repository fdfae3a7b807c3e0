# SPDX-License-Identifier: GPL-2.0-only
"""DHCPv6 messages: octets of RFC 8415, bounds, and whatever else may arrive."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.packet.dhcpv6 import (
    ASSOCIATIONS_MAX,
    LARGEST,
    PREFIXES_MAX,
    LeasedPrefix,
    Message,
    MessageType,
    OptionCode,
    PrefixAssociation,
    Relayed,
    Status,
    StatusCode,
    build,
    parse,
)
from dsmip.packet.errors import Malformed

DUID = bytes.fromhex("0004000102030405060708090a0b0c0d0e0f")
REPLY = Message(
    MessageType.REPLY,
    0xABCDEF,
    DUID,
    b"\0\3\0\1abcdef",
    (
        PrefixAssociation(1, 100, 160, (LeasedPrefix(IPv6Network("2001:db8:200::/56"), 200, 300),)),
        PrefixAssociation(2, status=Status(StatusCode.NO_PREFIX, "none left")),
    ),
    requested=(23, 82),
    elapsed=17,
    preference=255,
    rapid_commit=True,
    status=Status(StatusCode.SUCCESS),
    dns=(IPv6Address("2001:db8::53"),),
    solicit_max=600,
)
RELAYED = Relayed(
    MessageType.RELAY_FORWARD, 1, IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2"), b"abcd"
)


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def test_what_is_built_is_parsed() -> None:
    assert parse(build(REPLY)) == REPLY
    assert parse(build(RELAYED)) == RELAYED


def test_octets_are_those_of_the_rfc() -> None:
    message = Message(
        MessageType.SOLICIT,
        0x010203,
        DUID,
        associations=(
            PrefixAssociation(
                5, prefixes=(LeasedPrefix(IPv6Network("2001:db8::/48"), 0x10, 0x20),)
            ),
        ),
        elapsed=0,
        rapid_commit=True,
    )
    expected = (
        "01010203"
        "00010012" + DUID.hex() + "000e0000"
        "000800020000"
        "00190029"
        "00000005"
        "00000000"
        "00000000"
        "001a0019"
        "00000010"
        "00000020"
        "30"
        "20010db8000000000000000000000000"
    )
    assert build(message).hex() == expected
    assert build(RELAYED).hex() == (
        "0c0120010db800000000000000000000000120010db80000000000000000000000020009000461626364"
    )


IA = struct.pack("!III", 1, 0, 0)
PREFIX = struct.pack("!IIB16s", 1, 2, 56, IPv6Address("2001:db8::").packed)
BAD = {
    "empty": b"",
    "three octets": b"\7\0\0",
    "type 0": b"\0\0\0\0",
    "type 14": b"\x0e\0\0\0",
    "option without length": build(REPLY) + b"\0\1",
    "option beyond the end": build(REPLY) + b"\0\1\0\5abcd",
    "two client identifiers": build(REPLY) + option(1, DUID),
    "DUID of 2 octets": b"\7\0\0\0" + option(1, b"ab"),
    "DUID of 131 octets": b"\7\0\0\0" + option(1, bytes(131)),
    "preference of 2 octets": b"\7\0\0\0" + option(7, b"ab"),
    "elapsed time of 1 octet": b"\7\0\0\0" + option(8, b"a"),
    "rapid commit with data": b"\7\0\0\0" + option(14, b"a"),
    "odd option request": b"\7\0\0\0" + option(6, b"abc"),
    "status of 1 octet": b"\7\0\0\0" + option(13, b"a"),
    "addresses of 17 octets": b"\7\0\0\0" + option(23, bytes(17)),
    "IA_PD of 11 octets": b"\7\0\0\0" + option(25, IA[:-1]),
    "IA_NA of 11 octets": b"\7\0\0\0" + option(3, IA[:-1]),
    "prefix of 24 octets": b"\7\0\0\0" + option(25, IA + option(26, PREFIX[:-1])),
    "prefix length 129": b"\7\0\0\0"
    + option(25, IA + option(26, PREFIX[:8] + b"\x81" + PREFIX[9:])),
    "prefix beyond its IA_PD": b"\7\0\0\0" + option(25, IA + option(26, PREFIX)[:-1]),
    "same IAID twice": b"\7\0\0\0" + option(25, IA) * 2,
    "relay of 33 octets": b"\x0c" + bytes(32),
    "relay without a message": b"\x0c" + bytes(33),
    "two messages in a relay": b"\x0c" + bytes(33) + option(9, b"abcd") * 2,
    "one octet too many": build(REPLY) + option(99, bytes(LARGEST - len(build(REPLY)) - 3)),
    "one IA_PD too many": b"\7\0\0\0"
    + b"".join(option(25, struct.pack("!III", n, 0, 0)) for n in range(ASSOCIATIONS_MAX + 1)),
    "one IA_NA too many": b"\7\0\0\0" + option(3, IA) * (ASSOCIATIONS_MAX + 1),
    "one prefix too many": b"\7\0\0\0" + option(25, IA + option(26, PREFIX) * (PREFIXES_MAX + 1)),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_messages_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


def test_bounds_are_reached_without_complaint() -> None:
    full = build(REPLY) + option(99, bytes(LARGEST - len(build(REPLY)) - 4))
    assert len(full) == LARGEST
    assert parse(full) == REPLY
    many = b"\7\0\0\0" + b"".join(
        option(25, struct.pack("!III", n, 0, 0)) for n in range(ASSOCIATIONS_MAX)
    )
    found = parse(many)
    assert isinstance(found, Message)
    assert len(found.associations) == ASSOCIATIONS_MAX


def test_unknown_options_are_skipped_and_host_bits_masked() -> None:
    prefix = struct.pack("!IIB16s", 1, 2, 56, IPv6Address("2001:db8::ffff").packed)
    found = parse(b"\7\0\0\0" + option(250, b"x") + option(25, IA + option(26, prefix)))
    assert isinstance(found, Message)
    assert found.associations[0].prefixes[0].prefix == IPv6Network("2001:db8::/56")


def test_mutations_are_parsed_or_malformed_and_nothing_else() -> None:
    source = random.Random(8415)
    samples = [
        build(REPLY),
        build(RELAYED),
        build(Relayed(RELAYED.type, 1, RELAYED.link, RELAYED.peer, build(REPLY))),
    ]
    parsed = 0
    for _ in range(20_000):
        data = bytearray(source.choice(samples))
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        cut = bytes(data[: source.randrange(len(data) + 1)]) if source.random() < 0.3 else data
        try:
            found = parse(bytes(cut))
        except Malformed:
            continue
        parsed += 1
        again = parse(build(found))
        assert isinstance(again, Relayed) or again.transaction == found.transaction  # type: ignore[union-attr]
    assert parsed > 1000


def test_values_that_do_not_fit_are_our_fault() -> None:
    with pytest.raises(ValueError, match="SOLICIT"):
        build(Message(MessageType.SOLICIT, 1, preference=None, solicit_max=1 << 32))
    assert OptionCode.IA_PD == 25
