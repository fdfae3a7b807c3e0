# SPDX-License-Identifier: GPL-2.0-only
"""Tickets of session resumption: what is in one, who has which (RFC 5723 section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from struct import Struct
from struct import error as StructError
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import Ignored, RemoteError
from .identity import Identity
from .numbers import PayloadType
from .payloads import SA, build, identity_body, parse
from .proposals import Suite, accepted

_FIXED: Final = Struct("!dQ?d")
_SIZE: Final = Struct("!H")
_KEY_ID: Final = 4
_NONCE: Final = 12
#: Numbers of tickets that are remembered as used, until they expire.
USED_MAX: Final = 100_000
#: Seconds that a ticket is kept, whatever its giver promised.
KEPT_MOST: Final = 86_400.0
#: First octet of a ticket that was stored.
_STORED: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What an IKE SA needs to go on in another one.

    ``peer`` is who was authenticated, which is not always ``idi`` (EAP). ``until``
    and ``credential_until`` are times of the engine's clock; the latter is 0 when
    the credential does not expire. ``ike`` is the IKE SA at the end that gave it.
    """

    until: float
    ike: int
    ppk: bool
    credential_until: float
    idi: Identity
    idr: Identity
    peer: Identity
    suite: Suite
    sk_d: bytes = field(repr=False)
    opaque: bytes = field(default=b"", repr=False)


def _pack(ticket: Ticket) -> bytes:
    parts = [_FIXED.pack(ticket.until, ticket.ike, ticket.ppk, ticket.credential_until)]
    for octets in (
        identity_body(ticket.idi),
        identity_body(ticket.idr),
        identity_body(ticket.peer),
        build(SA((ticket.suite.answer(),))),
        ticket.sk_d,
    ):
        parts += (_SIZE.pack(len(octets)), octets)
    return b"".join(parts)


def _unpack(data: bytes, opaque: bytes) -> Ticket:
    until, ike, ppk, credential_until = _FIXED.unpack_from(data)
    at = _FIXED.size
    found = []
    while at < len(data):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        found.append(data[at : at + size])
        at += size
    *ids, sa, sk_d = found
    idi, idr, peer = (Identity(body[0], body[4:]) for body in ids)
    proposals = parse(PayloadType.SA, sa)
    assert isinstance(proposals, SA)
    suite = accepted(proposals.proposals, proposals.proposals)
    return Ticket(until, ike, ppk, credential_until, idi, idr, peer, suite, sk_d, opaque)


def stored(ticket: Ticket, now: float, wall_clock: float) -> bytes:
    """Return a ticket in a form that outlives the process, times by the calendar."""
    packed = _pack(_shifted(ticket, wall_clock - now))
    return _STORED + _SIZE.pack(len(packed)) + packed + ticket.opaque


def restored(data: bytes, now: float, wall_clock: float) -> Ticket:
    """Return a ticket that was stored. Raises ``ValueError``: too old, or none."""
    start = len(_STORED) + _SIZE.size
    try:
        (size,) = _SIZE.unpack_from(data, len(_STORED))
        packed, opaque = data[start : start + size], data[start + size :]
        ticket = _unpack(packed, opaque)
    except (StructError, ValueError, IndexError, RemoteError):
        raise ValueError("it makes no sense") from None
    if data[:1] != _STORED or len(packed) != size or not opaque:
        raise ValueError("it makes no sense")
    ticket = _shifted(ticket, now - wall_clock)
    if not now < ticket.until <= now + KEPT_MOST:
        raise ValueError("it is too old")
    return ticket


def _shifted(ticket: Ticket, seconds: float) -> Ticket:
    credential = ticket.credential_until and ticket.credential_until + seconds
    return replace(ticket, until=ticket.until + seconds, credential_until=credential)


class Tickets:
    """Gives tickets by value under a key of its own, and keeps those it was given.

    ``changed`` is called with a connection when it has another ticket, None for none.
    """

    def __init__(
        self, random: Callable[[int], bytes], changed: Callable[[str, Ticket | None], None]
    ) -> None:
        self._random = random
        self._changed = changed
        self.renew()
        self._used: dict[bytes, float] = {}
        self._mine: dict[str, Ticket] = {}

    def renew(self) -> None:
        """Let all tickets that were given be void."""
        self._key_id = self._random(_KEY_ID)
        self._box = AESGCM(self._random(16))

    # --- the end that gives them ----------------------------------------------------

    def seal(self, ticket: Ticket) -> bytes:
        """Return the ticket as its holder gets it, who cannot look into it."""
        nonce = self._random(_NONCE)
        return self._key_id + nonce + self._box.encrypt(nonce, _pack(ticket), self._key_id)

    def open(self, opaque: bytes, now: float) -> Ticket:
        """Return what a ticket says.

        Raises ``Ignored`` for one that is not ours, too old, or used.
        """
        key_id, nonce = opaque[:_KEY_ID], opaque[_KEY_ID : _KEY_ID + _NONCE]
        if key_id != self._key_id or len(nonce) != _NONCE:
            raise Ignored("ticket of another key", "ike_ticket_unknown")
        try:
            plain = self._box.decrypt(nonce, opaque[_KEY_ID + _NONCE :], key_id)
            ticket = _unpack(plain, opaque)
        except (InvalidTag, StructError, ValueError, RemoteError):
            raise Ignored("ticket is not ours", "ike_ticket_unknown") from None
        if ticket.until <= now or nonce in self._used:
            raise Ignored("ticket is used or too old", "ike_ticket_used")
        return ticket

    def used(self, opaque: bytes, until: float, now: float) -> None:
        """Take a ticket for no other IKE SA."""
        if len(self._used) >= USED_MAX:
            self._used = {nonce: end for nonce, end in self._used.items() if end > now}
            while len(self._used) >= USED_MAX:
                del self._used[next(iter(self._used))]
        self._used[opaque[_KEY_ID : _KEY_ID + _NONCE]] = until

    # --- the end that has them --------------------------------------------------------

    def keep(self, connection: str, ticket: Ticket) -> None:
        """Keep the ticket of a connection, instead of an older one."""
        self._mine[connection] = ticket
        self._changed(connection, ticket)

    def again(self, connection: str, ticket: Ticket) -> None:
        """Keep the ticket of a connection that was stored."""
        self._mine[connection] = ticket

    def take(self, connection: str, now: float) -> Ticket | None:
        """Return the ticket of a connection; it is gone then."""
        ticket = self._mine.get(connection)
        self.forget(connection)
        return ticket if ticket is not None and ticket.until > now else None

    def forget(self, connection: str) -> None:
        """Forget the ticket of a connection."""
        if self._mine.pop(connection, None) is not None:
            self._changed(connection, None)
