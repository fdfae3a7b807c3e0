# SPDX-License-Identifier: GPL-2.0-only
"""What engines say of uplinks that do not answer, and how little such uplinks disturb."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dsmip.mobility.attachment import BLOCKED_FOR, DOUBTED_MAX
from dsmip.mobility.config import MobileRouterConfig
from dsmip.mobility.effects import HandoverMark, Phase
from dsmip.mobility.router_view import State
from dsmip.packet.mobility import BindingUpdate

from tests.unit.roaming import MR_CONFIG, World, uplink4, uplink6

PLAIN = replace(MR_CONFIG, hysteresis=0.0)
SEVERAL = replace(PLAIN, several=True)


@pytest.mark.parametrize("config", [PLAIN, SEVERAL], ids=["one", "several"])
def test_who_answers_and_who_does_not(config: MobileRouterConfig) -> None:
    world = World(mr_config=config)
    assert world.mr.reach() == {}
    world.dead = {2}
    world.plug(uplink6(), uplink4())
    world.run(0.5)
    assert world.mr.reach().get("wan0") is None
    world.run(20)
    assert world.mr.reach() == {"wan0": False, "wan1": True}
    assert world.mr.registration(world.now).state is State.REGISTERED
    world.dead = set()
    world.plug(uplink4())
    world.plug(uplink6(), uplink4())
    world.run(4 * BLOCKED_FOR)
    assert world.mr.reach().get("wan0") is True


@pytest.mark.parametrize("config", [PLAIN, SEVERAL], ids=["one", "several"])
def test_nobody_answers(config: MobileRouterConfig) -> None:
    world = World(mr_config=config)
    world.dead = {2}
    world.plug(uplink6())
    world.run(30)
    assert world.mr.reach() == {"wan0": False}
    world.plug()
    world.run(1)
    assert not any(world.mr.reach().values())


def away(world: World) -> float:
    """Return for how long data went by the dead uplink when it was tried last."""
    marks = [m for m in world.of("mr", HandoverMark) if m.phase is Phase.LINK]
    there, back = [m.at for m in marks][-2:]
    return float(back - there)


def test_a_dead_uplink_that_is_preferred_takes_data_for_a_second_only() -> None:
    """At first it gets all its chances; each time that it comes back it gets one."""
    world = World(mr_config=PLAIN)
    good = uplink4()
    world.plug(good)
    world.run(2)
    world.dead = {2}
    world.plug(uplink6(), good)
    world.run(20)
    assert world.mr.registration(world.now).uplink == "wan1"
    assert away(world) > 5
    for _ in range(3):
        # Its interface is restarted, and has the same address as before.
        world.plug(good)
        world.run(1)
        world.plug(uplink6(), good)
        world.run(10)
        assert world.mr.registration(world.now).uplink == "wan1"
        assert away(world) < 2
    world.dead = set()
    world.plug(good)
    world.plug(uplink6(), good)
    world.run(5)
    assert world.mr.registration(world.now).uplink == "wan0"
    # It answered, so it has all its chances again.
    world.dead = {2}
    world.plug(good)
    world.run(1)
    world.plug(uplink6(), good)
    world.run(20)
    assert away(world) > 5


def test_an_uplink_that_is_held_no_more_is_tried_at_once() -> None:
    """A portal that was in the way may have let us through."""
    world = World(mr_config=PLAIN)
    world.dead = {2}
    world.plug(uplink6(), uplink4())
    world.run(20)
    world.plug(uplink6(held=True), uplink4())
    world.dead = set()
    world.run(1)
    assert world.mr.registration(world.now).uplink == "wan1"
    world.plug(uplink6(), uplink4())
    world.run(1)
    view = world.mr.registration(world.now)
    assert (view.state, view.uplink) == (State.REGISTERED, "wan0")


def test_alone_a_doubted_uplink_is_tried_on_and_on() -> None:
    world = World(mr_config=PLAIN)
    world.dead = {2}
    world.plug(uplink6(), uplink4())
    world.run(20)
    world.plug(uplink6())
    before = len(world.sent("mr", BindingUpdate))
    world.run(60)
    assert len(world.sent("mr", BindingUpdate)) >= before + 4
    world.dead = set()
    world.run(60)
    assert world.mr.registration(world.now).state is State.REGISTERED


def test_doubts_are_bounded() -> None:
    world = World(mr_config=PLAIN)
    good = uplink4()
    world.dead = {2}
    for number in range(DOUBTED_MAX + 5):
        address = uplink6().addresses6[0] + number
        world.plug(uplink6(address=address), good)
        world.run(20)
    assert len(world.mr._doubted) == DOUBTED_MAX
