# SPDX-License-Identifier: GPL-2.0-only
"""What the IKEv2 engine asks for and shows.

Engine calls return lists of effects, to be carried out in order. Times are
seconds of the monotonic clock whose ``now`` the caller passes in.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from .config import Address, Assignment, Lifetime, Mode
from .identity import Identity
from .numbers import ProtocolId
from .proposals import Suite
from .selectors import TrafficSelector


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A UDP end."""

    address: Address
    port: int

    def __str__(self) -> str:
        text = str(self.address)
        return f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ends:
    """Outer ends of a child SA; ``encapsulation`` is (local, remote) UDP port.

    In transport mode the addresses are those of the packets themselves.
    """

    local: Address
    remote: Address
    encapsulation: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """Keys of one direction; for AEAD ``encryption`` ends with the salt."""

    encryption: bytes = field(repr=False)
    integrity: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class ChildSa:
    """A pair of SAs, everything the kernel needs to know of it.

    ``id`` names the pair for ``Engine.rekey`` and ``Engine.terminate`` and stays
    with it when an IKE SA is rekeyed, though ``ike`` is another one then: ``IkeUp``
    with ``rekeyed`` tells that, for all children at once. ``spi_in`` is ours,
    where packets come in; both are numbers as printed, not in network order.
    ``fixed``: ``ends`` never change. ``replaces`` is the ``id`` of the pair that a
    rekey supersedes: add this one first, the other one is removed by an effect of
    its own.
    """

    id: int
    ike: int
    connection: str
    name: str
    reqid: int
    protocol: ProtocolId
    mode: Mode
    spi_in: int
    spi_out: int
    suite: Suite
    keys_in: DirectionKeys
    keys_out: DirectionKeys
    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]
    ends: Ends
    fixed: bool
    lifetime: Lifetime
    initiator: bool
    replaces: int | None = None


# --- effects ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send a UDP datagram as it is: the non-ESP marker is already in ``data``."""

    data: bytes
    local: Endpoint
    remote: Endpoint


@dataclass(frozen=True, slots=True)
class AddChild:
    """Install a child: its inbound SA, and its outbound one when ``outbound``.

    The end that answers a rekey must not send by the new pair before the other
    end can receive by it (RFC 7296 section 2.8): it gets ``outbound`` False, and
    ``UseChild`` once the old pair is being deleted.
    """

    child: ChildSa
    outbound: bool = True


@dataclass(frozen=True, slots=True)
class UseChild:
    """Install the outbound SA of a child that ``AddChild`` left out."""

    child: ChildSa


@dataclass(frozen=True, slots=True)
class RemoveChild:
    """Remove what is installed of a child; ``expired``: the kernel dropped one by itself."""

    child: ChildSa
    reason: str
    expired: bool = False


@dataclass(frozen=True, slots=True)
class MoveChild:
    """Outer ends or encapsulation changed: ``child.ends`` is how it shall be now."""

    child: ChildSa
    old: Ends


@dataclass(frozen=True, slots=True)
class IkeUp:
    """An IKE SA is authenticated; ``replaces`` is the one it takes over from, if any.

    ``rekeyed`` tells a rekey (same authentication) from a new authentication,
    ``mobile`` whether this end is the one that moves.
    """

    ike: int
    connection: str
    peer: Identity
    local: Endpoint
    remote: Endpoint
    initiator: bool
    replaces: int | None = None
    rekeyed: bool = False
    mobile: bool = False
    nat_local: bool = False


class DownCause(enum.Enum):
    """Why an IKE SA went away."""

    DELETED = "deleted"  # by the other side
    TERMINATED = "terminated"  # by us
    REPLACED = "replaced"  # by a newer one, after rekey, reauthentication or reconnection
    UNREACHABLE = "unreachable"  # no answer to retransmissions
    REFUSED = "refused"  # it was never up: the other side said no
    FAILED = "failed"  # it was never up: the other side failed our checks
    EXPIRED = "expired"
    REDIRECTED = "redirected"


@dataclass(frozen=True, slots=True)
class IkeDown:
    """An IKE SA ended or an attempt failed; its children were removed before.

    ``peer`` is None when it was not authenticated. ``notify`` is the error that the
    other side sent, 0 without.
    """

    ike: int
    connection: str
    peer: Identity | None
    cause: DownCause
    reason: str
    was_up: bool
    notify: int = 0


@dataclass(frozen=True, slots=True)
class IkeMoved:
    """The ends of an IKE SA changed."""

    ike: int
    connection: str
    local: Endpoint
    remote: Endpoint
    nat_local: bool
    nat_remote: bool


@dataclass(frozen=True, slots=True)
class ChildFailed:
    """A child SA was refused, by either side; the IKE SA lives on."""

    ike: int
    connection: str
    name: str
    notify: int
    reason: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """The other side gave us addresses (initiator), or we gave it some (responder)."""

    ike: int
    connection: str
    peer: Identity
    assignment: Assignment
    initiator: bool


@dataclass(frozen=True, slots=True)
class AskEap:
    """The backend said "later": hand what it gives then to ``Engine.eap_answer``."""

    ike: int
    connection: str
    peer: Identity
    packet: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Redirected:
    """The other side sends us to ``gateway``: an address or a name to look up.

    Answer with ``Engine.initiate(..., redirected_from=...)`` for the same ``children``.
    ``ike`` is gone, or goes once the new one is up when ``was_up`` (RFC 5685 section 5).
    """

    ike: int
    connection: str
    gateway: str
    redirected_from: Address
    was_up: bool
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TicketChanged:
    """A connection has another ticket for resuming it (RFC 5723), b"" for none any more.

    Whoever keeps ``data`` for ``Engine.restore_ticket`` keeps a secret: it has the keys
    that IKE goes on with. It is good once, and for a day at most.
    """

    connection: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log; ``level`` is a logging level name in lower case."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Count:
    """Add one to a named counter (``ike_bad_auth``)."""

    name: str


Effect = (
    Send
    | AddChild
    | UseChild
    | RemoveChild
    | MoveChild
    | IkeUp
    | IkeDown
    | IkeMoved
    | ChildFailed
    | Assigned
    | AskEap
    | Redirected
    | TicketChanged
    | Note
    | Count
)


# --- what is shown ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChildView:
    """A child SA for status documents."""

    id: int
    name: str
    reqid: int
    state: str
    mode: Mode
    protocol: ProtocolId
    spi_in: int
    spi_out: int
    suite: str
    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]
    ends: Ends
    age: float
    rekey_in: float | None


@dataclass(frozen=True, slots=True)
class IkeView:
    """An IKE SA for status documents; times in seconds."""

    id: int
    connection: str
    state: str
    initiator: bool
    spi_i: bytes
    spi_r: bytes
    local_identity: Identity
    peer: Identity | None
    local: Endpoint
    remote: Endpoint
    nat_local: bool
    nat_remote: bool
    suite: str
    ppk: bool
    age: float
    silent_for: float
    rekey_in: float | None
    reauthenticate_in: float | None
    assignment: Assignment | None
    children: tuple[ChildView, ...]
    #: When the other side's certificate ends, in seconds since 1970.
    credential_ends: float | None = None
