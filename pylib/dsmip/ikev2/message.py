# SPDX-License-Identifier: GPL-2.0-only
"""IKE messages: the header, the chain of payloads, the encrypted payload.

A message here begins with its SPIs: the four zero octets that stand before it
on port 4500 belong to the socket (RFC 7296 section 2.23).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Final

from . import payloads as pl
from .crypto import Cipher
from .errors import Ignored, LocalError, RemoteError
from .numbers import ExchangeType, NotifyType, PayloadType
from .payloads import Payload, Unknown

HEADER: Final = Struct("!8s8sBBBBII")
HEADER_SIZE: Final = HEADER.size
GENERIC: Final = Struct("!BBH")
GENERIC_SIZE: Final = GENERIC.size
FRAGMENT: Final = Struct("!HH")
FRAGMENT_SIZE: Final = FRAGMENT.size

VERSION: Final = 0x20
INITIATOR: Final = 0x08
RESPONSE: Final = 0x20
CRITICAL: Final = 0x80
NO_SPI: Final = bytes(8)
#: Octets that no message may pass (the length of a UDP datagram).
LONGEST: Final = 65535
_SK: Final = int(PayloadType.SK)
_SKF: Final = int(PayloadType.SKF)
_ENCRYPTED: Final = frozenset((_SK, _SKF))


@dataclass(slots=True)
class Header:
    """The IKE header (RFC 7296 section 3.1).

    ``next_payload`` and ``length`` are what was received; building sets them.
    """

    spi_i: bytes
    spi_r: bytes
    exchange: int
    flags: int
    message_id: int
    next_payload: int = 0
    length: int = 0
    version: int = VERSION

    @property
    def initiator(self) -> bool:
        """Whether the sender is the original initiator of the IKE_SA."""
        return self.flags & INITIATOR != 0

    @property
    def response(self) -> bool:
        """Whether this answers a request."""
        return self.flags & RESPONSE != 0

    def pack(self, next_payload: int, length: int) -> bytes:
        """Return the 28 octets. Raises ``LocalError`` for a value that does not fit."""
        try:
            return HEADER.pack(
                self.spi_i,
                self.spi_r,
                next_payload,
                self.version,
                self.exchange,
                self.flags,
                self.message_id,
                length,
            )
        except StructError as error:
            raise LocalError(f"IKE header: {error}") from error


@dataclass(slots=True)
class Encrypted:
    """Where the encrypted payload stands: its head at ``start``, its IV at ``body``.

    ``first`` is the type of the first payload inside. ``number`` and ``total``
    are those of a fragment (RFC 7383), 0 when the payload is whole.
    """

    first: int
    start: int
    body: int
    number: int = 0
    total: int = 0


@dataclass(slots=True)
class Message:
    """A parsed message; ``payloads`` are those in clear, ``octets`` all of it."""

    header: Header
    payloads: list[Payload]
    octets: bytes
    encrypted: Encrypted | None = None


# --- parsing ----------------------------------------------------------------------------


def unpack_header(data: bytes) -> Header:
    """Return the header as it stands; raises ``Ignored`` only when it is not all there.

    For answering a message that :func:`parse_header` refuses.
    """
    if len(data) < HEADER_SIZE:
        raise Ignored(f"IKE message of {len(data)} octets")
    spi_i, spi_r, following, version, exchange, flags, message_id, length = HEADER.unpack_from(data)
    return Header(spi_i, spi_r, exchange, flags, message_id, following, length, version)


def parse_header(data: bytes) -> Header:
    """Return the checked header of a datagram.

    Raises ``Ignored`` for what is no IKEv2 message, ``RemoteError``
    INVALID_MAJOR_VERSION for a request of a later version (section 2.5).
    """
    header = unpack_header(data)
    if header.version >> 4 != VERSION >> 4:
        if header.version >> 4 > VERSION >> 4 and not header.flags & RESPONSE:
            raise RemoteError(
                f"IKE version {header.version >> 4}", NotifyType.INVALID_MAJOR_VERSION
            )
        raise Ignored(f"IKE version {header.version >> 4}", "ike_version")
    if header.length != len(data):
        raise Ignored(f"IKE message of {len(data)} octets says {header.length}")
    stranger = header.spi_r == NO_SPI and header.exchange == ExchangeType.INFORMATIONAL
    if header.spi_i == NO_SPI and not stranger:
        # INVALID_SPI outside an IKE SA has no SPI to give (section 1.5).
        raise Ignored("initiator's SPI is zero")
    return header


def _chain(kind: int, data: bytes, at: int, last: bool) -> tuple[list[Payload], Encrypted | None]:
    """Parse payloads from ``at`` on; ``last`` says that an encrypted one may end them."""
    found: list[Payload] = []
    end = len(data)
    unpack = GENERIC.unpack_from
    parse = pl.parse
    while kind:
        if at + GENERIC_SIZE > end:
            raise RemoteError("payload header is cut short")
        following, flags, length = unpack(data, at)
        stop = at + length
        if length < GENERIC_SIZE or stop > end:
            raise RemoteError(f"payload {kind} of {length} octets does not fit the message")
        body = at + GENERIC_SIZE
        if kind in _ENCRYPTED:
            if not last or stop != end:
                raise RemoteError("the encrypted payload is not the last one")
            if kind == _SK:
                return found, Encrypted(following, at, body)
            if body + FRAGMENT_SIZE > end:
                raise RemoteError("fragment is cut short")
            number, total = FRAGMENT.unpack_from(data, body)
            return found, Encrypted(following, at, body + FRAGMENT_SIZE, number, total)
        found.append(parse(kind, data[body:stop], flags & CRITICAL != 0))
        kind, at = following, stop
    if at != end:
        raise RemoteError(f"{end - at} octets after the last payload")
    return found, None


def parse_payloads(first: int, data: bytes) -> list[Payload]:
    """Return the payloads that fill ``data``, the first of type ``first``.

    Raises ``RemoteError`` INVALID_SYNTAX or UNSUPPORTED_CRITICAL_PAYLOAD.
    """
    return _chain(first, data, 0, False)[0]


def parse(data: bytes, header: Header | None = None) -> Message:
    """Return the message with its payloads in clear, up to the encrypted one.

    Raises as :func:`parse_header` does (not when ``header`` is given), and as
    :func:`parse_payloads`.
    """
    if header is None:
        header = parse_header(data)
    found, encrypted = _chain(header.next_payload, data, HEADER_SIZE, True)
    return Message(header, found, data, encrypted)


def open_octets(message: Message, cipher: Cipher) -> bytes:
    """Return the plain octets of the encrypted payload, of a fragment too.

    Raises ``Ignored`` when it is not authentic, ``RemoteError`` INVALID_SYNTAX for
    what is wrong inside, ``LocalError`` when there is none.
    """
    encrypted = message.encrypted
    if encrypted is None:
        raise LocalError("a message without encrypted payload")
    return cipher.open(message.octets[: encrypted.body], message.octets[encrypted.body :])


def open(message: Message, cipher: Cipher) -> list[Payload]:
    """Return the payloads inside the encrypted payload of a whole message.

    Raises as :func:`open_octets` and :func:`parse_payloads` do; ``LocalError`` for
    a fragment, which belongs to ``fragments.Reassembly``.
    """
    plain = open_octets(message, cipher)
    encrypted = message.encrypted
    if encrypted is None or encrypted.total:
        raise LocalError("a fragment is no message")
    return parse_payloads(encrypted.first, plain)


# --- building ---------------------------------------------------------------------------


def build_payloads(payloads: Sequence[Payload]) -> tuple[int, bytes]:
    """Return the type of the first payload and the octets of all, chained.

    Raises ``LocalError`` for values that do not fit their fields.
    """
    parts: list[bytes] = []
    pack, build_body = GENERIC.pack, pl.build
    following = 0
    for payload in reversed(payloads):
        body = build_body(payload)
        size = GENERIC_SIZE + len(body)
        if size > LONGEST:
            raise LocalError(f"{type(payload).__name__} payload of {size} octets")
        if type(payload) is Unknown:
            flags = CRITICAL if payload.critical else 0
            parts += (body, pack(following, flags, size))
            following = payload.type
        else:
            parts += (body, pack(following, 0, size))
            following = payload.TYPE
    parts.reverse()
    return following, b"".join(parts)


def build(header: Header, payloads: Sequence[Payload]) -> bytes:
    """Return a message in clear. Raises ``LocalError`` for values that do not fit."""
    first, body = build_payloads(payloads)
    return header.pack(first, HEADER_SIZE + len(body)) + body


def seal(header: Header, payloads: Sequence[Payload], cipher: Cipher) -> bytes:
    """Return a message with all payloads encrypted. Raises ``LocalError``."""
    first, plain = build_payloads(payloads)
    return seal_octets(header, first, plain, cipher)


def seal_octets(header: Header, first: int, plain: bytes, cipher: Cipher) -> bytes:
    """Return a message with one SK payload around ``plain``. Raises ``LocalError``."""
    size = GENERIC_SIZE + cipher.size(len(plain))
    if HEADER_SIZE + size > LONGEST:
        raise LocalError(f"IKE message of {HEADER_SIZE + size} octets")
    head = header.pack(_SK, HEADER_SIZE + size) + GENERIC.pack(first, 0, size)
    return head + cipher.seal(head, plain)


def seal_fragment(
    header: Header, first: int, chunk: bytes, number: int, total: int, cipher: Cipher
) -> bytes:
    """Return one fragment message (RFC 7383 section 2.5). Raises ``LocalError``."""
    size = GENERIC_SIZE + FRAGMENT_SIZE + cipher.size(len(chunk))
    head = (
        header.pack(_SKF, HEADER_SIZE + size)
        + GENERIC.pack(first if number == 1 else 0, 0, size)
        + FRAGMENT.pack(number, total)
    )
    return head + cipher.seal(head, chunk)


def int_auth_octets(header: Header, first: int, plain: bytes) -> bytes:
    """Return what IntAuth covers of a whole IKE_INTERMEDIATE message (RFC 9242 section 3.3.2).

    That is the header and the SK payload's own, with lengths that count neither
    IV nor padding nor check value, then the plain payloads; as if the message
    had not been fragmented.
    """
    size = GENERIC_SIZE + len(plain)
    return header.pack(_SK, HEADER_SIZE + size) + GENERIC.pack(first, 0, size) + plain
