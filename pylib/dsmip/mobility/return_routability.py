# SPDX-License-Identifier: GPL-2.0-only
"""Return routability, both halves (RFC 6275 sections 5.2, 9.4 and 11.6).

The correspondent keeps a node key and a few nonces, and nothing about those who
ask. The mobile node keeps cookies while it waits and tokens while they last.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from ..packet.authenticator import care_of_keygen_token, home_keygen_token

#: RFC 6275 section 12.
MAX_NONCE_LIFETIME = 240.0
MAX_TOKEN_LIFETIME = 210.0
MAX_RR_BINDING_LIFETIME = 420
#: A nonce makes tokens for so long, so that each token lasts MAX_TOKEN_LIFETIME at least.
NONCE_INTERVAL = MAX_NONCE_LIFETIME - MAX_TOKEN_LIFETIME
#: Where IPsec vouches for both ends nothing limits a binding but its usefulness.
MAX_TRUSTED_LIFETIME = 3600
NODE_KEY_SIZE = 20
NONCE_SIZE = 8
COOKIE_SIZE = 8

INITIAL_TIMEOUT = 1.0
MAX_TIMEOUT = 32.0

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Nonce:
    """A nonce with the node key (Kcn) of its time; ``since`` is its first use."""

    index: int
    key: bytes = field(repr=False)
    value: bytes = field(repr=False)
    since: float

    @property
    def until(self) -> float:
        """When it stops to be accepted."""
        return self.since + MAX_NONCE_LIFETIME

    def home_token(self, home_address: IPv6Address) -> bytes:
        """Return the home keygen token of a home address."""
        return home_keygen_token(self.key, home_address, self.value)

    def care_of_token(self, care_of_address: IPv6Address) -> bytes:
        """Return the care-of keygen token of a care-of address."""
        return care_of_keygen_token(self.key, care_of_address, self.value)


class Nonces:
    """The correspondent's nonces. One is made when somebody asks, no sooner.

    Indices start anywhere, so that those of a daemon that was restarted are
    most likely unknown and not merely wrong.
    """

    def __init__(self, random: Random = secrets.token_bytes) -> None:
        self._random = random
        self._index = int.from_bytes(random(2), "big")
        self._held: list[Nonce] = []

    def current(self, now: float) -> Nonce:
        """Return the nonce for tokens that are given out now."""
        self._held = [nonce for nonce in self._held if now < nonce.until]
        if not self._held or now >= self._held[-1].since + NONCE_INTERVAL:
            self._index = self._index % 0xFFFF + 1
            key, value = self._random(NODE_KEY_SIZE), self._random(NONCE_SIZE)
            self._held.append(Nonce(self._index, key, value, now))
        return self._held[-1]

    def find(self, index: int, now: float) -> Nonce | None:
        """Return the nonce of an index, None when it is unknown or too old."""
        return next((one for one in self._held if one.index == index and now < one.until), None)

    def __len__(self) -> int:
        return len(self._held)


@dataclass(frozen=True, slots=True)
class Token:
    """A keygen token that the mobile node was given; ``at`` is when it was asked for.

    ``address`` is the home or care-of address that it vouches for.
    """

    nonce_index: int
    value: bytes = field(repr=False)
    at: float
    address: IPv6Address

    def good(self, address: IPv6Address, now: float) -> bool:
        """Tell whether it may still be used for an address."""
        return address == self.address and now < self.at + MAX_TOKEN_LIFETIME


@dataclass(slots=True)
class Retry:
    """Exponential back-off (RFC 6275 section 11.8). ``at`` None: nothing is waited for."""

    at: float | None = None
    timeout: float = INITIAL_TIMEOUT
    tries: int = 0

    def note_sent(self, now: float) -> None:
        """Arm the timer for what goes out now; each time it takes twice as long."""
        self.at = now + self.timeout
        self.timeout = min(self.timeout * 2, MAX_TIMEOUT)
        self.tries += 1

    def due(self, now: float) -> bool:
        """Tell whether the answer is overdue."""
        return self.at is not None and self.at <= now


@dataclass(slots=True)
class RunningTest:
    """One half of return routability under way, from one address."""

    address: IPv6Address
    cookie: bytes = field(default=b"", repr=False)
    sent: float = 0.0
    retry: Retry = field(default_factory=Retry)

    def send(self, now: float, random: Random = secrets.token_bytes) -> bytes:
        """Return the cookie of a message that goes out now, a new one each time."""
        self.cookie = random(COOKIE_SIZE)
        self.sent = now
        self.retry.note_sent(now)
        return self.cookie

    def answered(self, cookie: bytes, nonce_index: int, token: bytes) -> Token | None:
        """Return the token of an answer, None when its cookie is not ours."""
        if not secrets.compare_digest(cookie, self.cookie):
            return None
        return Token(nonce_index, token, self.sent, self.address)
