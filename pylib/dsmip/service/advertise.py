# SPDX-License-Identifier: GPL-2.0-only
"""Router advertisements: the engine, wired to a socket and the loop."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final, Protocol

from ..linux.neighbours import Interface
from ..mobility.advertising import (
    PREFERRED_MOST,
    VALID_MOST,
    Advertiser,
    AdvertisingEffect,
    AgentPart,
    Link,
    OnLink,
    SendAdvertisement,
)
from ..mobility.config import HomePrefix
from ..packet.icmp6 import RouterAdvertisement
from .alarm import Alarm
from .config import HomeAgentSection

log = logging.getLogger(__name__)

_NEVER: Final = float("inf")


class Wire(Protocol):
    """The part of ``linux.advertising_socket.AdvertisingSocket`` that is used here."""

    def fileno(self) -> int: ...
    def join(self, interfaces: Iterable[int]) -> None: ...
    def send(self, interface: int, message: RouterAdvertisement) -> None: ...
    def solicitations(self) -> Iterable[tuple[int, IPv6Address, bytes]]: ...
    def close(self) -> None: ...


class Advertising:
    """What all who advertise have in common."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        self._wire = wire
        self._loop = loop
        self.engine = Advertiser()
        self.counters: Counter[str] = Counter()
        self._alarm = Alarm(loop, self._rang)

    def start(self) -> None:
        """Hear solicitations from now on."""
        self._loop.add_reader(self._wire.fileno(), self._readable)

    def stop(self) -> None:
        """Say no more; what was said holds, since the kernel goes on forwarding."""
        self._alarm.stop()
        self._loop.remove_reader(self._wire.fileno())

    def retire(self) -> None:
        """Say that there is no router any more, and close the socket."""
        self._carry(self.engine.stop(self._loop.time()))
        self._wire.close()

    # --- in and out

    def _readable(self) -> None:
        for interface, source, data in self._wire.solicitations():
            self._carry(self.engine.solicited(interface, source, data, self._loop.time()))
        self._arm()

    def _carry(self, effects: Iterable[AdvertisingEffect]) -> None:
        for effect in effects:
            if not isinstance(effect, SendAdvertisement):
                self.counters[effect.name] += 1
                continue
            try:
                self._wire.send(effect.interface, effect.message)
            except OSError as error:
                # No link-local address yet, or no carrier.
                self.counters["ra_not_sent"] += 1
                log.debug("advertisement on %d: %s", effect.interface, error.strerror)
                self.engine.failed(effect.interface, self._loop.time())

    def _arm(self) -> None:
        self._alarm.set(self.engine.next_timer())

    def _rang(self, now: float) -> None:
        self._carry(self.engine.handle_timer(now))
        self._arm()


class HomeAdvertising(Advertising):
    """The home link of a home agent."""

    def __init__(
        self,
        wire: Wire,
        loop: asyncio.AbstractEventLoop,
        link: Interface,
        section: HomeAgentSection,
    ) -> None:
        super().__init__(wire, loop)
        self._link = link
        self.use(section)

    def use(self, section: HomeAgentSection) -> None:
        """Tell what a configuration says."""
        engine = section.engine
        now = self._loop.time()
        lives = {life.prefix: life for life in engine.lives}
        prefixes = []
        for prefix in engine.prefixes:
            life = lives.get(prefix) or HomePrefix(prefix)
            valid, preferred = life.lifetimes(now)
            own = next((a for a in engine.addresses6 if a in prefix), None)
            prefixes.append(
                OnLink(
                    prefix,
                    # What does not count down lasts as long as it is told.
                    now + preferred if life.counts else _NEVER,
                    now + valid if life.counts else _NEVER,
                    own,
                    min(valid, VALID_MOST),
                    min(preferred, PREFERRED_MOST),
                )
            )
        part = AgentPart(section.preference, any(one.mobile_router for one in engine.owners))
        on = section.advertise != "no"
        link = Link(
            self._link.index,
            self._link.address,
            tuple(prefixes),
            default=section.advertise == "router",
            agent=part,
        )
        self._wire.join([link.interface] if on else [])
        self.engine.update([link] if on else [], now)
        self._arm()
