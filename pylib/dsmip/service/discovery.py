# SPDX-License-Identifier: GPL-2.0-only
"""Discovery at work: its engines, their socket, their timers."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Any, Final, Protocol

from ..linux.advertising_socket import AdvertisingSocket
from ..linux.icmp6_socket import Icmp6Socket
from ..linux.ip6_socket import Received
from ..mobility.agents_list import ListedAgent
from ..mobility.discovery import (
    AgentDiscovery,
    AgentFinder,
    DiscoveryConfig,
    DiscoveryEffect,
    HomeAgentsFound,
    IcmpReceived,
    SendIcmp,
)
from ..mobility.effects import Count, Note, UseHomeAgent
from ..mobility.prefix_discovery import PrefixAdvertiser, PrefixConfig
from ..mobility.registration import RateLimit
from ..packet.icmp6 import (
    HomeAgentDiscoveryReply,
    HomeAgentDiscoveryRequest,
    MobilePrefixSolicitation,
    RouterAdvertisement,
    build,
)
from .advertise import HomeAdvertising
from .agent import HomeAgentRole
from .alarm import Alarm
from .config import HomeAgentSection
from .router import MobileRouterRole

log = logging.getLogger(__name__)

_NEIGHBOUR_ADVERTISEMENT: Final = 136
#: What the socket of each role hears.
AGENT_TYPES: Final = (
    RouterAdvertisement.TYPE,
    HomeAgentDiscoveryRequest.TYPE,
    MobilePrefixSolicitation.TYPE,
)
ROUTER_TYPES: Final = (
    RouterAdvertisement.TYPE,
    _NEIGHBOUR_ADVERTISEMENT,
    HomeAgentDiscoveryReply.TYPE,
)
_LEVELS: Final = logging.getLevelNamesMapping()
_NOTES_BURST, _NOTES_RATE = 50.0, 5.0


class IcmpWire(Protocol):
    """The part of ``linux.icmp6_socket.Icmp6Socket`` that is used here."""

    def fileno(self) -> int: ...
    def receive(self) -> Iterable[Received]: ...
    def send(
        self,
        data: bytes,
        source: IPv6Address,
        destination: IPv6Address,
        care_of: Any = None,
        interface: int = 0,
    ) -> None: ...
    def use_anycast(self, wanted: Iterable[tuple[IPv6Address, int]]) -> None: ...


class Service(ABC):
    """What both sides have in common: carrying out effects, and one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: IcmpWire) -> None:
        self._loop = loop
        self._wire = wire
        self._alarm = Alarm(loop, self.expired)
        self._notes = RateLimit(_NOTES_BURST, _NOTES_RATE)
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Listen."""
        self._loop.add_reader(self._wire.fileno(), self.read)

    def stop(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._wire.fileno())
        self._alarm.stop()

    def read(self) -> None:
        """Take in what waits in the socket."""
        for packet in self._wire.receive():
            self.take(packet)

    @abstractmethod
    def take(self, packet: Received) -> None:
        """Take in one message."""

    def carry(self, effects: Iterable[DiscoveryEffect]) -> None:
        """Carry out effects in order, then see when time is to be told."""
        for effect in effects:
            self.carry_one(effect)
        self.arm()

    def carry_one(self, effect: DiscoveryEffect) -> None:
        """Carry out one effect."""
        match effect:
            case SendIcmp():
                self._send(effect)
            case Count():
                self.counters[effect.name] += 1
            case Note():
                if self._notes.take(self._loop.time()):
                    log.log(_LEVELS.get(effect.level.upper(), logging.INFO), "%s", effect.text)

    def next_timer(self) -> float | None:
        """Return when ``handle_timer`` wants to be called."""
        return None

    def handle_timer(self, now: float) -> list[DiscoveryEffect]:
        """Do what time asks for."""
        return []

    def arm(self) -> None:
        """Ask for the next call."""
        self._alarm.set(self.next_timer())

    def expired(self, now: float) -> None:
        """Take note of the time that was asked for."""
        self.carry(self.handle_timer(now))

    def _send(self, effect: SendIcmp) -> None:
        name = type(effect.message).__name__
        try:
            self._wire.send(
                build(effect.message),
                effect.source,
                effect.destination,
                effect.care_of,
                effect.interface,
            )
        except OSError as error:
            self.counters[f"failed_{name}"] += 1
            log.warning("%s to %s not sent: %s", name, effect.destination, error.strerror)
        else:
            self.counters[f"sent_{name}"] += 1


def icmp_received(packet: Received, protected: bool = False) -> IcmpReceived:
    return IcmpReceived(
        packet.data,
        packet.source,
        packet.destination,
        packet.interface,
        packet.hop_limit,
        packet.care_of,
        protected,
    )


class AgentDiscoveryService(Service):
    """A home agent's side.

    Anycast addresses need an interface: ``device`` has those of a virtual home link.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: IcmpWire,
        role: HomeAgentRole,
        device: int,
    ) -> None:
        super().__init__(loop, wire)
        self._link, self._device = role.link, device
        self._role = role
        self._engine = AgentDiscovery(self._config(role.section))
        self._prefixes = PrefixAdvertiser(_prefix_config(role.section), role.engine.entries)
        role.reconfigured = self.reconfigure
        #: Called with a new configuration.
        self.follow: Callable[[HomeAgentSection], None] = lambda section: None

    def start(self) -> None:
        self._join()
        super().start()

    def reconfigure(self, section: HomeAgentSection) -> None:
        """Apply a new configuration."""
        self._engine.reconfigure(self._config(section))
        self._join()
        self.carry(self._prefixes.reconfigure(_prefix_config(section), self._loop.time()))
        self.follow(section)

    def take(self, packet: Received) -> None:
        now = self._loop.time()
        if packet.data[:1] == bytes((MobilePrefixSolicitation.TYPE,)):
            protected = self._role.prefixes_protected(packet.source, packet.destination)
            self.carry(self._prefixes.receive(icmp_received(packet, protected), now))
        else:
            self.carry(self._engine.receive(icmp_received(packet), now))

    def next_timer(self) -> float | None:
        return self._prefixes.next_timer()

    def handle_timer(self, now: float) -> list[DiscoveryEffect]:
        return self._prefixes.handle_timer(now)

    def agents(self) -> list[dict[str, Any]]:
        """Return the home agents list as plain values."""
        now = self._loop.time()
        return [_agent_document(agent, now) for agent in self._engine.agents(now)]

    def _config(self, section: HomeAgentSection) -> DiscoveryConfig:
        engine = section.engine
        return DiscoveryConfig(
            engine.addresses6,
            engine.prefixes,
            section.preference,
            any(owner.mobile_router for owner in engine.owners),
            self._link,
            section.discovery,
        )

    def _join(self) -> None:
        interface = self._link or self._device
        try:
            self._wire.use_anycast([(address, interface) for address in self._engine.anycast()])
        except OSError as error:
            log.warning("requests for home agents are not heard: %s", error.strerror)


