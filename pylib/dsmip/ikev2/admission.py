# SPDX-License-Identifier: GPL-2.0-only
"""How many strangers may knock at once: half-open bounds and cookies (RFC 7296 section 2.6)."""

from __future__ import annotations

import enum
from typing import Final

from .config import Address, EngineConfig
from .keys import Cookies

#: Unprotected answers in clear that go out in a second at most, all sources together.
ERRORS_PER_SECOND: Final = 20.0


def source_of(address: Address) -> bytes:
    """Return what counts as one source: an IPv4 address, an IPv6 /64."""
    packed = address.packed
    return packed if len(packed) == 4 else packed[:8]


class Verdict(enum.Enum):
    """What to do with an IKE_SA_INIT request."""

    ADMIT = enum.auto()
    ASK_COOKIE = enum.auto()
    DROP = enum.auto()


class Admission:
    """Counts half-open IKE SAs; makes and checks cookies without keeping state."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._cookies = Cookies(config.cookie_lifetime)
        self._sources: dict[bytes, int] = {}
        self.half_open = 0

    def enter(self, source: Address) -> None:
        """Count a half-open IKE SA."""
        key = source_of(source)
        self.half_open += 1
        self._sources[key] = self._sources.get(key, 0) + 1

    def leave(self, source: Address) -> None:
        """Count one less."""
        key = source_of(source)
        self.half_open -= 1
        left = self._sources[key] - 1
        if left:
            self._sources[key] = left
        else:
            del self._sources[key]

    def judge(
        self, source: Address, spi_i: bytes, nonce: bytes, cookie: bytes | None, now: float
    ) -> Verdict:
        """Tell what to do with a request that carries these."""
        config = self._config
        mine = self._sources.get(source_of(source), 0)
        if self.half_open < config.cookie_threshold and mine < config.cookie_threshold_source:
            return Verdict.ADMIT
        if cookie is None or not self._cookies.check(cookie, nonce, source, spi_i, now):
            return Verdict.ASK_COOKIE
        # Whoever returns a cookie has its address: only then do the bounds drop it.
        if self.half_open >= config.half_open_max or mine >= config.half_open_source_max:
            return Verdict.DROP
        return Verdict.ADMIT

    def cookie(self, source: Address, spi_i: bytes, nonce: bytes, now: float) -> bytes:
        """Return the cookie that a source has to give back."""
        return self._cookies.make(nonce, source, spi_i, now)


class Rate:
    """A token bucket: ``per_second`` in the long run, one second's worth at once."""

    __slots__ = ("_at", "_left", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = per_second
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may go now."""
        self._left = min(self._per_second, self._left + max(0.0, now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
