# SPDX-License-Identifier: GPL-2.0-only
"""Any mixture of BIDs, flows and answers: no exception, no broken binding, no stuck router."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from dsmip.linux.dsmip import encode_binding
from dsmip.mobility.effects import PutBinding, PutFlows, Received
from dsmip.mobility.flow_config import Flow
from dsmip.mobility.mobile_router import State
from dsmip.packet.careof import CareOf, WireKind
from dsmip.packet.flows import FlowIdentification, FlowSummary, IPv4Selector, IPv6Selector
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingError,
    BindingUpdate,
    Heartbeat,
    build,
)
from dsmip.packet.options import BindingIdentifier, MalformedOption, NatDetection, Option
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.roaming import (
    COA4,
    COA6,
    COA6B,
    HA6,
    HOA,
    INSIDE4,
    MR_CONFIG,
    NAT4,
    World,
    uplink4,
    uplink6,
)

pytestmark = pytest.mark.fuzz

BIDS = st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x7FFF, 0x8000, 0xFFFF))
ADDRESSES = st.sampled_from(
    (None, COA6, COA6B, COA6 + 1, COA6 + 2, COA4, INSIDE4, HA6, HOA, IPv6Address("ff02::1"))
)
SELECTORS = st.sampled_from(
    (None, IPv6Selector(), IPv4Selector(), IPv6Selector(source_port_start=9, source_port_end=1))
)
FIDS = st.integers(0, 5)
IDENTIFIERS = st.builds(
    BindingIdentifier,
    BIDS,
    st.sampled_from((0, 0, 0, 1, 4, 133, 164, 165, 166, 167, 168, 174)),
    st.booleans(),
    st.integers(0, 127),
    ADDRESSES,
)
FLOWS = st.builds(
    FlowIdentification,
    FIDS,
    st.integers(0, 4),
    st.sampled_from((0, 0, 128, 131, 132, 255)),
    SELECTORS,
    st.lists(BIDS, max_size=3).map(tuple),
    st.lists(st.tuples(BIDS, st.integers(0, 255)), max_size=3).map(tuple),
)
OPTIONS: st.SearchStrategy[list[Option]] = st.lists(
    st.one_of(
        IDENTIFIERS,
        IDENTIFIERS,
        FLOWS,
        st.builds(FlowSummary, st.lists(FIDS, min_size=1, max_size=4).map(tuple)),
        st.builds(MalformedOption, st.sampled_from((35, 45)), st.binary(max_size=9)),
        st.builds(NatDetection, st.booleans(), st.sampled_from((0, 1, 110, 0xFFFFFFFF))),
    ),
    max_size=8,
)
WHENCE = st.sampled_from(
    (
        CareOf(COA6),
        CareOf(COA6B),
        CareOf(COA4, WireKind.UDP4, 4191),
        CareOf(NAT4, WireKind.UDP4, 40000),
        CareOf(NAT4, WireKind.UDP4, 40001),
    )
)
UPDATES = st.lists(
    st.tuples(OPTIONS, WHENCE, st.sampled_from((0, 1, 30, 30, 30)), st.booleans()), max_size=12
)


def sound(world: World) -> None:
    """Check what must hold of the home agent whatever it was told."""
    held = world.kernel["ha"].bindings
    views = {view.home_address: view for view in world.ha.bindings(world.now)}
    assert views.keys() == held.keys()
    for home, binding in held.items():
        encode_binding(binding)
        bids = [path.bid for path in binding.paths]
        assert len(bids) == len(set(bids)) <= 16
        assert any(not path.down for path in binding.paths)
        ends = [(path.remote, path.remote_port, path.kind) for path in binding.paths]
        assert len(ends) == len(set(ends))
        assert {path.bid for path in views[home].paths} <= set(bids)
    rules = [e for _, e in world.effects if isinstance(e, PutFlows)]
    for rule in rules[-1].rules if rules else ():
        assert len(rule.bids) == 1 or len(rule.weights) == len(rule.bids)
        assert set(rule.bids) <= {p.bid for b in held.values() for p in b.paths}


@settings(max_examples=50, deadline=None)
@given(UPDATES)
def test_home_agent_takes_any_update(updates: list[tuple[list[Option], CareOf, int, bool]]) -> None:
    world = World()
    for number, (options, whence, lifetime, overwrite) in enumerate(updates, 1):
        update = BindingUpdate(
            number,
            lifetime,
            acknowledge=True,
            home=True,
            mobile_router=True,
            overwrite=overwrite,
            options=tuple(options),
        )
        try:
            build(update)
        except ValueError:
            continue  # no sender could put that on the wire
        world.to_ha(update, whence)
        sound(world)
        world.run(3)
        sound(world)
    world.restart("ha")
    sound(world)
    world.run(1000)
    assert not world.kernel["ha"].bindings


ANSWERS = st.lists(
    st.one_of(
        st.builds(
            lambda status, life, router, options: (status, life, router, tuple(options)),
            st.sampled_from((0, 0, 0, 4, 128, 129, 130, 133, 134, 135, 140, 165, 166, 167, 168)),
            st.sampled_from((0, 1, 30)),
            st.booleans(),
            OPTIONS,
        ),
        st.builds(Heartbeat, st.integers(0, 20), st.booleans(), st.booleans()),
        st.builds(BindingError, st.integers(0, 3), st.sampled_from((HOA, HA6))),
    ),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(ANSWERS, st.booleans())
def test_router_takes_any_answer_and_comes_back(answers: list[object], bulk: bool) -> None:
    flows = (Flow("a", 1, (IPv6Selector(), IPv4Selector()), ("wan0", "wan2"), (1, 2)),)
    config = replace(MR_CONFIG, several=True, probe=5.0, flows=flows)
    world = World(mr_config=config)
    world.plug(uplink6(), uplink4("wan2", 4, INSIDE4), uplink6("wan3", 5, COA6B, priority=30))
    for message in answers:
        if isinstance(message, tuple):
            status, lifetime, router, options = message
            sent = [m.message for m in world.sent("mr", BindingUpdate)]
            message = BindingAcknowledgement(
                status,
                sent[-1].sequence,
                lifetime,
                mobile_router=router,
                options=options,
            )
        try:
            data = build(message, HA6, HOA)  # type: ignore[arg-type]
        except ValueError:
            continue
        received = Received(data, HA6, HOA, None, 2, True)
        world.carry("mr", world.mr.receive(received, world.now))
        world.run(0.3 if bulk else 2.0)
    world.run(150)
    assert world.mr.registration(world.now).state is State.REGISTERED
    puts = [e.binding for who, e in world.effects if who == "mr" and isinstance(e, PutBinding)]
    for binding in puts[-3:]:
        encode_binding(binding)
    up, down = world.kernel["mr"].active(), world.kernel["ha"].active()
    assert up is not None
    assert down is not None
    seen = world.outer(CareOf(up.local, up.kind))
    assert (seen.address, up.kind) == (down.remote, down.kind)
