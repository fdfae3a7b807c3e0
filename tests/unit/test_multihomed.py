# SPDX-License-Identifier: GPL-2.0-only
"""A router that registers all its care-of addresses, against the home agent's engine."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from dsmip.mobility.effects import (
    Count,
    Effect,
    HandoverMark,
    Moved,
    Note,
    Path,
    Phase,
    PutBinding,
    Received,
    SendMessage,
    Uplink,
)
from dsmip.mobility.mobile_router import State
from dsmip.mobility.router_view import PathView
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    Heartbeat,
    build,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    BindingIdentifier,
    IPv4CareOfAddress,
    find,
    find_all,
)

from tests.unit.roaming import (
    COA4,
    COA6,
    COA6B,
    HA6,
    HA_CONFIG,
    HOA,
    INSIDE4,
    MR_CONFIG,
    NAT4,
    World,
    uplink4,
    uplink6,
)

CONFIG = replace(MR_CONFIG, several=True, probe=0.3)
SIX = uplink6()
BOTH = uplink6(addresses4=(COA4,), gateway4=True)
NAT = uplink4("wan2", 4, INSIDE4, priority=20)
SIX_B = uplink6("wan3", 5, COA6B, priority=30)
#: In the order of the configuration; BIDs come from the place.
THREE = (SIX, NAT, SIX_B)


def settled(*uplinks: Uplink, config: object = CONFIG, **more: object) -> World:
    world = World(mr_config=config, **more)  # type: ignore[arg-type]
    world.plug(*uplinks)
    world.run(0.5)
    return world


def updates(world: World) -> list[SendMessage]:
    return world.sent("mr", BindingUpdate)


def bids(update: object) -> dict[int, object]:
    options = find_all(update.options, BindingIdentifier)  # type: ignore[attr-defined]
    return {option.bid: option.address for option in options}


def at_agent(world: World) -> dict[int, Path]:
    binding = world.kernel["ha"].bindings.get(HOA)
    return {p.bid: p for p in binding.paths if p.bid < 0x8000} if binding else {}


def state(world: World) -> State:
    return world.mr.registration(world.now).state


def views(world: World) -> dict[str, PathView]:
    return {view.uplink: view for view in world.mr.paths(world.now)}


def answer(world: World, message: object) -> list[Effect]:
    data = build(message, HA6, HOA)  # type: ignore[arg-type]
    effects = world.mr.receive(Received(data, HA6, HOA, None, 2, True), world.now)
    world.carry("mr", effects)
    return effects


def agree(world: World) -> None:
    """Check that both data planes use one path, and that the home agent hears it."""
    up, down = world.kernel["mr"].active(), world.kernel["ha"].active()
    assert up is not None
    assert down is not None
    seen = world.outer(CareOf(up.local, up.kind))
    assert (up.kind, seen.address) == (down.kind, down.remote)


# --- registration -------------------------------------------------------------------------


@pytest.mark.spec("X-001", "X-002", "X-003", "X-004", "D-080")
def test_every_care_of_address_has_its_bid() -> None:
    """O in the first update, alone; addresses in the options and nowhere else."""
    world = settled(*THREE)
    first, second = (sent.message for sent in updates(world))
    assert (first.overwrite, second.overwrite) == (True, False)
    # Bulk in IPv6; the IPv4 address speaks for itself when the first was answered.
    assert bids(first) == {1: COA6, 5: COA6B}
    assert bids(second) == {4: INSIDE4}
    for message in (first, second):
        assert find(message.options, AlternateCareOfAddress) is None
        assert find(message.options, IPv4CareOfAddress) is None
    assert {bid: path.remote for bid, path in at_agent(world).items()} == {
        1: COA6,
        4: NAT4,
        5: COA6B,
    }
    assert [view.state for view in views(world).values()] == ["registered"] * 3
    assert views(world)["wan2"].nat
    agree(world)


def test_one_uplink_alone_has_a_bid_too() -> None:
    world = settled(NAT)
    assert list(at_agent(world)) == [2]
    assert state(world) is State.REGISTERED
    assert world.kernel["mr"].active().kind is WireKind.UDP4


@pytest.mark.spec("D-081")
def test_ipv4_is_never_first_registered_in_bulk() -> None:
    world = settled(SIX, NAT, uplink4("wan1", 3, COA4))
    for sent in updates(world):
        four = [a for a in bids(sent.message).values() if isinstance(a, IPv4Address)]
        assert not four or (len(four) == 1 and sent.care_of.address == four[0])
    kinds = {path.remote: path.kind for path in at_agent(world).values()}
    assert kinds == {COA6: WireKind.IP6, NAT4: WireKind.UDP4, COA4: WireKind.IP4}


def test_bids_stay_whatever_comes_and_goes() -> None:
    world = settled(SIX, NAT)
    before = {view.uplink: view.bid for view in world.mr.paths(world.now)}
    for uplinks in ((replace(SIX, gateway6=False), NAT), (SIX, replace(NAT, gateway4=False)), None):
        world.plug(*(uplinks or (SIX, NAT)))
        world.run(3)
    assert {view.uplink: view.bid for view in world.mr.paths(world.now)} == before


def test_both_families_of_one_uplink_are_registered() -> None:
    world = settled(BOTH)
    assert {p.remote for p in at_agent(world).values()} == {COA6, COA4}


def test_new_uplink_is_registered_while_the_old_one_carries_the_data() -> None:
    """Make before break: a better uplink is used when it is registered, not before."""
    world = settled(NAT)
    world.uplinks = (NAT, SIX)
    world.carry("mr", world.mr.uplinks_changed(world.uplinks, world.now))
    assert world.kernel["mr"].active().local == INSIDE4
    world.run(0.5)
    assert world.kernel["mr"].active().local == INSIDE4
    assert len(at_agent(world)) == 2
    world.run(1)
    assert world.kernel["mr"].active().local == COA6
    agree(world)


def test_kernel_holds_no_more_paths_than_it_can() -> None:
    many = [uplink4(f"wan{n}", n, COA4 + n) for n in range(2, 14)]
    world = settled(*many)
    assert len(world.kernel["mr"].bindings[HOA].paths) <= 16
    assert len(at_agent(world)) == 8


# --- moves --------------------------------------------------------------------------------


def test_planned_move_is_one_update_and_never_unregistered() -> None:
    world = settled(SIX, NAT)
    world.effects.clear()
    world.carry("mr", world.mr.handover("wan2", world.now))
    assert state(world) is State.REGISTERED
    assert world.kernel["mr"].active().local == INSIDE4
    (sent,) = updates(world)
    assert sent.care_of.address == INSIDE4
    # Both preferences in one message; what the home agent knows is not said again.
    options = {o.bid: o for o in find_all(sent.message.options, BindingIdentifier)}
    assert options[4].priority < options[1].priority
    assert options[1].address is None
    world.run(0.1)
    agree(world)
    assert set(at_agent(world)) == {1, 4}
    # The old path is heard on both sides all the time.
    for binding in [e.binding for e in world.of("mr", PutBinding)]:
        assert {p.bid for p in binding.paths if not p.down} == {1, 4}
    moved = [(m.old.address, m.new.address) for m in world.of("mr", Moved)]
    assert moved == [(COA6, INSIDE4)]
    phases = [mark.phase for mark in world.of("mr", HandoverMark)]
    assert phases == [Phase.LINK, Phase.ADDRESS, Phase.UPDATE_SENT, Phase.ACKNOWLEDGED]


@pytest.mark.spec("X-026")
def test_one_care_of_address_at_a_time_is_what_ike_hears_of() -> None:
    """K in every update; only what data takes is told, and only the preferred one there."""
    world = settled(SIX, NAT, config=replace(CONFIG, key_mobility=True))
    assert [(m.old, m.new.address) for m in world.of("mr", Moved)] == [(None, COA6)]
    assert [m.new.address for m in world.of("ha", Moved)] == [COA6]
    assert all(sent.message.key_management for sent in updates(world))
    world.effects.clear()
    world.carry("mr", world.mr.handover("wan2", world.now))
    world.run(1)
    (moved,) = world.of("ha", Moved)
    assert (moved.old.address, moved.new.address, moved.keys_follow) == (COA6, NAT4, True)


def test_lost_update_of_a_move_is_repeated_whole() -> None:
    world = settled(SIX, NAT)
    world.loss = 1.0
    world.carry("mr", world.mr.handover("wan2", world.now))
    world.effects.clear()
    world.loss = 0.0
    world.run(1.5)
    agree(world)


def test_held_uplink_is_heard_until_its_last_packets_came() -> None:
    world = settled(SIX, NAT)
    world.effects.clear()
    world.plug(replace(SIX, held=True), NAT)
    assert world.kernel["mr"].active().local == INSIDE4
    world.run(1)
    assert set(at_agent(world)) == {1, 4}
    agree(world)
    assert COA6 in {p.local for p in world.kernel["mr"].bindings[HOA].paths}
    world.run(2)
    assert set(at_agent(world)) == {4}
    assert COA6 not in {p.local for p in world.kernel["mr"].bindings[HOA].paths}
    world.plug(SIX, NAT)
    world.run(3)
    assert set(at_agent(world)) == {1, 4}
    assert world.kernel["mr"].active().local == COA6


def test_pulled_cable_moves_at_once_and_removes_the_bid() -> None:
    world = settled(SIX, NAT)
    world.plug(replace(SIX, addresses6=(), gateway6=False), NAT)
    assert world.kernel["mr"].active().local == INSIDE4
    assert state(world) is State.REGISTERED
    world.run(0.1)
    assert set(at_agent(world)) == {4}
    removal = updates(world)[-1].message
    assert (removal.lifetime, bids(removal)) == (0, {1: None})


@pytest.mark.spec("X-017")
def test_other_address_on_the_same_uplink() -> None:
    world = settled(SIX, NAT)
    world.plug(uplink6(address=COA6B), NAT)
    world.run(3)
    assert at_agent(world)[1].remote == COA6B
    assert world.kernel["mr"].active().local == COA6B


@pytest.mark.parametrize("phase", [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.299])
@pytest.mark.parametrize("which", [2, 4])
def test_dead_path_is_left_within_three_intervals(which: int, phase: float) -> None:
    """Whenever in an interval it dies, in both directions."""
    world = settled(SIX, NAT)
    if which == 4:
        world.carry("mr", world.mr.handover("wan2", world.now))
    world.run(1 + phase)
    world.dead = {which}
    died = world.now
    left = 4 if which == 2 else 1
    while world.kernel["ha"].active().bid != left:
        world.run(0.01)
        assert world.now - died <= 3 * CONFIG.probe + 0.03
    assert world.kernel["mr"].active().interface != which
    assert world.now - died >= CONFIG.probe
    agree(world)
    assert state(world) is State.REGISTERED
    # What only goes by the dead path must not go there any more.
    world.run(0.1)
    assert len(at_agent(world)) == 1


@pytest.mark.parametrize("phase", [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.299])
def test_other_address_on_a_dead_uplink_is_not_tried_first(phase: float) -> None:
    """Both addresses of an uplink die together: what missed a probe is no refuge."""
    world = settled(BOTH, NAT)
    world.run(1 + phase)
    world.dead = {2}
    died = world.now
    while world.kernel["ha"].active().bid != 4:
        world.run(0.01)
        assert world.now - died <= 3 * CONFIG.probe + 0.03
    assert {m.uplink for m in world.of("mr", HandoverMark) if "no answer" in m.reason} == {"wan2"}
    agree(world)


@pytest.mark.parametrize("phase", [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.299])
def test_other_address_on_a_dead_uplink_is_not_preferred_later(phase: float) -> None:
    """However short the hysteresis: it is not gone to before it has answered."""
    world = settled(BOTH, NAT, config=replace(CONFIG, hysteresis=0.01))
    world.run(1 + phase)
    world.dead = {2}
    world.effects.clear()
    for _ in range(300):
        world.run(0.01)
        world.plug(BOTH, NAT)  # as news of addresses and routers come
    assert {m.reason for m in world.of("mr", HandoverMark)} - {""} == {"no answer through wan0"}
    agree(world)


@pytest.mark.parametrize("later", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_better_path_that_missed_a_probe_is_taken_once_it_has_answered(later: float) -> None:
    world = settled(SIX, NAT)
    world.dead = {2}
    world.run(2)
    world.dead = set()
    world.run(later)
    assert world.kernel["mr"].active().local == INSIDE4
    world.effects.clear()
    world.dead = {2}
    world.run(0.3)
    world.dead = set()
    world.run(2)
    assert world.kernel["mr"].active().local == COA6
    assert not [m for m in world.of("mr", HandoverMark) if "no answer" in m.reason]


@pytest.mark.parametrize("later", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
def test_a_second_path_dies_with_what_was_said_of_the_first(later: float) -> None:
    """A removal that went by a path that is lost goes by the next at once."""
    world = settled(*THREE)
    world.run(1)
    world.dead = {2}
    world.run(later)
    world.dead = {2, 4}
    died = world.now
    while world.kernel["ha"].active().bid != 5:
        world.run(0.01)
        assert world.now - died <= 3 * CONFIG.probe + 0.05
    agree(world)


def test_two_missed_probes_are_no_death() -> None:
    world = settled(SIX, NAT)
    world.run(1)
    world.dead = {2}
    world.run(0.15)
    world.dead = set()
    world.run(5)
    assert not [m for m in world.of("mr", HandoverMark) if "no answer" in m.reason]
    assert world.kernel["mr"].active().local == COA6


def test_path_that_answers_again_is_registered_and_taken_after_the_hysteresis() -> None:
    world = settled(SIX, NAT)
    world.dead = {2}
    world.run(2)
    assert set(at_agent(world)) == {4}
    assert views(world)["wan0"].why_not == "no answer"
    world.dead = set()
    world.run(0.6)
    assert set(at_agent(world)) == {1, 4}
    assert world.kernel["mr"].active().local == INSIDE4
    world.run(1.5)
    assert world.kernel["mr"].active().local == COA6
    agree(world)


def test_silence_of_data_makes_the_probe_come_early() -> None:
    world = settled(SIX, NAT, config=replace(CONFIG, probe=10.0))
    world.run(1)
    world.effects.clear()
    active = world.kernel["mr"].active()
    world.carry("mr", world.mr.path_event(HOA, PathEvent.SILENT, active, world.now))
    assert [m.care_of.address for m in world.sent("mr", Heartbeat)] == [COA6]
    assert not updates(world)


def test_dead_standby_path_is_told_and_changes_nothing_else() -> None:
    world = settled(SIX, NAT)
    world.effects.clear()
    world.dead = {4}
    world.run(2)
    assert not world.of("mr", HandoverMark)
    assert world.kernel["mr"].active().local == COA6
    assert set(at_agent(world)) == {1}


def test_all_paths_dead_keeps_the_last_one_and_comes_back() -> None:
    """As when the home agent's daemon restarts: its kernel goes on forwarding."""
    world = settled(SIX, NAT)
    world.dead = {2, 4}
    world.run(20)
    assert world.kernel["mr"].active() is not None
    world.dead = set()
    world.run(3)
    assert state(world) is State.REGISTERED
    assert set(at_agent(world)) == {1, 4}
    agree(world)


