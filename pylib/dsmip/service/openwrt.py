# SPDX-License-Identifier: GPL-2.0-only
"""What a router with OpenWrt hears of the daemon: netifd and ubus, where they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..mobility.mobile_router import State
from . import netifd, ubus
from .control import Handler
from .router import MobileRouterRole
from .status import word_of

#: In these the tunnel, or the home link, carries what comes from home addresses.
_REACHABLE = (State.REGISTERED, State.HOME)


class OpenWrt:
    """Both at once, for the daemon."""

    def __init__(self, loop: asyncio.AbstractEventLoop, device: str) -> None:
        self._loop = loop
        self._device = device
        self._notifier = netifd.Notifier(loop)
        self._object: ubus.UbusObject | None = None
        self._router: MobileRouterRole | None = None
        self._last: tuple[str, str] | None = None

    def start(self, router: MobileRouterRole | None, handlers: Mapping[str, Handler]) -> None:
        """Follow the router, and offer the handlers as a ubus object."""
        self._router = router
        module = ubus.module()
        if module is not None:
            self._object = ubus.UbusObject(handlers, self._loop, module)
            self._object.start()
        if router is not None:
            router.carried = self.look
            self.look()

    def stop(self) -> None:
        """Leave things as they are."""
        self._notifier.stop()
        if self._object is not None:
            self._object.stop()

    def poke(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Handle the protocol handler's word that its wishes have changed."""
        return {"interfaces": self._notifier.poke()}

    def look(self) -> None:
        """See what is new."""
        router = self._router
        if router is None:
            return
        view = router.registration()
        if view.state in _REACHABLE:
            prefixes = netifd.delegated(router.section.engine.networks, router.section.undelegated)
            self._notifier.look(
                netifd.Tunnel(self._device, view.home_address, view.home_address4, prefixes)
            )
        now = word_of(router), view.uplink
        if self._object is not None and now != self._last:
            self._object.send({"action": "state", "state": now[0], "uplink": view.uplink})
        self._last = now
