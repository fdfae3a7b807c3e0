# SPDX-License-Identifier: GPL-2.0-only
"""What netifd and ubus are told, when, and what happens when they are not there."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from dsmip.service import netifd, ubus
from dsmip.service.control import RequestError
from dsmip.service.netifd import Notifier, Tunnel, Wish, delegated, notification, read_wishes
from dsmip.service.ubus import METHODS, UbusObject

from tests.unit import clockwork

HOA, HOA4 = IPv6Address("2001:db8:1::100"), IPv4Address("198.51.100.100")
NET6, OTHER6 = IPv6Network("2001:db8:100::/56"), IPv6Network("2001:db8:200::/64")
NET4 = IPv4Network("203.0.113.0/28")
TUNNEL = Tunnel("mip0", HOA, HOA4, (NET6,))


# --- wishes ------------------------------------------------------------------------------


def test_wishes(tmp_path: Path) -> None:
    (tmp_path / "mobile").write_text("defaultroute 0\ndelegate 0\nmetric 20\n")
    (tmp_path / "plain").write_text("")
    (tmp_path / ".half").write_text("metric 1\n")
    (tmp_path / "b-d").write_text("metric 1\n")
    (tmp_path / "broken").write_text("metric many\n")
    (tmp_path / "wordless").write_text("metric\n")
    (tmp_path / "folder").mkdir()
    assert read_wishes(tmp_path) == [Wish("mobile", False, False, 20), Wish("plain")]
    assert read_wishes(tmp_path / "nothing") == []


def test_only_ipv6_prefixes_are_delegated() -> None:
    assert delegated((NET6, NET4, OTHER6), ()) == (NET6, OTHER6)
    assert delegated((NET6, NET4, OTHER6), (OTHER6,)) == (NET6,)


def test_what_netifd_is_told() -> None:
    assert notification(Wish("mobile", metric=30), TUNNEL) == {
        "interface": "mobile",
        "action": 0,
        "ifname": "mip0",
        "link-up": True,
        "address-external": True,
        "keep": False,
        "ip6addr": [{"ipaddr": "2001:db8:1::100", "mask": "128"}],
        "ipaddr": [{"ipaddr": "198.51.100.100", "mask": "32"}],
        "routes6": [
            {"target": "::", "netmask": "0", "metric": "30", "source": "2001:db8:1::100/128"},
            {"target": "::", "netmask": "0", "metric": "30", "source": "2001:db8:100::/56"},
        ],
        "ip6prefix": ["2001:db8:100::/56"],
    }


def test_what_netifd_is_not_told() -> None:
    told = notification(Wish("x", False, False), Tunnel("mip0", HOA, None, (NET6,)))
    assert not {"routes6", "ip6prefix", "ipaddr"} & set(told)


# --- when --------------------------------------------------------------------------------


class Netifd:
    """netifd, which can be told to refuse."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.refuses = False

    async def notify(self, arguments: Mapping[str, Any]) -> bool:
        await asyncio.sleep(0)
        self.told.append(dict(arguments))
        return not self.refuses

    @property
    def prefixes(self) -> list[list[str]]:
        return [each.get("ip6prefix", []) for each in self.told]


def run(tmp_path: Path, story: Callable[[Notifier, Netifd], Any]) -> Netifd:
    async def play() -> Netifd:
        fake = Netifd()
        notifier = Notifier(asyncio.get_running_loop(), tmp_path, fake.notify)
        await story(notifier, fake)
        notifier.stop()
        return fake

    return clockwork.run(play())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_told_once_and_again_when_something_changes(tmp_path: Path) -> None:
    (tmp_path / "mobile").write_text("metric 0\n")

    async def story(notifier: Notifier, fake: Netifd) -> None:
        notifier.look(None)
        await settle()
        assert fake.told == []
        for _ in range(3):
            notifier.look(TUNNEL)
            await settle()
        assert len(fake.told) == 1
        notifier.look(None)
        notifier.look(Tunnel("mip0", HOA, HOA4, (NET6, OTHER6)))
        await settle()

    fake = run(tmp_path, story)
    assert fake.prefixes == [[str(NET6)], [str(NET6), str(OTHER6)]]


def test_handler_that_comes_later_is_heard(tmp_path: Path) -> None:
    async def story(notifier: Notifier, fake: Netifd) -> None:
        notifier.look(TUNNEL)
        await settle()
        assert fake.told == []
        (tmp_path / "mobile").write_text("")
        assert notifier.poke() == ["mobile"]
        await settle()
        assert len(fake.told) == 1
        (tmp_path / "mobile").unlink()
        assert notifier.poke() == []
        await settle()

    assert len(run(tmp_path, story).told) == 1


