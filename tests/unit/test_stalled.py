# SPDX-License-Identifier: GPL-2.0-only
"""Stalled uplinks: which are restarted, how often, and which never."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from dsmip.mobility.effects import Note
from dsmip.mobility.stalled import LONGEST, RestartUplink, StallWatch, Tried

LTE = Tried("lte", True, False)
WIFI = Tried("wifi", True, True, carries=True)


class Router:
    """Feeds a watch, and jumps from timer to timer."""

    def __init__(self, *uplinks: Tried) -> None:
        self.watch = StallWatch()
        self.uplinks = {one.name: one for one in uplinks}
        self.now = 1000.0
        self.restarts: list[tuple[float, str, int]] = []
        self.notes: list[str] = []

    def look(self, *uplinks: Tried) -> None:
        self.uplinks |= {one.name: one for one in uplinks}
        for effect in self.watch.observe(self.uplinks.values(), self.now):
            if isinstance(effect, Note):
                self.notes.append(effect.text)
            else:
                assert isinstance(effect, RestartUplink)
                self.restarts.append((self.now, effect.name, effect.number))

    def run(self, until: float) -> None:
        """Look at every timer, and every ten seconds as the engine's updates do."""
        while self.now < until:
            due = self.watch.next_timer()
            self.now = min(until, self.now + 10.0 if due is None else min(due, self.now + 10.0))
            self.look()


def test_restarts_double_up_to_an_hour_and_start_over_with_the_first_answer() -> None:
    router = Router(LTE, WIFI)
    router.look()
    router.run(1059.9)
    assert router.restarts == []
    assert router.watch.text("lte", router.now) == "stalled, restart in 1 s"
    router.run(1000.0 + 6 * 3600)
    times = [at for at, _name, _number in router.restarts]
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == 1060.0
    assert gaps[:6] == [120, 240, 480, 960, 1920, LONGEST]
    assert set(gaps[6:]) == {LONGEST}
    assert [number for _at, _name, number in router.restarts] == list(range(1, len(times) + 1))
    count = len(times)
    assert router.watch.text("lte", router.now).startswith(f"stalled, restarted {count} times, ag")
    router.look(replace(LTE, answered=True))
    assert router.watch.text("lte", router.now) == ""
    assert router.watch.restarts("lte") == 0
    assert router.notes[-1] == f"lte answers again after {count} restarts"
    began = router.now
    router.look(LTE)
    router.run(began + 100)
    assert router.restarts[-1] == (began + 60, "lte", 1)


def test_status_counts_and_says_when() -> None:
    router = Router(LTE, WIFI)
    router.look()
    router.run(1060.0)
    assert router.watch.text("lte", router.now) == "stalled, restarted once"
    router.run(1180.0)
    router.run(1190.0)
    assert router.watch.text("lte", router.now) == "stalled, restarted 2 times, again in 4 min"


def test_what_carries_traffic_is_never_restarted() -> None:
    router = Router(replace(LTE, carries=True), WIFI)
    router.look()
    router.run(50_000.0)
    assert router.restarts == []
    assert router.watch.next_timer() is None


def test_all_at_once_is_the_home_agent() -> None:
    silent = replace(WIFI, answered=False, carries=False)
    router = Router(LTE, silent)
    router.look()
    router.run(50_000.0)
    assert router.restarts == []
    assert "home agent suspected" in router.watch.text("lte", router.now)
    # One comes back: the home agent is there, and the other has waited long enough.
    router.look(WIFI)
    assert [(name, number) for _at, name, number in router.restarts] == [("lte", 1)]


def test_an_answer_from_before_the_silence_proves_nothing() -> None:
    router = Router(LTE, WIFI)
    router.look(replace(LTE, answered=None))
    router.uplinks["wifi"] = replace(WIFI, answered=None, carries=False)
    router.now += 1
    router.look(LTE)
    router.run(10_000.0)
    assert router.restarts == []


def test_an_answer_that_is_gone_is_no_answer() -> None:
    router = Router(LTE, WIFI)
    router.look()
    router.look(replace(WIFI, up=False, answered=None, carries=False))
    router.run(10_000.0)
    assert router.restarts == []


def test_alone_it_takes_a_second_opinion() -> None:
    router = Router(LTE)
    router.look()
    router.run(10_000.0)
    assert router.restarts == []
    router.look(replace(LTE, else_answered=False))
    assert len(router.restarts) == 1
    answered = Router(replace(LTE, else_answered=True), WIFI)
    answered.look()
    answered.run(10_000.0)
    assert answered.restarts == []  # UDP is blocked there: no modem's fault


def test_what_nobody_tries_or_is_down_or_may_not_be_is_left_alone() -> None:
    for other in (
        replace(LTE, answered=None),
        replace(LTE, up=False),
        replace(LTE, after=0.0),
    ):
        router = Router(other, WIFI)
        router.look()
        router.run(50_000.0)
        assert router.restarts == [], other


def test_the_back_off_outlasts_the_interface_being_down() -> None:
    router = Router(LTE, WIFI)
    router.look()
    router.run(1060.0)
    router.look(replace(LTE, up=False))
    router.run(1070.0)
    router.look(LTE)
    router.run(1179.0)
    assert len(router.restarts) == 1
    router.run(1181.0)
    assert router.restarts[-1] == (1180.0, "lte", 2)


def test_what_is_configured_no_more_is_forgotten() -> None:
    router = Router(LTE, WIFI)
    router.look()
    del router.uplinks["lte"]
    router.look()
    assert router.watch.next_timer() is None
    assert router.watch.text("lte", router.now) == ""


def test_a_long_patience_is_not_shortened_by_the_bound() -> None:
    router = Router(replace(LTE, after=7200.0), WIFI)
    router.look()
    router.run(1000.0 + 5 * 7200)
    times = [at for at, _name, _number in router.restarts]
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps
    assert all(7200 <= gap <= 7220 for gap in gaps)
