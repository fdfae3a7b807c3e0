# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's role: its engine, its routes, its home link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, Final, Protocol

from ..linux.dsmip import BindingState
from ..linux.mobility_socket import Datagram
from ..linux.neighbours import Interface
from ..mobility.authentication import AuthenticatingHomeAgent
from ..mobility.config import HomePrefix
from ..mobility.effects import (
    AtHome,
    DetectDuplicate,
    DropBinding,
    Effect,
    Proxy,
    PutBinding,
    UpdateName,
)
from ..mobility.home_agent import BindingView
from ..mobility.ownership import Owner
from ..packet.kernel import Address
from ..packet.status import RevocationTrigger
from .agent_names import AgentNames
from .audit import Audit
from .config import HomeAgentSection
from .delegating import Delegating
from .history import History
from .learned import LearnedRoutes, Monitor
from .leases import LeaseFile
from .moves import Moves
from .network_proxy import NetworkProxy
from .prefix_config import begun
from .prefix_leases import PrefixLeaseFile
from .roles import Kernel, Role
from .round_trips import RoundTrips
from .routing import AgentRouting

log = logging.getLogger(__name__)

#: RFC 4862 section 5.4: one solicitation, RetransTimer of a second to answer it.
_DETECTION_TIME: Final = 1.0
#: RFC 4861 section 10: MAX_NEIGHBOR_ADVERTISEMENT and RETRANS_TIMER.
_ADVERTISEMENTS: Final = 3
_ADVERTISEMENT_INTERVAL: Final = 1.0


#: Routes to prefixes at home are put together, since all owners are looked at.
_SERVE_AFTER: Final = 0.1


