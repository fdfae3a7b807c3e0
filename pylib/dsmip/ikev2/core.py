# SPDX-License-Identifier: GPL-2.0-only
"""What every exchange builds on: the IKE SAs of a host, their sending and their ends."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from itertools import count

from .admission import ERRORS_PER_SECOND, Admission, Rate
from .child_sa import Child
from .config import Directory, EngineConfig, Timings
from .effects import (
    AddChild,
    Count,
    DownCause,
    Effect,
    Endpoint,
    Ends,
    IkeDown,
    IkeUp,
    MoveChild,
    Note,
    RemoveChild,
    Send,
    TicketChanged,
    UseChild,
)
from .errors import LocalError
from .ike_sa import IkeSa
from .message import INITIATOR, RESPONSE, Header, build
from .numbers import ExchangeType, ProtocolId
from .payloads import Delete, Payload
from .redirect import Loops
from .request import Request
from .states import ChildEvent, ChildState, IkeEvent, IkeState
from .ticket import Ticket, Tickets, stored
from .timers import Timers
from .transport import seal
from .window import LAST_COMFORTABLE_ID, Outstanding

#: Precedes an IKE message on the port that it shares with ESP (RFC 3948 section 2.2).
NON_ESP_MARKER = bytes(4)
#: How long the answering end of a rekey waits for the delete of the old child before
#: it sends by the new one anyway.
USE_CHILD_AFTER = 5.0
#: How long a child goes on at least whose successor was given up.
REVIVED_REKEYS_AFTER = 120.0
#: How long an IKE SA that was replaced waits for its delete.
REPLACED_LINGERS = 120.0
#: Sends of a request after which a hint that nobody will answer it is believed so far
#: that another IKE SA is tried.
DOUBTED_AFTER = 3


class Timer(enum.IntEnum):
    """What a timer is for; its key is (this, id of an IKE SA or child, number)."""

    RETRANSMIT = enum.auto()
    HALF_OPEN = enum.auto()
    REFUSAL = enum.auto()
    RETRY = enum.auto()
    REKEY = enum.auto()
    REAUTHENTICATE = enum.auto()
    EXPIRY = enum.auto()
    LIVENESS = enum.auto()
    KEEPALIVE = enum.auto()
    LINGER = enum.auto()
    CHILD_REKEY = enum.auto()
    CHILD_EXPIRY = enum.auto()
    USE_CHILD = enum.auto()
    FOLLOW_UP = enum.auto()


TimerKey = tuple[Timer, int, int]
_OF_IKE_SA = (
    Timer.HALF_OPEN,
    Timer.REFUSAL,
    Timer.RETRY,
    Timer.REKEY,
    Timer.REAUTHENTICATE,
    Timer.EXPIRY,
    Timer.LIVENESS,
    Timer.KEEPALIVE,
    Timer.LINGER,
    Timer.FOLLOW_UP,
)
#: Ends after which nobody may resume an IKE SA (RFC 5723 section 6.2).
_FINAL = (DownCause.DELETED, DownCause.TERMINATED)
_OF_CHILD = (Timer.CHILD_REKEY, Timer.CHILD_EXPIRY, Timer.USE_CHILD)


class Core:
    """The IKE SAs and children of a host, and the effects of the call under way."""

    def __init__(
        self,
        config: EngineConfig,
        directory: Directory,
        random: Callable[[int], bytes],
        wall_clock: Callable[[], float],
    ) -> None:
        self.config = config
        self.directory = directory
        self.random = random
        self.wall_clock = wall_clock
        self.now = 0.0
        self.effects: list[Effect] = []
        self.timers: Timers[TimerKey] = Timers()
        self.admission = Admission(config)
        self.error_rate = Rate(ERRORS_PER_SECOND)
        self.sas: dict[int, IkeSa] = {}
        self.by_spi: dict[bytes, IkeSa] = {}
        self.by_connection: dict[str, dict[int, IkeSa]] = {}
        self.initial: dict[bytes, IkeSa] = {}
        self.children: dict[int, Child] = {}
        self.by_spi_in: dict[int, Child] = {}
        self.by_spi_out: dict[int, dict[int, Child]] = {}
        self.tickets = Tickets(random, self._ticket_changed)
        self.loops = Loops(config.redirects_max, config.redirects_time)
        self._ids = count(1)

    # --- effects -----------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """Ask for something."""
        self.effects.append(effect)

    def note(self, level: str, text: str) -> None:
        """Write a line to the log."""
        self.effects.append(Note(level, text))

    def count(self, name: str) -> None:
        """Raise a counter."""
        self.effects.append(Count(name))

    def _ticket_changed(self, connection: str, ticket: Ticket | None) -> None:
        data = b"" if ticket is None else stored(ticket, self.now, self.wall_clock())
        self.emit(TicketChanged(connection, data))

    def new_id(self) -> int:
        """Return an id for an IKE SA or a child."""
        return next(self._ids)

    def jittered(self, seconds: float, jitter: float) -> float:
        """Return ``seconds`` less a random part of up to ``jitter`` of them."""
        part = int.from_bytes(self.random(4)) / 0x1_0000_0000
        return seconds * (1.0 - jitter * part)

    # --- IKE SAs -----------------------------------------------------------------

    def new_ike_spi(self) -> bytes:
        """Return an SPI that no IKE SA of ours has."""
        while True:
            spi = self.random(8)
            if spi not in self.by_spi and any(spi):
                return spi

    def register(self, sa: IkeSa) -> None:
        """Make an IKE SA known; messages for it are accepted from now on."""
        self.sas[sa.id] = sa
        self.by_spi[sa.own_spi] = sa
        if sa.connection is not None:
            self.name(sa)

    def respell(self, sa: IkeSa) -> None:
        """Give an IKE SA that we have only asked for another SPI and nonce."""
        del self.by_spi[sa.own_spi]
        sa.spi_i, sa.nonce_i = self.new_ike_spi(), self.random(32)
        self.by_spi[sa.own_spi] = sa

    def admit(self, sa: IkeSa) -> None:
        """Take in a half-open IKE SA and send the answer that it begins with."""
        assert sa.handshake is not None
        sa.answers.begin(0)
        sa.answers.finish(0, ())
        self.register(sa)
        self.initial[sa.handshake.request] = sa
        self.admission.enter(sa.remote.address)
        sa.half_open_source = sa.remote.address
        self.timers.set((Timer.HALF_OPEN, sa.id, 0), self.now + self.config.half_open_timeout)
        self.transmit(sa, (sa.handshake.response,))

    def name(self, sa: IkeSa) -> None:
        """Enter an IKE SA below its connection, once that is known."""
        assert sa.connection is not None
        self.by_connection.setdefault(sa.connection.name, {})[sa.id] = sa

    def unname(self, sa: IkeSa) -> None:
        """Take an IKE SA away from its connection."""
        if sa.connection is not None:
            named = self.by_connection.get(sa.connection.name, {})
            named.pop(sa.id, None)
            if not named:
                self.by_connection.pop(sa.connection.name, None)

    def of_connection(self, name: str) -> list[IkeSa]:
        """Return the IKE SAs of a connection, newest first."""
        return list(reversed(self.by_connection.get(name, {}).values()))

    def bring_up(self, sa: IkeSa) -> None:
        """Both sides are authenticated: start the clocks of an IKE SA and tell of it."""
        sa.change(IkeEvent.UP)
        self.settled(sa)
        sa.handshake = None
        sa.reassembly = sa.reassembly_in = None
        sa.resolve_children()
        sa.tunnel = self.path_ends(sa)
        timings = sa.connection.timings if sa.connection else Timings()
        if sa.reauthenticate_at is None and timings.reauthenticate:
            sa.reauthenticate_at = self.now + self.jittered(timings.reauthenticate, timings.jitter)
        self._announce(sa, rekeyed=False)

    def take_over(self, old: IkeSa, new: IkeSa) -> None:
        """Let ``new`` go on with the children and the waiting exchanges of ``old``."""
        if new.state is IkeState.HALF_OPEN:
            new.change(IkeEvent.UP)
        for child in list(old.children.values()):
            child.adopt(new)
            new.children[child.sa.id] = child
        old.children.clear()
        self.timers.cancel((Timer.LINGER, new.id, 0))
        self._announce(new, rekeyed=True)
        waiting = list(old.queue)
        old.queue.clear()
        delay = self.timers.at((Timer.RETRY, old.id, 0))
        for exchange in old.delayed:
            self.retry(new, exchange, max(0.0, (delay or self.now) - self.now))
        old.delayed.clear()
        self._quiet(old)
        for exchange in waiting:
            self.queue(new, exchange)

    def _announce(self, sa: IkeSa, rekeyed: bool) -> None:
        """Start the clocks of an IKE SA that is up and tell of it."""
        assert sa.connection is not None
        assert sa.peer is not None
        sa.established = sa.heard = self.now
        timings = sa.connection.timings
        if timings.rekey:
            sa.rekey_at = self.now + self.jittered(timings.rekey, timings.jitter)
            self.timers.set((Timer.REKEY, sa.id, 0), sa.rekey_at)
        self.arm_reauthentication(sa)
        if timings.liveness:
            self.timers.set((Timer.LIVENESS, sa.id, 0), self.now + timings.liveness)
        self.keepalive(sa)
        sa.announced = True
        self.emit(
            IkeUp(
                sa.id,
                sa.connection.name,
                sa.peer,
                sa.local,
                sa.remote,
                sa.initiator,
                sa.replaces,
                rekeyed,
                sa.mobile,
                sa.nat_local,
            )
        )

    def arm_reauthentication(self, sa: IkeSa) -> None:
        """Let a changed time of the next authentication hold."""
        if sa.reauthenticate_at is not None:
            self.timers.set((Timer.REAUTHENTICATE, sa.id, 0), sa.reauthenticate_at)

    def _quiet(self, sa: IkeSa) -> None:
        """Stop the clocks of an IKE SA that only waits for its end."""
        for kind in (
            Timer.RETRY,
            Timer.REKEY,
            Timer.REAUTHENTICATE,
            Timer.EXPIRY,
            Timer.LIVENESS,
            Timer.KEEPALIVE,
        ):
            self.timers.cancel((kind, sa.id, 0))

    def linger(self, sa: IkeSa, seconds: float = REPLACED_LINGERS) -> None:
        """Let an IKE SA end by itself if the other side does not end it before."""
        self.timers.set((Timer.LINGER, sa.id, 0), self.now + seconds)

    def settled(self, sa: IkeSa) -> None:
        """An IKE SA is not half-open any more."""
        if sa.half_open_source is not None:
            self.admission.leave(sa.half_open_source)
            sa.half_open_source = None
        self.timers.cancel((Timer.HALF_OPEN, sa.id, 0))
        if sa.handshake is not None:
            self.initial.pop(sa.handshake.request, None)

    def keepalive(self, sa: IkeSa) -> None:
        """Send NAT keepalives from now on if this end is behind a NAT."""
        if sa.nat_local and sa.features.nat_traversal and self.config.nat_keepalive:
            key = (Timer.KEEPALIVE, sa.id, 0)
            if self.timers.at(key) is None:
                self.timers.set(key, self.now + self.config.nat_keepalive)

    def path_ends(self, sa: IkeSa) -> Ends:
        """Return the ends of a child that follows the path in use."""
        ports = None
        if sa.encapsulated and sa.local.port == self.config.nat_port:
            ports = (sa.local.port, sa.remote.port)
        return Ends(sa.local.address, sa.remote.address, ports)

    def move_tunnel(self, sa: IkeSa, ends: Ends) -> None:
        """Let the children that follow the IKE SA be between ``ends``."""
        if sa.tunnel == ends:
            return
        sa.tunnel = ends
        for child in sa.children.values():
            old = child.move(ends)
            if old is not None:
                self.emit(MoveChild(child.sa, old))

    def down(
        self, sa: IkeSa, cause: DownCause, reason: str, notify: int = 0, quiet: bool = False
    ) -> None:
        """End an IKE SA with everything below it; ``quiet``: nobody ever knew of it."""
        if sa.state is IkeState.GONE:
            return
        was_up = sa.announced
        waiting = [item.exchange for item in sa.requests.outstanding.values()]
        waiting += [*sa.queue, *sa.delayed]
        sa.queue.clear()
        sa.delayed.clear()
        sa.follow_ups.clear()
        for message_id in list(sa.requests.outstanding):
            self.settle_request(sa, message_id)
        self.settled(sa)
        sa.change(IkeEvent.END)
        for child in list(sa.children.values()):
            self.remove_child(child, reason)
        del self.sas[sa.id]
        self.by_spi.pop(sa.own_spi, None)
        self.unname(sa)
        if sa.ticket and cause in _FINAL:
            self.tickets.used(sa.ticket, self.now + self.config.ticket_lifetime, self.now)
        if sa.connection is not None and sa.mobile and was_up and cause in _FINAL:
            self.tickets.forget(sa.connection.name)
        for kind in _OF_IKE_SA:
            self.timers.cancel((kind, sa.id, 0))
        for exchange in waiting:
            exchange.dropped(self, sa)
        if sa.auth is not None:
            sa.auth.dropped(self, sa)
            sa.auth = None
        if sa.connection is not None and not quiet and (was_up or sa.initiator):
            self.emit(
                IkeDown(
                    sa.id,
                    sa.connection.name,
                    sa.peer if was_up else None,
                    cause,
                    reason,
                    was_up,
                    notify,
                )
            )
        else:
            self.note("debug", f"{sa}: {reason}")

    def close(
        self, sa: IkeSa, reason: str, cause: DownCause = DownCause.FAILED, notify: int = 0
    ) -> None:
        """End an IKE SA that cannot go on, and tell the other side if it can be told."""
        if sa.state is IkeState.GONE:
            return
        if sa.up and sa.requests.room:
            # Its answer is of no use: whether it comes or not, all is removed here.
            message_id = sa.requests.next_id
            sa.requests.next_id += 1
            self.transmit(sa, seal(sa, ExchangeType.INFORMATIONAL, message_id, [delete_ike()]))
        self.down(sa, cause, reason, notify)

    # --- requests of ours ------------------------------------------------------------

    def queue(self, sa: IkeSa, exchange: Request, first: bool = False) -> None:
        """Let an exchange go out as soon as the window allows."""
        if sa.state is IkeState.REKEYED and sa.successor is not None and not exchange.LAST:
            sa = sa.successor
        if sa.state is IkeState.GONE:
            exchange.dropped(self, sa)
            return
        if first:
            sa.queue.appendleft(exchange)
        else:
            sa.queue.append(exchange)
        self.pump(sa)

    def pump(self, sa: IkeSa) -> None:
        """Send what waits in the queue and may go."""
        while sa.queue and sa.state is not IkeState.GONE:
            under_way = sa.requests.outstanding.values()
            exchange = sa.queue[0]
            if under_way and (
                exchange.ALONE
                or not sa.requests.room
                or any(item.exchange.ALONE for item in under_way)
            ):
                return
            sa.queue.popleft()
            self.begin(sa, exchange)

    def retry(self, sa: IkeSa, exchange: Request, delay: float) -> None:
        """Queue an exchange after a while."""
        sa.delayed.append(exchange)
        self.timers.set((Timer.RETRY, sa.id, 0), self.now + delay)

    def begin(self, sa: IkeSa, exchange: Request) -> None:
        """Send a request now, unless it has become needless."""
        try:
            payloads = exchange.request(self, sa)
        except LocalError as error:
            self.note("error", f"{sa}: {error.reason}")
            if not sa.up:
                self.down(sa, DownCause.FAILED, error.reason)
            else:
                exchange.dropped(self, sa)
            return
        if payloads is None or sa.state is IkeState.GONE:
            return
        self.send_request(sa, exchange, seal(sa, exchange.TYPE, sa.requests.next_id, payloads))

    def send_request(self, sa: IkeSa, exchange: Request, messages: tuple[bytes, ...]) -> None:
        """Send a request that is built, and see to its retransmission."""
        item = Outstanding(sa.requests.next_id, exchange, messages, self.now, path=sa.path)
        sa.requests.add(item)
        self.transmit(sa, messages)
        self._wait(sa, item)
        if sa.requests.next_id == LAST_COMFORTABLE_ID and sa.up:
            self.timers.set((Timer.REKEY, sa.id, 0), self.now)

    def _wait(self, sa: IkeSa, item: Outstanding) -> None:
        assert sa.connection is not None
        wait = sa.connection.timings.retransmission.wait(item.sent)
        self.timers.set((Timer.RETRANSMIT, sa.id, item.id), self.now + wait)

    def retransmit(self, sa: IkeSa, message_id: int) -> None:
        """The answer to a request did not come in time."""
        item = sa.requests.outstanding.get(message_id)
        if item is None or sa.connection is None:
            return
        tries = item.exchange.TRIES or sa.connection.timings.retransmission.tries
        if item.sent >= tries:
            self.count("ike_unanswered")
            item.exchange.unanswered(self, sa)
            return
        item.sent += 1
        self.count("ike_retransmitted")
        if item.sent >= DOUBTED_AFTER and sa.hinted >= item.since and not item.doubted:
            item.doubted = True
            if sa.mobile and sa.state is IkeState.ESTABLISHED:
                self.count("ike_doubted")
                self.timers.set((Timer.REAUTHENTICATE, sa.id, 0), self.now)
        self.transmit(sa, item.messages)
        self._wait(sa, item)

    def repeat_all(self, sa: IkeSa) -> None:
        """Send what is unanswered again, from and to where the IKE SA is now."""
        for item in sa.requests.outstanding.values():
            item.moved = True
            item.sent = 1
            self.transmit(sa, item.messages)
            self._wait(sa, item)

    def settle_request(self, sa: IkeSa, message_id: int) -> Outstanding | None:
        """Take a request off the window: it was answered, or nobody waits for it."""
        item = sa.requests.outstanding.pop(message_id, None)
        self.timers.cancel((Timer.RETRANSMIT, sa.id, message_id))
        return item

    def transmit(
        self,
        sa: IkeSa,
        messages: Sequence[bytes],
        local: Endpoint | None = None,
        remote: Endpoint | None = None,
    ) -> None:
        """Send messages of an IKE SA on its path, or on another one."""
        local, remote = local or sa.local, remote or sa.remote
        sa.sent = self.now
        marked = local.port == self.config.nat_port
        for message in messages:
            self.effects.append(
                Send(NON_ESP_MARKER + message if marked else message, local, remote)
            )

    def transmit_clear(
        self,
        request: bytes,
        spi_r: bytes,
        payloads: Sequence[Payload],
        local: Endpoint,
        remote: Endpoint,
    ) -> None:
        """Answer an unprotected request whose header ``request`` begins with."""
        flags = RESPONSE | (~request[19] & INITIATOR)
        message_id = int.from_bytes(request[20:24])
        message = build(Header(request[:8], spi_r, request[18], flags, message_id), payloads)
        marked = local.port == self.config.nat_port
        self.effects.append(Send(NON_ESP_MARKER + message if marked else message, local, remote))

    # --- answers of ours --------------------------------------------------------------

    def answer(
        self,
        sa: IkeSa,
        exchange: int,
        message_id: int,
        payloads: Sequence[Payload],
        local: Endpoint | None = None,
        remote: Endpoint | None = None,
    ) -> None:
        """Answer a request, to where it came from when ``local`` and ``remote`` say."""
        messages = seal(sa, exchange, message_id, payloads, response=True)
        sa.answers.finish(message_id, messages)
        self.transmit(sa, messages, local, remote)

    # --- children ----------------------------------------------------------------------

    def new_child_spi(self) -> int:
        """Return an inbound SPI that no child of ours has; 0 to 255 are reserved."""
        while True:
            spi = int.from_bytes(self.random(4))
            if spi > 255 and spi not in self.by_spi_in:
                return spi

    def add_child(self, sa: IkeSa, child: Child, outbound: bool = True) -> None:
        """Install a child and start its clocks."""
        self.children[child.sa.id] = child
        self.by_spi_in[child.sa.spi_in] = child
        self.by_spi_out.setdefault(child.sa.spi_out, {})[child.sa.id] = child
        sa.children[child.sa.id] = child
        child.outbound = outbound
        self.emit(AddChild(child.sa, outbound))
        if not outbound:
            self.timers.set((Timer.USE_CHILD, child.sa.id, 0), self.now + USE_CHILD_AFTER)
        lifetime = child.sa.lifetime
        if lifetime.soft_seconds:
            child.rekey_at = self.now + lifetime.soft_seconds
            self.timers.set((Timer.CHILD_REKEY, child.sa.id, 0), child.rekey_at)
        if lifetime.hard_seconds:
            self.timers.set((Timer.CHILD_EXPIRY, child.sa.id, 0), self.now + lifetime.hard_seconds)

    def use_child(self, child: Child) -> None:
        """Send by a child that only received so far."""
        if not child.outbound and child.state is not ChildState.GONE:
            child.outbound = True
            self.timers.cancel((Timer.USE_CHILD, child.sa.id, 0))
            self.emit(UseChild(child.sa))

    def remove_child(self, child: Child, reason: str, expired: bool = False) -> None:
        """Remove a child; its successor takes over what it still did."""
        if child.state is ChildState.GONE:
            return
        if child.successor is not None:
            self.use_child(child.successor)
        child.change(ChildEvent.END)
        del self.children[child.sa.id]
        self.by_spi_in.pop(child.sa.spi_in, None)
        same_spi = self.by_spi_out[child.sa.spi_out]
        del same_spi[child.sa.id]
        if not same_spi:
            del self.by_spi_out[child.sa.spi_out]
        child.ike.children.pop(child.sa.id, None)
        for kind in _OF_CHILD:
            self.timers.cancel((kind, child.sa.id, 0))
        self.emit(RemoveChild(child.sa, reason, expired))
        for other in child.ike.children.values():
            if other.successor is child:
                self._revive(other)

    def _revive(self, child: Child) -> None:
        """Go on with a child whose successor went first: its creator could not use it."""
        child.successor = None
        if child.state is ChildState.REKEYED:
            child.change(ChildEvent.REVIVE)
            if child.rekey_at is not None:
                at = max(child.rekey_at, self.now + REVIVED_REKEYS_AFTER)
                self.timers.set((Timer.CHILD_REKEY, child.sa.id, 0), at)


def delete_ike() -> Payload:
    """Return the payload that deletes the IKE SA it is sent in."""
    return Delete(ProtocolId.IKE)
