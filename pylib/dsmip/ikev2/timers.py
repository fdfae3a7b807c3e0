# SPDX-License-Identifier: GPL-2.0-only
"""Many timers, one answer to "when next"."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: Cancelled entries that may stay in the heap before it is made anew.
_SLACK = 64


class Timers(Generic[K]):
    """At most one time for each key; setting it again replaces it."""

    __slots__ = ("_at", "_heap", "_order")

    def __init__(self) -> None:
        self._at: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at: float) -> None:
        """Let ``key`` be due at ``at``."""
        self._order += 1
        self._at[key] = (at, self._order)
        heapq.heappush(self._heap, (at, self._order, key))
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [(at, order, key) for key, (at, order) in self._at.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Forget ``key``, if it is there."""
        self._at.pop(key, None)

    def at(self, key: K) -> float | None:
        """Return when ``key`` is due, None for never."""
        found = self._at.get(key)
        return found[0] if found else None

    def next(self) -> float | None:
        """Return when the next one is due, None for never."""
        heap = self._heap
        while heap:
            at, order, key = heap[0]
            if self._at.get(key) == (at, order):
                return at
            heapq.heappop(heap)
        return None

    def due(self, now: float) -> Iterator[K]:
        """Take out and yield every key that is due, in the order of their times.

        A key that is set during this to a time not after ``now`` is yielded too.
        """
        while True:
            at = self.next()
            if at is None or at > now:
                return
            key = heapq.heappop(self._heap)[2]
            del self._at[key]
            yield key
