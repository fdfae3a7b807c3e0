# SPDX-License-Identifier: GPL-2.0-only
"""Hours of bad weather in seconds: loss, duplicates, reordering, restarts, NAT rebinding."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from dsmip.mobility.effects import Uplink
from dsmip.mobility.mobile_router import State
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.mobility import BindingUpdate

from tests.unit.roaming import COA4, COA6, COA6B, HOA, INSIDE4, World, uplink4, uplink6

NETWORKS: list[tuple[Uplink, ...]] = [
    (uplink6(),),
    (uplink4(),),
    (uplink4("wan2", 4, INSIDE4),),
    (uplink6("wan3", 5, COA6B),),
    (uplink6(), uplink4()),
    (uplink4("wan2", 4, INSIDE4), uplink6("wan3", 5, COA6B, priority=30)),
    (),
]


def agrees(world: World) -> None:
    """Check that engines and kernels tell the same story."""
    views = {view.home_address: view for view in world.ha.bindings(world.now)}
    held = world.kernel["ha"].bindings
    assert views.keys() == held.keys()
    for home, view in views.items():
        path = world.kernel["ha"].active(home)
        assert path is not None
        assert (path.remote, path.kind) == (view.care_of.address, view.care_of.kind)
        assert held[home].sequence == view.sequence
        assert held[home].prefixes == view.prefixes


@pytest.mark.parametrize("seed", range(12))
def test_bad_weather(seed: int) -> None:
    choose = random.Random(seed)
    world = World(seed=seed, loss=0.2, duplicate=0.2, jitter=0.5)
    for _ in range(150):
        what = choose.random()
        if what < 0.5:
            world.plug(*choose.choice(NETWORKS))
        elif what < 0.6:
            world.nat_port += 1
        elif what < 0.65:
            world.restart(choose.choice(["ha", "mr"]))
        world.run(choose.choice([0.05, 0.3, 2.0, 40.0]))
        agrees(world)
    world.loss = world.duplicate = world.jitter = 0.0
    world.plug(uplink6())
    world.run(120)
    assert world.mr.registration(world.now).state is State.REGISTERED
    assert world.kernel["ha"].active().remote == COA6
    assert world.kernel["mr"].active().local == COA6
    agrees(world)


def test_lossy_wire_delays_but_never_prevents() -> None:
    waits = []
    for seed in range(60):
        world = World(seed=seed, loss=0.4)
        world.plug(uplink4(address=INSIDE4))
        while world.mr.registration(world.now).state is not State.REGISTERED:
            world.run(0.25)
            assert world.now < 1000 + 300
        waits.append(world.now - 1000)
    assert min(waits) < 0.5


def test_storm_of_forged_messages_leaves_the_binding(  # everything but the key
) -> None:
    world = World()
    world.plug(uplink4(address=INSIDE4))
    world.run(1)
    before = world.ha.bindings(world.now)
    noise = random.Random(5)
    sent = world.sent("mr", BindingUpdate)[0].message
    for _ in range(2000):
        sequence = noise.randrange(0x10000)
        came = CareOf(COA4, WireKind.UDP4, noise.randrange(1, 0x10000))
        world.to_ha(replace(sent, sequence=sequence), came, protected=False)
    data = bytearray(200)
    for _ in range(2000):
        for at in range(len(data)):
            data[at] = noise.randrange(256)
        data[0], data[2] = 59, noise.choice([5, 6, 7, 16, 12])
        world.to_ha(
            sent, CareOf(COA6), data=bytes(data[: 8 + noise.randrange(190)]), protected=False
        )
    after = world.ha.bindings(world.now)
    assert [(v.home_address, v.care_of, v.sequence) for v in after] == [
        (v.home_address, v.care_of, v.sequence) for v in before
    ]
    assert after[0].home_address == HOA
