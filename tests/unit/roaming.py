# SPDX-License-Identifier: GPL-2.0-only
"""A home agent and a mobile router wired by function calls, with a clock of their own."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from dsmip.mobility.config import HomeAgentConfig, MobileRouterConfig
from dsmip.mobility.effects import (
    DropBinding,
    DropPath,
    Effect,
    KernelBinding,
    Path,
    PutBinding,
    PutPath,
    Received,
    SendMessage,
    Uplink,
)
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.multihomed import make_router
from dsmip.mobility.ownership import Owner
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.mobility import Message, build

HA6, HA4 = IPv6Address("2001:db8:1::1"), IPv4Address("198.51.100.1")
HOA, HOA4 = IPv6Address("2001:db8:1::100"), IPv4Address("198.51.100.100")
HOME = IPv6Network("2001:db8:1::/64")
NET6, NET4 = IPv6Network("2001:db8:100::/56"), IPv4Network("203.0.113.0/28")
COA6, COA6B = IPv6Address("2001:db8:a6::5"), IPv6Address("2001:db8:a7::5")
COA4, INSIDE4 = IPv4Address("198.18.4.9"), IPv4Address("10.0.5.2")
NAT4 = IPv4Address("198.18.5.2")

BUS = Owner("bus-17", HOA, HOA4, (NET6, NET4))
TRAM = Owner("tram-3", IPv6Address("2001:db8:1::200"), None, (IPv6Network("2001:db8:200::/56"),))

HA_CONFIG = HomeAgentConfig(
    addresses6=(HA6,),
    address4=HA4,
    prefixes=(HOME,),
    prefixes4=(IPv4Network("198.51.100.0/24"),),
    owners=(BUS, TRAM),
)
MR_CONFIG = MobileRouterConfig(
    home_address=HOA,
    home_prefix=HOME,
    home_agent6=HA6,
    home_agent4=HA4,
    identity="bus-17",
    home_address4=HOA4,
    prefixes=(NET6, NET4),
)


def uplink6(name: str = "wan0", interface: int = 2, address: IPv6Address = COA6, **more: object):  # type: ignore[no-untyped-def]
    """Return an IPv6 uplink."""
    values: dict[str, object] = {"priority": 10, "addresses6": (address,), "gateway6": True} | more
    return Uplink(name, interface, **values)  # type: ignore[arg-type]


def uplink4(name: str = "wan1", interface: int = 3, address: IPv4Address = COA4, **more: object):  # type: ignore[no-untyped-def]
    """Return an IPv4 uplink; a private address stands behind the NAT of the wire."""
    values: dict[str, object] = {"priority": 20, "addresses4": (address,), "gateway4": True} | more
    return Uplink(name, interface, **values)  # type: ignore[arg-type]


class FakeKernel:
    """What PutBinding and its like would leave in the kernel."""

    def __init__(self) -> None:
        self.bindings: dict[IPv6Address, KernelBinding] = {}

    def apply(self, effect: Effect) -> None:
        if isinstance(effect, PutBinding):
            self.bindings[effect.binding.home_address] = effect.binding
        elif isinstance(effect, DropBinding):
            self.bindings.pop(effect.home_address, None)
        elif isinstance(effect, PutPath):
            binding = self.bindings[effect.home_address]
            others = tuple(p for p in binding.paths if p.bid != effect.path.bid)
            self.bindings[effect.home_address] = replace(binding, paths=(*others, effect.path))
        elif isinstance(effect, DropPath):
            binding = self.bindings[effect.home_address]
            left = tuple(p for p in binding.paths if p.bid != effect.bid)
            assert len(left) == len(binding.paths) - 1, "a path is dropped that is not there"
            self.bindings[effect.home_address] = replace(binding, paths=left)

    def active(self, home: IPv6Address = HOA) -> Path | None:
        paths = self.bindings[home].paths if home in self.bindings else ()
        return min(
            (p for p in paths if not p.down), key=lambda p: (p.priority, p.bid), default=None
        )


class Timed(Protocol):
    """What all engines have."""

    def next_timer(self) -> float | None: ...
    def handle_timer(self, now: float) -> list[Effect]: ...


class Passing(Protocol):
    """A world with a clock, and messages on their way."""

    now: float
    queue: list[tuple[float, int, Callable[[], None]]]

    def carry(self, who: str, effects: list[Effect]) -> None: ...


def pass_time(world: Passing, engines: Mapping[str, Timed], seconds: float) -> None:
    """Let timers ring and messages arrive, in order."""
    end = world.now + seconds
    for _ in range(200_000):
        timers = [(engine.next_timer(), who) for who, engine in engines.items()]
        due = [(at, who) for at, who in timers if at is not None]
        if world.queue:
            due.append((world.queue[0][0], "wire"))
        if not due or min(due)[0] > end:
            world.now = end
            return
        at, who = min(due)
        world.now = max(at, world.now)
        if who == "wire":
            heapq.heappop(world.queue)[2]()
        else:
            world.carry(who, engines[who].handle_timer(world.now))
    raise AssertionError("time does not pass")


@dataclass
class World:
    """Both engines, their kernels, and a wire that can lose, delay and repeat."""

    ha_config: HomeAgentConfig = HA_CONFIG
    mr_config: MobileRouterConfig = MR_CONFIG
    seed: int = 1
    loss: float = 0.0
    duplicate: float = 0.0
    jitter: float = 0.0
    delay: float = 0.01
    now: float = 1000.0
    nat_port: int = 40000
    effects: list[tuple[str, Effect]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.order = itertools.count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.kernel = {"ha": FakeKernel(), "mr": FakeKernel()}
        self.uplinks: tuple[Uplink, ...] = ()
        #: Interfaces behind which nothing gets through, although they have carrier.
        self.dead: set[int] = set()
        self.ha = HomeAgent(self.ha_config, self.now)
        self.mr = make_router(self.mr_config, self.now, sequence=7)
        self.carry("ha", self.ha.start(self.now))
        self.carry("mr", self.mr.start(self.now))

    # --- what happens ------------------------------------------------------------

    def plug(self, *uplinks: Uplink) -> None:
        """Make these the router's access networks."""
        self.uplinks = uplinks
        self.carry("mr", self.mr.uplinks_changed(uplinks, self.now))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        pass_time(self, {"ha": self.ha, "mr": self.mr}, seconds)

    def carry(self, who: str, effects: list[Effect]) -> None:
        """Carry effects out in order."""
        for effect in effects:
            self.effects.append((who, effect))
            self.kernel[who].apply(effect)
            if isinstance(effect, SendMessage):
                self._send(who, effect)

    def restart(self, who: str) -> None:
        """Kill a daemon and start another on what its kernel holds."""
        held = tuple(
            replace(b, lifetime=max(b.lifetime, 1)) for b in self.kernel[who].bindings.values()
        )
        if who == "ha":
            self.ha = HomeAgent(self.ha_config, self.now, held)
            self.carry("ha", self.ha.start(self.now))
        else:
            self.mr = make_router(self.mr_config, self.now, held)
            self.carry("mr", self.mr.start(self.now))
            self.carry("mr", self.mr.uplinks_changed(self.uplinks, self.now))

    # --- what can be asked -------------------------------------------------------

    def sent(self, who: str, kind: type[Message]) -> list[SendMessage]:
        """Return the messages of a kind that one of them sent."""
        return [
            e
            for by, e in self.effects
            if by == who and isinstance(e, SendMessage) and isinstance(e.message, kind)
        ]

    def of(self, who: str, kind: type) -> list:  # type: ignore[type-arg]
        """Return all effects of a class."""
        return [e for by, e in self.effects if by == who and isinstance(e, kind)]

    def to_ha(self, message: Message, care_of: CareOf | None, **more: object) -> list[Effect]:
        """Give the home agent a message; return what it does, carried out."""
        values: dict[str, object] = {
            "data": build(message, HOA, HA6),
            "source": HOA,
            "destination": HA6,
            "care_of": care_of,
            "interface": 1,
            "protected": True,
        }
        received = Received(**(values | more))  # type: ignore[arg-type]
        before = len(self.effects)
        self.carry("ha", self.ha.receive(received, self.now))
        return [effect for _, effect in self.effects[before:]]

    # --- the wire ------------------------------------------------------------------

    def _send(self, who: str, effect: SendMessage) -> None:
        if self.random.random() < self.loss:
            return
        copies = 2 if self.random.random() < self.duplicate else 1
        for _ in range(copies):
            at = self.now + self.delay + self.random.random() * self.jitter
            deliver = self._to_router(effect) if who == "ha" else self._to_agent(effect)
            if deliver is not None:
                heapq.heappush(self.queue, (at, next(self.order), deliver))

    def outer(self, care_of: CareOf) -> CareOf:
        """Return how the home agent sees a care-of address."""
        if care_of.kind is WireKind.UDP4:
            if care_of.address.is_private and care_of.address in IPv4Network("10.0.0.0/8"):
                return CareOf(NAT4, WireKind.UDP4, self.nat_port)
            return CareOf(care_of.address, WireKind.UDP4, 4191)
        return CareOf(care_of.address)

    def _to_agent(self, effect: SendMessage) -> Callable[[], None] | None:
        care_of = effect.care_of
        if care_of is not None:
            there = [
                a
                for u in self.uplinks
                if u.interface == care_of.interface
                for a in (*u.addresses6, *u.addresses4)
            ]
            if care_of.address not in there or care_of.interface in self.dead:
                return None
        received = Received(
            build(effect.message, effect.source, effect.destination),
            effect.source,
            effect.destination,
            self.outer(care_of) if care_of else None,
            1,
            True,
        )
        return lambda: self.carry("ha", self.ha.receive(received, self.now))

    def _to_router(self, effect: SendMessage) -> Callable[[], None] | None:
        if effect.destination != HOA and effect.care_of is None:
            return None
        received = Received(
            build(effect.message, effect.source, effect.destination),
            effect.source,
            HOA,
            None,
            2,
            True,
        )

        def deliver() -> None:
            if effect.care_of is None or self._reaches(effect.care_of):
                self.carry("mr", self.mr.receive(received, self.now))

        return deliver

    def _reaches(self, care_of: CareOf) -> bool:
        for uplink in self.uplinks:
            if uplink.interface in self.dead:
                continue
            for address in (*uplink.addresses6, *uplink.addresses4):
                kind = WireKind.IP6 if address.version == 6 else WireKind.UDP4
                seen = self.outer(CareOf(ip_address(str(address)), kind))
                if (seen.address, seen.port) == (care_of.address, care_of.port):
                    return True
        return False
