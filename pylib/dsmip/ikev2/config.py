# SPDX-License-Identifier: GPL-2.0-only
"""What the IKEv2 engine is configured with. Times in seconds, sizes in octets.

A value of ours that makes no sense raises ``ValueError`` when it is made.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Protocol

from .identity import Identity
from .proposals import Proposal
from .selectors import TrafficSelector

if TYPE_CHECKING:
    from .authentication import Psk, Signer, Verifier
    from .eap import EapClient, EapServerBackend

Address = IPv6Address | IPv4Address
Network = IPv6Network | IPv4Network


class Mode(enum.Enum):
    """How packets are wrapped (RFC 4301 section 3.2)."""

    TRANSPORT = "transport"
    TUNNEL = "tunnel"


class Movement(enum.Enum):
    """Who tells the engine that an end moved (RFC 5555 section 5.1: never both).

    LOCAL: the mobility side, by ``Engine.moved`` (K bit, MIGRATE). MOBIKE: the
    initiator's engine tells the other one (RFC 4555). NONE: nobody; the end that
    is not behind a NAT follows the other one (RFC 7296 section 2.23).
    """

    LOCAL = "local"
    MOBIKE = "mobike"
    NONE = "none"


class Start(enum.Enum):
    """When a child SA is made by us."""

    WITH_IKE = "with_ike"
    ON_DEMAND = "on_demand"  # by ``Engine.acquire``


@dataclass(frozen=True, slots=True)
class Retransmission:
    """Waits of ``first * factor ** n``, at most ``longest``; ``tries`` sends in all.

    The defaults give up after about five minutes (RFC 7296 section 2.4).
    """

    first: float = 0.5
    factor: float = 1.8
    longest: float = 60.0
    tries: int = 12

    def wait(self, sent: int) -> float:
        """Return how long to wait for an answer after ``sent`` sends (from 1)."""
        return min(self.longest, self.first * self.factor ** min(sent - 1, 64))


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a child SA is rekeyed (soft) and when the kernel drops it (hard); 0: never."""

    soft_seconds: float = 3600.0
    hard_seconds: float = 4000.0
    soft_bytes: int = 0
    hard_bytes: int = 0
    soft_packets: int = 0
    hard_packets: int = 0


@dataclass(frozen=True, slots=True)
class ChildConfig:
    """A child SA that may exist below a connection.

    ``local`` and ``remote`` are selectors as seen from this host, most wanted
    first. ``endpoints`` None: outer addresses are those of the IKE SA, follow its
    movements and get UDP encapsulation behind a NAT. ``endpoints`` (local,
    remote): a fixed pair such as home address and home agent (RFC 3776, 4877),
    never encapsulated, never moved, no selector substitution; an unspecified
    address there stands for the assigned one. ``dynamic``: the addresses of
    ``local`` (at the end that asks for an address) or ``remote`` (at the end that
    assigns) are replaced by the assigned ones, protocol and ports stay.
    """

    name: str
    reqid: int
    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]
    proposals: tuple[Proposal, ...]
    mode: Mode = Mode.TUNNEL
    endpoints: tuple[Address, Address] | None = None
    dynamic: bool = False
    lifetime: Lifetime = field(default_factory=Lifetime)
    jitter: float = 0.1
    start: Start = Start.WITH_IKE

    def __post_init__(self) -> None:
        if not (self.local and self.remote and self.proposals):
            raise ValueError(f"child {self.name} needs selectors and proposals")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"child {self.name}: jitter is a fraction")

    @property
    def unresolved(self) -> bool:
        """Whether an assigned address has to be put in before it can be used."""
        ends = self.endpoints
        return self.dynamic or (ends is not None and any(end.is_unspecified for end in ends))


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """What the initiator asks by configuration payload, or was asked by one.

    In ``addresses6`` and ``addresses4`` None is any address, an address a wish
    (RFC 4877 section 9). ``home_prefix`` is MIP6_HOME_PREFIX (RFC 5026 5.3.2).
    """

    addresses6: tuple[IPv6Address | None, ...] = ()
    addresses4: tuple[IPv4Address | None, ...] = ()
    dns6: bool = False
    dns4: bool = False
    home_prefix: bool = False


