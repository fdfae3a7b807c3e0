# SPDX-License-Identifier: GPL-2.0-only
"""The correspondent's role: its engine and its routes to mobile nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Final

from ..linux.dsmip import BindingState, KernelEvent
from ..linux.icmp_errors import UNREACHABLE, IcmpError
from ..linux.mobility_socket import Datagram
from ..linux.rtnl import TABLE_MAIN, Route, Rule
from ..mobility.correspondent import Correspondent, CorrespondentView
from ..mobility.effects import DropBinding, Effect, PutBinding
from ..packet.errors import PacketError
from ..packet.extension import parse_routing
from ..packet.kernel import KernelBinding, PathEvent
from ..packet.mobility import PROTOCOL, BindingUpdate, CareOfTestInit, HomeTestInit
from .direct import DirectRole, direct_bindings
from .direct_config import CorrespondentSection
from .history import History
from .roles import Kernel
from .routing import RouteControl, attempt, host

#: Routes to home addresses of mobile nodes, for what this host sends itself. Mobility
#: messages take the usual way (RFC 6275 section 6.1).
TABLE: Final = 4190
OWN_SIGNALLING, OWN = 4186, 4187
_RULES: Final = (
    Rule(OWN_SIGNALLING, TABLE_MAIN, own=True, protocol=PROTOCOL),
    Rule(OWN, TABLE, own=True),
)
_HOME_REGISTRATION: Final = 0x44  # H or R in the first octet of the flags
_ROUTING: Final = 43


class DirectRouting:
    """Routes into the device to mobile nodes with a direct binding."""

    def __init__(self, rtnl: RouteControl, device: int) -> None:
        self._rtnl = rtnl
        self._device = device
        self._present = set(rtnl.routes(table=TABLE))
        self._bound: dict[IPv6Address, Route] = {}

    def start(self, bindings: Iterable[KernelBinding]) -> None:
        """Make the rules, and keep just those routes that a former daemon left for these."""
        for rule in _RULES:
            attempt(self._rtnl.put_rule, rule)
        for binding in bindings:
            self.bind(binding)
        for route in self._present - set(self._bound.values()):
            attempt(self._rtnl.remove_route, route)
        self._present = set()

    def bind(self, binding: KernelBinding) -> None:
        """Send this host's packets to a home address into the device."""
        home = binding.home_address
        local = binding.paths[0].local
        route = Route(host(home), self._device, TABLE, source=local)
        if self._bound.get(home) == route:
            return
        if route in self._present or attempt(self._rtnl.put_route, route):
            self._bound[home] = route

    def unbind(self, home_address: IPv6Address) -> None:
        """Let them take the usual way again."""
        route = self._bound.pop(home_address, None)
        if route is not None:
            attempt(self._rtnl.remove_route, route)

    def clear(self) -> None:
        """Remove everything."""
        for home_address in list(self._bound):
            self.unbind(home_address)
        for rule in reversed(_RULES):
            attempt(self._rtnl.remove_rule, rule)


class CorrespondentRole(DirectRole):
    """Speaks to mobile nodes directly.

    ``alone``: this host has no other role, so that all messages are for this one.
    """

    title = "correspondent"

    def __init__(
        self,
        section: CorrespondentSection,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        routing: DirectRouting,
        adopted: Iterable[BindingState],
        is_home_registration: Callable[[IPv6Address], bool],
        alone: bool,
    ) -> None:
        self._adopted = direct_bindings(adopted, mobile=False)
        self.engine = Correspondent(
            section.engine, loop.time(), self._adopted, is_home_registration
        )
        super().__init__(self.engine, kernel, loop, history)
        self.section = section
        self._routing = routing
        self._alone = alone

    def start(self) -> None:
        """Take over the kernel's bindings with their routes."""
        self._routing.start(self._adopted)
        self._adopted = []
        super().start()

    def concerns(self, datagram: Datagram) -> bool:
        return self._alone or is_correspondents(datagram.data)

    def protected(self, datagram: Datagram) -> bool:
        # Return routability needs no association (section 5.2); those who have one use it.
        return self._kernel.keys.protects(datagram.source, datagram.destination)

    def concerns_event(self, event: KernelEvent) -> bool:
        if event.event is PathEvent.STRANGER:
            return True
        return event.home_address is not None and self.engine.holds(event.home_address)

    def error(self, error: IcmpError) -> None:
        """Take an ICMPv6 error about a packet of ours."""
        if error.kind == UNREACHABLE:
            care_of = destination_of(error.quoted)
            if care_of is not None:
                self.carry(self.engine.unreachable(care_of, self.now()))

    def reconfigure(self, section: CorrespondentSection) -> None:
        """Apply a new configuration to what it changes."""
        self.section = section
        self.carry(self.engine.reconfigure(section.engine, self.now()))

    def bindings(self) -> list[CorrespondentView]:
        """Return the engine's bindings."""
        return self.engine.bindings(self.now())

    def clear(self) -> None:
        """Remove all bindings with all that belongs to them."""
        for view in self.bindings():
            self.carry_one(DropBinding(view.home_address))
        self._routing.clear()

    def carry_one(self, effect: Effect) -> None:
        match effect:
            case PutBinding():
                super().carry_one(effect)
                self._routing.bind(effect.binding)
            case DropBinding():
                self._routing.unbind(effect.home_address)
                super().carry_one(effect)
            case _:
                super().carry_one(effect)


def is_correspondents(data: bytes) -> bool:
    """Whether a message is what a mobile node sends to a correspondent, not to a home agent."""
    if len(data) < 9:
        return False
    if data[2] in (HomeTestInit.TYPE, CareOfTestInit.TYPE):
        return True
    return data[2] == BindingUpdate.TYPE and not data[8] & _HOME_REGISTRATION


def destination_of(quoted: bytes) -> IPv6Address | None:
    """Return the care-of address that a quoted packet was sent to by a routing header."""
    if len(quoted) < 40 + 24 or quoted[6] != _ROUTING:
        return None
    try:
        home = parse_routing(quoted[40:64])
    except PacketError:
        return None
    return None if home is None else IPv6Address(quoted[24:40])
