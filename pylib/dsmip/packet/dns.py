# SPDX-License-Identifier: GPL-2.0-only
"""DNS messages (RFC 1035, 2782, 3596, 6891): as much as a stub resolver needs.

Names are texts in lower case without the last dot, "" for the root; octets
that are no letter, digit, hyphen or underscore are written as ``\\ddd``. Parsing
is bounded in everything: a compression pointer must point further back than
where its name began, so that no name can go round in circles.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .errors import Malformed

#: RFC 1035 section 2.3.4.
LABEL_MAX: Final = 63
NAME_MAX: Final = 255
#: More records than these are no answer to a question of ours.
RECORDS_MAX: Final = 256
#: What is accepted by UDP, such that nothing is fragmented (RFC 9715).
UDP_SIZE: Final = 1232
PORT: Final = 53

_HEADER: Final = struct.Struct("!6H")
_QUESTION: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")
_SERVICE: Final = struct.Struct("!HHH")
_PLAIN: Final = re.compile(rb"[A-Za-z0-9_-]+")
_ESCAPED: Final = re.compile(r"\\(\d{3})")

_RESPONSE, _TRUNCATED, _RECURSE = 0x8000, 0x0200, 0x0100
_OPCODE: Final = 0x7800


class DnsMalformed(Malformed):
    """Octets that are no DNS message, or one of a kind that nobody should send."""

    counter = "dns_malformed"


class RecordType(enum.IntEnum):
    """Types of resource records."""

    A = 1
    CNAME = 5
    SOA = 6
    PTR = 12
    AAAA = 28
    SRV = 33
    OPT = 41
    TSIG = 250
    ANY = 255


class RecordClass(enum.IntEnum):
    """Classes; NONE and ANY are those of updates (RFC 2136 section 2.4)."""

    IN = 1
    NONE = 254
    ANY = 255


class Rcode(enum.IntEnum):
    """What a response says of its question."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10


class Opcode(enum.IntEnum):
    """Kinds of requests."""

    QUERY = 0
    UPDATE = 5


@dataclass(frozen=True, slots=True)
class Service:
    """The data of an SRV record (RFC 2782); the target "" is the root: no such service."""

    priority: int
    weight: int
    port: int
    target: str


Data = IPv6Address | IPv4Address | Service | str | bytes


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; ``type`` and ``cls`` as numbers."""

    name: str
    type: int
    cls: int = RecordClass.IN


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record.

    ``data`` is an address, a ``Service``, a name (CNAME, PTR), or octets of all
    other types. Of SOA it is the octets of its last number, the time for which
    an absence holds (RFC 2308 section 5).
    """

    name: str
    type: int
    ttl: int
    data: Data
    cls: int = RecordClass.IN


@dataclass(frozen=True, slots=True)
class Response:
    """A parsed response. ``truncated`` says that it has to be asked for again by TCP.

    ``last`` is where its last record begins: what TSIG does not sign.
    """

    id: int
    opcode: int
    rcode: int
    truncated: bool
    questions: tuple[Question, ...]
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    last: int = 0


# --- names -----------------------------------------------------------------------


def canonical(name: str) -> str:
    """Return a name as it is compared: lower case, without the last dot."""
    return name.lower().removesuffix(".")


def encode_name(name: str) -> bytes:
    """Return a name in wire form, not compressed. Raises ``ValueError`` for none."""
    out = bytearray()
    text = canonical(name)
    for label in text.split(".") if text else ():
        octets = _ESCAPED.sub(lambda match: chr(int(match[1])), label).encode("latin-1")
        if not 0 < len(octets) <= LABEL_MAX:
            raise ValueError(f"'{name}' is no domain name: a label has 1 to {LABEL_MAX} octets")
        out += bytes((len(octets),)) + octets
    out.append(0)
    if len(out) > NAME_MAX:
        raise ValueError(f"'{name}' is no domain name: it is longer than {NAME_MAX} octets")
    return bytes(out)


def _label(octets: bytes) -> str:
    if _PLAIN.fullmatch(octets):
        return octets.decode().lower()
    return "".join(
        chr(o).lower() if _PLAIN.fullmatch(bytes((o,))) else f"\\{o:03d}" for o in octets
    )


def read_name(data: bytes, offset: int) -> tuple[str, int]:
    """Return the name at an offset, and the offset behind it. Raises ``DnsMalformed``."""
    labels: list[str] = []
    end = 0
    size = 1
    lowest = offset
    while True:
        if offset >= len(data):
            raise DnsMalformed("a name goes beyond the message")
        length = data[offset]
        if length & 0xC0 == 0xC0:
            if offset + 2 > len(data):
                raise DnsMalformed("a compression pointer goes beyond the message")
            target = (length & 0x3F) << 8 | data[offset + 1]
            end = end or offset + 2
            if target >= lowest:
                raise DnsMalformed("a compression pointer does not point back")
            offset = lowest = target
            continue
        if length & 0xC0:
            raise DnsMalformed(f"a label of type {length >> 6}")
        if length == 0:
            return ".".join(labels), end or offset + 1
        label = data[offset + 1 : offset + 1 + length]
        size += length + 1
        if len(label) < length or size > NAME_MAX:
            raise DnsMalformed("a name is too long")
        labels.append(_label(label))
        offset += 1 + length