def test_restarted_netifd_is_told_again(tmp_path: Path) -> None:
    (tmp_path / "mobile").write_text("")

    async def story(notifier: Notifier, fake: Netifd) -> None:
        fake.refuses = True
        notifier.look(TUNNEL)
        await settle()
        assert len(fake.told) == 1
        await asyncio.sleep(2.5 * netifd._AGAIN)
        assert len(fake.told) == 3
        fake.refuses = False
        await asyncio.sleep(netifd._AGAIN)
        assert len(fake.told) == 4
        await asyncio.sleep(10 * netifd._AGAIN)
        assert len(fake.told) == 4

    run(tmp_path, story)


def test_changes_while_netifd_is_told_are_not_lost(tmp_path: Path) -> None:
    (tmp_path / "mobile").write_text("")

    async def story(notifier: Notifier, fake: Netifd) -> None:
        notifier.look(TUNNEL)
        await asyncio.sleep(0)
        notifier.look(Tunnel("mip0", HOA, HOA4, (OTHER6,)))
        await settle()

    assert run(tmp_path, story).prefixes[-1] == [str(OTHER6)]


def test_without_netifd_nothing_breaks(tmp_path: Path) -> None:
    (tmp_path / "mobile").write_text("")

    async def play() -> bool:
        return await netifd._ubus_notify({"interface": "mobile"})

    assert asyncio.run(play()) is False


# --- ubus --------------------------------------------------------------------------------


class FakeUbus:
    """The C binding as ``guide`` measured it: a hidden socket, fixed signatures."""

    BLOBMSG_TYPE_STRING, BLOBMSG_TYPE_INT32 = 3, 5

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.there = True
        self.connections = 0
        self._mine: socket.socket | None = None
        self._uloop: tuple[Any, ...] = ()
        self.daemon: socket.socket | None = None
        self.calls: list[tuple[str, dict[str, Any], list[Any]]] = []

    def connect(self) -> None:
        if not self.there:
            raise RuntimeError("Failed to connect to the ubus daemon")
        self.connections += 1
        # libubox's main loop opens its own first.
        self._uloop = (select.epoll(), *(os.fdopen(end, "rb") for end in os.pipe()))
        self._mine, self.daemon = socket.socketpair()

    def disconnect(self) -> None:
        for one in (*self._uloop, self._mine):
            if one is not None:
                one.close()
        self._uloop, self._mine = (), None

    def add(self, name: str, methods: dict[str, Any]) -> None:
        self.objects[name] = methods

    def loop(self, timeout: int) -> None:
        assert timeout == 0
        assert self._mine is not None
        self._mine.setblocking(False)
        try:
            data = self._mine.recv(1)
        except BlockingIOError:
            return
        if data:
            method, arguments, replies = self.calls.pop(0)
            given = self.objects["dsmip"][method]
            assert set(arguments) == set(given["signature"])

            class Event:
                reply = staticmethod(replies.append)

            given["method"](Event, arguments)

    def send(self, name: str, event: dict[str, Any]) -> None:
        self.sent.append((name, event))

    def call(self, method: str, **arguments: Any) -> list[Any]:
        """Call as ``ubus call dsmip METHOD`` does; the answer comes into the list."""
        replies: list[Any] = []
        self.calls.append((method, arguments, replies))
        assert self.daemon is not None
        self.daemon.send(b"x")
        return replies


def handlers(asked: list[Mapping[str, Any]]) -> dict[str, Any]:
    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(request)
        if request.get("uplink") == "moon":
            raise RequestError("no uplink is called moon")
        if request.get("match") == "bug":
            raise KeyError("bug")
        if request.get("match") == "kernel":
            raise OSError(1, "Operation not permitted")
        return {"fine": True}

    return dict.fromkeys(METHODS, answer)


def offered(story: Callable[[UbusObject, FakeUbus, list[Mapping[str, Any]]], Any]) -> FakeUbus:
    async def play() -> FakeUbus:
        fake, asked = FakeUbus(), list[Mapping[str, Any]]()
        made = UbusObject(handlers(asked), asyncio.get_running_loop(), fake)
        before = set(os.listdir("/proc/self/fd"))
        await story(made, fake, asked)
        made.stop()
        if fake.daemon is not None:
            fake.daemon.close()
        assert set(os.listdir("/proc/self/fd")) == before
        return fake

    return clockwork.run(play())


async def answer(replies: list[Any]) -> Any:
    for _ in range(100):
        if replies:
            return replies.pop()
        await asyncio.sleep(0.001)
    raise AssertionError("no answer")


