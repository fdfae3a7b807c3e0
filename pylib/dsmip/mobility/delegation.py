# SPDX-License-Identifier: GPL-2.0-only
"""What both ends of prefix delegation share (RFC 8415, RFC 6276).

Away from home the mobile router is client and relay in one: its messages go in a
Relay-forward from home address to home agent, whose module carries them in home
form like signalling. On the home link it is a plain client there, and the relay
is off (RFC 6276 section 3.2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from ..packet.dhcpv6 import Status, StatusCode
from .effects import Count, Note


class DelegationError(Exception):
    """What an association, or a whole message, is answered instead of a prefix."""

    def __init__(self, code: StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.status = Status(code, reason)


@dataclass(frozen=True, slots=True)
class Place:
    """Where DHCPv6 is spoken from.

    Away: with ``home_address``. On the home link: with ``interface``, and no home
    address is meant.
    """

    home_address: IPv6Address | None = None
    interface: int = 0

    @property
    def at_home(self) -> bool:
        return self.home_address is None


@dataclass(frozen=True, slots=True)
class Lease:
    """A prefix that an identity's association has; ends are times of the engine's clock.

    A ``preferred_until`` or ``valid_until`` of infinity never comes.
    """

    identity: str
    iaid: int
    prefix: IPv6Network
    preferred_until: float
    valid_until: float
    duid: bytes = b""


# --- effects ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send octets to a DHCPv6 port.

    ``source`` None leaves the choice to the kernel: a link-local address of
    ``interface``.
    """

    data: bytes
    destination: IPv6Address
    port: int
    source: IPv6Address | None = None
    interface: int = 0


@dataclass(frozen=True, slots=True)
class LeasesChanged:
    """Prefixes came or went, or live longer: of ``identity``, at the home agent."""

    identity: str
    #: Not only their lifetimes have changed.
    prefixes: bool = True


DelegationEffect = SendDatagram | LeasesChanged | Note | Count


def duid_of(name: str) -> bytes:
    """Return a DUID that a name always has: no memory is needed to keep it (RFC 6355)."""
    digest = bytearray(hashlib.sha256(b"dsmip duid " + name.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # version and variant of a UUID made by a hash
    digest[8] = digest[8] & 0x3F | 0x80
    return b"\0\4" + bytes(digest)
