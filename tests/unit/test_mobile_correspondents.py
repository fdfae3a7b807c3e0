# SPDX-License-Identifier: GPL-2.0-only
"""Two mobile nodes that speak to each other directly, and direct bindings that must end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, IPv6Network

import pytest
from dsmip.mobility.config import CorrespondentConfig, RouteOptimisationConfig
from dsmip.mobility.correspondent import Correspondent
from dsmip.mobility.effects import DropBinding, Effect, PutBinding, Received, SendMessage
from dsmip.mobility.route_optimisation import RouteOptimisation
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import KernelBinding, Path, PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingUpdate,
    CareOfTest,
    HomeTest,
    build,
)

from tests.unit.optimising import HA6, HOA, Pair, away

OTHER = IPv6Address("2001:db8:1::200")
HERE, THERE = IPv6Address("2001:db8:a6::5"), IPv6Address("2001:db8:a7::5")
ELSEWHERE = IPv6Address("2001:db8:a8::5")
CONFIG = RouteOptimisationConfig(correspondents=(IPv6Network("2001:db8:1::/64"),))


class Mobile:
    """A node with both roles: mobile, and the correspondent of others."""

    def __init__(self, home: IPv6Address, care_of: IPv6Address) -> None:
        self.home, self.care_of = home, care_of
        self.direct = RouteOptimisation(CONFIG, home, (HA6,), 0.0)
        self.role = Correspondent(CorrespondentConfig(addresses=(home,)), 0.0, (), lambda _: False)
        self.sends_to: dict[IPv6Address, KernelBinding] = {}


class Both:
    """The two of them, with home agents that need no word here."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nodes = {home: Mobile(home, at) for home, at in ((HOA, HERE), (OTHER, THERE))}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.sent: list[SendMessage] = []
        self.met: set[IPv6Address] = set()

    def move(self, home: IPv6Address, care_of: IPv6Address) -> None:
        node = self.nodes[home]
        node.care_of = care_of
        self.carry(node, node.direct.attached(away(care_of), self.now), mine=True)

    def speak(self, home: IPv6Address, to: IPv6Address) -> None:
        node = self.nodes[home]
        path = Path(0, WireKind.RO, home, to)
        event = PathEvent.TUNNELLED
        self.carry(node, node.direct.path_event(home, event, path, self.now), mine=True)

    def carry(self, node: Mobile, effects: list[Effect], mine: bool) -> None:
        for effect in effects:
            if isinstance(effect, SendMessage):
                self.sent.append(effect)
                at = self.now + 0.02
                heapq.heappush(self.queue, (at, next(self.order), self.delivery(effect)))
            elif isinstance(effect, PutBinding) and not mine:
                node.sends_to[effect.binding.home_address] = effect.binding
            elif isinstance(effect, DropBinding) and not mine:
                node.sends_to.pop(effect.home_address, None)

    def delivery(self, effect: SendMessage) -> Callable[[], None]:
        """Bring a message to the node that has its destination, in the form it has there."""
        routed = effect.care_of is not None and effect.destination != effect.care_of.address
        to_mobile = isinstance(effect.message, HomeTest | CareOfTest | BindingAcknowledgement)

        def deliver() -> None:
            for node in self.nodes.values():
                if effect.destination not in (node.home, node.care_of):
                    continue
                care_of = CareOf(HA6) if to_mobile and effect.destination == node.home else None
                if routed and effect.care_of is not None:
                    care_of = CareOf(effect.care_of.address)
                data = bytes(build(effect.message, effect.source, effect.destination))
                came = Received(data, effect.source, effect.destination, care_of, 2, False)
                engine = node.direct if to_mobile else node.role
                self.carry(node, engine.receive(came, self.now), mine=to_mobile)

        return deliver

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.queue and self.queue[0][0] <= end:
            self.now, _, deliver = heapq.heappop(self.queue)
            deliver()
        self.now = end

    def reached_at(self, by: IPv6Address, home: IPv6Address) -> IPv6Address | None:
        """Return where one of them sends to the other directly."""
        binding = self.nodes[by].sends_to.get(home)
        if binding is None:
            return None
        remote = binding.paths[0].remote
        assert isinstance(remote, IPv6Address)
        return remote


@contextmanager
def two() -> Iterator[Both]:
    both = Both()
    both.move(HOA, HERE)
    both.move(OTHER, THERE)
    yield both


@pytest.mark.spec("M-045")
def test_tests_and_updates_go_to_home_addresses() -> None:
    """Each binds its care-of address at the other, who is only known by the home address."""
    with two() as both:
        both.speak(HOA, OTHER)
        both.speak(OTHER, HOA)
        both.run(1)
        assert both.reached_at(HOA, OTHER) == THERE
        assert both.reached_at(OTHER, HOA) == HERE
        kinds = (HomeTest, CareOfTest, BindingAcknowledgement)
        asking = [one for one in both.sent if not isinstance(one.message, kinds)]
        assert {one.destination for one in asking} == {HOA, OTHER}
        # What is signed covers the home address too, or the other would have ignored it.
        assert len([one for one in asking if isinstance(one.message, BindingUpdate)]) == 2


@pytest.mark.spec("M-045")
def test_a_correspondent_that_moves_needs_no_new_test() -> None:
    with two() as both:
        both.speak(HOA, OTHER)
        both.run(1)
        assert both.reached_at(OTHER, HOA) == HERE
        before = len(both.sent)
        both.move(OTHER, ELSEWHERE)
        both.run(1)
        assert len(both.sent) == before
        assert both.reached_at(OTHER, HOA) == HERE
        # The first one moves: the other is found where it is now.
        both.move(HOA, IPv6Address("2001:db8:a9::5"))
        both.run(1)
        assert both.reached_at(OTHER, HOA) == IPv6Address("2001:db8:a9::5")


@pytest.mark.spec("M-045")
def test_a_test_to_a_care_of_address_is_for_nobody() -> None:
    """A correspondent answers at its home address, not where it happens to be."""
    with two() as both:
        node = both.nodes[OTHER]
        both.speak(HOA, OTHER)
        init = both.sent[0]
        data = bytes(build(init.message, init.source, THERE))
        effects = node.role.receive(Received(data, init.source, THERE, None, 2, False), both.now)
        assert not [e for e in effects if isinstance(e, SendMessage)]


@pytest.mark.spec("M-174")
def test_home_prefix_that_ends_sooner_shortens_direct_bindings() -> None:
    """A new update to those whose binding would outlive the home registration, and no other."""
    pair = Pair().bound()
    first = pair.kernel["cn"][HOA].lifetime
    pair.attach(away(until=pair.now + first + 100))
    pair.run(0.5)
    assert len(pair.sent("mr", BindingUpdate)) == 1
    pair.attach(away(until=pair.now + 60))
    pair.run(0.5)
    assert len(pair.sent("mr", BindingUpdate)) == 2
    assert pair.kernel["cn"][HOA].lifetime <= 60
    assert pair.state().direct
    # A refresh of the registration that changes nothing is no reason.
    pair.attach(away(until=pair.now + 59.5))
    pair.run(0.5)
    assert len(pair.sent("mr", BindingUpdate)) == 2
    pair.run(80)
    assert HOA not in pair.kernel["cn"]
