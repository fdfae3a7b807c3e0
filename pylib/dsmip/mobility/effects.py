# SPDX-License-Identifier: GPL-2.0-only
"""What engines are told and what they ask for.

Times are seconds as floats of one monotonic clock that the caller chooses
(``now``). Engines return lists of effects, to be carried out in order.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..packet.careof import CareOf
from ..packet.kernel import Address as Address
from ..packet.kernel import KernelBinding as KernelBinding
from ..packet.kernel import Network as Network
from ..packet.kernel import Path as Path
from ..packet.kernel import PathEvent as PathEvent
from ..packet.mobility import Message


@dataclass(frozen=True, slots=True)
class Received:
    """A mobility message in home form, as the kernel delivered it.

    ``protected`` tells that an inbound policy which requires ESP covers this
    source and destination, so that the message could only arrive under the SA
    tied to ``source`` (RFC 3776 section 4.2).
    """

    data: bytes
    source: IPv6Address
    destination: IPv6Address
    care_of: CareOf | None
    interface: int
    protected: bool


@dataclass(frozen=True, slots=True)
class Uplink:
    """One access network of the mobile router, as usable right now.

    ``addresses6`` holds global addresses that may be sources (optimistic ones
    too), best first. ``gateway6`` and ``gateway4`` tell whether a default route
    exists. ``at_home`` is True when a home prefix is on-link there (RFC 6275
    section 11.5.2). Lower ``priority`` is preferred.
    """

    name: str
    interface: int
    priority: int
    addresses6: tuple[IPv6Address, ...] = ()
    addresses4: tuple[IPv4Address, ...] = ()
    gateway6: bool = False
    gateway4: bool = False
    at_home: bool = False
    held: bool = False  # by the operator, or a captive portal: listed, never chosen


# --- effects ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send ``message`` in home form; ``care_of`` names the path.

    Without ``care_of`` it is an ordinary packet from ``source`` (the answer to
    a node that used no Home Address option, or a router on its home link).
    """

    message: Message
    source: IPv6Address
    destination: IPv6Address
    care_of: CareOf | None = None
    interface: int = 0


@dataclass(frozen=True, slots=True)
class SendParameterProblem:
    """ICMPv6 parameter problem about a received message (RFC 6275 section 9.2)."""

    received: Received
    code: int
    pointer: int  # offset in the mobility header


@dataclass(frozen=True, slots=True)
class PutBinding:
    """Create or replace a binding with all its paths and prefixes, atomically."""

    binding: KernelBinding


@dataclass(frozen=True, slots=True)
class PutPath:
    """Add or replace one path: the handover on the data path."""

    home_address: IPv6Address
    path: Path


@dataclass(frozen=True, slots=True)
class DropPath:
    """Remove one path."""

    home_address: IPv6Address
    bid: int


@dataclass(frozen=True, slots=True)
class DropBinding:
    """Remove a binding with everything it owns."""

    home_address: IPv6Address


@dataclass(frozen=True, slots=True)
class DetectDuplicate:
    """Run duplicate address detection for ``address`` on the home link.

    The answer comes back through the engine's ``duplicate_checked``.
    """

    address: Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """Start or stop to defend an address on the home link (proxy ND or ARP).

    Starting also multicasts the unsolicited advertisement of RFC 6275 section
    10.4.1; ``router`` is its R bit (RFC 3963 section 6.2).
    """

    address: Address
    on: bool
    router: bool


@dataclass(frozen=True, slots=True)
class Solicit:
    """Send a Router Solicitation on the interface now."""

    interface: int


@dataclass(frozen=True, slots=True)
class Attach:
    """The mobile router's attachment changed.

    ``home`` True: home addresses belong on that interface and traffic goes
    native. False: everything of the mobile network goes through the device.
    ``interface`` 0: nowhere attached.
    """

    home: bool
    interface: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A binding's care-of address changed: what tunnel-mode SAs must follow."""

    home_address: IPv6Address
    old: CareOf | None
    new: CareOf | None


class Phase(enum.Enum):
    """Marks of a handover, in the order in which they usually come."""

    LINK = "link"
    ADDRESS = "address"
    UPDATE_SENT = "update_sent"
    ACKNOWLEDGED = "acknowledged"
    FIRST_PACKET = "first_packet"


@dataclass(frozen=True, slots=True)
class HandoverMark:
    """One phase of a handover reached at ``at``; LINK opens a new record.

    ``reason`` is a short human text ("wan0 lost its address").
    """

    home_address: IPv6Address
    phase: Phase
    at: float
    uplink: str = ""
    care_of: CareOf | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log; ``level`` is a logging level name in lower case."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Count:
    """Add one to a named counter (``bu_refused_142``, ``mh_malformed``)."""

    name: str


Effect = (
    SendMessage
    | SendParameterProblem
    | PutBinding
    | PutPath
    | DropPath
    | DropBinding
    | DetectDuplicate
    | Proxy
    | Solicit
    | Attach
    | Moved
    | HandoverMark
    | Note
    | Count
)
