# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 message fragmentation (RFC 7383)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .crypto import Cipher
from .errors import Ignored, LocalError
from .message import (
    FRAGMENT_SIZE,
    GENERIC_SIZE,
    HEADER_SIZE,
    Header,
    Message,
    open_octets,
    seal_fragment,
    seal_octets,
)

#: Octets of a datagram that pass without better knowledge (section 2.5.1).
DATAGRAM: Final = {4: 576, 6: 1280}
_IP_HEADER: Final = {4: 20, 6: 40}
_UDP_HEADER: Final = 8
_MARKER: Final = 4
#: Octets of a reassembled message; more is an attack (section 5).
LARGEST: Final = 65535
#: Fragments of one message: enough for the largest one in the smallest datagrams.
MOST: Final = 255
#: Seconds after which an incomplete message is forgotten (section 2.6).
TIMEOUT: Final = 60.0


def limit(version: int, datagram: int | None = None, marker: bool = True) -> int:
    """Return the octets left for an IKE message in a datagram of IP ``version``.

    ``datagram`` is the IP packet's size, else what RFC 7383 recommends; with
    ``marker`` the four zero octets of port 4500 come off as well.
    """
    size = DATAGRAM[version] if datagram is None else datagram
    return size - _IP_HEADER[version] - _UDP_HEADER - (_MARKER if marker else 0)


def split(plain: bytes, size: int) -> list[bytes]:
    """Cut plain payload octets into pieces of at most ``size``, regardless of payloads.

    Raises ``LocalError`` when that takes more pieces than a receiver must bear.
    """
    if size < 1 or len(plain) > size * MOST:
        raise LocalError(f"{len(plain)} octets in fragments of {size}")
    return [plain[at : at + size] for at in range(0, len(plain), size)] or [b""]


def seal(header: Header, first: int, plain: bytes, cipher: Cipher, limit: int) -> list[bytes]:
    """Return the message in one piece if it fits ``limit`` octets, else in fragments.

    ``first`` and ``plain`` come from ``message.build_payloads``. Raises
    ``LocalError``.
    """
    if HEADER_SIZE + GENERIC_SIZE + cipher.size(len(plain)) <= limit:
        return [seal_octets(header, first, plain, cipher)]
    chunks = split(plain, cipher.capacity(limit - HEADER_SIZE - GENERIC_SIZE - FRAGMENT_SIZE))
    total = len(chunks)
    return [
        seal_fragment(header, first, chunk, number, total, cipher)
        for number, chunk in enumerate(chunks, 1)
    ]


@dataclass(slots=True)
class Reassembly:
    """The fragments of one message, of one direction of an IKE_SA.

    A fragment with another message id takes the place of the stored ones: the
    caller lets in only ids of its window. ``deadline`` says until when the rest
    is waited for, None when nothing is stored.
    """

    largest: int = LARGEST
    timeout: float = TIMEOUT
    deadline: float | None = None
    _message_id: int = -1
    _total: int = 0
    _first: int = 0
    _octets: int = 0
    _chunks: dict[int, bytes] = field(default_factory=dict, repr=False)

    def add(self, message: Message, cipher: Cipher, now: float) -> tuple[int, bytes] | None:
        """Take a fragment; returns (first payload type, plain octets) when all are there.

        Raises ``Ignored`` for one that is not valid, not new or not authentic,
        and when the whole would be too large; ``RemoteError`` for wrong padding.
        """
        encrypted = message.encrypted
        if encrypted is None:
            raise LocalError("a message without encrypted payload")
        number, total = encrypted.number, encrypted.total
        if not 0 < number <= total:
            raise Ignored(f"fragment {number} of {total}", "ike_fragment_invalid")
        if total > MOST:
            raise Ignored(f"message of {total} fragments", "ike_fragment_excess")
        self.expire(now)
        message_id = message.header.message_id
        same = message_id == self._message_id
        if same and total < self._total:
            raise Ignored(f"fragment of {total} after {self._total}", "ike_fragment_invalid")
        if same and total == self._total and number in self._chunks:
            raise Ignored(f"fragment {number} came before", "ike_fragment_repeated")
        chunk = open_octets(message, cipher)
        if not same or total > self._total:
            self.clear()
            self._message_id, self._total = message_id, total
            self.deadline = now + self.timeout
        if self._octets + len(chunk) > self.largest:
            self.clear()
            raise Ignored("fragmented message is too large", "ike_fragment_excess")
        if number == 1:
            self._first = encrypted.first
        self._chunks[number] = chunk
        self._octets += len(chunk)
        if len(self._chunks) < total:
            return None
        whole = b"".join([self._chunks[n] for n in range(1, total + 1)])
        first = self._first
        self.clear()
        return first, whole

    def expire(self, now: float) -> bool:
        """Forget an incomplete message whose time is over; tells whether there was one."""
        if self.deadline is None or now < self.deadline:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Forget what is stored."""
        self._chunks = {}
        self._message_id, self._total, self._first, self._octets = -1, 0, 0, 0
        self.deadline = None
