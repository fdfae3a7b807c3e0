# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router's role: its engine, its uplinks, its routing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final, Protocol

from ..linux.dsmip import BindingState, KernelEvent
from ..linux.mobility_socket import Datagram
from ..linux.neighbours import Interface
from ..linux.uplinks import LinkState
from ..mobility.binding_cache import link_local
from ..mobility.delegation import Place
from ..mobility.effects import (
    Announce,
    Attach,
    Count,
    Effect,
    FindHomeAgents,
    PutBinding,
    Received,
    SendMessage,
    Solicit,
    SolicitPrefixes,
    Uplink,
    UseHomeAgent,
)
from ..mobility.mobile_router import (
    FlowView,
    MobileRouter,
    PathView,
    RegistrationView,
    State,
)
from ..mobility.multihomed import make_router
from ..mobility.signing import Signer
from ..packet.kernel import Address
from ..packet.status import BindingAckStatus
from .access_links import AccessLinks
from .config import MobileRouterSection, UplinkEntry
from .history import History
from .holding import Holding
from .home_link import HomeArrival
from .lan import Lan
from .prefix_leases import PrefixLeaseFile
from .requesting import Requesting
from .roles import Kernel, Role
from .routing import LoginWay, RouterRouting

log = logging.getLogger(__name__)

#: When to solicit a router again, in seconds after the first time. RFC 4861
#: waits 4 s; a solicitation sent while a link settles is often lost.
_SOLICIT_AGAIN: Final = (0.1, 0.3, 1.0, 3.0)
#: What the engine counts when duplicate address detection has failed.
_ADDRESS_IS_TAKEN: Final = f"ba_refused_{int(BindingAckStatus.DUPLICATE_ADDRESS)}"
_ANNOUNCE_AGAIN: Final = (0.2, 1.0, 3.0)
#: When routers that may have gone are asked, in seconds.
_ASK_ROUTERS: Final = (0.0, 0.5, 1.5)
#: What the engine counts when the home agent does not answer.
_NO_ANSWER: Final = ("bu_timeout", "path_silent", "path_lost")


class UplinkSource(Protocol):
    """The part of ``linux.uplinks.UplinkMonitor`` that is used here."""

    def update(self) -> list[LinkState]: ...
    def snapshot(self) -> tuple[LinkState, ...]: ...
    def watch(self, interfaces: Iterable[str], excluded: Iterable[Address]) -> None: ...
    def exclude(self, excluded: Iterable[Address]) -> None: ...


class LinkPreparer(Protocol):
    """The part of ``linux.sysctl.Sysctls`` that is used here."""

    def prepare_uplink(self, name: str) -> None: ...
    def be_router(self, name: str, on: bool) -> None: ...


class OtherAddresses(Protocol):
    """The part of ``renumbering.Renumbering`` that is used here."""

    def receive(self, datagram: Datagram) -> bool: ...
    def event(self, event: KernelEvent) -> bool: ...
    def uplinks_changed(self) -> None: ...
    def handover(self, name: str | None) -> None: ...
    def home_agent_changed(self, effect: UseHomeAgent) -> None: ...
    def solicit(self) -> None: ...
    def rekey(self) -> None: ...


class Care(Protocol):
    """The part of ``uplink_care.UplinkCare`` that is used here."""

    def holds(self, name: str) -> bool: ...
    def priority(self, entry: UplinkEntry) -> int: ...
    def look(self) -> None: ...
    def document(self, name: str) -> dict[str, Any]: ...
    def refresh(self, *, watched: bool = False) -> None: ...
    def measured(self, name: str) -> tuple[float | None, float | None]: ...
    def measure(self) -> None: ...
    def needs_login(self) -> bool: ...


