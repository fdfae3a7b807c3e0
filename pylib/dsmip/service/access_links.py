# SPDX-License-Identifier: GPL-2.0-only
"""Default routers of the uplinks: what is heard of them, and what follows for care-of addresses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Protocol

from ..linux.uplinks import LinkState
from ..mobility.access_routers import AccessRouters
from .alarm import Alarm

log = logging.getLogger(__name__)


class NeighbourTable(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that is used here."""

    def unreachable(self, interface: int, address: IPv6Address) -> bool: ...


class AccessLinks:
    """Follows the routers of all uplinks.

    ``solicit`` sends a Router Solicitation on an interface, ``changed`` is called when
    the uplinks are to be looked at again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        neighbours: NeighbourTable,
        solicit: Callable[[int], None],
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._neighbours = neighbours
        self._solicit, self._changed = solicit, changed
        self._routers = AccessRouters()
        self._alarm = Alarm(loop, self._rang)
        self._shared: dict[int, tuple[IPv6Address, ...]] = {}
        self._links: dict[int, str] = {}

    def advertised(self, interface: int, router: IPv6Address, data: bytes) -> None:
        """Take a valid Router Advertisement."""
        changed = self._routers.advertised(interface, router, data, self._loop.time())
        self._alarm.set(self._routers.next_timer())
        if changed:
            self._changed()

    def suspect(self) -> None:
        """Doubt the routers: the home agent does not answer (RFC 6275 section 11.5.1)."""
        for interface, gateways in self._shared.items():
            self._look(interface, gateways)
        for interface in self._links:
            if self._routers.suspect(interface, self._loop.time()):
                self._solicit(interface)
        self._alarm.set(self._routers.next_timer())

    def steer(self, links: Iterable[LinkState]) -> tuple[LinkState, ...]:
        """Return the links with the default routers in use and what goes with them."""
        found = tuple(self._steer(link) for link in links)
        self._links = {link.index: link.name for link in found if link.default6 is not None}
        for index in [index for index in self._shared if index not in self._links]:
            del self._shared[index]
        self._alarm.set(self._routers.next_timer())
        return found

    def forget(self, interface: int) -> None:
        """Take note that a link has lost its carrier."""
        self._routers.forget(interface)

    def stop(self) -> None:
        """Ask for no more timers."""
        self._alarm.stop()

    def _steer(self, link: LinkState) -> LinkState:
        gateways = tuple(
            route.gateway for route in link.defaults6 if isinstance(route.gateway, IPv6Address)
        )
        if len(gateways) > 1:
            self._shared[link.index] = gateways
        else:
            self._shared.pop(link.index, None)
        router = self._routers.choose(link.index, gateways, link.addresses6)
        if router is None:
            return link
        default = next(route for route in link.defaults6 if route.gateway == router)
        addresses = self._routers.addresses(link.index, router, link.addresses6)
        return replace(link, default6=default, addresses6=addresses)

    def _look(self, interface: int, gateways: Iterable[IPv6Address]) -> None:
        """See which routers the kernel has looked for in vain."""
        gone = {g for g in gateways if self._neighbours.unreachable(interface, g)}
        marked = {router for router in gone if self._routers.unreachable(interface, router)}
        if marked:
            self._loop.call_soon(self._changed)

    def _rang(self, now: float) -> None:
        solicit, changed = self._routers.handle_timer(now)
        for interface in solicit:
            self._solicit(interface)
        self._alarm.set(self._routers.next_timer())
        if changed:
            names = ", ".join(self._links.get(index, str(index)) for index in changed)
            log.info("the default router of %s has gone, others are there", names)
            self._changed()
