# SPDX-License-Identifier: GPL-2.0-only
"""Message ids and windows of one IKE SA (RFC 7296 sections 2.1 to 2.3)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .errors import LocalError

if TYPE_CHECKING:
    from .request import Request

#: An IKE SA is rekeyed when its message ids pass this, long before they wrap.
LAST_COMFORTABLE_ID: Final = 1 << 31
#: A window wider than this is not used, whatever the other side offers.
WIDEST: Final = 64


@dataclass(slots=True)
class Outstanding:
    """A request of ours that is not answered yet, as it went out."""

    id: int
    exchange: Request
    messages: tuple[bytes, ...]
    since: float
    sent: int = 1
    path: int = 0  # how often the IKE SA had moved when it first went out
    moved: bool = False  # it went out to more than one address
    doubted: bool = False  # somebody says that there is nobody to answer it, and nobody does


class Requests:
    """Our requests; ``size`` is the window that the other side granted."""

    __slots__ = ("next_id", "outstanding", "size")

    def __init__(self) -> None:
        self.next_id = 0
        self.size = 1
        self.outstanding: dict[int, Outstanding] = {}

    @property
    def room(self) -> bool:
        """Whether another request may go out."""
        if not self.outstanding:
            return True
        return self.next_id < min(self.outstanding) + self.size

    def add(self, item: Outstanding) -> None:
        """Enter the next request. Raises ``LocalError`` beyond the window."""
        if not self.room or item.id != self.next_id:
            raise LocalError(f"request {item.id} is beyond the window")
        self.next_id += 1
        self.outstanding[item.id] = item


class Verdict(enum.Enum):
    """What a message id of the other side's request tells."""

    NEW = enum.auto()
    REPEATED = enum.auto()  # answered already: the answer goes out again
    RUNNING = enum.auto()  # being worked on: nothing to say yet
    OUTSIDE = enum.auto()  # before or beyond the window


class Answers:
    """The other side's requests and what was answered; ``size`` is what we grant."""

    __slots__ = ("_done", "_kept", "_lowest", "_running", "highest", "size")

    def __init__(self) -> None:
        self.size = 1
        self.highest = -1
        self._lowest = 0  # the first id that is not answered
        self._done: set[int] = set()  # answered, beyond it
        self._running: set[int] = set()
        self._kept: dict[int, tuple[bytes, ...]] = {}

    def judge(self, message_id: int) -> Verdict:
        """Tell what to do with a request."""
        if message_id in self._kept:
            return Verdict.REPEATED
        if message_id in self._running:
            return Verdict.RUNNING
        if message_id < self._lowest or message_id in self._done:
            return Verdict.OUTSIDE
        return Verdict.NEW if message_id < self._lowest + self.size else Verdict.OUTSIDE

    def begin(self, message_id: int) -> bool:
        """Take up a new request; True when it is the newest so far.

        Answers that no request can ask for any more are forgotten.
        """
        self._running.add(message_id)
        if message_id <= self.highest:
            return False
        self.highest = message_id
        for old in [known for known in self._kept if known + self.size <= message_id]:
            del self._kept[old]
        return True

    def finish(self, message_id: int, messages: tuple[bytes, ...]) -> None:
        """Keep the answer to a request."""
        self._running.discard(message_id)
        self._kept[message_id] = messages
        self._done.add(message_id)
        while self._lowest in self._done:
            self._done.discard(self._lowest)
            self._lowest += 1

    def kept(self, message_id: int) -> tuple[bytes, ...]:
        """Return the answer to a request that was repeated."""
        return self._kept.get(message_id, ())
