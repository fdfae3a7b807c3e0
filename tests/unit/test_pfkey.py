# SPDX-License-Identifier: GPL-2.0-only
"""MIGRATE by PF_KEY: layouts of the drafts, written out, and damage of every kind."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from dsmip.ipsec.association import Mode, SecurityProtocol
from dsmip.ipsec.policy import Direction
from dsmip.linux.pfkey import (
    ACQUIRE,
    PACKET,
    AcquireMessage,
    MigrateMessage,
    Move,
    PfKeyError,
    Refusal,
    build_migrate,
    parse,
)

HOA, HA = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
COA, COA_2 = IPv6Address("2001:db8:a::2"), IPv6Address("2001:db8:b::2")
COA4, HA4 = IPv4Address("198.18.0.2"), IPv4Address("198.51.100.1")
MESSAGE = MigrateMessage(
    Direction.OUT,
    IPv6Network(HOA),
    IPv6Network("::/0"),
    135,
    (Move(SecurityProtocol.ESP, Mode.TUNNEL, 7, (COA, HA), (COA_2, HA)),),
    (COA_2, HA),
    9,
)


def sockaddr(address: IPv6Address | IPv4Address) -> bytes:
    """Return struct sockaddr_in6 or sockaddr_in."""
    if address.version == 6:
        return struct.pack("=HHI", 10, 0, 0) + address.packed + bytes(4)
    return struct.pack("=HH", 2, 0) + address.packed + bytes(8)


def extension(kind: int, body: bytes) -> bytes:
    size = 4 + len(body)
    return struct.pack("=HH", (size + 7) // 8, kind) + body + bytes(-size & 7)


def request(mode: int, source: bytes, destination: bytes) -> bytes:
    data = source + destination
    return struct.pack("=HHBBHII", 16 + len(data), 50, mode, 3, 0, 7, 0) + data


def header(kind: int, body: bytes, *, error: int = 0, pid: int = 0) -> bytes:
    size = (16 + len(body)) // 8
    return struct.pack("=BBBBHHII", 2, kind, error, 3, size, 0, 9, pid) + body


def address(kind: int, one: IPv6Address | IPv4Address, length: int, upper: int) -> bytes:
    return extension(kind, struct.pack("=BBH", upper, length, 0) + sockaddr(one))


def test_the_message_of_the_drafts() -> None:
    """Addresses for IKE, source, destination, policy with old and new request, in this order."""
    ends = [sockaddr(one) for one in (COA, HA, COA_2)]
    requests = request(2, ends[0], ends[1]) + request(2, ends[2], ends[1])
    policy = struct.pack("=HBBII", 2, 2, 0, 0, 0)
    body = (
        extension(25, bytes(4) + ends[2] + ends[1])
        + address(5, HOA, 128, 135)
        + address(6, IPv6Address(0), 0, 135)
        + extension(18, policy + requests)
    )
    wanted = header(24, body, pid=os.getpid())
    assert build_migrate(MESSAGE) == wanted
    assert parse(wanted) == MESSAGE


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("addresses", [None, (COA, HA), (COA4, HA4)])
def test_what_is_built_parses(
    direction: Direction, mode: Mode, addresses: tuple[IPv6Address, IPv6Address] | None
) -> None:
    """Any protocol, both families, several templates."""
    move = Move(SecurityProtocol.AH, mode, 1, (COA, HA), (COA4, HA4))
    message = MigrateMessage(
        direction,
        IPv4Network("203.0.113.0/28"),
        IPv4Network("0.0.0.0/0"),
        0,
        (move, replace(move, old=(COA4, HA4), reqid=2)),
        addresses,
    )
    assert parse(build_migrate(message)) == message


@pytest.mark.parametrize("count", [0, 7])
def test_as_many_templates_as_a_policy_has(count: int) -> None:
    with pytest.raises(PfKeyError):
        build_migrate(replace(MESSAGE, moves=MESSAGE.moves * count))


def test_acquire_with_the_packet_that_asks() -> None:
    """draft-sugimoto section 4.2; the number differs among systems that have it."""
    packet = bytes(range(77))
    body = address(5, HOA, 128, 135) + address(6, HA, 128, 135)
    plain = header(ACQUIRE, body)
    assert parse(plain) == AcquireMessage(HOA, HA, 9)
    full = header(ACQUIRE, body + extension(PACKET, struct.pack("=I", 77) + packet))
    assert parse(full) == AcquireMessage(HOA, HA, 9, packet)
    lying = header(ACQUIRE, body + extension(PACKET, struct.pack("=I", 78 + 8) + packet))
    with pytest.raises(PfKeyError, match="packet"):
        parse(lying)


def test_a_failed_message_is_followed_by_nobody() -> None:
    assert parse(header(24, b"", error=2)) == Refusal(9, 2)
    good = build_migrate(MESSAGE)
    assert parse(good[:2] + bytes((61,)) + good[3:]) == Refusal(9, 61)


def test_messages_about_other_things() -> None:
    assert parse(header(7, b"")) is None


GOOD = build_migrate(MESSAGE)


def test_cut_short_anywhere() -> None:
    for size in range(len(GOOD)):
        with pytest.raises(PfKeyError):
            parse(GOOD[:size])
        # And with a length that owns up to it.
        if size >= 16 and size % 8 == 0:
            with pytest.raises(PfKeyError):
                parse(GOOD[:4] + struct.pack("=H", size // 8) + GOOD[6:size])


def test_any_octet_wrong() -> None:
    """Refused or understood, never anything else."""
    for at in range(len(GOOD)):
        for value in (0, 1, 0x7F, 0xFF):
            damaged = bytearray(GOOD)
            damaged[at] = value
            try:
                parse(bytes(damaged))
            except PfKeyError:
                continue


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "missing"),
        (struct.pack("=HHI", 0, 5, 0), "length"),
        (struct.pack("=HHI", 9, 5, 0), "length"),
        (address(5, HOA, 128, 135) * 2, "twice"),
        (address(5, HOA, 129, 135), "prefix"),
        (address(5, HOA, 128, 135) + address(6, HA4, 32, 135), "families"),
        (extension(5, struct.pack("=BBH", 0, 0, 0) + bytes(24)), "family"),
    ],
)
def test_extensions_that_do_not_fit(body: bytes, reason: str) -> None:
    with pytest.raises(PfKeyError, match=reason):
        parse(header(24, body))


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (struct.pack("=HBBII", 2, 4, 0, 0, 0), "direction"),
        (struct.pack("=HBBII", 2, 2, 0, 0, 0), "pairs"),
        (
            struct.pack("=HBBII", 2, 2, 0, 0, 0) + request(2, sockaddr(COA), sockaddr(HA)),
            "pairs",
        ),
        (
            struct.pack("=HBBII", 2, 2, 0, 0, 0) + request(2, sockaddr(COA), sockaddr(HA4)),
            "families|length",
        ),
        (
            struct.pack("=HBBII", 2, 2, 0, 0, 0)
            + request(2, sockaddr(COA), sockaddr(HA))
            + request(1, sockaddr(COA), sockaddr(HA)),
            "more than addresses",
        ),
        (
            struct.pack("=HBBII", 2, 2, 0, 0, 0) + request(7, sockaddr(COA), sockaddr(HA)) * 2,
            "protocol or mode",
        ),
        (struct.pack("=HBBII", 2, 2, 0, 0, 0) + struct.pack("=HHI", 8, 50, 0), "cut off"),
        (struct.pack("=HBBII", 2, 2, 0, 0, 0) + struct.pack("=HHIII", 8, 50, 0, 0, 0), "length"),
    ],
)
def test_policies_that_do_not_fit(policy: bytes, reason: str) -> None:
    body = address(5, HOA, 128, 135) + address(6, HA, 128, 135) + extension(18, policy)
    with pytest.raises(PfKeyError, match=reason):
        parse(header(24, body))