@dataclass(frozen=True, slots=True)
class HomePrefix:
    """MIP6_HOME_PREFIX: the prefix and for how many seconds (0xffffffff: for ever)."""

    prefix: IPv6Network
    lifetime: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Assignment:
    """What was given for an ``AddressRequest``.

    ``children`` replaces the connection's children at the end that assigns, since
    their selectors follow from the addresses; None leaves them. With
    ``use_assigned`` autoconfiguration is refused: USE_ASSIGNED_HoA is sent.
    """

    addresses6: tuple[tuple[IPv6Address, int], ...] = ()
    addresses4: tuple[IPv4Address, ...] = ()
    dns6: tuple[IPv6Address, ...] = ()
    dns4: tuple[IPv4Address, ...] = ()
    home_prefix: HomePrefix | None = None
    use_assigned: bool = False
    children: tuple[ChildConfig, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ppk:
    """A post-quantum preshared key (RFC 8784) with its PPK_ID."""

    identity: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Timings:
    """Times of an IKE SA; 0 is never.

    ``rekey`` and ``reauthenticate`` count from its creation and are jittered down
    by up to ``jitter`` of themselves. ``liveness`` is how long nothing may come in
    before it is checked (RFC 7296 section 2.4). ``temporary_failure`` is how long
    an SA may be refused with TEMPORARY_FAILURE before it is closed (2.25).
    """

    rekey: float = 14400.0
    reauthenticate: float = 0.0
    jitter: float = 0.1
    liveness: float = 30.0
    temporary_failure: float = 300.0
    retransmission: Retransmission = field(default_factory=Retransmission)


@dataclass(frozen=True, slots=True)
class Connection:
    """Whom to speak IKEv2 with, and for what.

    ``own`` is how this host authenticates, ``peer`` what the other one must
    show: any one of the list. ``proposals`` are for the IKE SA. ``remote`` None:
    whoever authenticates as ``peer`` demands. ``unique``: INITIAL_CONTACT is sent
    and believed: older IKE SAs of the same identity end (RFC 7296 section 2.4).
    ``fragment`` is the largest IP datagram to send, 0 for 1280 over IPv6 and 576
    over IPv4 (RFC 7383 section 2.5.1). ``childless``: no child in IKE_AUTH (RFC
    6023). ``ppk_required``: refuse an IKE SA without one. ``resumption``: ask for
    a ticket and use it (RFC 5723). ``redirect_to``: send an authenticated
    initiator there (RFC 5685). ``window`` is what SET_WINDOW_SIZE offers.
    ``additional_addresses`` are told by MOBIKE. ``eap_only``: the responder proves
    itself by EAP too and not by a signature before it (RFC 5998), where both ends say
    so; the method must authenticate both, as EAP-TLS does.
    """

    name: str
    local: Identity
    remote: Identity | None
    own: Psk | Signer | EapClient
    peer: tuple[Psk | Verifier | EapServerBackend, ...]
    proposals: tuple[Proposal, ...]
    children: tuple[ChildConfig, ...] = ()
    request: AddressRequest | None = None
    movement: Movement = Movement.LOCAL
    timings: Timings = field(default_factory=Timings)
    unique: bool = True
    nat_traversal: bool = True
    force_encapsulation: bool = False
    fragmentation: bool = True
    fragment: int = 0
    childless: bool = False
    ppks: tuple[Ppk, ...] = ()
    ppk_required: bool = False
    resumption: bool = False
    follow_redirect: bool = True
    redirect_to: str | None = None
    window: int = 1
    additional_addresses: tuple[Address, ...] = ()
    eap_only: bool = False

    def child(self, name: str) -> ChildConfig | None:
        """Return the child of that name."""
        return next((child for child in self.children if child.name == name), None)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What holds before the other side is known.

    ``proposals`` are what an IKE_SA_INIT request may choose from; an SA must
    suit its connection's own ones too. From ``cookie_threshold`` half-open SAs on
    (or ``cookie_threshold_source`` of one source) a COOKIE is demanded; beyond
    ``half_open_max`` and ``half_open_source_max`` requests are dropped. A source
    is an IPv4 address or an IPv6 /64. ``half_open_timeout`` is for the whole of
    IKE_SA_INIT to IKE_AUTH; ``refusal_wait`` how long an initiator waits for a
    better answer after an unprotected refusal. ``redirect_to`` sends every initiator elsewhere
    before authentication, ``redirects_max`` in ``redirects_time`` are followed.
    ``certificate_requests`` are CERTREQ payloads (encoding, data) for initiators
    that are not known yet; ``ppk`` tells them that we have some.
    """

    proposals: tuple[Proposal, ...]
    port: int = 500
    nat_port: int = 4500
    cookie_threshold: int = 32
    cookie_threshold_source: int = 4
    cookie_lifetime: float = 60.0
    half_open_max: int = 1024
    half_open_source_max: int = 16
    half_open_timeout: float = 30.0
    ike_max: int = 100_000
    children_max: int = 64
    nat_keepalive: float = 20.0
    vendor_ids: tuple[bytes, ...] = ()
    nat_traversal: bool = True
    fragmentation: bool = True
    childless: bool = True
    ticket_lifetime: int = 0
    certificate_requests: tuple[tuple[int, bytes], ...] = ()
    ppk: bool = False
    redirect_to: str | None = None
    redirects_max: int = 5
    redirects_time: float = 300.0
    follow_up_timeout: float = 20.0
    refusal_wait: float = 5.0


class Directory(Protocol):
    """Who may come in, and what they get; asked by the responder.

    ``find`` is called with identities as claimed, ``assign`` only after the peer has
    proved its own. Neither may call the engine, which is in the middle of something.
    """

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        """Return the connection for a claimed peer (IDi), None to refuse it.

        ``own`` is the IDr that it asked for, None when it left the choice to us.
        """

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        """Return addresses for an authenticated peer; None answers no request.

        Held until the ``IkeDown`` of the last IKE SA of that peer. Raises
        ``RemoteError`` with INTERNAL_ADDRESS_FAILURE or FAILED_CP_REQUIRED.
        """


class NoDirectory:
    """A directory for a host that only initiates."""

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        """Refuse everybody."""
        return None

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        """Give nothing."""
        return None


@dataclass(frozen=True, slots=True)
class StaticDirectory:
    """A directory of fixed connections by remote identity; "" is for all others."""

    connections: Mapping[str, Connection]

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        """Return the connection whose remote identity is ``peer``."""
        found = self.connections.get(str(peer)) or self.connections.get("")
        if found is not None and own is not None and own != found.local:
            return None
        return found

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        """Give nothing."""
        return None
