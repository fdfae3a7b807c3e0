# SPDX-License-Identifier: GPL-2.0-only
"""OpenWrt's netifd: what it calls its interfaces, and what it is told of ours.

The protocol handler leaves a file for each interface of ``proto dsmip``; netifd
is told of the tunnel's addresses, routes and delegated prefixes when they are
known, and again when either of both was restarted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Final

from ..packet.kernel import Network
from . import programs
from .uplink_config import COST_MAX

log = logging.getLogger(__name__)

_UBUS: Final = "ubus"
_TIMEOUT: Final = 3.0
#: Where the protocol handler leaves its wishes (package/dsmip/files/dsmip.proto.sh).
WISHES: Final = "/var/run/dsmip/netifd"
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_LARGEST: Final = 4096
_WISHES_MAX: Final = 64
_DUMP: Final = ("-t", "2", "call", "network.interface", "dump")
_DUMP_MAX: Final = 1 << 20
#: Seconds until netifd is told again after it could not be.
_AGAIN: Final = 5.0


def dump(program: str = _UBUS) -> dict[str, Mapping[str, Any]]:
    """Return netifd's interfaces by name; empty where there is no netifd."""
    command = [program, *_DUMP]
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL
        )
        return _entries(done.stdout)
    except FileNotFoundError:
        return {}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        log.warning("netifd does not say what its interfaces are: %s", error)
        return {}