def _prefix_config(section: HomeAgentSection) -> PrefixConfig:
    least, most = section.prefix_delays
    return PrefixConfig(section.engine.lives, float(least), float(most), section.discovery)


def _agent_document(agent: ListedAgent, now: float) -> dict[str, Any]:
    own = agent.expires is None
    return {
        "addresses": [str(address) for address in agent.addresses],
        "preference": agent.preference,
        "mobile_routers": agent.mobile_router,
        "link_local": "" if own else str(agent.link_local),
        "remaining": None if agent.expires is None else round(max(agent.expires - now, 0.0), 1),
        "this": own,
    }


class RouterDiscoveryService(Service):
    """A mobile router's side; also hears what arrives when it comes home."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wire: IcmpWire, role: MobileRouterRole
    ) -> None:
        super().__init__(loop, wire)
        self._role = role
        config = role.section.engine
        self._finder = AgentFinder(config.home_prefix, config.mobile_router)
        self._wanted = False
        role.find_agents = self.find

    def find(self) -> None:
        """Look for home agents from the care-of address in use, now or when there is one."""
        self._wanted = True
        config = self._role.section.engine
        self._finder.prefix = config.home_prefix
        self._finder.mobile_router = config.mobile_router
        care_of = self._role.care_of6()
        if care_of is None:
            log.info("home agents can be looked for in IPv6 networks only")
            return
        self.carry(self._finder.start(*care_of, self._loop.time()))

    def take(self, packet: Received) -> None:
        kind = packet.data[0] if packet.data else 0
        if kind == HomeAgentDiscoveryReply.TYPE:
            self.carry(self._finder.receive(icmp_received(packet), self._loop.time()))
        elif packet.hop_limit != 255:
            self.counters["nd_invalid"] += 1
        elif kind == RouterAdvertisement.TYPE and packet.source.is_link_local:
            self._role.arrival.router_advertised(packet.interface, packet.data)
            self._role.access.advertised(packet.interface, packet.source, packet.data)
        elif kind == _NEIGHBOUR_ADVERTISEMENT:
            self._role.arrival.neighbour_advertised(packet.interface, packet.data)

    def carry_one(self, effect: DiscoveryEffect) -> None:
        if isinstance(effect, HomeAgentsFound):
            self._wanted = False
            self._role.agents_found(effect.addresses)
        else:
            super().carry_one(effect)

    def next_timer(self) -> float | None:
        return self._finder.next_timer()

    def handle_timer(self, now: float) -> list[DiscoveryEffect]:
        return self._finder.handle_timer(now)


class Discovering:
    """Discovery of a daemon's roles; ``changes`` prepares for another home agent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        agent: HomeAgentRole | None,
        router: MobileRouterRole | None,
        device: int,
        changes: Callable[[UseHomeAgent], None],
    ) -> None:
        self.agent: AgentDiscoveryService | None = None
        self.advertising: HomeAdvertising | None = None
        self.router: RouterDiscoveryService | None = None
        if agent is not None:
            self.agent = AgentDiscoveryService(loop, Icmp6Socket(AGENT_TYPES), agent, device)
            self.agent.start()
            if agent.home_link is not None:
                self.advertising = HomeAdvertising(
                    AdvertisingSocket(), loop, agent.home_link, agent.section
                )
                self.advertising.start()
                self.agent.follow = self.advertising.use
        if router is not None:
            router.agent_changes = changes
            self.router = RouterDiscoveryService(loop, Icmp6Socket(ROUTER_TYPES), router)
            self.router.start()

    def stop(self) -> None:
        """End it."""
        for service in (self.agent, self.router, self.advertising):
            if service is not None:
                service.stop()
