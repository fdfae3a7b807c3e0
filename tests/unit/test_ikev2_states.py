# SPDX-License-Identifier: GPL-2.0-only
"""The tables of states, message windows and timers by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dsmip.ikev2.admission import Admission, Rate, source_of
from dsmip.ikev2.config import (
    ChildConfig,
    EngineConfig,
    NoDirectory,
    Retransmission,
    StaticDirectory,
)
from dsmip.ikev2.errors import LocalError
from dsmip.ikev2.identity import Identity
from dsmip.ikev2.states import (
    ACCEPTED,
    CHILD_TRANSITIONS,
    CLOSE_CHILD,
    IKE_TRANSITIONS,
    REKEY_CHILD,
    ChildEvent,
    ChildState,
    IkeEvent,
    IkeState,
    child_after,
    ike_after,
)
from dsmip.ikev2.timers import Timers
from dsmip.ikev2.window import Answers, Outstanding, Requests, Verdict

from tests.unit.ikepair import AGENT, IKE, MOBILE4, connection, selector, tunnel


def reachable(table: dict[tuple[Any, Any], Any], starts: set[Any]) -> set[Any]:
    found = set(starts)
    while True:
        more = {after for (state, _), after in table.items() if state in found} - found
        if not more:
            return found
        found |= more


def test_every_state_can_be_reached_and_left() -> None:
    starts = {IkeState.INITIATING, IkeState.HALF_OPEN}
    assert reachable(IKE_TRANSITIONS, starts) == set(IkeState)
    assert reachable(CHILD_TRANSITIONS, {ChildState.INSTALLED}) == set(ChildState)
    for state in set(IkeState) - {IkeState.GONE}:
        assert ike_after(state, IkeEvent.END) is IkeState.GONE
    for child in set(ChildState) - {ChildState.GONE}:
        assert child_after(child, ChildEvent.END) is ChildState.GONE


def test_tables_are_complete() -> None:
    assert set(ACCEPTED) == set(IkeState)
    assert set(REKEY_CHILD) == set(CLOSE_CHILD) == set(ChildState)


@pytest.mark.parametrize(
    ("after", "state", "event"),
    [
        (ike_after, IkeState.GONE, IkeEvent.UP),
        (ike_after, IkeState.HALF_OPEN, IkeEvent.REKEY),
        (ike_after, IkeState.DELETING, IkeEvent.REKEY),
        (child_after, ChildState.GONE, ChildEvent.END),
        (child_after, ChildState.DELETING, ChildEvent.REKEY),
    ],
)
def test_what_makes_no_sense_is_our_fault(
    after: Callable[[Any, Any], Any], state: Any, event: Any
) -> None:
    with pytest.raises(LocalError):
        after(state, event)


# --- windows ------------------------------------------------------------------------------


def item(number: int) -> Outstanding:
    return Outstanding(number, None, (b"x",), 0.0)  # type: ignore[arg-type]


def test_requests_stay_within_the_window() -> None:
    requests = Requests()
    requests.add(item(0))
    assert not requests.room
    with pytest.raises(LocalError):
        requests.add(item(1))
    requests.size = 3
    requests.add(item(1))
    requests.add(item(2))
    assert not requests.room
    # The window begins with the oldest that is unanswered.
    del requests.outstanding[1]
    assert not requests.room
    del requests.outstanding[0]
    assert requests.room
    with pytest.raises(LocalError):
        requests.add(item(7))


def test_answers_are_kept_as_long_as_they_may_be_asked_for() -> None:
    answers = Answers()
    assert answers.judge(1) is Verdict.OUTSIDE
    assert answers.begin(0)
    assert answers.judge(0) is Verdict.RUNNING
    answers.finish(0, (b"zero",))
    assert answers.judge(0) is Verdict.REPEATED
    assert answers.kept(0) == (b"zero",)
    answers.begin(1)
    assert answers.judge(0) is Verdict.OUTSIDE
    answers.finish(1, (b"one",))
    assert answers.kept(0) == ()


def test_requests_of_a_wide_window_come_in_any_order() -> None:
    answers = Answers()
    answers.size = 4
    assert answers.begin(2)
    answers.finish(2, (b"two",))
    assert not answers.begin(0)
    answers.finish(0, (b"zero",))
    assert answers.judge(5) is Verdict.OUTSIDE
    assert answers.judge(4) is Verdict.NEW
    assert answers.begin(1) is False
    answers.finish(1, (b"one",))
    assert answers.judge(6) is Verdict.NEW
    assert [answers.judge(n) for n in range(3)] == [Verdict.REPEATED] * 3
    answers.begin(5)
    assert [answers.judge(n) for n in range(3)] == [
        Verdict.OUTSIDE,
        Verdict.OUTSIDE,
        Verdict.REPEATED,
    ]


# --- timers --------------------------------------------------------------------------------


def test_timers_fire_in_order_and_once() -> None:
    timers: Timers[str] = Timers()
    assert timers.next() is None
    timers.set("late", 9.0)
    timers.set("b", 2.0)
    timers.set("a", 1.0)
    timers.set("b", 1.5)
    timers.set("gone", 1.2)
    timers.cancel("gone")
    timers.cancel("never")
    assert timers.next() == 1.0
    assert timers.at("b") == 1.5
    assert list(timers.due(2.0)) == ["a", "b"]
    assert list(timers.due(2.0)) == []
    assert timers.next() == 9.0
    assert len(timers) == 1


def test_a_timer_may_be_set_while_others_fire() -> None:
    timers: Timers[int] = Timers()
    timers.set(1, 1.0)
    seen = []
    for key in timers.due(10.0):
        seen.append(key)
        if key < 4:
            timers.set(key + 1, float(key + 1))
    assert seen == [1, 2, 3, 4]


def test_timers_that_are_set_again_and_again_take_no_room() -> None:
    timers: Timers[str] = Timers()
    for number in range(10_000):
        timers.set("x", float(number))
    assert len(timers._heap) < 200
    assert timers.next() == 9999.0


# --- small things ---------------------------------------------------------------------------


def test_waits_grow_to_a_longest_one() -> None:
    waits = [Retransmission().wait(sent) for sent in range(1, 13)]
    assert waits == sorted(waits)
    assert waits[0] == 0.5
    assert waits[-1] == 60.0
    assert Retransmission().wait(100_000) == 60.0
    assert 240 < sum(waits) < 420


def test_rates_and_sources() -> None:
    rate = Rate(2.0)
    assert [rate.take(1.0) for _ in range(4)] == [True, True, False, False]
    assert [rate.take(1.5), rate.take(1.5)] == [True, False]
    assert [rate.take(0.0)] == [False]
    assert source_of(AGENT) == AGENT.packed[:8]
    assert source_of(MOBILE4) == MOBILE4.packed
    admission = Admission(EngineConfig((IKE,)))
    for _ in range(3):
        admission.enter(AGENT)
    for _ in range(3):
        admission.leave(AGENT)
    assert admission.half_open == 0
    assert not admission._sources


def test_configurations_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="selectors"):
        ChildConfig("x", 1, (), (selector("::/0"),), tunnel().proposals)
    with pytest.raises(ValueError, match="jitter"):
        tunnel(jitter=1.0)


def test_directories() -> None:
    found = connection()
    stranger = Identity.parse("stranger.example.net")
    directory = StaticDirectory({"ha.example.net": found})
    assert directory.find(None, Identity.parse("ha.example.net")) is found
    assert directory.find(found.local, Identity.parse("ha.example.net")) is found
    assert directory.find(stranger, Identity.parse("ha.example.net")) is None
    assert directory.find(None, stranger) is None
    assert StaticDirectory({"": found}).find(None, stranger) is found
    assert NoDirectory().find(None, stranger) is None
    assert found.child("net") is not None
    assert found.child("other") is None
