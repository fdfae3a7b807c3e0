# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks that were given up: when to ask whether the home agent is there again.

An update that goes by an uplink takes the binding, and with it the data, there. So
none is sent until something has answered in the home agent's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: Seconds until it is asked for the first time; each further wait is twice as long.
ASK_FIRST: Final = 60.0
ASK_LATEST: Final = 1800.0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An uplink; another ``key`` is another network.

    ``answered``: whether the home agent answered through it when that was tried last,
    None when it never was. ``preferred``: it would take the place of the one in use.
    """

    name: str
    key: object
    answered: bool | None
    preferred: bool


@dataclass(slots=True)
class _Entry:
    key: object
    due: float
    wait: float = ASK_FIRST
    waits: bool = False


class SecondChances:
    """The engine. Times are those of the caller's monotonic clock.

    Every name that ``observe`` returns is to be followed by ``heard``.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def observe(self, uplinks: Iterable[GivenUp], now: float) -> list[str]:
        """Take the uplinks that can be used; return those to ask through now."""
        found: dict[str, _Entry] = {}
        ask: list[str] = []
        for one in uplinks:
            entry = self._entries.get(one.name)
            if entry is not None and entry.key != one.key:
                entry = None
            if one.answered or (entry is None and one.answered is None):
                continue
            if entry is None:
                entry = _Entry(one.key, now + ASK_FIRST)
            if entry.due <= now and not entry.waits:
                if one.preferred:
                    entry.waits = True
                    ask.append(one.name)
                else:
                    entry.due = now + entry.wait
            found[one.name] = entry
        self._entries = found
        return ask

    def heard(self, name: str, key: object, answered: bool, now: float) -> bool:
        """Take whether anything answered; return whether the uplink is to be tried."""
        entry = self._entries.get(name)
        if entry is None or entry.key != key or not entry.waits:
            return False
        entry.waits = False
        entry.wait = min(2 * entry.wait, ASK_LATEST)
        entry.due = now + entry.wait
        return answered

    def next_timer(self) -> float | None:
        """Return when ``observe`` wants to be called, None for never."""
        due = [entry.due for entry in self._entries.values() if not entry.waits]
        return min(due, default=None)
