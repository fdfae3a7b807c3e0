# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's DHCPv6 server: its engine, its sockets, its leases' file."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from typing import Any, Final, Protocol

from ..linux.dhcp_socket import DhcpDatagram, DhcpSocket
from ..linux.neighbours import Interface
from ..mobility.delegating_router import DelegatingConfig, DelegatingRouter
from ..mobility.delegation import (
    DelegationEffect,
    Lease,
    LeasesChanged,
    Place,
    SendDatagram,
    duid_of,
)
from ..mobility.effects import Count, Note
from ..mobility.home_agent import HomeAgent
from ..mobility.registration import RateLimit
from ..packet.dhcpv6 import ALL_SERVERS, SERVER_PORT
from .alarm import Alarm
from .config import HomeAgentSection
from .prefix_leases import PrefixLeaseFile

log = logging.getLogger(__name__)

_LEVELS: Final = logging.getLevelNamesMapping()
#: Leases are written down together: new ones soon, lifetimes that were renewed later.
#: One that a crash forgets is given again, since an identity determines its place.
_WRITE_SOON, _WRITE_LATER = 0.5, 5.0
#: Leases in the status document.
LISTED_MAX: Final = 100
_NOTES_BURST, _NOTES_RATE = 50.0, 10.0


class Timed(Protocol):
    """What engines of DHCPv6 have in common."""

    def next_timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> list[DelegationEffect]: ...


