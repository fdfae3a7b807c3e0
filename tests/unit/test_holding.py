# SPDX-License-Identifier: GPL-2.0-only
"""Pausing uplinks, and a test of failover that ends by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip import cli
from dsmip.mobility.effects import HandoverMark, Phase
from dsmip.service import command_hold, orders
from dsmip.service.control import RequestError
from dsmip.service.history import History
from dsmip.service.holding import Holding
from dsmip.service.render import WIDTH
from dsmip.service.terminal import CommandError


class Loop:
    """A clock that stands until it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None], Any]] = []

    def call_later(self, seconds: float, what: Callable[[], None]) -> Any:
        handle = SimpleNamespace(cancelled=False)
        handle.cancel = lambda: setattr(handle, "cancelled", True)
        self.calls.append((seconds, what, handle))
        return handle

    def run(self) -> None:
        for _, what, handle in self.calls:
            if not handle.cancelled:
                what()


class Router:
    def __init__(self) -> None:
        self.loop: Any = Loop()
        self.changes = 0
        self.uplink = "wan"
        self.holding = Holding(self.loop, lambda: ["wan", "lte"], self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def registration(self) -> Any:
        return SimpleNamespace(uplink=self.uplink)

    def held(self) -> list[str]:
        return [name for name in ("wan", "lte") if self.holding.held(name, False)]


@pytest.fixture
def router() -> Any:
    return Router()


def test_pause_and_use_again(router: Any) -> None:
    for name, held, expected in (
        ("wan", True, ["wan"]),
        ("wan", True, ["wan"]),
        ("wan", False, []),
        ("", True, ["wan", "lte"]),
        ("lte", False, ["wan"]),
        ("", False, []),
    ):
        answer = orders.hold(router, {"uplink": name, "held": held})
        assert answer == {"uplink": name, "held": held}
        assert router.held() == expected
    assert router.changes == 6


def test_what_the_operator_says_goes_before_the_configuration(router: Any) -> None:
    assert router.holding.held("wan", True)
    orders.hold(router, {"uplink": "wan", "held": False})
    assert not router.holding.held("wan", True)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"uplink": "moon", "held": True}, "there are: wan, lte"),
        ({"uplink": "wan", "held": 1}, "true or false"),
        ({"uplink": "wan"}, "true or false"),
        ({"held": True}, "name of an uplink"),
        ({"uplink": ["wan"], "held": True}, "name of an uplink"),
    ],
)
def test_pauses_that_make_no_sense(router: Any, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        orders.hold(router, request_)
    assert router.held() == []
    with pytest.raises(RequestError, match="no mobile router"):
        orders.hold(None, {"uplink": "wan", "held": True})


def test_a_test_ends_by_itself(router: Any) -> None:
    """Nobody has to come back: the page may be gone, by the very uplink that is tested."""
    history = History(20)
    history.mark(HandoverMark(IPv6Address("2001:db8:1::100"), Phase.LINK, 1.0), 1.0)
    answer = orders.failover(router, history, {})
    assert answer == {"uplink": "wan", "seconds": 5, "after": 1}
    assert router.held() == ["wan"]
    assert router.holding.tested == "wan"
    ((seconds, _, _),) = router.loop.calls
    assert seconds == 5.0
    router.loop.run()
    assert router.held() == []
    assert router.changes == 2


def test_after_a_test_it_is_as_before(router: Any) -> None:
    orders.hold(router, {"uplink": "lte", "held": True})
    orders.failover(router, History(20), {"uplink": "lte", "seconds": 1})
    router.loop.run()
    assert router.held() == ["lte"], "it was paused before the test"


def test_one_test_at_a_time_and_resume_ends_it(router: Any) -> None:
    orders.failover(router, History(20), {"seconds": 60})
    with pytest.raises(RequestError, match="without wan is under way"):
        orders.failover(router, History(20), {"uplink": "lte"})
    orders.hold(router, {"uplink": "", "held": False})
    assert router.held() == []
    assert router.loop.calls[0][2].cancelled
    assert orders.failover(router, History(20), {"uplink": "lte"})["uplink"] == "lte"
    router.holding.stop()
    router.loop.run()
    assert router.changes == 3, "nothing is called after the end"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"uplink": "moon"}, "there are: wan, lte"),
        ({"uplink": 5}, "name of an uplink"),
        ({"seconds": 0}, "from 1 to 60"),
        ({"seconds": 60.1}, "from 1 to 60"),
        ({"seconds": True}, "from 1 to 60"),
        ({"seconds": float("nan")}, "from 1 to 60"),
        ({"seconds": "5"}, "from 1 to 60"),
    ],
)
def test_tests_that_make_no_sense(router: Any, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        orders.failover(router, History(20), request_)
    assert router.held() == []
    with pytest.raises(RequestError, match="no mobile router"):
        orders.failover(None, History(20), {})


def test_no_test_without_a_path(router: Any) -> None:
    router.uplink = ""
    with pytest.raises(RequestError, match="no uplink is in use"):
        orders.failover(router, History(20), {})


# --- the commands ----------------------------------------------------------------

HANDOVER = {
    "number": 4,
    "event": "",
    "time": 1_800_000_000.0,
    "from": "wan",
    "to": "lte",
    "care_of": "192.0.2.1",
    "kind": "udp4",
    "reason": "no address",
    "phases_ms": {"first_packet": 23.4},
    "updates_sent": 1,
    "gap_ms": 23.4,
    "packets_lost": 0,
}


class Daemon:
    """Answers at once; the handover comes with the second look."""

    def __init__(self, *more: dict[str, Any]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._histories = [[HANDOVER | {"number": 3}], [HANDOVER | {"number": 3}, *more]]

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ask(self, name: str, **more: Any) -> Any:
        self.asked.append((name, more))
        if name == "failover":
            return {"uplink": more["uplink"] or "wan", "seconds": more["seconds"], "after": 3}
        if name == "history":
            return {"handovers": self._histories[min(len(self.asked) - 2, 1)]}
        return more


def run(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, *words: str) -> None:
    def opened(_socket: str) -> Any:
        return daemon

    monkeypatch.setattr(command_hold, "Client", opened)
    now = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    assert command_hold.run(cli._parser(words).parse_args(list(words))) == 0


def test_the_command_shows_the_gap(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    restart = HANDOVER | {"number": 4, "event": "restart", "gap_ms": None}
    moved = HANDOVER | {"number": 5}
    daemon = Daemon(restart, moved, HANDOVER | {"number": 6, "to": "wan", "gap_ms": 99.0})
    run(monkeypatch, daemon, "test-failover", "--seconds", "3")
    assert daemon.asked[0] == ("failover", {"uplink": "", "seconds": 3})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Without wan: to lte, a gap of 23 ms."
    assert all(len(line) <= WIDTH for line in lines)


def test_the_command_says_when_nothing_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no handover followed"):
        run(monkeypatch, Daemon(), "test-failover", "lte")


@pytest.mark.parametrize(
    ("words", "asked", "said"),
    [
        (["pause", "lte"], {"uplink": "lte", "held": True}, "lte: not used until"),
        (["pause"], {"uplink": "", "held": True}, "All uplinks: not used"),
        (["resume", "lte"], {"uplink": "lte", "held": False}, "lte: used again"),
    ],
)
def test_pause_and_resume(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    asked: dict[str, Any],
    said: str,
) -> None:
    daemon = Daemon()
    run(monkeypatch, daemon, *words)
    assert daemon.asked == [("hold", asked)]
    assert said in capsys.readouterr().out


def test_socket_of_a_daemon_that_is_not_there(tmp_path: Any) -> None:
    assert cli.main(["--socket", str(tmp_path / "no"), "pause"]) == 1
