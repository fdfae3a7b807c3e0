# SPDX-License-Identifier: GPL-2.0-only
"""Captive portals: what is one, when it is asked again, and who is never locked out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dsmip.mobility.captive import (
    CAPTIVE_AGAIN,
    CAPTIVE_LATER,
    CAPTIVE_PATIENCE,
    SILENCES_MAX,
    SILENT_AGAIN,
    SILENT_LATEST,
    TRIAL_EVERY,
    TRIAL_LASTS,
    Access,
    Asked,
    Expected,
    PortalWatch,
    Verdict,
    judge,
    together,
)
from dsmip.packet.http import Reply, Target

AGENT = Target("198.51.100.1")
CHECK = Target("check.example", 80, "/204")
LOGIN = "http://p.example/login"
PORTAL = Verdict(Access.CAPTIVE, LOGIN)
OPEN, UNCLEAR, SILENT = (Verdict(one) for one in (Access.OPEN, Access.UNCLEAR, Access.SILENT))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(204), OPEN),
        (Reply(302, LOGIN), PORTAL),
        (Reply(302, "/login"), Verdict(Access.CAPTIVE, CHECK.url)),
        (Reply(302, "javascript:alert(1)"), Verdict(Access.CAPTIVE, CHECK.url)),
        (Reply(511, LOGIN), PORTAL),
        (Reply(511, "javascript:alert(1)"), Verdict(Access.CAPTIVE, CHECK.url)),
        (Reply(200, "", b"<html>welcome"), Verdict(Access.CAPTIVE, CHECK.url)),
        (Reply(404), UNCLEAR),
        (Reply(503), UNCLEAR),
    ],
)
def test_answers_of_a_server_that_says_204(reply: Reply, expected: Verdict) -> None:
    assert judge(reply, CHECK, Expected(204)) == expected


@pytest.mark.parametrize(
    ("reply", "access"),
    [
        (Reply(200, "", b"hello success!"), Access.OPEN),
        (Reply(200, "", b"buy a ticket"), Access.CAPTIVE),
        (Reply(404, "", b"success"), Access.UNCLEAR),
    ],
)
def test_answers_of_a_server_that_says_a_word(reply: Reply, access: Access) -> None:
    assert judge(reply, CHECK, Expected(text="success")).access is access


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(302, LOGIN), PORTAL),
        (Reply(511), Verdict(Access.CAPTIVE, AGENT.url)),
        # The home agent may have a web server of its own.
        (Reply(200, "", b"It works!"), UNCLEAR),
        (Reply(204), UNCLEAR),
        (Reply(301, "https://198.51.100.1/"), UNCLEAR),
        (Reply(302, "/index.html"), UNCLEAR),
        (Reply(302, ""), UNCLEAR),
        (Reply(404), UNCLEAR),
    ],
)
def test_answers_in_the_home_agents_place(reply: Reply, expected: Verdict) -> None:
    assert judge(reply, AGENT, Expected()) == expected


def test_one_family_that_is_open_will_do() -> None:
    assert together([PORTAL, OPEN]) == OPEN
    assert together([SILENT, PORTAL, UNCLEAR]) == PORTAL
    assert together([SILENT, UNCLEAR]) == UNCLEAR
    assert together([]) == SILENT


class Router:
    """Feeds a watch; ``network`` answers each question at once."""

    def __init__(self, network: Verdict = SILENT, at_once: bool = True) -> None:
        self.watch = PortalWatch()
        self.network = network
        self.wifi = Asked("wifi", "first", None, at_once)
        self.here = True
        self.settled = False
        self.now = 1000.0
        self.asked: list[float] = []
        self.said: list[str] = []

    def look(self, **change: object) -> None:
        self.wifi = replace(self.wifi, **change)  # type: ignore[arg-type]
        uplinks = [self.wifi] if self.here else []
        changes = self.watch.observe(uplinks, self.settled, self.now)
        for name in self.watch.due(self.now):
            self.asked.append(self.now)
            changes += self.watch.taken(name, self.wifi.key, self.network, self.now)
        self.said += [change.text for change in changes]

    def run(self, seconds: float) -> None:
        """Look whenever the watch wants it."""
        end = self.now + seconds
        for _ in range(10_000):
            at = self.watch.next_timer()
            if at is None or at > end:
                break
            assert at >= self.now
            self.now = at
            self.look()
        else:
            raise AssertionError("time does not pass")
        self.now = end

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in zip(self.asked, self.asked[1:], strict=False)]


def test_an_open_network_is_asked_once() -> None:
    router = Router(OPEN)
    router.look()
    router.run(100_000)
    assert router.asked == [1000.0]
    assert not router.watch.holds("wifi")
    assert router.watch.next_timer() is None
    assert router.said == []


def test_a_portal_holds_until_the_login() -> None:
    router = Router(PORTAL)
    router.settled = True
    router.look()
    assert router.watch.holds("wifi")
    assert router.watch.url("wifi") == LOGIN
    assert router.said == [f"wifi: portal login needed: {LOGIN}"]
    router.run(30)
    assert set(router.gaps) == {CAPTIVE_AGAIN}
    router.network = OPEN
    router.run(CAPTIVE_AGAIN)
    assert not router.watch.holds("wifi")
    assert router.watch.url("wifi") == ""
    assert router.said[1:] == ["wifi: the portal lets us through, registering"]
    asked = len(router.asked)
    router.run(10_000)
    assert len(router.asked) == asked


def test_a_portal_that_nobody_logs_into_is_asked_less_often() -> None:
    router = Router(PORTAL)
    router.settled = True
    router.look()
    router.run(CAPTIVE_PATIENCE + 100)
    assert router.gaps[0] == CAPTIVE_AGAIN
    assert router.gaps[-1] == CAPTIVE_LATER


def test_silence_is_asked_again_with_growing_waits() -> None:
    router = Router(SILENT)
    router.look()
    router.run(3600)
    assert router.gaps[:3] == [SILENT_AGAIN, 2 * SILENT_AGAIN, 4 * SILENT_AGAIN]
    assert max(router.gaps) == SILENT_LATEST
    assert not router.watch.holds("wifi")
    assert router.watch.answers("wifi") is False


def test_a_portal_is_not_gone_for_a_few_lost_packets() -> None:
    router = Router(PORTAL)
    router.settled = True
    router.look()
    router.network = SILENT
    router.run(SILENT_AGAIN * (2 ** (SILENCES_MAX - 2)) - 1)
    assert router.watch.holds("wifi")
    router.run(600)
    assert not router.watch.holds("wifi")
    assert router.said[1:] == ["wifi: the portal is silent, registering"]


def test_the_home_agent_is_asked_only_when_it_does_not_answer() -> None:
    router = Router(PORTAL, at_once=False)
    router.look()
    router.run(1000)
    assert router.asked == []
    router.look(answered=True)
    router.run(1000)
    assert router.asked == []
    router.look(answered=False)
    assert len(router.asked) == 1
    assert router.watch.holds("wifi")


def test_who_lets_registrations_through_is_no_portal() -> None:
    router = Router(PORTAL)
    router.look()
    router.look(answered=True)
    assert not router.watch.holds("wifi")
    asked = len(router.asked)
    router.run(10_000)
    assert len(router.asked) == asked


def test_a_session_that_ran_out_is_found() -> None:
    router = Router(OPEN)
    router.look(answered=True)
    router.network = PORTAL
    router.look(answered=False)
    assert router.watch.holds("wifi")


def test_another_network_is_asked_anew() -> None:
    router = Router(PORTAL)
    router.look()
    router.network = OPEN
    router.look(key="second")
    assert not router.watch.holds("wifi")
    assert len(router.asked) == 2


def test_an_uplink_that_went_is_forgotten() -> None:
    router = Router(PORTAL)
    router.look()
    router.here = False
    router.look()
    assert not router.watch.holds("wifi")
    assert router.watch.next_timer() is None
    assert router.watch.answers("wifi") is None


def test_an_answer_of_the_network_before_counts_for_nothing() -> None:
    watch = PortalWatch()
    watch.observe([Asked("wifi", "first")], False, 0.0)
    assert watch.due(0.0) == ["wifi"]
    assert watch.due(0.0) == []  # one question at a time
    watch.observe([Asked("wifi", "second")], False, 1.0)
    assert watch.taken("wifi", "first", PORTAL, 2.0) == []
    assert not watch.holds("wifi")
    assert watch.taken("lte", "first", PORTAL, 2.0) == []
    watch.observe([Asked("wifi", "second", True)], False, 3.0)
    assert watch.taken("wifi", "second", PORTAL, 4.0) == []
    assert not watch.holds("wifi")


def test_without_another_way_a_registration_is_tried_now_and_then() -> None:
    """What looks like a portal may be the home agent's own web server."""
    router = Router(PORTAL)
    router.look()
    router.run(TRIAL_EVERY - 0.1)
    assert router.watch.holds("wifi")
    router.run(0.2)
    assert not router.watch.holds("wifi")
    assert router.watch.url("wifi") == LOGIN
    router.look(answered=False)
    router.run(TRIAL_LASTS)
    assert router.watch.holds("wifi")
    router.run(TRIAL_EVERY)
    assert not router.watch.holds("wifi")
    router.look(answered=True)
    router.settled = True
    router.run(10_000)
    assert not router.watch.holds("wifi")
    assert router.said == [
        f"wifi: portal login needed: {LOGIN}",
        "wifi: the portal lets us through, registering",
    ]


def test_a_trial_takes_no_data_from_another_way() -> None:
    router = Router(PORTAL)
    router.settled = True
    router.look()
    for _ in range(300):
        router.run(1)
        assert router.watch.holds("wifi")
    router.settled = False
    router.look()
    router.run(TRIAL_EVERY + 0.1)
    assert not router.watch.holds("wifi")
    router.settled = True
    router.look()
    assert router.watch.holds("wifi")
