# SPDX-License-Identifier: GPL-2.0-only
"""The mobile router's engine against the home agent's, with a fake clock."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from dsmip.mobility.effects import (
    Attach,
    DropBinding,
    HandoverMark,
    Moved,
    Note,
    Path,
    Phase,
    PutBinding,
    PutPath,
    Received,
    SendMessage,
)
from dsmip.mobility.mobile_router import MobileRouter, State
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.kernel import PathEvent
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    build,
)
from dsmip.packet.options import (
    AlternateCareOfAddress,
    IPv4CareOfAddress,
    IPv4HomeAddress,
    MobileNetworkPrefix,
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
    HOA4,
    INSIDE4,
    MR_CONFIG,
    NAT4,
    NET4,
    NET6,
    World,
    uplink4,
    uplink6,
)


def registered(world: World) -> bool:
    return world.mr.registration(world.now).state is State.REGISTERED


def update_times(world: World, start: float) -> list[float]:
    marks = [m for m in world.of("mr", HandoverMark) if m.phase is Phase.UPDATE_SENT]
    return [round(m.at - start, 3) for m in marks]


def answer(world: World, message: object, protected: bool = True) -> list:  # type: ignore[type-arg]
    data = build(message, HA6, HOA)  # type: ignore[arg-type]
    effects = world.mr.receive(Received(data, HA6, HOA, None, 2, protected), world.now)
    world.carry("mr", effects)
    return effects


# --- registration -------------------------------------------------------------------


@pytest.mark.spec("D-007", "M-150", "M-152", "N-002")
def test_first_registration_over_ipv6() -> None:
    """M-150, N-003, D-007: A, H, R; the care-of address repeated; everything it owns."""
    world = World()
    world.plug(uplink6())
    (sent,) = world.sent("mr", BindingUpdate)
    update = sent.message
    assert (update.acknowledge, update.home, update.mobile_router) == (True, True, True)
    assert not update.key_management
    assert not update.force_udp
    alternate = find(update.options, AlternateCareOfAddress)
    assert alternate is not None
    assert alternate.address == COA6
    assert [o.prefix for o in find_all(update.options, MobileNetworkPrefix)] == [NET6]
    assert [(o.address, o.prefix_length) for o in find_all(update.options, IPv4HomeAddress)] == [
        (HOA4, 32),
        (NET4.network_address, 28),
    ]
    assert (sent.source, sent.destination) == (HOA, HA6)
    assert sent.care_of == CareOf(COA6, WireKind.IP6, 0, 2)
    world.run(1)
    assert registered(world)
    view = world.mr.registration(world.now)
    assert view.home_address4 == HOA4
    assert view.problem == ""


@pytest.mark.spec("D-004", "D-005")
def test_ipv4_registration_shows_the_care_of_address(  # D-004, D-005
) -> None:
    world = World()
    world.plug(uplink4())
    (sent,) = world.sent("mr", BindingUpdate)
    option = find(sent.message.options, IPv4CareOfAddress)
    assert option is not None
    assert option.address == COA4
    assert find(sent.message.options, AlternateCareOfAddress) is None
    assert sent.care_of == CareOf(COA4, WireKind.UDP4, 0, 3)
    world.run(1)
    # No NAT: all ones and F clear mean IP in IPv4 (spec dsmip.md 6.1).
    assert world.kernel["mr"].active().kind is WireKind.IP4
    assert world.kernel["ha"].active().kind is WireKind.IP4
    # Either side still hears the other in UDP.
    assert {p.kind for p in world.kernel["mr"].bindings[HOA].paths} == {
        WireKind.IP4,
        WireKind.UDP4,
    }


@pytest.mark.spec("D-010")
def test_behind_a_nat_everything_goes_in_udp() -> None:
    """D-010, D-041, D-042."""
    world = World()
    world.plug(uplink4(address=INSIDE4))
    world.run(1)
    assert registered(world)
    assert world.mr.registration(world.now).nat
    assert world.kernel["mr"].active().kind is WireKind.UDP4
    path = world.kernel["ha"].active()
    assert (path.remote, path.remote_port, path.kind) == (NAT4, 40000, WireKind.UDP4)


@pytest.mark.spec("D-014")
def test_keepalive_behind_a_nat_is_the_update_itself() -> None:
    """D-014: 110 s unless the home agent advises otherwise; none without a NAT."""
    world = World(
        mr_config=replace(MR_CONFIG, lifetime=6000), ha_config=replace(HA_CONFIG, lifetime=6000)
    )
    world.plug(uplink4(address=INSIDE4))
    world.run(1)
    before = len(world.sent("mr", BindingUpdate))
    world.run(600)
    assert 5 <= len(world.sent("mr", BindingUpdate)) - before <= 6
    world = World(
        mr_config=replace(MR_CONFIG, lifetime=6000), ha_config=replace(HA_CONFIG, lifetime=6000)
    )
    world.plug(uplink4())
    world.run(600)
    assert len(world.sent("mr", BindingUpdate)) == 1


@pytest.mark.spec("M-154", "M-155")
def test_retransmission_backs_off_from_1_5_seconds() -> None:
    """M-154, M-155: 0, 1.5, 4.5, 10.5 ..., a new sequence number each time."""
    world = World(loss=1.0)
    start = world.now
    world.plug(uplink6())
    world.run(200)
    times = update_times(world, start)
    assert times[:6] == [0, 1.5, 4.5, 10.5, 22.5, 46.5]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) == 32
    sequences = [m.message.sequence for m in world.sent("mr", BindingUpdate)]
    assert sequences == list(range(8, 8 + len(sequences)))


@pytest.mark.spec("M-154")
def test_a_bound_router_waits_one_second() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.loss = 1.0
    world.effects.clear()
    start = world.now
    world.plug(uplink6(address=COA6B))
    world.run(2.5)
    assert update_times(world, start) == [0, 1.0]


@pytest.mark.spec("M-132")
def test_no_more_than_three_updates_a_second() -> None:
    """M-132: a flapping link."""
    world = World(mr_config=replace(MR_CONFIG, hysteresis=0))
    for step in range(40):
        world.plug(uplink6(address=COA6 if step % 2 else COA6B))
        world.run(0.05)
    times = update_times(world, 1000.0)
    for first in times:
        assert sum(first <= at < first + 1 for at in times) <= 3


def test_refresh_before_the_lifetime_ends() -> None:
    world = World()
    world.plug(uplink6())
    world.run(3600)
    assert registered(world)
    assert HOA in world.kernel["ha"].bindings
    assert 10 <= len(world.sent("mr", BindingUpdate)) <= 14


# --- movement -------------------------------------------------------------------------


TOUR = [
    uplink6(),
    uplink4(),
    uplink4("wan2", 4, INSIDE4),
    uplink6("wan3", 5, COA6B),
    uplink4("wan2", 4, INSIDE4),
    uplink6(),
]


@pytest.mark.spec("M-164")
def test_tour_through_all_networks_keeps_the_binding() -> None:
    world = World()
    for uplink in TOUR:
        world.plug(uplink)
        # Data is switched when the update goes out, not a round trip later.
        active = world.kernel["mr"].active()
        assert active.local in (*uplink.addresses6, *uplink.addresses4)
        world.run(0.5)
        assert registered(world)
        expected = world.outer(CareOf(active.local, active.kind, 0)).address
        assert world.kernel["ha"].active().remote == expected
    assert len(world.of("ha", PutBinding)) == len(TOUR)


@pytest.mark.spec("M-164")
def test_path_is_switched_before_the_update_and_never_missing() -> None:
    """M-164; the kernel must have a path for IPv4 signalling before it is sent."""
    world = World()
    for uplink in TOUR:
        world.effects.clear()
        world.plug(uplink)
        order = [
            type(e) for _, e in world.effects if isinstance(e, PutPath | PutBinding | SendMessage)
        ]
        assert order[0] in (PutPath, PutBinding)
        assert SendMessage in order
        world.run(1)


def test_nothing_is_sent_through_a_dead_interface() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.plug()
    world.effects.clear()
    world.run(3600)
    assert not world.sent("mr", BindingUpdate)
    assert world.mr.registration(world.now).state is State.DETACHED
    world.plug(uplink4())
    assert len(world.sent("mr", BindingUpdate)) == 1


def test_better_uplink_is_taken_after_the_hysteresis() -> None:
    world = World()
    world.plug(uplink4())
    world.run(1)
    world.plug(uplink4(), uplink6())
    assert world.kernel["mr"].active().local == COA4
    world.run(0.9)
    assert world.kernel["mr"].active().local == COA4
    world.run(0.2)
    assert world.kernel["mr"].active().local == COA6
    world.plug(uplink4())
    assert world.kernel["mr"].active().local == COA4


def test_lost_uplink_is_left_at_once() -> None:
    world = World()
    world.plug(uplink6(), uplink4())
    world.run(1)
    world.plug(uplink4())
    assert world.kernel["mr"].active().local == COA4
    marks = [m for m in world.of("mr", HandoverMark) if m.phase is Phase.LINK]
    assert marks[-1].reason == "wan0 lost its address"


def test_operator_chooses_and_gives_back() -> None:
    world = World()
    world.plug(uplink6(), uplink4())
    world.run(1)
    world.carry("mr", world.mr.handover("wan1", world.now))
    assert world.kernel["mr"].active().local == COA4
    world.run(1)
    assert registered(world)
    world.carry("mr", world.mr.handover(None, world.now))
    assert world.kernel["mr"].active().local == COA6


@pytest.mark.spec("D-001")
def test_ipv6_that_does_not_answer_gives_way_to_ipv4() -> None:
    """D-001: three updates in vain, then IPv4."""
    world = World()
    both = uplink6(addresses4=(COA4,), gateway4=True)
    original = world.outer
    world._to_agent_original = world._to_agent  # type: ignore[attr-defined]
    world._to_agent = lambda e: (  # type: ignore[method-assign]
        None if e.care_of and e.care_of.kind is WireKind.IP6 else world._to_agent_original(e)  # type: ignore[attr-defined]
    )
    world.plug(both)
    world.run(15)
    assert registered(world)
    assert world.kernel["mr"].active().local == COA4
    kinds = [m.care_of.kind for m in world.sent("mr", BindingUpdate)]
    assert kinds.count(WireKind.IP6) == 3
    assert original is not None


def test_silent_path_is_probed_and_then_left() -> None:
    world = World()
    world.plug(uplink6(), uplink4())
    world.run(1)
    active = world.kernel["mr"].active()
    world.effects.clear()
    world.carry("mr", world.mr.path_event(HOA, PathEvent.SILENT, active, world.now))
    assert len(world.sent("mr", BindingUpdate)) == 1
    world.run(1)
    assert world.kernel["mr"].active().local == COA6  # it was answered
    world.loss = 1.0
    world.carry("mr", world.mr.path_event(HOA, PathEvent.SILENT, active, world.now))
    world.run(0.5)
    world.loss = 0.0
    world.run(1)
    assert world.kernel["mr"].active().local == COA4


def test_events_of_other_paths_say_nothing() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    stale = Path(9, WireKind.IP6, COA6B, HA6)
    assert world.mr.path_event(HOA, PathEvent.SILENT, stale, world.now) == []
    assert world.mr.path_event(IPv6Address("2001:db8::9"), PathEvent.SILENT, stale, world.now) == []


def test_handover_marks_come_in_order() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    world.plug(uplink4())
    world.run(1)
    active = world.kernel["mr"].active()
    world.carry("mr", world.mr.path_event(HOA, PathEvent.HEARD, active, world.now))
    phases = [m.phase for m in world.of("mr", HandoverMark)]
    assert phases == [
        Phase.LINK,
        Phase.ADDRESS,
        Phase.UPDATE_SENT,
        Phase.ACKNOWLEDGED,
        Phase.FIRST_PACKET,
    ]


def test_hundred_handovers_stay_within_the_kernels_paths() -> None:
    world = World(mr_config=replace(MR_CONFIG, hysteresis=0))
    for step in range(100):
        first = uplink6(address=COA6 + step)
        world.plug(first, uplink4("wan1", 3, COA4 + step % 7, priority=5 if step % 2 else 20))
        world.run(1)
        assert registered(world)
        assert len(world.kernel["mr"].bindings[HOA].paths) <= 16


# --- home -------------------------------------------------------------------------------


@pytest.mark.spec("M-140", "N-022")
def test_returning_home_and_leaving_again() -> None:
    """M-140, N-022: lifetime 0, from the home address, no prefix options; then away again."""
    world = World()
    world.plug(uplink4())
    world.run(1)
    world.effects.clear()
    world.plug(uplink6("eth9", 9, HOA + 5, at_home=True))
    order = [type(e) for _, e in world.effects]
    assert order.index(Attach) < order.index(SendMessage)
    (sent,) = world.sent("mr", BindingUpdate)
    assert (sent.message.lifetime, sent.message.acknowledge, sent.message.home) == (0, True, True)
    assert (sent.source, sent.care_of, sent.interface) == (HOA, None, 9)
    assert not find_all(sent.message.options, MobileNetworkPrefix)
    world.run(1)
    assert world.mr.registration(world.now).state is State.HOME
    assert HOA not in world.kernel["ha"].bindings
    assert HOA not in world.kernel["mr"].bindings
    # Protection goes when nothing comes into the tunnel any more.
    for who, way in (("mr", Attach), ("ha", DropBinding)):
        order = [type(e) for by, e in world.effects if by == who]
        assert order.index(way) < order.index(Moved)
    world.effects.clear()
    world.plug(uplink6())
    world.run(1)
    assert registered(world)
    # Nothing goes into the tunnel before what protects it.
    for who in ("mr", "ha"):
        order = [type(e) for by, e in world.effects if by == who]
        assert order.index(Moved) < order.index(PutBinding)


def test_starting_at_home_registers_nothing() -> None:
    world = World()
    world.plug(uplink6("eth9", 9, HOA + 5, at_home=True))
    world.run(100)
    assert world.mr.registration(world.now).state is State.HOME
    assert not world.sent("mr", BindingUpdate)


# --- answers ----------------------------------------------------------------------------


@pytest.mark.spec("M-157")
def test_sequence_is_taken_from_a_refusal() -> None:
    """M-157."""
    world = World()
    world.plug(uplink6())
    world.effects.clear()
    answer(world, BindingAcknowledgement(135, 30000, 0, mobile_router=True))
    (sent,) = world.sent("mr", BindingUpdate)
    assert sent.message.sequence == 30001


def test_restart_without_kernel_state_recovers_by_135() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.mr = MobileRouter(MR_CONFIG, world.now, sequence=3)
    world.kernel["mr"].bindings.clear()
    world.plug(uplink6())
    world.run(2)
    assert registered(world)


@pytest.mark.parametrize("status", [129, 131, 132, 133, 134, 139, 140, 141, 142, 143])
def test_refusals_are_told_and_not_hammered(status: int) -> None:
    """M-158, N-007 to N-012."""
    world = World(loss=1.0)
    world.plug(uplink6())
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    answer(world, BindingAcknowledgement(status, sequence, 0))
    view = world.mr.registration(world.now)
    assert view.state is State.REFUSED
    assert str(status) in view.problem
    world.effects.clear()
    world.run(59)
    assert not world.sent("mr", BindingUpdate)
    world.run(2)
    assert len(world.sent("mr", BindingUpdate)) == 1


def test_who_asks_after_a_refusal_does_not_wait() -> None:
    world = World(loss=1.0)
    world.plug(uplink6())
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    answer(world, BindingAcknowledgement(134, sequence, 0))
    world.effects.clear()
    world.carry("mr", world.mr.handover(None, world.now))
    assert len(world.sent("mr", BindingUpdate)) == 1
    assert world.mr.registration(world.now).state is State.REGISTERING


def test_acknowledgement_without_r_is_no_service_for_a_router() -> None:
    world = World(loss=1.0)
    world.plug(uplink6())
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    answer(world, BindingAcknowledgement(0, sequence, 150))
    assert not registered(world)


@pytest.mark.spec("M-159")
def test_strange_acknowledgements_are_ignored() -> None:
    """M-159: not outstanding, not protected, repeated."""
    world = World(loss=1.0)
    world.plug(uplink6())
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    good = BindingAcknowledgement(0, sequence, 150, mobile_router=True)
    answer(world, replace(good, sequence=sequence + 1))
    answer(world, good, protected=False)
    assert not registered(world)
    answer(world, good)
    assert registered(world)
    remaining = world.mr.registration(world.now).remaining
    world.run(5)
    answer(world, replace(good, lifetime=1000))
    assert world.mr.registration(world.now).remaining == pytest.approx(remaining - 5)


@pytest.mark.spec("M-160")
def test_lifetime_is_shortened_as_granted() -> None:
    """M-160."""
    world = World(loss=1.0)
    world.plug(uplink6())
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    world.run(0.5)
    answer(world, BindingAcknowledgement(0, sequence, 10, mobile_router=True))
    assert world.mr.registration(world.now).remaining == pytest.approx(39.5)


@pytest.mark.spec("D-009")
def test_refused_udp_is_given_up() -> None:
    """D-009."""
    world = World(loss=1.0, mr_config=replace(MR_CONFIG, force_udp=True))
    world.plug(uplink4())
    sent = world.sent("mr", BindingUpdate)[0]
    assert sent.message.force_udp
    answer(world, BindingAcknowledgement(144, sent.message.sequence, 0))
    assert not world.sent("mr", BindingUpdate)[-1].message.force_udp


def test_refused_ipv4_home_address_leaves_ipv6() -> None:
    """D-011."""
    config = replace(MR_CONFIG, home_address4=IPv4Address("198.51.100.200"))
    world = World(mr_config=config)
    world.plug(uplink6())
    world.run(1)
    view = world.mr.registration(world.now)
    assert view.state is State.REGISTERED
    assert view.home_address4 is None
    assert "130" in view.problem


def test_refresh_request_is_answered_at_once() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    answer(world, BindingRefreshRequest())
    assert len(world.sent("mr", BindingUpdate)) == 1
    world.effects.clear()
    answer(world, BindingRefreshRequest(), protected=False)
    assert not world.sent("mr", BindingUpdate)


def test_binding_error_makes_a_new_update() -> None:
    """M-120, M-121; a stranger's is ignored."""
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    answer(world, BindingError(1, IPv6Address("2001:db8::77")), protected=False)
    assert not world.sent("mr", BindingUpdate)
    answer(world, BindingError(1, HOA), protected=False)
    assert len(world.sent("mr", BindingUpdate)) == 1


