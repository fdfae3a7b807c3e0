# SPDX-License-Identifier: GPL-2.0-only
"""Direct bindings: what the roles at both ends of a direct path have in common."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Protocol

from ..linux.dsmip import BindingState, KernelEvent
from ..mobility.effects import Effect, MeasureUse
from ..packet.kernel import KernelBinding
from .history import History
from .roles import Engine, Kernel, Role


class DirectEngine(Engine, Protocol):
    """What both engines of direct paths have in common."""

    def measured(self, home_address: IPv6Address, packets: int, now: float) -> list[Effect]: ...


class DirectRole(Role):
    """Base of both roles."""

    def __init__(
        self,
        engine: DirectEngine,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
    ) -> None:
        super().__init__(engine, kernel, loop, history)
        self._direct = engine

    @abstractmethod
    def concerns_event(self, event: KernelEvent) -> bool:
        """Whether a notification of the kernel module is for this role."""

    def carry_one(self, effect: Effect) -> None:
        if isinstance(effect, MeasureUse):
            state = self._kernel.device.binding(effect.home_address)
            packets = 0 if state is None else state.traffic.rx_packets + state.traffic.tx_packets
            self.carry(self._direct.measured(effect.home_address, packets, self.now()))
        else:
            super().carry_one(effect)


def direct_bindings(adopted: Iterable[BindingState], mobile: bool) -> list[KernelBinding]:
    """Return the direct bindings of one side: with correspondents, or with mobile nodes."""
    return [
        state.binding
        for state in adopted
        if state.binding.direct
        and mobile == any(path.remote == state.binding.home_address for path in state.binding.paths)
    ]
