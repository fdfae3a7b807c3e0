# SPDX-License-Identifier: GPL-2.0-only
"""Managers of keys: what they put into the kernel, and what a movement does to it."""

from __future__ import annotations

import copy
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest
from dsmip.ipsec.movement import Ability
from dsmip.ipsec.policy import Action, Direction, Ends, Kind, Role, Whereabouts
from dsmip.packet.careof import CareOf, WireKind
from dsmip.service.config import Config, parse
from dsmip.service.external import ExternalKeys
from dsmip.service.ike_config import Manager
from dsmip.service.keys import Guard, Keys, Rows
from dsmip.service.members import Member

from tests.unit.fakexfrm import FakeXfrm
from tests.unit.test_config import AGENT, ROUTER, changed

HOA, HA6 = IPv6Address("2001:db8:1::100"), IPv6Address("2001:db8:1::1")
HA4 = IPv4Address("198.51.100.1")
COA6, COA6B = IPv6Address("2001:db8:a6::5"), IPv6Address("2001:db8:a7::5")
COA4 = IPv4Address("198.18.4.9")
HOME = IPv6Network("2001:db8:1::/64")
AT6, AT6B = CareOf(COA6), CareOf(COA6B)
AT4 = CareOf(COA4, WireKind.UDP4)


def rows(config: Config) -> Rows:
    found: list[Any] = []
    if config.home_agent is not None:
        found += [(Role.HOME_AGENT, row) for row in config.home_agent.rows]
    if config.mobile_router is not None:
        found += [(Role.MOBILE_ROUTER, row) for row in config.mobile_router.rows]
    return found


def external(base: dict[str, Any], path: str, payload: str = "rfc4877") -> dict[str, Any]:
    made = changed(base, f"{path}.static_key", None)
    made = changed(made, f"{path}.keys", "external")
    return changed(made, f"{path}.payload", payload)


def started(values: dict[str, Any], xfrm: FakeXfrm) -> Keys:
    def make(manager: Manager) -> Guard:
        assert manager is Manager.EXTERNAL
        return ExternalKeys(xfrm)

    keys = Keys(xfrm, make)
    keys.update(rows(parse(values)), (HOME,))
    return keys


def member(keys: Keys, manager: Manager = Manager.STATIC) -> Member:
    guard = keys.manager(manager)
    assert guard is not None
    (found,) = guard.members.values()
    return found


def payload_reqid(keys: Keys, manager: Manager) -> int:
    row = member(keys, manager).row_of(Kind.PAYLOAD)
    assert row is not None
    return row.reqid


# --- static ---------------------------------------------------------------------------


def test_static_rows_of_both_ends_fit() -> None:
    agent, router = FakeXfrm(), FakeXfrm()
    started(AGENT, agent)
    started(ROUTER, router)
    assert agent.sas == router.sas
    assert len(agent.sas) == 2
    here = {p.selector for p in router.held.values() if p.direction is Direction.OUT}
    there = {
        p.selector
        for p in agent.held.values()
        if p.direction is Direction.IN and p.action is Action.PROTECT
    }
    assert here == there


def test_who_has_no_keys_by_configuration_is_heard() -> None:
    values = changed(AGENT, "home_agent.router.0.static_key", None)
    values = changed(values, "home_agent.router.0.protection", "none")
    xfrm = FakeXfrm()
    keys = started(values, xfrm)
    assert keys.protects(HOA, HA6)
    assert not xfrm.held
    assert not keys.protects(HOA + 1, HA6)


def test_a_restart_changes_nothing() -> None:
    xfrm = FakeXfrm()
    started(AGENT, xfrm)
    held, sas = dict(xfrm.held), dict(xfrm.sas)
    keys = started(AGENT, xfrm)
    keys.started()
    assert (xfrm.held, xfrm.sas) == (held, sas)
    assert not xfrm.removed


def test_another_key_replaces_and_a_removed_router_leaves_nothing() -> None:
    xfrm = FakeXfrm()
    keys = started(AGENT, xfrm)
    before = set(xfrm.sas)
    keys.update(rows(parse(changed(AGENT, "home_agent.router.0.static_key", "11" * 32))))
    assert len(xfrm.sas) == 2
    assert not before & set(xfrm.sas)
    keys.update([])
    assert not xfrm.sas
    assert not xfrm.held


def test_inside_form_is_active_while_the_router_is_away() -> None:
    values = changed(ROUTER, "mobile_router.payload", "inside")
    xfrm = FakeXfrm()
    keys = started(values, xfrm)
    reqid = payload_reqid(keys, Manager.STATIC)
    assert len(xfrm.of(reqid)) == 2
    keys.moved(HOA, None, AT6)
    assert xfrm.outers(reqid) == {(HOA, HA6), (HA6, HOA)}
    before = dict(xfrm.held)
    keys.moved(HOA, AT6, AT4)
    keys.moved(HOA, AT4, AT6B)
    assert xfrm.held == before, "no movement concerns it"
    keys.moved(HOA, AT6B, None, at_home=True)
    assert not xfrm.outers(reqid)
    keys.moved(HOA, None, AT6)
    assert xfrm.held == before


def test_inside_form_at_the_agent_begins_with_the_binding() -> None:
    values = changed(AGENT, "home_agent.router.0.payload", "inside")
    xfrm = FakeXfrm()
    keys = started(values, xfrm)
    reqid = payload_reqid(keys, Manager.STATIC)
    assert not xfrm.outers(reqid)
    keys.moved(HOA, None, AT6)
    assert xfrm.outers(reqid) == {(HOA, HA6), (HA6, HOA)}
    # A daemon that restarts finds them and leaves them until it knows better.
    again = started(values, xfrm)
    assert xfrm.outers(reqid) == {(HOA, HA6), (HA6, HOA)}
    again.moved(HOA, None, AT6)
    again.started()
    assert xfrm.outers(reqid) == {(HOA, HA6), (HA6, HOA)}
    third = started(values, xfrm)
    third.started()
    assert not xfrm.outers(reqid), "nobody has told of a binding"