def test_malformed_answers_change_nothing() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    for data in (b"", b"\0" * 8, bytes((59, 0, 6, 0, 0, 0, 0, 0)), bytes((59, 9, 6)) + bytes(13)):
        world.carry("mr", world.mr.receive(Received(data, HA6, HOA, None, 2, True), world.now))
    assert registered(world)


# --- restart ------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["ha", "mr"])
@pytest.mark.parametrize("uplink", [uplink6(), uplink4(), uplink4("wan2", 4, INSIDE4)])
def test_restart_adopts_and_the_next_refresh_is_accepted(who: str, uplink) -> None:  # type: ignore[no-untyped-def]
    world = World()
    world.plug(uplink)
    world.run(1)
    held = dict(world.kernel[who].bindings)
    world.effects.clear()
    world.restart(who)
    assert world.kernel[who].bindings.keys() == held.keys()
    assert not world.sent("mr", BindingUpdate)
    assert world.ha.bindings(world.now)[0].identity == "bus-17"
    world.run(400)
    assert registered(world)
    answers = [m.message.status for m in world.sent("ha", BindingAcknowledgement)]
    assert answers
    assert set(answers) == {0}


def test_restart_elsewhere_moves_at_once() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.uplinks = (uplink4(),)
    world.restart("mr")
    world.run(0.5)
    assert registered(world)
    assert world.kernel["ha"].active().remote == COA4