def test_captive_network_does_not_hold_up_the_others() -> None:
    """The best uplink does not answer from the start: the next one carries O."""
    world = World(mr_config=CONFIG)
    world.dead = {2}
    world.plug(SIX, NAT)
    world.run(15)
    assert set(at_agent(world)) == {4}
    assert state(world) is State.REGISTERED
    world.dead = set()
    world.run(3)
    assert set(at_agent(world)) == {1, 4}
    assert world.kernel["mr"].active().local == COA6


# --- time --------------------------------------------------------------------------------


def test_every_path_is_refreshed_in_time() -> None:
    world = settled(*THREE, config=replace(CONFIG, probe=0))
    for _ in range(20):
        world.run(200)
        assert set(at_agent(world)) == {1, 4, 5}
    assert not world.sent("mr", Heartbeat)
    # Behind the NAT an update is the keepalive; the two in IPv6 share theirs.
    through_nat = [s for s in updates(world) if s.care_of.address == INSIDE4]
    in_bulk = [s for s in updates(world) if len(bids(s.message)) > 1]
    assert len(through_nat) >= 4000 / 110 - 1
    assert len(in_bulk) >= 10
    assert len(updates(world)) < 60


def test_probes_come_at_the_interval_and_say_how_good_a_path_is() -> None:
    world = settled(SIX, NAT, config=replace(CONFIG, probe=2.0))
    world.run(4)
    world.effects.clear()
    world.run(40)
    assert len(world.sent("mr", Heartbeat)) == 40
    assert views(world)["wan0"].rtt == pytest.approx(0.02)
    assert views(world)["wan0"].loss == 0
    world.loss = 0.3
    world.run(60)
    assert 0 < (views(world)["wan2"].loss or 0) < 1