def test_payload_has_keys_of_its_own() -> None:
    xfrm = FakeXfrm()
    started(changed(AGENT, "home_agent.router.0.payload", "inside"), xfrm)
    assert len({one.encryption_key for one in xfrm.sas.values()}) == 4


# --- external -------------------------------------------------------------------------


@pytest.mark.parametrize("ability", [Ability.MIGRATE, Ability.MIGRATE_STATE])
def test_external_rows_move_and_announce(ability: Ability) -> None:
    xfrm = FakeXfrm(ability)
    keys = started(external(ROUTER, "mobile_router"), xfrm)
    reqid = payload_reqid(keys, Manager.EXTERNAL)
    assert not xfrm.sas
    keys.moved(HOA, None, AT6)
    assert xfrm.outers(reqid) == {(COA6, HA6), (HA6, COA6)}
    assert set(xfrm.told) == {(COA6, HA6)}
    xfrm.told.clear()
    keys.moved(HOA, AT6, AT4)
    assert xfrm.outers(reqid) == {(COA4, HA4), (HA4, COA4)}
    assert set(xfrm.told) == {(COA4, HA4)}
    xfrm.told.clear()
    keys.moved(HOA, AT4, None, at_home=True)
    assert not xfrm.outers(reqid)
    assert set(xfrm.told) == {(HOA, HA6)}


def test_external_agent_announces_the_other_way_round() -> None:
    xfrm = FakeXfrm()
    keys = started(external(AGENT, "home_agent.router.0"), xfrm)
    assert keys.protects(HOA, HA6)
    keys.moved(HOA, None, AT6)
    assert set(xfrm.told) == {(HA6, COA6)}


def test_a_refresh_announces_nothing() -> None:
    xfrm = FakeXfrm()
    keys = started(external(ROUTER, "mobile_router"), xfrm)
    keys.moved(HOA, None, AT6)
    xfrm.told.clear()
    keys.moved(HOA, AT6, AT6)
    assert not xfrm.told


def test_external_restart_finds_its_place() -> None:
    xfrm = FakeXfrm()
    values = external(ROUTER, "mobile_router")
    keys = started(values, xfrm)
    keys.moved(HOA, None, AT6)
    held = dict(xfrm.held)
    again = started(values, xfrm)
    assert xfrm.held == held
    assert member(again, Manager.EXTERNAL).place == Ends(COA6, HA6)
    again.moved(HOA, None, AT6B)
    reqid = payload_reqid(again, Manager.EXTERNAL)
    assert xfrm.outers(reqid) == {(COA6B, HA6), (HA6, COA6B)}


def test_external_without_migrate_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    started(external(ROUTER, "mobile_router"), FakeXfrm(Ability.NONE))
    assert "has no MIGRATE" in caplog.text


# --- several managers -----------------------------------------------------------------


def mixed() -> dict[str, Any]:
    second = copy.deepcopy(AGENT["home_agent"]["router"][0]) | {
        "identity": "tram-3",
        "home_address": "2001:db8:1::200",
        "home_address4": "198.51.100.200",
        "prefixes": ["2001:db8:200::/56"],
        "keys": "external",
    }
    del second["static_key"]
    return changed(AGENT, "home_agent.router", [*AGENT["home_agent"]["router"], second])


def test_routers_of_one_agent_with_different_managers() -> None:
    xfrm = FakeXfrm()
    keys = started(mixed(), xfrm)
    tram = IPv6Address("2001:db8:1::200")
    assert keys.protects(HOA, HA6)
    assert keys.protects(tram, HA6)
    assert len(xfrm.sas) == 2
    assert {entry["manager"] for entry in keys.documents()} == {"static", "external"}
    assert keys.documents(1) == keys.documents()[:1]
    # Nothing from the home prefix is heard that nobody vouches for.
    block = [p for p in xfrm.held.values() if p.selector.source == HOME]
    assert [p.action for p in block] == [Action.BLOCK]


def test_somebody_elses_associations_survive_an_update() -> None:
    xfrm = FakeXfrm()
    keys = started(mixed(), xfrm)
    guard = keys.manager(Manager.EXTERNAL)
    assert guard is not None
    (tram,) = guard.members.values()
    template = next(iter(xfrm.sas.values()))
    theirs = replace(template, spi=0x77777777, reqid=tram.rows[0].reqid)
    xfrm.add_association(theirs)
    keys.update(rows(parse(mixed())), (HOME,))
    assert theirs in xfrm.sas.values()
    keys.update(rows(parse(AGENT)), (HOME,))
    assert theirs not in xfrm.sas.values()


def test_stop_without_keeping_leaves_nothing() -> None:
    xfrm = FakeXfrm()
    keys = started(mixed(), xfrm)
    keys.stop(keep=True)
    assert xfrm.sas
    keys.stop(keep=False)
    assert not xfrm.sas
    assert not xfrm.held


def test_a_router_without_a_home_address_has_no_policies() -> None:
    xfrm = FakeXfrm()
    keys = started(ROUTER, xfrm)
    alone = member(keys)
    nameless = alone.with_home_address(IPv6Address(0))
    assert nameless.policies() == ()
    assert nameless.place is Whereabouts.UNKNOWN