def test_object_answers_with_fixed_arguments() -> None:
    async def story(made: UbusObject, fake: FakeUbus, asked: list[Mapping[str, Any]]) -> None:
        made.start()
        assert set(fake.objects["dsmip"]) == set(METHODS)
        assert await answer(fake.call("status")) == {"fine": True}
        await answer(fake.call("bindings", match="bus", after="", limit=250))
        for held in (0, 1):
            await answer(fake.call("hold", uplink="lte", held=held))
        await answer(fake.call("history", limit=5))
        await answer(fake.call("handover", uplink="lte"))
        for word in ("", "auto"):
            await answer(fake.call("handover", uplink=word))
        assert asked == [
            {"brief": True, "watched": True},
            {"match": "bus", "after": "", "limit": 250},
            {"uplink": "lte", "held": False},
            {"uplink": "lte", "held": True},
            {"limit": 5},
            {"uplink": "lte"},
            {"uplink": None},
            {"uplink": None},
        ]

    offered(story)


def test_refusals_and_faults_are_answers() -> None:
    async def story(made: UbusObject, fake: FakeUbus, _asked: list[Mapping[str, Any]]) -> None:
        made.start()
        refused = await answer(fake.call("handover", uplink="moon"))
        assert refused == {"error": "no uplink is called moon"}
        denied = await answer(fake.call("bindings", match="kernel", after="", limit=1))
        assert denied == {"error": "Operation not permitted"}
        assert (
            "internal error"
            in (await answer(fake.call("bindings", match="bug", after="", limit=1)))["error"]
        )

    offered(story)


def test_ubusd_that_is_not_there_yet_or_restarts() -> None:
    async def story(made: UbusObject, fake: FakeUbus, _asked: list[Mapping[str, Any]]) -> None:
        fake.there = False
        made.start()
        made.send({"action": "lost"})
        assert fake.sent == []
        fake.there = True
        await asyncio.sleep(1.5 * ubus._AGAIN)
        assert await answer(fake.call("status")) == {"fine": True}
        made.send({"action": "state"})
        assert fake.sent == [("dsmip", {"action": "state"})]
        assert fake.daemon is not None
        fake.daemon.close()
        await asyncio.sleep(1.5 * ubus._AGAIN)
        assert fake.connections == 2
        assert await answer(fake.call("status")) == {"fine": True}

    offered(story)


def test_module_is_optional() -> None:
    assert ubus.module() is None


def test_shipped_plugin_gives_what_the_signatures_ask() -> None:
    """The rpcd plugin passes on exactly the arguments of each method."""
    text = (Path(__file__).parents[2] / "package/dsmip/files/luci.dsmip").read_text()
    for method, signature in METHODS.items():
        at = text.index(f"ask('{method}', {{")
        given = text[at : text.index("}", at)]
        for name in signature:
            assert f"{name}:" in given
        assert given.count(":") == len(signature)


# --- uplinks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"metered": True, "cost": 9}, netifd.Price(True, 9)),
        ({"metered": 0}, netifd.Price(False, None)),
        ({"metered": "1", "cost": "3"}, netifd.Price()),
        ({"metered": 2, "cost": -1}, netifd.Price()),
        ({"metered": [1], "cost": 10}, netifd.Price()),
        ({"cost": True}, netifd.Price()),
        (None, netifd.Price()),
        ([], netifd.Price()),
    ],
)
def test_what_netifd_may_say_of_prices(data: object, expected: netifd.Price) -> None:
    assert netifd.price({"interface": "wwan", "data": data}) == expected
    assert netifd.price({"interface": "wwan"}) == netifd.Price()


@pytest.mark.parametrize(
    "script", ["exit 1", "echo nonsense", "echo '[]'", "echo '{\"interface\": [1]}'"]
)
def test_netifd_that_talks_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "ubus"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert asyncio.run(netifd.ask()) is None
    program.write_text('#!/bin/sh\necho \'{"interface": [{"interface": "wan"}]}\'\n')
    assert asyncio.run(netifd.ask()) == {"wan": {"interface": "wan"}}


def test_restarting_by_netifd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    program = tmp_path / "ubus"
    program.write_text(f'#!/bin/sh\necho "$*" >>{log}\n[ "$5" != "$(cat {tmp_path}/fails)" ]\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for fails, works in (("nothing", True), ("down", False), ("up", False)):
        (tmp_path / "fails").write_text(fails)
        log.unlink(missing_ok=True)
        assert asyncio.run(netifd.restart("wwan")) is works
        assert log.read_text().splitlines() == [
            "-t 10 call network.interface.wwan down",
            "-t 10 call network.interface.wwan up",
        ]
    program.unlink()
    assert asyncio.run(netifd.restart("wwan")) is False
