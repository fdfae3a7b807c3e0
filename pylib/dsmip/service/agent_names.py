# SPDX-License-Identifier: GPL-2.0-only
"""A home agent's names: their engine, their name server, their clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from ..mobility.effects import Effect, UpdateName
from ..mobility.names import Names
from ..mobility.ownership import Ownership
from .alarm import Alarm
from .dns_config import DnsSection
from .dns_updates import NameUpdater


class AgentNames:
    """Names of home addresses; ``carry`` takes effects that come in their own time."""

    def __init__(
        self,
        section: DnsSection | None,
        loop: asyncio.AbstractEventLoop,
        carry: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._loop = loop
        self._carry = carry
        self._section: DnsSection | None = None
        self._updater: NameUpdater | None = None
        self._alarm = Alarm(loop, self._rang)
        self.engine = Names("")
        self.use(section)

    def use(self, section: DnsSection | None) -> None:
        """Update another zone, or none, from now on."""
        if section == self._section:
            return
        self._section = section
        self.engine.use_zone("" if section is None else section.zone)
        self._updater = None if section is None else NameUpdater(section, self._done)

    def filter(self, effects: Iterable[Effect], ownership: Ownership) -> list[Effect]:
        """See ``mobility.names.Names``."""
        found = self.engine.filter(effects, ownership, self._loop.time())
        self._alarm.set(self.engine.next_timer())
        return found

    def update(self, wish: UpdateName) -> None:
        """Carry out an update."""
        if self._updater is None:
            self._done(wish, "there is no [home_agent.dns_update] any more")
        else:
            self._updater.update(wish)

    def stop(self) -> None:
        """End what is under way."""
        if self._updater is not None:
            self._updater.stop()
        self._alarm.stop()

    def document(self) -> dict[str, Any] | None:
        """Return what the status document shows, None without a zone."""
        if self._section is None:
            return None
        held = self.engine.held
        return {
            "zone": self._section.zone,
            "server": str(self._section.server),
            "names": {name: str(address) for address, name in sorted(held.items())},
        }

    def _done(self, wish: UpdateName, error: str) -> None:
        now = self._loop.time()
        self._carry(self.engine.done(wish.home_address, wish.name, wish.remove, error, now))
        self._alarm.set(self.engine.next_timer())

    def _rang(self, now: float) -> None:
        self._carry(self.engine.handle_timer(now))
        self._alarm.set(self.engine.next_timer())
