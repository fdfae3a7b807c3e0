# SPDX-License-Identifier: GPL-2.0-only
"""Mobility Header messages (RFC 6275 section 6.1 and the RFCs that add to it).

A message is a slotted dataclass; the table entry above it says where its
attributes stand on the wire. Statuses and triggers are plain integers, to be
compared with the enums of :mod:`.status`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import ClassVar, Final, TypeVar

from . import flows as _flows  # noqa: F401  (enters its options into the table)
from .errors import Malformed, ParameterProblem, UnknownMessageType
from .fields import Field, Layout, address6, bits, derived, number, octets, reserved
from .options import Option, build_options, parse_options

PROTOCOL: Final = 135
NO_NEXT_HEADER: Final = 59
LARGEST: Final = 8 + 255 * 8
"""Octets of the longest mobility header that Header Len can express."""


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages; ``TYPE`` is the MH Type.

    ``options`` leaves out padding. ``reserved`` holds the bits that a received
    message had set in reserved fields: they mean nothing and are not compared,
    but without them it could not be rebuilt octet by octet.
    """

    TYPE: ClassVar[int] = -1
    options: tuple[Option, ...] = field(default=(), kw_only=True)
    reserved: int = field(default=0, kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """How one message is parsed and built.

    ``least`` is the smallest Header Len (RFC 6275 section 9.2). ``layout``
    covers the header from its first octet to the options, but for the
    addresses of a Home Agent Switch.
    """

    layout: Layout
    least: int
    addresses: bool = False


BY_TYPE: Final[dict[int, Entry]] = {}
BY_CLASS: Final[dict[type[Message], Entry]] = {}

#: RFC 5846 has two messages under one MH Type, told apart by the next octet.
BINDING_REVOCATION: Final = 16
BY_REVOCATION_TYPE: Final[dict[int, Entry]] = {}

#: MH Types that other RFCs define (fast handovers, proxy, experiments).
OTHER_TYPES: Final = frozenset((8, 9, 10, 11, 14, 15, 17, 18, 19, 20))

M = TypeVar("M", bound=Message)


def message(
    kind: int, *fields: Field, least: int, revocation: int = 0, addresses: bool = False
) -> Callable[[type[M]], type[M]]:
    """Declare the wire form of the message class that follows, from offset 6 on."""

    def declare(cls: type[M]) -> type[M]:
        cls.TYPE = kind
        head = (
            derived(str(NO_NEXT_HEADER)),
            derived("0"),  # Header Len, when the size is known
            derived(str(kind)),
            reserved(1),
            derived("0", "H"),  # Checksum
        )
        more = ("options", "reserved", *(("addresses",) if addresses else ()))
        entry = Entry(Layout(cls, *head, *fields, more=more), least, addresses)
        BY_CLASS[cls] = entry
        if revocation:
            BY_REVOCATION_TYPE[revocation] = entry
        else:
            BY_TYPE[kind] = entry
        return cls

    return declare


@message(0, reserved(2), least=0)
@dataclass(frozen=True, slots=True)
class BindingRefreshRequest(Message):
    """Asks the mobile node for a Binding Update (RFC 6275 section 6.1.2)."""


@message(1, reserved(2), octets("cookie", 8), least=1)
@dataclass(frozen=True, slots=True)
class HomeTestInit(Message):
    """Starts the home half of return routability (section 6.1.3)."""

    cookie: bytes


@message(2, reserved(2), octets("cookie", 8), least=1)
@dataclass(frozen=True, slots=True)
class CareOfTestInit(Message):
    """Starts the care-of half of return routability (section 6.1.4)."""

    cookie: bytes


@message(3, number("nonce_index"), octets("cookie", 8), octets("token", 8), least=2)
@dataclass(frozen=True, slots=True)
class HomeTest(Message):
    """Answers a Home Test Init with the home keygen token (section 6.1.5)."""

    nonce_index: int
    cookie: bytes
    token: bytes


@message(4, number("nonce_index"), octets("cookie", 8), octets("token", 8), least=2)
@dataclass(frozen=True, slots=True)
class CareOfTest(Message):
    """Answers a Care-of Test Init with the care-of keygen token (section 6.1.6)."""

    nonce_index: int
    cookie: bytes
    token: bytes


@message(
    5,
    number("sequence"),
    bits(
        "H",
        acknowledge=0x8000,
        home=0x4000,
        link_local=0x2000,
        key_management=0x1000,
        map_registration=0x0800,
        mobile_router=0x0400,
        proxy=0x0200,
        force_udp=0x0100,
        tlv=0x0080,
        overwrite=0x0040,
    ),
    number("lifetime"),
    least=1,
)
@dataclass(frozen=True, slots=True)
class BindingUpdate(Message):
    """Tells a care-of address (section 6.1.7); ``lifetime`` in units of 4 s, 0 deletes.

    The flags in wire order: A, H, L, K of RFC 6275, M of RFC 5380, R of RFC
    3963, P of RFC 5213, F of RFC 5555, T of RFC 5845, O of RFC 5648 (which is B
    of RFC 6602 when P is set).
    """

    sequence: int
    lifetime: int
    acknowledge: bool = False
    home: bool = False
    link_local: bool = False
    key_management: bool = False
    map_registration: bool = False
    mobile_router: bool = False
    proxy: bool = False
    force_udp: bool = False
    tlv: bool = False
    overwrite: bool = False


@message(
    6,
    number("status", "B"),
    bits("B", key_management=0x80, mobile_router=0x40, proxy=0x20, tlv=0x10, bulk=0x08),
    number("sequence"),
    number("lifetime"),
    least=1,
)
@dataclass(frozen=True, slots=True)
class BindingAcknowledgement(Message):
    """Answers a Binding Update (section 6.1.8); ``lifetime`` in units of 4 s.

    The flags in wire order: K of RFC 6275, R of RFC 3963, P of RFC 5213, T of
    RFC 5845, B of RFC 6602.
    """

    status: int
    sequence: int
    lifetime: int
    key_management: bool = False
    mobile_router: bool = False
    proxy: bool = False
    tlv: bool = False
    bulk: bool = False


@message(7, number("status", "B"), reserved(1), address6("home_address"), least=2)
@dataclass(frozen=True, slots=True)
class BindingError(Message):
    """Refuses a packet (section 6.1.9).

    ``home_address`` is that of its Home Address option, or ``::`` if it had none.
    """

    status: int
    home_address: IPv6Address


@message(12, derived("len(m.addresses)"), reserved(1), least=0, addresses=True)
@dataclass(frozen=True, slots=True)
class HomeAgentSwitch(Message):
    """Sends the mobile node to other home agents, best first (RFC 5142 section 4)."""

    addresses: tuple[IPv6Address, ...] = ()


@message(13, bits("H", unsolicited=0x0002, response=0x0001), number("sequence", "I"), least=1)
@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """Asks whether the other side is there, or answers (RFC 5847 section 3.3)."""

    sequence: int
    unsolicited: bool = False
    response: bool = False


@message(
    BINDING_REVOCATION,
    derived("1"),
    number("trigger", "B"),
    number("sequence"),
    bits("H", proxy=0x8000, ipv4_only=0x4000, everything=0x2000),
    least=1,
    revocation=1,
)
@dataclass(frozen=True, slots=True)
class BindingRevocationIndication(Message):
    """Ends bindings from the home agent's side (RFC 5846 section 5.1).

    Flags: P, V (only the IPv4 home address named), G (global).
    """

    trigger: int
    sequence: int
    proxy: bool = False
    ipv4_only: bool = False
    everything: bool = False


@message(
    BINDING_REVOCATION,
    derived("2"),
    number("status", "B"),
    number("sequence"),
    bits("H", proxy=0x8000, ipv4_only=0x4000, everything=0x2000),
    least=1,
    revocation=2,
)
@dataclass(frozen=True, slots=True)
class BindingRevocationAcknowledgement(Message):
    """Answers a Binding Revocation Indication, its flags copied (RFC 5846 section 5.2)."""

    status: int
    sequence: int
    proxy: bool = False
    ipv4_only: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class OtherMessage(Message):
    """A message of an RFC that is not ours, kept whole.

    ``data`` is what follows the checksum, options included; its size plus 6 is
    a multiple of 8. A node that has no use for it answers as to an unknown type.
    """

    type: int
    data: bytes


def parse(data: bytes) -> Message:
    """Parse a mobility header; octets after its end are ignored (RFC 8200 section 4.7).

    The checksum is not looked at; the kernel, or :func:`checksum_correct`, did
    that before, since an answer may only be given to an intact message. Raises a
    ``PacketError`` whose class names the answer (RFC 6275 section 9.2):
    ``UnknownMessageType``, ``ParameterProblem`` for a Payload Proto that is not
    59 and for a Header Len below the least of the type, else ``Malformed``.
    """
    if len(data) < 8:
        raise Malformed(f"{len(data)} octets are no mobility header")
    kind = data[2]
    entry = BY_TYPE.get(kind)
    if entry is None and kind == BINDING_REVOCATION:
        entry = BY_REVOCATION_TYPE.get(data[6])
    elif entry is None and kind not in OTHER_TYPES:
        raise UnknownMessageType(kind)
    if data[0] != NO_NEXT_HEADER:
        raise ParameterProblem(f"Payload Proto is {data[0]}, not {NO_NEXT_HEADER}", 0)
    if entry is not None and data[1] < entry.least:
        raise ParameterProblem(f"Header Len {data[1]} of type {kind}, at least {entry.least}", 1)
    size = 8 + data[1] * 8
    if len(data) != size:
        if len(data) < size:
            raise Malformed(f"Header Len says {size} octets, {len(data)} are there")
        data = data[:size]
    if entry is None:
        if kind == BINDING_REVOCATION:
            raise Malformed(f"binding revocation type {data[6]} is not known")
        return OtherMessage(kind, data[6:], reserved=data[3])
    layout = entry.layout
    fixed = layout.size
    ignored = int.from_bytes(data[:fixed], "big") & layout.reserved
    if entry.addresses:
        return _parse_addresses(data, layout, ignored)
    return layout.parse(data, 0, parse_options(data, fixed), ignored)  # type: ignore[no-any-return]


def _parse_addresses(data: bytes, layout: Layout, ignored: int) -> Message:
    start = layout.size
    end = start + data[6] * 16
    if end > len(data):
        raise Malformed(f"{data[6]} home agents do not fit into {len(data)} octets")
    addresses = tuple(IPv6Address(data[at : at + 16]) for at in range(start, end, 16))
    options = parse_options(data, end)
    return layout.parse(data, 0, options, ignored, addresses)  # type: ignore[no-any-return]


def build(
    message: Message, source: IPv6Address | None = None, destination: IPv6Address | None = None
) -> bytes:
    """Return the octets of ``message``.

    With both addresses (those of the home form) the checksum is filled in, else
    it is 0. Raises ``ValueError`` for a value that does not fit its field.
    """
    out = _octets(message)
    if len(out) > LARGEST or len(out) % 8:
        raise ValueError(f"a mobility header cannot have {len(out)} octets")
    out[1] = len(out) // 8 - 1
    if source is not None and destination is not None:
        out[4:6] = checksum(source, destination, out).to_bytes(2, "big")
    return bytes(out)


def _octets(message: Message) -> bytearray:
    entry = BY_CLASS.get(type(message))
    try:
        if entry is None:
            if not isinstance(message, OtherMessage):
                raise ValueError(f"{type(message).__name__} is not a mobility message")
            head = bytes((NO_NEXT_HEADER, 0, message.type, message.reserved, 0, 0))
            return bytearray(head + message.data)
        out = bytearray(entry.layout.build(message))
        if message.reserved:
            whole = int.from_bytes(out, "big") | (message.reserved & entry.layout.reserved)
            out = bytearray(whole.to_bytes(len(out), "big"))
        if entry.addresses:
            for address in message.addresses:  # type: ignore[attr-defined]
                out += address.packed
        out += build_options(message.options, len(out))
        return out
    except struct.error as error:
        raise ValueError(f"{type(message).__name__}: {error}") from None


def checksum(source: IPv6Address, destination: IPv6Address, data: bytes | bytearray) -> int:
    """Return the checksum that belongs into ``data`` (RFC 6275 section 6.1.1).

    ``data`` is the whole mobility header; what its Checksum field holds does
    not matter. The addresses are those of the home form.
    """
    total = _sum(source, destination, data) - (data[4] << 8 | data[5])
    return -total % 0xFFFF


def checksum_correct(source: IPv6Address, destination: IPv6Address, data: bytes) -> bool:
    """Tell whether the checksum of a received mobility header is right.

    Octets after the end that Header Len gives are left out, as in :func:`parse`.
    """
    if len(data) < 8:
        return False
    return _sum(source, destination, data[: 8 + data[1] * 8]) % 0xFFFF == 0


def _sum(source: IPv6Address, destination: IPv6Address, data: bytes | bytearray) -> int:
    # 2**16 is 1 modulo 0xffff, so the sum of the 16-bit words is the number itself.
    return (
        int.from_bytes(data, "big")
        + int.from_bytes(source.packed + destination.packed, "big")
        + len(data)
        + PROTOCOL
    )