@pytest.mark.spec("X-021")
def test_refresh_request_refreshes_all_bids() -> None:
    world = settled(*THREE)
    world.run(1)
    world.effects.clear()
    answer(world, BindingRefreshRequest(options=(BindingIdentifier(4), BindingIdentifier(1))))
    assert set().union(*(bids(sent.message) for sent in updates(world))) == {1, 4, 5}


def test_home_agent_that_lost_its_bindings_gets_them_all_again() -> None:
    world = settled(SIX, NAT)
    world.kernel["ha"].bindings.clear()
    world.restart("ha")
    answer(world, BindingError(1, HOA))
    world.run(1)
    assert set(at_agent(world)) == {1, 4}


# --- home --------------------------------------------------------------------------------


@pytest.mark.spec("X-008")
def test_at_home_all_care_of_addresses_are_given_up_and_leaving_registers_them_again() -> None:
    world = settled(SIX, NAT)
    home = uplink6("eth9", 9, HOA + 5, at_home=True, priority=90)
    world.plug(SIX, NAT, home)
    world.run(1)
    assert state(world) is State.HOME
    assert at_agent(world) == {}
    removal = updates(world)[-1]
    assert (removal.message.lifetime, bids(removal.message)) == (0, {})
    assert HOA not in world.kernel["mr"].bindings
    world.plug(SIX, NAT)
    world.run(1)
    assert set(at_agent(world)) == {1, 4}
    agree(world)


