# SPDX-License-Identifier: GPL-2.0-only
"""Handovers and how long each of their phases took."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..mobility.effects import HandoverMark, Phase
from ..packet.careof import WireKind

KINDS = {WireKind.IP6: "ip6", WireKind.IP4: "ip4", WireKind.UDP4: "udp4", WireKind.RO: "ro"}


@dataclass(slots=True)
class Handover:
    """One change of attachment.

    ``phases`` are milliseconds since ``at`` (the first sign of the change) of
    the first time each phase was reached; ``gap_ms`` is the time until the
    first packet by the new path, None until it came. ``lost`` stays None unless
    somebody measured it. ``event`` is "" for a handover, else what happened to
    ``uplink`` that is none.
    """

    number: int
    started: float  # seconds since the epoch, for people
    at: float
    origin: str
    uplink: str
    reason: str
    care_of: str = ""
    kind: str = ""
    phases: dict[str, float] = field(default_factory=dict)
    updates: int = 0
    lost: int | None = None
    event: str = ""

    @property
    def gap_ms(self) -> float | None:
        return self.phases.get(Phase.FIRST_PACKET.value)

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "number": self.number,
            "event": self.event,
            "time": round(self.started, 3),
            "from": self.origin,
            "to": self.uplink,
            "care_of": self.care_of,
            "kind": self.kind,
            "reason": self.reason,
            "phases_ms": dict(self.phases),
            "updates_sent": self.updates,
            "gap_ms": self.gap_ms,
            "packets_lost": self.lost,
        }


class History:
    """The last handovers of a mobile router."""

    def __init__(self, size: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._records: deque[Handover] = deque(maxlen=size)
        self._wall_clock = wall_clock
        self._number = 0
        self._uplink = ""
        self._current: Handover | None = None

    def resize(self, size: int) -> None:
        """Keep another number of records from now on."""
        self._records = deque(self._records, maxlen=size)

    def mark(self, mark: HandoverMark, now: float) -> None:
        """Take in a phase; a LINK mark opens a record.

        ``now`` is when the effects before it were carried out: what the update
        waited for until it was sent is not the home agent's time.
        """
        record = self._current
        if mark.phase is Phase.LINK or record is None:
            record = self._current = self._open(mark, now)
        if mark.phase is Phase.UPDATE_SENT:
            if Phase.ACKNOWLEDGED.value not in record.phases:
                record.updates += 1
        elif mark.phase is Phase.FIRST_PACKET and Phase.UPDATE_SENT.value not in record.phases:
            return  # still the former path's
        if mark.uplink:
            record.uplink = self._uplink = mark.uplink
        if mark.care_of is not None:
            record.care_of = str(mark.care_of.address)
            record.kind = KINDS.get(mark.care_of.kind, "")
        elif mark.phase is Phase.ADDRESS:
            record.kind = "home"
        at = now if mark.phase is Phase.UPDATE_SENT else mark.at
        record.phases.setdefault(mark.phase.value, round((at - record.at) * 1000, 1))

    def _open(self, mark: HandoverMark, now: float) -> Handover:
        self._number += 1
        started = self._wall_clock() - (now - mark.at)
        made = Handover(self._number, started, mark.at, self._uplink, mark.uplink, mark.reason)
        self._records.append(made)
        return made

    def note(self, event: str, uplink: str, reason: str, now: float) -> None:
        """Take down what happened to an uplink, as between handovers."""
        self._number += 1
        started = self._wall_clock()
        self._records.append(
            Handover(self._number, started, now, uplink, uplink, reason, event=event)
        )

    def last(self) -> Handover | None:
        """Return the latest handover."""
        return self._current

    def documents(self, limit: int = 0) -> list[dict[str, Any]]:
        """Return records as plain values, the latest last."""
        records = list(self._records)
        return [record.document() for record in (records[-limit:] if limit else records)]
