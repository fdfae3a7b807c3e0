# SPDX-License-Identifier: GPL-2.0-only
"""What is done for uplinks in the daemon: who is asked, restarted, held, told of."""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.linux.interface_counters import Counters
from dsmip.linux.uplinks import LinkState
from dsmip.mobility.captive import TRIAL_EVERY, Access, Expected, Verdict
from dsmip.mobility.effects import Uplink
from dsmip.mobility.router_view import State
from dsmip.packet.http import Target
from dsmip.service import render, status, uplink_care
from dsmip.service.config import MobileRouterSection, parse
from dsmip.service.data_used import DataUsed
from dsmip.service.history import History
from dsmip.service.modem import Signal
from dsmip.service.uplink_care import TICK, UplinkCare, restart
from dsmip.service.uplink_config import PRIORITIES, UplinkEntry

from tests.unit.test_config import ROUTER
from tests.unit.test_portal_login import Doors

LOGIN = "http://p.example/login"
PORTAL_ELSEWHERE = Verdict(Access.CAPTIVE, "http://q.example/login")
PORTAL, OPEN = Verdict(Access.CAPTIVE, LOGIN), Verdict(Access.OPEN)
SILENT, UNCLEAR = Verdict(Access.SILENT), Verdict(Access.UNCLEAR)
COA6, COA4 = IPv6Address("2001:db8:a6::5"), IPv4Address("10.0.5.2")


def section(*uplinks: dict[str, Any], **options: Any) -> MobileRouterSection:
    """Return a section with these uplinks."""
    values = copy.deepcopy(ROUTER)
    values["mobile_router"] |= options | {"uplink": list(uplinks)}
    found = parse(values).mobile_router
    assert found is not None
    return found


LTE = {"interface": "wwan0", "name": "lte", "network": "wwan", "restart_after": 60}
WIFI = {"interface": "wlan0", "name": "wifi", "network": "wifi"}


class Handle:
    """A timer or a task."""

    cancelled = False
    work: Coroutine[Any, Any, None] | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if self.work is not None:
            self.work.close()

    def add_done_callback(self, done: object) -> None: ...


class Loop:
    """A clock, timers, and tasks that run to their end at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None], Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, action: Callable[[], None]) -> Any:
        handle = Handle()
        heapq.heappush(self._queue, (at, next(self._order), action, handle))
        return handle

    def call_later(self, seconds: float, action: Callable[[], None]) -> Any:
        return self.call_at(self.now + seconds, action)

    def create_task(self, work: Coroutine[Any, Any, None]) -> Any:
        # In its own turn, as asyncio does it.
        task = self.call_later(0, lambda: self._finish(work))
        task.work = work
        return task

    @staticmethod
    def _finish(work: Coroutine[Any, Any, None]) -> None:
        with pytest.raises(StopIteration):
            work.send(None)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(100_000):
            if not self._queue or self._queue[0][0] > end:
                self.now = end
                return
            at, _order, action, handle = heapq.heappop(self._queue)
            self.now = max(at, self.now)
            if not handle.cancelled:
                action()
        raise AssertionError("time does not pass")


class Role:
    """The mobile router's role, as far as it is used; the engine says what it is told to."""

    def __init__(self, configured: MobileRouterSection) -> None:
        self.section = configured
        self.care: UplinkCare | None = None
        self.counters: Counter[str] = Counter()
        self.looked = 0
        self.again: list[str] = []
        self.paused: set[str] = set()
        self.answers: dict[str, bool] = {}
        self.state, self.uplink, self.attempts = State.REGISTERING, "", 1
        self.engine = SimpleNamespace(reach=lambda: self.answers, config=configured.engine)
        self.links = tuple(
            LinkState(one.interface, number, True)
            for number, one in enumerate(configured.uplinks, 2)
        )
        self.uplinks = tuple(
            Uplink(
                one.name,
                number,
                one.priority,
                addresses6=(COA6 + number,),
                addresses4=(COA4 + number,),
                gateway6=True,
                gateway4=True,
            )
            for number, one in enumerate(configured.uplinks, 2)
        )

    def held(self, entry: UplinkEntry) -> bool:
        return entry.held or entry.name in self.paused

    def look_again(self) -> None:
        self.looked += 1
        assert self.care is not None
        self.care.look()  # as carrying out the engine's effects does

    def try_again(self, name: str) -> None:
        self.again.append(name)

    def registration(self) -> Any:
        return SimpleNamespace(
            state=self.state,
            uplink=self.uplink,
            attempts=self.attempts,
            home_agent=self.engine.config.home_agent6,
        )

    def paths(self) -> tuple[()]:
        return ()

    def change(self, name: str, **change: Any) -> None:
        self.uplinks = tuple(
            replace(one, **change) if one.name == name else one for one in self.uplinks
        )


