# SPDX-License-Identifier: GPL-2.0-only
"""The one timer that an engine asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls ``ring`` once, at a time that can be changed until then.

    ``ring`` is told the time that was asked for or a later one: the event loop may call
    a little before, and an engine that is asked too early has nothing to do yet.
    """

    __slots__ = ("_at", "_handle", "_loop", "_ring")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[float], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, at: float | None) -> None:
        """Ring at this time of the loop's clock and at no other; None: not at all."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if at is not None:
            self._at = at
            self._handle = self._loop.call_at(at, self._due)

    def stop(self) -> None:
        """Do not ring any more."""
        self.set(None)

    def _due(self) -> None:
        self._handle = None
        self._ring(max(self._loop.time(), self._at))
