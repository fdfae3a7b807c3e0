# SPDX-License-Identifier: GPL-2.0-only
"""A world with two home agents on one home link, and what to ask of it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from dsmip.mobility.config import AgentAddress
from dsmip.mobility.effects import (
    Count,
    Effect,
    Received,
    SendMessage,
)
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.mobile_router import State
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import (
    BindingRevocationAcknowledgement,
    BindingRevocationIndication,
    Message,
    build,
)
from dsmip.packet.status import RevocationTrigger

from tests.unit.roaming import (
    HA6,
    HOA,
    MR_CONFIG,
    FakeKernel,
    World,
    uplink6,
)

HA2, HA2_4 = IPv6Address("2001:db8:1::2"), IPv4Address("198.51.100.2")
HA3 = IPv6Address("2001:db8:1::3")
ADMINISTRATIVE = RevocationTrigger.ADMINISTRATIVE


class Agents(World):
    """A world with a second home agent on the home link."""

    def __post_init__(self) -> None:
        self.ha2 = HomeAgent(replace(self.ha_config, addresses6=(HA2,), address4=HA2_4), self.now)
        super().__post_init__()
        self.kernel["ha2"] = FakeKernel()
        self.carry("ha2", self.ha2.start(self.now))
        self.second_is_up = True

    def _to_agent(self, effect: SendMessage) -> Callable[[], None] | None:
        deliver = super()._to_agent(effect)
        if deliver is None or effect.destination == HA6:
            return deliver
        if effect.destination != HA2 or not self.second_is_up:
            return None
        care_of = self.outer(effect.care_of) if effect.care_of else None
        data = build(effect.message, effect.source, HA2)
        received = Received(data, effect.source, HA2, care_of, 1, True)
        return lambda: self.carry("ha2", self.ha2.receive(received, self.now))

    def _send(self, who: str, effect: SendMessage) -> None:
        if who != "ha2":
            super()._send(who, effect)
            return
        deliver = self._to_router(effect)
        if deliver is not None:
            heapq.heappush(self.queue, (self.now + self.delay, next(self.order), deliver))


def registered(world: World | None = None, *uplinks: object) -> World:
    """Return a world in which the router is registered."""
    world = world or World()
    world.plug(*(uplinks or (uplink6(),)))  # type: ignore[arg-type]
    world.run(2)
    assert world.mr.registration(world.now).state is State.REGISTERED
    return world


def agents(**router: object) -> Agents:
    """Return two home agents, the second one known to the router."""
    values = {"agents": (AgentAddress(HA2, HA2_4),)} | router
    config = replace(MR_CONFIG, **values)  # type: ignore[arg-type]
    return Agents(mr_config=config)


def to_router(
    world: World, message: Message, source: IPv6Address = HA6, protected: bool = True
) -> list[Effect]:
    """Give the router a message; return what it does, carried out."""
    received = Received(build(message, source, HOA), source, HOA, CareOf(HA6), 2, protected)
    before = len(world.effects)
    world.carry("mr", world.mr.receive(received, world.now))
    return [effect for _, effect in world.effects[before:]]


def answers(effects: list[Effect]) -> list[int]:
    """Return the statuses of the revocation acknowledgements among the effects."""
    return [
        e.message.status
        for e in effects
        if isinstance(e, SendMessage) and isinstance(e.message, BindingRevocationAcknowledgement)
    ]


def counts(effects: list[Effect]) -> list[str]:
    """Return the names of the counters among the effects."""
    return [e.name for e in effects if isinstance(e, Count)]


def bound(world: World, who: str = "ha") -> bool:
    """Tell whether a home agent has the router's binding, in its engine and its kernel."""
    engine = world.ha if who == "ha" else world.ha2  # type: ignore[attr-defined]
    there = any(v.home_address == HOA for v in engine.bindings(world.now))
    assert there is (HOA in world.kernel[who].bindings)
    return there


def revoke(
    world: World, trigger: RevocationTrigger = ADMINISTRATIVE, ipv4_only: bool = False
) -> None:
    """Have the home agent revoke the router's binding."""
    entry = world.ha.orders.find("bus-17")
    world.carry("ha", world.ha.orders.revoke(entry, trigger, world.now, ipv4_only))


def switch(world: World, *addresses: IPv6Address, remaining: float = 0) -> None:
    """Have the home agent send the router elsewhere."""
    entry = world.ha.orders.find(str(HOA))
    world.carry("ha", world.ha.orders.switch(entry, addresses, remaining, world.now))


def indication(sequence: int = 1, trigger: int = 1, **flags: object) -> Message:
    return BindingRevocationIndication(trigger, sequence, **flags)  # type: ignore[arg-type]
