# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks that the operator pauses, for good or for the time of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: Seconds that a test of failover may keep an uplink unused.
TEST_MOST: Final = 60.0


class Holding:
    """What the operator said since the start of the daemon; it goes before the configuration.

    ``names`` are the uplinks that there are, ``changed`` is called when one is
    paused or used again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        names: Callable[[], list[str]],
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._names = names
        self._changed = changed
        self._said: dict[str, bool] = {}
        self._tested = ""
        self._timer: asyncio.TimerHandle | None = None

    def check(self, name: str) -> None:
        """Raise ``ValueError`` for an unknown uplink."""
        names = self._names()
        if name not in names:
            raise ValueError(f'no uplink is called "{name}", there are: {", ".join(names)}')

    def held(self, name: str, configured: bool) -> bool:
        """Tell whether an uplink is not to be used."""
        return name == self._tested or self._said.get(name, configured)

    def hold(self, name: str, on: bool) -> None:
        """Pause an uplink, or use it again; "" is all of them. Raises ``ValueError``."""
        if name:
            self.check(name)
        for one in [name] if name else self._names():
            self._said[one] = on
            if one == self._tested and not on:
                self._end_test()
        self._changed()

    def test(self, name: str, seconds: float) -> None:
        """Pause an uplink for some seconds. Raises ``ValueError`` while another is tested."""
        self.check(name)
        if self._tested:
            raise ValueError(f"a test without {self._tested} is under way")
        self._tested = name
        self._timer = self._loop.call_later(seconds, self._over)
        self._changed()

    @property
    def tested(self) -> str:
        """The uplink that is not used because of a test, "" for none."""
        return self._tested

    def stop(self) -> None:
        """End: nothing is called any more."""
        self._end_test()

    def _over(self) -> None:
        self._end_test()
        self._changed()

    def _end_test(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._tested = None, ""
