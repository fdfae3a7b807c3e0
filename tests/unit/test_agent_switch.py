# SPDX-License-Identifier: GPL-2.0-only
"""Home agent switch at both ends; what is no home agent, and which are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility.config import AgentAddress
from dsmip.mobility.effects import (
    DropBinding,
    FindHomeAgents,
    Note,
    SendMessage,
    UseHomeAgent,
)
from dsmip.mobility.mobile_router import MobileRouter, State
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingUpdate,
    HomeAgentSwitch,
)
from dsmip.packet.options import (
    BindingRefreshAdvice,
    find,
)
from dsmip.packet.status import BindingAckStatus

from tests.unit.roaming import (
    COA6,
    COA6B,
    HA4,
    HA6,
    HA_CONFIG,
    HOA,
    MR_CONFIG,
    NET6,
    World,
    uplink4,
    uplink6,
)
from tests.unit.twoagents import (
    HA2,
    HA2_4,
    HA3,
    Agents,
    agents,
    bound,
    counts,
    registered,
    switch,
    to_router,
)

# --- home agent switch: both ends ----------------------------------------------------


@pytest.mark.spec("E-033", "E-034")
def test_switch_moves_the_router_to_the_second_home_agent() -> None:
    world = registered(agents())
    switch(world, HA2)
    world.run(1)
    assert not bound(world)
    assert bound(world, "ha2")
    assert world.of("mr", UseHomeAgent) == [UseHomeAgent(HA2, HA2_4)]
    view = world.mr.registration(world.now)
    assert (view.state, view.home_agent) == (State.REGISTERED, HA2)
    path = world.kernel["mr"].active()
    assert path is not None
    assert path.remote == HA2
    # De-registered before registered elsewhere: two home agents cannot defend one address.
    order = [e.destination for e in world.sent("mr", BindingUpdate)][-2:]
    assert order == [HA6, HA2]
    assert [e.message.lifetime for e in world.sent("mr", BindingUpdate)][-2] == 0  # type: ignore[attr-defined]
    assert len(world.sent("ha", HomeAgentSwitch)) == 1
    world.run(300)
    assert len(world.sent("ha", HomeAgentSwitch)) == 1
    assert bound(world, "ha2")


def test_switch_over_ipv4_uses_the_other_ipv4_address() -> None:
    world = registered(agents(), uplink4(address=IPv4Address("198.18.4.9")))
    switch(world, HA2)
    world.run(1)
    assert bound(world, "ha2")
    path = world.kernel["mr"].active()
    assert path is not None
    assert path.remote == HA2_4
    assert HA4 not in [p.remote for p in world.kernel["mr"].bindings[HOA].paths if not p.priority]


def test_which_known_agent_an_address_means() -> None:
    """As a redirect of the key exchange names one, in either family."""
    world = registered(agents())
    choice = world.mr.agents
    stranger = IPv6Address("2001:db8:bad::1")
    assert choice.named([stranger, HA2_4]) == choice.named([HA2]) == HA2
    for nobody in ([], [stranger], [HA6, HA4]):
        assert choice.named(nobody) is None, "neither a stranger nor the one in use"


def test_switch_without_addresses_takes_the_known_ones() -> None:
    world = registered(agents())
    switch(world)
    world.run(1)
    assert bound(world, "ha2")


def test_switch_without_addresses_looks_for_home_agents() -> None:
    world = registered(Agents(mr_config=replace(MR_CONFIG, discover=True, any_agent=True)))
    switch(world)
    world.run(1)
    assert world.of("mr", FindHomeAgents) == [FindHomeAgents()]
    assert bound(world)
    world.carry("mr", world.mr.agents.discovered([HA6, HA2], world.now))
    world.run(1)
    assert bound(world, "ha2")


@pytest.mark.spec("E-031")
def test_switch_is_repeated_5_10_20_20_seconds() -> None:
    world = registered(World(ha_config=replace(HA_CONFIG, lifetime=3600)))
    world.plug()
    start = world.now
    switch(world, HA2)
    times: list[float] = []
    for _ in range(700):
        world.run(0.1)
        times += [world.now - start] * (len(world.sent("ha", HomeAgentSwitch)) - len(times))
    assert [round(at) for at in times] == [0, 5, 15, 35, 55]


@pytest.mark.spec("E-031")
def test_time_to_stay_is_told_and_halved() -> None:
    world = registered()
    world.plug()
    switch(world, HA2, remaining=8)
    world.run(3.9)
    (first,) = world.sent("ha", HomeAgentSwitch)
    assert find(first.message.options, BindingRefreshAdvice) == BindingRefreshAdvice(2)
    world.run(0.2)
    assert len(world.sent("ha", HomeAgentSwitch)) == 2


@pytest.mark.spec("E-032")
def test_who_was_sent_away_cannot_stay() -> None:
    world = registered()
    sequence = world.ha.bindings(world.now)[0].sequence
    world.plug()
    switch(world, HA2)
    update = BindingUpdate(sequence + 1, 30, acknowledge=True, home=True, mobile_router=True)
    effects = world.to_ha(update, CareOf(COA6B))
    (answer,) = [e.message for e in effects if isinstance(e, SendMessage)]
    assert answer.status == BindingAckStatus.ADMINISTRATIVELY_PROHIBITED  # type: ignore[union-attr]
    # But it is served until the binding's lifetime ends.
    assert bound(world)
    leave = BindingUpdate(sequence + 2, 0, acknowledge=True, home=True, mobile_router=True)
    world.to_ha(leave, CareOf(COA6B))
    assert not bound(world)


@pytest.mark.spec("E-036")
def test_one_router_a_second_is_sent_away() -> None:
    world = registered()
    tram = IPv6Address("2001:db8:1::200")
    update = BindingUpdate(1, 30, acknowledge=True, home=True, mobile_router=True)
    world.to_ha(update, CareOf(COA6B), source=tram)
    for who in ("bus-17", "tram-3"):
        entry = world.ha.orders.find(who)
        world.carry("ha", world.ha.orders.switch(entry, [HA2], 0, world.now))
    assert len(world.sent("ha", HomeAgentSwitch)) == 1
    world.run(0.9)
    assert len({e.destination for e in world.sent("ha", HomeAgentSwitch)}) == 1
    world.run(0.2)
    assert {e.destination for e in world.sent("ha", HomeAgentSwitch)} == {HOA, tram}


# --- home agent switch: the router ---------------------------------------------------


@pytest.mark.spec("E-030", "E-035")
@pytest.mark.parametrize("source", [HA6, HA2])
def test_switch_in_clear_is_dropped(source: IPv6Address) -> None:
    world = registered(agents())
    effects = to_router(world, HomeAgentSwitch((HA2,)), source, protected=False)
    assert [e for e in effects if isinstance(e, SendMessage)] == []
    assert counts(effects) == ["mh_unprotected"]
    world.run(1)
    assert bound(world)


@pytest.mark.parametrize(
    "bad",
    ["ff02::1", "::", "fe80::2", "::1", str(HOA), str(COA6), str(NET6[1]), "2001:db8:ff::1"],
)
def test_switch_to_what_can_be_no_home_agent(bad: str) -> None:
    """Multicast, own and foreign addresses: the binding stays where it is."""
    world = registered(agents(any_agent=True))
    effects = to_router(world, HomeAgentSwitch((IPv6Address(bad),)))
    assert "has_bad_address" in counts(effects)
    world.run(1)
    assert bound(world)
    assert world.of("mr", UseHomeAgent) == []


def test_bad_addresses_among_good_ones_are_left_out() -> None:
    world = registered(agents())
    bad = [IPv6Address("ff02::1") + n for n in range(10)]
    to_router(world, HomeAgentSwitch((*bad, HOA, HA2)))
    world.run(1)
    assert bound(world, "ha2")


def test_oversized_list_is_bounded() -> None:
    world = registered(agents(any_agent=True))
    many = [IPv6Address("2001:db8:1::1000") + n for n in range(120)]
    to_router(world, HomeAgentSwitch(tuple(many)))
    assert len(world.mr.agents._queue) <= 16


def test_unknown_agent_needs_keys() -> None:
    world = registered(agents())
    to_router(world, HomeAgentSwitch((HA3,)))
    world.run(1)
    assert bound(world)
    assert world.of("mr", UseHomeAgent) == []


def test_own_prefix_comes_first() -> None:
    far = IPv6Address("2001:db8:ff::1")
    known = (AgentAddress(far), AgentAddress(HA2, HA2_4))
    world = registered(agents(agents=known))
    to_router(world, HomeAgentSwitch((far, HA2)))
    world.run(1)
    assert world.of("mr", UseHomeAgent)[0] == UseHomeAgent(HA2, HA2_4)


def test_another_home_agent_can_only_recommend_itself() -> None:
    world = registered(agents(agents=(AgentAddress(HA2, HA2_4), AgentAddress(HA3))))
    effects = to_router(world, HomeAgentSwitch((HA3,)), HA2)
    assert "has_ignored" in counts(effects)
    world.run(1)
    assert bound(world)
    to_router(world, HomeAgentSwitch((HA3, HA2)), HA2)
    world.run(1)
    assert bound(world, "ha2")


def test_old_agent_that_is_dead_does_not_hold_the_router() -> None:
    world = registered(agents())
    deaf = world._to_agent

    def without_first(effect: SendMessage) -> Callable[[], None] | None:
        return None if effect.destination == HA6 else deaf(effect)

    world._to_agent = without_first  # type: ignore[method-assign]
    to_router(world, HomeAgentSwitch((HA2,)))
    world.run(10)
    assert bound(world, "ha2")


def test_new_agent_that_is_dead_is_left_for_the_next() -> None:
    world = registered(agents())
    world.second_is_up = False  # type: ignore[attr-defined]
    switch(world, HA2)
    world.run(120)
    assert bound(world)
    assert world.mr.registration(world.now).home_agent == HA6


@pytest.mark.spec("M-156", "M-166")
@pytest.mark.parametrize("several", [False, True])
def test_silent_home_agent_is_replaced(several: bool) -> None:
    """With a live registration the same one first; the next when the back-off is at its end."""
    world = registered(agents(several=several))
    world.effects.clear()
    deaf = world._to_agent

    def without_first(effect: SendMessage) -> Callable[[], None] | None:
        return None if effect.destination == HA6 else deaf(effect)

    world._to_agent = without_first  # type: ignore[method-assign]
    world.plug(uplink6(address=COA6B))
    world.run(30)
    assert not bound(world, "ha2")
    asked = [e.destination for e in world.sent("mr", BindingUpdate)]
    assert set(asked) == {HA6}
    assert len(asked) >= 4
    world.run(60)
    assert bound(world, "ha2")


def without_r(world: World) -> None:
    """Let the first home agent answer as one that knows no mobile routers."""
    plainly = world._to_router

    def deliver(effect: SendMessage) -> Callable[[], None] | None:
        message = effect.message
        if effect.source == HA6 and isinstance(message, BindingAcknowledgement):
            effect = replace(effect, message=replace(message, mobile_router=False))
        return plainly(effect)

    world._to_router = deliver  # type: ignore[method-assign]


@pytest.mark.spec("N-006")
@pytest.mark.parametrize("several", [False, True])
def test_home_agent_without_mobile_routers_is_left_for_another(several: bool) -> None:
    """It is told to forget us before the other one is asked."""
    world = agents(several=several)
    without_r(world)
    world.plug(uplink6())
    world.run(3)
    assert not bound(world)
    assert bound(world, "ha2")
    sent = [(e.destination, e.message.lifetime > 0) for e in world.sent("mr", BindingUpdate)]
    assert sent == [(HA6, True), (HA6, False), (HA2, True)]
    assert world.mr.registration(world.now).state is State.REGISTERED
    assert "no mobile routers" in " ".join(note.text for note in world.of("mr", Note))


@pytest.mark.spec("N-006")
def test_no_home_agent_has_mobile_routers() -> None:
    """De-registered, told, others looked for; asked again in a minute, not sooner."""
    world = Agents(mr_config=replace(MR_CONFIG, discover=True, any_agent=True))
    without_r(world)
    world.plug(uplink6())
    world.run(50)
    assert not bound(world)
    assert len(world.of("mr", FindHomeAgents)) == 1
    view = world.mr.registration(world.now)
    assert view.state is State.REFUSED
    assert "no mobile routers" in view.problem
    assert len(world.sent("mr", BindingUpdate)) == 2
    world.run(15)
    assert len(world.sent("mr", BindingUpdate)) == 4
    # One that discovery finds is asked at once.
    world.carry("mr", world.mr.agents.discovered([HA6, HA2], world.now))
    world.run(1)
    assert bound(world, "ha2")


def test_lost_removal_at_a_home_agent_without_mobile_routers_holds_nobody() -> None:
    world = agents()
    without_r(world)
    deaf = world._to_agent

    def no_removal(effect: SendMessage) -> Callable[[], None] | None:
        return deaf(effect) if effect.message.lifetime else None  # type: ignore[union-attr]

    world._to_agent = no_removal  # type: ignore[method-assign]
    world.plug(uplink6())
    world.run(12)
    assert bound(world, "ha2")


def test_refusing_home_agent_is_replaced() -> None:
    bus = replace(HA_CONFIG.owners[0], mobile_router=False)
    world = agents()
    world.carry("ha", world.ha.reconfigure(replace(HA_CONFIG, owners=(bus,)), world.now))
    world.plug(uplink6())
    world.run(3)
    assert not bound(world)
    assert bound(world, "ha2")


def test_restarted_router_goes_on_with_the_second_agent() -> None:
    world = registered(agents())
    switch(world, HA2)
    world.run(1)
    held = tuple(world.kernel["mr"].bindings.values())
    world.mr = MobileRouter(world.mr_config, world.now, held)
    effects = world.mr.start(world.now)
    assert UseHomeAgent(HA2, HA2_4) in effects
    view = world.mr.registration(world.now)
    assert (view.state, view.home_agent) == (State.REGISTERED, HA2)
    # And a reload that says nothing new does not bring it back.
    assert world.mr.reconfigure(world.mr_config, world.now) == []
    assert world.mr.registration(world.now).home_agent == HA2


def test_router_at_home_is_not_sent_anywhere() -> None:
    world = registered(agents())
    switch(world, HA2)
    world.plug(uplink6("home", 5, at_home=True))
    world.run(10)
    assert world.mr.registration(world.now).state is State.HOME
    assert not bound(world)
    assert not bound(world, "ha2")


def test_operator_moves_the_router() -> None:
    world = registered(agents())
    with pytest.raises(ValueError, match="no home agent that is known"):
        world.mr.agents.go(HA3, world.now)
    world.carry("mr", world.mr.agents.go(HA2, world.now))
    world.run(1)
    assert bound(world, "ha2")
    assert not bound(world)
    assert world.mr.agents.go(HA2, world.now) == []
    assert world.of("mr", DropBinding) == []