# --- what home agents answer --------------------------------------------------------------


@pytest.mark.spec("X-010")
def test_bulk_that_is_not_allowed_is_not_used_any_more() -> None:
    world = settled(*THREE, ha_config=replace(HA_CONFIG, bulk=False))
    world.run(1)
    assert set(at_agent(world)) == {1, 4, 5}
    statuses = [m.message.status for m in world.sent("ha", BindingAcknowledgement)]
    assert statuses.count(168) == 1
    world.carry("mr", world.mr.handover("wan2", world.now))
    world.run(1)
    agree(world)
    assert all(len(bids(sent.message)) == 1 for sent in updates(world)[1:])


@pytest.mark.spec("X-010")
def test_several_prohibited_is_one_care_of_address_and_no_more() -> None:
    world = settled(*THREE, ha_config=replace(HA_CONFIG, several=False))
    assert state(world) is State.REGISTERED
    assert list(at_agent(world)) == [0]
    assert bids(updates(world)[-1].message) == {}
    assert world.mr.paths(world.now) == ()
    world.plug(NAT)
    world.run(1)
    assert state(world) is State.REGISTERED
    assert world.kernel["ha"].active().remote == NAT4


@pytest.mark.spec("X-009")
def test_home_agent_that_knows_no_bids_is_served_as_ever() -> None:
    world = World(mr_config=CONFIG, loss=1.0)
    world.plug(SIX, NAT)
    sequence = updates(world)[0].message.sequence
    world.loss = 0.0
    answer(world, BindingAcknowledgement(0, sequence, 150, mobile_router=True))
    plain = updates(world)[-1].message
    assert bids(plain) == {}
    assert find(plain.options, AlternateCareOfAddress).address == COA6
    world.run(1)
    assert state(world) is State.REGISTERED
    assert list(at_agent(world)) == [0]
    assert not world.sent("mr", Heartbeat)
    assert "knows no several" in world.of("mr", Note)[1].text