def test_reconfiguration_touches_nothing_that_is_the_same() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    world.effects.clear()
    world.carry("mr", world.mr.reconfigure(replace(MR_CONFIG, silent_ms=900), world.now))
    assert not world.sent("mr", BindingUpdate)
    smaller = replace(MR_CONFIG, prefixes=(NET6,))
    world.carry("mr", world.mr.reconfigure(smaller, world.now))
    world.run(1)
    assert world.kernel["ha"].bindings[HOA].prefixes == (NET6,)
    with pytest.raises(ValueError, match="home"):
        world.mr.reconfigure(
            replace(MR_CONFIG, home_agent6=IPv6Address("2001:db8:1::2")), world.now
        )


def test_stop_leaves_the_kernel_alone_unless_told() -> None:
    world = World()
    world.plug(uplink6())
    world.run(1)
    assert world.mr.stop(world.now, deregister=False) == []
    world.carry("mr", world.mr.stop(world.now, deregister=True))
    world.run(1)
    assert HOA not in world.kernel["ha"].bindings


def test_notes_are_for_people() -> None:
    world = World()
    world.plug(uplink4("lte", 3, INSIDE4))
    world.run(1)
    texts = [n.text for n in world.of("ha", Note)]
    assert texts == [f"bus-17 ({HOA}): registered from {NAT4}:40000 by udp4, behind a NAT"]
    assert IPv4Network(NET4)
