# SPDX-License-Identifier: GPL-2.0-only
"""Options about several uplinks and flows, and what is said about mistakes."""

from __future__ import annotations

import copy
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from dsmip.mobility.config import MobileRouterConfig
from dsmip.packet.flows import IPv4Selector, IPv6Selector
from dsmip.service.config import parse
from dsmip.service.options import ConfigError

from tests.unit.test_config import AGENT, ROUTER, changed


def engine(*flows: dict[str, Any], **options: Any) -> MobileRouterConfig:
    made = copy.deepcopy(ROUTER)
    made["mobile_router"] |= {"multihoming": True, "flow": list(flows)} | options
    section = parse(made).mobile_router
    assert section is not None
    return section.engine


def test_plain_router_has_one_care_of_address() -> None:
    section = parse(ROUTER).mobile_router
    assert section is not None
    assert (section.engine.several, section.engine.flows) == (False, ())


def test_flow_of_one_family_and_of_both() -> None:
    config = engine(
        {"protocol": "udp", "remote_port": "5060-5070", "dscp": "ef", "uplinks": ["lte"]},
        {"remote": "192.0.2.0/24", "local_port": 80, "uplinks": ["lte", "wlan0"]},
        {"local": "2001:db8:100::9", "uplinks": ["wlan0"], "priority": 1, "name": "camera"},
        {"uplinks": ["lte", "wlan0"], "weights": [3, 1]},
    )
    voice, web, camera, rest = config.flows
    assert voice.selectors == (
        IPv6Selector(
            source_port_start=5060,
            source_port_end=5070,
            traffic_class_start=46 << 2,
            next_header_start=17,
        ),
        IPv4Selector(
            source_port_start=5060, source_port_end=5070, ds_start=46 << 2, protocol_start=17
        ),
    )
    assert web.selectors == (
        IPv4Selector(
            source_start=IPv4Address("192.0.2.0"),
            source_end=IPv4Address("192.0.2.255"),
            destination_port_start=80,
        ),
    )
    assert web.weights == (1, 1)
    assert camera.selectors == (IPv6Selector(destination_start=IPv6Address("2001:db8:100::9")),)
    assert (camera.priority, camera.name) == (1, "camera")
    assert rest.selectors == (IPv6Selector(), IPv4Selector())
    assert (rest.weights, [flow.priority for flow in config.flows]) == ((3, 1), [10, 20, 1, 40])


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ({}, "uplinks: is missing"),
        ({"uplinks": ["moon"]}, 'no uplink is called "moon", there are: lte, wlan0'),
        ({"uplinks": ["lte"], "remote_port": "9-8"}, "a range like 5000-6000"),
        ({"uplinks": ["lte"], "remote_port": 65536}, "a number from 0 to 65535"),
        ({"uplinks": ["lte"], "remote_port": True}, "a number from 0 to 65535"),
        ({"uplinks": ["lte"], "local_port": "1-2-3"}, "a range like 5000-6000"),
        ({"uplinks": ["lte"], "protocol": "ip"}, 'one of "icmp", "tcp"'),
        ({"uplinks": ["lte"], "protocol": 0}, "a whole number from 1 to 255"),
        ({"uplinks": ["lte"], "protocol": "icmp", "local_port": 7}, "has no ports"),
        ({"uplinks": ["lte"], "dscp": 64}, "a whole number from 0 to 63"),
        ({"uplinks": ["lte"], "remote": "2001:db8::/32", "local": "192.0.2.1"}, "different IP"),
        ({"uplinks": ["lte"], "remote": "192.0.2.1", "protocol": "icmpv6"}, "different IP"),
        ({"uplinks": ["lte"], "remote": "fe80::1"}, "an address or a prefix"),
        ({"uplinks": ["lte"], "weights": [1, 2]}, "one weight for each"),
        ({"uplinks": ["lte", "wlan0"], "weights": [0, 1]}, "from 1 to 255"),
        ({"uplinks": ["lte", "wlan0"], "weights": 3}, "like [3, 1]"),
        ({"uplinks": ["lte"], "copies": True}, "needs two uplinks"),
        ({"uplinks": ["lte", "wlan0"], "copies": True, "weights": [1, 1]}, "excludes weights"),
        ({"uplinks": ["lte"], "colour": 1}, "colour"),
    ],
    ids=str,
)
def test_mistakes_in_flows_are_named(flow: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        engine(flow)
    assert said in str(caught.value)
    assert "mobile_router.flow" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("mobile_router.probe", 0.01, "0 for never, or 0.1 to 3600"),
        ("mobile_router.multihoming", 1, "true or false"),
        ("mobile_router.home_and_away", True, "needs multihoming = true"),
        ("mobile_router.home_and_away", 1, "true or false"),
        ("mobile_router.flow", [{"uplinks": ["lte"]}], "needs multihoming = true"),
        ("globals.mark_mask", 0xF0F0, "side by side"),
        ("globals.mark_mask", 0x7 << 8, "side by side"),
        ("globals.mark_mask", 1 << 32, "from 15 to 4294967295"),
        ("globals.copy_mask", 0xFF000000, "has bits that mark_mask has"),
    ],
)
def test_mistakes_in_options_are_named(option: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed(ROUTER, option, value))
    assert said in str(caught.value)


