# SPDX-License-Identifier: GPL-2.0-only
"""``dsmipd --role ike``: IKEv2 for another mobility stack on this host."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..ipsec.movement import Ability
from ..linux.xfrm import Xfrm
from .config import Config, load
from .control import ControlServer, Lock, RequestError
from .ike_config import fixed_settings
from .ike_control import handlers
from .ike_open import open_ike
from .options import ConfigError

log = logging.getLogger("dsmipd")


class IkeDaemon:
    """One process that runs the connections of ``[[ike.connection]]`` and nothing else."""

    def __init__(self, config: Config, path: str) -> None:
        self._config = config
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._stopping = asyncio.Event()
        self._lock = Lock(config.globals.socket)
        xfrm = Xfrm(Ability.NONE if config.ike.migrate == "off" else None)
        self._ike = open_ike(config.ike, xfrm, self._loop, config.globals.state)
        self._control = ControlServer(
            config.globals.socket,
            {"status": self._status, "reload": self._reload_asked, **handlers(self._ike)},
            {},
        )

    async def run(self) -> None:
        """Run until a signal says to stop."""
        for number, action in (
            (signal.SIGTERM, self._stopping.set),
            (signal.SIGINT, self._stopping.set),
            (signal.SIGHUP, self._reload_signalled),
        ):
            self._loop.add_signal_handler(number, action)
        self._ike.start()
        await self._control.start()
        count = len(self._config.ike.connections)
        log.info("dsmipd %s runs IKEv2 alone, %d connections", __version__, count)
        await self._stopping.wait()
        self._ike.stop(self._config.globals.keep_state)
        await self._control.stop()
        self._lock.release()
        log.info("stopped")

    def _status(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": __version__,
            "time": round(time.time(), 3),
            "uptime": round(self._loop.time() - self._started, 1),
            "keys": self._ike.alone.documents(),
            "ike": self._ike.document(),
        }

    def _reload_signalled(self) -> None:
        try:
            self._reload()
        except (ConfigError, RequestError, OSError) as error:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)

    def _reload_asked(self, _request: Mapping[str, Any]) -> Any:
        try:
            self._reload()
        except ConfigError as error:
            raise RequestError(str(error)) from error
        return {"reloaded": self._path}

    def _reload(self) -> None:
        config = load(self._path)
        changed = fixed_settings(self._config.ike, config.ike)
        if changed:
            raise RequestError(f"[ike] {', '.join(changed)} can only change at a restart")
        if config.globals.socket != self._config.globals.socket:
            raise RequestError("[globals] socket can only change at a restart")
        self._ike.reconfigure(config.ike)
        self._config = config
        logging.getLogger().setLevel(config.globals.log_level.upper())
        log.info("configuration reloaded")
