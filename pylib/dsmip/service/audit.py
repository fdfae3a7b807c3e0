# SPDX-License-Identifier: GPL-2.0-only
"""Who got which prefix when: what the home agent bound, for its operator."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from ..packet.kernel import KernelBinding, Network
from .control import RequestError

#: Entries that are kept, and how many an answer has at most.
SIZE: Final = 2000
LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """What changed for one router; ``event`` is "registered", "changed" or "ended"."""

    time: float
    event: str
    identity: str
    home_address: IPv6Address
    home_address4: IPv4Address | None
    care_of: str
    gained: tuple[Network, ...]
    lost: tuple[Network, ...]

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "time": round(self.time, 3),
            "event": self.event,
            "identity": self.identity,
            "home_address": str(self.home_address),
            "home_address4": None if self.home_address4 is None else str(self.home_address4),
            "care_of": self.care_of,
            "gained": [str(prefix) for prefix in self.gained],
            "lost": [str(prefix) for prefix in self.lost],
        }


class Audit:
    """The last changes. ``name`` tells whose a home address is."""

    def __init__(
        self, name: Callable[[IPv6Address], str], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._wall_clock = wall_clock
        self._entries: deque[Entry] = deque(maxlen=SIZE)
        # Only what is compared: a home agent may have a hundred thousand of them.
        self._bound: dict[IPv6Address, tuple[tuple[Network, ...], IPv4Address | None]] = {}

    def adopt(self, binding: KernelBinding) -> None:
        """Know a binding that was there before this daemon: it is nothing new."""
        self._bound[binding.home_address] = binding.prefixes, binding.home_address4

    def bound(self, binding: KernelBinding) -> None:
        """Hear of a binding as it is from now on."""
        before = self._bound.get(binding.home_address)
        self._bound[binding.home_address] = binding.prefixes, binding.home_address4
        if before == (binding.prefixes, binding.home_address4):
            return
        had = () if before is None else before[0]
        gained = tuple(one for one in binding.prefixes if one not in had)
        lost = tuple(one for one in had if one not in binding.prefixes)
        care_of = str(binding.paths[0].remote) if binding.paths else ""
        if before is None:
            self._note("registered", binding.home_address, binding.home_address4, care_of, gained)
        elif gained or lost or before[1] != binding.home_address4:
            self._note(
                "changed", binding.home_address, binding.home_address4, care_of, gained, lost
            )

    def ended(self, home_address: IPv6Address) -> None:
        """Hear that a binding is gone."""
        before = self._bound.pop(home_address, None)
        if before is not None:
            self._note("ended", home_address, before[1], lost=before[0])

    def _note(
        self,
        event: str,
        home_address: IPv6Address,
        home_address4: IPv4Address | None,
        care_of: str = "",
        gained: tuple[Network, ...] = (),
        lost: tuple[Network, ...] = (),
    ) -> None:
        identity = self._name(home_address)
        now = self._wall_clock()
        self._entries.append(
            Entry(now, event, identity, home_address, home_address4, care_of, gained, lost)
        )

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``{"match": TEXT, "limit": N}``: entries, the latest first."""
        match, limit = request.get("match", ""), request.get("limit", LIMIT)
        if not isinstance(match, str):
            raise RequestError('"match" is a text: part of an identity, an address or a prefix')
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= SIZE:
            raise RequestError(f'"limit" is a whole number from 1 to {SIZE}')
        found: list[dict[str, Any]] = []
        for entry in reversed(self._entries):
            document = entry.document()
            if not match or any(match in text for text in _texts(document)):
                found.append(document)
                if len(found) == limit:
                    break
        return {"total": len(self._entries), "entries": found}


def _texts(document: Mapping[str, Any]) -> list[str]:
    plain = ("identity", "home_address", "home_address4", "care_of")
    return [
        *(str(document[name]) for name in plain),
        *map(str, (*document["gained"], *document["lost"])),
    ]
