# SPDX-License-Identifier: GPL-2.0-only
"""Several home agents in a router's configuration, and the keys they share with it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from dsmip.mobility.config import AgentAddress
from dsmip.service.agents_config import using
from dsmip.service.config import MobileRouterSection, parse
from dsmip.service.ike_config import Payload
from dsmip.service.options import ConfigError

HA, HA2, HA3 = (IPv6Address(f"2001:db8:1::{n}") for n in (1, 2, 3))
HA4, HA2_4 = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2")
ROUTER: dict[str, Any] = {
    "identity": "bus-17",
    "home_address": "2001:db8:1::100",
    "home_prefix": "2001:db8:1::/64",
    "home_agent": [str(HA), str(HA4)],
    "prefixes": ["2001:db8:100::/56"],
    "static_key": "11" * 32,
    "uplink": [{"interface": "wan0"}],
}
OTHERS = [str(HA2), str(HA2_4), str(HA3)]


def section(**more: Any) -> MobileRouterSection:
    values = {name: value for name, value in (ROUTER | more).items() if value is not None}
    found = parse({"mobile_router": values}).mobile_router
    assert found is not None
    return found


def faults(**more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        section(**more)
    return str(caught.value)


def test_ipv4_address_belongs_to_the_ipv6_address_before_it() -> None:
    found = section(other_home_agents=OTHERS)
    assert found.engine.agents == (AgentAddress(HA2, HA2_4), AgentAddress(HA3))
    assert found.engine.any_agent
    assert [row.agent for row in found.rows] == [HA, HA2, HA3]
    assert len({row.keys.to_agent.spi for row in found.rows if row.keys}) == 3


def test_payload_is_protected_with_the_home_agent_in_use_only() -> None:
    found = section(other_home_agents=OTHERS, payload="inside")
    assert [row.plan.payload for row in found.rows] == [Payload.INSIDE, Payload.NONE, Payload.NONE]
    moved = using(found, HA2, HA2_4, (AgentAddress(HA, HA4), AgentAddress(HA3)))
    assert [(row.agent, row.plan.payload) for row in moved.rows] == [
        (HA, Payload.NONE),
        (HA2, Payload.INSIDE),
        (HA3, Payload.NONE),
    ]
    assert [row.keys for row in moved.rows] == [row.keys for row in found.rows]
    back = using(moved, HA, HA4, found.engine.agents)
    assert back.rows == found.rows


def test_home_agent_that_was_discovered_gets_keys() -> None:
    found = section(discover=True)
    moved = using(found, HA2, None, (AgentAddress(HA, HA4),))
    assert [row.agent for row in moved.rows] == [HA, HA2]
    assert moved.rows[1].keys == section(other_home_agents=[str(HA2)]).rows[1].keys


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"other_home_agents": [str(HA2_4)]}, "follows no IPv6 address"),
        ({"other_home_agents": [str(HA2), str(HA2_4), "198.51.100.3"]}, "follows no IPv6 address"),
        ({"other_home_agents": [str(HA)]}, "twice"),
        ({"other_home_agents": [str(HA2), str(HA2)]}, "twice"),
        ({"other_home_agents": ["ff02::1"]}, "routable unicast"),
        ({"other_home_agents": [str(HA2 + n) for n in range(16)]}, "at most 15"),
        ({"discover": "yes"}, "true or false"),
        ({"link_local": 1}, "true or false"),
    ],
)
def test_mistakes_are_named(more: dict[str, Any], words: str) -> None:
    assert words in faults(**more)


def test_manual_keys_serve_one_home_agent() -> None:
    esp = {"spi_in": 256, "spi_out": 257, "auth_key": "22" * 32, "enc_key": "33" * 16}
    text = faults(other_home_agents=OTHERS, static_key=None, esp=esp)
    assert "other_home_agents" in text
    assert "static_key" in text
    assert "discover" in faults(discover=True, static_key=None, esp=esp)


def test_home_agents_place_in_the_list() -> None:
    router = {"identity": "bus-17", "home_address": "2001:db8:1::100", "static_key": "1" * 64}
    values = {
        "addresses": [str(HA)],
        "prefixes": ["2001:db8:1::/64"],
        "preference": 7,
        "router": [router],
    }
    found = parse({"home_agent": values}).home_agent
    assert found is not None
    assert (found.preference, found.discovery) == (7, True)
    with pytest.raises(ConfigError, match="preference"):
        parse({"home_agent": values | {"preference": 65536}})
