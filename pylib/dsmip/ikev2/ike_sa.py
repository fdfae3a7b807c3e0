# SPDX-License-Identifier: GPL-2.0-only
"""One IKE SA: who, where, with which keys, and what is under way in it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .config import Address, Assignment, ChildConfig, Connection, Movement
from .configuration import resolve
from .crypto import Cipher, PrivateKey
from .effects import Endpoint, Ends
from .identity import Identity
from .keys import IkeKeys
from .proposals import Suite
from .request import Request
from .states import UP, IkeEvent, IkeState, ike_after
from .window import Answers, Requests

if TYPE_CHECKING:
    from .auth_answer import AuthAnswer
    from .auth_request import AuthRequest
    from .child_sa import Child
    from .follow_up import Expected
    from .fragments import Reassembly
    from .message import Header
    from .ticket import Ticket


@dataclass(slots=True, eq=False)
class Features:
    """What both sides can do, as IKE_SA_INIT and IKE_AUTH told."""

    nat_traversal: bool = False
    fragmentation: bool = False
    mobike: bool = False
    childless: bool = False
    ppk: bool = False
    intermediate: bool = False
    redirect: bool = False
    hashes: tuple[int, ...] | None = None  # the peer's SIGNATURE_HASH_ALGORITHMS


@dataclass(slots=True, eq=False)
class Handshake:
    """What is needed until both sides are authenticated, and not any longer.

    ``request`` and ``response`` are the IKE_SA_INIT messages from the header on,
    as AUTH covers them. ``int_auth_i`` and ``int_auth_r`` are the chained PRFs over
    IKE_INTERMEDIATE, ``plain`` what the last of them held.
    """

    request: bytes = b""
    response: bytes = b""
    private: PrivateKey | None = None
    peer_public: bytes = b""
    int_auth_i: bytes = b""
    int_auth_r: bytes = b""
    extra: int = 0  # additional key exchanges that are done
    plain: tuple[Header, int, bytes] | None = None
    certificate_requests: tuple[tuple[int, bytes], ...] = ()


@dataclass(slots=True, eq=False)
class IkeSa:
    """One IKE SA; ``initiator`` tells whether we began it, by handshake or by rekey.

    ``mobile``: this end is the one that moves and decides about addresses; it
    began the first IKE SA of the line, whoever rekeyed it since. ``tunnel`` is
    where its children without fixed endpoints are. ``path`` counts movements.
    """

    id: int
    initiator: bool
    mobile: bool
    spi_i: bytes
    spi_r: bytes
    local: Endpoint
    remote: Endpoint
    created: float
    connection: Connection | None = None
    state: IkeState = IkeState.INITIATING
    own: Identity | None = None
    peer: Identity | None = None
    suite: Suite | None = None
    nonce_i: bytes = b""
    nonce_r: bytes = b""
    keys: IkeKeys | None = field(default=None, repr=False)
    cipher_out: Cipher | None = field(default=None, repr=False)
    cipher_in: Cipher | None = field(default=None, repr=False)
    features: Features = field(default_factory=Features)
    handshake: Handshake | None = field(default_factory=Handshake, repr=False)
    requests: Requests = field(default_factory=Requests)
    answers: Answers = field(default_factory=Answers)
    queue: deque[Request] = field(default_factory=deque)
    reassembly: Reassembly | None = None
    reassembly_in: Reassembly | None = None
    children: dict[int, Child] = field(default_factory=dict)
    nat_local: bool = False
    nat_remote: bool = False
    nat_known: bool = False
    path: int = 0
    tunnel: Ends | None = None
    established: float = 0.0
    heard: float = 0.0
    sent: float = 0.0
    rekey_at: float | None = None
    reauthenticate_at: float | None = None
    assignment: Assignment | None = None
    assigned_here: bool = False
    resolved: tuple[ChildConfig, ...] = ()
    delayed: list[Request] = field(default_factory=list)
    follow_ups: dict[bytes, Expected] = field(default_factory=dict)
    successor: IkeSa | None = None
    replaces: int | None = None
    failing_since: float | None = None
    announced: bool = False
    half_open_source: Address | None = None
    ppk_used: bool = False
    peer_addresses: tuple[Address, ...] = ()
    tried: set[Address] = field(default_factory=set)
    seen_mapping: bytes | None = None
    hinted: float = float("-inf")
    auth_request: AuthRequest | None = None
    auth: AuthAnswer | None = None
    ticket: bytes = field(default=b"", repr=False)
    resumed: Ticket | None = None
    claimed: Identity | None = None
    redirected_from: Address | None = None
    #: When what the other side proved itself with ends, in seconds since 1970.
    credential_ends: float | None = None

    @property
    def own_spi(self) -> bytes:
        """The SPI under which messages come in."""
        return self.spi_i if self.initiator else self.spi_r

    @property
    def up(self) -> bool:
        """Whether both sides are authenticated and it has not ended."""
        return self.state in UP

    @property
    def movement(self) -> Movement:
        """Who says that an end moved."""
        return self.connection.movement if self.connection else Movement.NONE

    @property
    def encapsulated(self) -> bool:
        """Whether ESP goes in UDP on the path in use."""
        return self.features.nat_traversal and (self.nat_local or self.nat_remote)

    def resolve_children(self) -> None:
        """Put the assigned addresses into the children of the connection."""
        assert self.connection is not None
        children = self.connection.children
        if self.assignment is not None and self.assignment.children is not None:
            children = self.assignment.children
        self.resolved = tuple(resolve(c, self.assignment, self.assigned_here) for c in children)

    def child_config(self, name: str) -> ChildConfig | None:
        """Return the configuration of a child, addresses put in."""
        return next((config for config in self.resolved if config.name == name), None)

    def child_out(self, protocol: int, spi: bytes) -> Child | None:
        """Return the child that sends with this SPI, which is how the peer calls it."""
        number = int.from_bytes(spi)
        for child in self.children.values():
            if child.sa.spi_out == number and child.sa.protocol == protocol:
                return child
        return None

    def change(self, event: IkeEvent) -> None:
        """Change the state. Raises ``LocalError`` where that makes no sense."""
        self.state = ike_after(self.state, event)

    def __str__(self) -> str:
        name = self.connection.name if self.connection else "?"
        return f"{name}[{self.id}]"
