# SPDX-License-Identifier: GPL-2.0-only
"""How far the home agent is: when it is asked, and on whose account that goes."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.mobility.router_view import State
from dsmip.service.distance import Distance

HOME, OTHER_HOME = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:2::100")
AGENT = IPv6Address("2001:db8:1::1")


class Trips:
    """Echoes that all come back after 20 ms, and of which one in ten is lost."""

    def __init__(self, home: IPv6Address) -> None:
        self.home = home
        self.asked = 0
        self.ended = False

    def ask(self, addresses: Sequence[IPv6Address]) -> None:
        assert list(addresses) == [AGENT]
        self.asked += 1

    def of(self, address: IPv6Address) -> float | None:
        return 20.0 if self.asked else None

    def loss(self, address: IPv6Address) -> float | None:
        return 10.0 if self.asked else None

    def forget(self) -> None:
        self.asked = 0

    def stop(self) -> None:
        self.ended = True


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.view = SimpleNamespace(
            state=State.REGISTERED, uplink="lte", care_of="care-of", home_address=HOME
        )
        self.paths: list[Any] = []
        role: Any = SimpleNamespace(
            registration=lambda: self.view,
            paths=lambda: self.paths,
            engine=SimpleNamespace(config=SimpleNamespace(home_agent6=AGENT)),
        )
        loop: Any = SimpleNamespace(time=lambda: self.now)
        self.opened: list[Trips] = []
        self.free = True
        self.distance = Distance(role, loop, self._open)

    def _open(self, home: IPv6Address) -> Trips:
        self.opened.append(Trips(home))
        return self.opened[-1]

    def seconds(self, count: int) -> int:
        """Let time pass; returns how many echoes were sent."""
        before = self.opened[-1].asked if self.opened else 0
        for _ in range(count):
            self.now += 1
            self.distance.measure(lambda name: self.free)
        return (self.opened[-1].asked if self.opened else 0) - before


def test_each_second_while_somebody_looks() -> None:
    world = World()
    world.distance.watched()
    assert world.seconds(9) == 9
    assert world.distance.of("lte") == (20.0, 10.0)
    assert world.distance.of("wifi") == (None, None)


def test_once_a_minute_where_data_costs_nothing() -> None:
    world = World()
    assert world.seconds(10) == 0, "data comes first"
    assert world.seconds(180) == 3
    world.free = False
    assert world.seconds(180) == 0
    world.distance.watched()
    assert world.seconds(60) == 9, "who looks wants to know"


@pytest.mark.parametrize("state", [state for state in State if state is not State.REGISTERED])
def test_only_who_is_registered_asks(state: State) -> None:
    world = World()
    world.view.state = state
    world.distance.watched()
    assert world.seconds(5) == 0
    assert world.opened == []


def test_probes_of_paths_are_enough() -> None:
    world = World()
    world.paths = [SimpleNamespace(rtt=None), SimpleNamespace(rtt=0.02)]
    world.distance.watched()
    assert world.seconds(5) == 0


def test_another_way_begins_anew() -> None:
    world = World()
    world.distance.watched()
    world.seconds(5)
    world.view.uplink, world.view.care_of = "wifi", "another"
    assert world.distance.of("wifi") == (None, None), "that was measured by another way"
    assert world.distance.of("lte") == (None, None)
    world.seconds(1)
    assert world.opened[0].asked == 1
    assert world.distance.of("wifi") == (20.0, 10.0)
    assert len(world.opened) == 1


def test_another_home_address_has_echoes_of_its_own() -> None:
    world = World()
    world.distance.watched()
    world.seconds(2)
    world.view.home_address = OTHER_HOME
    world.seconds(1)
    assert [one.home for one in world.opened] == [HOME, OTHER_HOME]
    assert [one.ended for one in world.opened] == [True, False]
    world.distance.stop()
    assert world.opened[-1].ended
