# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router's role: its engine, its uplinks, its routing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Final, Protocol

from ..linux.dsmip import BindingState
from ..linux.mobility_socket import Datagram
from ..linux.neighbours import Interface
from ..linux.uplinks import LinkState
from ..mobility.effects import Attach, Effect, PutBinding, Solicit, Uplink
from ..mobility.mobile_router import MobileRouter, RegistrationView
from ..packet.kernel import Address
from .config import MobileRouterSection
from .history import History
from .roles import Kernel, Role
from .routing import RouterRouting

log = logging.getLogger(__name__)

#: When to solicit a router again, in seconds after the first time. RFC 4861
#: waits 4 s; a solicitation sent while a link settles is often lost.
_SOLICIT_AGAIN: Final = (0.1, 0.3, 1.0, 3.0)
_ANNOUNCE_AGAIN: Final = (0.2, 1.0, 3.0)


class UplinkSource(Protocol):
    """The part of ``linux.uplinks.UplinkMonitor`` that is used here."""

    def update(self) -> list[LinkState]: ...
    def snapshot(self) -> tuple[LinkState, ...]: ...
    def watch(self, interfaces: Iterable[str], excluded: Iterable[Address]) -> None: ...
    def exclude(self, excluded: Iterable[Address]) -> None: ...


class LinkPreparer(Protocol):
    """The part of ``linux.sysctl.Sysctls`` that is used here."""

    def prepare_uplink(self, name: str) -> None: ...


