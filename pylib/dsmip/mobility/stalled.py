# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks that are up and lead nowhere: when their interface is to be restarted.

A modem that lost its network often keeps carrier, address and route. What tells
it from a home agent that is down: others get answers, by another uplink, or
something else than the home agent was asked through it and is silent as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .effects import Note

#: The longest time between two restarts of one uplink.
LONGEST: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What is known of one uplink.

    ``up``: it has carrier, an address and a route, and nothing holds it. ``answered``:
    whether the home agent answers through it, None when nobody tried lately.
    ``carries``: data goes this way. ``else_answered``: whether something that is not
    the home agent answers through it, None when nothing was asked. ``after`` is how
    long nothing may be heard until it is restarted, in seconds, 0 for never.
    """

    name: str
    up: bool
    answered: bool | None
    carries: bool = False
    else_answered: bool | None = None
    after: float = 60.0


@dataclass(frozen=True, slots=True)
class RestartUplink:
    """Restart an uplink's interface; ``number`` counts from 1 since it last answered."""

    name: str
    number: int


@dataclass(slots=True)
class _Entry:
    after: float = 0.0
    silent_since: float | None = None
    restarts: int = 0
    again_at: float = 0.0
    answered_at: float | None = None
    suspected: bool = False
    due: float | None = None


class StallWatch:
    """The engine. Times are those of the caller's monotonic clock."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def observe(self, tried: Iterable[Tried], now: float) -> list[RestartUplink | Note]:
        """Take all uplinks as they are, and return what to do.

        Call it when anything has changed, and at ``next_timer``.
        """
        uplinks = list(tried)
        names = {one.name for one in uplinks}
        for gone in [name for name in self._entries if name not in names]:
            del self._entries[gone]
        effects: list[RestartUplink | Note] = []
        for one in uplinks:
            effects += self._take(one, now)
        for one in uplinks:
            answers = [
                other.answered_at
                for name, other in self._entries.items()
                if name != one.name and other.answered_at is not None
            ]
            effects += self._judge(one, self._entries[one.name], max(answers, default=None), now)
        return effects

    def next_timer(self) -> float | None:
        """Return when ``observe`` is to be called at the latest, None for never."""
        return min((e.due for e in self._entries.values() if e.due is not None), default=None)

    def restarts(self, name: str) -> int:
        """Return how often an uplink was restarted since it last answered."""
        entry = self._entries.get(name)
        return 0 if entry is None else entry.restarts

    def text(self, name: str, now: float) -> str:
        """Say how a silent uplink is, "" for one that is not."""
        entry = self._entries.get(name)
        if entry is None or (entry.silent_since is None and not entry.restarts):
            return ""
        count = entry.restarts
        times = "once" if count == 1 else f"{count} times"
        words = f"stalled, restarted {times}" if count else "stalled"
        if entry.silent_since is None:
            return words
        if entry.due is not None:
            return f"{words}, {'again' if count else 'restart'} in {_span(entry.due - now)}"
        return f"{words}, as all others: home agent suspected" if entry.suspected else words

    def _take(self, one: Tried, now: float) -> list[RestartUplink | Note]:
        entry = self._entries.setdefault(one.name, _Entry())
        entry.after = one.after
        if not one.up:
            entry.silent_since = entry.answered_at = None
        elif one.answered:
            again, entry.restarts, entry.again_at = entry.restarts, 0, 0.0
            entry.silent_since, entry.answered_at = None, now
            if again:
                times = "a restart" if again == 1 else f"{again} restarts"
                return [Note("info", f"{one.name} answers again after {times}")]
        elif one.answered is not None:
            entry.answered_at = None
            if entry.silent_since is None:
                entry.silent_since = now
        return []

    def _judge(
        self, one: Tried, entry: _Entry, others: float | None, now: float
    ) -> list[RestartUplink | Note]:
        entry.due, entry.suspected = None, False
        # Whoever else answers there shows that the modem is not to blame.
        if entry.silent_since is None or not one.after or one.carries or one.else_answered:
            return []
        # An answer from before the silence does not tell that the home agent is there.
        heard = others is not None and others >= entry.silent_since
        if not heard and one.else_answered is None:
            entry.suspected = True
            return []
        due = max(entry.silent_since + one.after, entry.again_at)
        if due > now:
            entry.due = due
            return []
        entry.restarts += 1
        wait = min(one.after * 2 ** min(entry.restarts, 12), max(LONGEST, one.after))
        entry.again_at = now + wait
        # It is to be tried anew before anything is said of it again.
        entry.silent_since = None
        silence = f"nothing answers through {one.name}"
        return [
            Note("warning", f"{silence}: restarting its interface, number {entry.restarts}"),
            RestartUplink(one.name, entry.restarts),
        ]


def _span(seconds: float) -> str:
    whole = max(int(seconds + 0.5), 1)
    return f"{whole} s" if whole < 60 else f"{(whole + 30) // 60} min"
