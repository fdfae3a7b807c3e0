# SPDX-License-Identifier: GPL-2.0-only
"""Uplinks that were given up: asked at growing intervals, and tried when there is hope."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from dsmip.mobility.captive import Access, Verdict
from dsmip.mobility.effects import HandoverMark, Phase
from dsmip.mobility.router_view import State
from dsmip.mobility.second_chance import ASK_FIRST, ASK_LATEST, GivenUp, SecondChances
from dsmip.packet.http import Target

from tests.unit.roaming import MR_CONFIG, World, uplink4, uplink6
from tests.unit.test_uplink_care import LTE, SILENT, UNCLEAR, WIFI, Make, make, section

__all__ = ["make"]

DEAD = GivenUp("wan0", 1, False, preferred=True)


def test_questions_become_rare() -> None:
    chances = SecondChances()
    now, asked = 0.0, []
    while now < 5 * 3600:
        if chances.observe([DEAD], now):
            asked.append(now)
            assert not chances.heard("wan0", 1, answered=False, now=now)
        due = chances.next_timer()
        assert due is not None
        assert due > now
        now = due
    assert asked[0] == ASK_FIRST
    gaps = [after - before for before, after in pairwise(asked)]
    assert gaps[:5] == [120, 240, 480, 960, ASK_LATEST]
    assert set(gaps[5:]) == {ASK_LATEST}


def test_who_is_asked_for() -> None:
    chances = SecondChances()
    never = replace(DEAD, name="wan1", answered=None)
    later = replace(DEAD, name="wan2", preferred=False)
    for now in range(0, 300, 10):
        asked = chances.observe([DEAD, never, later], now)
        assert asked in ([], ["wan0"])
        for name in asked:
            # That it is there says that it is to be tried, not that it answers.
            assert chances.heard(name, 1, answered=True, now=now)
    # While it is tried nothing is known of it: the waits go on to grow.
    chances.observe([replace(DEAD, answered=None)], 300)
    assert chances.next_timer() == 180 + 4 * ASK_FIRST
    chances.observe([replace(DEAD, answered=True)], 301)
    assert chances.next_timer() is None


def test_answers_for_another_network_count_for_nothing() -> None:
    chances = SecondChances()
    chances.observe([DEAD], 0)
    assert chances.observe([DEAD], ASK_FIRST) == ["wan0"]
    assert chances.observe([DEAD], ASK_FIRST + 1) == []
    chances.observe([replace(DEAD, key=2)], ASK_FIRST + 1)
    assert not chances.heard("wan0", 1, answered=True, now=ASK_FIRST + 2)
    assert not chances.heard("wan0", 2, answered=True, now=ASK_FIRST + 2)
    assert not chances.heard("wan7", 1, answered=True, now=ASK_FIRST + 2)


# --- the mobile router ---------------------------------------------------------------------


def given_up() -> World:
    """Return a router that has left its preferred uplink for the other one."""
    world = World(mr_config=replace(MR_CONFIG, hysteresis=0.0))
    world.plug(uplink6(), uplink4())
    world.run(2)
    assert world.mr.registration(world.now).uplink == "wan0"
    world.dead = {2}
    world.carry("mr", world.mr.reconfigure(replace(world.mr.config, lifetime=60), world.now))
    world.run(600)
    assert world.mr.registration(world.now).uplink == "wan1"
    return world


def test_by_time_alone_nothing_is_tried() -> None:
    world = given_up()
    world.dead = set()
    world.run(600)
    assert world.mr.registration(world.now).uplink == "wan1"


def test_who_is_there_again_is_returned_to() -> None:
    world = given_up()
    world.dead = set()
    world.carry("mr", world.mr.try_again("wan0", world.now))
    world.run(1)
    view = world.mr.registration(world.now)
    assert (view.uplink, view.state) == ("wan0", State.REGISTERED)


def test_who_is_not_there_after_all_has_data_for_a_second_only() -> None:
    world = given_up()
    world.carry("mr", world.mr.try_again("wan0", world.now))
    assert world.mr.registration(world.now).uplink == "wan0"
    world.run(10)
    view = world.mr.registration(world.now)
    assert (view.uplink, view.state) == ("wan1", State.REGISTERED)
    there, back = [m.at for m in world.of("mr", HandoverMark) if m.phase is Phase.LINK][-2:]
    assert back - there < 2


def test_one_that_is_not_preferred_moves_nothing() -> None:
    world = given_up()
    before = len(list(world.of("mr", HandoverMark)))
    for name in ("wan1", "wan7"):
        world.carry("mr", world.mr.try_again(name, world.now))
    world.carry("mr", world.mr.handover("wan1", world.now))
    world.carry("mr", world.mr.try_again("wan0", world.now))
    world.run(1)
    assert world.mr.registration(world.now).uplink == "wan1"
    assert len(list(world.of("mr", HandoverMark))) == before


# --- in the daemon -------------------------------------------------------------------------


def test_the_home_agent_is_asked_and_the_uplink_tried(make: Make) -> None:
    world = make(section(WIFI, LTE, portal_url="http://check.example/"))
    world.network = {"wifi": SILENT, "lte": UNCLEAR}
    world.role.uplink = "lte"
    world.say(wifi=False, lte=True)
    world.loop.run(ASK_FIRST - 1)
    agent = (Target("2001:db8:1::1"), Target("198.51.100.1"))
    assert agent not in [targets for _at, targets, *_ in world.asked]
    world.loop.run(2)
    assert [one[4] for one in world.asked if one[1] == agent] == [2]
    assert world.role.again == []
    world.network["wifi"] = UNCLEAR
    world.loop.run(2 * ASK_FIRST)
    assert world.role.again == ["wifi"]
    assert world.role.counters["uplinks_tried_again"] == 1
    # It answers: it is asked no more.
    world.role.uplink = "wifi"
    world.say(wifi=True)
    world.loop.run(3600)
    assert world.role.again == ["wifi"]


def test_who_is_not_asked_again(make: Make) -> None:
    for uplinks, options, active in (
        ((WIFI, LTE), {}, "lte"),  # nobody may be asked
        ((WIFI | {"portal": False}, LTE), {"portal_url": "auto"}, "lte"),
        ((LTE, WIFI), {"portal_url": "auto"}, "lte"),  # the one in use is preferred
        ((WIFI, LTE), {"portal_url": "auto", "multihoming": True}, "lte"),
        ((WIFI, LTE), {"portal_url": "auto"}, ""),  # nobody is in use
    ):
        world = make(section(*uplinks, **options))
        world.network = {"wifi": UNCLEAR, "lte": UNCLEAR}
        world.role.uplink = active
        world.say(wifi=False, lte=bool(active))
        world.loop.run(3600)
        assert world.role.again == [], (uplinks, options, active)


def test_a_portal_is_no_home_agent(make: Make) -> None:
    world = make(section(WIFI, LTE, portal_url="auto"))
    world.role.uplink = "lte"
    world.network["wifi"] = Verdict(Access.CAPTIVE, "http://p.example/")
    world.say(wifi=False, lte=True)
    world.loop.run(3600)
    assert world.role.again == []
