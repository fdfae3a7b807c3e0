# SPDX-License-Identifier: GPL-2.0-only
"""Whether a path is alive, and how good it is: heartbeats (RFC 5847) on each.

A probe goes out every interval. Once an answer is overdue the next probe follows
at once, so that three are missed within three intervals of the last sign of life,
whenever in an interval the path died.
"""

from __future__ import annotations

from collections import deque

#: Missed probes in a row after which a path counts as dead.
MISSED_MAX = 3
#: Unanswered probes that may still be answered late.
_REMEMBERED = 8
#: Probes that the share of lost ones is of.
_WINDOW = 32


class Probe:
    """The probes of one path; ``interval`` in seconds, 0 for none at all.

    ``rtt`` is the smoothed round trip in seconds, None before the first answer.
    """

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.missed = 0
        self.rtt: float | None = None
        self._next: float | None = now if interval else None
        self._deadline: float | None = None
        self._sent: dict[int, float] = {}
        self._waiting: int | None = None
        self._outcomes: deque[bool] = deque(maxlen=_WINDOW)

    @property
    def dead(self) -> bool:
        """Whether so many probes were missed that nothing is to be expected."""
        return self.missed >= MISSED_MAX

    @property
    def loss(self) -> float | None:
        """Return the share of the last probes that was never answered in time."""
        count = len(self._outcomes)
        return None if not count else self._outcomes.count(False) / count

    def next_timer(self) -> float | None:
        """Return when ``due`` or ``overdue`` turns true."""
        times = [at for at in (self._next, self._deadline) if at is not None]
        return min(times, default=None)

    def due(self, now: float) -> bool:
        """Whether a probe is to be sent now."""
        return self._next is not None and self._next <= now

    def note_sent(self, sequence: int, now: float) -> None:
        """Take down a probe that goes out."""
        self._sent[sequence] = now
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._waiting = sequence
        self._deadline = now + self._patience
        self._next = now + self.interval

    @property
    def _patience(self) -> float:
        """How long an answer may take: two thirds of the interval, unless the path is slow."""
        rtt = self.rtt or 0.0
        third = self.interval / 3
        return max(third, min(2 * third, 2 * rtt), 1.5 * rtt)

    def overdue(self, now: float) -> bool:
        """Whether one more probe was missed; counts it."""
        if self._deadline is None or self._deadline > now:
            return False
        self._deadline = self._waiting = None
        self._outcomes.append(False)
        if self.missed < MISSED_MAX:
            self.missed += 1
        if self.missed < MISSED_MAX and self._next is not None:
            self._next = now
        return True

    def answered(self, sequence: int, now: float) -> bool:
        """Take an answer; False for one that was not asked for."""
        sent = self._sent.pop(sequence, None)
        if sent is None:
            return False
        sample = now - sent
        self.rtt = sample if self.rtt is None else self.rtt + (sample - self.rtt) / 8
        if sequence == self._waiting:
            self._deadline = self._waiting = None
            self._outcomes.append(True)
        self.missed = 0
        return True

    def hurry(self, now: float) -> None:
        """Ask now: there is reason to doubt the path."""
        if self._next is not None and self._waiting is None:
            self._next = now

    def use(self, interval: float, now: float) -> None:
        """Probe at another interval from now on."""
        if interval != self.interval:
            self.interval = interval
            self._next = now if interval else None
            self._deadline = None
            self.missed = 0