def test_payload_that_follows_one_care_of_address_excludes_several() -> None:
    made = copy.deepcopy(ROUTER)
    made["mobile_router"] |= {"multihoming": True, "keys": "ikev2", "psk": "0x" + "11" * 32}
    made["mobile_router"] |= {"home_agent_identity": "ha.example.net", "payload": "rfc4877"}
    del made["mobile_router"]["static_key"]
    with pytest.raises(ConfigError, match='payload = "inside"'):
        parse(made)
    made["mobile_router"]["payload"] = "inside"
    assert parse(made).mobile_router is not None


def test_copies() -> None:
    made = copy.deepcopy(ROUTER)
    made["globals"] = {"copy_mask": 0x00FF0000}
    flow = {"uplinks": ["lte", "wlan0"], "copies": True}
    with pytest.raises(ConfigError, match="needs copy_mask"):
        engine(flow)
    made["mobile_router"] |= {"multihoming": True, "flow": [flow]}
    config = parse(made)
    assert config.mobile_router is not None
    (found,) = config.mobile_router.engine.flows
    assert (found.copies, found.weights) == (True, ())
    agent = parse({**AGENT, "globals": {"copy_mask": 0x00FF0000}}).home_agent
    assert agent is not None
    assert agent.engine.copies


def test_limits_of_flows() -> None:
    one = {"uplinks": ["lte"]}
    assert len(engine(*[one] * 32).flows) == 32
    with pytest.raises(ConfigError, match="at most 32"):
        engine(*[one] * 33)


def test_home_agent_may_limit_what_routers_register() -> None:
    agent = parse(AGENT).home_agent
    assert agent is not None
    assert (agent.engine.several, agent.engine.bulk, agent.engine.paths_max) == (True, True, 8)
    values = {"multihoming": False, "bulk_registration": False, "care_of_addresses_max": 2}
    made = copy.deepcopy(AGENT)
    made["home_agent"] |= values | {"flows": False}
    agent = parse(made).home_agent
    assert agent is not None
    assert (agent.engine.several, agent.engine.bulk, agent.engine.paths_max) == (False, False, 2)
    assert not agent.engine.flows
    assert (agent.engine.home_and_away, agent.engine.only_router) == (True, False)
    made["home_agent"] |= {"home_and_away": False, "only_router": True}
    agent = parse(made).home_agent
    assert agent is not None
    assert (agent.engine.home_and_away, agent.engine.only_router) == (False, True)
    with pytest.raises(ConfigError, match="from 1 to 8"):
        parse(changed(AGENT, "home_agent.care_of_addresses_max", 9))
