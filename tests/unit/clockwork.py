# SPDX-License-Identifier: GPL-2.0-only
"""An event loop whose time is its own: it leaps to the next timer when nothing is ready.

What waits for timers takes no time in it, and no load of the machine can make it late.
Descriptors are looked at before each leap; what another thread or process is to do is
not waited for, so tests of those run in a loop of real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Real seconds to wait for a descriptor where no timer is set.
PATIENCE = 30.0


class _Selector(selectors.DefaultSelector):
    def __init__(self, leap: Callable[[float], None]) -> None:
        super().__init__()
        self._leap = leap

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(PATIENCE)
            assert ready, "nothing is left to wait for"
            return ready
        self._leap(timeout)
        return []


class Clockwork(asyncio.SelectorEventLoop):
    """A loop that begins at 1000.0 seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Selector(self._leap))

    def time(self) -> float:
        return self.now

    def _leap(self, seconds: float) -> None:
        self.now += seconds


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in such a loop."""
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        return runner.run(work)
