# SPDX-License-Identifier: GPL-2.0-only
"""IKEv2 on this host: sockets, the kernel's notifications, and who gets them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..ikev2.effects import Endpoint
from ..linux.ike_socket import KEEPALIVE, MARKER, Datagram
from ..linux.netlink import Overrun
from ..linux.xfrm_events import Acquire, Event, Expire, Mapping, Migrated
from ..packet.kernel import Address
from . import ike_build
from .ike import IkeRuntime
from .ike_alone import Alone
from .ike_config import IkeSection
from .ike_kernel import SaTable
from .ike_tickets import TicketFile
from .ikev2_keys import Ikev2Keys
from .keys import SecurityDatabase

if TYPE_CHECKING:
    from .radius import RadiusRelay

log = logging.getLogger(__name__)

_DISCARD: Final = 9


class Socket(Protocol):
    """One socket of ``linux.ike_socket.IkeSockets``."""

    def fileno(self) -> int: ...
    def receive(self, limit: int = 64) -> Iterator[Datagram]: ...


class Sockets(Protocol):
    """The part of ``linux.ike_socket.IkeSockets`` that is used here."""

    @property
    def nat_port(self) -> int: ...
    def __iter__(self) -> Iterator[Socket]: ...
    def send(self, data: bytes, local: Endpoint, remote: Endpoint) -> None: ...
    def keepalive(self, local: Endpoint, remote: Endpoint) -> None: ...
    def close(self) -> None: ...


class Monitor(Protocol):
    """The part of ``linux.xfrm.XfrmMonitor`` that is used here."""

    def fileno(self) -> int: ...
    def receive(self) -> Iterator[Event]: ...
    def close(self) -> None: ...


class IkeHost:
    """Everything of IKEv2 in a daemon; ``state`` is a folder for what outlives it."""

    def __init__(
        self,
        ike: IkeSection,
        database: SecurityDatabase,
        sockets: Sockets,
        monitor: Monitor,
        loop: asyncio.AbstractEventLoop,
        state: str = "",
    ) -> None:
        self._sockets = sockets
        self._monitor = monitor
        self._loop = loop
        self._relay: RadiusRelay | None = None
        self._database = database
        if ike.radius is not None:
            from .radius import RadiusRelay

            self._relay = RadiusRelay(ike.radius, "dsmip", loop)
        config = ike_build.engine_config(ike)
        table = SaTable(database, loop)
        tickets = TicketFile(state) if state and ike.ticket_lifetime else None
        self.runtime = IkeRuntime(config, self, table, loop, self._relay, tickets)
        self.keys = Ikev2Keys(database, self.runtime, ike, loop, source_of)
        self.alone = Alone(self.runtime, ike, loop, source_of, database)
        self._certificate_ends = ike_build.certificate_ends(ike)

    def start(self) -> None:
        """Listen."""
        self.runtime.resume()
        for one in self._sockets:
            self._loop.add_reader(one.fileno(), self._readable, one)
        self._loop.add_reader(self._monitor.fileno(), self._events)
        self.alone.begin()

    def reconfigure(self, ike: IkeSection) -> None:
        """Take other settings; ``ValueError`` when something in them cannot be used."""
        self.keys.reconfigure(ike)
        self._certificate_ends = ike_build.certificate_ends(ike)
        self.alone.reconfigure(ike)

    def stop(self, keep: bool) -> None:
        """End; with ``keep`` SAs stay and nobody is told."""
        self.runtime.stop(keep)
        for one in self._sockets:
            self._loop.remove_reader(one.fileno())
        self._loop.remove_reader(self._monitor.fileno())
        self._sockets.close()
        self._monitor.close()
        if self._relay is not None:
            self._relay.close()

    # --- datagrams

    def send(self, data: bytes, local: Endpoint, remote: Endpoint) -> None:
        """Send for the engine, whose datagrams are whole: the sockets add the marker."""
        if local.port != self._sockets.nat_port:
            self._sockets.send(data, local, remote)
        elif data == KEEPALIVE:
            self._sockets.keepalive(local, remote)
        else:
            self._sockets.send(data[len(MARKER) :], local, remote)

    def _readable(self, one: Socket) -> None:
        for datagram in one.receive():
            local, remote = datagram.local, datagram.remote
            data = datagram.data
            if local.port == self._sockets.nat_port:
                data = MARKER + data
            self.runtime.counters["ike_received"] += 1
            self.runtime.receive(
                data, Endpoint(local.address, local.port), Endpoint(remote.address, remote.port)
            )

    # --- the kernel

    def _events(self) -> None:
        try:
            for event in self._monitor.receive():
                self.event(event)
        except Overrun:
            log.warning("notifications about IPsec were lost, timers take over")

    def event(self, event: Event) -> None:
        """Take a notification of the kernel."""
        match event:
            case Acquire():
                if not self.keys.acquired(event.reqid):
                    self.alone.acquired(event)
            case Expire():
                self.runtime.expire(event.protocol, event.spi, event.hard, event.destination)
            case Mapping():
                self.runtime.mapping(event.spi, *event.new)
            case Migrated():
                self.alone.migrated(event)

    # --- what is shown

    def credential_ends(self, identity: str) -> float | None:
        """When a router's certificate ends, in seconds since 1970; None without one."""
        return self.runtime.engine.credential_ends(identity)

    def document(self, views: Callable[[], Sequence[Any]] | None = None) -> dict[str, Any]:
        """Return what the status document says of IKE."""
        from .ike_control import view_document
        from .ike_traffic import traffic

        shown = (views or self.runtime.views)()
        carried = traffic(self._database, shown)
        return {
            "certificate_ends": self._certificate_ends,
            "connections": [view_document(view, carried) for view in shown],
            "counters": dict(sorted(self.runtime.counters.items())),
        }


def source_of(remote: Address) -> Address | None:
    """Return the address from which this host would speak to another, None if it cannot."""
    family = socket.AF_INET6 if remote.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(remote), _DISCARD))
        except OSError:
            return None
        return ip_address(probe.getsockname()[0])
