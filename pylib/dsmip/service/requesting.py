# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router's DHCPv6 client and relay: its engine, its socket, its leases' file."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from ..linux.dhcp_socket import DhcpSocket
from ..mobility.delegation import Lease, LeasesChanged, Place, SendDatagram, duid_of
from ..mobility.requesting_router import RequestingConfig, RequestingRouter
from ..packet.dhcpv6 import CLIENT_PORT, SERVER_PORT
from .config import MobileRouterSection
from .delegating import Speaker, Timed, lease_document
from .prefix_leases import PrefixLeaseFile

log = logging.getLogger(__name__)

_OPEN_AGAIN: Final = 10.0


class Requesting(Speaker):
    """Asks for prefixes wherever the router is registered, or at home.

    ``taken`` is told when prefixes came or went, or live longer.
    """

    def __init__(
        self,
        section: MobileRouterSection,
        loop: asyncio.AbstractEventLoop,
        counters: Counter[str],
        taken: Callable[[bool], None],
        file: PrefixLeaseFile | None,
    ) -> None:
        super().__init__(loop, counters)
        self._section = section
        self._taken = taken
        self._file = file
        self._place: Place | None = None
        self._interface = ""
        self._socket: DhcpSocket | None = None
        self._opening: asyncio.TimerHandle | None = None
        config = _config(section)
        leases: list[Lease] = []
        server = b""
        if file is not None and config.count:
            found, server = file.read(loop.time(), time.time())
            leases = [
                lease
                for lease in found
                if lease.identity == config.identity
                and lease.duid == config.duid
                and lease.iaid <= config.count
                and lease.valid_until > loop.time()
            ]
        self.engine = RequestingRouter(config, leases, server)

    @property
    def timed(self) -> Timed:
        return self.engine

    @property
    def leases(self) -> list[Lease]:
        """The prefixes that the router has."""
        return self.engine.leases()

    @property
    def prefixes(self) -> tuple[IPv6Network, ...]:
        """The same without their lifetimes."""
        return tuple(lease.prefix for lease in self.engine.leases())

    @property
    def dns(self) -> tuple[IPv6Address, ...]:
        """The recursive name servers that came along."""
        return self.engine.dns

    def follow(self, place: Place | None, interface: str = "") -> None:
        """Be where the router is; ``interface`` names the home link."""
        if not self._section.engine.delegated_prefixes:
            place = None
        if place == self._place:
            return
        self._close()
        self._place, self._interface = place, interface
        self._open()

    def use_home_agent(self, address: IPv6Address) -> None:
        """Ask another home agent from the next registration on."""
        if self.engine.use_home_agent(address):
            self._close()
            self._place = None

    def _open(self) -> None:
        self._opening = None
        place = self._place
        if place is not None:
            try:
                if place.home_address is not None:
                    self._socket = DhcpSocket(SERVER_PORT, place.home_address)
                else:
                    self._socket = DhcpSocket(CLIENT_PORT, interface=self._interface)
            except OSError as error:
                log.error("no prefixes can be asked for by DHCPv6: %s", error.strerror)
                self._opening = self._loop.call_later(_OPEN_AGAIN, self._open)
                return
            self._loop.add_reader(self._socket.fileno(), self._readable)
        self.carry(self.engine.attached(place, self._loop.time()))

    def _close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def reconfigure(self, section: MobileRouterSection) -> None:
        """Apply a new configuration."""
        self._section = section
        self.carry(self.engine.reconfigure(_config(section), self._loop.time()))

    def release(self) -> None:
        """Give everything back, before the router says goodbye."""
        self.carry(self.engine.release(self._loop.time()))

    def stop(self) -> None:
        """End; leases stay, for a next process to ask about."""
        self.quiet()
        self._close()

    def document(self) -> dict[str, Any]:
        """Return what the status document shows."""
        now = self._loop.time()
        return {
            "phase": self.engine.phase.name.lower(),
            "leases": [lease_document(lease, now) for lease in self.engine.leases()],
        }

    # --- in and out

    def _readable(self) -> None:
        if self._socket is None or self._place is None:
            return
        for datagram in self._socket.receive():
            self.carry(
                self.engine.receive(datagram.data, datagram.source, self._place, self._loop.time())
            )

    def send(self, effect: SendDatagram) -> None:
        if self._socket is not None:
            self._socket.send(effect.data, effect.destination, effect.port, effect.interface)

    def changed(self, effect: LeasesChanged) -> None:
        if self._file is not None:
            self._file.write(
                self.engine.leases(), self.engine.server, self._loop.time(), time.time()
            )
        self._taken(effect.prefixes)


def _config(section: MobileRouterSection) -> RequestingConfig:
    engine = section.engine
    return RequestingConfig(
        duid=duid_of(engine.identity),
        home_agent=engine.home_agent6,
        identity=engine.identity,
        count=engine.delegated_prefixes,
        length=section.delegated_length,
        reserved=(engine.home_prefix,),
        own=tuple(prefix for prefix in engine.prefixes if isinstance(prefix, IPv6Network)),
    )