@pytest.mark.spec("X-010")
def test_plain_binding_of_a_former_life_is_overwritten() -> None:
    """165 is answered with O."""
    world = settled(SIX, config=MR_CONFIG)
    world.mr = type(settled(SIX).mr)(CONFIG, world.now, sequence=500)
    world.mr._overwrite = False  # type: ignore[attr-defined]
    world.kernel["mr"].bindings.clear()
    world.plug(SIX, NAT)
    world.run(1)
    statuses = [m.message.status for m in world.sent("ha", BindingAcknowledgement)]
    assert 165 in statuses
    assert set(at_agent(world)) == {1, 4}


@pytest.mark.spec("X-010", "X-011")
def test_unknown_address_is_told_and_the_rest_stands() -> None:
    world = settled(SIX, NAT)
    world.carry("ha", world.ha._without(world.ha._entries[HOA], [1], world.now, "lost"))
    world.carry("mr", world.mr.handover("wan2", world.now))
    world.run(1)
    found = [
        {o.bid: o.status for o in find_all(m.message.options, BindingIdentifier)}
        for m in world.sent("ha", BindingAcknowledgement)
    ]
    assert {4: 0, 1: 167} in found
    assert set(at_agent(world)) == {1, 4}
    agree(world)


def test_one_refused_path_leaves_the_others() -> None:
    world = settled(SIX, uplink6("wan3", 5, HA6, priority=5))
    assert state(world) is State.REGISTERED
    assert list(at_agent(world)) == [1]
    assert "174" in views(world)["wan3"].why_not
    assert world.kernel["mr"].active().local == COA6