class Signals:
    def __init__(self) -> None:
        self.found: dict[str, Signal] = {}
        self.looked: list[list[str]] = []

    def look(self, interfaces: list[str]) -> None:
        self.looked.append(interfaces)

    def of(self, interface: str) -> Signal | None:
        return self.found.get(interface)

    def stop(self) -> None: ...


class World:
    """The care of uplinks with everything around it; answers come at once."""

    def __init__(self, folder: Path, configured: MobileRouterSection, started: bool = True) -> None:
        self.loop = Loop()
        self.role = Role(configured)
        self.history = History(50, lambda: 1_800_000_000.0)
        self.signals = Signals()
        self.counters: dict[str, Counters] = {}
        self.kernel: Any = None
        self.network: dict[str, Verdict | Exception] = {}
        self.asked: list[tuple[float, tuple[Target, ...], Expected, Any, int]] = []
        self.restarts: list[tuple[float, str]] = []
        self.restartable = True
        self.dumped: Mapping[str, Mapping[str, Any]] | None = {}
        self.dumps = 0
        self.doors = Doors()
        self.looks = 0
        used = DataUsed(str(folder), self.counters.get, lambda: 1_800_000_000.0, "boot")
        self.care = UplinkCare(
            self.role,  # type: ignore[arg-type]
            self.loop,  # type: ignore[arg-type]
            self.history,
            used,
            self._kernel,
            self._probe,
            self._restart,
            self.signals,  # type: ignore[arg-type]
            self._dump,
            self.doors,  # type: ignore[arg-type]
            SimpleNamespace(  # type: ignore[arg-type]
                watched=self._watched, of=lambda _name: (None, None), stop=lambda: None
            ),
        )
        if started:
            self.care.start()

    def _watched(self) -> None:
        self.looks += 1

    def _kernel(self) -> Any:
        if isinstance(self.kernel, Exception):
            raise self.kernel
        return self.kernel

    async def _probe(
        self, targets: tuple[Target, ...], expected: Expected, sources: Any, interface: int
    ) -> Verdict:
        self.asked.append((self.loop.now, targets, expected, sources, interface))
        name = next(one.name for one in self.role.uplinks if one.interface == interface)
        found = self.network.get(name, SILENT)
        if isinstance(found, Exception):
            raise found
        return found

    async def _restart(self, entry: UplinkEntry) -> bool:
        self.restarts.append((self.loop.now, entry.name))
        return self.restartable

    async def _dump(self) -> Mapping[str, Mapping[str, Any]] | None:
        self.dumps += 1
        return self.dumped

    def say(self, **answers: bool) -> None:
        """Let the engine say who answers, and be registered if somebody does."""
        self.role.answers = answers
        settled = any(answers.values())
        self.role.state = State.REGISTERED if settled else State.REGISTERING
        self.care.look()

    def events(self) -> list[tuple[str, str]]:
        return [(one["event"], one["to"]) for one in self.history.documents()]


Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return what makes a world of a section, and ends it after the test."""
    made: list[World] = []

    def world(configured: MobileRouterSection, started: bool = True) -> World:
        made.append(World(tmp_path, configured, started))
        return made[-1]

    yield world
    for one in made:
        one.care.stop()


# --- whom is asked -----------------------------------------------------------------------


def test_without_an_option_nobody_is_ever_asked(make: Make) -> None:
    world = make(section(LTE, WIFI))
    world.say(lte=False, wifi=False)
    world.loop.run(10_000)
    assert world.asked == []
    assert world.care.needs_login() is False


def test_the_home_agent_is_asked_only_where_it_does_not_answer(make: Make) -> None:
    world = make(section(WIFI, LTE, portal_url="auto"))
    world.loop.run(100)
    world.say(wifi=True)
    world.loop.run(100)
    assert world.asked == []
    world.say(wifi=False, lte=True)
    world.loop.run(1)
    ((_at, targets, expected, sources, interface),) = world.asked
    assert targets == (Target("2001:db8:1::1"), Target("198.51.100.1"))
    assert expected == Expected()
    assert (sources, interface) == ((COA6 + 2, COA4 + 2), 2)


def test_one_update_without_an_answer_is_enough_to_ask(make: Make) -> None:
    world = make(section(WIFI, portal_url="auto"))
    world.role.uplink, world.role.attempts = "wifi", 1
    world.care.look()
    world.loop.run(1)
    assert world.asked == []
    world.role.attempts = 2
    world.care.look()
    world.loop.run(1)
    assert len(world.asked) == 1


def test_whom_the_operator_names_is_asked_at_once(make: Make) -> None:
    world = make(section(WIFI, LTE | {"portal": False}, portal_url="http://check.example/204"))
    world.loop.run(1)
    ((at, targets, expected, _sources, interface),) = world.asked
    assert (at, interface) == (1000.0, 2)
    assert targets == (Target("check.example", 80, "/204"),)
    assert expected == Expected(204)


@pytest.mark.parametrize(
    "change",
    [
        {"at_home": True},
        {"gateway6": False, "gateway4": False},
        {"addresses6": (), "addresses4": ()},
    ],
)
def test_who_leads_nowhere_or_is_at_home_is_not_asked(make: Make, change: dict[str, Any]) -> None:
    world = make(section(WIFI, portal_url="http://check.example/"), started=False)
    world.role.change("wifi", **change)
    world.care.start()
    world.loop.run(1000)
    assert world.asked == []


def test_who_is_paused_is_not_asked(make: Make) -> None:
    world = make(section(WIFI, portal_url="http://check.example/"), started=False)
    world.role.paused = {"wifi"}
    world.care.start()
    world.loop.run(1000)
    assert world.asked == []


def test_only_the_family_that_leads_anywhere_is_asked_in(make: Make) -> None:
    world = make(section(WIFI, portal_url="http://check.example/"))
    world.loop.run(0.5)
    world.asked.clear()
    world.role.change("wifi", gateway6=False)
    world.care.look()
    world.loop.run(0.5)
    assert [one[3] for one in world.asked] == [(COA4 + 2,)]


# --- portals -----------------------------------------------------------------------------


def test_a_portal_holds_and_the_login_ends_it(make: Make) -> None:
    world = make(section(WIFI, portal_url="auto"))
    world.network["wifi"] = PORTAL
    world.say(wifi=False)
    world.loop.run(1)
    assert world.care.holds("wifi")
    assert world.care.needs_login()
    assert world.role.looked == 1
    assert status.word_of(world.role) == "Portal login needed"  # type: ignore[arg-type]
    document = world.care.document("wifi")
    assert document["portal"] == LOGIN
    world.network["wifi"] = UNCLEAR
    world.loop.run(3)
    assert not world.care.holds("wifi")
    assert not world.care.needs_login()
    assert world.role.looked == 2
    assert world.events() == [("portal", "wifi"), ("portal passed", "wifi")]


def test_hosts_may_log_in_as_long_as_the_portal_is_in_the_way(make: Make) -> None:
    world = make(section(WIFI, LTE, portal_url="auto"))
    world.network["wifi"] = PORTAL
    world.say(wifi=False, lte=True)
    world.loop.run(1)
    (portal,) = world.doors.portals
    assert (portal.name, portal.url) == ("wifi", LOGIN)
    assert world.care.document("wifi")["login"] == ["10.0.8.1"]
    world.doors.wants = ["look up"]
    world.doors.due = world.loop.now + 0.5
    world.care.look()
    world.loop.run(0.1)
    assert world.doors.found == ["look up"]
    world.network["wifi"] = PORTAL_ELSEWHERE
    world.doors.due = None
    world.loop.run(3)
    assert [one.url for one in world.doors.portals] == [PORTAL_ELSEWHERE.url]
    # Another address there is another network.
    key = world.doors.portals[0].key
    world.role.change("wifi", addresses4=(COA4,))
    world.care.look()
    world.loop.run(3)
    assert world.doors.portals[0].key != key
    world.role.change("wifi", addresses4=(), addresses6=())
    world.care.look()
    assert world.doors.portals == []
    world.role.change("wifi", addresses4=(COA4,))
    world.care.look()
    world.loop.run(3)
    assert world.doors.portals != []
    world.network["wifi"] = UNCLEAR
    world.loop.run(3)
    assert world.doors.portals == []
    world.care.stop()
    assert world.doors.stopped


def test_with_another_uplink_a_portal_is_no_state_of_the_router(make: Make) -> None:
    world = make(section(WIFI, LTE, portal_url="auto"))
    world.network["wifi"] = PORTAL
    world.say(wifi=False, lte=True)
    world.loop.run(1)
    assert world.care.holds("wifi")
    assert not world.care.needs_login()
    assert status.word_of(world.role) == "Roaming"  # type: ignore[arg-type]


def test_who_is_held_wrongly_is_tried_and_let_go(make: Make) -> None:
    """The home agent's own web server sends elsewhere: nobody may be locked out by that."""
    world = make(section(WIFI, portal_url="auto"))
    world.network["wifi"] = PORTAL
    world.say(wifi=False)
    world.loop.run(TRIAL_EVERY - 1)
    looked = world.role.looked
    assert world.care.holds("wifi")
    world.loop.run(2)
    assert not world.care.holds("wifi")
    assert world.care.needs_login()
    assert world.role.looked == looked + 1
    world.say(wifi=True)
    world.loop.run(1000)
    assert not world.care.holds("wifi")
    assert world.events()[-1] == ("portal passed", "wifi")


