# SPDX-License-Identifier: GPL-2.0-only
"""The routes of one table, as a routing daemon puts them there."""

from __future__ import annotations

from typing import Final

from ..packet.kernel import Address, Network
from .netlink import NETLINK_ROUTE, NotificationSocket, Overrun
from .rtnl import UNICAST, Rtnl

_GROUP_ROUTE4: Final = 7
_GROUP_ROUTE6: Final = 11


class RouteMonitor:
    """Tells when routes change, and which there are."""

    def __init__(self, rtnl: Rtnl, table: int, device: int) -> None:
        self._rtnl = rtnl
        self._table = table
        self._device = device
        # Listening starts before the first reading, so that nothing falls between.
        self._socket = NotificationSocket(NETLINK_ROUTE, (_GROUP_ROUTE4, _GROUP_ROUTE6))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> None:
        """Forget what has been told: the table says all of it."""
        try:
            for _ in self._socket.receive():
                pass
        except Overrun:
            pass

    def by_gateway(self) -> dict[Address | None, tuple[Network, ...]]:
        """Return the destinations behind each gateway. Raises ``NetlinkError``.

        None stands for the device itself: on a point-to-point device some routing
        daemons name no gateway.
        """
        found: dict[Address | None, list[Network]] = {}
        for route in self._rtnl.routes(table=self._table):
            if route.kind != UNICAST or not route.destination.prefixlen:
                continue
            if route.gateway is not None or route.interface == self._device:
                found.setdefault(route.gateway, []).append(route.destination)
        return {gateway: tuple(sorted(them, key=str)) for gateway, them in found.items()}
