# SPDX-License-Identifier: GPL-2.0-only
"""How much each uplink has carried, over restarts of daemon and machine.

The kernel counts; the file only holds what no interface counts any more, so it is
written once an hour and at the end. A power cut costs what came since.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..linux.interface_counters import Counters, boot_id, counters
from . import files

log = logging.getLogger(__name__)

FILE: Final = "data-used.json"
#: Seconds between two writes: flash wears.
WRITE_EVERY: Final = 3600.0
_LARGEST: Final = 1 << 17
_UPLINKS_MAX: Final = 64
_OCTETS_MAX: Final = 1 << 64


@dataclass(slots=True)
class Used:
    """Octets of one uplink since a time of day; ``last`` is how its interface counted then."""

    rx: int
    tx: int
    since: float
    boot: str
    last: Counters


class DataUsed:
    """Sums by the name of the uplink."""

    def __init__(
        self,
        folder: str,
        read: Callable[[str], Counters | None] = counters,
        wall_clock: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        self._path = Path(folder, FILE)
        self._counters = read
        self._wall_clock = wall_clock
        self._boot = boot_id() if boot is None else boot
        self._used: dict[str, Used] = {}
        self._written: float | None = None
        self._changed = False
        self._load()

    def look(self, interfaces: Mapping[str, str], now: float) -> None:
        """Count what the interfaces of uplinks have carried since the last time."""
        for name, interface in interfaces.items():
            counted = self._counters(interface)
            if counted is not None:
                self._add(name, counted)
        if self._written is None:
            self._written = now  # a daemon that starts again and again writes nothing
        if now - self._written >= WRITE_EVERY:
            self.write()
            self._written = now

    def document(self, name: str) -> dict[str, Any] | None:
        """Return the sum of one uplink as plain values, None before it was counted."""
        used = self._used.get(name)
        if used is None:
            return None
        return {"rx_bytes": used.rx, "tx_bytes": used.tx, "since": round(used.since)}

    def write(self) -> None:
        """Keep the sums for the next start."""
        if not self._changed:
            return
        values = {
            name: {
                "rx": used.rx,
                "tx": used.tx,
                "since": round(used.since),
                "boot": used.boot,
                "last": [used.last.index, used.last.rx, used.last.tx],
            }
            for name, used in self._used.items()
        }
        self._changed = False
        try:
            files.folder(self._path.parent)
            files.write(self._path, json.dumps(values).encode() + b"\n", force=True)
        except files.FileError as error:
            log.warning("data used will not outlive a reboot: %s", error)

    def _add(self, name: str, counted: Counters) -> None:
        used = self._used.get(name)
        if used is None:
            # What it carried before anybody counted is nobody's.
            if len(self._used) < _UPLINKS_MAX:
                self._used[name] = Used(0, 0, self._wall_clock(), self._boot, counted)
                self._changed = True
            return
        last = used.last
        same = used.boot == self._boot and last.index == counted.index
        if not same or counted.rx < last.rx or counted.tx < last.tx:
            last = Counters(counted.index, 0, 0)  # made anew, it counts from zero
        if (counted.rx, counted.tx) != (last.rx, last.tx) or not same:
            used.rx += counted.rx - last.rx
            used.tx += counted.tx - last.tx
            self._changed = True
        used.boot, used.last = self._boot, counted

    def _load(self) -> None:
        if not self._path.exists():
            return
        try:
            found = json.loads(files.read(self._path, _LARGEST))
            if not isinstance(found, dict):
                raise ValueError("no table of uplinks")
        except (files.FileError, ValueError, RecursionError) as error:
            log.warning("%s is not used: %s", self._path, error)
            return
        for name, entry in list(found.items())[:_UPLINKS_MAX]:
            try:
                index, rx, tx = (_count(value) for value in entry["last"])
                self._used[str(name)] = Used(
                    _count(entry["rx"]),
                    _count(entry["tx"]),
                    float(_count(entry["since"])),
                    str(entry["boot"]),
                    Counters(index, rx, tx),
                )
            except (KeyError, TypeError, ValueError):
                log.warning("%s: what %r has used is not readable, left out", self._path, name)


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _OCTETS_MAX:
        return value
    raise ValueError("no count")