async def ask() -> dict[str, Mapping[str, Any]] | None:
    """Return the same without waiting for it; None when netifd did not say."""
    try:
        return _entries(await programs.run((_UBUS, *_DUMP), _TIMEOUT, _DUMP_MAX))
    except (OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
        log.debug("netifd does not say what its interfaces are: %s", error)
        return None


def _entries(dumped: bytes) -> dict[str, Mapping[str, Any]]:
    found = json.loads(dumped)["interface"]
    return {str(entry["interface"]): entry for entry in found}


@dataclass(frozen=True, slots=True)
class Price:
    """What a protocol handler has put into its interface's data; None where nothing."""

    metered: bool | None = None
    cost: int | None = None


def price(entry: Mapping[str, Any]) -> Price:
    """Return what an entry of the dump tells; what is no such value counts as not said."""
    data = entry.get("data")
    if not isinstance(data, dict):
        return Price()
    metered, cost = data.get("metered"), data.get("cost")
    whole = isinstance(cost, int) and not isinstance(cost, bool) and 0 <= cost <= COST_MAX
    return Price(bool(metered) if metered in (0, 1) else None, cost if whole else None)


async def restart(interface: str) -> bool:
    """Have netifd take an interface down and up again; False when it could not be told."""
    down = await _call(10, f"network.interface.{interface}", "down")
    # An interface that is not there to go down may come up all the same.
    return await _call(10, f"network.interface.{interface}", "up") and down


class Devices:
    """Devices of logical interfaces, asked for once and only when needed."""

    def __init__(self, program: str = _UBUS) -> None:
        self._program = program
        self._found: dict[str, Mapping[str, Any]] | None = None

    def __call__(self, interface: str) -> str | None:
        """Return the device of an interface, None when netifd knows none now."""
        if self._found is None:
            self._found = dump(self._program)
        entry = self._found.get(interface, {})
        device = entry.get("l3_device") or entry.get("device")
        return device if isinstance(device, str) else None


@dataclass(frozen=True, slots=True)
class Wish:
    """What an interface of ``proto dsmip`` asks for."""

    interface: str
    defaultroute: bool = True
    delegate: bool = True
    metric: int = 0


def read_wishes(folder: str | Path) -> list[Wish]:
    """Return what the protocol handler has left; damaged files are told of and left out."""
    found: list[Wish] = []
    try:
        files = sorted(Path(folder).iterdir())[:_WISHES_MAX]
    except OSError:
        return []
    for file in files:
        if not _INTERFACE.fullmatch(file.name):
            continue
        try:
            with file.open() as opened:
                lines = opened.read(_LARGEST).splitlines()
            words = dict(line.split(" ", 1) for line in lines)
            found.append(
                Wish(
                    file.name,
                    words.get("defaultroute", "1") != "0",
                    words.get("delegate", "1") != "0",
                    int(words.get("metric", "0")),
                )
            )
        except (OSError, ValueError) as error:
            log.warning("%s is not used: %s", file, error)
    return found


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What netifd can be told of: ``delegated`` are the prefixes that it may hand out."""

    device: str
    home_address: IPv6Address
    home_address4: IPv4Address | None
    delegated: tuple[IPv6Network, ...]


def delegated(prefixes: Iterable[Network], kept: Iterable[Network]) -> tuple[IPv6Network, ...]:
    """Return the IPv6 prefixes that are not kept from netifd."""
    without = set(kept)
    return tuple(p for p in prefixes if isinstance(p, IPv6Network) and p not in without)


def notification(wish: Wish, tunnel: Tunnel) -> dict[str, Any]:
    """Return the arguments of network.interface notify_proto.

    The daemon keeps addresses, rules and the default route of its own table, so
    they are external; what is added is a default route for each source, which
    other routers of the LAN and odhcpd look for in the main table. The firewall
    zone netifd knows by itself.
    """
    sources: list[IPv6Network] = [IPv6Network(tunnel.home_address), *tunnel.delegated]
    told: dict[str, Any] = {
        "interface": wish.interface,
        "action": 0,
        "ifname": tunnel.device,
        "link-up": True,
        "address-external": True,
        "keep": False,
        "ip6addr": [{"ipaddr": str(tunnel.home_address), "mask": "128"}],
    }
    if tunnel.home_address4 is not None:
        told["ipaddr"] = [{"ipaddr": str(tunnel.home_address4), "mask": "32"}]
    if wish.defaultroute:
        route = {"target": "::", "netmask": "0"}
        if wish.metric:
            route["metric"] = str(wish.metric)
        told["routes6"] = [route | {"source": str(source)} for source in sources]
    if wish.delegate and tunnel.delegated:
        told["ip6prefix"] = [str(prefix) for prefix in tunnel.delegated]
    return told


async def _ubus_notify(arguments: Mapping[str, Any]) -> bool:
    """Call netifd; False when it could not be told."""
    return await _call(2, "network.interface", "notify_proto", json.dumps(arguments))


async def _call(seconds: int, *words: str) -> bool:
    try:
        await programs.run((_UBUS, "-t", str(seconds), "call", *words), seconds + 1)
    except (OSError, TimeoutError) as error:
        log.debug("netifd is not told: %s", error)
        return False
    return True


class Notifier:
    """Keeps netifd informed; ``look`` is cheap when nothing has changed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: str | Path = WISHES,
        send: Callable[[Mapping[str, Any]], Awaitable[bool]] = _ubus_notify,
    ) -> None:
        self._loop = loop
        self._folder = folder
        self._send = send
        self._tunnel: Tunnel | None = None
        self._wishes: list[Wish] = read_wishes(folder)
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._due = False

    def look(self, tunnel: Tunnel | None) -> None:
        """Take the tunnel as it is; None as long as there is nothing to tell.

        An uplink that goes does not take the interface down: the LAN keeps its prefix.
        """
        if tunnel is None or tunnel == self._tunnel:
            return
        self._tunnel = tunnel
        self._tell()

    def poke(self) -> list[str]:
        """Read the wishes anew and tell netifd again; returns its interfaces."""
        self._wishes = read_wishes(self._folder)
        self._tell()
        return [wish.interface for wish in self._wishes]

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._task is not None:
            self._task.cancel()
        if self._again is not None:
            self._again.cancel()

    def _tell(self) -> None:
        self._due = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._tunnel is not None and self._wishes and self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        failed: list[str] = []
        while self._due and self._tunnel is not None:
            self._due = False
            told = [notification(wish, self._tunnel) for wish in self._wishes]
            failed = [each["interface"] for each in told if not await self._send(each)]
        self._task = None
        if failed:
            log.warning("netifd could not be told of %s, once more soon", ", ".join(failed))
            self._again = self._loop.call_later(_AGAIN, self._tell)