class MobileRouterRole(Role):
    """Keeps one mobile network reachable."""

    title = "mobile router"

    def __init__(
        self,
        section: MobileRouterSection,
        kernel: Kernel,
        loop: asyncio.AbstractEventLoop,
        history: History,
        routing: RouterRouting,
        monitor: UplinkSource,
        sysctls: LinkPreparer,
        adopted: Iterable[BindingState],
    ) -> None:
        mine = [state.binding for state in adopted if state.binding.mobile]
        self.engine = MobileRouter(section.engine, loop.time(), mine)
        super().__init__(self.engine, kernel, loop, history)
        self.section = section
        self._routing = routing
        self._monitor = monitor
        self._sysctls = sysctls
        self._home_address4 = section.engine.home_address4
        for binding in mine:
            self._home_address4 = binding.home_address4 or self._home_address4
        self._prepared: set[int] = set()
        self._links: tuple[LinkState, ...] = ()
        self._uplinks: tuple[Uplink, ...] = ()
        self._attached: Attach | None = None
        self._again: list[asyncio.TimerHandle] = []

    @property
    def links(self) -> tuple[LinkState, ...]:
        """Return the uplinks' interfaces as last seen."""
        return self._links

    @property
    def uplinks(self) -> tuple[Uplink, ...]:
        """Return the uplinks as the engine was told."""
        return self._uplinks

    def start(self) -> None:
        """Take over the kernel's binding, then look at the uplinks."""
        self._routing.use_home_address4(self._home_address4)
        self._routing.read()
        self._monitor.exclude(self._home_addresses())
        # Sources must be routable before the engine speaks through them.
        self._look()
        self._routing.use_uplinks(self._links)
        super().start()
        self._tell(force=True)
        if self._attached is None:
            self._routing.attach(0)
        for link in self._links:
            if link.carrier and link.default6 is None:
                self._solicit(link, _SOLICIT_AGAIN)

    def concerns(self, datagram: Datagram) -> bool:
        return datagram.destination == self.section.engine.home_address

    def protected(self, datagram: Datagram) -> bool:
        return self._kernel.keys.protects(datagram.destination, datagram.source)

    def reconfigure(self, section: MobileRouterSection) -> None:
        """Apply a new configuration; raises ``ValueError`` for what cannot change."""
        effects = self.engine.reconfigure(section.engine, self.now())
        self.section = section
        self._home_address4 = section.engine.home_address4 or self._home_address4
        self._routing.use_prefixes(section.engine.prefixes)
        self._routing.use_home_address4(self._home_address4)
        self._monitor.watch([u.interface for u in section.uplinks], self._home_addresses())
        self._routing.read()
        self._look()
        self._routing.use_uplinks(self._links)
        self.carry(effects)
        self._tell(force=True)

    def stop(self) -> None:
        super().stop()
        for handle in self._again:
            handle.cancel()

    def deregister(self) -> None:
        """Tell the home agent that the binding ends."""
        self.carry(self.engine.stop(self.now(), deregister=True))
        super().stop()

    def clear(self) -> None:
        """Remove routes, rules and addresses."""
        self._routing.clear()

    def registration(self) -> RegistrationView:
        """Return the engine's registration."""
        return self.engine.registration(self.now())

    def handover(self, name: str | None) -> None:
        """Carry out the operator's wish; raises ``ValueError`` for an unknown uplink."""
        names = [uplink.name for uplink in self.section.uplinks]
        if name is not None and name not in names:
            raise ValueError(f'no uplink is called "{name}", there are: {", ".join(names)}')
        self.carry(self.engine.handover(name, self.now()))

    # --- uplinks

    def links_changed(self) -> None:
        """Take in what netlink tells about links, addresses and routes."""
        for link in self._monitor.update():
            log.info("%s has carrier", link.name)
            self._solicit(link, _SOLICIT_AGAIN)
        before = self._links
        self._look()
        if self._links != before:
            self._routing.use_uplinks(self._links)
            self._tell()

    def _look(self) -> None:
        self._links = self._monitor.snapshot()
        for link in self._links:
            if link.index and link.index not in self._prepared:
                self._prepared.add(link.index)
                self._sysctls.prepare_uplink(link.name)

    def _tell(self, force: bool = False) -> None:
        uplinks = tuple(
            self._uplink(entry.name, entry.priority, entry.held, link)
            for entry, link in zip(self.section.uplinks, self._links, strict=False)
        )
        if uplinks != self._uplinks or force:
            self._uplinks = uplinks
            self.carry(self.engine.uplinks_changed(uplinks, self.now()))

    def _uplink(self, name: str, priority: int, held: bool, link: LinkState) -> Uplink:
        home = self.section.engine.home_prefix
        return Uplink(
            name=name,
            interface=link.index,
            priority=priority,
            addresses6=link.addresses6,
            addresses4=link.addresses4,
            gateway6=link.default6 is not None,
            gateway4=link.default4 is not None,
            at_home=link.carrier
            and any(prefix.version == 6 and prefix == home for prefix in link.on_link),
            held=held,
        )

    def _solicit(self, link: LinkState, again: tuple[float, ...]) -> None:
        current = next(
            (other for other in self._monitor.snapshot() if other.name == link.name), link
        )
        if not current.carrier or current.default6 is not None:
            return
        interface = Interface(current.index, current.name, current.link_layer)
        try:
            self._kernel.neighbours.solicit_router(interface)
        except OSError as error:
            log.debug("router solicitation on %s: %s", link.name, error.strerror)
        if again:
            self._later(again[0], lambda: self._solicit(link, again[1:]))

    # --- effects

    def carry_one(self, effect: Effect) -> None:
        match effect:
            case PutBinding():
                super().carry_one(effect)
                if effect.binding.home_address4 != self._home_address4:
                    self._use_home_address4(effect)
            case Attach():
                self._attach(effect)
            case Solicit():
                for link in self._links:
                    if link.index == effect.interface:
                        self._solicit(link, _SOLICIT_AGAIN)
            case _:
                super().carry_one(effect)

    def _use_home_address4(self, effect: PutBinding) -> None:
        self._home_address4 = effect.binding.home_address4
        self._monitor.exclude(self._home_addresses())
        self._routing.use_home_address4(self._home_address4)
        self._routing.apply()

    def _attach(self, effect: Attach) -> None:
        self._attached = effect
        self._routing.attach(effect.interface if effect.home else 0)
        if effect.home:
            self._announce(effect.interface, _ANNOUNCE_AGAIN)

    def _announce(self, index: int, again: tuple[float, ...]) -> None:
        """Tell the home link where the home addresses are (RFC 6275 section 11.5.5)."""
        link = next((link for link in self._links if link.index == index), None)
        if link is None or self._attached != Attach(True, index):
            return
        interface = Interface(index, link.name, link.link_layer)
        for address in self._home_addresses():
            try:
                self._kernel.neighbours.advertise(interface, address, router=True)
            except OSError as error:
                log.debug("announcing %s on %s: %s", address, link.name, error.strerror)
        if again:
            self._later(again[0], lambda: self._announce(index, again[1:]))

    def _home_addresses(self) -> list[Address]:
        home6: IPv6Address = self.section.engine.home_address
        return [home6] if self._home_address4 is None else [home6, self._home_address4]

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        now = self._loop.time()
        self._again = [handle for handle in self._again if handle.when() > now]
        self._again.append(self._loop.call_later(delay, action))
