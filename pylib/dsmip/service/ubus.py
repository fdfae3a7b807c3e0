# SPDX-License-Identifier: GPL-2.0-only
"""The ubus object ``dsmip``, where the ``ubus`` module (python3-ubus) is there.

Its binding to libubus takes exactly the arguments of a method's signature, none
optional, and does not tell what to wait for: it is the socket that connecting adds to
this process, beside what libubox opens for its own main loop, which nobody runs here.
Where ubusd is restarted, the object comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import Any, Final

from .control import Handler, RequestError

log = logging.getLogger(__name__)

OBJECT: Final = "dsmip"
_AGAIN: Final = 10.0
_STRING, _INTEGER = "BLOBMSG_TYPE_STRING", "BLOBMSG_TYPE_INT32"
#: Methods with their arguments, all of which a caller must give.
METHODS: Final[Mapping[str, Mapping[str, str]]] = {
    "status": {},
    "uplinks": {},
    "bindings": {"match": _STRING, "after": _STRING, "limit": _INTEGER},
    "absent": {"after": _STRING, "limit": _INTEGER},
    "routers": {"addresses": _STRING},
    "history": {"limit": _INTEGER},
    "samples": {"span": _STRING},
    "audit": {"match": _STRING, "limit": _INTEGER},
    "handover": {"uplink": _STRING},
    "hold": {"uplink": _STRING, "held": _INTEGER},
    "failover": {"uplink": _STRING, "seconds": _INTEGER},
    "enroll": {"identity": _STRING, "prefixes": _STRING, "payload": _STRING, "again": _INTEGER},
    "reload": {},
}


def _sockets() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        # Listing opens one itself, and has closed it by now.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.add(int(name))
    return found


def module() -> Any | None:
    """Return the binding, None where it is not installed."""
    try:
        return importlib.import_module("ubus")
    except ImportError:
        return None


class UbusObject:
    """Answers ubus calls by the handlers of the control socket."""

    def __init__(
        self, handlers: Mapping[str, Handler], loop: asyncio.AbstractEventLoop, ubus: Any
    ) -> None:
        self._handlers = handlers
        self._loop = loop
        self._ubus = ubus
        self._descriptor = -1
        self._again: asyncio.TimerHandle | None = None
        self._told = False

    def start(self) -> None:
        """Connect and offer the object, now or as soon as ubusd is there."""
        self._again = None
        before = _sockets()
        try:
            self._ubus.connect()
            self._ubus.add(OBJECT, self._methods())
        except Exception as error:
            # The binding raises what it likes; none of it is a reason to end.
            if not self._told:
                log.warning("ubus: %s; trying again", error)
            self._told = True
            self._disconnect()
            self._later()
            return
        added = sorted(_sockets() - before)
        if not added:
            log.error("ubus: no socket to wait for, the object will not answer")
            return
        self._told = False
        self._descriptor = added[0]
        self._loop.add_reader(self._descriptor, self._ready)
        log.info("ubus object %s is there", OBJECT)

    def stop(self) -> None:
        """Take the object away."""
        if self._again is not None:
            self._again.cancel()
        self._disconnect()

    def send(self, event: Mapping[str, Any]) -> None:
        """Broadcast an event of the object's name."""
        if self._descriptor >= 0:
            with contextlib.suppress(Exception):
                self._ubus.send(OBJECT, dict(event))

    def _later(self) -> None:
        self._again = self._loop.call_later(_AGAIN, self.start)

    def _disconnect(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = -1
        with contextlib.suppress(Exception):
            self._ubus.disconnect()

    def _ready(self) -> None:
        gone = False
        try:
            # No wait, and no main loop of uloop, which would take our signals.
            self._ubus.loop(0)
        except Exception as error:
            log.warning("ubus: %s", error)
            gone = True
        if gone or not self._alive():
            log.warning("ubusd has gone; the object comes back with it")
            self._disconnect()
            self._later()

    def _alive(self) -> bool:
        """Whether the connection still stands: its end makes it readable for ever."""
        try:
            copy = socket.socket(fileno=os.dup(self._descriptor))
        except OSError:
            return False
        with copy:
            try:
                return bool(copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except BlockingIOError:
                return True
            except OSError:
                return False

    def _methods(self) -> dict[str, Any]:
        return {
            name: {
                "method": self._method(name),
                "signature": {key: getattr(self._ubus, kind) for key, kind in signature.items()},
            }
            for name, signature in METHODS.items()
        }

    def _method(self, name: str) -> Callable[[Any, Mapping[str, Any]], None]:
        def call(event: Any, data: Mapping[str, Any]) -> None:
            event.reply(self.answer(name, data))

        return call

    def answer(self, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a call is answered: an object, with ``error`` when it is refused."""
        request: dict[str, Any] = {key: data[key] for key in METHODS[name] if key in data}
        if name == "status":
            request |= {"brief": True, "watched": True}
        if name == "handover":
            # No argument can be left out: "" and "auto" give the choice back.
            request["uplink"] = (
                None if request.get("uplink") in ("", "auto", None) else request["uplink"]
            )
        for flag in ("held", "again"):
            if request.get(flag) in (0, 1):
                request[flag] = bool(request[flag])
        try:
            result = self._handlers[name](request)
        except RequestError as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": error.strerror or str(error)}
        except Exception:
            log.exception("ubus method %s: internal error", name)
            return {"error": "internal error, see the daemon's log"}
        return result if isinstance(result, dict) else {"result": result}