class MobileRouterRole(Role):
    """Keeps one mobile network reachable.

    ``agent_changes`` is called before another home agent is used, ``find_agents``
    when one is to be found, ``followed`` after its engine has done something.
    """

    title = "mobile router"
    _others: OtherAddresses | None = None
    _other_addresses: tuple[IPv6Address, ...] = ()
    _login6 = False
    #: Who watches over the uplinks, None as long as nobody does.
    care: Care | None = None

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
        lan: Lan | None = None,
        delegated: PrefixLeaseFile | None = None,
    ) -> None:
        counters: Counter[str] = Counter()
        self.requesting = Requesting(section, loop, counters, self._delegated, delegated)
        section = section.with_delegated(self.requesting.prefixes)
        routing.use_prefixes(section.engine.networks)
        mine = [state.binding for state in adopted if state.binding.mobile]
        self.engine = make_router(section.engine, loop.time(), mine)
        super().__init__(self.engine, kernel, loop, history, counters)
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
        self.holding = Holding(loop, lambda: [one.name for one in self.section.uplinks], self._tell)
        self._again: list[asyncio.TimerHandle] = []
        self.agent_changes: Callable[[UseHomeAgent], None] = lambda effect: None
        self.find_agents: Callable[[], None] = lambda: None
        self.followed: Callable[[], None] = lambda: None
        self.arrival = HomeArrival(
            loop, kernel.neighbours, self._tell, self._agent_found, self._agent_holds_binding
        )
        self.access = AccessLinks(loop, routing, self._solicit_on, self._look_again)
        #: Called after whatever may have changed uplinks or registration.
        self.observer: Callable[[], None] = _nobody
        #: Called with a home address from a pool that another node uses.
        self.another_address: Callable[[IPv6Address], None] = lambda address: None
        self.lan = lan
        self._name_servers: tuple[IPv6Address, ...] = ()
        key = section.authentication
        self._signer = None if key is None else Signer(key)
        self.prefixes_changed: Callable[[], None] = lambda: None

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
        self._use_link_local()
        self._routing.read()
        self._monitor.exclude(self._home_addresses())
        # Sources must be routable before the engine speaks through them.
        self._look()
        self._routing.use_uplinks(self._links)
        super().start()
        self._tell(force=True)
        if self._attached is None:
            self._routing.attach(0)
        if self.lan is not None:
            self.lan.start()
        self._follow()
        for link in self._links:
            if link.carrier and link.default6 is None:
                self._solicit(link, _SOLICIT_AGAIN)

    def concerns(self, datagram: Datagram) -> bool:
        if datagram.destination in (self.section.engine.home_address, *self._other_addresses):
            return True
        # A Binding Error comes to the care-of address (RFC 6275 section 9.3.3).
        by_agent = datagram.source == self.engine.config.home_agent6
        return by_agent and any(datagram.destination in u.addresses6 for u in self._uplinks)

    def protected(self, datagram: Datagram) -> bool:
        return self._kernel.keys.protects(datagram.destination, datagram.source)

    def receive(self, datagram: Datagram) -> None:
        if self._others is None or not self._others.receive(datagram):
            super().receive(datagram)

    def judge(self, received: Received) -> Received | list[Effect]:
        if self._signer is None:
            return received
        return self._signer.check(received, received.destination)

    def kernel_event(self, event: KernelEvent) -> None:
        if self._others is None or not self._others.event(event):
            super().kernel_event(event)

    def owns(self, home_address: IPv6Address) -> bool:
        """Whether it is one of the router's home addresses."""
        return home_address in (self.section.engine.home_address, *self._other_addresses)

    def use_others(self, others: OtherAddresses) -> None:
        """Let somebody care for home addresses besides the first."""
        self._others = others

    def use_other_addresses(self, addresses: tuple[IPv6Address, ...]) -> None:
        """Take the home addresses besides the first."""
        self._other_addresses = addresses
        self._monitor.exclude(self._home_addresses())
        self._routing.use_others(addresses)

    def take_engine(self, engine: MobileRouter, section: MobileRouterSection) -> None:
        """Go on with another home address as the first one."""
        self.engine = self._engine = engine
        self.section = section
        self._use_link_local()
        self._routing.use_home_address(section.engine.home_address)
        self._arm()

    def uplinks_for(self, prefix: IPv6Network) -> tuple[Uplink, ...]:
        """Return the uplinks as those see them whose home address is in a prefix."""
        return tuple(
            replace(uplink, at_home=uplink.at_home and prefix in link.on_link)
            for uplink, link in zip(self._uplinks, self._links, strict=False)
        )

    def announce_one(self, index: int, address: IPv6Address) -> None:
        """Tell the home link where a home address is."""
        self._announce(index, _ANNOUNCE_AGAIN, (address,))

    def reconfigure(self, section: MobileRouterSection) -> None:
        """Apply a new configuration; raises ``ValueError`` for what cannot change."""
        if section.engine.home_address.is_unspecified:
            section = section.with_home_address(self.section.engine.home_address)
        if section.engine.several != self.section.engine.several:
            raise ValueError("[mobile_router] multihoming can only change at a restart")
        if (section.authentication is None) != (self._signer is None):
            raise ValueError("[mobile_router] protection can only change at a restart")
        if section.authentication is not None and self._signer is not None:
            self._signer.reconfigure(section.authentication)
        self.requesting.reconfigure(section)
        section = section.with_delegated(self.requesting.prefixes)
        effects = self.engine.reconfigure(section.engine, self.now())
        self.section = section
        self._home_address4 = section.engine.home_address4 or self._home_address4
        self._routing.use_prefixes(section.engine.networks)
        self._routing.use_home_address4(self._home_address4)
        self._use_link_local()
        self._monitor.watch([u.interface for u in section.uplinks], self._home_addresses())
        self._routing.read()
        self._look()
        self._routing.use_uplinks(self._links)
        self.carry(effects)
        if self._others is not None:
            self._others.rekey()
        self._tell(force=True)

    def keys_ready(self, home_address: IPv6Address) -> None:
        """Hear that a home address has got its keys."""
        if home_address == self.section.engine.home_address:
            self.carry(self.engine.keys_ready(self.now()))

    def use_home_address(self, home_address: IPv6Address) -> None:
        """Take the home address that IKE has brought."""
        if home_address == self.section.engine.home_address:
            return
        self.section = self.section.with_home_address(home_address)
        self._monitor.exclude(self._home_addresses())
        self._routing.use_home_address(home_address)
        self.carry(self.engine.home_address_assigned(home_address, self.now()))

    def use_home_agent(self, section: MobileRouterSection) -> None:
        """Take the home agent that was found, from a section that names it."""
        engine = section.engine
        self.section = section
        self._routing.use_home_agent4(engine.home_agent4)
        self.carry(self.engine.home_agent_found(engine.home_agent6, engine.home_agent4, self.now()))

    def home_agent_changed(self, section: MobileRouterSection) -> None:
        """Take the section of the home agent that the engine uses from now on."""
        self.section = section
        self._routing.use_home_agent4(section.engine.home_agent4)

    def use_agent(self, address: IPv6Address) -> None:
        """Use another home agent, as an operator wishes; raises ``ValueError``."""
        self.carry(self.engine.agents.go(address, self.now()))

    def has_other_agents(self) -> bool:
        """Whether there is a home agent to go to beside the one in use."""
        return len(self.engine.agents.known()) > 1

    def follow(self, gateways: Iterable[Address]) -> bool:
        """Go where the key exchange is redirected to, if that is a home agent we know."""
        address = self.engine.agents.named(gateways)
        if address is None:
            return False
        self.use_agent(address)
        return True

    def agents_found(self, addresses: tuple[IPv6Address, ...]) -> None:
        """Take home agents that were discovered."""
        self.carry(self.engine.agents.discovered(addresses, self.now()))

    def care_of6(self) -> tuple[IPv6Address, int] | None:
        """Return the IPv6 care-of address in use and its interface."""
        care_of = self.registration().care_of
        if care_of is None or not isinstance(care_of.address, IPv6Address):
            return None
        return care_of.address, care_of.interface

    def use_home_prefix(self, prefix: IPv6Network) -> None:
        """Take the home prefix that the home agent told."""
        engine = replace(self.section.engine, home_prefix=prefix)
        if engine != self.section.engine:
            self.section = replace(self.section, engine=engine)
            self._tell()

    def use_name_servers(self, servers: tuple[IPv6Address, ...]) -> None:
        """Tell the LAN of name servers that IKE has brought."""
        self._name_servers = servers
        self._follow()

    def _follow(self) -> None:
        """Let DHCPv6 and the LAN know how the registration is."""
        view = self.registration()
        self.requesting.use_home_agent(self.engine.config.home_agent6)
        if view.state is State.REGISTERED:
            self.requesting.follow(Place(view.home_address))
        elif view.state is State.HOME:
            link = self._link(self._home_interface)
            if link is not None:
                self.requesting.follow(Place(None, link.index), link.name)
        elif view.state in (State.DETACHED, State.REFUSED):
            self.requesting.follow(None)
        if self.lan is not None:
            servers = (*self.section.dns, *self._name_servers)
            section = replace(self.section, dns=servers)
            self.lan.tell(section, view, self._links, self.requesting, self._login6)

    @property
    def _home_interface(self) -> int:
        return self._attached.interface if self._attached and self._attached.home else 0

    def _delegated(self, prefixes: bool) -> None:
        """Take the prefixes that were delegated, or hear that they live longer."""
        if prefixes:
            self.section = self.section.with_delegated(self.requesting.prefixes)
            # What shall not pass in clear has its policies first.
            self.prefixes_changed()
            self._routing.use_prefixes(self.section.engine.networks)
            self.carry(self.engine.reconfigure(self.section.engine, self.now()))
            self._routing.apply()
        else:
            self._follow()

    def stop(self) -> None:
        super().stop()
        self.arrival.stop()
        self.holding.stop()
        self.requesting.stop()
        self.access.stop()
        if self.lan is not None:
            self.lan.stop()
        for handle in self._again:
            handle.cancel()

    def deregister(self) -> None:
        """Tell the home agent that the binding ends."""
        self.requesting.release()
        self.carry(self.engine.stop(self.now(), deregister=True))
        super().stop()

    def clear(self) -> None:
        """Remove routes, rules and addresses."""
        self._routing.clear()
        if self.lan is not None:
            self.lan.clear()

    def registration(self) -> RegistrationView:
        """Return the engine's registration."""
        return self.engine.registration(self.now())

    def paths(self) -> tuple[PathView, ...]:
        """Return the care-of addresses that are registered side by side."""
        return self.engine.paths(self.now())

    def flows(self) -> tuple[FlowView, ...]:
        """Return the flows that choose among these."""
        return self.engine.flows()

    def handover(self, name: str | None) -> None:
        """Carry out the operator's wish; raises ``ValueError`` for an unknown uplink."""
        if name is not None:
            self.holding.check(name)
        self.carry(self.engine.handover(name, self.now()))
        if self._others is not None:
            self._others.handover(name)

    # --- uplinks

    def links_changed(self) -> None:
        """Take in what netlink tells about links, addresses and routes."""
        for link in self._monitor.update():
            log.info("%s has carrier", link.name)
            self._solicit(link, _SOLICIT_AGAIN)
        self._look_again()

    def _look_again(self) -> None:
        before = self._links
        self._look()
        for state in self._links:
            if state.index and not state.carrier:
                self.arrival.forget(state.index)
                self.access.forget(state.index)
        if self._links != before:
            self._routing.use_uplinks(self._links)
            self._tell()

    def _look(self) -> None:
        self._links = self.access.steer(self._monitor.snapshot())
        for link in self._links:
            if link.index and link.index not in self._prepared:
                self._prepared.add(link.index)
                self._sysctls.prepare_uplink(link.name)
                if not self._routing.holds_home_address(link.index):
                    self._sysctls.be_router(link.name, False)

    def _tell(self, force: bool = False) -> None:
        uplinks = tuple(
            self._uplink(entry, link)
            for entry, link in zip(self.section.uplinks, self._links, strict=False)
        )
        if self.arrival.pending and not self._engine_bound():
            # Nobody registers from elsewhere what may be home in a moment.
            return
        if uplinks != self._uplinks or force:
            self._uplinks = uplinks
            self.carry(self.engine.uplinks_changed(uplinks, self.now()))
            if self._others is not None:
                self._others.uplinks_changed()

    def held(self, entry: UplinkEntry) -> bool:
        """Whether the operator keeps an uplink from being used."""
        return self.holding.held(entry.name, entry.held)

    def try_again(self, name: str) -> None:
        """Try an uplink that was given up, if it is preferred to the one in use."""
        self.carry(self.engine.try_again(name, self.now()))

    def look_again(self) -> None:
        """Hear that an uplink is held now, or let go, or costs another price."""
        self._tell()

    def _uplink(self, entry: UplinkEntry, link: LinkState) -> Uplink:
        care = self.care
        return Uplink(
            name=entry.name,
            interface=link.index,
            priority=entry.priority if care is None else care.priority(entry),
            addresses6=link.addresses6,
            addresses4=link.addresses4,
            gateway6=link.default6 is not None,
            gateway4=link.default4 is not None,
            at_home=self._is_home(link),
            held=self.held(entry) or (care is not None and care.holds(entry.name)),
            link_layer=link.link_layer,
            ends=link.ends,
        )

    def _is_home(self, link: LinkState) -> bool:
        """Tell whether the home prefix is on-link there, and the home address may be used."""
        config = self.engine.config
        home = config.home_address
        prefix = self.section.engine.home_prefix
        if not link.carrier or home.is_unspecified or prefix not in link.on_link:
            return False
        self.arrival.home_address, self.arrival.home_agent = home, config.home_agent6
        if self._routing.holds_home_address(link.index):
            return True
        interface = Interface(link.index, link.name, link.link_layer)
        return self.arrival.ready(interface, self._engine_bound())

    def _engine_bound(self) -> bool:
        return self.engine.may_be_bound(self.now())

    def _agent_found(self, index: int, link_layer: bytes) -> None:
        self._routing.know_neighbour(index, self.engine.config.home_agent6, link_layer)

    def _agent_holds_binding(self) -> None:
        self.engine.suppose_bound(self.now())

    def _use_link_local(self) -> None:
        config = self.section.engine
        self._routing.use_link_local(link_local(config.home_address) if config.link_local else None)

    def _solicit(self, link: LinkState, again: tuple[float, ...]) -> None:
        current = next(
            (other for other in self._monitor.snapshot() if other.name == link.name), link
        )
        if not current.carrier or current.default6 is not None:
            return
        self._solicit_once(current)
        if again:
            self._later(again[0], lambda: self._solicit(link, again[1:]))

    def _solicit_on(self, index: int) -> None:
        """Ask all routers of a link to tell that they are there."""
        for delay in _ASK_ROUTERS:
            self._later(delay, lambda: self._solicit_once(self._link(index)))

    def _solicit_once(self, link: LinkState | None) -> None:
        if link is None or not link.carrier:
            return
        interface = Interface(link.index, link.name, link.link_layer)
        try:
            self._kernel.neighbours.solicit_router(interface)
        except OSError as error:
            log.debug("router solicitation on %s: %s", link.name, error.strerror)

    def _link(self, index: int) -> LinkState | None:
        return next((link for link in self._links if link.index == index), None)

    def use_logins(self, ways: tuple[LoginWay, ...]) -> None:
        """Let hosts of the mobile network log in at portals."""
        self._routing.use_logins(ways)
        self._login6 = any(way.address.version == 6 for way in ways)
        self._follow()

    # --- effects

    def carry(self, effects: Iterable[Effect]) -> None:
        effects = list(effects)
        super().carry(effects)
        if any(isinstance(one, Count) and one.name in _NO_ANSWER for one in effects):
            self.access.suspect()
        self._follow()
        self.observer()
        self.followed()
        if self.care is not None:
            self.care.look()

    def carry_one(self, effect: Effect) -> None:
        match effect:
            case SendMessage() if self._signer is not None:
                super().carry_one(self._signer.sign(effect, time.time()))
            case PutBinding():
                super().carry_one(effect)
                if effect.binding.home_address4 != self._home_address4:
                    self._use_home_address4(effect)
            case Attach():
                self._attach(effect)
            case Announce():
                self._announce(effect.interface, _ANNOUNCE_AGAIN)
            case UseHomeAgent():
                self.agent_changes(effect)
                if self._others is not None:
                    self._others.home_agent_changed(effect)
            case SolicitPrefixes():
                if self._others is not None:
                    self._others.solicit()
            case FindHomeAgents():
                self.find_agents()
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
        for link in self._links:
            if link.index:
                there = effect.home and link.index == effect.interface
                self._sysctls.be_router(link.name, there and not effect.silent)
        self._routing.attach(effect.interface if effect.home else 0, effect.silent)

    def _announce(
        self, index: int, again: tuple[float, ...], chosen: tuple[Address, ...] = ()
    ) -> None:
        """Tell the home link where the home addresses are (RFC 6275 section 11.5.5)."""
        link = self._link(index)
        attached = self._attached
        if link is None or attached is None:
            return
        if (attached.home, attached.interface) != (True, index):
            return
        interface = Interface(index, link.name, link.link_layer)
        addresses = list(chosen)
        if not chosen:
            config = self.section.engine
            both = (config.home_address, self._home_address4)
            addresses = [one for one in both if one is not None]
            if config.link_local:
                addresses.append(link_local(config.home_address))
        for address in addresses:
            if attached.silent and address.version == 6:
                continue
            try:
                self._kernel.neighbours.advertise(interface, address, router=True)
            except OSError as error:
                log.debug("announcing %s on %s: %s", address, link.name, error.strerror)
        if again:
            self._later(again[0], lambda: self._announce(index, again[1:], chosen))

    def _home_addresses(self) -> list[Address]:
        first = self.section.engine.home_address
        both: list[Address | None] = [first, self._home_address4, *self._other_addresses]
        return [one for one in both if one is not None and not one.is_unspecified]

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        now = self._loop.time()
        self._again = [handle for handle in self._again if handle.when() > now]
        self._again.append(self._loop.call_later(delay, action))


def _nobody() -> None:
    """Nobody is interested."""
