# SPDX-License-Identifier: GPL-2.0-only
"""A mobile router's binding as the kernel is to hold it, with what outlives the daemon."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from ..packet.kernel import Network
from .agent_side import AgentSide
from .attachment import Attachment
from .config import MobileRouterConfig
from .effects import Effect, KernelBinding, PutBinding

EVERYTHING: tuple[Network, ...] = (IPv6Network("::/0"), IPv4Network("0.0.0.0/0"))


class RouterKernel(AgentSide):
    """What the engine of a mobile router tells the kernel."""

    _nat: bool
    _at: Attachment | None
    _home_address4: IPv4Address | None

    def _carried(
        self,
    ) -> tuple[tuple[Network, ...], tuple[Network, ...], IPv4Address | None]:
        """Return what is reached by the binding, what is behind it, its IPv4 home address."""
        home: Network = IPv6Network(self._config.home_address)
        if self.light:
            return (), (home,), None
        four = self._home_address4
        fourth = () if four is None else (IPv4Network(four),)
        return EVERYTHING, (home, *self._config.networks, *fourth), four

    def carry_network(self, config: MobileRouterConfig, on: bool, now: float) -> list[Effect]:
        """Take the mobile network from another home address of the router, or give it away."""
        self.light = not on
        self._config = config
        if not on:
            self._home_address4 = None
        return self._remember(now)

    def _kernel_binding(self, lifetime: int) -> KernelBinding:
        config, at = self._config, self._at
        prefixes, local, home_address4 = self._carried()
        memory = {
            "uplink": at.uplink[:64] if at else "",
            "granted": self._list.granted,
            "nat": self._nat,
            "refresh": self._refresh_interval,
            "agent": self.agent_memory(),
        }
        return KernelBinding(
            home_address=config.home_address,
            home_address4=home_address4,
            prefixes=prefixes,
            local_prefixes=local,
            paths=tuple(self._paths.installed.values()),
            mobile=True,
            lifetime=lifetime,
            sequence=self._list.sequence,
            data=json.dumps(memory, separators=(",", ":")).encode(),
        )

    @property
    def _refresh_interval(self) -> float:
        entry = self._list
        if entry.refresh_at is None or entry.acknowledged_at is None:
            return 1.0
        return max(entry.refresh_at - entry.acknowledged_at, 1.0)

    def _remember(self, now: float) -> list[Effect]:
        if not self._in_kernel:
            return []
        remaining = self._list.expires - now if self._list.expires is not None else 0
        return [PutBinding(self._kernel_binding(max(int(remaining + 0.999), 0)))]
