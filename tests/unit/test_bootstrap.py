# SPDX-License-Identifier: GPL-2.0-only
"""Finding a home agent: which is tried, when DNS is asked again, what is said of a failure."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from dsmip.mobility import bootstrap as b
from dsmip.mobility.bootstrap import (
    AskName,
    Bootstrap,
    BootstrapConfig,
    Phase,
    Remember,
    Step,
    Target,
    UseAgent,
    ranked,
)
from dsmip.mobility.effects import Count, Note
from dsmip.mobility.resolver import Answer, Outcome
from dsmip.packet.dns import Data, Record, RecordType, Service

SRV = "_mip6._ipv6.example.test"
ONE, TWO = "ha1.example.test", "ha2.example.test"
SIX = {ONE: IPv6Address("2001:db8:1::1"), TWO: IPv6Address("2001:db8:2::1")}
FOUR = {ONE: IPv4Address("198.51.100.1"), TWO: IPv4Address("198.51.100.2")}
HOA = IPv6Address("2001:db8:1::4017")
CONFIG = BootstrapConfig(domain="example.test")


class Way:
    """The engine, with DNS that answers by a table; what it does not know is absent."""

    def __init__(
        self, config: BootstrapConfig = CONFIG, remembered: Target | None = None, seed: int = 1
    ) -> None:
        self.now = 100.0
        self.zone: dict[tuple[str, int], tuple[Data, ...]] = {
            (SRV, RecordType.SRV): (Service(10, 0, 0, ONE), Service(20, 0, 0, TWO)),
        }
        for name in (ONE, TWO):
            self.zone[name, RecordType.AAAA] = (SIX[name],)
            self.zone[name, RecordType.A] = (FOUR[name],)
        self.glue: tuple[Record, ...] = ()
        self.silent: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self.fresh: list[bool] = []
        self.used: list[Target] = []
        self.remembered: list[Target] = []
        self.notes: list[str] = []
        self.counts: list[str] = []
        self.engine = Bootstrap(config, self.now, remembered, random.Random(seed))

    def take(self, effects: list[b.BootstrapEffect]) -> None:
        for effect in effects:
            match effect:
                case AskName():
                    self.asked.append((effect.name, effect.type))
                    self.fresh.append(effect.fresh)
                    self.answer(effect)
                case UseAgent():
                    self.used.append(effect.target)
                case Remember():
                    self.remembered.append(effect.target)
                case Note():
                    self.notes.append(effect.text)
                case Count():
                    self.counts.append(effect.name)

    def answer(self, asked: AskName) -> None:
        if asked.name in self.silent:
            answer = Answer(asked.name, asked.type, Outcome.FAILED, reason="no answer from ::53")
        else:
            data = self.zone.get((asked.name, asked.type), ())
            outcome = Outcome.FOUND if data else Outcome.NO_DATA
            answer = Answer(asked.name, asked.type, outcome, data, self.glue)
        self.take(self.engine.answered(answer, self.now))

    def network(self, name: str = "wan0", key: object = 1) -> None:
        self.take(self.engine.network(name, key, self.now))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(100):
            at = self.engine.next_timer()
            if at is None or at > end:
                self.now = end
                return
            self.now = max(at, self.now)
            self.take(self.engine.handle_timer(self.now))
        raise AssertionError("time does not pass")

    def registered(self) -> None:
        self.now += 1
        self.take(self.engine.keys_up(self.now))
        self.take(self.engine.home_address(HOA, self.now))
        self.now += 1
        self.take(self.engine.registration(True, False, "", self.now))

    def lose(self) -> None:
        self.take(self.engine.registration(False, True, "", self.now))

    def refuse(self, reason: str = "certificate is for another name") -> None:
        self.take(self.engine.keys_failed(reason, True, self.now))

    @property
    def phase(self) -> Phase:
        return self.engine.view(self.now).phase

    def failed(self) -> dict[Step, str]:
        return {m.step: m.text for m in self.engine.view(self.now).marks if m.failed}


# --- the usual way ------------------------------------------------------------------


@pytest.mark.spec("B-001", "B-002")
def test_home_agent_by_service_name() -> None:
    way = Way()
    assert not way.asked, "nothing is asked before there is a network"
    way.network()
    assert way.asked == [(SRV, RecordType.SRV), (ONE, RecordType.AAAA), (ONE, RecordType.A)]
    assert way.used == [Target(ONE, SIX[ONE], FOUR[ONE])]
    way.registered()
    assert way.phase is Phase.REGISTERED
    assert way.remembered == way.used
    view = way.engine.view(way.now)
    assert [mark.step for mark in view.marks] == list(Step)
    assert [mark.seconds for mark in view.marks] == [0, 0, 0, 1, 1, 2]
    assert view.how == f"SRV {SRV}"
    assert not way.failed()
    assert way.engine.next_timer() is None


@pytest.mark.spec("B-001")
def test_home_agent_by_its_name() -> None:
    way = Way(BootstrapConfig(name=ONE))
    way.network()
    assert way.asked == [(ONE, RecordType.AAAA), (ONE, RecordType.A)]
    assert way.used == [Target(ONE, SIX[ONE], FOUR[ONE])]


def test_addresses_that_came_along_are_not_asked_for() -> None:
    way = Way()
    way.glue = (Record(ONE, RecordType.AAAA, 60, SIX[ONE]),)
    way.network()
    assert way.asked == [(SRV, RecordType.SRV), (ONE, RecordType.A)]
    assert way.used == [Target(ONE, SIX[ONE], FOUR[ONE])]


def test_a_home_agent_without_ipv4() -> None:
    way = Way()
    del way.zone[ONE, RecordType.A]
    way.network()
    assert way.used == [Target(ONE, SIX[ONE], None)]


def test_priorities_come_before_weights() -> None:
    services = [Service(20, 9, 0, "c"), Service(10, 0, 0, "a"), Service(10, 3, 0, "b")]
    orders = {tuple(ranked(services, random.Random(seed))) for seed in range(50)}
    assert orders == {("a", "b", "c"), ("b", "a", "c")}


def test_weights_are_shares() -> None:
    """RFC 2782: by the proportion of the weights, and 0 hardly ever."""
    services = [Service(1, 90, 0, "big"), Service(1, 10, 0, "small"), Service(1, 0, 0, "none")]
    chance = random.Random(1)
    first = [ranked(services, chance)[0] for _ in range(2000)]
    assert 0.85 < first.count("big") / 2000 < 0.95
    assert 0.05 < first.count("small") / 2000 < 0.15
    assert first.count("none") / 2000 < 0.03
    assert len(ranked([Service(1, 1, 0, f"n{n}") for n in range(100)], chance)) == b.AGENTS_MAX


# --- others in turn -----------------------------------------------------------------


@pytest.mark.spec("B-002")
def test_a_home_agent_that_is_silent_or_refuses_has_a_successor() -> None:
    for how in ("silent", "refuses"):
        way = Way()
        way.network()
        if how == "silent":
            way.run(CONFIG.wait + 0.1)
        else:
            way.refuse()
        assert [target.name for target in way.used] == [ONE, TWO]
        way.registered()
        assert way.phase is Phase.REGISTERED


@pytest.mark.spec("B-002")
def test_all_silent_is_tried_again_and_all_refusing_is_given_up() -> None:
    way = Way()
    way.network()
    way.run(2 * CONFIG.wait + 0.2)
    assert way.phase is Phase.WAITING
    assert "does not answer IKE" in way.failed()[Step.KEYS]
    asked = len(way.asked)
    way.run(CONFIG.retry + 0.1)
    assert len(way.asked) > asked
    way = Way()
    way.network()
    way.refuse()
    way.refuse("the other side says AUTHENTICATION_FAILED")
    assert way.phase is Phase.GIVEN_UP
    assert "AUTHENTICATION_FAILED" in way.failed()[Step.KEYS]
    asked = len(way.asked)
    way.run(b.GIVEN_UP_FOR / 2)
    assert len(way.asked) == asked
    way.network("wan1", 2)
    assert way.phase is Phase.TRYING, "somebody else's network may have lied"


def test_one_that_refuses_and_one_that_is_silent_is_not_hopeless() -> None:
    way = Way()
    way.network()
    way.refuse()
    way.run(CONFIG.wait + 0.1)
    assert way.phase is Phase.WAITING


def test_a_home_agent_of_several_addresses() -> None:
    way = Way()
    other = IPv6Address("2001:db8:1::2")
    way.zone[ONE, RecordType.AAAA] = (SIX[ONE], other)
    way.network()
    way.run(CONFIG.wait + 0.1)
    assert [target.agent6 for target in way.used] == [SIX[ONE], other]


def test_a_refused_registration_goes_to_the_next() -> None:
    way = Way()
    way.network()
    way.take(way.engine.keys_up(way.now))
    way.take(way.engine.registration(False, False, "status 132", way.now))
    assert way.used[-1].name == TWO
    way.take(way.engine.registration(False, False, "status 132", way.now))
    assert way.phase is Phase.WAITING
    assert "status 132" in way.failed()[Step.REGISTRATION]


# --- what DNS can say wrong ---------------------------------------------------------


def test_what_is_missing_is_named() -> None:
    way = Way()
    way.zone.clear()
    way.network()
    assert way.failed() == {Step.SERVICE: f"no SRV record for {SRV}"}
    assert way.engine.view(way.now).problem == f"no SRV record for {SRV}"
    way = Way()
    way.silent = {SRV}
    way.network()
    assert way.failed() == {Step.SERVICE: f"{SRV}: no answer from ::53"}
    way = Way()
    del way.zone[ONE, RecordType.AAAA]
    del way.zone[TWO, RecordType.AAAA]
    way.network()
    assert way.failed() == {Step.ADDRESS: f"no AAAA record for {TWO}"}
    assert not way.used
    assert way.phase is Phase.WAITING


def test_a_domain_that_says_it_has_no_home_agent() -> None:
    way = Way()
    way.zone[SRV, RecordType.SRV] = (Service(0, 0, 0, ""),)
    way.network()
    assert "has no home agent (SRV target '.')" in way.failed()[Step.SERVICE]
    assert not way.used


def test_addresses_that_nobody_can_have() -> None:
    way = Way()
    bad = ("::1", "ff02::1", "fe80::1", "::", "::ffff:192.0.2.1")
    way.zone[ONE, RecordType.AAAA] = tuple(IPv6Address(a) for a in bad)
    way.zone[TWO, RecordType.A] = (IPv4Address("127.0.0.1"),)
    way.network()
    assert way.used == [Target(TWO, SIX[TWO], None)]


def test_answers_to_what_was_not_asked() -> None:
    way = Way()
    way.network()
    before = way.engine.view(way.now)
    six = (IPv6Address("2001:db8:bad::1"),)
    for answer in (
        Answer(SRV, RecordType.SRV, Outcome.FOUND, (Service(0, 0, 0, "evil.test"),)),
        Answer(ONE, RecordType.AAAA, Outcome.FOUND, six),
        Answer("evil.test", RecordType.AAAA, Outcome.FOUND, six),
    ):
        way.take(way.engine.answered(answer, way.now))
    assert way.engine.view(way.now) == before


# --- later ----------------------------------------------------------------------------


def test_a_working_binding_is_left_alone() -> None:
    way = Way()
    way.network()
    way.registered()
    asked = len(way.asked)
    way.zone.clear()
    way.network("wan1", 2)
    way.network("")
    way.network("wan0", 1)
    way.run(86400)
    assert len(way.asked) == asked
    assert len(way.used) == 1


def test_a_lost_home_agent_is_asked_for_again() -> None:
    way = Way()
    way.network()
    way.registered()
    asked = len(way.asked)
    way.lose()
    assert len(way.asked) > asked
    assert way.used[-1].name == TWO, "another one before the one that was lost"
    assert way.fresh == [False] * asked + [True] * (len(way.asked) - asked)
    assert "does not answer any more: asking DNS again" in " ".join(way.notes)
    way.registered()
    assert way.phase is Phase.REGISTERED


def test_the_only_home_agent_keeps_its_binding_while_it_is_lost() -> None:
    way = Way()
    way.zone[SRV, RecordType.SRV] = (Service(10, 0, 0, ONE),)
    way.network()
    way.registered()
    way.lose()
    assert way.phase is Phase.TRYING
    way.run(CONFIG.wait + 0.1)
    assert way.phase is Phase.WAITING
    way.silent = {SRV}
    way.run(5 * CONFIG.retry)
    assert len(way.used) == 1, "it is never replaced by nothing"
    way.take(way.engine.registration(True, False, "", way.now))
    assert way.phase is Phase.REGISTERED
    assert not way.engine.view(way.now).problem


def test_a_home_agent_with_another_address() -> None:
    way = Way()
    way.network()
    way.registered()
    moved = IPv6Address("2001:db8:1::99")
    way.zone[SRV, RecordType.SRV] = (Service(10, 0, 0, ONE),)
    way.zone[ONE, RecordType.AAAA] = (moved,)
    way.lose()
    assert way.used[-1] == Target(ONE, moved, FOUR[ONE])


def test_a_remembered_home_agent_needs_no_dns() -> None:
    known = Target(ONE, SIX[ONE], FOUR[ONE])
    way = Way(remembered=known)
    way.silent = {SRV}
    way.network()
    assert not way.asked
    assert not way.used, "it is in use already"
    way.take(way.engine.registration(True, False, "", way.now))
    assert way.phase is Phase.REGISTERED
    assert way.engine.view(way.now).how == "remembered"


def test_a_remembered_home_agent_that_is_gone() -> None:
    way = Way(remembered=Target("old.example.test", IPv6Address("2001:db8:9::9")))
    way.network()
    way.run(CONFIG.wait + 0.1)
    assert way.used == [Target(ONE, SIX[ONE], FOUR[ONE])]


def test_no_network_ends_what_was_begun() -> None:
    way = Way()
    way.network()
    way.network("")
    assert way.phase is Phase.IDLE
    assert way.engine.next_timer() is None
    way.run(3600)
    way.network("wan1", 2)
    assert way.asked.count((SRV, RecordType.SRV)) == 2, "it never worked: asked again"


def test_keys_that_come_late_are_welcome() -> None:
    way = Way()
    way.zone[SRV, RecordType.SRV] = (Service(10, 0, 0, ONE),)
    way.network()
    way.run(CONFIG.wait + 0.1)
    assert way.phase is Phase.WAITING
    way.registered()
    assert way.phase is Phase.REGISTERED