# --- messages ---------------------------------------------------------------------


def build_query(id: int, question: Question, edns: bool = True) -> bytes:
    """Return a recursive query; with ``edns`` answers may have ``UDP_SIZE`` octets."""
    out = _HEADER.pack(id, _RECURSE, 1, 0, 0, int(edns)) + encode_name(question.name)
    out += _QUESTION.pack(question.type, question.cls)
    if edns:
        out += b"\0" + _RECORD.pack(RecordType.OPT, UDP_SIZE, 0, 0)
    return out


def parse(data: bytes) -> Response:
    """Parse a response. Raises ``DnsMalformed``; a query is malformed, too.

    What a truncated one has of records is not looked at.
    """
    if len(data) < _HEADER.size:
        raise DnsMalformed(f"{len(data)} octets are no DNS message")
    id, flags, *counts = _HEADER.unpack_from(data)
    if not flags & _RESPONSE:
        raise DnsMalformed("a query where a response should be")
    if sum(counts) > RECORDS_MAX:
        raise DnsMalformed(f"{sum(counts)} records")
    offset = _HEADER.size
    questions = []
    for _ in range(counts[0]):
        name, offset = read_name(data, offset)
        if offset + _QUESTION.size > len(data):
            raise DnsMalformed("a question goes beyond the message")
        questions.append(Question(name, *_QUESTION.unpack_from(data, offset)))
        offset += _QUESTION.size
    opcode, rcode = (flags & _OPCODE) >> 11, flags & 15
    if flags & _TRUNCATED:
        return Response(id, opcode, rcode, True, tuple(questions))
    sections: list[tuple[Record, ...]] = []
    last = 0
    for count in counts[1:]:
        found = []
        for _ in range(count):
            last = offset
            record, offset = _read_record(data, offset)
            found.append(record)
        sections.append(tuple(found))
    answers, authorities, additional = sections
    return Response(
        id, opcode, rcode, False, tuple(questions), answers, authorities, additional, last
    )


def _read_record(data: bytes, offset: int) -> tuple[Record, int]:
    name, offset = read_name(data, offset)
    if offset + _RECORD.size > len(data):
        raise DnsMalformed("a record goes beyond the message")
    kind, cls, ttl, length = _RECORD.unpack_from(data, offset)
    offset += _RECORD.size
    end = offset + length
    if end > len(data):
        raise DnsMalformed("the data of a record go beyond the message")
    # RFC 2181 section 8: the highest bit set is zero seconds.
    ttl = 0 if ttl & 0x80000000 else ttl
    found = data[offset:end]
    value: Data = found
    if cls == RecordClass.IN:
        value = _read_data(data, kind, offset, end)
    return Record(name, kind, ttl, value, cls), end


def _read_data(data: bytes, kind: int, offset: int, end: int) -> Data:
    found = data[offset:end]
    if kind in (RecordType.A, RecordType.AAAA):
        size = 4 if kind == RecordType.A else 16
        if len(found) != size:
            raise DnsMalformed(f"an address of {len(found)} octets")
        return IPv4Address(found) if kind == RecordType.A else IPv6Address(found)
    if kind in (RecordType.CNAME, RecordType.PTR):
        return _whole_name(data, offset, end)
    if kind == RecordType.SRV:
        if len(found) < _SERVICE.size:
            raise DnsMalformed("an SRV record without target")
        priority, weight, port = _SERVICE.unpack_from(found)
        return Service(priority, weight, port, _whole_name(data, offset + _SERVICE.size, end))
    if kind == RecordType.SOA:
        if len(found) < 4:
            raise DnsMalformed("an SOA record without numbers")
        return found[-4:]
    return found


def _whole_name(data: bytes, offset: int, end: int) -> str:
    name, after = read_name(data, offset)
    if after != end:
        raise DnsMalformed("the data of a record are no name")
    return name


def encode_data(value: Data) -> bytes:
    """Return the data of a record in wire form, nothing compressed."""
    if isinstance(value, IPv4Address | IPv6Address):
        return value.packed
    if isinstance(value, Service):
        head = _SERVICE.pack(value.priority, value.weight, value.port)
        return head + encode_name(value.target)
    return encode_name(value) if isinstance(value, str) else value


def build_record(record: Record) -> bytes:
    """Return a record in wire form."""
    data = encode_data(record.data)
    head = _RECORD.pack(record.type, record.cls, record.ttl, len(data))
    return encode_name(record.name) + head + data


def build_message(
    id: int,
    opcode: int,
    questions: Sequence[Question],
    sections: tuple[Sequence[Record], Sequence[Record], Sequence[Record]],
    flags: int = 0,
) -> bytes:
    """Return a message of any kind; ``flags`` are those besides the opcode."""
    counts = [len(questions), *map(len, sections)]
    out = bytearray(_HEADER.pack(id, flags | opcode << 11, *counts))
    for question in questions:
        out += encode_name(question.name) + _QUESTION.pack(question.type, question.cls)
    for section in sections:
        for record in section:
            out += build_record(record)
    return bytes(out)