class Speaker(ABC):
    """Carries an engine's effects out and calls it when it wants to be."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counters: Counter[str]) -> None:
        self._loop = loop
        self._counters = counters
        self._alarm = Alarm(loop, self._rang)
        self._notes = RateLimit(_NOTES_BURST, _NOTES_RATE)

    @property
    @abstractmethod
    def timed(self) -> Timed:
        """The engine."""

    @abstractmethod
    def send(self, effect: SendDatagram) -> None:
        """Send a datagram; raises ``OSError``."""

    @abstractmethod
    def changed(self, effect: LeasesChanged) -> None:
        """Take note of leases that came, went, or live longer."""

    def carry(self, effects: Iterable[DelegationEffect]) -> None:
        """Carry effects out in order."""
        for effect in effects:
            match effect:
                case SendDatagram():
                    try:
                        self.send(effect)
                    except OSError as error:
                        # The other side, or our retransmission, asks again.
                        self._counters["pd_not_sent"] += 1
                        log.warning("DHCPv6 to %s: %s", effect.destination, error.strerror)
                case LeasesChanged():
                    self.changed(effect)
                case Count():
                    self._counters[effect.name] += 1
                case Note() if self._notes.take(self._loop.time()):
                    log.log(_LEVELS.get(effect.level.upper(), logging.INFO), "%s", effect.text)
        self._alarm.set(self.timed.next_timer())

    def _rang(self, now: float) -> None:
        self.carry(self.timed.handle_timer(now))

    def quiet(self) -> None:
        """Ask for no more timers."""
        self._alarm.stop()


class Delegating(Speaker):
    """Delegates prefixes to routers that are registered, or on the home link.

    ``device`` is the index of the module's interface, ``bind`` is told of the
    identity whose prefixes came or went.
    """

    def __init__(
        self,
        agent: HomeAgent,
        section: HomeAgentSection,
        device: int,
        home_link: Interface | None,
        loop: asyncio.AbstractEventLoop,
        counters: Counter[str],
        bind: Callable[[str], None],
        file: PrefixLeaseFile | None,
    ) -> None:
        super().__init__(loop, counters)
        self._section = section
        self._device = device
        self._home_link = home_link
        self._bind = bind
        self._file = file
        self._writing: asyncio.TimerHandle | None = None
        self._sockets: list[DhcpSocket] = []
        self._on_link: DhcpSocket | None = None
        self._duid = duid_of(str(section.engine.addresses6[0]))
        leases, _ = file.read(loop.time(), time.time()) if file and section.delegates else ([], b"")
        self.engine = DelegatingRouter(
            self._config(section), lambda: agent.ownership, loop.time(), leases
        )

    def _config(self, section: HomeAgentSection) -> DelegatingConfig:
        lifetime = section.delegated_lifetime
        return DelegatingConfig(self._duid, lifetime, lifetime // 2, section.dns)

    @property
    def timed(self) -> Timed:
        return self.engine

    def start(self) -> None:
        """Open the sockets, if there is anybody to serve."""
        if not self._section.delegates or self._sockets:
            return
        try:
            for address in self._section.engine.addresses6:
                self._open(DhcpSocket(SERVER_PORT, address))
            if self._home_link is not None:
                name = self._home_link.name
                self._on_link = DhcpSocket(SERVER_PORT, interface=name, group=ALL_SERVERS)
                self._open(self._on_link)
        except OSError as error:
            log.error("no prefixes are delegated, UDP port %d: %s", SERVER_PORT, error.strerror)
        self._alarm.set(self.timed.next_timer())

    def _open(self, made: DhcpSocket) -> None:
        self._sockets.append(made)
        self._loop.add_reader(made.fileno(), self._readable, made)

    def reconfigure(self, section: HomeAgentSection) -> None:
        """Apply a new configuration; the engine of the home agent has it already."""
        self._section = section
        self.carry(self.engine.reconfigure(self._config(section), self._loop.time()))
        if section.delegates:
            self.start()
        else:
            self._close()

    def stop(self) -> None:
        """End; what was given stays given."""
        self.quiet()
        self._close()
        if self._writing is not None:
            self._write()

    def _close(self) -> None:
        for one in self._sockets:
            self._loop.remove_reader(one.fileno())
            one.close()
        self._sockets, self._on_link = [], None

    def documents(self) -> list[dict[str, Any]]:
        """Return the first leases for the status document, in the order of prefixes."""
        now = self._loop.time()
        first = heapq.nsmallest(LISTED_MAX, self.engine.leases(), key=_order)
        return [lease_document(lease, now) for lease in first]

    # --- in and out

    def _readable(self, source: DhcpSocket) -> None:
        for datagram in source.receive():
            place = self._place(source, datagram)
            if place is None:
                self._counters["pd_not_by_a_binding"] += 1
                continue
            self.carry(
                self.engine.receive(
                    datagram.data,
                    datagram.source,
                    datagram.destination,
                    place,
                    self._loop.time(),
                )
            )

    def _place(self, source: DhcpSocket, datagram: DhcpDatagram) -> Place | None:
        """Say who speaks: what did not come through the module has any source it likes."""
        if source is self._on_link:
            return Place(None, datagram.interface)
        if datagram.home_form or datagram.interface == self._device:
            return Place(datagram.source)
        return None

    def send(self, effect: SendDatagram) -> None:
        if effect.interface:
            if self._on_link is not None:
                self._on_link.send(effect.data, effect.destination, effect.port, effect.interface)
            return
        addresses = self._section.engine.addresses6
        for address, one in zip(addresses, self._sockets, strict=False):
            if address == effect.source:
                one.send(effect.data, effect.destination, effect.port)

    def changed(self, effect: LeasesChanged) -> None:
        if effect.prefixes:
            self._bind(effect.identity)
        at = self._loop.time() + (_WRITE_SOON if effect.prefixes else _WRITE_LATER)
        if self._writing is not None and self._writing.when() <= at:
            return
        if self._writing is not None:
            self._writing.cancel()
        self._writing = self._loop.call_at(at, self._write)

    def _write(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        if self._file is not None:
            leases = self.engine.leases()
            self._file.write(leases, self._duid, self._loop.time(), time.time())


def lease_document(lease: Lease, now: float) -> dict[str, Any]:
    """Return a lease as plain values; lifetimes in seconds, None for ever."""

    def left(until: float) -> float | None:
        return None if until == float("inf") else round(max(until - now, 0.0), 1)

    return {
        "identity": lease.identity,
        "prefix": str(lease.prefix),
        "preferred": left(lease.preferred_until),
        "valid": left(lease.valid_until),
    }


def _order(lease: Lease) -> IPv6Network:
    return lease.prefix
