# SPDX-License-Identifier: GPL-2.0-only
"""Dynamic updates of DNS (RFC 2136), secured by a shared key (TSIG, RFC 8945)."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final

from .dns import (
    DnsMalformed,
    Opcode,
    Question,
    Rcode,
    Record,
    RecordClass,
    RecordType,
    Response,
    build_message,
    build_record,
    canonical,
    encode_name,
    parse,
    read_name,
)

#: Seconds by which clocks may differ (RFC 8945 section 10).
FUDGE: Final = 300
ALGORITHMS: Final = {"hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}

_COUNTS: Final = struct.Struct("!6H")
_TIME: Final = struct.Struct("!HIH")
_TAIL: Final = struct.Struct("!HHH")
_ERRORS: Final = {16: "the key or its signature is wrong", 17: "the key is not known there"}
_BAD_TIME: Final = 18


class BadSignature(DnsMalformed):
    """A response that the shared key does not vouch for, or that says our own was refused."""

    counter = "dns_bad_signature"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that this host and the name server share; ``algorithm`` as in named.conf."""

    name: str
    secret: bytes = field(repr=False)
    algorithm: str = "hmac-sha256"

    def digest(self, *parts: bytes) -> bytes:
        """Return the code over some octets."""
        return hmac.digest(self.secret, b"".join(parts), ALGORITHMS[self.algorithm])


def add_address(name: str, address: IPv6Address, ttl: int) -> tuple[Record, ...]:
    """Return the updates after which a name has this address and no other.

    The name's owner was checked before: whatever AAAA was there is stale.
    """
    return (
        Record(name, RecordType.AAAA, 0, b"", RecordClass.ANY),
        Record(name, RecordType.AAAA, ttl, address),
    )


def remove_address(name: str, address: IPv6Address) -> tuple[Record, ...]:
    """Return the update after which a name has this address no more, others it keeps."""
    return (Record(name, RecordType.AAAA, 0, address, RecordClass.NONE),)


def reverse_name(address: IPv6Address) -> str:
    """Return the name below ``ip6.arpa`` of an address."""
    return address.reverse_pointer


def add_reverse(name: str, address: IPv6Address, ttl: int) -> tuple[Record, ...]:
    """Return the updates after which an address has this name and no other."""
    reverse = reverse_name(address)
    return (
        Record(reverse, RecordType.PTR, 0, b"", RecordClass.ANY),
        Record(reverse, RecordType.PTR, ttl, canonical(name)),
    )


def remove_reverse(name: str, address: IPv6Address) -> tuple[Record, ...]:
    """Return the update after which an address has this name no more."""
    reverse = reverse_name(address)
    return (Record(reverse, RecordType.PTR, 0, canonical(name), RecordClass.NONE),)


def build(
    id: int, zone: str, updates: Sequence[Record], key: Key, now: float
) -> tuple[bytes, bytes]:
    """Return a signed update of a zone, and its code, with which its answer is checked.

    ``now`` is wall-clock time in seconds since 1970.
    """
    question = Question(zone, RecordType.SOA)
    message = build_message(id, Opcode.UPDATE, (question,), ((), updates, ()))
    return sign(message, id, key, now)


def sign(
    message: bytes, id: int, key: Key, now: float, request: bytes = b"", error: int = 0
) -> tuple[bytes, bytes]:
    """Append a TSIG record; ``request`` is the code of what the message answers."""
    head = _time(now)
    tail = _TAIL.pack(error, 0, 0)[:4]
    prior = struct.pack("!H", len(request)) + request if request else b""
    code = key.digest(prior, message, _variables(key, head, tail))
    data = encode_name(key.algorithm) + head + struct.pack("!H", len(code)) + code
    data += struct.pack("!H", id) + tail
    record = build_record(Record(key.name, RecordType.TSIG, 0, data, RecordClass.ANY))
    counts = list(_COUNTS.unpack_from(message))
    counts[5] += 1
    return _COUNTS.pack(*counts) + message[_COUNTS.size :] + record, code


def check(data: bytes, id: int, key: Key, request: bytes, now: float) -> Response:
    """Parse the answer to a signed update. Raises ``DnsMalformed``, ``BadSignature``.

    Only a signed answer tells anything (RFC 8945 section 5.3): an unsigned one
    may be anybody's.
    """
    response = parse(data)
    if response.id != id or response.opcode != Opcode.UPDATE:
        raise DnsMalformed("it answers something else")
    last = response.additional[-1] if response.additional else None
    if last is None or last.type != RecordType.TSIG or not isinstance(last.data, bytes):
        raise BadSignature(f"the answer ({rcode_text(response.rcode)}) is not signed")
    if last.name != canonical(key.name):
        raise BadSignature(f"the answer is signed with the key {last.name}")
    algorithm, offset = read_name(last.data, 0)
    if len(last.data) < offset + _TIME.size + 2:
        raise DnsMalformed("a short TSIG record")
    head = last.data[offset : offset + _TIME.size]
    offset += _TIME.size
    (size,) = struct.unpack_from("!H", last.data, offset)
    code = last.data[offset + 2 : offset + 2 + size]
    rest = last.data[offset + 2 + size :]
    if len(code) != size or len(rest) < _TAIL.size:
        raise DnsMalformed("a short TSIG record")
    _, error, other = _TAIL.unpack_from(rest)
    if error and error != _BAD_TIME:
        raise BadSignature(_ERRORS.get(error, f"TSIG error {error}"))
    if algorithm != key.algorithm:
        raise BadSignature(f"the answer is signed with {algorithm}")
    counts = list(_COUNTS.unpack_from(data))
    counts[5] -= 1
    bare = _COUNTS.pack(*counts) + data[_COUNTS.size : response.last]
    prior = struct.pack("!H", len(request)) + request
    tail = struct.pack("!HH", error, other) + rest[_TAIL.size : _TAIL.size + other]
    wanted = key.digest(prior, bare, _variables(key, head, tail))
    if not hmac.compare_digest(code, wanted):
        raise BadSignature("the signature of the answer is wrong")
    high, low, fudge = _TIME.unpack(head)
    if error or abs((high << 32 | low) - now) > fudge:
        raise BadSignature("the clocks of this host and of the name server differ too much")
    return response


def rcode_text(rcode: int) -> str:
    """Say an error in DNS's own word."""
    try:
        return Rcode(rcode).name
    except ValueError:
        return f"error {rcode}"


def read_option(octets: bytes) -> str:
    """Return the name in a DNS Update option: wire form, or text (RFC 5026 section 8.1).

    Raises ``DnsMalformed``.
    """
    try:
        name, end = read_name(octets, 0)
        # Both forms may be read from few octets; text has no octet below a space.
        if end == len(octets) and name:
            return name
    except DnsMalformed:
        pass
    text = octets.rstrip(b"\0")
    try:
        name = canonical(text.decode("ascii"))
        encode_name(name)
    except ValueError:
        raise DnsMalformed("the name of a DNS Update option is none") from None
    if not name or not all(c.isalnum() or c in "-_." for c in name):
        raise DnsMalformed("the name of a DNS Update option is none")
    return name


def _time(now: float) -> bytes:
    seconds = int(now)
    return _TIME.pack(seconds >> 32 & 0xFFFF, seconds & 0xFFFFFFFF, FUDGE)


def _variables(key: Key, head: bytes, tail: bytes) -> bytes:
    """Return what is signed besides the message (RFC 8945 section 4.3.3)."""
    name = encode_name(key.name) + struct.pack("!HI", RecordClass.ANY, 0)
    return name + encode_name(key.algorithm) + head + tail
