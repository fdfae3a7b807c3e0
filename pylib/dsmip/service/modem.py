# SPDX-License-Identifier: GPL-2.0-only
"""Signal strength, as ModemManager (``mmcli``) or ``uqmi`` tell it, where they are.

They are asked now and then, and when somebody looks, not more often than every few
seconds; what they say is bounded and may lack anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..linux.interface_counters import control_device
from . import programs

log = logging.getLogger(__name__)

#: Seconds for which an answer is good.
FRESH: Final = 10.0
#: Nobody is told of a signal that is older.
STALE: Final = 90.0
_TIMEOUT: Final = 4.0
_LARGEST: Final = 1 << 16
_MODEMS_MAX: Final = 8
_PORTS_MAX: Final = 16
_INTERFACES_MAX: Final = 256
_TEXT_MAX: Final = 40
_MODEM: Final = re.compile(r"/org/freedesktop/ModemManager1/Modem/([0-9]{1,6})")
_NET: Final = re.compile(r"([^\s/:]{1,15}) \(net\)")
Run = Callable[[Sequence[str]], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Signal:
    """How a modem hears its network; None and "" for what nobody said.

    ``quality`` in per cent, ``rssi`` and ``rsrp`` in dBm, ``rsrq`` and ``snr`` in dB.
    """

    quality: int | None = None
    technology: str = ""
    operator: str = ""
    rssi: float | None = None
    rsrp: float | None = None
    rsrq: float | None = None
    snr: float | None = None

    def document(self) -> dict[str, Any]:
        """Return what is known as plain values."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


async def run(command: Sequence[str]) -> bytes:
    """Run a program as all of them here. Raises ``OSError`` or ``TimeoutError``."""
    return await programs.run(command, _TIMEOUT, _LARGEST)


def _object(data: bytes) -> Mapping[str, Any]:
    """Return what a program said. Raises ``ValueError``."""
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    if isinstance(value, list):
        value = ", ".join(one for one in value if isinstance(one, str))
    plain = isinstance(value, str) and value.isprintable() and value != "--"
    return str(value)[:_TEXT_MAX] if plain else ""


def _number(value: object, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if low <= found <= high else None


def read_modem_list(data: bytes) -> list[str]:
    """Read ``mmcli -J -L``: the numbers of the modems. Raises ``ValueError``."""
    listed = _object(data).get("modem-list")
    if not isinstance(listed, list):
        raise ValueError("no list of modems")
    found = [_MODEM.fullmatch(one) for one in listed if isinstance(one, str)]
    return [one[1] for one in found if one is not None][:_MODEMS_MAX]


def read_modem(data: bytes) -> tuple[tuple[str, ...], Signal]:
    """Read ``mmcli -J -m N``: network interfaces of the modem, and its signal.

    Raises ``ValueError``.
    """
    modem = _part(_object(data), "modem")
    generic = _part(modem, "generic")
    ports = generic.get("ports")
    found = [
        _NET.fullmatch(port)
        for port in (ports[:_PORTS_MAX] if isinstance(ports, list) else ())
        if isinstance(port, str)
    ]
    quality = _number(_part(generic, "signal-quality").get("value"), 0, 100)
    return tuple(one[1] for one in found if one is not None), Signal(
        None if quality is None else int(quality),
        _text(generic.get("access-technologies")),
        _text(_part(modem, "3gpp").get("operator-name")),
    )


def read_uqmi(data: bytes) -> Signal:
    """Read ``uqmi --get-signal-info``. Raises ``ValueError``."""
    said = _object(data)
    return Signal(
        technology=_text(said.get("type")),
        rssi=_number(said.get("rssi"), -150, 0),
        rsrp=_number(said.get("rsrp"), -160, -20),
        rsrq=_number(said.get("rsrq"), -50, 20),
        snr=_number(said.get("snr"), -50, 60),
    )


class Signals:
    """The signal of each interface, asked for in the background."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        run_program: Run = run,
        which: Callable[[str], str | None] = shutil.which,
        device_of: Callable[[str], str | None] = control_device,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._run = run_program
        self._which = which
        self._device_of = device_of
        self._clock = clock
        self._found: dict[str, tuple[float, Signal]] = {}
        self._asked = -FRESH
        self._task: asyncio.Task[None] | None = None

    def look(self, interfaces: Sequence[str]) -> None:
        """See that what is known is fresh soon."""
        now = self._clock()
        if self._task is not None or now - self._asked < FRESH:
            return
        self._asked = now
        if self._which("mmcli"):
            self._task = self._loop.create_task(self._guarded(self._ask_mmcli))
        elif self._which("uqmi"):
            devices = {one: self._device_of(one) for one in interfaces}
            known = {one: device for one, device in devices.items() if device is not None}
            if known:
                self._task = self._loop.create_task(self._guarded(lambda: self._ask_uqmi(known)))

    def of(self, interface: str) -> Signal | None:
        """Return what is known of an interface's modem."""
        at, found = self._found.get(interface, (0.0, None))
        return found if found is not None and self._clock() - at < STALE else None

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._task is not None:
            self._task.cancel()

    async def _guarded(self, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            with _told():
                await ask()
        finally:
            self._task = None

    async def _ask_mmcli(self) -> None:
        for number in read_modem_list(await self._run(("mmcli", "-J", "-L"))):
            with _told():
                interfaces, signal = read_modem(await self._run(("mmcli", "-J", "-m", number)))
                for one in interfaces:
                    self._take(one, signal)

    async def _ask_uqmi(self, devices: Mapping[str, str]) -> None:
        for interface, device in devices.items():
            with _told():
                words = ("uqmi", "-s", "-t", "2000", "-d", device, "--get-signal-info")
                self._take(interface, read_uqmi(await self._run(words)))

    def _take(self, interface: str, signal: Signal) -> None:
        if interface in self._found or len(self._found) < _INTERFACES_MAX:
            self._found[interface] = self._clock(), signal


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Let one modem that does not answer be no reason not to ask the next."""
    try:
        yield
    except (OSError, TimeoutError, ValueError) as error:
        log.debug("no signal strength: %s", error)
