# SPDX-License-Identifier: GPL-2.0-only
"""Messages of one IKE SA: protected on the way out, opened on the way in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from . import fragments
from .errors import Ignored, LocalError
from .fragments import Reassembly
from .message import INITIATOR, RESPONSE, Header, Message, build_payloads, open_octets
from .payloads import Payload

if TYPE_CHECKING:
    from .ike_sa import IkeSa


#: Octets of a fragmented message before authentication: long certificate chains fit.
EARLY: Final = 24_000


def header(sa: IkeSa, exchange: int, message_id: int, response: bool = False) -> Header:
    """Return the header of a message that we send in ``sa``."""
    flags = (INITIATOR if sa.initiator else 0) | (RESPONSE if response else 0)
    return Header(sa.spi_i, sa.spi_r, int(exchange), flags, message_id)


def seal(
    sa: IkeSa,
    exchange: int,
    message_id: int,
    payloads: Sequence[Payload],
    response: bool = False,
) -> tuple[bytes, ...]:
    """Return a protected message, in fragments where it is long and the peer takes them."""
    first, plain = build_payloads(payloads)
    return seal_octets(sa, header(sa, exchange, message_id, response), first, plain)


def seal_octets(sa: IkeSa, head: Header, first: int, plain: bytes) -> tuple[bytes, ...]:
    """Do so for payloads that are built already. Raises ``LocalError`` without keys."""
    if sa.cipher_out is None:
        raise LocalError(f"{sa} has no keys yet")
    limit = fragments.LARGEST
    if sa.features.fragmentation:
        size = sa.connection.fragment if sa.connection else 0
        limit = fragments.limit(sa.remote.address.version, size or None)
    return tuple(fragments.seal(head, first, plain, sa.cipher_out, limit))


def opened(sa: IkeSa, message: Message, now: float) -> tuple[int, bytes] | None:
    """Return (first payload type, plain octets) of a message, None until all fragments came.

    Raises ``Ignored`` for what is not authentic or not to be accepted, ``RemoteError``
    for an authentic message with wrong padding.
    """
    if sa.cipher_in is None:
        raise Ignored("no keys yet", "ike_no_keys")
    encrypted = message.encrypted
    if encrypted is None:
        raise Ignored("unprotected message in an IKE SA with keys", "ike_unprotected")
    if not encrypted.total:
        return encrypted.first, open_octets(message, sa.cipher_in)
    if not sa.features.fragmentation:
        raise Ignored("fragment that was not agreed on", "ike_fragment_invalid")
    stored = sa.reassembly_in if message.header.response else sa.reassembly
    if stored is None:
        # Strangers may fill less than a peer that has proved who it is.
        stored = Reassembly(EARLY if sa.handshake is not None else fragments.LARGEST)
        if message.header.response:
            sa.reassembly_in = stored
        else:
            sa.reassembly = stored
    return stored.add(message, sa.cipher_in, now)