@pytest.mark.spec("X-005")
def test_overtaken_updates_are_repeated() -> None:
    """One sequence number space over paths of different delay: 135 now and then."""
    world = World(mr_config=CONFIG, jitter=0.3, seed=3)
    world.plug(*THREE)
    for name in ("wan2", "wan3", "wan0", "wan2", None) * 4:
        world.carry("mr", world.mr.handover(name, world.now))
        world.run(0.4)
    world.jitter = 0
    world.run(5)
    agree(world)
    assert set(at_agent(world)) == {1, 4, 5}
    assert 135 in [m.message.status for m in world.sent("ha", BindingAcknowledgement)]


def test_heartbeats_that_nobody_knows_are_given_up() -> None:
    world = settled(SIX, NAT)
    answer(world, BindingError(2, HOA))
    world.effects.clear()
    world.run(30)
    assert not world.sent("mr", Heartbeat)
    # Silence is then asked about by an update, and three in vain end the path.
    world.dead = {2}
    active = world.kernel["mr"].active()
    world.carry("mr", world.mr.path_event(HOA, PathEvent.SILENT, active, world.now))
    world.run(10)
    assert world.kernel["mr"].active().local == INSIDE4
    agree(world)


def test_strange_answers_change_nothing() -> None:
    world = settled(SIX, NAT)
    before = (dict(at_agent(world)), [v.state for v in world.mr.paths(world.now)])
    assert answer(world, Heartbeat(4711, response=True)) == [Count("heartbeat_ignored")]
    assert answer(world, Heartbeat(1)) == [Count("heartbeat_ignored")]
    for status in (0, 4, 135, 164, 165, 166, 168):
        (count,) = answer(world, BindingAcknowledgement(status, 30000, 0, mobile_router=True))
        assert count == Count("ba_unexpected")
    assert (dict(at_agent(world)), [v.state for v in world.mr.paths(world.now)]) == before


