# SPDX-License-Identifier: GPL-2.0-only
"""An engine and the kernel: inputs go in, effects are carried out in order."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from ..linux.dsmip import BindingState, KernelEvent
from ..linux.mobility_socket import Datagram
from ..linux.neighbours import Interface
from ..mobility.effects import (
    Count,
    DropBinding,
    DropPath,
    Effect,
    HandoverMark,
    Moved,
    Note,
    PutBinding,
    PutFlows,
    PutPath,
    Received,
    SendMessage,
    SendParameterProblem,
)
from ..mobility.registration import RateLimit
from ..packet.careof import CareOf
from ..packet.kernel import Address, KernelBinding, Path, PathEvent
from ..packet.mobility import build
from .alarm import Alarm
from .flow_rules import FlowRules
from .history import History
from .keys import KeyManager

log = logging.getLogger(__name__)

_LEVELS = logging.getLevelNamesMapping()
#: Parameter problems and repeated log lines a second, whoever provokes them.
_ERRORS_BURST, _ERRORS_RATE = 20.0, 10.0
_NOTES_BURST, _NOTES_RATE = 100.0, 20.0


class Device(Protocol):
    """The part of ``linux.dsmip.DsmipDevice`` that roles use."""

    interface: int
    name: str

    def put_binding(self, binding: KernelBinding) -> None: ...
    def drop_binding(self, home_address: IPv6Address) -> None: ...
    def put_path(self, home_address: IPv6Address, path: Path) -> None: ...
    def drop_path(self, home_address: IPv6Address, bid: int) -> None: ...
    def bindings(self) -> list[BindingState]: ...
    def binding(self, home_address: IPv6Address) -> BindingState | None: ...


class Wire(Protocol):
    """The part of ``linux.mobility_socket.MobilitySocket`` that roles use."""

    def send(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: CareOf | None = None,
        interface: int = 0,
    ) -> None: ...
    def send_on_link(
        self, data: bytes, source: IPv6Address, destination: IPv6Address, interface: int
    ) -> None: ...
    def send_parameter_problem(self, datagram: Datagram, code: int, pointer: int) -> None: ...


class NeighbourSender(Protocol):
    """The part of ``linux.neighbours.Neighbours`` that roles use."""

    def solicit_router(self, interface: Interface) -> None: ...
    def advertise(self, interface: Interface, target: Address, router: bool) -> None: ...
    def probe(self, interface: Interface, target: IPv6Address) -> None: ...


class Engine(Protocol):
    """What both engines have in common."""

    def start(self, now: float) -> list[Effect]: ...
    def receive(self, received: Received, now: float) -> list[Effect]: ...
    def path_event(
        self, home_address: IPv6Address, event: PathEvent, path: Path | None, now: float
    ) -> list[Effect]: ...
    def handle_timer(self, now: float) -> list[Effect]: ...
    def next_timer(self) -> float | None: ...


@dataclass(slots=True)
class Kernel:
    """Everything through which roles reach the kernel."""

    device: Device
    wire: Wire
    neighbours: NeighbourSender
    keys: KeyManager
    flows: FlowRules | None = None


class Role(ABC):
    """Base of both roles; carries out the effects that both know."""

    title = ""

    def __init__(
        self,
        engine: Engine,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        counters: Counter[str] | None = None,
    ) -> None:
        self._engine = engine
        self._kernel = kernel
        self._loop = loop
        self._history = history
        self._alarm = Alarm(loop, self._rang)
        self._errors = RateLimit(_ERRORS_BURST, _ERRORS_RATE)
        self._notes = RateLimit(_NOTES_BURST, _NOTES_RATE)
        self.counters: Counter[str] = Counter() if counters is None else counters
        #: Called when effects were carried out, so that others may look what is new.
        self.carried: Callable[[], None] = lambda: None

    # --- inputs

    def now(self) -> float:
        """Return the time of the clock that engines are told."""
        return self._loop.time()

    def start(self) -> None:
        """Let the engine take over what it was given."""
        self.carry(self._engine.start(self.now()))

    @abstractmethod
    def concerns(self, datagram: Datagram) -> bool:
        """Whether a message is for this role."""

    @abstractmethod
    def protected(self, datagram: Datagram) -> bool:
        """Whether IPsec vouches for the sender of a message."""

    def receive(self, datagram: Datagram) -> None:
        """Hand a message to the engine."""
        self.counters["mh_received"] += 1
        received = Received(
            datagram.data,
            datagram.source,
            datagram.destination,
            datagram.care_of,
            datagram.interface,
            self.protected(datagram),
            time.time(),
        )
        judged = self.judge(received)
        if isinstance(judged, Received):
            judged = self._engine.receive(judged, self.now())
        self.carry(judged)

    def judge(self, received: Received) -> Received | list[Effect]:
        """Return what the engine is to see of a message, or what to do instead."""
        return received

    def kernel_event(self, event: KernelEvent) -> None:
        """Hand a notification of the kernel module to the engine."""
        if event.home_address is not None:
            self.carry(
                self._engine.path_event(event.home_address, event.event, event.path, self.now())
            )

    def stop(self) -> None:
        """Ask for no more timers."""
        self._alarm.stop()

    # --- effects

    def carry(self, effects: Iterable[Effect]) -> None:
        """Carry out effects in order, then ask the engine when it wants to be called.

        Without its binding nothing that follows makes sense: if the kernel
        refuses one, the rest of the list is dropped, and the other side, which
        is not told of any success, tries again.
        """
        for effect in effects:
            try:
                self.carry_one(effect)
            except OSError as error:
                self._failed(effect, error)
                if isinstance(effect, PutBinding):
                    break
        self._arm()
        self.carried()

    def carry_one(self, effect: Effect) -> None:
        """Carry out one effect; raises ``OSError`` when the kernel refuses."""
        device = self._kernel.device
        match effect:
            case SendMessage():
                self._send(effect)
            case PutBinding():
                device.put_binding(effect.binding)
            case PutPath():
                device.put_path(effect.home_address, effect.path)
            case PutFlows():
                if self._kernel.flows is not None:
                    self._kernel.flows.put(effect)
            case DropPath():
                _unless_gone(lambda: device.drop_path(effect.home_address, effect.bid))
            case DropBinding():
                _unless_gone(lambda: device.drop_binding(effect.home_address))
            case SendParameterProblem():
                self._parameter_problem(effect)
            case Moved():
                self._kernel.keys.moved(
                    effect.home_address,
                    effect.old,
                    effect.new,
                    effect.at_home,
                    effect.keys_follow,
                )
            case HandoverMark():
                self._history.mark(effect, self.now())
            case Note():
                if effect.level == "error" or self._notes.take(self.now()):
                    log.log(_LEVELS.get(effect.level.upper(), logging.INFO), "%s", effect.text)
                else:
                    self.counters["notes_suppressed"] += 1
            case Count():
                self.counters[effect.name] += 1
            case _:
                raise TypeError(f"{self.title} cannot carry out {type(effect).__name__}")

    def _send(self, effect: SendMessage) -> None:
        wire, data = self._kernel.wire, build(effect.message)
        if effect.on_link and effect.interface:
            wire.send_on_link(data, effect.source, effect.destination, effect.interface)
        else:
            interface = effect.interface if effect.care_of is None else 0
            wire.send(data, effect.source, effect.destination, effect.care_of, interface)
        self.counters["mh_sent"] += 1

    def _parameter_problem(self, effect: SendParameterProblem) -> None:
        if not self._errors.take(self.now()):
            self.counters["parameter_problem_suppressed"] += 1
            return
        received = effect.received
        datagram = Datagram(
            received.data,
            received.source,
            received.destination,
            received.care_of,
            received.interface,
        )
        self._kernel.wire.send_parameter_problem(datagram, effect.code, effect.pointer)
        self.counters["parameter_problem_sent"] += 1

    def _failed(self, effect: Effect, error: OSError) -> None:
        name = type(effect).__name__
        self.counters[f"failed_{name}"] += 1
        reason = error.strerror or str(error)
        if isinstance(effect, SendMessage):
            # A network that just went away; the engine's retransmission mends it.
            what = type(effect.message).__name__
            log.warning("%s to %s not sent: %s", what, effect.destination, reason)
        else:
            log.error("%s: %s", name, reason)

    def _arm(self) -> None:
        self._alarm.set(self._engine.next_timer())

    def _rang(self, now: float) -> None:
        try:
            effects = self._engine.handle_timer(now)
        except Exception:
            # A fault in one timer must not end all timers, nor spin.
            log.exception("%s: internal error", self.title)
            self.counters["internal_errors"] += 1
            self._alarm.set(now + 1.0)
            return
        self.carry(effects)


def _unless_gone(action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
