# SPDX-License-Identifier: GPL-2.0-only
"""Fragmentation (RFC 7383): sizes, order, repetition, and what must be dropped."""

from __future__ import annotations

import random

import pytest
from dsmip.ikev2 import fragments
from dsmip.ikev2 import message as msg
from dsmip.ikev2 import payloads as pl
from dsmip.ikev2.errors import Ignored, LocalError, RemoteError
from dsmip.ikev2.fragments import Reassembly
from dsmip.ikev2.message import Header
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_ikev2_message import SUITES, header, pair

CHAIN = [pl.Cert(4, bytes(range(256)) * 8), pl.Auth(14, bytes(256))]


def sealed(text: str, limit: int, head: Header | None = None) -> list[msg.Message]:
    ours, _ = pair(text)
    first, plain = msg.build_payloads(CHAIN)
    pieces = fragments.seal(head or header(35), first, plain, ours, limit)
    assert all(len(piece) <= limit for piece in pieces)
    return [msg.parse(piece) for piece in pieces]


@pytest.mark.parametrize("text", SUITES)
@pytest.mark.parametrize("limit", [100, 544, 1228, 1400])
def test_round_trip(text: str, limit: int) -> None:
    _, theirs = pair(text)
    pieces = sealed(text, limit)
    random.Random(limit).shuffle(pieces)
    whole = Reassembly()
    for piece in pieces[:-1]:
        assert whole.add(piece, theirs, 0.0) is None
        assert whole.deadline == fragments.TIMEOUT
    done = whole.add(pieces[-1], theirs, 1.0)
    assert done is not None
    assert msg.parse_payloads(*done) == CHAIN
    assert whole.deadline is None


