# SPDX-License-Identifier: GPL-2.0-only
"""How far the home agent is by the uplink in use, where no path is probed anyway.

Echoes from the home address go out each second while somebody looks on, and once a
minute where data costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Final, Protocol

from ..mobility.router_view import RegistrationView, State
from .round_trips import RoundTrips
from .router import MobileRouterRole

#: Seconds: how long somebody counts as looking, between two echoes otherwise, and from a
#: movement to the first of them, so that data may come first to find its way and its keys.
_WATCHED: Final = 10.0
_SELDOM: Final = 60.0
_SETTLING: Final = 10.0


class Trips(Protocol):
    """The part of ``round_trips.RoundTrips`` that is used."""

    def ask(self, addresses: Sequence[IPv6Address]) -> None: ...
    def of(self, address: IPv6Address) -> float | None: ...
    def loss(self, address: IPv6Address) -> float | None: ...
    def forget(self) -> None: ...
    def stop(self) -> None: ...


class Distance:
    """Round trip and loss of a mobile router's uplink in use."""

    def __init__(
        self,
        role: MobileRouterRole,
        loop: asyncio.AbstractEventLoop,
        opener: Callable[[IPv6Address], Trips] | None = None,
    ) -> None:
        self._role = role
        self._loop = loop
        self._opener = opener or (lambda home: RoundTrips(loop, (home,)))
        self._trips: Trips | None = None
        self._way: tuple[object, ...] = ()
        self._watched = float("-inf")
        self._due = 0.0

    def watched(self) -> None:
        """Hear that somebody looks."""
        self._watched = self._loop.time()

    def measure(self, free: Callable[[str], bool]) -> None:
        """Send an echo when it is time; ``free`` tells whether data costs nothing on an uplink.

        Call it every second.
        """
        view, now = self._role.registration(), self._loop.time()
        if not self._can(view):
            return
        trips = self._by(view)
        often = now - self._watched < _WATCHED
        if often or (now >= self._due and free(view.uplink)):
            self._due = now + _SELDOM
            trips.ask((self._role.engine.config.home_agent6,))

    def of(self, name: str) -> tuple[float | None, float | None]:
        """Return round trip in ms and loss in percent of an uplink, None where unknown."""
        view = self._role.registration()
        if self._trips is None or name != view.uplink or self._way[:2] != (name, view.care_of):
            return None, None
        agent = self._role.engine.config.home_agent6
        return self._trips.of(agent), self._trips.loss(agent)

    def stop(self) -> None:
        """End."""
        if self._trips is not None:
            self._trips.stop()

    def _can(self, view: RegistrationView) -> bool:
        probed = any(path.rtt is not None for path in self._role.paths())
        return view.state is State.REGISTERED and not probed

    def _by(self, view: RegistrationView) -> Trips:
        """Return the echoes of the way that data takes now, which begin anew on another."""
        agent = self._role.engine.config.home_agent6
        way = (view.uplink, view.care_of, view.home_address, agent)
        if self._trips is None or self._way[2] != view.home_address:
            self.stop()
            self._trips = self._opener(view.home_address)
        elif way != self._way:
            self._trips.forget()
        else:
            return self._trips
        self._way, self._due = way, self._loop.time() + _SETTLING
        return self._trips
