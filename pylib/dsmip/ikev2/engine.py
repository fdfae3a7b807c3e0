# SPDX-License-Identifier: GPL-2.0-only
"""The IKEv2 engine (RFC 7296): all IKE SAs of a host, as initiator and as responder.

It does no input or output: datagrams and ``now`` go in, effects come out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import islice

from . import control, movement, receive
from .child_sa import Trigger
from .config import Address, Connection, Directory, EngineConfig
from .core import Core
from .eap import EapReply
from .effects import Effect, Endpoint, IkeView
from .errors import Ignored, LocalError, RemoteError
from .identity import Identity
from .numbers import ProtocolId
from .states import IkeState
from .ticket import restored
from .timeouts import handle
from .views import ike_view


class Engine:
    """All IKE SAs of a host. Times are those of the caller's monotonic clock.

    ``random`` gives unpredictable octets. ``wall_clock`` tells seconds since 1970,
    for what expires by the calendar: certificates; without it none is accepted.
    """

    def __init__(
        self,
        config: EngineConfig,
        directory: Directory,
        random: Callable[[int], bytes] = secrets.token_bytes,
        wall_clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._core = Core(config, directory, random, wall_clock)

    def _enter(self, now: float) -> Core:
        self._core.now = now
        self._core.effects = []
        return self._core

    # --- inputs ------------------------------------------------------------------

    def receive(self, data: bytes, local: Endpoint, remote: Endpoint, now: float) -> list[Effect]:
        """Handle a UDP datagram as it came, marker included on the NAT port.

        Never raises for what the other side sent. ``local`` is the address and
        port it came in at.
        """
        core = self._enter(now)
        try:
            receive.datagram(core, data, local, remote)
        except Ignored as error:
            core.count(error.counter)
        except RemoteError as error:
            core.count("ike_malformed")
            core.note("debug", f"{remote}: {error.reason}")
        except LocalError as error:
            core.count("ike_fault")
            core.note("error", f"{remote}: {error.reason}")
        return core.effects

    def initiate(
        self,
        connection: Connection,
        local: Endpoint,
        remote: Endpoint,
        now: float,
        *,
        children: tuple[str, ...] | None = None,
        redirected_from: Address | None = None,
    ) -> list[Effect]:
        """Start an IKE SA from ``local`` to ``remote`` (usually port 500).

        ``children`` names those to make at once, None for all that start with IKE.
        An IKE SA of the same connection that is already there is replaced once the
        new one is up (make before break); an attempt under way is given up for
        the new one. Raises ``LocalError`` for a connection that cannot be used here.
        """
        core = self._enter(now)
        control.initiate(core, connection, local, remote, children, redirected_from)
        return core.effects

    def configure(self, connection: Connection, now: float) -> list[Effect]:
        """Replace a connection, known by its name, below the live IKE SAs.

        Children that are no longer configured are deleted, new ones that start
        with IKE are made at the end that moves, all others stay untouched. The rest
        of it holds from the next authentication on. Children that came with an
        assignment are replaced by those of the connection.
        """
        core = self._enter(now)
        control.configure(core, connection)
        return core.effects

    def acquire(
        self, connection: str, child: str, now: float, trigger: Trigger | None = None
    ) -> list[Effect]:
        """Make a child of a connection (the kernel's ACQUIRE); no-op when being made.

        ``trigger`` are the selectors of the packet that asked (local, remote).
        Raises ``LookupError`` when there is no IKE SA and none is being made: then
        ``initiate``.
        """
        core = self._enter(now)
        control.acquire(core, connection, child, trigger)
        return core.effects

    def expire(
        self,
        protocol: ProtocolId,
        spi: int,
        hard: bool,
        now: float,
        destination: Address | None = None,
    ) -> list[Effect]:
        """Take the kernel's word that an SA reached its soft or hard limit."""
        core = self._enter(now)
        control.expire(core, protocol, spi, hard, destination)
        return core.effects

    def moved(
        self,
        connection: str | int,
        local: Address,
        remote: Address,
        now: float,
        nat: bool | None = None,
    ) -> list[Effect]:
        """Take the mobility side's word about where both ends of a connection are.

        For movement LOCAL and, at the end that moves, MOBIKE; ``connection`` may be
        the id of one IKE SA too. The IKE SA and children without fixed endpoints
        follow at once, in whatever address family; what is outstanding is sent again
        from there; one INFORMATIONAL lets the other side learn the port. The end
        that answers takes it as an authorization: the port comes from the next
        authenticated message, or came with one already. ``nat`` is what the mobility
        side knows of a NAT between them; None: guess until detected. No-op when
        nothing changed.
        """
        core = self._enter(now)
        if isinstance(connection, int):
            sas = [core.sas[connection]] if connection in core.sas else []
        else:
            sas = core.of_connection(connection)
        for sa in sas:
            movement.moved(core, sa, local, remote, nat)
        return core.effects

    def mapping(self, spi: int, remote: Endpoint, now: float) -> list[Effect]:
        """Take the kernel's word that ESP in UDP of an inbound ``spi`` has a new source."""
        core = self._enter(now)
        child = core.by_spi_in.get(spi)
        if child is not None:
            movement.mapping(core, child, remote)
        return core.effects

    def eap_answer(self, ike: int, packet: EapReply, now: float) -> list[Effect]:
        """Give what a backend answered after ``AskEap``; ignored when out of date."""
        core = self._enter(now)
        receive.eap_later(core, ike, packet)
        return core.effects

    def rekey(self, id: int, now: float) -> list[Effect]:
        """Rekey an IKE SA or a child, by the ``id`` of either. Raises ``LookupError``."""
        core = self._enter(now)
        if id in core.children:
            control.rekey_child(core, core.children[id])
        else:
            control.rekey_ike(core, core.sas[id])
        return core.effects

    def reauthenticate(self, ike: int, now: float) -> list[Effect]:
        """Make a new IKE SA and drop the old one after it is up. Raises ``LookupError``."""
        core = self._enter(now)
        control.reauthenticate(core, core.sas[ike])
        return core.effects

    def terminate(self, id: int, now: float, reason: str = "asked for") -> list[Effect]:
        """Delete an IKE SA or a child, by the ``id`` of either. Raises ``LookupError``."""
        core = self._enter(now)
        if id in core.children:
            control.terminate_child(core, core.children[id], reason)
        else:
            control.terminate(core, core.sas[id], reason)
        return core.effects

    def check(self, ike: int, now: float) -> list[Effect]:
        """Ask whether the other end is alive, unless an answer is awaited already.

        Raises ``LookupError``.
        """
        core = self._enter(now)
        sa = core.sas[ike]
        if sa.up and not sa.requests.outstanding:
            core.queue(sa, movement.Liveness())
        return core.effects

    def redirect(self, ike: int, gateway: str, now: float) -> list[Effect]:
        """Send an established initiator to another gateway (RFC 5685 section 5).

        Raises ``LookupError``.
        """
        core = self._enter(now)
        control.redirect(core, core.sas[ike], gateway)
        return core.effects

    def restore_ticket(self, connection: str, data: bytes, now: float) -> None:
        """Take what ``TicketChanged`` gave before a restart: the connection is resumed by it.

        Raises ``ValueError`` when it is too old or makes no sense.
        """
        self._enter(now)
        ticket = restored(data, now, self._core.wall_clock())
        self._core.tickets.again(connection, ticket)

    def void_tickets(self) -> None:
        """Let nobody resume by a ticket from before: who may come in has changed."""
        self._core.tickets.renew()

    def shutdown(self, now: float) -> list[Effect]:
        """Delete everything without waiting for answers: the last call."""
        core = self._enter(now)
        control.shutdown(core)
        return core.effects

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called, None for never."""
        return self._core.timers.next()

    def handle_timer(self, now: float) -> list[Effect]:
        """Do what time asks for."""
        core = self._enter(now)
        handle(core)
        return core.effects

    # --- what is there --------------------------------------------------------------

    def connected(self, connection: str) -> bool:
        """Whether a connection has an IKE SA that is up, or one being made by us."""
        return any(sa.up or sa.initiator for sa in self._core.of_connection(connection))

    def views(self, now: float, limit: int | None = None) -> list[IkeView]:
        """Return the IKE SAs whose connection is known, at most ``limit``, for status documents.

        Those that lost a collision are left out: nothing ever happens in them.
        """
        alive = (sa for sa in self._core.sas.values() if sa.announced or sa.handshake is not None)
        shown = islice((sa for sa in alive if sa.connection is not None), limit)
        return [ike_view(sa, now) for sa in shown]

    def credential_ends(self, connection: str) -> float | None:
        """When what the other side proved itself with ends, in seconds since 1970."""
        found = (sa.credential_ends for sa in self._core.of_connection(connection))
        return next((ends for ends in found if ends is not None), None)

    def half_open(self) -> int:
        """Return how many IKE SAs wait for their initiator to authenticate itself."""
        return self._core.admission.half_open

    def find(self, connection: str, peer: Identity | None = None) -> int | None:
        """Return the ``id`` of the newest IKE SA of a connection that is up."""
        for sa in self._core.of_connection(connection):
            if sa.announced and sa.state is IkeState.ESTABLISHED and peer in (None, sa.peer):
                return sa.id
        return None
