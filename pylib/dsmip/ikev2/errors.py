# SPDX-License-Identifier: GPL-2.0-only
"""What went wrong, whose fault it is, and what must be answered."""

from __future__ import annotations

from .numbers import NotifyType


class IkeError(Exception):
    """Base of all errors of this room; ``reason`` is a text for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LocalError(IkeError):
    """We were about to do what the protocol forbids: a fault of ours, never of a message."""


class RemoteError(IkeError):
    """A message of the other side is refused, with ``notify`` and ``data`` for the answer.

    Whether an answer goes out at all is for the engine to say: never to a
    response, and in clear only where RFC 7296 section 2.21 allows it.
    """

    def __init__(
        self, reason: str, notify: int = NotifyType.INVALID_SYNTAX, data: bytes = b""
    ) -> None:
        super().__init__(reason)
        self.notify = notify
        self.data = data


class Ignored(IkeError):
    """Drop in silence and raise ``counter``."""

    def __init__(self, reason: str, counter: str = "ike_malformed") -> None:
        super().__init__(reason)
        self.counter = counter
