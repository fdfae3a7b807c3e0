# SPDX-License-Identifier: GPL-2.0-only
"""The IKEv2 engine and the world: datagrams, timers, the kernel's word.

Whose connections they are is not known here: owners (the rows of mobile
routers, connections of other mobility stacks) say what a connection is, and
hear what becomes of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from ..ikev2.config import AddressRequest, Assignment, Connection, EngineConfig
from ..ikev2.eap import EapReply
from ..ikev2.effects import (
    AddChild,
    AskEap,
    Assigned,
    ChildFailed,
    ChildSa,
    Count,
    DownCause,
    Effect,
    Endpoint,
    IkeDown,
    IkeMoved,
    IkeUp,
    IkeView,
    MoveChild,
    Note,
    Redirected,
    RemoveChild,
    Send,
    TicketChanged,
    UseChild,
)
from ..ikev2.engine import Engine
from ..ikev2.identity import Identity
from ..ikev2.numbers import ProtocolId
from ..mobility.registration import RateLimit
from ..packet.kernel import Address
from .alarm import Alarm
from .ike_kernel import SaTable
from .ike_redirect import Redirects
from .ike_tickets import TicketFile
from .ike_traffic import Silence

log = logging.getLogger(__name__)

_LEVELS = logging.getLevelNamesMapping()
_NOTES_BURST, _NOTES_RATE = 100.0, 20.0
#: Seconds to wait before a connection that failed is tried again: doubled each time.
RETRY_FIRST, RETRY_MOST = 1.0, 60.0
#: Their end gives traffic to a successor: not a reason to stop it.
_KEEPING: Final = frozenset((DownCause.UNREACHABLE, DownCause.REPLACED, DownCause.REDIRECTED))


class Transport(Protocol):
    """Sends datagrams; raises ``OSError``."""

    def send(self, data: bytes, local: Endpoint, remote: Endpoint) -> None: ...


class EapRelay(Protocol):
    """Answers EAP from elsewhere, such as RADIUS, in its own time."""

    def ask(self, effect: AskEap, answer: Callable[[EapReply], None]) -> None: ...
    def forget(self, ike: int) -> None: ...


class Owner(Protocol):
    """Whose connections they are."""

    def owns(self, connection: str) -> bool:
        """Whether a connection is this one's."""

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        """Return the connection for a claimed identity."""

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        """Return addresses for an authenticated peer."""

    def up(self, effect: IkeUp) -> None:
        """An IKE SA is authenticated."""

    def down(self, effect: IkeDown) -> None:
        """An IKE SA ended, or an attempt failed."""

    def ends_changed(self, effect: IkeMoved) -> None:
        """The ends of an IKE SA changed."""

    def assigned(self, effect: Assigned) -> None:
        """Addresses were given, by us or to us."""

    def child_added(self, child: ChildSa) -> None:
        """A child SA carries traffic."""

    def child_moved(self, effect: MoveChild) -> None:
        """A child SA has other outer ends: move policies and associations."""

    def child_failed(self, effect: ChildFailed) -> None:
        """A child SA was refused."""

    def redirected(self, effect: Redirected, gateways: Sequence[Address]) -> bool:
        """Go on at another gateway, at one of these addresses; False when that cannot be."""

    def start(self, connection: str, child: str | None = None) -> None:
        """Start a connection or a child; ``LookupError`` when its other end is not known."""