class ProxyControl(Protocol):
    """The part of ``linux.rtnl.Rtnl`` that defends home addresses."""

    def proxies(self, interface: int) -> set[Address]: ...
    def put_proxy(self, interface: int, address: Address, router: bool) -> None: ...
    def remove_proxy(self, interface: int, address: Address) -> None: ...
    def forget_neighbour(self, interface: int, address: Address) -> None: ...
    def put_neighbour(
        self, interface: int, address: Address, link_layer: bytes, permanent: bool = False
    ) -> None: ...


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
        leases: LeaseFile | None = None,
        delegated: PrefixLeaseFile | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        section = self._begun(section, (), loop.time())
        self._leases = leases
        self._adopted = [
            state.binding for state in adopted if not (state.binding.mobile or state.binding.direct)
        ]
        given = {} if leases is None else leases.read()
        self.engine = AuthenticatingHomeAgent(section.engine, loop.time(), self._adopted, given)
        super().__init__(self.engine, kernel, loop, history)
        self.names = AgentNames(section.dns_update, loop, self._named)
        self.audit = Audit(self._identity)
        self.moves = Moves(kernel.device.binding)
        self.round_trips = RoundTrips(loop, section.engine.addresses6)
        self.section = section
        self._routing = routing
        self._proxies = proxies
        self._home_link = home_link
        self._detections: dict[IPv6Address, asyncio.TimerHandle] = {}
        self._announcements: dict[Address, asyncio.TimerHandle] = {}
        self._defended: set[Address] = set()
        self._networks: NetworkProxy | None = None
        if home_link is not None:
            self._networks = NetworkProxy(loop, home_link, proxies)
        #: Called with a new configuration after it was applied.
        self.reconfigured: Callable[[HomeAgentSection], None] = lambda section: None
        self.prefixes_changed: Callable[[], None] = lambda: None
        self._serving: asyncio.TimerHandle | None = None
        self.delegating = Delegating(
            self.engine,
            section,
            kernel.device.interface,
            home_link,
            loop,
            self.counters,
            self._delegated,
            delegated,
        )
        self._learned = (
            None if monitor is None else LearnedRoutes(monitor, self.engine, loop, self._delegated)
        )

    def start(self) -> None:
        """Take over the kernel's bindings with their routes and proxies."""
        for binding in self._adopted:
            self.audit.adopt(binding)
            self.moves.adopt(binding)
            self._routing.bind(binding)
        self._adopted = []
        stale = self._proxies.proxies(self._home_link.index) if self._home_link else set()
        if self._learned is not None:
            self._learned.start()
        super().start()
        self.delegating.start()
        self._serve_at_home()
        self._routing.forget_orphans()
        homes = {owner.home_address for owner in self.engine.ownership}
        homes4 = {owner.home_address4 for owner in self.engine.ownership}
        for address in stale - self._defended:
            if self._home_link and (address in homes or address in homes4):
                self._proxies.remove_proxy(self._home_link.index, address)

    def concerns(self, datagram: Datagram) -> bool:
        return datagram.destination in self.section.engine.addresses6

    def protected(self, datagram: Datagram) -> bool:
        return self._kernel.keys.protects(datagram.source, datagram.destination)

    def reconfigure(self, section: HomeAgentSection) -> None:
        """Apply a new configuration to what it changes."""
        section = self._begun(section, self.section.engine.lives, self.now())
        self.section = section
        self.names.use(section.dns_update)
        self.carry(self.engine.reconfigure(section.engine, self.now()))
        self.delegating.reconfigure(section)
        self._serve_at_home()
        self.reconfigured(section)

    @property
    def home_link(self) -> Interface | None:
        """Return the home link, None for a virtual one."""
        return self._home_link

    @property
    def link(self) -> int:
        """Return the interface index of the home link, 0 for a virtual one."""
        return self._home_link.index if self._home_link else 0

    def prefixes_protected(self, home_address: IPv6Address, agent: IPv6Address) -> bool:
        """Whether a Mobile Prefix Solicitation can only have come under IPsec."""
        return self._kernel.keys.protects_prefixes(home_address, agent)

    def revoke(
        self, who: str, trigger: RevocationTrigger, ipv4_only: bool, bids: tuple[int, ...]
    ) -> str:
        """Revoke a binding or a part of it; return whose. Raises ``BadOrder``."""
        orders = self.engine.orders
        entry = orders.find(who)
        self.carry(orders.revoke(entry, trigger, self.now(), ipv4_only, bids))
        return entry.owner.identity

    def switch(self, who: str, addresses: tuple[IPv6Address, ...], stay: float) -> str:
        """Send a router to other home agents; return whose name it has. Raises ``BadOrder``."""
        orders = self.engine.orders
        entry = orders.find(who)
        self.carry(orders.switch(entry, addresses, stay, self.now()))
        return entry.owner.identity

    @staticmethod
    def _begun(
        section: HomeAgentSection, before: tuple[HomePrefix, ...], now: float
    ) -> HomeAgentSection:
        lives = begun(section.engine.lives, before, now)
        return replace(section, engine=replace(section.engine, lives=lives))

    def give(self, identity: str, wanted: IPv6Address | None) -> Owner:
        """Return an authenticated identity with its home address. Raises ``NotOwned``."""
        owner = self.engine.ownership.home_address(identity, wanted)
        if owner.dynamic_home_address and self._leases is not None:
            self._leases.write(self.engine.ownership.leases())
            self._serve_at_home()
        return owner

    def home_prefix(self, home_address: IPv6Address) -> IPv6Network | None:
        """Return the home prefix that an address is in."""
        prefixes = self.section.engine.prefixes
        return next((prefix for prefix in prefixes if home_address in prefix), None)

    def name_servers(self) -> tuple[IPv6Address, ...]:
        """Return the recursive name servers that routers are told of."""
        return self.section.dns

    def _delegated(self, identity: str) -> None:
        """Bind the prefixes that an identity has now."""
        # What shall not pass in clear has its policies first.
        self.prefixes_changed()
        self.carry(self.engine.prefixes_changed(identity, self.now()))
        if self._home_link is not None and self._serving is None:
            self._serving = self._loop.call_later(_SERVE_AFTER, self._serve_changed)

    def _serve_changed(self) -> None:
        self._serving = None
        self._serve_at_home()

    def stop(self) -> None:
        super().stop()
        self.delegating.stop()
        if self._serving is not None:
            self._serving.cancel()
        if self._learned is not None:
            self._learned.stop()
        self.names.stop()
        self.round_trips.stop()
        if self._networks is not None:
            self._networks.stop()
        for handle in (*self._detections.values(), *self._announcements.values()):
            handle.cancel()

    def clear(self) -> None:
        """Remove all bindings with all that belongs to them."""
        for view in self.bindings():
            self.carry_one(DropBinding(view.home_address))
        for address in list(self._defended):
            self.carry_one(Proxy(address, on=False, router=False))
        if self._networks is not None:
            self._networks.clear()
        self._routing.clear()

    def registered(self) -> list[IPv6Address]:
        """Return the home addresses that have a binding, in their order."""
        return self.engine.registered()

    def bindings(self, wanted: Iterable[IPv6Address] | None = None) -> list[BindingView]:
        """Return the engine's bindings, all or those that are ``wanted``."""
        return self.engine.bindings(self.now(), wanted)

    def observed(self, home_address: IPv6Address) -> dict[str, Any]:
        """Return what was seen of a router, as plain values for its binding's document."""
        return {
            "rtt_ms": self.round_trips.of(home_address),
            "last_move": self.moves.document(home_address),
        }

    def _identity(self, home_address: IPv6Address) -> str:
        owner = self.engine.ownership.find(home_address)
        return "" if owner is None else owner.identity

    # --- effects

    def carry(self, effects: Iterable[Effect]) -> None:
        super().carry(self.names.filter(effects, self.engine.ownership))

    def _named(self, effects: Iterable[Effect]) -> None:
        """Carry out what the names' engine asks for."""
        super().carry(effects)

    def carry_one(self, effect: Effect) -> None:
        match effect:
            case PutBinding():
                self.moves.before(effect.binding)
                super().carry_one(effect)
                self.audit.bound(effect.binding)
                self._routing.bind(effect.binding)
            case DropBinding():
                self.audit.ended(effect.home_address)
                self.moves.ended(effect.home_address)
                self._routing.unbind(effect.home_address)
                super().carry_one(effect)
            case AtHome():
                self._at_home(effect)
            case DetectDuplicate():
                self._detect(effect.address)
            case UpdateName():
                self.names.update(effect)
            case Proxy():
                self._proxy(effect)
            case _:
                super().carry_one(effect)

    def _at_home(self, effect: AtHome) -> None:
        """Send packets to a router on the home link, or into the tunnel as before."""
        self._routing.be_at_home(effect.home_address, effect.on)
        for address in (effect.home_address, effect.home_address4):
            if address is None or self._home_link is None:
                continue
            if effect.on:
                silent = effect.silent and address.version == 6
                self._proxies.put_neighbour(self.link, address, effect.link_layer, silent)
                continue
            self._proxies.forget_neighbour(self.link, address)
            if address in self._defended:
                # Those that were redirected to it learn that it has gone.
                self._announce(address, True, _ADVERTISEMENTS)

    def _serve_at_home(self) -> None:
        if self._networks is not None:
            mine = self.engine.ownership if self.section.neighbour_proxy else ()
            networks = [network for owner in mine for network in owner.prefixes]
            self._networks.serve(networks, self.section.engine)
        table = self.engine.ownership
        self._routing.serve_at_home(
            (owner.home_address, owner.home_address4, table.all_prefixes(owner))
            for owner in (table if self.section.home_routes else ())
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
        if unique or not isinstance(address, IPv6Address):
            return
        # Its router will ask for another one (RFC 5026 section 5.3.2).
        if self.engine.ownership.spoil(address) and self._leases is not None:
            self._leases.write(self.engine.ownership.leases())

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
            # Who has it from now on is to be asked, the answer to an update being the first.
            self._proxies.forget_neighbour(link.index, effect.address)
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
