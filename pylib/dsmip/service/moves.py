# SPDX-License-Identifier: GPL-2.0-only
"""When each router came to where it is, and how long nothing was heard of it before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from ..linux.dsmip import BindingState
from ..packet.kernel import Address, KernelBinding


@dataclass(frozen=True, slots=True)
class Move:
    """``silent_ms``: since the last packet by the former path, None when none ever came.

    A gap that the router's hosts saw was not longer, but for the time until packets
    are answered; of one that had nothing to send it says little.
    """

    time: float
    origin: str
    place: str
    silent_ms: int | None


class Moves:
    """The last move of each binding. ``read`` gets a binding from the kernel."""

    def __init__(
        self,
        read: Callable[[IPv6Address], BindingState | None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._wall_clock = wall_clock
        self._places: dict[IPv6Address, Address] = {}
        self._moves: dict[IPv6Address, Move] = {}

    def adopt(self, binding: KernelBinding) -> None:
        """Know where a router is that was bound before this daemon."""
        if binding.paths:
            self._places[binding.home_address] = binding.paths[0].remote

    def before(self, binding: KernelBinding) -> None:
        """Hear of a binding just before the kernel does."""
        if not binding.paths:
            return
        home_address, place = binding.home_address, binding.paths[0].remote
        origin = self._places.get(home_address)
        self._places[home_address] = place
        if origin is None or origin == place:
            return
        self._moves[home_address] = Move(
            self._wall_clock(), str(origin), str(place), self._silent(home_address)
        )

    def _silent(self, home_address: IPv6Address) -> int | None:
        try:
            state = self._read(home_address)
        except OSError:
            return None
        heard = [path.last_heard_ms for path in state.paths] if state else []
        return min((one for one in heard if one is not None), default=None)

    def ended(self, home_address: IPv6Address) -> None:
        """Hear that a binding is gone."""
        self._places.pop(home_address, None)
        self._moves.pop(home_address, None)

    def document(self, home_address: IPv6Address) -> dict[str, Any] | None:
        """Return the last move as plain values, None when it is where it was at first."""
        move = self._moves.get(home_address)
        if move is None:
            return None
        return {
            "time": round(move.time, 3),
            "from": move.origin,
            "to": move.place,
            "silent_ms": move.silent_ms,
        }
