# SPDX-License-Identifier: GPL-2.0-only
"""A delegating and a requesting router wired by function calls, with a clock of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network

from dsmip.mobility.delegating_router import DelegatingConfig, DelegatingRouter
from dsmip.mobility.delegation import (
    DelegationEffect,
    LeasesChanged,
    Place,
    SendDatagram,
    duid_of,
)
from dsmip.mobility.effects import Count, Note
from dsmip.mobility.ownership import Owner, Ownership
from dsmip.mobility.requesting_router import RequestingConfig, RequestingRouter
from dsmip.packet.dhcpv6 import Message, Relayed, build, parse

from .roaming import HA6, HOA, HOME

POOL = IPv6Network("2001:db8:200::/54")  # four prefixes of 56 bits
AWAY, AT_HOME = Place(HOA), Place(None, 3)
LINK_LOCAL = IPv6Address("fe80::17")
SERVER, CLIENT = duid_of("ha"), duid_of("bus-17")
OWNER = Owner("bus-17", HOA, delegated_prefixes=2)
CONFIG = RequestingConfig(CLIENT, HA6, "bus-17", reserved=(HOME,))


def owners(count: int) -> tuple[Owner, ...]:
    """Return owners that may have two prefixes each; the first is the usual one."""
    others = [
        Owner(f"bus-{number}", HOME.network_address + 0x1000 + number, delegated_prefixes=2)
        for number in range(1, count)
    ]
    return (OWNER, *others)


def unwrapped(data: bytes) -> Message:
    """Return the message of a datagram, out of its relay message if it is in one."""
    found = parse(data)
    if isinstance(found, Relayed):
        found = parse(found.payload)
    assert isinstance(found, Message)
    return found


@dataclass
class Exchange:
    """Both ends; ``tamper`` changes or loses (None) what goes to the router or the agent."""

    table: Ownership = field(
        default_factory=lambda: Ownership(
            owners(6), prefix_pool=(POOL,), delegated_length=56, reserved=(HA6,)
        )
    )
    config: RequestingConfig = CONFIG
    delegating: DelegatingConfig = field(default_factory=lambda: DelegatingConfig(SERVER))
    now: float = 1000.0
    to_router: Callable[[bytes], bytes | None] = lambda data: data
    to_agent: Callable[[bytes], bytes | None] = lambda data: data

    def __post_init__(self) -> None:
        self.agent = DelegatingRouter(self.delegating, lambda: self.table, self.now)
        self.router = RequestingRouter(self.config, seed=1)
        self.place: Place | None = None
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.changes: list[tuple[str, bool]] = []
        self.sent: list[tuple[str, float, Message]] = []

    def attach(self, place: Place | None) -> None:
        """Register the router there."""
        self.place = place
        self.carry("router", self.router.attached(place, self.now))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(10_000):
            timers = [
                (at, who)
                for who, at in (
                    ("agent", self.agent.next_timer()),
                    ("router", self.router.next_timer()),
                )
                if at is not None
            ]
            if not timers or min(timers)[0] > end:
                self.now = end
                return
            at, who = min(timers)
            self.now = max(self.now, at)
            engine = self.agent if who == "agent" else self.router
            self.carry(who, engine.handle_timer(self.now))
        raise AssertionError("time does not pass")

    def carry(self, who: str, effects: list[DelegationEffect]) -> None:
        """Carry effects out in order; an answer comes at once."""
        for effect in effects:
            if isinstance(effect, Count):
                self.counts[f"{who} {effect.name}"] += 1
            elif isinstance(effect, Note):
                self.notes.append(effect.text)
            elif isinstance(effect, LeasesChanged):
                self.changes.append((who, effect.prefixes))
            elif isinstance(effect, SendDatagram):
                self.sent.append((who, self.now, unwrapped(effect.data)))
                if who == "router":
                    data = self.to_agent(effect.data)
                    if data is not None:
                        self.deliver(data)
                else:
                    back = self.to_router(effect.data)
                    if back is not None:
                        assert self.place is not None
                        self.carry("router", self.router.receive(back, HA6, self.place, self.now))

    def deliver(self, data: bytes, place: Place | None = None, **more: IPv6Address) -> None:
        """Give the delegating router a datagram, from the router unless said otherwise."""
        place = place or self.place or AWAY
        source = more.get("source", place.home_address or LINK_LOCAL)
        self.carry("agent", self.agent.receive(data, source, HA6, place, self.now))

    def ask(self, message: Message, home: IPv6Address = HOA) -> Message | None:
        """Give the delegating router a message as a relay would; return its answer."""
        from dsmip.packet.dhcpv6 import MessageType

        relayed = Relayed(MessageType.RELAY_FORWARD, 1, home, home, build(message))
        effects = self.agent.receive(build(relayed), home, HA6, Place(home), self.now)
        for effect in effects:
            if isinstance(effect, Count):
                self.counts[f"agent {effect.name}"] += 1
        found = [e for e in effects if isinstance(e, SendDatagram)]
        return unwrapped(found[0].data) if found else None

    def prefixes(self) -> list[IPv6Network]:
        """Return what the router has."""
        return [lease.prefix for lease in self.router.leases()]

    def kinds(self, who: str) -> list[str]:
        """Return the types of the messages that one of them sent."""
        return [message.type.name for by, _, message in self.sent if by == who]


def in_relay(data: bytes, change: Callable[[Message], Message]) -> bytes:
    """Change the message inside of a relay message."""
    outer = parse(data)
    assert isinstance(outer, Relayed)
    inner = parse(outer.payload)
    assert isinstance(inner, Message)
    return build(replace(outer, payload=build(change(inner))))
