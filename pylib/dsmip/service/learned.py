# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes that a routing daemon on the home agent learns in the tunnel (RFC 3963 section 8).

It exports what it learns to a table of its own, whose gateways are home addresses;
where it names none, a prefix is its owner's whoever told of it.
From there prefixes enter bindings, as far as they are their routers' own: a route
alone tells the kernel module nothing, and nothing binds around ``ownership``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from ..mobility.home_agent import HomeAgent
from ..mobility.ownership import Owner
from ..packet.kernel import Address, Network

log = logging.getLogger(__name__)

#: Routes come in bursts; they are read together.
_SETTLE: Final = 0.1


class Monitor(Protocol):
    """The part of ``linux.route_monitor.RouteMonitor`` that is used here."""

    def fileno(self) -> int: ...
    def drain(self) -> None: ...
    def by_gateway(self) -> dict[Address | None, tuple[Network, ...]]: ...
    def close(self) -> None: ...


class LearnedRoutes:
    """Follows the table; ``bind`` is told of each identity whose prefixes changed."""

    def __init__(
        self,
        monitor: Monitor,
        agent: HomeAgent,
        loop: asyncio.AbstractEventLoop,
        bind: Callable[[str], None],
    ) -> None:
        self._monitor = monitor
        self._agent = agent
        self._loop = loop
        self._bind = bind
        self._waiting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take what is there, before bindings are taken over."""
        self._take(quiet=True)
        self._loop.add_reader(self._monitor.fileno(), self._readable)

    def stop(self) -> None:
        """End; what was learned stays bound."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._loop.remove_reader(self._monitor.fileno())
        self._monitor.close()

    def _readable(self) -> None:
        self._monitor.drain()
        if self._waiting is None:
            self._waiting = self._loop.call_later(_SETTLE, self._take)

    def _take(self, quiet: bool = False) -> None:
        self._waiting = None
        table = self._agent.ownership
        try:
            routes = self._monitor.by_gateway()
        except OSError as error:
            log.error("learned routes: %s", error.strerror or error)
            return
        told: dict[str, list[Network]] = {identity: [] for identity in table.learned()}
        for gateway, networks in routes.items():
            for network in networks:
                owner = self._owner(network[0] if gateway is None else gateway, gateway is None)
                if owner is not None and owner.routing:
                    told.setdefault(owner.identity, []).append(network)
        for identity, told_of in told.items():
            news = table.learn(identity, told_of)
            strange = set(told_of) - set(table.learned().get(identity, ()))
            if strange and news:
                names = ", ".join(sorted(map(str, strange)))
                log.warning("%s tells of %s, which is not its own", identity, names)
            if news and not quiet:
                self._bind(identity)

    def _owner(self, address: Address, any_address: bool) -> Owner | None:
        """Return whose home address it is, or whose address at all."""
        table = self._agent.ownership
        owner = table.owner_of(address)
        if any_address or owner is None:
            return owner
        return owner if address in (owner.home_address, owner.home_address4) else None
