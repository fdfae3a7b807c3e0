# SPDX-License-Identifier: GPL-2.0-only
"""What a reload cannot change, and payload policies that follow delegated prefixes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network
from types import SimpleNamespace
from typing import Any

import pytest
from dsmip.ipsec.policy import Kind, Numbering, Role
from dsmip.mobility.home_agent import HomeAgent
from dsmip.service.config import Config, parse
from dsmip.service.members import members
from dsmip.service.reloading import fixed_options, rows_with_prefixes

from tests.unit.test_config import AGENT, ROUTER, changed

POOL = "2001:db8:400::/48"


def agent(payload: str = "inside", **options: Any) -> Config:
    values = changed(AGENT, "home_agent.prefix_pool", [POOL])
    values["home_agent"] |= {"delegated_length": 56} | options
    values["home_agent"]["router"][0] |= {
        "delegated_prefixes": 1,
        "prefixes": [],
        "payload": payload,
    }
    return parse(values)


def router(payload: str = "inside", **options: Any) -> Config:
    values = changed(ROUTER, "mobile_router.prefixes", None)
    values["mobile_router"] |= {"delegated_prefixes": 1, "payload": payload} | options
    return parse(values)


def networks(rows: Any) -> set[object]:
    """Return all that the payload rows are about."""
    found: set[object] = set()
    for member in members(rows, Numbering()).values():
        row = member.row_of(Kind.PAYLOAD)
        assert row is not None
        found |= set(row.home)
    return found


def test_policies_of_the_payload_cover_what_was_delegated_at_both_ends() -> None:
    config = agent()
    assert config.home_agent is not None
    engine = HomeAgent(config.home_agent.engine, 0.0)
    rows = [(Role.HOME_AGENT, row) for row in config.home_agent.rows]
    there: Any = SimpleNamespace(engine=engine)
    prefix = engine.ownership.delegate("bus-17", [])
    found = rows_with_prefixes(rows, None, there)
    assert prefix in networks(found)
    assert prefix not in networks(rows)
    engine.ownership.take_back("bus-17", prefix)
    assert prefix not in networks(rows_with_prefixes(rows, None, there))

    section = router().mobile_router
    assert section is not None
    rows = [(Role.MOBILE_ROUTER, row) for row in section.rows]
    here: Any = SimpleNamespace(section=section.with_delegated((prefix,)))
    assert prefix in networks(rows_with_prefixes(rows, here, None))


def test_without_payload_nothing_depends_on_prefixes() -> None:
    config = agent("none")
    assert config.home_agent is not None
    rows = [(Role.HOME_AGENT, row) for row in config.home_agent.rows]
    assert rows_with_prefixes(rows, None, None) is None


@pytest.mark.parametrize(
    ("old", "new", "option"),
    [
        (agent(), agent(interface="other"), "[home_agent] interface"),
        (agent(), agent(learn_table=77), "[home_agent] learn_table"),
        (agent(), agent(lifetime=77), ""),
        (router(), router(advertise=False), "[mobile_router] advertise"),
        (router(), router(lan=["lan0"]), ""),
        (router(), agent(), ""),
    ],
)
def test_what_only_a_restart_can_change_is_named(old: Config, new: Config, option: str) -> None:
    assert fixed_options(old, new) == option


def test_delegated_prefixes_are_counted_among_the_networks_once() -> None:
    section = router(prefixes=["2001:db8:100::/56"]).mobile_router
    assert section is not None
    own, other = IPv6Network("2001:db8:100::/56"), IPv6Network("2001:db8:400::/56")
    engine = replace(section.engine, delegated=(own, other))
    assert engine.networks == (own, other)
