# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's role: its engine, its routes, its home link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from ..linux.dsmip import BindingState
from ..linux.mobility_socket import Datagram
from ..linux.neighbours import Interface
from ..mobility.effects import DetectDuplicate, DropBinding, Effect, Proxy, PutBinding
from ..mobility.home_agent import BindingView, HomeAgent
from ..packet.kernel import Address
from .config import HomeAgentSection
from .history import History
from .roles import Kernel, Role
from .routing import AgentRouting

log = logging.getLogger(__name__)

#: RFC 4862 section 5.4: one solicitation, RetransTimer of a second to answer it.
_DETECTION_TIME: Final = 1.0
#: RFC 4861 section 10: MAX_NEIGHBOR_ADVERTISEMENT and RETRANS_TIMER.
_ADVERTISEMENTS: Final = 3
_ADVERTISEMENT_INTERVAL: Final = 1.0


class ProxyControl(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that defends home addresses."""

    def proxies(self, interface: int) -> set[Address]: ...
    def put_proxy(self, interface: int, address: Address, router: bool) -> None: ...
    def remove_proxy(self, interface: int, address: Address) -> None: ...


class HomeAgentRole(Role):
    """Serves mobile routers. ``home_link`` is None for a virtual home link."""

    title = "home agent"

    def __init__(
        self,
        section: HomeAgentSection,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        routing: AgentRouting,
        proxies: ProxyControl,
        home_link: Interface | None,
        adopted: Iterable[BindingState],
    ) -> None:
        self._adopted = [state.binding for state in adopted if not state.binding.mobile]
        self.engine = HomeAgent(section.engine, loop.time(), self._adopted)
        super().__init__(self.engine, kernel, loop, history)
        self.section = section
        self._routing = routing
        self._proxies = proxies
        self._home_link = home_link
        self._detections: dict[IPv6Address, asyncio.TimerHandle] = {}
        self._announcements: dict[Address, asyncio.TimerHandle] = {}
        self._defended: set[Address] = set()

    def start(self) -> None:
        """Take over the kernel's bindings with their routes and proxies."""
        for binding in self._adopted:
            self._routing.bind(binding)
        self._adopted = []
        stale = self._proxies.proxies(self._home_link.index) if self._home_link else set()
        super().start()
        self._serve_at_home()
        self._routing.forget_orphans()
        homes = {owner.home_address for owner in self.section.engine.owners}
        homes4 = {owner.home_address4 for owner in self.section.engine.owners}
        for address in stale - self._defended:
            if self._home_link and (address in homes or address in homes4):
                self._proxies.remove_proxy(self._home_link.index, address)

    def concerns(self, datagram: Datagram) -> bool:
        return datagram.destination in self.section.engine.addresses6

    def protected(self, datagram: Datagram) -> bool:
        return self._kernel.keys.protects(datagram.source, datagram.destination)

    def reconfigure(self, section: HomeAgentSection) -> None:
        """Apply a new configuration to what it changes."""
        self.section = section
        self.carry(self.engine.reconfigure(section.engine, self.now()))
        self._serve_at_home()

    def stop(self) -> None:
        super().stop()
        for handle in (*self._detections.values(), *self._announcements.values()):
            handle.cancel()

    def clear(self) -> None:
        """Remove all bindings with all that belongs to them."""
        for view in self.bindings():
            self.carry_one(DropBinding(view.home_address))
        for address in list(self._defended):
            self.carry_one(Proxy(address, on=False, router=False))
        self._routing.clear()

    def bindings(self) -> list[BindingView]:
        """Return the engine's bindings."""
        return self.engine.bindings(self.now())

    # --- effects

    def carry_one(self, effect: Effect) -> None:
        match effect:
            case PutBinding():
                super().carry_one(effect)
                self._routing.bind(effect.binding)
            case DropBinding():
                self._routing.unbind(effect.home_address)
                super().carry_one(effect)
            case DetectDuplicate():
                self._detect(effect.address)
            case Proxy():
                self._proxy(effect)
            case _:
                super().carry_one(effect)

    def _serve_at_home(self) -> None:
        owners = self.section.engine.owners if self.section.home_routes else ()
        self._routing.serve_at_home(
            (owner.home_address, owner.home_address4, owner.prefixes) for owner in owners
        )

    def _detect(self, address: Address) -> None:
        link = self._home_link
        if link is None or isinstance(address, IPv4Address):
            self._loop.call_soon(self._checked, address, True)
            return
        if address in self._detections:
            return
        self._detections[address] = self._loop.call_later(
            _DETECTION_TIME, self._checked, address, True
        )
        try:
            self._kernel.neighbours.probe(link, address)
        except OSError as error:
            # A home link without carrier has nobody who could object.
            log.warning("duplicate address detection of %s: %s", address, error.strerror)

    def advertised(self, interface: int, target: IPv6Address) -> None:
        """Take in a neighbour advertisement: somebody has the address."""
        if self._home_link and interface == self._home_link.index and target in self._detections:
            log.warning("%s is in use by another node on %s", target, self._home_link.name)
            self._checked(target, False)

    def _checked(self, address: Address, unique: bool) -> None:
        if isinstance(address, IPv6Address):
            handle = self._detections.pop(address, None)
            if handle is not None:
                handle.cancel()
        self.carry(self.engine.duplicate_checked(address, unique, self.now()))

    def _proxy(self, effect: Proxy) -> None:
        link = self._home_link
        if link is None:
            return
        former = self._announcements.pop(effect.address, None)
        if former is not None:
            former.cancel()
        if not effect.on:
            self._defended.discard(effect.address)
            self._proxies.remove_proxy(link.index, effect.address)
            return
        self._proxies.put_proxy(link.index, effect.address, effect.router)
        self._defended.add(effect.address)
        self._announce(effect.address, effect.router, _ADVERTISEMENTS)

    def _announce(self, address: Address, router: bool, times: int) -> None:
        assert self._home_link is not None
        self._announcements.pop(address, None)
        try:
            self._kernel.neighbours.advertise(self._home_link, address, router)
        except OSError as error:
            log.debug("announcing %s: %s", address, error.strerror)
        if times > 1:
            self._announcements[address] = self._loop.call_later(
                _ADVERTISEMENT_INTERVAL, self._announce, address, router, times - 1
            )