@settings(max_examples=60)
@given(text=st.sampled_from(SUITES), size=st.integers(0, 3000), limit=st.integers(110, 1500))
def test_sizes(text: str, size: int, limit: int) -> None:
    """As large as allowed and no larger, in as few pieces as that takes."""
    ours, theirs = pair(text)
    pieces = fragments.seal(header(), 43, bytes(size), ours, limit)
    assert all(len(piece) <= limit for piece in pieces)
    if len(pieces) == 1:
        assert msg.open_octets(msg.parse(pieces[0]), theirs) == bytes(size)
        return
    assert msg.HEADER_SIZE + msg.GENERIC_SIZE + ours.size(size) > limit
    capacity = ours.capacity(limit - 36)
    assert ours.size(capacity) <= limit - 36 < ours.size(capacity + 1)
    assert len(pieces) == -(-size // capacity)


def test_first_payload_only_in_the_first() -> None:
    pieces = sealed(SUITES[0], 544)
    assert [piece.encrypted.first for piece in pieces if piece.encrypted] == [37, 0, 0, 0, 0]
    assert [piece.encrypted.number for piece in pieces if piece.encrypted] == [1, 2, 3, 4, 5]
    assert {piece.encrypted.total for piece in pieces if piece.encrypted} == {5}
    assert {piece.header.message_id for piece in pieces} == {7}


def test_limits() -> None:
    assert fragments.limit(6) == 1280 - 40 - 8 - 4
    assert fragments.limit(4) == 576 - 20 - 8 - 4
    assert fragments.limit(6, 1500, marker=False) == 1452
    assert fragments.split(b"abcde", 2) == [b"ab", b"cd", b"e"]
    assert fragments.split(b"", 2) == [b""]
    for plain, size in ((b"x" * 256, 1), (b"x", 0), (b"x", -5)):
        with pytest.raises(LocalError):
            fragments.split(plain, size)
    ours, _ = pair(SUITES[0])
    with pytest.raises(LocalError):
        fragments.seal(header(), 43, bytes(200), ours, 40)


def test_repeated() -> None:
    _, theirs = pair(SUITES[0])
    whole = Reassembly()
    pieces = sealed(SUITES[0], 544)
    assert whole.add(pieces[1], theirs, 0.0) is None
    with pytest.raises(Ignored) as caught:
        whole.add(pieces[1], theirs, 0.0)
    assert caught.value.counter == "ike_fragment_repeated"


def test_smaller_fragments_start_again() -> None:
    _, theirs = pair(SUITES[0])
    whole = Reassembly()
    large, small = sealed(SUITES[0], 1228), sealed(SUITES[0], 544)
    assert whole.add(large[0], theirs, 0.0) is None
    assert whole.add(small[0], theirs, 1.0) is None
    assert whole.deadline == 1.0 + fragments.TIMEOUT
    with pytest.raises(Ignored) as caught:
        whole.add(large[1], theirs, 2.0)
    assert caught.value.counter == "ike_fragment_invalid"
    for piece in small[1:-1]:
        assert whole.add(piece, theirs, 2.0) is None
    assert whole.add(small[-1], theirs, 2.0) is not None


def test_another_message_takes_the_place() -> None:
    _, theirs = pair(SUITES[0])
    whole = Reassembly()
    assert whole.add(sealed(SUITES[0], 544)[0], theirs, 0.0) is None
    later = header(35)
    later.message_id = 8
    pieces = sealed(SUITES[0], 1228, later)
    assert [whole.add(piece, theirs, 1.0) is None for piece in pieces] == [True, False]


def test_time_is_up() -> None:
    _, theirs = pair(SUITES[0])
    whole = Reassembly(timeout=10.0)
    pieces = sealed(SUITES[0], 1228)
    assert not whole.expire(0.0)
    assert whole.add(pieces[0], theirs, 0.0) is None
    assert not whole.expire(9.9)
    assert whole.expire(10.0)
    assert whole.add(pieces[0], theirs, 11.0) is None
    # What comes too late finds the rest gone.
    assert whole.add(pieces[1], theirs, 21.0) is None
    assert whole.add(pieces[0], theirs, 22.0) is not None


@pytest.mark.parametrize(
    ("number", "total", "counter"),
    [
        (0, 0, "ike_fragment_invalid"),
        (0, 2, "ike_fragment_invalid"),
        (3, 2, "ike_fragment_invalid"),
        (1, 0, "ike_fragment_invalid"),
        (1, 256, "ike_fragment_excess"),
        (65535, 65535, "ike_fragment_excess"),
    ],
)
def test_numbers(number: int, total: int, counter: str) -> None:
    ours, theirs = pair(SUITES[0])
    piece = msg.parse(msg.seal_fragment(header(), 41, b"x", number, total, ours))
    with pytest.raises(Ignored) as caught:
        Reassembly().add(piece, theirs, 0.0)
    assert caught.value.counter == counter


def test_forged_fragments_change_nothing() -> None:
    _, theirs = pair(SUITES[0])
    whole = Reassembly()
    pieces = sealed(SUITES[0], 1228)
    assert whole.add(pieces[0], theirs, 0.0) is None
    for total, message_id in ((2, 7), (3, 7), (2, 8)):
        wire = bytearray(pieces[1].octets)
        wire[20:24] = message_id.to_bytes(4)
        wire[34:36] = total.to_bytes(2)
        wire[-1] ^= 1
        with pytest.raises(Ignored) as caught:
            whole.add(msg.parse(bytes(wire)), theirs, 0.0)
        assert caught.value.counter == "ike_bad_icv"
    assert whole.add(pieces[1], theirs, 0.0) is not None


def test_too_much() -> None:
    ours, theirs = pair(SUITES[0])
    whole = Reassembly(largest=1000)
    first = msg.parse(msg.seal_fragment(header(), 41, bytes(600), 1, 3, ours))
    second = msg.parse(msg.seal_fragment(header(), 41, bytes(600), 2, 3, ours))
    assert whole.add(first, theirs, 0.0) is None
    with pytest.raises(Ignored) as caught:
        whole.add(second, theirs, 0.0)
    assert caught.value.counter == "ike_fragment_excess"
    assert whole.deadline is None
    assert "600" not in repr(whole)


def test_a_whole_message_is_no_fragment() -> None:
    ours, theirs = pair(SUITES[0])
    with pytest.raises(Ignored):
        Reassembly().add(msg.parse(msg.seal(header(), [], ours)), theirs, 0.0)
    with pytest.raises(LocalError):
        Reassembly().add(msg.parse(msg.build(header(), [])), theirs, 0.0)


def test_wrong_padding_in_an_authentic_fragment() -> None:
    ours, theirs = pair(SUITES[0])
    wire = msg.seal_fragment(header(), 41, b"", 1, 1, ours)
    head = wire[: 28 + 4 + 4]
    box = ours._box  # type: ignore[attr-defined]
    iv = bytes(8)
    body = iv + box.encrypt(ours._salt + iv, b"\x01", head)  # type: ignore[attr-defined]
    with pytest.raises(RemoteError):
        Reassembly().add(msg.parse(head + body), theirs, 0.0)
