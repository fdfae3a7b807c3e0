# SPDX-License-Identifier: GPL-2.0-only
"""What the engines tell the keys and hear from them: movements, keys, home addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from dsmip.mobility.effects import Attach, DropBinding, Moved, PutBinding, SendMessage
from dsmip.mobility.mobile_router import MobileRouter, State
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate

from tests.unit.roaming import COA4, COA6, COA6B, HA_CONFIG, HOA, MR_CONFIG, World, uplink4, uplink6

AT6 = CareOf(COA6, WireKind.IP6, 0, 2)
AT4 = CareOf(COA4, WireKind.UDP4, 0, 3)
NOWHERE = IPv6Address(0)


def sends(world: World) -> int:
    return len(world.sent("mr", BindingUpdate))


def test_keys_hear_of_a_movement_before_the_update_leaves() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.plug(uplink4())
    told = [e for who, e in world.effects if who == "mr" and isinstance(e, Moved | SendMessage)]
    assert told[0] == Moved(HOA, None, AT6)
    assert isinstance(told[1], SendMessage)
    assert told[2] == Moved(HOA, AT6, AT4)
    assert isinstance(told[3], SendMessage)


def test_keys_hear_of_the_way_home() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    world.plug(uplink6("lan", 9, at_home=True))
    world.run(1)
    assert world.of("mr", Moved) == [Moved(HOA, AT6, None, at_home=True)]
    (moved,) = world.of("ha", Moved)
    assert (moved.new, moved.at_home) == (None, True)


def test_an_expired_binding_is_not_at_home() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    world.plug()
    world.run(700)
    (moved,) = world.of("ha", Moved)
    assert (moved.new, moved.at_home) == (None, False)


def test_a_restarted_daemon_tells_where_the_router_is() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    world.restart("mr")
    world.restart("ha")
    assert world.of("mr", Moved) == [Moved(HOA, None, AT6)]
    assert world.of("ha", Moved) == [Moved(HOA, None, CareOf(COA6))]


def test_an_update_that_nobody_heard_is_sent_again_with_the_keys() -> None:
    world = World(loss=1.0)
    world.plug(uplink6())
    world.run(0.2)
    assert sends(world) == 1
    world.loss = 0.0
    world.carry("mr", world.mr.keys_ready(world.now))
    assert sends(world) == 2
    world.run(0.1)
    assert world.mr.registration(world.now).state is State.REGISTERED
    # Nothing is outstanding any more: a rekey is no reason for an update.
    world.carry("mr", world.mr.keys_ready(world.now))
    assert sends(world) == 2


def test_keys_do_not_break_the_rate_limit() -> None:
    world = World(loss=1.0)
    world.plug(uplink6())
    for _ in range(10):
        world.carry("mr", world.mr.keys_ready(world.now))
    assert sends(world) == 3
    world.run(1.01)
    assert sends(world) == 4


def test_keys_mean_nothing_while_there_is_no_uplink() -> None:
    assert MobileRouter(MR_CONFIG, 0.0).keys_ready(0.0) == []


# --- home addresses from IKE ---------------------------------------------------------


def waiting(**more: object) -> World:
    return World(mr_config=replace(MR_CONFIG, home_address=NOWHERE), **more)  # type: ignore[arg-type]


def test_without_a_home_address_only_keys_are_told() -> None:
    world = waiting()
    world.plug(uplink6())
    assert world.of("mr", Moved) == [Moved(NOWHERE, None, AT6)]
    assert not world.of("mr", PutBinding)
    assert not sends(world)
    world.run(0.2)
    world.carry("mr", world.mr.home_address_assigned(HOA, world.now))
    world.run(0.1)
    assert world.of("mr", Moved)[1] == Moved(HOA, None, AT6)
    assert world.mr.registration(world.now).state is State.REGISTERED
    assert world.mr.home_address_assigned(HOA, world.now) == []


def test_another_uplink_is_tried_while_no_address_comes() -> None:
    world = waiting()
    world.plug(uplink6(), uplink6("wan5", 7, COA6B, priority=20))
    world.run(20)
    care_of = [moved.new.address for moved in world.of("mr", Moved) if moved.new]
    assert care_of[:2] == [COA6, COA6B]
    assert not sends(world)


def test_waiting_at_home() -> None:
    world = waiting()
    world.plug(uplink6("lan", 9, at_home=True))
    assert world.of("mr", Moved) == [Moved(NOWHERE, None, None, at_home=True)]
    world.carry("mr", world.mr.home_address_assigned(HOA, world.now))
    assert world.mr.registration(world.now).state is State.HOME
    assert world.of("mr", Attach) == [Attach(True, 9)]


def test_another_home_address_makes_another_binding() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    other = IPv6Address("2001:db8:1::200")
    world.effects.clear()
    world.carry("mr", world.mr.home_address_assigned(other, world.now))
    assert world.of("mr", DropBinding) == [DropBinding(HOA)]
    assert world.of("mr", PutBinding)[0].binding.home_address == other
    assert world.sent("mr", BindingUpdate)[-1].source == other


def test_reload_keeps_the_address_that_was_assigned() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    effects = world.mr.reconfigure(replace(MR_CONFIG, home_address=NOWHERE), world.now)
    assert effects == []
    assert world.mr.registration(world.now).home_address == HOA


# --- the K bit -------------------------------------------------------------------------


def k_world(router: bool, agent: bool) -> World:
    owners = tuple(replace(owner, key_mobility=agent) for owner in HA_CONFIG.owners)
    return World(
        ha_config=replace(HA_CONFIG, owners=owners),
        mr_config=replace(MR_CONFIG, key_mobility=router),
    )


@pytest.mark.spec("M-067", "M-152")
@pytest.mark.parametrize(("router", "agent"), [(True, True), (True, False), (False, True)])
def test_keys_follow_when_both_ends_can(router: bool, agent: bool) -> None:
    """RFC 6275 section 6.1.7; without it IKE starts anew after each movement."""
    world = k_world(router, agent)
    world.plug(uplink6())
    world.run(1)
    assert world.sent("mr", BindingUpdate)[0].message.key_management is router
    answer = world.sent("ha", BindingAcknowledgement)[0].message
    assert answer.key_management is (router and agent)
    assert [moved.keys_follow for moved in world.of("ha", Moved)] == [router]
    world.plug(uplink4())
    world.run(1)
    told = [moved.keys_follow for moved in world.of("mr", Moved)]
    # Static keys have nothing to follow; nobody asks.
    assert told == [True, agent or not router]
