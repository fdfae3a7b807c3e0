# SPDX-License-Identifier: GPL-2.0-only
"""Flow bindings (RFC 6089): what the home agent takes, and what the router says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility import flow_bindings
from dsmip.mobility.effects import FlowRule, PutBinding, PutFlows, SendMessage
from dsmip.mobility.flow_config import Flow
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.flows import (
    FlowIdentification,
    FlowSummary,
    IPv4Selector,
    IPv6Selector,
    OtherSelector,
)
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingRefreshRequest,
    BindingUpdate,
    build,
    parse,
)
from dsmip.packet.options import BindingIdentifier, MalformedOption, Option, find_all

from tests.unit.roaming import (
    COA6,
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

V6 = CareOf(COA6)
NAT = CareOf(NAT4, WireKind.UDP4, 40000)
VOICE = IPv6Selector(source_port_start=5060, source_port_end=5070, next_header_start=17)
ALL4, ALL6 = IPv4Selector(), IPv6Selector()


def flow(fid: int, priority: int, selector: object = ALL6, *bids: int, **more: object):  # type: ignore[no-untyped-def]
    return FlowIdentification(fid, priority, selector=selector, references=bids, **more)  # type: ignore[arg-type]


def update(sequence: int, *options: Option, **flags: bool) -> BindingUpdate:
    values = {"acknowledge": True, "home": True, "mobile_router": True} | flags
    return BindingUpdate(sequence, 30, options=options, **values)


class Agent:
    """A home agent with two care-of addresses of one router, BID 1 and 2."""

    def __init__(self, **more: object) -> None:
        self.world = World(ha_config=replace(HA_CONFIG, **more))
        self.sequence = 0
        self.say(BindingIdentifier(1, address=COA6, priority=1), overwrite=True)
        self.say(BindingIdentifier(2, address=INSIDE4, priority=9), care_of=NAT)

    def say(self, *options: Option, care_of: CareOf = V6, **flags: bool) -> dict[int, int]:
        """Send an update; return the status of each flow in the answer."""
        self.sequence += 1
        effects = self.world.to_ha(update(self.sequence, *options, **flags), care_of)
        (self.answer,) = [
            e.message
            for e in effects
            if isinstance(e, SendMessage) and isinstance(e.message, BindingAcknowledgement)
        ]
        # Through the wire and back: what the router can read of it.
        parsed = parse(build(self.answer))
        return {o.fid: o.status for o in find_all(parsed.options, FlowIdentification)}

    @property
    def rules(self) -> tuple[FlowRule, ...]:
        """What its kernel was told last."""
        puts = self.world.of("ha", PutFlows)
        return puts[-1].rules if puts else ()


ONE = BindingIdentifier(1)


@pytest.mark.spec("X-047", "X-048", "X-052")
def test_new_flow_known_flow_and_its_change() -> None:
    agent = Agent()
    assert agent.say(ONE, flow(7, 10, VOICE, 2)) == {7: 0}
    assert agent.rules == (FlowRule(VOICE, (2,)),)
    (put,) = agent.world.of("ha", PutFlows)
    assert put.networks[0].network_address == HOA
    assert {NET6, NET4} <= set(put.networks)
    assert not put.mobile
    # Only the priority, then only the selector, then only the care-of address.
    assert agent.say(ONE, FlowIdentification(7, 20)) == {7: 0}
    assert agent.rules == (FlowRule(VOICE, (2,)),)
    assert agent.say(ONE, FlowIdentification(7, 20, selector=ALL4)) == {7: 0}
    assert agent.rules == (FlowRule(ALL4, (2,)),)
    assert agent.say(ONE, FlowIdentification(7, 20, references=(1,))) == {7: 0}
    assert agent.rules == (FlowRule(ALL4, (1,)),)


@pytest.mark.spec("X-041", "X-051")
def test_flows_that_an_update_does_not_name_are_gone() -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 1, VOICE, 2), flow(2, 2, ALL4, 1), flow(3, 3, ALL6, 2))
    assert agent.say(ONE, FlowSummary((3, 1))) == {}
    assert [rule.selector for rule in agent.rules] == [VOICE, ALL6]
    agent.say(ONE, FlowSummary((3,)))
    assert [rule.selector for rule in agent.rules] == [ALL6]
    agent.say(ONE)
    assert agent.rules == ()


@pytest.mark.spec("X-053")
def test_lower_priority_comes_first_whatever_the_order_of_arrival() -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 9, ALL6, 2), flow(2, 4, VOICE, 1))
    assert [rule.selector for rule in agent.rules] == [VOICE, ALL6]
    agent.say(ONE, FlowIdentification(1, 3), FlowSummary((2,)))
    assert [rule.selector for rule in agent.rules] == [ALL6, VOICE]


@pytest.mark.spec("X-045")
def test_flow_may_use_the_care_of_address_of_the_same_update() -> None:
    agent = Agent()
    options = (flow(1, 1, VOICE, 5), BindingIdentifier(5, address=COA6 + 1))
    assert agent.say(*options) == {1: 0}
    assert agent.rules == (FlowRule(VOICE, (5,)),)


@pytest.mark.spec("X-047", "X-046", "X-049")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((flow(1, 1, None, 2),), {1: 130}),
        ((flow(1, 1, VOICE),), {1: 130}),
        ((flow(0, 1, VOICE, 2),), {0: 130}),
        ((flow(1, 0, VOICE, 2),), {1: 130}),
        ((flow(1, 1, OtherSelector(9, b""), 2),), {1: 133}),
        ((flow(1, 1, VOICE, 3),), {1: 131}),
        ((flow(1, 1, VOICE, 1, 2),), {1: 128}),
        ((flow(1, 1, VOICE, 1, 1),), {1: 130}),
        ((flow(1, 1, VOICE, 1), flow(2, 1, ALL6, 2)), {1: 0, 2: 129}),
        ((flow(1, 1, VOICE, 1), flow(1, 2, ALL6, 2), flow(3, 3, ALL4, 1)), {1: 129, 3: 129}),
        ((FlowSummary((4,)),), {4: 132}),
        ((MalformedOption(45, b"\0\x0b\0\1"),), {11: 130}),
        ((flow(1, 1, IPv6Selector(source_port_start=9, source_port_end=8), 1),), {1: 130}),
        ((flow(1, 1, VOICE, 1, spread=((1, 0), (2, 1))),), {1: 130}),
        ((flow(1, 1, VOICE, 1, spread=((1, 1), (1, 1))),), {1: 130}),
        ((flow(1, 1, VOICE, 1, spread=((1, 1), (6, 1))),), {1: 131}),
    ],
    ids=str,
)
def test_refused_flows(options: tuple[Option, ...], expected: dict[int, int]) -> None:
    """Each has its own status; the binding itself is as good as ever."""
    agent = Agent()
    assert agent.say(ONE, *options) == expected
    assert agent.answer.status == 0
    assert len(agent.rules) == list(expected.values()).count(0)


def test_refused_change_leaves_the_flow_as_it_was() -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 1, VOICE, 2))
    assert agent.say(ONE, FlowIdentification(1, 1, references=(8,))) == {1: 131}
    assert agent.rules == (FlowRule(VOICE, (2,)),)


@pytest.mark.spec("X-050")
def test_flow_without_care_of_address_sleeps_and_wakes_up() -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 1, VOICE, 2), flow(2, 2, ALL6, 2, spread=((2, 1), (1, 1))))
    agent.sequence += 1
    removal = replace(update(agent.sequence, BindingIdentifier(2)), lifetime=0)
    agent.world.to_ha(removal, V6)
    # What is left of the second goes on; the first is inactive.
    assert agent.rules == (FlowRule(ALL6, (1,), (1,)),)
    agent.say(ONE, FlowSummary((1, 2)))
    assert agent.rules == (FlowRule(ALL6, (1,), (1,)),)
    back = BindingIdentifier(2, address=INSIDE4)
    agent.say(back, FlowSummary((1, 2)), care_of=NAT)
    assert agent.rules == (FlowRule(VOICE, (2,)), FlowRule(ALL6, (2, 1), (1, 1)))


@pytest.mark.spec("X-056")
@pytest.mark.parametrize("lifetime", [0, 30])
def test_flows_end_with_the_binding_and_with_its_bids(lifetime: int) -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 1, VOICE, 2))
    agent.sequence += 1
    agent.world.to_ha(replace(update(agent.sequence), lifetime=lifetime), V6)
    assert agent.rules == ()
    assert agent.world.of("ha", PutFlows)[-1].rules == ()


def test_overwriting_ends_what_was_bound_before() -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 1, VOICE, 2))
    assert (
        agent.say(BindingIdentifier(1, address=COA6), FlowSummary((1,)), overwrite=True) == {1: 0}
        or agent.rules == ()
    )
    assert agent.rules == ()


@pytest.mark.spec("X-052")
def test_home_agent_that_binds_no_flows_says_so() -> None:
    agent = Agent(flows=False)
    assert agent.say(ONE, flow(1, 1, VOICE, 2)) == {1: 128}
    assert agent.rules == ()


def test_flows_at_their_limit_and_one_past_it() -> None:
    agent = Agent()
    most = flow_bindings.FLOWS_MAX
    several = [flow(n, n, ALL6, 1) for n in range(1, most + 2)]
    # In messages of a size that fits a path's MTU.
    first = agent.say(ONE, *several[:30])
    assert set(first.values()) == {0}
    second = agent.say(ONE, FlowSummary(tuple(range(1, 31))), *several[30:60])
    assert set(second.values()) == {0}
    third = agent.say(ONE, FlowSummary(tuple(range(1, 61))), *several[60:])
    assert list(third.values()) == [0] * (most - 60) + [128]
    assert len(agent.rules) == most


def test_unchanged_flows_are_not_put_again() -> None:
    agent = Agent()
    agent.say(ONE, flow(1, 1, VOICE, 2))
    agent.world.effects.clear()
    agent.say(ONE, FlowSummary((1,)))
    assert not agent.world.of("ha", PutFlows)


@pytest.mark.spec("X-053")
def test_copies_for_two_care_of_addresses_and_no_more() -> None:
    """Where the kernel makes and removes them; as long as both are there."""
    agent = Agent(copies=True)
    agent.say(BindingIdentifier(3, address=COA6 + 3), flow(1, 1, VOICE, 1, 2))
    assert agent.rules == (FlowRule(VOICE, (1, 2)),)
    assert agent.world.kernel["ha"].bindings[HOA].copies
    assert agent.say(ONE, FlowSummary((1,)), flow(2, 2, ALL6, 1, 2, 3)) == {2: 128}
    agent.sequence += 1
    agent.world.to_ha(replace(update(agent.sequence, BindingIdentifier(1)), lifetime=0), NAT)
    assert agent.rules == (FlowRule(VOICE, (2,)),)
    agent.say(BindingIdentifier(2))
    assert not agent.world.kernel["ha"].bindings[HOA].copies


def test_weights_share_flows_among_care_of_addresses() -> None:
    agent = Agent()
    assert agent.say(ONE, flow(1, 1, ALL6, 1, spread=((1, 3), (2, 1)))) == {1: 0}
    assert agent.rules == (FlowRule(ALL6, (1, 2), (3, 1)),)
    agent.sequence += 1
    agent.world.to_ha(replace(update(agent.sequence, BindingIdentifier(1)), lifetime=0), NAT)
    assert agent.rules == (FlowRule(ALL6, (2,), (1,)),)


# --- the router --------------------------------------------------------------------------

FLOWS = (
    Flow("voice", 10, (VOICE,), ("wan2",)),
    Flow("web", 20, (ALL6, ALL4), ("wan0",)),
)
SIX, BEHIND = uplink6(), uplink4("wan2", 4, INSIDE4, priority=20)


def router(*flows: Flow, ha: object = HA_CONFIG, **more: object) -> World:
    config = replace(MR_CONFIG, several=True, probe=0.3, flows=flows or FLOWS, **more)
    world = World(mr_config=config, ha_config=ha)  # type: ignore[arg-type]
    world.plug(SIX, BEHIND)
    world.run(1)
    return world


def bound(world: World, who: str = "ha") -> list[tuple[object, tuple[int, ...]]]:
    puts = world.of(who, PutFlows)
    return [(rule.selector, rule.bids) for rule in puts[-1].rules] if puts else []


WHOLE = [(VOICE, (4,)), (ALL6, (1,)), (ALL4, (1,))]


@pytest.mark.spec("X-040", "X-042")
def test_router_binds_its_flows_in_both_directions() -> None:
    world = router()
    assert bound(world) == WHOLE
    assert bound(world, "mr") == WHOLE
    assert world.of("mr", PutFlows)[-1].mobile
    asked: dict[int, FlowIdentification] = {}
    for sent in world.sent("mr", BindingUpdate):
        identifiers = find_all(sent.message.options, BindingIdentifier)
        assert all(1 <= option.priority <= 127 for option in identifiers)
        for option in find_all(sent.message.options, FlowIdentification):
            assert option.fid not in asked
            asked[option.fid] = option
            assert option.selector is not None
            assert len(option.references) == 1
    assert len({option.priority for option in asked.values()}) == len(asked) == 3
    assert 0 not in asked


@pytest.mark.spec("X-041", "X-057")
def test_later_updates_only_sum_up() -> None:
    world = router()
    world.effects.clear()
    world.run(1000)
    refreshes = [sent.message for sent in world.sent("mr", BindingUpdate)]
    assert len(refreshes) > 5
    for message in refreshes:
        assert not find_all(message.options, FlowIdentification)
        (summary,) = find_all(message.options, FlowSummary)
        assert sorted(summary.fids) == [1, 3, 4]
    assert not world.of("ha", PutFlows)


def test_flow_of_an_uplink_that_comes_later() -> None:
    config = replace(MR_CONFIG, several=True, probe=0.3, flows=FLOWS)
    world = World(mr_config=config)
    world.plug(SIX)
    world.run(1)
    assert bound(world) == WHOLE[1:]
    world.plug(SIX, BEHIND)
    world.run(1)
    assert bound(world) == WHOLE
    world.plug(SIX)
    world.run(1)
    # Its packets go with all others, here and there.
    assert bound(world) == WHOLE[1:]
    assert bound(world, "mr") == WHOLE[1:]
    world.plug(SIX, BEHIND)
    world.run(1)
    assert bound(world) == WHOLE
    assert bound(world, "mr") == WHOLE


def test_dead_path_loses_its_flows_and_gets_them_back() -> None:
    world = router()
    world.dead = {4}
    world.run(2)
    assert bound(world) == WHOLE[1:]
    world.dead = set()
    world.run(3)
    assert bound(world) == WHOLE


def test_move_of_the_rest_leaves_bound_flows_where_they_are() -> None:
    world = router()
    world.carry("mr", world.mr.handover("wan2", world.now))
    world.run(1)
    assert world.kernel["ha"].active().remote == NAT4
    assert bound(world) == WHOLE


@pytest.mark.spec("X-043")
def test_reload_changes_flows_and_uses_identifiers_again() -> None:
    world = router()
    world.effects.clear()
    flows = (Flow("voice", 30, (VOICE,), ("wan0",)), FLOWS[1])
    world.carry(
        "mr", world.mr.reconfigure(replace(world.mr_config, several=True, flows=flows), world.now)
    )
    world.run(1)
    assert bound(world) == [(ALL6, (1,)), (ALL4, (1,)), (VOICE, (1,))]
    changed = {
        option.fid: option
        for sent in world.sent("mr", BindingUpdate)
        for option in find_all(sent.message.options, FlowIdentification)
    }
    # What stays the same is not said again.
    assert changed[1].selector is None
    assert changed[1].references == (1,)
    # The same identifiers for altogether other flows.
    other = (Flow("dns", 5, (IPv4Selector(source_port_start=53), VOICE), ("wan2",)),)
    world.carry("mr", world.mr.reconfigure(replace(world.mr_config, flows=other), world.now))
    world.run(1)
    assert bound(world) == [(VOICE, (4,)), (IPv4Selector(source_port_start=53), (4,))]
    world.carry("mr", world.mr.reconfigure(replace(world.mr_config, flows=()), world.now))
    world.run(1)
    assert bound(world) == []
    assert bound(world, "mr") == []


def test_restarted_home_agent_asks_for_the_flows() -> None:
    world = router()
    world.effects.clear()
    world.restart("ha")
    assert len(world.sent("ha", BindingRefreshRequest)) == 1
    world.run(2)
    assert bound(world) == WHOLE
    world.effects.clear()
    world.restart("mr")
    world.run(400)
    assert bound(world, "mr") == WHOLE
    assert world.ha._entries[HOA].flows


@pytest.mark.spec("X-044")
def test_home_agent_without_flow_bindings_is_left_alone_about_them() -> None:
    world = router(ha=replace(HA_CONFIG, flows=False))
    world.run(400)
    asked = [
        sent
        for sent in world.sent("mr", BindingUpdate)
        if find_all(sent.message.options, FlowIdentification)
    ]
    assert len(asked) < 10
    world = World(mr_config=replace(MR_CONFIG, several=True, probe=0, flows=FLOWS), loss=1.0)
    world.plug(SIX)
    sequence = world.sent("mr", BindingUpdate)[0].message.sequence
    from tests.unit.test_multihomed import answer

    options = (BindingIdentifier(1),)
    answer(world, BindingAcknowledgement(0, sequence, 150, mobile_router=True, options=options))
    world.effects.clear()
    world.run(500)
    for sent in world.sent("mr", BindingUpdate):
        assert not find_all(sent.message.options, FlowIdentification)
        assert not find_all(sent.message.options, FlowSummary)


def test_weighted_flow_of_the_router() -> None:
    flow = Flow("all", 1, (ALL6,), ("wan0", "wan2"), (3, 1))
    world = router(flow)
    assert world.of("ha", PutFlows)[-1].rules == (FlowRule(ALL6, (1, 4), (3, 1)),)
    (sent,) = [
        option
        for m in world.sent("mr", BindingUpdate)
        for option in find_all(m.message.options, FlowIdentification)
        if option.spread
    ]
    # A home agent that knows RFC 6089 only must not make copies of it.
    assert sent.references == (1,)


def test_router_asks_for_copies() -> None:
    """References to both, as RFC 6089 has it; refused by who makes none."""
    flow = Flow("precious", 1, (ALL6,), ("wan0", "wan2"), copies=True)
    world = router(flow, ha=replace(HA_CONFIG, copies=True))
    assert world.of("ha", PutFlows)[-1].rules == (FlowRule(ALL6, (1, 4)),)
    assert world.of("mr", PutFlows)[-1].rules == (FlowRule(ALL6, (1, 4)),)
    assert world.kernel["mr"].bindings[HOA].copies
    world.dead = {4}
    world.run(2)
    assert world.of("ha", PutFlows)[-1].rules == (FlowRule(ALL6, (1,)),)
    # Bound to one before there were two; and no copies are sent to who keeps them both.
    world = router(flow)
    assert bound(world) == bound(world, "mr") == [(ALL6, (1,))]
    assert "128" in world.mr.flows()[0].problem


def test_flows_do_not_outgrow_what_the_kernel_remembers() -> None:
    world = router()
    assert len(world.of("ha", PutBinding)[-1].binding.data) < 512
    assert IPv4Address("198.51.100.100") == HOA4
    assert IPv6Address(HOA)


@pytest.mark.spec("X-057")
def test_many_flows_are_told_in_updates_that_fit_a_path() -> None:
    """A mobility header ends at 2064 octets, and most paths before."""
    wide = IPv6Selector(COA6, COA6 + 9, COA6, COA6 + 9, source_port_start=1, source_port_end=9)
    flows = tuple(Flow(f"f{n}", n, (wide, ALL4), ("wan0",)) for n in range(32))
    world = router(*flows)
    world.run(20)
    assert len(bound(world)) == 64
    assert bound(world) == bound(world, "mr")
    assert all(len(build(sent.message)) < 1200 for sent in world.sent("mr", BindingUpdate))
    assert all(view.there and not view.problem for view in world.mr.flows())


def test_refused_flows_keep_no_others_waiting() -> None:
    limit = replace(HA_CONFIG, copies=False)
    bad = tuple(Flow(f"b{n}", n, (ALL6,), ("wan0", "wan2"), copies=True) for n in range(12))
    good = tuple(Flow(f"g{n}", 50 + n, (ALL4,), ("wan0",)) for n in range(3))
    world = router(*bad, *good, ha=limit)
    world.run(30)
    assert {view.name for view in world.mr.flows() if view.there} >= {"g0", "g1", "g2"}
    before = len(world.sent("mr", BindingUpdate))
    world.run(200)
    assert len(world.sent("mr", BindingUpdate)) - before < 10
