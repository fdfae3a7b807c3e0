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
from ..packet.flows import IPv4Selector, IPv6Selector
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
    tied to ``source`` (RFC 3776 section 4.2). ``wall`` is when it came, in seconds
    since 1970, where the time of day counts.
    """

    data: bytes
    source: IPv6Address
    destination: IPv6Address
    care_of: CareOf | None
    interface: int
    protected: bool
    wall: float = 0.0


@dataclass(frozen=True, slots=True)
class Uplink:
    """One access network of the mobile router, as usable right now.

    ``addresses6`` holds global addresses that may be sources (optimistic ones
    too), best first. ``gateway6`` and ``gateway4`` tell whether a default route
    exists. ``at_home`` is True when a home prefix is on-link there (RFC 6275
    section 11.5.2). Lower ``priority`` is preferred. ``ends`` tells when short-lived
    addresses are not valid any more, by the engine's clock.
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
    link_layer: bytes = b""
    ends: tuple[tuple[Address, float], ...] = ()


# --- effects ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send ``message`` in home form; ``care_of`` names the path.

    Without ``care_of`` it is an ordinary packet from ``source`` (the answer to
    a node that used no Home Address option, or a router on its home link).
    ``on_link``: to a neighbour there, although packets to its address go elsewhere.
    """

    message: Message
    source: IPv6Address
    destination: IPv6Address
    care_of: CareOf | None = None
    interface: int = 0
    on_link: bool = False


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
class FlowRule:
    """Packets that take certain paths, by BID, on their way to the mobile network.

    With several each flow within takes one of them, by ``weights``; two without
    weights get a copy each.
    """

    selector: IPv4Selector | IPv6Selector
    bids: tuple[int, ...]
    weights: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PutFlows:
    """Replace the flow rules of a binding; the first that matches counts.

    ``networks`` are what is on the mobile side. ``mobile``: this is that side, so
    selectors are to be read the other way round. Without ``rules`` all go.
    """

    home_address: IPv6Address
    networks: tuple[Network, ...]
    rules: tuple[FlowRule, ...]
    mobile: bool = False


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
class MeasureUse:
    """Count the packets of a direct binding, both ways, and tell the engine's ``measured``."""

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
class Announce:
    """Tell the home link that the home addresses are on that interface from now on.

    The home agent defends them no more (RFC 6275 section 11.5.5). Attached in silence,
    that is true of IPv4 alone.
    """

    interface: int


@dataclass(frozen=True, slots=True)
class UseHomeAgent:
    """Another home agent is used from now on: keys and routes must know.

    Comes before the first message to it.
    """

    address6: IPv6Address
    address4: IPv4Address | None


@dataclass(frozen=True, slots=True)
class FindHomeAgents:
    """Look for home agents (RFC 6275 section 11.4.1)."""


@dataclass(frozen=True, slots=True)
class UpdateName:
    """Give a name the home address in DNS, or take it away (RFC 5026 section 6)."""

    home_address: IPv6Address
    name: str
    remove: bool


@dataclass(frozen=True, slots=True)
class SolicitPrefixes:
    """The home prefix is, or soon will be, deprecated: ask for prefixes (section 11.7.3)."""


@dataclass(frozen=True, slots=True)
class Attach:
    """The mobile router's attachment changed.

    ``home`` True: home addresses belong on that interface and traffic goes
    native. False: everything of the mobile network goes through the device.
    ``interface`` 0: nowhere attached. ``silent``: at home the home agent goes on
    defending the IPv6 home addresses, so they must not be heard of there (RFC 5648
    section 5.6.4).
    """

    home: bool
    interface: int
    silent: bool = False


@dataclass(frozen=True, slots=True)
class AtHome:
    """Packets of a binding go to the home link (``on``), whatever care-of addresses it has.

    There ``link_layer`` has the home addresses; ``silent``: it does not answer for
    them, since the home agent does (RFC 5648 section 6.3).
    """

    home_address: IPv6Address
    home_address4: IPv4Address | None
    on: bool
    link_layer: bytes = b""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """A binding's care-of address changed: what tunnel-mode SAs and IKE must follow.

    Comes before the update is sent, or when one was accepted; also for a binding
    that was taken over after a restart. ``new`` None: there is none, because the
    router is ``at_home``, or because nobody knows where it is. A home address
    ``::`` is one that IKE has yet to bring. ``keys_follow``: an IKE SA goes along,
    since both ends have set the K bit (RFC 6275 section 6.1.7); else a new one is
    made from the new care-of address.
    """

    home_address: IPv6Address
    old: CareOf | None
    new: CareOf | None
    at_home: bool = False
    keys_follow: bool = True


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
    | PutFlows
    | DropPath
    | DropBinding
    | MeasureUse
    | DetectDuplicate
    | Proxy
    | Solicit
    | Announce
    | UseHomeAgent
    | FindHomeAgents
    | SolicitPrefixes
    | UpdateName
    | Attach
    | AtHome
    | Moved
    | HandoverMark
    | Note
    | Count
)
