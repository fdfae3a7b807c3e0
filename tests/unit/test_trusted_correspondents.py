# SPDX-License-Identifier: GPL-2.0-only
"""Both ends share keys: IPsec associations take the place of return routability."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network
from typing import Any

import pytest
from dsmip.ipsec.policy import Action, Direction, Kind, Mode, Role
from dsmip.mobility.config import CorrespondentConfig, RouteOptimisationConfig
from dsmip.mobility.correspondent_list import Phase
from dsmip.mobility.effects import Count, Effect, Moved, SendMessage
from dsmip.packet.careof import CareOf
from dsmip.packet.mobility import (
    BindingAcknowledgement,
    BindingUpdate,
    CareOfTestInit,
    HomeTestInit,
)
from dsmip.packet.options import AlternateCareOfAddress, BindingAuthorizationData, find
from dsmip.service.config import parse
from dsmip.service.keys import Keys
from dsmip.service.options import ConfigError

from tests.unit.fakexfrm import FakeXfrm
from tests.unit.ikeworld import AT4, AT6, AT6B, World
from tests.unit.optimising import (
    AT_HOME,
    BY_COA,
    BY_IPV4,
    CN,
    COA,
    COA2,
    COOKIE,
    HA6,
    HOA,
    OTHER_CN,
    Node,
    Pair,
    away,
)
from tests.unit.test_config import ROUTER, SECRET, changed

TRUSTING = RouteOptimisationConfig(trusted=frozenset((CN,)))
TRUSTED = CorrespondentConfig(trusted=frozenset((HOA,)))
KEY = "42" * 32


def pair(**more: Any) -> Pair:
    return Pair(TRUSTING, TRUSTED, **({"protected": True} | more))


def counters(effects: list[Effect]) -> list[str]:
    return [e.name for e in effects if isinstance(e, Count)]


def test_no_tests_but_an_update_at_once() -> None:
    both = pair().bound(0.1)
    assert both.sent("mr", HomeTestInit) + both.sent("mr", CareOfTestInit) == []
    (update,) = both.sent("mr", BindingUpdate)
    assert find(update.message.options, AlternateCareOfAddress) == AlternateCareOfAddress(COA)
    assert find(update.message.options, BindingAuthorizationData) is None
    assert both.kernel["cn"][HOA].lifetime == 3600
    assert both.kernel["mr"][CN].lifetime <= 3600
    # Keys follow where the node is.
    moves = [e for _, who, e in both.effects if who == "cn" and isinstance(e, Moved)]
    assert moves == [Moved(HOA, None, CareOf(COA))]


def test_moves_refreshes_and_the_way_home() -> None:
    both = pair().bound(0.1)
    both.attach(away(COA2, ready=False))
    both.run(1)
    assert len(both.sent("mr", BindingUpdate)) == 1
    both.attach(away(COA2))
    both.run(0.1)
    assert both.kernel["mr"][CN].paths[0].local == COA2
    assert both.kernel["cn"][HOA].paths[0].remote == COA2
    both.packets["mr"] = 9
    both.run(3590)
    assert both.state().direct
    assert len(both.sent("mr", BindingUpdate)) == 3
    both.attach(AT_HOME)
    both.run(1)
    assert both.kernel == {"cn": {}, "mr": {}}
    assert both.states() == []
    moves = [e for _, who, e in both.effects if who == "cn" and isinstance(e, Moved)]
    assert moves[-1] == Moved(HOA, CareOf(COA2), None, True)


def test_ipv4_ends_it() -> None:
    both = pair().bound(0.1)
    both.attach(BY_IPV4)
    both.run(1)
    assert both.kernel == {"cn": {}, "mr": {}}
    assert both.sent("mr", HomeTestInit) == []


def test_nothing_in_clear_is_taken_by_the_correspondent() -> None:
    both = pair(protected=False)
    for effects in (both.to_cn(HomeTestInit(COOKIE)), both.to_cn(HomeTestInit(COOKIE), HOA)):
        assert not any(isinstance(e, SendMessage) for e in effects)
    update = BindingUpdate(1, 100, True, options=(AlternateCareOfAddress(COA),))
    assert counters(both.to_cn(update, HOA, BY_COA)) == ["bu_unprotected"]
    # Not even with tokens that somebody on the way to its home agent has seen.
    node = Node(both)
    node.test_care_of()
    nonce = both.cn._nonces.current(both.now)
    node.home_test = replace(
        node.care_of_tests[COA], nonce_index=nonce.index, token=nonce.home_token(HOA)
    )  # type: ignore[assignment]
    assert counters(node.send(node.update())) == ["bu_unprotected"]
    assert both.kernel["cn"] == {}


def test_protection_of_a_stranger_is_no_authority() -> None:
    """An association alone does not make a node one of the trusted."""
    both = Pair(cn_config=CorrespondentConfig(), protected=True)
    update = BindingUpdate(1, 100, True, options=(AlternateCareOfAddress(COA),))
    assert counters(both.to_cn(update, HOA, BY_COA)) == ["bu_no_nonce_indices"]


def test_nothing_in_clear_is_taken_by_the_router() -> None:
    both = pair(lost=lambda who, _effect: who == "cn")
    both.attach(away())
    both.speak()
    both.run(0.1)
    sent = both.sent("mr", BindingUpdate)[0].message
    assert isinstance(sent, BindingUpdate)
    for status in (0, 129, 135, 136, 138):
        answer = BindingAcknowledgement(status, sent.sequence, 900)
        assert counters(both.to_mr(answer, care_of=BY_COA)) == ["ro_ba_unprotected"]
    assert both.state().phase is Phase.UPDATING
    answer = BindingAcknowledgement(0, sent.sequence, 900)
    assert "ro_bound" in counters(both.to_mr(answer, care_of=BY_COA, protected=True))


def test_repeated_updates_change_nothing() -> None:
    both = pair().bound(0.1)
    old = both.sent("mr", BindingUpdate)[0].message
    both.attach(AT_HOME)
    both.run(1)
    effects = both.to_cn(old, HOA, BY_COA)
    (answer,) = [e.message for e in effects if isinstance(e, SendMessage)]
    assert isinstance(answer, BindingAcknowledgement)
    assert answer.status == 135
    assert both.kernel["cn"] == {}


def test_restart_tells_where_keys_belong() -> None:
    both = pair().bound(0.1)
    both.restart_correspondent()
    assert both.effects[-2][2] == Moved(HOA, None, CareOf(COA))


# --- configuration and policies ---------------------------------------------------------


def router(**more: Any) -> dict[str, Any]:
    entry = {"address": str(CN), "static_key": KEY}
    made = changed(ROUTER, "mobile_router.trusted", [entry])
    for name, value in more.items():
        made = changed(made, f"mobile_router.{name}", value)
    return made


def correspondent(**more: Any) -> dict[str, Any]:
    entry = {"home_address": str(HOA), "static_key": KEY} | more
    return {"correspondent": {"addresses": [str(CN)], "trusted": [entry]}}


def test_configuration_of_both() -> None:
    section = parse(router()).mobile_router
    assert section is not None
    assert section.optimisation.engine.trusted == {CN}
    assert [row.agent for row in section.optimisation.rows] == [CN]
    other = parse(correspondent()).correspondent
    assert other is not None
    assert other.engine.trusted == {HOA}
    assert other.rows[0].keys == section.optimisation.rows[0].keys


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"correspondent": {"trusted": [{"home_address": str(HOA), "static_key": KEY}]}}, "addr"),
        (correspondent(payload="inside"), "all between both"),
        (correspondent(static_key="00"), "static_key"),
        (correspondent(unknown=1), "unknown"),
        ({"correspondent": {"addresses": [str(CN)], "trusted": [{}]}}, "home_address"),
        (correspondent(keys="ikev2", static_key=SECRET), "excludes"),
        (router(payload="inside"), "trusted"),
        (router(route_optimisation=False), "trusted"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(values)


@pytest.mark.parametrize("side", ["mr", "cn"])
def test_all_between_both_is_protected(side: str) -> None:
    xfrm = FakeXfrm()
    keys = Keys(xfrm)
    if side == "mr":
        section = parse(router()).mobile_router
        assert section is not None
        rows = [(Role.MOBILE_ROUTER, row) for row in (*section.rows, *section.optimisation.rows)]
    else:
        other = parse(correspondent()).correspondent
        assert other is not None
        rows = [(Role.HOME_AGENT, row) for row in other.rows]
    keys.update(rows)
    home, there = IPv6Network(HOA), IPv6Network(CN)
    found = [
        one
        for one in xfrm.policies()
        if {one.selector.source, one.selector.destination} == {home, there}
    ]
    assert {one.direction for one in found} == {Direction.IN, Direction.OUT}
    for policy in found:
        assert policy.action is Action.PROTECT
        assert policy.selector.protocol == 0
        assert policy.template is not None
        assert policy.template.mode is Mode.TRANSPORT
        assert policy.priority == Kind.SIGNALLING.priority
    assert keys.protects(HOA, CN)
    assert not keys.protects(HOA, OTHER_CN)


# --- keys from IKEv2 ----------------------------------------------------------------------


def ike_world() -> World:
    """A correspondent at the address at which the world has a home agent."""
    psk = {"keys": "ikev2", "psk": "0x" + KEY}
    theirs = {"home_address": str(HOA), "identity": "bus-17", **psk}
    section = {"addresses": [str(HA6)], "identity": "cn.example.net", "trusted": [theirs]}
    ours = {"address": str(HA6), "identity": "cn.example.net", **psk}
    values = changed(ROUTER, "mobile_router.trusted", [ours])
    values = changed(values, "mobile_router.home_agent", ["2001:db8:1::9"])
    return World(parse({"correspondent": section}), parse(values))


def test_keys_come_from_ike_and_follow_whatever_the_home_agent_says() -> None:
    world = ike_world()
    assert not world.ha.keys.protects(HOA, HA6)
    world.mr.keys.moved(HOA, None, AT6)
    world.run()
    assert world.ha.keys.protects(HOA, HA6)
    both = {(HOA, HA6), (HA6, HOA)}
    assert world.ha.pairs() == both
    assert both < world.mr.pairs()  # there are those with the home agent, too
    # The home agent's answer had no K bit: that is about its own keys.
    world.mr.keys.moved(HOA, AT6, AT6B, False, False)
    world.run()
    world.ha.keys.moved(HOA, AT6, AT6B)
    world.run()
    assert world.wire.handshakes() == 1
    assert world.mr.view().local.address == world.ha.view().remote.address == AT6B.address


def test_ike_stays_while_there_is_no_way_to_the_correspondent() -> None:
    world = ike_world()
    world.mr.keys.moved(HOA, None, AT6)
    world.run()
    world.mr.keys.moved(HOA, AT6, AT4)
    world.run()
    assert world.mr.view().local.address == AT6.address
    world.mr.keys.moved(HOA, AT4, AT6B)
    world.run()
    assert world.wire.handshakes() == 1
    assert world.mr.view().local.address == AT6B.address
