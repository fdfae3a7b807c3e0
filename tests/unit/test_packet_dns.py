# SPDX-License-Identifier: GPL-2.0-only
"""DNS messages: what is read and written, and what is refused."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.packet import dns, dns_update
from dsmip.packet.dns import (
    DnsMalformed,
    Question,
    Record,
    RecordClass,
    RecordType,
    Service,
    build_message,
    build_query,
    encode_name,
    parse,
    read_name,
)
from hypothesis import given
from hypothesis import strategies as st

NAME = "_mip6._ipv6.example.test"
HA6, HA4 = IPv6Address("2001:db8:1::1"), IPv4Address("198.51.100.1")
HOA = IPv6Address("2001:db8:1::4017")
#: An answer as Debian's named gave it: compressed names, additional section, EDNS.
FROM_NAMED = bytes.fromhex(
    "004d85000001000200000003055f6d697036055f69707636076578616d706c650474657374000021"
    "0001c00c002100010000003c001a001400000000057370617265076578616d706c65047465737400"
    "c00c002100010000003c0018000a0000000003686131076578616d706c65047465737400c062001c"
    "00010000003c001020010db8000100000000000000000001c062000100010000003c0004c6336401"
    "00002904d0000000000000"
)


def answer(
    *records: Record, id: int = 77, flags: int = 0x8180, additional: tuple[Record, ...] = ()
) -> bytes:
    question = Question(NAME, RecordType.SRV)
    return build_message(id, 0, (question,), (records, (), additional), flags)


def test_question() -> None:
    octets = build_query(0x1234, Question("HA1.Example.TEST.", RecordType.AAAA), edns=False)
    assert octets == bytes.fromhex(
        "12340100000100000000000003686131076578616d706c650474657374 00 001c0001".replace(" ", "")
    )
    with_edns = build_query(0x1234, Question("ha1.example.test", RecordType.AAAA))
    assert with_edns[-11:] == bytes.fromhex("00002904d0000000000000")
    assert with_edns[10:12] == b"\0\1"


def test_answer_of_a_real_server() -> None:
    found = parse(FROM_NAMED)
    assert found.id == 77
    assert found.questions == (Question(NAME, RecordType.SRV),)
    assert [record.data for record in found.answers] == [
        Service(20, 0, 0, "spare.example.test"),
        Service(10, 0, 0, "ha1.example.test"),
    ]
    assert [record.data for record in found.additional[:2]] == [HA6, HA4]


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "0 octets"),
        (b"\0" * 11, "11 octets"),
        (b"\0" * 12, "query where a response"),
        (struct.pack("!6H", 1, 0x8000, 200, 57, 0, 0), "257 records"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0), "beyond the message"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\x03abc", "beyond the message"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\x03ab", "too long"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\0\0", "question goes beyond"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", "does not point back"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\xc0\xff\0\1\0\1", "does not point back"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\x41a\0\0\1\0\1", "label of type 1"),
        (struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\xc0", "pointer goes beyond"),
        (answer(Record(NAME, RecordType.AAAA, 5, b"\x20\x01")), "address of 2 octets"),
        (answer(Record(NAME, RecordType.SRV, 5, b"\0\1\0\1")), "without target"),
        (answer(Record(NAME, RecordType.SRV, 5, b"\0" * 8)), "are no name"),
        (answer(Record(NAME, RecordType.SOA, 5, b"\0")), "without numbers"),
        (answer(Record(NAME, RecordType.A, 5, HA4))[:-1], "go beyond"),
        (answer(Record(NAME, RecordType.A, 5, HA4))[:-5], "record goes beyond"),
    ],
)
def test_octets_that_are_no_answer(octets: bytes, reason: str) -> None:
    with pytest.raises(DnsMalformed, match=reason):
        parse(octets)


def test_pointers_that_go_round_in_circles() -> None:
    """Two names that point at each other, and one that points at itself, end at once."""
    head = struct.pack("!6H", 1, 0x8000, 2, 0, 0, 0)
    to_each_other = head + b"\xc0\x12\0\1\0\1" + b"\xc0\x0c\0\1\0\1"
    with pytest.raises(DnsMalformed, match="does not point back"):
        parse(to_each_other)
    # A label before the pointer: each turn would make the name longer.
    with pytest.raises(DnsMalformed, match="does not point back"):
        parse(struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0) + b"\1a\xc0\x0c\0\1\0\1")


def test_names_at_the_limit() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    octets = encode_name(longest)
    assert len(octets) == 255
    assert read_name(octets, 0) == (longest, 255)
    with pytest.raises(ValueError, match="longer than 255"):
        encode_name("a." + longest[2:] + "b.c")
    with pytest.raises(DnsMalformed, match="too long"):
        read_name(b"\x3f" + b"a" * 63 + octets, 0)
    for wrong in ("a..b", "a" * 64 + ".test", ".test"):
        with pytest.raises(ValueError, match="no domain name"):
            encode_name(wrong)


def test_names_of_any_octets() -> None:
    name, _ = read_name(b"\x03a.b\x02\xff\x00\x00", 0)
    assert name == "a\\046b.\\255\\000"
    assert encode_name(name) == b"\x03a.b\x02\xff\x00\x00"


def test_what_a_truncated_answer_has_is_not_looked_at() -> None:
    cut = answer(Record(NAME, RecordType.A, 5, HA4), flags=0x8380)[:-3]
    found = parse(cut)
    assert found.truncated
    assert found.answers == ()


@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    """Whatever comes is an answer or malformed, and nothing takes long."""
    for data in (octets, FROM_NAMED[:12] + octets):
        try:
            parse(data)
        except DnsMalformed:
            pass


@given(st.integers(12, len(FROM_NAMED) - 1), st.integers(0, 255))
def test_any_octet_changed(position: int, value: int) -> None:
    data = bytearray(FROM_NAMED)
    data[position] = value
    try:
        parse(bytes(data))
    except DnsMalformed:
        pass


# --- updates ----------------------------------------------------------------------

KEY = dns_update.Key("ha1-key", b"sixteen and sixteen are 32 octets")
NOW = 1_800_000_000.0


def update() -> tuple[bytes, bytes]:
    records = dns_update.add_address("bus-17.example.test", HOA, 60)
    return dns_update.build(99, "example.test", records, KEY, NOW)


def reply(code: bytes, rcode: int = 0, key: dns_update.Key = KEY, **more: float) -> bytes:
    question = Question("example.test", RecordType.SOA)
    bare = build_message(99, dns.Opcode.UPDATE, (question,), ((), (), ()), 0x8000 | rcode)
    return dns_update.sign(bare, 99, key, more.get("now", NOW), code)[0]


def test_update_as_the_rfc_draws_it() -> None:
    """RFC 2136 section 2.5.2 and 2.5.1: delete an RRset, then add to it."""
    octets, _ = update()
    assert octets[:12] == struct.pack("!6H", 99, 0x2800, 1, 0, 2, 1)
    zone = encode_name("example.test") + struct.pack("!2H", RecordType.SOA, RecordClass.IN)
    name = encode_name("bus-17.example.test")
    delete = name + struct.pack("!HHIH", RecordType.AAAA, RecordClass.ANY, 0, 0)
    add = name + struct.pack("!HHIH", RecordType.AAAA, RecordClass.IN, 60, 16) + HOA.packed
    assert octets[12:].startswith(zone + delete + add + encode_name("ha1-key") + b"\0\xfa\0\xff")


def test_removal_takes_this_address_only() -> None:
    """RFC 2136 section 2.5.4: class NONE with the data."""
    (record,) = dns_update.remove_address("bus-17.example.test", HOA)
    assert (record.cls, record.ttl, record.data) == (RecordClass.NONE, 0, HOA)


def test_answer_that_the_key_vouches_for() -> None:
    _, code = update()
    assert dns_update.check(reply(code), 99, KEY, code, NOW).rcode == 0
    refused = dns_update.check(reply(code, dns.Rcode.REFUSED), 99, KEY, code, NOW)
    assert dns_update.rcode_text(refused.rcode) == "REFUSED"


def test_answers_that_nobody_vouches_for() -> None:
    _, code = update()
    other = dns_update.Key("ha1-key", b"another")
    stranger = dns_update.Key("other", KEY.secret)
    question = Question("example.test", RecordType.SOA)
    unsigned = build_message(99, dns.Opcode.UPDATE, (question,), ((), (), ()), 0x8000)
    flipped = bytearray(reply(code))
    flipped[3] ^= 5
    cases = [
        (unsigned, "not signed"),
        (reply(code, key=other), "signature of the answer is wrong"),
        (reply(code, key=stranger), "signed with the key other"),
        (reply(b"of another request"), "signature of the answer is wrong"),
        (bytes(flipped), "signature of the answer is wrong"),
        (reply(code, now=NOW - 301), "clocks"),
        (dns_update.sign(unsigned, 99, KEY, NOW, code, error=17)[0], "not known there"),
    ]
    for octets, reason in cases:
        with pytest.raises(dns_update.BadSignature, match=reason):
            dns_update.check(octets, 99, KEY, code, NOW)
    with pytest.raises(DnsMalformed, match="something else"):
        dns_update.check(reply(code), 98, KEY, code, NOW)
    for size in range(len(unsigned), len(reply(code))):
        with pytest.raises(DnsMalformed):
            dns_update.check(reply(code)[:size], 99, KEY, code, NOW)


@pytest.mark.parametrize("octets", [b"\x06bus-17\x07example\x04test\0", b"bus-17.Example.test"])
def test_name_of_the_option(octets: bytes) -> None:
    """RFC 5026 does not say how: wire form, or text as others may send it."""
    assert dns_update.read_option(octets) == "bus-17.example.test"


@pytest.mark.parametrize("octets", [b"", b"\0", b"\xff\xff", b"a b", b"a..b", b"\x03bus", b"*.x"])
def test_option_without_a_name(octets: bytes) -> None:
    with pytest.raises(DnsMalformed):
        dns_update.read_option(octets)


def test_reverse_name() -> None:
    (_, record) = dns_update.add_reverse("bus-17.example.test.", HOA, 60)
    assert record.name.endswith("8.b.d.0.1.0.0.2.ip6.arpa")
    assert record.data == "bus-17.example.test"