def test_a_portal_is_forgotten_when_it_is_not_asked_for_any_more(make: Make) -> None:
    world = make(section(WIFI, portal_url="auto"))
    world.network["wifi"] = PORTAL
    world.say(wifi=False)
    world.loop.run(1)
    world.role.section = section(WIFI)
    world.care.look()
    assert not world.care.holds("wifi")
    assert world.role.looked == 2


def test_a_question_that_fails_in_an_odd_way_is_asked_again(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make(section(WIFI, portal_url="http://check.example/"))
    world.network["wifi"] = RuntimeError("odd")
    world.loop.run(60)
    assert len(world.asked) > 2
    assert world.role.counters["internal_errors"] == len(world.asked)
    assert "odd" in caplog.text


def test_after_the_end_nothing_is_asked(make: Make) -> None:
    world = make(section(WIFI, LTE, portal_url="http://check.example/"))
    world.care.stop()
    world.say(lte=False, wifi=True)
    world.loop.run(10_000)
    assert world.asked == []
    assert world.dumps == 0
    assert world.restarts == []


# --- stalled modems ----------------------------------------------------------------------


def test_a_stalled_modem_is_restarted_and_told_of(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make(section(LTE, WIFI))
    with caplog.at_level(logging.INFO):
        world.say(lte=False, wifi=True)
        for _ in range(30):
            world.loop.run(10)
            world.say(lte=False, wifi=True)
        document = world.care.document("lte")
        world.say(lte=True)
    assert [at - 1000 for at, _name in world.restarts] == [60, 180]
    assert world.events() == [("restart", "lte")] * 2
    reasons = [one["reason"] for one in world.history.documents()]
    assert reasons == [
        "lte stalled: interface restarted",
        "lte stalled: interface restarted, number 2",
    ]
    assert document["restarts"] == 2
    assert document["stalled"].startswith("stalled, restarted 2 times")
    assert world.role.counters["uplink_restarts"] == 2
    assert "lte answers again after 2 restarts" in caplog.text
    assert world.care.document("lte")["restarts"] == 0


@pytest.mark.parametrize(
    "entry",
    [
        LTE | {"restart_after": 0},
        {"interface": "wwan0", "name": "lte"},  # nobody knows how
        LTE | {"held": True},
    ],
)
def test_who_is_not_restarted(make: Make, entry: dict[str, Any]) -> None:
    world = make(section(entry, WIFI))
    for _ in range(30):
        world.say(lte=False, wifi=True)
        world.loop.run(10)
    assert world.restarts == []


def test_a_portal_is_no_modems_fault(make: Make) -> None:
    world = make(section(LTE, WIFI, portal_url="auto"))
    world.network["lte"] = PORTAL
    for _ in range(30):
        world.say(lte=False, wifi=True)
        world.loop.run(10)
    assert world.restarts == []


def path(local: Any, heard: int | None) -> Any:
    return SimpleNamespace(path=SimpleNamespace(local=local), last_heard_ms=heard)


@pytest.mark.parametrize(
    ("kernel", "restarts"),
    [
        (SimpleNamespace(paths=[path(COA6 + 2, 500)]), 0),
        (SimpleNamespace(paths=[path(COA6 + 2, None), path(COA6 + 3, 500)]), 1),
        (SimpleNamespace(paths=[path(COA6 + 2, 60_001)]), 1),
        (OSError(105, "no buffers"), 1),
    ],
)
def test_what_still_carries_packets_is_left_alone(make: Make, kernel: Any, restarts: int) -> None:
    world = make(section(LTE, WIFI))
    world.kernel = kernel
    for _ in range(10):
        world.say(lte=False, wifi=True)
        world.loop.run(10)
    assert len(world.restarts) == restarts


def test_alone_somebody_else_is_asked_first(make: Make) -> None:
    """Silence of everything is a modem's, silence of the home agent alone is not."""
    for network, portal_url, expected in (
        (SILENT, "http://check.example/", True),
        (OPEN, "http://check.example/", False),
        (SILENT, "auto", False),
    ):
        world = make(section(LTE, portal_url=portal_url))
        world.network["lte"] = network
        for _ in range(20):
            world.say(lte=False)
            world.loop.run(10)
        assert bool(world.restarts) is expected, (network, portal_url)


def test_a_restart_that_fails_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make(section(LTE, WIFI))
    world.restartable = False
    for _ in range(10):
        world.say(lte=False, wifi=True)
        world.loop.run(10)
    assert "lte: its interface could not be restarted" in caplog.text
    assert world.role.counters["uplink_restarts_failed"] == 1


def test_restarting_by_a_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flag = tmp_path / "flag"
    entry = UplinkEntry("wwan0", "lte", 10, restart=("/bin/sh", "-c", f'touch "{flag}"'))
    assert asyncio.run(restart(entry)) is True
    assert flag.exists()
    assert asyncio.run(restart(replace(entry, restart=("/bin/false",)))) is False
    assert "lte: /bin/false ended with 1" in caplog.text
    assert asyncio.run(restart(replace(entry, restart=("/nowhere/x",)))) is False


def test_a_program_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uplink_care, "_RESTART_TIMEOUT", 0.1)
    entry = UplinkEntry("wwan0", "lte", 10, restart=("/bin/sleep", "60"))
    assert asyncio.run(restart(entry)) is False
    assert "lte: /bin/sleep takes too long" in caplog.text


# --- costs and facts -----------------------------------------------------------------------


def test_what_costs_more_comes_later(make: Make) -> None:
    world = make(
        section(
            LTE | {"metered": True, "priority": 1},
            WIFI | {"priority": 200},
            {"interface": "sat0", "cost": 9, "priority": 0},
        ),
    )
    lte, wifi, sat = world.role.section.uplinks
    order = sorted((lte, wifi, sat), key=world.care.priority)
    assert [one.name for one in order] == ["wifi", "lte", "sat0"]
    assert world.care.priority(sat) == 9 * PRIORITIES
    assert world.care.document("lte")["metered"] is True
    assert world.care.document("lte")["cost"] == 1


def test_netifd_says_what_an_uplink_costs(make: Make) -> None:
    world = make(section(LTE, WIFI | {"metered": False, "cost": 0}))
    world.loop.run(1)
    lte, wifi = world.role.section.uplinks
    assert world.care.priority(lte) == lte.priority
    looked = world.role.looked
    world.dumped = {
        "wwan": {"data": {"metered": 1, "cost": 3}},
        "wifi": {"data": {"metered": 1, "cost": 3}},
        "other": {"data": {"metered": 1}},
    }
    world.loop.run(TICK)
    assert world.role.looked == looked + 1
    assert world.care.priority(lte) == lte.priority + 3 * PRIORITIES
    assert world.care.document("lte")["metered"] is True
    # The configuration goes before it.
    assert world.care.priority(wifi) == wifi.priority
    assert world.care.document("wifi")["metered"] is False
    # netifd is away for a while: what it said stays.
    world.dumped = None
    world.loop.run(TICK)
    assert world.care.document("lte")["cost"] == 3
    world.dumped = {}
    world.loop.run(TICK)
    assert world.care.document("lte")["cost"] == 0


def test_netifd_is_not_asked_where_it_knows_nothing(make: Make) -> None:
    world = make(section({"interface": "wwan0"}))
    world.loop.run(10 * TICK)
    assert world.dumps == 0


def test_what_the_status_shows(make: Make) -> None:
    world = make(section(LTE, WIFI, portal_url="auto"))
    world.counters["wwan0"] = Counters(2, 5000, 700)
    world.signals.found["wwan0"] = Signal(67, "lte", rsrp=-98.0)
    world.network["wifi"] = PORTAL
    world.loop.run(1)
    world.say(wifi=False, lte=True)
    world.loop.run(1)
    world.role.uplink = "lte"
    world.care.refresh()
    world.counters["wwan0"] = Counters(2, 2_005_000, 1700)
    lte, wifi = status.uplinks_document(world.role, None)  # type: ignore[arg-type]
    assert world.signals.looked[-1] == ["wwan0", "wlan0"]
    names = ("network", "metered", "cost", "portal", "restarts", "stalled")
    assert [lte[name] for name in names] == ["wwan", False, 0, "", 0, ""]
    assert lte["signal"] == {"quality": 67, "technology": "lte", "rsrp": -98.0}
    assert lte["used"] == {"rx_bytes": 2_000_000, "tx_bytes": 1000, "since": 1_800_000_000}
    assert (wifi["signal"], wifi["used"]) == (None, None)
    assert wifi["why_not"] == f"portal login needed: {LOGIN}"
    assert lte["priority"] == world.role.section.uplinks[0].priority
    # Nobody pauses it: the portal is in the way.
    assert (lte["held"], wifi["held"]) == (False, False)
    shown = "\n".join(render.uplinks([lte, wifi]))
    assert f"portal login needed: {LOGIN}; not from the LAN: no nft" in " ".join(shown.split())
    assert "lte, 67 %, RSRP -98 dBm" in shown
    assert world.care.document("another") == {}
    fields = (Path(__file__).parents[2] / "docs" / "uplinks.md").read_text().partition("## What")[2]
    for name in [*world.care.document("lte"), "held", "why_not"]:
        assert f"`{name}`" in fields, name


def test_only_who_looks_on_has_echoes(make: Make) -> None:
    world = make(section(LTE))
    world.loop.run(10 * TICK)
    status.uplinks_document(world.role, None)  # type: ignore[arg-type]
    assert world.looks == 0
    status.uplinks_document(world.role, None, watched=True)  # type: ignore[arg-type]
    assert world.looks == 1


def test_what_was_used_is_kept_at_the_end(make: Make, tmp_path: Path) -> None:
    world = make(section(LTE))
    world.counters["wwan0"] = Counters(2, 5000, 700)
    world.loop.run(TICK)
    world.counters["wwan0"] = Counters(2, 6000, 800)
    world.care.stop()
    again = DataUsed(str(tmp_path), world.counters.get, lambda: 0.0, "boot")
    assert again.document("lte") == {"rx_bytes": 1000, "tx_bytes": 100, "since": 1_800_000_000}
