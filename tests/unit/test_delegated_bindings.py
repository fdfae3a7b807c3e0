# SPDX-License-Identifier: GPL-2.0-only
"""What a delegated prefix does to bindings, at both ends (RFC 6276 sections 3.1 and 4)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network

import pytest
from dsmip.mobility.effects import PutBinding
from dsmip.mobility.home_agent import HomeAgent
from dsmip.mobility.ownership import Owner
from dsmip.packet.mobility import BindingAcknowledgement, BindingUpdate
from dsmip.packet.options import MobileNetworkPrefix, find_all

from tests.unit.roaming import (
    HA_CONFIG,
    HOA,
    MR_CONFIG,
    NET6,
    TRAM,
    World,
    uplink6,
)

POOL = IPv6Network("2001:db8:400::/54")
BUS = Owner("bus-17", HOA, delegated_prefixes=2)
AGENT = replace(HA_CONFIG, owners=(BUS, TRAM), prefix_pool=(POOL,), delegated_length=56)
ROUTER = replace(MR_CONFIG, prefixes=(), home_address4=None, explicit=False, delegated_prefixes=1)


def registered() -> World:
    world = World(ha_config=AGENT, mr_config=ROUTER)
    world.plug(uplink6())
    world.run(3)
    return world


def delegate(world: World) -> IPv6Network:
    """Let the home agent give a prefix, as its delegating router would."""
    prefix = world.ha.ownership.delegate("bus-17", [])
    world.carry("ha", world.ha.prefixes_changed("bus-17", world.now))
    return prefix


@pytest.mark.spec("N-070", "N-075")
def test_the_first_update_is_implicit_and_binds_no_prefix() -> None:
    world = registered()
    (sent,) = world.sent("mr", BindingUpdate)
    assert isinstance(sent.message, BindingUpdate)
    assert sent.message.mobile_router
    assert find_all(sent.message.options, MobileNetworkPrefix) == []
    (answer,) = world.sent("ha", BindingAcknowledgement)
    assert isinstance(answer.message, BindingAcknowledgement)
    assert (answer.message.status, answer.message.mobile_router) == (0, True)
    assert world.kernel["ha"].bindings[HOA].prefixes == ()


@pytest.mark.spec("N-074")
def test_the_lease_enters_the_binding_and_its_end_leaves_it() -> None:
    world = registered()
    prefix = delegate(world)
    assert world.kernel["ha"].bindings[HOA].prefixes == (prefix,)
    # A refresh, still without prefixes, keeps it.
    world.run(400)
    assert world.kernel["ha"].bindings[HOA].prefixes == (prefix,)
    world.ha.ownership.take_back("bus-17", prefix)
    world.carry("ha", world.ha.prefixes_changed("bus-17", world.now))
    assert world.kernel["ha"].bindings[HOA].prefixes == ()
    before = len(world.of("ha", PutBinding))
    world.carry("ha", world.ha.prefixes_changed("bus-17", world.now))
    world.carry("ha", world.ha.prefixes_changed("nobody", world.now))
    assert len(world.of("ha", PutBinding)) == before


def test_the_router_lets_the_prefix_through_its_own_ingress_check() -> None:
    world = registered()
    prefix = delegate(world)
    assert prefix not in world.kernel["mr"].bindings[HOA].local_prefixes
    world.carry("mr", world.mr.reconfigure(replace(ROUTER, delegated=(prefix,)), world.now))
    assert prefix in world.kernel["mr"].bindings[HOA].local_prefixes
    world.run(5)
    (_, second) = world.sent("mr", BindingUpdate)
    assert find_all(second.message.options, MobileNetworkPrefix) == []  # type: ignore[attr-defined]
    assert world.kernel["ha"].bindings[HOA].prefixes == (prefix,)


@pytest.mark.spec("N-075", "N-042")
def test_an_explicit_update_names_delegated_prefixes_only_while_they_are_leased() -> None:
    explicit = replace(ROUTER, prefixes=(IPv6Network("2001:db8:400::/56"),), explicit=True)
    world = World(ha_config=AGENT, mr_config=explicit)
    world.plug(uplink6())
    world.run(3)
    (answer,) = world.sent("ha", BindingAcknowledgement)
    assert answer.message.status == 142  # type: ignore[attr-defined]
    assert world.ha.ownership.adopt_prefix("bus-17", explicit.prefixes[0])  # type: ignore[arg-type]
    world.run(70)
    assert world.kernel["ha"].bindings[HOA].prefixes == explicit.prefixes


def test_who_may_not_have_prefixes_is_answered_as_ever() -> None:
    world = World(ha_config=replace(AGENT, owners=(replace(BUS, delegated_prefixes=0),)))
    world.mr_config = ROUTER
    world.restart("mr")
    world.plug(uplink6())
    world.run(3)
    (answer,) = world.sent("ha", BindingAcknowledgement)
    assert answer.message.status == 143  # type: ignore[attr-defined]


def test_reconfiguring_the_home_agent_keeps_what_it_gave() -> None:
    world = registered()
    prefix = delegate(world)
    world.carry("ha", world.ha.reconfigure(replace(AGENT, lifetime=300), world.now))
    assert world.kernel["ha"].bindings[HOA].prefixes == (prefix,)
    # The pool shrinks to another part: the prefix is nobody's any more.
    other = replace(AGENT, prefix_pool=(IPv6Network("2001:db8:500::/54"),))
    world.carry("ha", world.ha.reconfigure(other, world.now))
    assert HOA not in world.kernel["ha"].bindings


def test_a_restarted_home_agent_takes_the_binding_over_when_the_lease_is_known() -> None:
    world = registered()
    prefix = delegate(world)
    held = tuple(world.kernel["ha"].bindings.values())
    for leased in (True, False):
        again = HomeAgent(AGENT, world.now, held)
        if leased:
            assert again.ownership.adopt_prefix("bus-17", prefix)
        again.start(world.now)
        assert bool(again.bindings(world.now)) is leased


def test_prefixes_of_the_configuration_and_of_the_pool_stand_side_by_side() -> None:
    both = replace(BUS, prefixes=(NET6,))
    world = World(ha_config=replace(AGENT, owners=(both,)), mr_config=ROUTER)
    world.plug(uplink6())
    world.run(3)
    assert world.kernel["ha"].bindings[HOA].prefixes == (NET6,)
    prefix = world.ha.ownership.delegate("bus-17", [NET6])
    world.carry("ha", world.ha.prefixes_changed("bus-17", world.now))
    assert world.kernel["ha"].bindings[HOA].prefixes == (NET6, prefix)