# --- restart ------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ha", "mr"])
def test_restart_adopts_all_paths(who: str) -> None:
    world = settled(*THREE)
    world.run(1)
    held = world.kernel[who].bindings[HOA].paths
    world.effects.clear()
    world.restart(who)
    assert not updates(world)
    assert world.kernel[who].bindings[HOA].paths == held
    world.run(400)
    assert set(at_agent(world)) == {1, 4, 5}
    assert {m.message.status for m in world.sent("ha", BindingAcknowledgement)} == {0}
    assert not [m for m in updates(world) if m.message.overwrite]
    agree(world)


@pytest.mark.parametrize("several", [True, False])
def test_restart_with_the_other_setting(several: bool) -> None:
    world = settled(SIX, NAT, config=replace(CONFIG, several=not several))
    world.mr_config = replace(CONFIG, several=several)
    world.restart("mr")
    world.run(700)
    assert state(world) is State.REGISTERED
    assert set(at_agent(world)) == ({1, 4} if several else {0})
    agree(world)


def test_memory_that_is_not_ours_is_no_reason_to_fall() -> None:
    world = settled(SIX, NAT)
    for data in (b"", b"[]", b'{"m":[[1]],"a":1}', b'{"m":[[9,1,1,1]],"a":9}', b"\xff"):
        held = world.kernel["mr"].bindings
        held[HOA] = replace(held[HOA], data=data)
        world.restart("mr")
        world.run(1)
        assert set(at_agent(world)) == {1, 4}


# --- bad weather --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_bad_weather(seed: int) -> None:
    choose = random.Random(seed)
    world = World(mr_config=CONFIG, seed=seed, loss=0.2, duplicate=0.2, jitter=0.3)
    down = replace(SIX, addresses6=(), gateway6=False)
    sets = [THREE, (SIX, NAT), (down, NAT, SIX_B), (SIX,), (replace(SIX, held=True), NAT), ()]
    for _ in range(60):
        what = choose.random()
        if what < 0.35:
            world.plug(*choose.choice(sets))
        elif what < 0.6:
            world.dead = set(choose.sample([2, 4, 5], choose.randrange(3)))
        elif what < 0.7:
            world.nat_port += 1
        elif what < 0.75:
            world.restart(choose.choice(["ha", "mr"]))
        else:
            name = choose.choice(["wan0", "wan2", "wan3", None])
            world.carry("mr", world.mr.handover(name, world.now))
        world.run(choose.choice([0.05, 0.3, 2.0, 40.0]))
        held = world.kernel["ha"].bindings
        assert {v.home_address for v in world.ha.bindings(world.now)} == set(held)
    world.loss = world.duplicate = world.jitter = 0.0
    world.dead = set()
    world.plug(*THREE)
    world.carry("mr", world.mr.handover(None, world.now))
    world.run(120)
    assert set(at_agent(world)) == {1, 4, 5}
    assert world.kernel["mr"].active().local == COA6
    agree(world)
    assert [view.state for view in world.mr.paths(world.now)] == ["registered"] * 3