class IkeRuntime:
    """All IKE SAs of this host."""

    def __init__(
        self,
        config: EngineConfig,
        transport: Transport,
        table: SaTable,
        loop: asyncio.AbstractEventLoop,
        relay: EapRelay | None = None,
        tickets: TicketFile | None = None,
    ) -> None:
        self._config = config
        self.engine = Engine(config, self, wall_clock=time.time)
        self._transport = transport
        self.table = table
        self._loop = loop
        self._relay = relay
        self._tickets = tickets
        self._redirects = Redirects(loop, self._redirected)
        self._silence = Silence(table.received, loop, self._silent)
        self._mobile: set[int] = set()
        self._owners: list[Owner] = []
        self._alarm = Alarm(loop, self._rang)
        self._notes = RateLimit(_NOTES_BURST, _NOTES_RATE)
        self._closed = False
        self.counters: Counter[str] = Counter()

    def resume(self) -> None:
        """Take the tickets that a former daemon was given."""
        if self._tickets is None:
            return
        for connection, data in self._tickets.read().items():
            try:
                self.engine.restore_ticket(connection, data, self.now())
            except ValueError as error:
                log.info("%s is not resumed by its ticket: %s", connection, error)
                self._tickets.put(connection, b"")

    def add_owner(self, owner: Owner) -> None:
        """Ask this one about connections, too."""
        self._owners.append(owner)

    def _owner(self, connection: str) -> Owner | None:
        return next((owner for owner in self._owners if owner.owns(connection)), None)

    def now(self) -> float:
        """Return the time of the engine's clock."""
        return self._loop.time()

    # --- the engine's directory

    def find(self, own: Identity | None, peer: Identity) -> Connection | None:
        """See ``ikev2.config.Directory``."""
        for owner in self._owners:
            found = owner.find(own, peer)
            if found is not None:
                return found
        return None

    def assign(
        self, connection: Connection, peer: Identity, request: AddressRequest
    ) -> Assignment | None:
        """See ``ikev2.config.Directory``."""
        owner = self._owner(connection.name)
        return None if owner is None else owner.assign(connection, peer, request)

    # --- inputs

    def receive(self, data: bytes, local: Endpoint, remote: Endpoint) -> None:
        """Take a datagram."""
        self.carry(self.engine.receive(data, local, remote, self.now()))

    def initiate(
        self,
        connection: Connection,
        local: Address,
        remote: Address,
        children: tuple[str, ...] | None = None,
        redirected_from: Address | None = None,
    ) -> None:
        """Start an IKE SA between two addresses."""
        port = self._config.port
        here, there = Endpoint(local, port), Endpoint(remote, port)
        log.info("%s: IKE from %s to %s", connection.name, here, there)
        self.carry(
            self.engine.initiate(
                connection,
                here,
                there,
                self.now(),
                children=children,
                redirected_from=redirected_from,
            )
        )

    def void_tickets(self) -> None:
        """Let nobody resume by a ticket from before."""
        self.engine.void_tickets()

    def configure(self, connection: Connection) -> None:
        """Replace a connection below its live IKE SAs."""
        self.carry(self.engine.configure(connection, self.now()))

    def moved(self, connection: str, local: Address, remote: Address) -> None:
        """Let a connection follow a movement."""
        self.carry(self.engine.moved(connection, local, remote, self.now()))

    def acquire(self, connection: str, child: str) -> None:
        """Make a child; ``LookupError`` when there is no IKE SA."""
        self.carry(self.engine.acquire(connection, child, self.now()))

    def expire(self, protocol: int, spi: int, hard: bool, destination: Address) -> None:
        """Take the kernel's word that an SA reached a limit."""
        kind = ProtocolId.AH if protocol == 51 else ProtocolId.ESP
        self.carry(self.engine.expire(kind, spi, hard, self.now(), destination))

    def mapping(self, spi: int, address: Address, port: int) -> None:
        """Take the kernel's word that ESP in UDP comes from elsewhere."""
        self.carry(self.engine.mapping(spi, Endpoint(address, port), self.now()))

    def rekey(self, id: int) -> None:
        """Rekey an IKE SA or a child; ``LookupError`` when it is not there."""
        self.carry(self.engine.rekey(id, self.now()))

    def terminate(self, id: int) -> None:
        """Delete an IKE SA or a child; ``LookupError`` when it is not there."""
        self.carry(self.engine.terminate(id, self.now()))

    def check(self, ike: int) -> None:
        """Ask whether the other end of an IKE SA is alive."""
        self.carry(self.engine.check(ike, self.now()))

    def connected(self, connection: str) -> bool:
        """Whether a connection has an IKE SA, up or being made."""
        return self.engine.connected(connection)

    def up(self, connection: str) -> int | None:
        """Return the IKE SA of a connection that is up."""
        return self.engine.find(connection)

    def start(self, connection: str, child: str | None = None) -> None:
        """Start a connection by name; ``LookupError`` for one that is not there."""
        owner = self._owner(connection)
        if owner is None:
            raise LookupError(f'no connection is called "{connection}"')
        owner.start(connection, child)

    def views(self, limit: int | None = None) -> list[IkeView]:
        """Return IKE SAs for status documents, all or at most ``limit``."""
        return self.engine.views(self.now(), limit)

    def stop(self, keep: bool) -> None:
        """End. With ``keep`` nothing is said: the next daemon goes on with what is there."""
        if not keep:
            self.carry(self.engine.shutdown(self.now()))
            self.table.clear()
        self._closed = True
        self._redirects.close()
        self._alarm.stop()

    # --- effects

    def carry(self, effects: Sequence[Effect]) -> None:
        """Carry out effects in order, then ask the engine when it wants to be called."""
        if self._closed:
            return
        gone = {e.ike: e.cause for e in effects if isinstance(e, IkeDown)}
        for effect in effects:
            try:
                self._carry_one(effect, gone)
            except OSError as error:
                self._failed(effect, error)
        self._arm()

    def _carry_one(self, effect: Effect, gone: dict[int, DownCause]) -> None:
        match effect:
            case Send():
                self._transport.send(effect.data, effect.local, effect.remote)
                self.counters["ike_sent"] += 1
            case AddChild():
                self._add(effect)
            case UseChild():
                self.table.use(effect.child)
            case RemoveChild():
                keep = gone.get(effect.child.ike) in _KEEPING and not effect.expired
                self.table.remove(effect.child, keep)
                self._say(effect.child, "gone", effect.reason)
            case Note():
                if effect.level == "error" or self._notes.take(self.now()):
                    log.log(_LEVELS.get(effect.level.upper(), logging.INFO), "%s", effect.text)
                else:
                    self.counters["notes_suppressed"] += 1
            case Count():
                self.counters[effect.name] += 1
            case AskEap():
                self._ask(effect)
            case TicketChanged():
                if self._tickets is not None:
                    self._tickets.put(effect.connection, effect.data)
            case Redirected():
                self._redirects.take(effect)
            case _:
                self._tell(effect)

    def _tell(self, effect: Effect) -> None:
        """Let the owner of the connection know."""
        if isinstance(effect, MoveChild):
            owner = self._owner(effect.child.connection)
            if owner is not None:
                owner.child_moved(effect)
            return
        assert isinstance(effect, IkeUp | IkeDown | IkeMoved | Assigned | ChildFailed)
        if self._relay is not None and isinstance(effect, IkeUp | IkeDown):
            self._relay.forget(effect.ike)
        if isinstance(effect, IkeUp | IkeMoved | IkeDown):
            self._watch(effect)
        owner = self._owner(effect.connection)
        if owner is None:
            return
        match effect:
            case IkeUp():
                log.info("%s: IKE SA with %s at %s", effect.connection, effect.peer, effect.remote)
                self.counters["ike_rekeyed" if effect.rekeyed else "ike_established"] += 1
                owner.up(effect)
            case IkeDown():
                log.info("%s: IKE SA %s: %s", effect.connection, effect.cause.value, effect.reason)
                self.counters[f"ike_{effect.cause.value}"] += 1
                owner.down(effect)
            case IkeMoved():
                log.info("%s: IKE is at %s, %s", effect.connection, effect.local, effect.remote)
                self.counters["ike_moved"] += 1
                owner.ends_changed(effect)
            case Assigned():
                owner.assigned(effect)
            case ChildFailed():
                log.warning("%s: no %s: %s", effect.connection, effect.name, effect.reason)
                self.counters["child_failed"] += 1
                owner.child_failed(effect)

    def _watch(self, effect: IkeUp | IkeMoved | IkeDown) -> None:
        """Listen for what comes in behind a NAT, where it is for this end to speak first."""
        if isinstance(effect, IkeDown):
            self._mobile.discard(effect.ike)
            self._silence.over(effect.ike)
            return
        if isinstance(effect, IkeUp) and effect.mobile:
            self._mobile.add(effect.ike)
        if effect.ike in self._mobile:
            self._silence.behind(effect.ike, effect.connection, effect.nat_local)

    def _silent(self, connection: str) -> None:
        """A stream behind a NAT broke off."""
        ike = self.up(connection)
        if ike is not None and not self._closed:
            self.counters["ike_silent"] += 1
            self.check(ike)

    def _redirected(self, effect: Redirected, gateways: Sequence[Address]) -> None:
        owner = self._owner(effect.connection)
        if self._closed or owner is None:
            return
        if gateways and owner.redirected(effect, gateways):
            self.counters["ike_redirect_followed"] += 1
        else:
            self.counters["ike_redirect_ignored"] += 1
            log.warning("%s: %s cannot be gone to", effect.connection, effect.gateway)

    def _add(self, effect: AddChild) -> None:
        child = effect.child
        self.table.add(child, effect.outbound)
        self.counters["child_rekeyed" if child.replaces else "child_established"] += 1
        self._say(child, "made", str(child.suite))
        owner = self._owner(child.connection)
        if owner is not None:
            owner.child_added(child)

    @staticmethod
    def _say(child: ChildSa, what: str, why: str) -> None:
        log.info(
            "%s: %s SA 0x%08x, 0x%08x %s: %s",
            child.connection,
            child.name,
            child.spi_in,
            child.spi_out,
            what,
            why,
        )

    def _ask(self, effect: AskEap) -> None:
        if self._relay is None:
            log.error("%s: EAP is asked for and nobody answers it", effect.connection)
            return
        ike = effect.ike
        self._relay.ask(
            effect, lambda packet: self.carry(self.engine.eap_answer(ike, packet, self.now()))
        )

    def _failed(self, effect: Effect, error: OSError) -> None:
        name = type(effect).__name__
        self.counters[f"failed_{name}"] += 1
        reason = error.strerror or str(error)
        if isinstance(effect, Send):
            # A network that just went away; retransmission mends it.
            log.debug("IKE to %s not sent: %s", effect.remote, reason)
        else:
            log.error("IKE, %s: %s", name, reason)

    # --- time

    def _arm(self) -> None:
        self._alarm.set(None if self._closed else self.engine.next_timer())

    def _rang(self, now: float) -> None:
        try:
            effects = self.engine.handle_timer(now)
        except Exception:
            # A fault in one timer must not end all timers, nor spin.
            log.exception("IKE: internal error")
            self.counters["internal_errors"] += 1
            self._alarm.set(now + 1.0)
            return
        self.carry(effects)


def matching(views: Iterable[IkeView], text: str) -> list[IkeView]:
    """Return the IKE SAs that a part of a name or identity stands for; "" is all."""
    return [
        view
        for view in views
        if not text or text in view.connection or text in str(view.peer or "")
    ]
