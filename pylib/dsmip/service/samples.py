# SPDX-License-Identifier: GPL-2.0-only
"""What each uplink carried and how far the home agent was, for plots.

Five minutes at a second and a day at a minute, in arrays of fixed size: about
28 KiB for each of at most ``UPLINKS_MAX`` uplinks, however long the daemon runs.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..linux.dsmip import BindingState
from ..mobility.effects import Uplink
from ..mobility.mobile_router import PathView
from .control import RequestError
from .router import Care

#: Seconds between samples, and how many are kept.
SPANS: Final = {"fine": (1, 300), "coarse": (60, 1440)}
UPLINKS_MAX: Final = 16
_SERIES: Final = ("rx", "tx", "rtt_ms", "loss_percent")
_NOTHING: Final = math.nan


@dataclass(frozen=True, slots=True)
class Measure:
    """Octets that an uplink has carried so far; round trip in ms and loss in percent if known."""

    uplink: str
    rx: int
    tx: int
    rtt: float | None = None
    loss: float | None = None


class _Ring:
    """Values of one uplink in slots of equal length; a slot that nobody filled has none."""

    __slots__ = ("_size", "_slot", "count", "values")

    def __init__(self, size: int, slot: int) -> None:
        self._size = size
        self._slot = slot
        #: Measurements in the latest slot.
        self.count = 0
        self.values = {name: array("f", [_NOTHING]) * size for name in _SERIES}

    def _advance(self, slot: int) -> None:
        for passed in range(max(self._slot + 1, slot - self._size + 1), slot + 1):
            for series in self.values.values():
                series[passed % self._size] = _NOTHING
        if slot > self._slot:
            self._slot, self.count = slot, 0

    def put(self, slot: int, rx: float, tx: float, rtt: float | None, loss: float | None) -> None:
        """Take a measurement: the mean of what was carried, the worst of round trip and loss."""
        self._advance(slot)
        at = slot % self._size
        for name, value in (("rx", rx), ("tx", tx)):
            before = self.values[name][at] if self.count else 0.0
            self.values[name][at] = before + (value - before) / (self.count + 1)
        for name, worst in (("rtt_ms", rtt), ("loss_percent", loss)):
            if worst is not None:
                before = self.values[name][at]
                self.values[name][at] = worst if math.isnan(before) else max(before, worst)
        self.count += 1

    def series(self, name: str, slot: int, count: int) -> list[float | None]:
        """Return the last values up to a slot, the latest last."""
        self._advance(slot)
        found = (self.values[name][at % self._size] for at in range(slot - count + 1, slot + 1))
        digits = 0 if name in ("rx", "tx") else 1
        return [None if math.isnan(one) else round(one, digits) for one in found]


def _text(values: Iterable[float | None]) -> str:
    return ",".join("" if one is None else f"{one:.15g}" for one in values)


def values(text: str) -> list[float | None]:
    """Return the values of a series in a document."""
    return [float(one) if one else None for one in text.split(",")] if text else []


class Samples:
    """Rings of all uplinks; one that is gone keeps its past until another needs the room."""

    def __init__(self) -> None:
        self._rings: dict[str, dict[str, _Ring]] = {}
        self._last: dict[str, Measure] = {}
        self._at = 0.0
        self._first: float | None = None

    def take(self, measures: Iterable[Measure], now: float) -> None:
        """Take the counters of this moment, in monotonic seconds."""
        found = {one.uplink: one for one in list(measures)[:UPLINKS_MAX]}
        seconds = now - self._at
        for name, one in found.items():
            before = self._last.get(name)
            if before is None or seconds <= 0:
                continue
            # A path that was made anew counts from nothing.
            rx, tx = max(one.rx - before.rx, 0) / seconds, max(one.tx - before.tx, 0) / seconds
            for span, ring in self._of(name, found, now).items():
                ring.put(int(now // SPANS[span][0]), rx, tx, one.rtt, one.loss)
        self._last, self._at = found, now
        if self._first is None:
            self._first = now

    def _of(self, name: str, present: Mapping[str, Measure], now: float) -> dict[str, _Ring]:
        rings = self._rings.get(name)
        if rings is None:
            if len(self._rings) >= UPLINKS_MAX:
                gone = next(other for other in self._rings if other not in present)
                del self._rings[gone]
            rings = {span: _Ring(size, int(now // every)) for span, (every, size) in SPANS.items()}
            self._rings[name] = rings
        return rings

    def document(self, span: str, now: float, time: float) -> dict[str, Any]:
        """Return a span as plain values; ``time`` is now in seconds since the epoch.

        ``to`` is when the last of the values was taken, ``rx`` and ``tx`` are octets a
        second. A series is a text, its values parted by commas, with nothing where
        nobody measured: as single values they are too many for a message of ubus.
        """
        every, size = SPANS[span]
        # The slot that still fills is not shown.
        slot = int(now // every) - 1
        first = now if self._first is None else self._first
        count = min(size - 1, max(slot - int(first // every) + 1, 0))
        return {
            "span": span,
            "every": every,
            "to": round(time - (now - (slot + 1) * every), 3),
            "uplinks": {
                name: {one: _text(rings[span].series(one, slot, count)) for one in _SERIES}
                for name, rings in self._rings.items()
            },
        }


class Source(Protocol):
    """The part of ``router.MobileRouterRole`` that is measured."""

    @property
    def uplinks(self) -> tuple[Uplink, ...]: ...
    def paths(self) -> tuple[PathView, ...]: ...
    @property
    def care(self) -> Care | None: ...


def measured_by_probes(path: PathView) -> tuple[float | None, float | None]:
    """Return round trip in ms and loss in percent, None where unknown."""
    return (
        None if path.rtt is None else round(path.rtt * 1000, 1),
        None if path.loss is None else round(path.loss * 100, 1),
    )


def measures(router: Source | None, kernel: BindingState | None) -> list[Measure]:
    """Return what a router's uplinks have carried so far, and measure how far it is."""
    if router is None:
        return []
    care = router.care
    if care is not None:
        care.measure()
    registered = router.paths()
    found = []
    for uplink in router.uplinks:
        own = {*uplink.addresses6, *uplink.addresses4}
        paths = [path for path in kernel.paths if path.path.local in own] if kernel else []
        measured = [p for p in registered if p.uplink == uplink.name and p.rtt is not None]
        rtt, loss = (None, None) if care is None else care.measured(uplink.name)
        if measured:
            rtt, loss = measured_by_probes(measured[0])
        found.append(
            Measure(
                uplink.name,
                sum(path.traffic.rx_bytes for path in paths),
                sum(path.traffic.tx_bytes for path in paths),
                rtt,
                loss,
            )
        )
    return found


class Sampler:
    """Takes a sample a second while the daemon runs, and answers the command ``samples``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[], Iterable[Measure]],
        wall_clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._look = look
        self._wall_clock = wall_clock
        self._samples = Samples()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._tick()

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_at(math.floor(now) + 1.001, self._tick)
        try:
            self._samples.take(self._look(), now)
        except OSError:
            return  # what the kernel does not tell now is missing in the plot

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``{"span": "fine" or "coarse"}``."""
        span = request.get("span", "fine")
        if not isinstance(span, str) or span not in SPANS:
            raise RequestError(f'"span" is one of {", ".join(SPANS)}')
        return self._samples.document(span, self._loop.time(), self._wall_clock())
