# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip home-agents``, ``revoke`` and ``switch``: what is asked, shown and refused."""

from __future__ import annotations

import argparse
from ipaddress import IPv6Address
from typing import Any

import pytest
from dsmip import cli
from dsmip.mobility.orders import BadOrder
from dsmip.packet.status import RevocationTrigger
from dsmip.service import command_agents, orders
from dsmip.service.control import RequestError
from dsmip.service.render import WIDTH

HA2 = "2001:db8:1::2"
LISTED = {
    "link": [
        {
            "addresses": [HA2, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
            "preference": 65535,
            "mobile_routers": True,
            "link_local": "fe80::ffff:ffff:ffff:ffff",
            "remaining": 65535.0,
            "this": False,
        },
        {
            "addresses": ["2001:db8:1::1"],
            "preference": 10,
            "mobile_routers": False,
            "link_local": "",
            "remaining": None,
            "this": True,
        },
    ],
    "router": [
        {"address": "2001:db8:1::1", "address4": "198.51.100.1", "used": True},
        {"address": HA2, "address4": None, "used": False},
    ],
}


def options(*words: str) -> argparse.Namespace:
    return cli._parser(words).parse_args(list(words))


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["home-agents"], {}),
        (
            ["revoke", "bus-17"],
            {"router": "bus-17", "reason": "administrative", "ipv4_only": False, "bids": []},
        ),
        (
            ["revoke", "bus-17", "--reason", "out-of-sync", "--bid", "1", "--bid", "3"],
            {"router": "bus-17", "reason": "out-of-sync", "ipv4_only": False, "bids": [1, 3]},
        ),
        (
            ["switch", "bus-17", HA2, "--stay", "60"],
            {"router": "bus-17", "addresses": [HA2], "stay": 60.0},
        ),
        (["switch", "bus-17"], {"router": "bus-17", "addresses": [], "stay": 0}),
    ],
)
def test_what_is_asked(words: list[str], asked: dict[str, Any]) -> None:
    assert command_agents.request(options(*words)) == asked


def test_reasons_are_those_of_the_daemon() -> None:
    assert set(command_agents.REASONS) == set(orders.REASONS)


def test_lists_fit_a_terminal() -> None:
    shown = command_agents.lines("home-agents", LISTED)
    assert all(len(line) <= WIDTH for line in shown), shown
    text = "\n".join(shown)
    assert "this one" in text
    assert "in use" in text
    assert "hosts only" in text
    assert command_agents.lines("home-agents", {"link": [], "router": []}) == [
        "No home agents are known."
    ]


def test_orders_are_confirmed_in_words() -> None:
    answer = {"router": "bus-17", "reason": "administrative", "ipv4_only": True, "bids": []}
    assert "IPv4 home address of bus-17" in command_agents.lines("revoke", answer)[0]
    assert "BID 1" in command_agents.lines("revoke", answer | {"bids": [1]})[0]
    sent = command_agents.lines("switch", {"router": "bus-17", "addresses": []})
    assert sent == ["bus-17 is sent to another home agent."]


class FakeAgent:
    """Stands for the home agent's role."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def revoke(self, *what: Any) -> str:
        self.done.append(what)
        return "bus-17"

    def switch(self, who: str, addresses: tuple[IPv6Address, ...], stay: float) -> str:
        if not addresses:
            raise BadOrder(f"{who} has no binding here")
        self.done.append((who, addresses, stay))
        return who


def test_daemon_carries_orders_out() -> None:
    agent: Any = FakeAgent()
    orders.revoke(agent, {"router": "bus-17", "reason": "out-of-sync", "bids": [2]})
    orders.switch(agent, None, {"router": "bus-17", "addresses": [HA2], "stay": 8})
    assert agent.done == [
        ("bus-17", RevocationTrigger.OUT_OF_SYNC, False, (2,)),
        ("bus-17", (IPv6Address(HA2),), 8.0),
    ]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"router": 7},
        {"router": "bus-17", "reason": "moon"},
        {"router": "bus-17", "ipv4_only": "yes"},
        {"router": "bus-17", "bids": ["one"]},
        {"router": "bus-17", "bids": 1},
    ],
)
def test_bad_revocations_are_refused(request_: dict[str, Any]) -> None:
    agent: Any = FakeAgent()
    with pytest.raises(RequestError):
        orders.revoke(agent, request_)
    assert agent.done == []


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"router": "bus-17", "addresses": "all"},
        {"router": "bus-17", "addresses": ["198.51.100.2"]},
        {"router": "bus-17", "addresses": [HA2], "stay": "long"},
        {"router": "bus-17", "addresses": []},
    ],
)
def test_bad_switches_are_refused(request_: dict[str, Any]) -> None:
    agent: Any = FakeAgent()
    with pytest.raises(RequestError):
        orders.switch(agent, None, request_)
    assert agent.done == []


def test_roles_that_are_not_there() -> None:
    with pytest.raises(RequestError, match="no home agent"):
        orders.revoke(None, {"router": "bus-17"})
    with pytest.raises(RequestError, match="neither"):
        orders.switch(None, None, {"router": "bus-17"})
